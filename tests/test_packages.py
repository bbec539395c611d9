"""pyproject.toml lists every package and every data file, because a wheel silently lacks files that are not listed."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]


def test_every_folder_with_files_is_a_package() -> None:
    folders = {path.parent for top in ("exporter", "serving") for path in files(top)}
    names = sorted(f"rawbert.{'.'.join(folder.relative_to(ROOT).parts)}" for folder in folders)
    # rawbert itself has its version, and what `python -m rawbert` runs.
    assert ["rawbert", *names, "rawbert.stack"] == SETUPTOOLS["packages"]
    assert sorted(path.name for path in files("rawbert")) == ["__init__.py", "__main__.py"]


def test_the_version_is_that_of_the_distribution() -> None:
    import rawbert

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert rawbert.__version__ == project["version"]
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        rawbert.nope  # noqa: B018


def test_the_compose_stack_is_shipped() -> None:
    """As a package without code, whose folder is the top of a clone."""
    from rawbert.serving.cli.compose import FILES

    assert SETUPTOOLS["package-dir"]["rawbert.stack"] == "."
    patterns = SETUPTOOLS["package-data"]["rawbert.stack"]
    assert sorted(pattern.removesuffix("/**/*") for pattern in patterns) == sorted(FILES)
    assert all((ROOT / name).exists() for name in FILES)


@pytest.mark.parametrize("top", ["exporter", "serving"])
def test_every_data_file_is_shipped(top: str) -> None:
    shipped = set()
    for package, patterns in SETUPTOOLS["package-data"].items():
        folder = ROOT / SETUPTOOLS["package-dir"].get(package, "/".join(package.split(".")[1:]))
        for pattern in patterns:
            found = set(folder.glob(pattern))
            assert found, f"nothing in {folder} is {pattern}"
            shipped |= found
    assert [path for path in files(top) if path.suffix != ".py" and path not in shipped] == []


def files(top: str) -> list[Path]:
    return [path for path in (ROOT / top).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
