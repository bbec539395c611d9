"""HandleReloadConfigRequest, policies and labels, on models like TensorFlow Serving's half_plus_two and _three."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import base_paths
import numpy as np
import pytest
import servers
from cases import END, INVALID, Code, refusal, refused, row, until


class Server:
    """Calls to a server, and changes of its configuration."""

    def __init__(self, calls: Any, root: Path) -> None:
        self.calls, self.root = calls, root

    def two(self, policy: str = "all {}", base_path: str = "", **labels: int) -> str:
        entries = [f'version_labels {{ key: "{label}" value: {version} }}' for label, version in labels.items()]
        return base_paths.config(self.root, "half_plus_two", policy, " ".join(entries), base_path)

    def three(self) -> str:
        return base_paths.config(self.root, "half_plus_three")

    def reset(self) -> None:
        self.calls.reload(self.two(stable=123, canary=124), self.three())
        until(lambda: self.served() == [124, 123] and self.calls.available("half_plus_three") == [1])

    def served(self) -> list[int]:
        available: list[int] = self.calls.available("half_plus_two")
        return available

    def answers(self, model: str = "half_plus_two", **spec: Any) -> tuple[int, float]:
        """The version that answers x = 2, and its answer."""
        answer = self.calls.predict(servers.request(model, "", {"x": np.float32([[2]])}, **spec))
        return answer.model_spec.version.value, answer.outputs["y"].float_val[0]


@pytest.fixture(scope="module")
def started(program: Any, paths: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("reload")
    for name in ("00000123", "00000124"):
        base_paths.publish(paths / "half" / "2", root / "half_plus_two", name)
    base_paths.save_half_plus(root / "half_plus_three" / "00000001", 3)
    base_paths.publish(paths / "half" / "1", root / "other", "125")
    (root / "broken" / "1").mkdir(parents=True)
    server = Server(None, root)
    configs = server.two(stable=123, canary=124) + server.three()
    (root / "models.config").write_text(f"model_config_list {{ {configs} }}")
    flags = [
        *base_paths.QUICK,
        f"--model_config_file={root}/models.config",
        # Or no label can be given at the start.
        "--allow_version_labels_for_unavailable_models=true",
        "--enable_grpc_healthcheck_service=true",
        "--grpc_max_threads=32",
    ]
    with servers.running(program, *flags) as calls:
        server.calls = calls
        yield server


@pytest.fixture
def server(started: Server) -> Server:
    started.reset()
    return started


@row("Versions", "half_plus_two answers 3.0, half_plus_three 4.0")
def test_what_half_plus_two_and_three_answer(server: Server) -> None:
    assert server.answers() == (124, 3.0)
    assert server.answers("half_plus_three") == (1, 4.0)
    answer = server.calls.array("half_plus_two", "", "y", {"x": np.float32([[1], [2], [5]])})
    assert answer.tolist() == [[2.5], [3.0], [4.5]]


@row("Versions", "Predict also calls its signatures of Examples")
@pytest.mark.parametrize(("signature", "output"), [("regress_x_to_y", "outputs"), ("classify_x_to_y", "scores")])
def test_examples(server: Server, signature: str, output: str) -> None:
    import tensorflow as tf

    feature = tf.train.Feature(float_list=tf.train.FloatList(value=[2.0]))
    example = tf.train.Example(features=tf.train.Features(feature={"x": feature})).SerializeToString()
    answer = server.calls.array("half_plus_two", signature, output, {"inputs": np.array([example], object)})
    assert answer.tolist() == [[3.0]]


@row("Versions", "Two versions with labels: each answers by its number and by its label")
def test_two_versions_and_their_labels(server: Server) -> None:
    assert server.served() == [124, 123]
    assert [server.answers(version=version)[0] for version in (123, 124)] == [123, 124]
    assert [server.answers(label=label)[0] for label in ("stable", "canary")] == [123, 124]
    server.calls.reload(server.two(stable=124, canary=123), server.three())
    assert [server.answers(label=label)[0] for label in ("stable", "canary")] == [124, 123]


@pytest.mark.parametrize(
    ("policy", "versions"),
    [
        pytest.param("latest {}", [124], marks=row("Versions", "`latest` without a number is `latest` of 1")),
        pytest.param(
            "latest { num_versions: 2 }", [124, 123], marks=row("Versions", "`latest` of 2 loads the two largest")
        ),
        pytest.param(
            "specific { versions: 123 }", [123], marks=row("Versions", "`specific` loads the named versions")
        ),
        pytest.param(
            "specific { versions: 123 versions: 9 }", [123],
            marks=row("Versions", "`specific` loads the named versions; a missing one is ignored"),
        ),
    ],
)  # fmt: skip
def test_policies(server: Server, policy: str, versions: list[int]) -> None:
    server.calls.reload(server.two(policy), server.three())
    until(lambda: server.served() == versions)
    assert server.answers()[0] == versions[0]


@row("Reload", "A label for a version that is not available is refused, and the old labels stay")
def test_a_label_that_is_moved_to_nothing(server: Server) -> None:
    refused(
        lambda: server.calls.reload(server.two(stable=125), server.three()),
        Code.FAILED_PRECONDITION,
        "Request to assign label to version 125 of model half_plus_two, which is not currently available for inference",
    )
    assert server.answers(label="stable")[0] == 123


@row("Reload", "a new label is accepted; an existing label does not move to such a version")
def test_a_new_label_comes_before_its_version(server: Server) -> None:
    server.calls.reload(server.two(next=125), server.three())
    refused(
        lambda: server.answers(label="next"),
        Code.NOT_FOUND,
        "Servable not found for request: Specific(half_plus_two, 125)",
    )


@row("Reload", "A label whose version is dropped stays")
def test_a_label_whose_version_is_dropped(server: Server) -> None:
    server.calls.reload(server.two("specific { versions: 124 }", stable=123), server.three())
    until(lambda: server.served() == [124])
    refused(
        lambda: server.answers(label="stable"),
        Code.NOT_FOUND,
        "Servable not found for request: Specific(half_plus_two, 123)",
    )


_UNSUPPORTED = (
    "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently supported"
)

#: Name -> (words of the page, request, message).
REFUSED: dict[str, tuple[str, Callable[[Server], str], str]] = {
    "no configuration": ("no model_config_list", lambda server: "", _UNSUPPORTED),
    "a custom one": (
        "no model_config_list",
        lambda server: 'config { custom_model_config { type_url: "a/b" } }',
        _UNSUPPORTED,
    ),
    "no base path": (
        "a missing or relative base path",
        lambda server: _listed(server.two().replace(f'base_path: "{server.root}/half_plus_two"', "")),
        "Expected model half_plus_two to have an absolute path or URI; got base_path()=",
    ),
    "a relative base path": (
        "a missing or relative base path",
        lambda server: _listed(server.two(base_path="rel/x")),
        "Expected model half_plus_two to have an absolute path or URI; got base_path()=rel/x",
    ),
    "no platform": (
        "a missing or different platform",
        lambda server: _listed(server.two().replace('model_platform: "tensorflow"', "")),
        "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform, "
        "model name is half_plus_two",
    ),
    "another platform": (
        "a missing or different platform",
        lambda server: _listed(server.two().replace('"tensorflow"', '"onnx"')),
        "Illegal to change a model's platform. For model half_plus_two platform was tensorflow and new platform "
        "requested is onnx",
    ),
    "a name twice": (
        "a repeated name",
        lambda server: _listed(server.two(), server.two()),
        "Illegal to list model half_plus_two multiple times in config list",
    ),
}


def _listed(*configs: str) -> str:
    return f"config {{ model_config_list {{ {' '.join(configs)} }} }}"


@pytest.mark.parametrize("name", [pytest.param(name, marks=row("Reload", REFUSED[name][0])) for name in REFUSED])
def test_refused(server: Server, name: str) -> None:
    _, text, message = REFUSED[name]
    refused(lambda: server.calls.reload_text(text(server)), INVALID, message)
    # The old configuration stays, with its labels.
    assert server.answers(label="stable") == (123, 3.0)
    assert server.answers("half_plus_three") == (1, 4.0)


@row("Reload", "A new model answers when the call returns")
def test_a_new_model(server: Server) -> None:
    server.calls.reload(server.two())
    until(lambda: not server.calls.available("half_plus_three"))
    refused(lambda: server.answers("half_plus_three"), Code.NOT_FOUND, "Servable not found for request: Latest(half_")
    server.calls.reload(server.two(), server.three())
    assert server.answers("half_plus_three") == (1, 4.0)


@row("Reload", "An empty list unloads everything")
def test_an_empty_list(server: Server) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    server.calls.reload()
    until(lambda: not server.served())
    refused(server.answers, Code.NOT_FOUND, "Servable not found for request: Latest(half_plus_two)")
    # The health service reports the state of the server, not of its models.
    asked = health_pb2.HealthCheckRequest(service="PredictionService")
    assert health_pb2_grpc.HealthStub(server.calls.channel).Check(asked, timeout=30).status == 1


@row("Reload", "Another base path is polled from then on")
def test_another_base_path(server: Server) -> None:
    server.calls.reload(server.two("latest {}", base_path=f"{server.root}/other"), server.three())
    until(lambda: server.served() == [125])
    assert server.answers() == (125, 2.0)


@row("Reload", "A new model that cannot be loaded: UNKNOWN")
def test_a_new_model_that_is_broken(server: Server) -> None:
    broken = base_paths.config(server.root, "broken")
    code, message = refusal(lambda: server.calls.reload(server.two(), server.three(), broken))
    assert code is Code.UNKNOWN
    assert message.startswith("1 model(s) did not become available: {{{name: broken version: 1} due to error: ")
    assert "does not appear to contain a SavedModel bundle" in message
    # It is applied nevertheless.
    assert server.calls.status("broken") == [(1, END, 5)]
    assert server.answers() == (124, 3.0)


@row("Reload", "A new model whose base path has no version")
def test_a_new_model_without_versions(server: Server) -> None:
    """The last test: tensorflow_model_server accepts no further configuration after it."""
    nothing = base_paths.config(server.root, "nothing")
    call = lambda: server.calls.reload(server.two(), server.three(), nothing, timeout=3)  # noqa: E731
    if server.calls.rawbert:  # It says so.
        refused(call, Code.FAILED_PRECONDITION, f"model nothing: the base path {server.root}/nothing does not exist")
    else:
        refused(call, Code.DEADLINE_EXCEEDED)
    assert server.answers() == (124, 3.0)
