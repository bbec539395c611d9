"""Exports of each TensorFlow line run in old and new releases of TensorFlow, wherever ``check`` finds no error.

scripts/environments.py builds the environments, 2 GB each, in build/environments (RAWBERT_ENVIRONMENTS names another
folder), where they stay. TensorFlow 2.12 needs Python 3.11, which must be this Python or on the path.

TensorFlow Serving 2.13 to 2.19 links tensorflow-text 2.12.1, which wheels of these releases cannot load. So ops that
2.12.1 lacks are not tried with those wheels.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rawbert.exporter.recipe import TOLERANCES
from rawbert.exporter.targets import check, opsets, saved_model
from rawbert.exporter.targets.content_hash import content_hash

sys.path.insert(0, str(Path(__file__).parents[3] / "scripts"))
import bundles
import environments

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
#: Release -> the wheels: TensorFlow, and a tensorflow-text that loads into it.
WHEELS = {
    "2.12": ("2.12.1", "2.12.1"),
    "2.16": ("2.16.2", "2.16.1"),
    "2.19": ("2.19.1", "2.19.0"),
    "2.20": ("2.20.0", "2.20.1"),
    "2.21": ("2.21.0", "2.21.1"),
}
FOLDER = Path(os.environ.get("RAWBERT_ENVIRONMENTS") or environments.FOLDER)
OWN = environments.line_of(version("tensorflow"))
HERE = Path(__file__).parent
#: Maximum difference between the answers of two releases, times max(1, largest value): the tolerance of verification.
#: Releases sum float32 in different orders; with bfloat16's 8 bits, a product may be rounded differently.
APART = {precision: atol for precision, (atol, *_) in TOLERANCES.items()}
#: The same between the lines of this project.
LINES_APART = 1e-6


@cache
def line(name: str) -> Path:
    """The Python of an environment with this project on a line."""
    return Path(sys.executable) if name == OWN else environments.project(name, folder=FOLDER)


@cache
def wheel(release: str) -> Path:
    """The Python of an environment with a release's wheels."""
    if release == OWN:
        return Path(sys.executable)
    tensorflow, text = WHEELS.get(release) or _pinned(release)
    return environments.bare(tensorflow, text, folder=FOLDER)


def _pinned(release: str) -> tuple[str, str]:
    rows = (environments.CONSTRAINTS / f"tensorflow-{release}.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(row.split("==") for row in rows if "==" in row)
    return pins["tensorflow"], pins["tensorflow-text"]


RELEASES = sorted({*WHEELS, *environments.lines()}, key=opsets.order)


def run(python: Path, script: str, *words: Any) -> None:
    done = subprocess.run([python, HERE / script, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


class Made:
    """Exports of the lines, and answers of the releases; each is computed once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @cache  # noqa: B019
    def exported(self, by: str) -> Path:
        """The bundles of a line."""
        run(line(by), "bundles.py", self._folder / by)
        return self._folder / by

    @cache  # noqa: B019
    def probes(self) -> Path:
        """The graphs of probes.py, written by the newest line."""
        run(line(environments.lines()[-1]), "probes.py", self._folder / "probes")
        return self._folder / "probes"

    @cache  # noqa: B019
    def answers(self, folder: Path, release: str) -> dict[str, Any]:
        """The answers of a release's wheels for the SavedModels in a folder."""
        file = self._folder / f"{folder.name}-on-{release}.npz"
        run(wheel(release), "answers.py", folder, file)
        with np.load(file, allow_pickle=True) as read:
            found = dict(read)
        assert opsets.order(str(found.pop("versions")[0])) == opsets.order(release)
        return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("releases"))


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("by", environments.lines())
def test_bundles_answer_the_same_wherever_check_says_that_they_run(made: Made, by: str, release: str) -> None:
    folder = made.exported(by)
    theirs, ours = made.answers(folder, release), made.answers(folder, by)
    assert set(bundles.KINDS) == {key.partition("/")[0] for key in ours}
    for name in bundles.KINDS:
        assert [each for each in check.check(folder / name, release) if each.level == "error"] == []
    assert theirs.keys() == ours.keys(), {key: value for key, value in theirs.items() if "/" not in key}
    for key, value in ours.items():
        _close(theirs[key], value, APART["bfloat16" if "bfloat16" in key else "float32"], key)


def _close(theirs: Any, ours: Any, apart: float, what: str) -> None:
    if ours.dtype.kind == "f":
        atol = apart * max(1.0, float(np.abs(ours).max()))
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=atol, err_msg=what)
    else:
        np.testing.assert_array_equal(theirs, ours, err_msg=what)


@pytest.mark.parametrize("release", RELEASES)
def test_a_graph_is_refused_by_name_where_it_does_not_run(made: Made, release: str) -> None:
    """An op or a kernel that a release lacks, and an attribute that it ignores."""
    folder = made.probes()
    found = made.answers(folder, release)
    for path in sorted(folder.iterdir()):
        said = check.check(path, release)
        errors = [each for each in said if each.level == "error"]
        runs = path.name not in found
        if path.name.startswith("text_") and release in ("2.16", "2.19"):
            continue
        assert runs == (not errors), (path.name, said, found.get(path.name))
        for error in errors:
            assert error.kind in ("op", "kernel")
            op = error.message.partition("the op ")[2].partition(" ")[0]
            assert op in str(found[path.name]), (error, found[path.name])


@pytest.mark.parametrize("by", environments.lines())
def test_the_lines_export_the_same(made: Made, by: str) -> None:
    """Content hash, token ids and labels are equal, vectors and scores within 1e-6."""
    newest = environments.lines()[-1]
    theirs, ours = made.exported(by), made.exported(newest)
    for name in bundles.KINDS:
        assert _hashes(theirs / name) == _hashes(ours / name), name
    for release in (by, newest):
        for key, value in made.answers(ours, newest).items():
            apart = APART["bfloat16"] if "bfloat16" in key else LINES_APART
            _close(made.answers(theirs, release)[key], value, apart, f"{key} of {by} on {release}")


def _hashes(folder: Path) -> dict[str, str]:
    return content_hash(folder, saved_model.serving(saved_model.read(folder)))


def test_every_release_that_is_tried_is_known() -> None:
    assert len(environments.lines()) >= 2
    assert set(RELEASES) <= set(opsets.RELEASES)
