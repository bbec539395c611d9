"""Wrong files and folders: a running server continues, and uses corrected ones; a start fails with the reason."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("tensorflow_serving", reason="the embedded server needs the server extra")


@pytest.fixture(scope="module")
def parts() -> SimpleNamespace:
    """The server's classes; they import TensorFlow."""
    from rawbert.serving.server import EmbeddedServer, StartError, batcher, failure, lifecycle, options, registry

    modules = (batcher, failure, lifecycle, options, registry)
    names = {name: value for module in modules for name, value in vars(module).items() if not name.startswith("_")}
    return SimpleNamespace(
        **{**names, "EmbeddedServer": EmbeddedServer, "StartError": StartError, "lifecycle": lifecycle}
    )


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def entry(name: str, base_path: object, more: str = "") -> str:
    return f'config {{ name: "{name}" base_path: "{base_path}" model_platform: "tensorflow" {more} }}'


def listed(*entries: str) -> bytes:
    return f"model_config_list {{ {' '.join(entries)} }}".encode()


def unreadable(file: Path) -> None:
    """The error of a file without read permission; root would not get it."""
    file.unlink()
    file.mkdir()


WRONG_FILES: dict[str, Callable[[Path], Any]] = {
    "gone": lambda file: file.unlink(),
    "a folder": unreadable,
    "a link to itself": lambda file: (file.unlink(), file.symlink_to(file)),
    "empty": lambda file: file.write_bytes(b""),
    "not UTF-8": lambda file: file.write_bytes(b"\xff\xfe\x00"),
    "garbage": lambda file: file.write_bytes(b"model_config_list { config { name: \0 } } }"),
    "a huge number": lambda file: file.write_bytes(
        listed(entry("m", "/m", 'version_labels { key: "a" value: ' + "9" * 5000 + " }"))
    ),
    "a version past 64 bits": lambda file: file.write_bytes(
        listed(entry("m", "/m", f"model_version_policy {{ specific {{ versions: {2**63} }} }}"))
    ),
    "a name that is too long": lambda file: file.write_bytes(listed(entry("m", "/" + "x" * 5000))),
    "a name with a NUL": lambda file: file.write_bytes(listed(entry("m", "/tmp/a\\000b"))),
    "a string that is no UTF-8": lambda file: file.write_bytes(listed(entry("\\377", "/m"))),
    "deeply nested": lambda file: file.write_bytes(b"model_config_list { " * 2000),
    "an Any of nothing known": lambda file: file.write_bytes(b"custom_model_config { [a.b/c.D] { x: 1 } }"),
}


@pytest.mark.parametrize("wrong", WRONG_FILES)
def test_a_start_with_a_wrong_file_says_why(parts: Any, tmp_path: Path, wrong: str) -> None:
    file = tmp_path / "models.config"
    file.touch()
    WRONG_FILES[wrong](file)
    with pytest.raises(parts.StartError) as caught:
        parts.EmbeddedServer(model_config_file=str(file))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) > 20


def test_a_correct_file_is_taken_after_every_wrong_one(parts: Any, model_root: Path, tmp_path: Path) -> None:
    good = listed(entry("text", model_root / "text"))
    both = listed(entry("text", model_root / "text"), entry("arithmetic", model_root / "arithmetic"))
    file = tmp_path / "models.config"
    file.write_bytes(good)
    with parts.EmbeddedServer(model_config_file=str(file), model_config_file_poll_wait_seconds=1) as server:
        # The smallest value of the flag is one second.
        server._plan.options.__dict__["model_config_file_poll_wait_seconds"] = 0.05
        time.sleep(1)
        for wrong, make in WRONG_FILES.items():
            make(file)
            time.sleep(0.3)
            assert ("text", 3) in server.versions or "name" in wrong
            if file.is_dir():
                file.rmdir()
            file.unlink(missing_ok=True)
            for text, count in ((both, 2), (good, 1)):
                (tmp_path / "new").write_bytes(text)
                (tmp_path / "new").rename(file)
                until(lambda count=count: len(server.versions) == count)


class Loader:
    """Fake models, whose loading can be blocked or fail."""

    def __init__(self) -> None:
        self.go, self.begun, self.fails = threading.Event(), threading.Event(), False
        self.go.set()

    def __call__(self, name: str, version: int, folder: Path) -> Any:
        self.begun.set()
        self.go.wait(60)
        if self.fails:
            raise PermissionError(13, "Permission denied", str(folder))
        return self

    def close(self) -> None:
        pass


@pytest.fixture
def kept(parts: Any, tmp_path: Path) -> Iterator[Any]:
    """A manager with a model "m", whose version 1 is available."""
    loader, registry = Loader(), parts.Registry()
    flags = parts.ServerOptions(
        file_system_poll_wait_seconds=0.02, load_retry_interval_micros=50_000, num_load_threads=1
    )
    manager = parts.Manager(registry, loader, flags)
    (tmp_path / "m" / "1").mkdir(parents=True)
    manager.configure({"m": parts.ModelSettings("m", tmp_path / "m", parts.Policy("all"))})
    assert registry.loaded() == [("m", 1)]
    yield loader, registry, manager, tmp_path / "m"
    loader.go.set()
    assert manager.stop(10)


def states(registry: Any, name: str = "m") -> dict[int, str]:
    return {each.version: each.state.name for each in registry.status(name)}


def wait_for_version(registry: Any, base: Path, version: int) -> None:
    (base / str(version)).mkdir()
    until(lambda: ("m", version) in registry.loaded())


def test_base_paths_that_come_and_go(kept: Any) -> None:
    _, registry, _, base = kept
    base.rename(base.with_name("aside"))
    time.sleep(0.1)
    assert registry.loaded() == [("m", 1)]  # a missing base path unloads no version
    base.write_text("a file")
    time.sleep(0.1)
    base.unlink()
    base.symlink_to(base)
    time.sleep(0.1)
    base.unlink()
    base.with_name("aside").rename(base)
    wait_for_version(registry, base, 2)


def test_a_base_path_that_cannot_be_read(kept: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, registry, _, base = kept
    original = Path.iterdir

    def refuse(path: Path) -> Any:
        if path == base:
            raise PermissionError(13, "Permission denied", str(path))
        return original(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", refuse)
        time.sleep(0.1)
        assert registry.loaded() == [("m", 1)]
    wait_for_version(registry, base, 2)


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), ValueError("nonsense"), RuntimeError("nonsense")])
def test_a_keeper_outlives_any_error(parts: Any, kept: Any, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    _, registry, _, base = kept

    def fail(path: Path) -> Any:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(parts.lifecycle, "find_versions", fail)
        time.sleep(0.1)
    wait_for_version(registry, base, 2)


def test_names_of_folders_that_are_no_versions(kept: Any) -> None:
    _, registry, _, base = kept
    for name in ("9" * 200, "-" + "9" * 200, str(2**63), "٣", "v2", ".rawbert", os.fsdecode(b"\xff")):
        (base / name).mkdir()
    (base / str(2**63 - 1)).mkdir()
    until(lambda: ("m", 2**63 - 1) in registry.loaded())
    assert registry.loaded() == [("m", 1), ("m", 2**63 - 1)]


def test_a_version_that_is_removed_before_it_is_loaded_ends(parts: Any, kept: Any, tmp_path: Path) -> None:
    loader, registry, manager, base = kept
    loader.go.clear()
    loader.begun.clear()
    (base / "2").mkdir()
    loader.begun.wait(60)
    (base / "3").mkdir()  # waits for another load
    another = parts.ModelSettings("another", tmp_path / "another", parts.Policy("all"))
    (tmp_path / "another" / "7").mkdir(parents=True)
    manager.configure({"m": parts.ModelSettings("m", base, parts.Policy("all")), "another": another}, wait=False)
    until(lambda: registry._statuses.get("another") is not None)
    assert states(registry, "another") == {7: "START"}  # one load at a time
    shutil.rmtree(tmp_path / "another" / "7")
    shutil.rmtree(base / "2")
    shutil.rmtree(base / "3")
    loader.go.set()
    until(lambda: states(registry, "another") == {7: "END"})
    until(lambda: states(registry)[2] == "END")
    assert 3 not in states(registry) or states(registry)[3] == "END"
    assert registry.loaded() == [("m", 1)]


def test_a_version_that_is_removed_between_two_attempts_ends(kept: Any) -> None:
    loader, registry, manager, base = kept
    manager.retries, manager.retry_seconds, loader.fails = 1000, 1000.0, True
    (base / "2").mkdir()
    until(lambda: states(registry).get(2) == "LOADING")
    shutil.rmtree(base / "2")
    until(lambda: states(registry)[2] == "END")


def test_a_model_that_is_removed_while_it_waits_ends(kept: Any) -> None:
    loader, registry, manager, base = kept
    manager.retries, manager.retry_seconds, loader.fails = 1000, 1000.0, True
    (base / "2").mkdir()
    until(lambda: states(registry).get(2) == "LOADING")
    manager.configure({}, wait=False)
    until(lambda: set(states(registry).values()) == {"END"})


def test_the_thread_of_a_model_that_leaves_ends_and_begins_when_it_comes_back(parts: Any, kept: Any) -> None:
    _, registry, manager, base = kept

    def threads() -> int:
        return sum(thread.name == "rawbert-model-m" for thread in threading.enumerate())

    others = threads() - 1  # from servers of other tests in this process
    for _ in range(3):
        assert threads() == others + 1
        manager.configure({})
        until(lambda: threads() == others)
        until(lambda: states(registry) == {1: "END"})
        assert not registry.loaded()
        manager.configure({"m": parts.ModelSettings("m", base)})
        assert registry.loaded() == [("m", 1)]


def test_a_folder_that_cannot_be_read_is_a_failure_of_its_version(kept: Any, caplog: pytest.LogCaptureFixture) -> None:
    loader, registry, _, base = kept
    loader.fails = True
    (base / "2").mkdir()
    until(lambda: states(registry).get(2) == "END")
    (status,) = registry.status("m", 2)
    assert "Permission denied" in str(status.failure)
    assert not any(record.exc_info for record in caplog.records)
    loader.fails = False
    wait_for_version(registry, base, 3)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("max_batch_size { value: 99999999999999999999 }", "not a BatchingParameters text proto"),
        ("batch_timeout_micros { value: -1 }", "batch_timeout_micros must be at least 0"),
        ("\x00", "not a BatchingParameters text proto"),
        ("thread_pool_name { value: '\\377' }", "not a BatchingParameters text proto"),
    ],
)
def test_parameters_of_garbage(parts: Any, text: str, says: str) -> None:
    with pytest.raises(parts.Failure, match=says):
        parts.parse_batching(text)


def test_a_batch_time_out_past_what_threads_can_wait(parts: Any) -> None:
    import numpy as np

    batching = parts.parse_batching(f"batch_timeout_micros {{ value: {2**63 - 1} }} max_batch_size {{ value: 2 }}")
    batcher = parts.Batcher(batching, lambda signature, inputs, outputs: dict(inputs), 1, parts.Metrics())
    results = []

    def ask() -> None:
        results.append(batcher.run("s", parts.Task({"x": np.ones(1)}, ["x"], lambda: True)))

    calls = [threading.Thread(target=ask, daemon=True) for _ in range(2)]
    for call in calls:
        call.start()
        time.sleep(0.1)
    for call in calls:
        call.join(30)
    assert len(results) == 2
    batcher.close()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"host": "x" * 70 + ".example"}, "cannot listen"),
        ({"host": "a\0b"}, "cannot listen"),
        ({"grpc_channel_arguments": "grpc.x"}, "is not name=value"),
        ({"grpc_channel_arguments": "grpc.x=9999999999"}, "does not fit into 32 bits"),
        ({"grpc_socket_path": "/nowhere/at/all/s"}, "its folder does not exist"),
        ({"grpc_socket_path": "/" + "x" * 200}, "too long"),
        ({"batching_parameters_file": "/nowhere", "enable_batching": True}, "No such file"),
        ({"load_retry_interval_micros": 2**63 - 1, "max_num_load_retries": 0, "saved_model_tags": "no"}, "cannot be"),
    ],
)
def test_flags_that_cannot_be_are_refused(parts: Any, model_root: Path, flags: dict[str, Any], says: str) -> None:
    with pytest.raises(parts.StartError, match=says):
        parts.EmbeddedServer("text", model_root / "text", **flags)
