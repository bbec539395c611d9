"""Versions with different faults, and warmup records: the reaction of a server of all versions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import base_paths
import numpy as np
import pytest
import servers
from cases import AVAILABLE, END, Code, refusal, row, until


def _cut(name: str) -> Callable[[Path], Any]:
    def cut(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])

    return cut


def _without(name: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).unlink()


def _with(name: str, data: bytes) -> Callable[[Path], Any]:
    def write(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)

    return write


def _renamed(op: bytes) -> Callable[[Path], Any]:
    """Change the name of an op to an unknown one."""

    def rename(folder: Path) -> None:
        data = (folder / "saved_model.pb").read_bytes()
        assert op in data
        (folder / "saved_model.pb").write_bytes(data.replace(op, op[:-1] + b"x"))

    return rename


def _records(*records: Any) -> Callable[[Path], Any]:
    """A warmup file of these records: bytes, or (signature, inputs)."""

    def write(folder: Path) -> None:
        import tensorflow as tf
        from tensorflow_serving.apis import prediction_log_pb2

        path = folder / base_paths.WARMUP
        path.parent.mkdir()
        with tf.io.TFRecordWriter(str(path)) as writer:
            for record in records:
                if not isinstance(record, bytes):
                    log = prediction_log_pb2.PredictionLog()
                    # The server ignores the model name in the record.
                    log.predict_log.request.CopyFrom(servers.request("another", *record))
                    record = log.SerializeToString()
                writer.write(record)

    return write


def _then(*changes: Callable[[Path], Any]) -> Callable[[Path], Any]:
    return lambda folder: [change(folder) for change in changes] and None


_SHARD = "variables/variables.data-00000-of-00001"
_GOOD = ("", {"x": np.float32([[4]])})
_ONE = ("", {"x": np.float32([4])})

#: Name -> (words of the page, the model that is changed, the change, error code, words of the message).
BROKEN: dict[str, tuple[str, str, Callable[[Path], Any], int, str]] = {
    "no saved_model.pb": (
        "no saved_model.pb", "half/1", _without("saved_model.pb"), 5,
        "does not appear to contain a SavedModel bundle",
    ),
    "saved_model.pb cut": ("saved_model.pb truncated", "half/1", _cut("saved_model.pb"), 11, ""),
    "saved_model.pb empty": ("saved_model.pb empty", "half/1", _with("saved_model.pb", b""), 5, ""),
    "saved_model.pb garbage": (
        "saved_model.pb garbage", "half/1", _with("saved_model.pb", b"garbage " * 50), 15, "saved_model.pb",
    ),
    # Which words stand around the file's name depends on the loader.
    "shard missing": ("a shard of variables missing", "half/1", _without(_SHARD), 5, _SHARD.rpartition("/")[2]),
    "shard cut": ("a shard truncated", "half/1", _cut(_SHARD), 11, "Read less bytes than requested"),
    "asset missing": (
        "an asset missing", "batchable/1", _without("assets/vocab.txt"), 5,
        "assets/vocab.txt; No such file or directory",
    ),
    "unknown op": ("an unknown op", "half/1", _renamed(b"ParseExample"), 5, "Op type not registered"),
    "unknown op, warmup": (
        "record that fails makes the load fail", "arithmetic/5",
        _then(_renamed(b"MatMul"), _records(("slow", {"steps": np.int32([1])}))), 5, "Op type not registered",
    ),
    "warmup of an unknown signature": (
        "an unknown signature", "arithmetic/5", _records(_ONE, ("nope", {})), 9,
        'Serving signature key "nope" not found.',
    ),
    "warmup of another dtype": (
        "another dtype or input name", "arithmetic/5", _records(("", {"x": np.int32([4])})), 3,
        "Expects arg[0] to be float but int32 is provided",
    ),
    "warmup of another input": (
        "another dtype or input name", "arithmetic/5", _records(("", {"z": np.float32([4])})), 3,
        "Signature input alias: x",
    ),
    "warmup that is no PredictionLog": (
        "a record that is not a PredictionLog", "half/1", _records(b"\xff\xff"), 3, "Failed to parse warmup record",
    ),
    "warmup that is no TFRecord file": (
        "a file that is not a TFRecord file", "half/1", _with(str(base_paths.WARMUP), b"no TFRecord file at all"), 15,
        "corrupted record at 0",
    ),
    "warmup cut": (
        "truncated: DATA_LOSS", "half/1", _then(_records(*[_GOOD] * 3), _cut(str(base_paths.WARMUP))), 15,
        "truncated record",
    ),
    "1001 records": (
        "1001 records", "half/1", _records(*[_GOOD] * 1001), 3,
        "Number of warmup records exceeds the maximum (1000) at",
    ),
}  # fmt: skip

SOUND: dict[str, tuple[str, str, Callable[[Path], Any]]] = {
    "no records": ("No file, an empty one", "half/1", lambda folder: None),
    "an empty file": ("No file, an empty one", "half/1", _with(str(base_paths.WARMUP), b"")),
    "records": ("records whose model_spec names another model", "half/1", _records(_GOOD, _GOOD)),
    "1000 records": ("exactly 1000 records", "half/1", _records(*[_GOOD] * 1000)),
}

#: Faults that tensorflow_model_server accepts, although calls fail: words of the page, the model, the change, a call.
HIDDEN: dict[str, tuple[str, str, Callable[[Path], Any], tuple[str, Any]]] = {
    "unknown op in a function": (
        "an unknown op in a function", "arithmetic/5", _renamed(b"MatMul"), ("slow", {"steps": np.int32([1])}),
    ),
    "variables.index missing": (
        "variables.index missing", "half/1", _without("variables/variables.index"), _GOOD,
    ),
}  # fmt: skip

_NUMBERS = {name: number for number, name in enumerate([*BROKEN, *SOUND, *HIDDEN], 2)}


@pytest.fixture(scope="module")
def served(program: Any, paths: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Path]]:
    """Calls to a server of all versions of a model; all versions except the first appear while it runs."""
    root = tmp_path_factory.mktemp("loading")
    base_paths.publish(paths / "half" / "1", root / "m", "1")
    (root / "models.config").write_text(f"model_config_list {{ {base_paths.config(root, 'm', 'all {}')} }}")
    for name, number in _NUMBERS.items():
        _, source, change, *_ = {**BROKEN, **SOUND, **HIDDEN}[name]
        base_paths.publish(paths / source, root / "aside", str(number), change)
    flags = [*base_paths.QUICK, f"--model_config_file={root}/models.config", "--model_config_file_poll_wait_seconds=1"]
    with servers.running(program, *flags) as calls:
        for number in _NUMBERS.values():
            (root / "aside" / str(number)).rename(root / "m" / str(number))
        until(lambda: sum(state in (AVAILABLE, END) for _, state, _ in calls.status("m")) == 1 + len(_NUMBERS), 120)
        yield calls, root


def _status(served: tuple[Any, Path], name: str) -> Any:
    (status,) = served[0].statuses("m", _NUMBERS[name])
    return status


@pytest.mark.parametrize("name", [pytest.param(name, marks=row("Loading", BROKEN[name][0])) for name in BROKEN])
def test_a_version_that_is_broken(served: tuple[Any, Path], name: str) -> None:
    _, _, _, code, message = BROKEN[name]
    status = _status(served, name)
    assert (status.state, status.status.error_code) == (END, code), status
    assert message in status.status.error_message
    assert served[0].half("m", version=1) == 1


@pytest.mark.parametrize("name", [pytest.param(name, marks=row("Loading", SOUND[name][0])) for name in SOUND])
def test_a_version_that_is_sound(served: tuple[Any, Path], name: str) -> None:
    assert (_status(served, name).state, _status(served, name).status.error_code) == (AVAILABLE, 0)


@pytest.mark.parametrize("name", [pytest.param(name, marks=row("Loading", HIDDEN[name][0])) for name in HIDDEN])
def test_a_fault_that_calls_show(served: tuple[Any, Path], name: str) -> None:
    status = _status(served, name)
    if served[0].rawbert and name == "variables.index missing":  # its loader, which is Python, reads it first
        assert (status.state, status.status.error_code) == (END, 5)
        return
    assert status.state == AVAILABLE
    code, _ = refusal(lambda: served[0].predict(servers.request("m", *HIDDEN[name][3], version=_NUMBERS[name])))
    assert code in (Code.NOT_FOUND, Code.FAILED_PRECONDITION)


@row("Loading", "With `--enable_model_warmup=false` the file is not read")
def test_warmup_that_is_off(plain: Any) -> None:
    # Its version folder has an invalid warmup file.
    assert plain.status("text") == [(1, AVAILABLE, 0)]


@row("Reload", "A file that does not parse is logged, and changes nothing")
def test_the_config_file_is_polled(served: tuple[Any, Path]) -> None:
    calls, root = served
    (root / "models.config").write_text("nonsense")
    time.sleep(2.2)
    assert len(calls.available("m")) >= 1 + len(SOUND)
    config = base_paths.config(root, "m", "specific { versions: 1 versions: 99 }")
    (root / "models.config").write_text(f"model_config_list {{ {config} }}")
    # A version in the configuration does not exist: the others are served.
    until(lambda: calls.available("m") == [1])
