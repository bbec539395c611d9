"""Version folders, and who answers."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("tensorflow_serving", reason="the embedded server needs the server extra")


def registry_module():
    from rawbert.serving.server import registry

    return registry


def test_folder_names_are_read_as_tensorflow_serving_reads_them(tmp_path: Path) -> None:
    for name in ("001", "+4", " 3", "0", "-1", "v1", "1.0", "1_0", "", "٣", "tmp-9", "99999999999999999999"):
        (tmp_path / name).mkdir(exist_ok=True)
    (tmp_path / "8").write_text("a file is no version")
    found = registry_module().find_versions(tmp_path)
    assert list(found) == [4, 3, 1, 0, -1]
    assert [folder.name for folder in found.values()] == ["+4", " 3", "001", "0", "-1"]
    assert registry_module().newest_version(tmp_path) == (4, tmp_path / "+4")


def test_versions_are_numbers_not_names(tmp_path: Path) -> None:
    for name in ("9", "10"):
        (tmp_path / name).mkdir()
    assert registry_module().newest_version(tmp_path)[0] == 10


def test_a_base_path_without_versions(tmp_path: Path) -> None:
    module = registry_module()
    with pytest.raises(module.BasePathError, match="has no version folder, such as"):
        module.newest_version(tmp_path)
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(module.BasePathError, match="give the folder above it"):
        module.newest_version(tmp_path)
    with pytest.raises(module.BasePathError, match="does not exist"):
        module.newest_version(tmp_path / "none")
    with pytest.raises(module.BasePathError, match="Not a directory"):
        module.newest_version(tmp_path / "saved_model.pb")


def test_the_largest_version_answers_unless_one_is_named() -> None:
    module = registry_module()
    registry = module.Registry()
    for version in (2, 10, 9):
        registry.add(module.Servable("m", version, f"runs {version}"))
    assert registry.get("m").version == 10
    assert registry.get("m", 2).runnable == "runs 2"
    assert registry.available("m") == [10, 9, 2]
    assert registry.available("m", 9) == [9]
    for call, says in (
        (lambda: registry.get("other"), "Servable not found for request: Latest(other)"),
        (lambda: registry.get("m", 3), "Servable not found for request: Specific(m, 3)"),
        (lambda: registry.available("other"), "Could not find any versions of model other"),
        (lambda: registry.available("m", 3), "Could not find version 3 of model m"),
    ):
        with pytest.raises(module.NotAvailable) as caught:
            call()
        assert str(caught.value) == says
