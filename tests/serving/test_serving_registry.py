"""Version folders, and the version that answers a call."""

from __future__ import annotations

import re
import threading
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
    with pytest.raises(module.Failure, match="has no version folder, such as"):
        module.newest_version(tmp_path)
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(module.Failure, match="give its parent folder"):
        module.newest_version(tmp_path)
    with pytest.raises(module.Failure, match="does not exist"):
        module.newest_version(tmp_path / "none")
    with pytest.raises(module.Failure, match="Not a directory"):
        module.newest_version(tmp_path / "saved_model.pb")


def test_the_largest_version_answers_unless_one_is_named() -> None:
    module = registry_module()
    registry = module.Registry()
    for version in (2, 10, 9):
        registry.add(module.Servable("m", version, f"runs {version}"))

    def answers(*asked: object) -> object:
        with registry.use(*asked) as servable:
            return servable.runnable

    assert answers("m") == "runs 10"
    assert answers("m", 2) == "runs 2"
    assert [status.version for status in registry.status("m")] == [10, 9, 2]
    assert [status.state.name for status in registry.status("m", 9)] == ["AVAILABLE"]
    for call, says in (
        (lambda: answers("other"), "Servable not found for request: Latest(other)"),
        (lambda: answers("m", 3), "Servable not found for request: Specific(m, 3)"),
        (lambda: answers("m", None, "stable"), "Unrecognized servable version label: stable"),
        (lambda: registry.status("other"), "Could not find any versions of model other"),
        (lambda: registry.status("m", 3), "Could not find version 3 of model m"),
    ):
        with pytest.raises(Exception, match=f"^{re.escape(says)}$"):
            call()


def test_labels_are_given_to_what_is_available_all_or_none() -> None:
    module = registry_module()
    registry = module.Registry()
    registry.add(module.Servable("m", 1, "one"))
    registry.set_labels({"m": {"stable": 1}})
    with pytest.raises(Exception, match="label to version 2 of model m, which is not currently available"):
        registry.set_labels({"m": {"stable": 1, "canary": 2}})
    registry.set_labels({"m": {"stable": 1, "canary": 2}}, allow_unavailable=True)
    # The flag does not apply to a label that is already assigned.
    with pytest.raises(Exception, match="not currently available"):
        registry.set_labels({"m": {"stable": 2}}, allow_unavailable=True)
    with registry.use("m", label="stable") as servable:
        assert servable.version == 1
    with pytest.raises(Exception, match=r"Specific\(m, 2\)"), registry.use("m", label="canary"):
        pass


def test_a_version_in_use_is_removed_only_when_its_calls_are_answered() -> None:
    module = registry_module()
    registry = module.Registry()
    registry.add(module.Servable("m", 1, "one"))
    with registry.use("m"):
        removing = threading.Thread(target=registry.drain, args=(registry.withdraw("m", 1),))
        removing.start()
        removing.join(0.1)
        assert removing.is_alive()
        with pytest.raises(Exception, match=r"Latest\(m\)"), registry.use("m"):
            pass
    removing.join(5)
    assert not removing.is_alive()
