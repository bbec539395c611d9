"""The cases detect faulty servers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import base_paths
import faults
import grpc
import pytest
import servers
import test_congruence_batching as batching
import test_congruence_encoding as encoding
import test_congruence_predict as predict
import test_congruence_rest as rest
import test_congruence_rest_status as rest_status
import test_congruence_status as status
import test_congruence_versions as versions

pytestmark = pytest.mark.unsourced


@pytest.fixture(autouse=True)
def _of_the_suite(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--model-server", None) or request.config.getoption("--server-address", None):
        pytest.skip("this is a test of the suite, not of a server")


#: Fault -> the case that detects it.
CASES: dict[str, Callable[..., None]] = {
    "a wrong code": partial(predict.test_refused, name="model"),
    "a wrong message": partial(predict.test_refused, name="dtype"),
    "the smallest version": predict.test_unversioned,
    "labels ignored": predict.test_labels,
    "an output filter ignored": predict.test_an_output_filter,
    "rows in another order": partial(predict.test_answered, name="no signature name"),
    "always tensor_content": partial(encoding.test_the_field_of_the_dtype, dtype="float32"),
    "states in another order": status.test_states_of_a_model,
    "metadata of another version": status.test_metadata_of_the_version_asked_for,
    "never batched": batching.test_callers_share_a_batch,
    "numbers in another form": partial(rest.test_layout_of_rows, given="[1.5]", written="1.5"),
    "another status of HTTP": partial(rest.test_refused, name="model"),
    "calls that are not counted": rest_status.test_requests_are_counted_by_status,
    "new versions unseen": versions.walk_through_versions,
}


_WRONG = (AssertionError, pytest.fail.Exception, grpc.RpcError)


@pytest.fixture(scope="module")
def sound(paths: Path) -> Iterator[Any]:
    """Calls to a server in this process, in which faults are planted while it runs."""
    from rawbert.serving.server import EmbeddedServer

    port = servers.free_port()
    with (
        EmbeddedServer(
            rest_api_port=port,
            monitoring_config_file=str(paths / "monitoring"),
            model_config_file=str(paths / "batched.config"),
            enable_batching=True,
            batching_parameters_file=str(paths / "batching"),
            enable_model_warmup=False,
            allow_version_labels_for_unavailable_models=True,
        ) as server,
        servers.Calls(server.address, rawbert=True, rest=f"127.0.0.1:{port}") as calls,
    ):
        yield calls


@pytest.mark.parametrize("fault", [fault for fault in CASES if fault != "new versions unseen"])
def test_a_wrong_server_is_noticed(sound: Any, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    CASES[fault](sound)
    faults.faults()[fault](monkeypatch)
    with pytest.raises(_WRONG):
        CASES[fault](sound)


def test_a_server_that_sees_no_new_versions_is_noticed(
    paths: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rawbert.serving.server import EmbeddedServer

    monkeypatch.setattr(versions, "until", partial(versions.until, seconds=2.5))
    base = base_paths.publish(paths / "half" / "1", tmp_path / "half", "1").parent
    faults.faults()["new versions unseen"](monkeypatch)
    with (
        EmbeddedServer("half", base, enable_model_warmup=False) as server,
        servers.Calls(server.address, rawbert=True) as calls,
        pytest.raises(_WRONG),
    ):
        versions.walk_through_versions(calls, paths, base)


def test_the_models_are_such_as_tensorflow_serving_can_run(paths: Path) -> None:
    from rawbert.exporter.targets.check import check

    folders = sorted(path.parent for path in paths.glob("*/*/saved_model.pb"))
    assert len(folders) == 7
    for folder in folders:
        found = [each for each in check(folder, "2.20") if each.level == "error"]
        # The warmup file of ``text`` is invalid on purpose; its warmup is off.
        assert all("warmup" in each.kind and folder.parent.name == "text" for each in found), found


@pytest.mark.slow
@pytest.mark.parametrize("fault", CASES)
def test_a_wrong_program_is_noticed(tmp_path: Path, fault: str) -> None:
    """The same by running the suite on a program, like a user."""
    program = tmp_path / "server"
    program.write_text(f"#!/bin/sh\nexec '{sys.executable}' '{faults.__file__}' '{fault}' \"$@\"\n")
    program.chmod(0o755)
    module = getattr(CASES[fault], "func", CASES[fault]).__module__
    result = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--tb=short"),
            *(str(Path(__file__).with_name(f"{module}.py")), f"--model-server={program}"),
        ],
        capture_output=True, text=True, check=False, timeout=580, cwd=Path(__file__).parent
    )  # fmt: skip
    assert result.returncode == 1, result.stdout
    assert "1 failed" in result.stdout
