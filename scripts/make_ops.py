"""Write the files of exporter/targets/data: the ops of each TensorFlow Serving release, read from released wheels.

``python scripts/make_ops.py FOLDER`` writes all files, each from the wheels in its first line;
``python scripts/make_ops.py FOLDER 2.21 --tensorflow 2.21.0 --text 2.21.1`` writes one of them. An environment for
each TensorFlow wheel is built under FOLDER (about 2 GB each; Python 3.11 has wheels of all of them).
scripts/dump_ops.py runs inside them. The wheels are those for Linux on x86-64.

TensorFlow Serving R links TensorFlow R, a tensorflow-text (the version in its WORKSPACE or workspace.bzl; 2.12 to 2.19
link 2.12.1), and the inference ops of TensorFlow Decision Forests 1.3.0, which are the same in every release.
"""

from __future__ import annotations

import argparse
import json
import lzma
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import environments
from environments import line_of

DATA = Path(__file__).parents[1] / "exporter" / "targets" / "data"
#: Version of its wheel, version of a TensorFlow wheel that loads it, its library, and the prefix of its ops.
_FORESTS = ("1.3.0", "2.12.1", "tensorflow_decision_forests/tensorflow/ops/inference/inference.so", "SimpleML")


def make(folder: Path, release: str, tensorflow: str, text: str, data: Path = DATA) -> Path:
    """Write the file of a release.

    Args:
        folder: the environments.
        release: as ``--target-serving`` names it.
        tensorflow: version of the TensorFlow wheel.
        text: version of the tensorflow-text wheel.
        data: folder of the files. The ops of Decision Forests are copied from the oldest file, if there is one.
    """
    state = ask(environments.bare(tensorflow, folder=folder))
    wheel, into, library, prefix = _FORESTS
    oldest = min(data.glob("*.tsv.xz"), key=order, default=None)
    if oldest is not None and order(oldest) < order(data / f"{release}.tsv.xz"):
        state["ops"].update({name: op for name, op in read(oldest)[1].items() if name.startswith(prefix)})
    else:
        python = environments.bare(into, further=[f"tensorflow-decision-forests=={wheel}"], folder=folder)
        state["ops"].update(ask(python, str(next(python.parents[1].glob(f"lib/*/site-packages/{library}"))))["ops"])
    base = tensorflow if line_of(text) == line_of(tensorflow) else _wheel_of(line_of(text), data)
    state["ops"].update(ask(environments.bare(base, text, folder=folder), "tensorflow_text")["ops"])
    wheels = {"tensorflow": tensorflow, "tensorflow-text": text, "tensorflow-decision-forests": wheel}
    versions = {key: state[key] for key in ("graph_def_version", "min_producer")}
    page = data / f"{release}.tsv.xz"
    write(page, {"release": release, **wheels, **versions}, state["ops"])
    return page


def read(page: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The first line of a file, and the ops by name."""
    head, *lines = lzma.decompress(page.read_bytes()).decode().splitlines()
    return json.loads(head), {name: json.loads(op) for name, _, op in (each.partition("\t") for each in lines)}


def write(page: Path, head: dict[str, Any], ops: dict[str, Any]) -> None:
    """Write a file; the same contents always give the same bytes."""
    lines = [_json(head), *(f"{name}\t{_json(op)}" for name, op in sorted(ops.items()))]
    page.write_bytes(lzma.compress("".join(f"{each}\n" for each in lines).encode(), preset=9 | lzma.PRESET_EXTREME))


def order(page: Path) -> tuple[int, ...]:
    """Sort key of files: by release, with a candidate before its release."""
    release, _, candidate = page.name.removesuffix(".tsv.xz").partition("rc")
    return *map(int, release.split(".")), int(candidate or 1000)


def ask(python: Path, *extras: str) -> dict[str, Any]:
    """The ops of an environment's TensorFlow, or only those that modules and libraries add."""
    file = python.parents[1] / "registered.json"
    words = [python, Path(__file__).with_name("dump_ops.py"), file, *extras]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{python}: {done.stderr}")
    state: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return state


def _wheel_of(release: str, data: Path) -> str:
    """The TensorFlow wheel in the first line of a release's file."""
    wheel: str = read(data / f"{release}.tsv.xz")[0]["tensorflow"]
    return wheel


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("release", nargs="?")
    parser.add_argument("--tensorflow")
    parser.add_argument("--text")
    arguments = parser.parse_args()
    if arguments.release:
        made = [(arguments.release, arguments.tensorflow, arguments.text)]
    else:
        heads = [read(page)[0] for page in sorted(DATA.glob("*.tsv.xz"), key=order)]
        made = [(head["release"], head["tensorflow"], head["tensorflow-text"]) for head in heads]
    for each in made:
        print(make(arguments.folder, *each))


if __name__ == "__main__":
    main()
