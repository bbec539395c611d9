"""Python versions: the client runs on all, the extras with TensorFlow on those with its wheels."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
#: Names that are removed or deprecated in Python 3.12 to 3.14.
GONE = {
    "get_event_loop", "get_event_loop_policy", "set_event_loop_policy", "iscoroutinefunction", "utcnow",
    "utcfromtimestamp", "find_loader", "load_module", "ByteString", "getdefaultlocale",
}  # fmt: skip


def test_the_client_has_no_upper_bound() -> None:
    assert PROJECT["requires-python"] == ">=3.11"
    assert "Programming Language :: Python :: 3.14" in PROJECT["classifiers"]
    assert len(PROJECT["dependencies"]) == 3
    assert not any(";" in each for each in PROJECT["dependencies"])


@pytest.mark.parametrize("extra", ["export", "server"])
def test_tensorflow_is_bounded_where_it_is_needed(extra: str) -> None:
    """Without a marker, so that pip fails with its name if it has no wheels, instead of silently leaving it out."""
    requirements = PROJECT["optional-dependencies"][extra]
    assert "tensorflow>=2.20,<2.22" in requirements
    assert not any("python_version" in each for each in requirements)


@pytest.mark.parametrize("extra", ["cli", "data"])
def test_other_extras_go_everywhere(extra: str) -> None:
    assert not any("<" in each or ";" in each for each in PROJECT["optional-dependencies"][extra])


@pytest.mark.parametrize(("version", "says"), [((3, 13), False), ((3, 14), True)])
@pytest.mark.parametrize(
    ("words", "missing"),
    [(["export", "x", "-o", "y"], "transformers"), (["serve", "--model_base_path", "x"], "tensorflow")],
)
def test_a_missing_extra_says_which_python_it_needs(
    version: tuple[int, int], says: bool, words: list[str], missing: str
) -> None:
    code = (
        f"import sys; sys.argv = ['rawbert', *{words!r}]; sys.modules[{missing!r}] = None\n"
        "sys.modules['huggingface_hub'] = None\n"
        "from rawbert.serving import extras\n"
        f"class Sys: version_info = {version}\n"
        "extras.sys = Sys\n"
        "from rawbert.serving.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'rawbert[" in done.stderr
    assert ("in Python 3.11 to 3.13: TensorFlow 2.21 has no wheels for 3.14" in done.stderr) is says


@pytest.mark.parametrize("top", ["serving", "rawbert"])
def test_nothing_is_used_that_newer_pythons_lack(top: str) -> None:
    for path in (ROOT / top).rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
        assert not names & GONE, path
        # A SyntaxWarning in 3.14 (PEP 765).
        for block in (node.finalbody for node in ast.walk(tree) if isinstance(node, ast.Try)):
            leaving = [node for each in block for node in ast.walk(each) if isinstance(node, ast.Return)]
            assert not leaving, path
