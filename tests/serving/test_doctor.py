"""`rawbert doctor` finds each planted fault and no other one; it finds none on a faultless server."""

from __future__ import annotations

import datetime
import json
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import patients
import pytest
from command import rawbert
from official_models import vectors
from patients import SOUND, changed, embedding, patient
from rawbert.serving import TLS
from rawbert.serving.doctor import CHECKS, TOGETHER, Finding, Level, Probe, compare, connection, examine, models

Found = dict[str, Finding]


def examined(address: str, model: str = "m", **settings: Any) -> Found:
    with Probe(address, model, timeout=20, **settings) as probe:
        return {finding.check: finding for finding in examine(probe)}


def faults(found: Found) -> dict[str, str]:
    return {name: finding.level.value for name, finding in found.items() if finding.is_fault}


@pytest.fixture(scope="module")
def rest() -> Iterator[str]:
    with patients.rest() as address:
        yield address


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_a_sound_server_has_no_fault(rest: str) -> None:
    with patient() as address:
        found = examined(address, rest=rest)
    assert faults(found) == {}
    assert {name for name, finding in found.items() if finding.level is Level.UNKNOWN} == {"published"}
    assert list(found) == [check.name for check in CHECKS]


def _not_finite(texts: Any) -> Any:
    return np.full((len(texts), 3), np.nan, np.float32)


def _by_company(texts: Any) -> Any:
    return np.full((len(texts), 3), len(texts), np.float32)


def _failing(texts: Any) -> Any:
    from watched import Refusal

    raise Refusal(grpc.StatusCode.INTERNAL, "the graph fails")


#: Planted fault -> settings of the server, and the check that finds it.
PLANTED: dict[str, tuple[dict[str, Any], str, str]] = {
    "no health service": ({"health": None}, "health", "warning"),
    "not serving": ({"health": "NOT_SERVING"}, "health", "problem"),
    "no batching": ({"batched": False}, "batching", "warning"),
    "tiny batches": ({"full": 8}, "batch-size", "warning"),
    "a long batch timeout": ({"wait": 0.05}, "batch-wait", "warning"),
    "no warmup": ({"cold": 0.4}, "warmup", "warning"),
    "float_val": ({"float_val": True}, "serialization", "warning"),
    "few threads": ({"threads": 3}, "threads", "problem"),
    "a short queue": ({"queue": 3}, "queue", "problem"),
    "requests of 4 MB": ({"options": {"grpc.max_receive_message_length": 4 << 20}}, "large-requests", "warning"),
    "requests of 2 MB": ({"options": {"grpc.max_receive_message_length": 2 << 20}}, "large-requests", "warning"),
    "answers of 4 MB": ({"options": {"grpc.max_send_message_length": 4 << 20}}, "large-answers", "warning"),
    "no default signature": ({"model": changed(serving_default=None)}, "default-signature", "warning"),
    "other signatures": (
        {"model": SOUND._replace(signatures={"serving_default": vectors("outputs"), "encode": vectors("outputs")})},
        "signatures", "warning"),
    "numbers that are not finite": ({"model": embedding(_not_finite)}, "answers", "problem"),
    "a signature that fails": ({"model": embedding(_failing)}, "answers", "problem"),
    "rows that depend on others": ({"model": embedding(_by_company)}, "rows", "problem"),
    "an old version left loaded": ({"model": SOUND._replace(versions=(2, 3))}, "extra-versions", "warning"),
}  # fmt: skip


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found_and_nothing_else(fault: str, rest: str) -> None:
    settings, name, level = PLANTED[fault]
    with patient(**settings) as address:
        found = examined(address, rest=rest, callers=8 if name in ("threads", "queue") else 0)
    assert faults(found) == {name: level}
    assert found[name].advice
    assert all(finding.found for finding in found.values())


def test_versions_with_labels_are_meant() -> None:
    with patient(SOUND._replace(versions=(2, 3), labels={"stable": 2})) as address:
        found = examined(address)
    assert faults(found) == {}
    assert "stable: 2" in found["labels"].found


def test_a_version_that_the_server_does_not_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_PICKED_UP", 0.6)
    for name in ("3", "notes"):
        (tmp_path / "m" / name).mkdir(parents=True)
    (tmp_path / "models.config").write_text("model_config_list {}")
    with patient() as address:
        assert faults(examined(address, models=tmp_path, callers=0)) == {}
        (tmp_path / "m" / "4").mkdir()
        assert faults(examined(address, models=tmp_path, callers=0)) == {"published": "problem"}


def test_models_config_and_the_server_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_PICKED_UP", 0.6)
    (tmp_path / "elsewhere" / "3").mkdir(parents=True)
    config = tmp_path / "models.config"
    base = 'name: "m" base_path: "/models/elsewhere"'
    with patient(SOUND._replace(labels={"stable": 3, "canary": 3})) as address:

        def found(entry: str) -> Found:
            config.write_text(f"model_config_list {{ config {{ {base} {entry} }} }}")
            with Probe(address, "m", models=tmp_path) as probe:
                return {check.name: check.made(probe) for check in (models.labels, models.published)}

        assert faults(found('version_labels { key: "stable" value: 3 }')) == {}
        wrong = found('version_labels { key: "stable" value: 3 } version_labels { key: "canary" value: 4 }')
        assert faults(wrong) == {"labels": "problem"}
        assert wrong["labels"].found == "canary: 3, but 4 in models.config"
        wrong = found("model_version_policy { specific { versions: 3 versions: 9 } }")
        assert faults(wrong) == {"published": "problem"}
        assert wrong["published"].found == "version 9 is in models.config, but the server only knows 3"


def test_a_label_that_is_asked_for_and_unknown() -> None:
    with patient() as address:
        found = examined(address, version_label="live")
    assert faults(found)["labels"] == "problem"
    assert "Unrecognized servable version label: live" in found["labels"].found


def test_a_missing_server_is_reported_once() -> None:
    found = examined(f"127.0.0.1:{free_port()}")
    assert faults(found) == {"reachable": "problem"}
    assert "start a server with rawbert serve" in found["reachable"].found


def test_a_model_that_is_not_there() -> None:
    with patient() as address:
        assert faults(examined(address, "other")) == {"model": "problem"}


def test_the_rest_side() -> None:
    with patient() as address, ExitStack() as stack:

        def other(**settings: Any) -> Found:
            return examined(address, rest=stack.enter_context(patients.rest(**settings)), callers=0)

        assert faults(other(ahead=-600)) == {"clock": "warning"}
        assert faults(other(metrics=False)) == {"metrics": "warning"}
        assert faults(examined(address, rest=f"127.0.0.1:{free_port()}", callers=0)) == {"rest": "problem"}


def test_a_proxy_in_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    with patient() as address:
        found = examined(address, callers=0)
        assert faults(found) == {"proxy": "problem"}
        assert "http_proxy" in found["proxy"].found
        for excepted in ("127.0.0.1", "example.org, 127.0.0.0/8", "*"):
            monkeypatch.setenv("no_proxy", excepted)
            with Probe(address, "m") as probe:
                assert probe.proxy is None


@pytest.mark.parametrize("ip", ["8.8.4.4", "203.0.113.7", "2001:db8::7"])
def test_plain_text_on_a_public_address(ip: str, rest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def public(host: str, *arguments: Any, **settings: Any) -> Any:
        return [(*info[:4], (ip, *info[4][1:])) for info in real(host, *arguments, **settings)]

    plain, secure, with_rest = (
        Probe("localhost:1", "m", **settings) for settings in ({}, {"tls": TLS()}, {"tls": TLS(), "rest": rest})
    )
    for probe in (plain, secure, with_rest):
        assert (probe.http.status is not None) == (probe is with_rest)
    monkeypatch.setattr(socket, "getaddrinfo", public)
    for probe, said in (
        (plain, f"plain text, and {ip} is public"),
        (with_rest, f"REST uses plain text, and {ip} is public"),  # TLS protects only gRPC.
    ):
        finding = connection.plain_text.made(probe)
        assert (finding.level, finding.found) == (Level.PROBLEM, said)
    assert connection.plain_text.made(secure).level is Level.OK


def test_certificates() -> None:
    tls = pytest.importorskip("test_serving_tls")
    authority = tls.Authority()
    there = TLS(ca=authority.pem)

    @contextmanager
    def secured(names: Any, days: float) -> Iterator[str]:
        ends = tls.NOW + datetime.timedelta(days=days)
        with patient(credentials=grpc.ssl_server_credentials([authority.issue(names, ends)])) as address:
            yield address

    def look(address: str, settings: TLS = there) -> Found:
        return examined(address, tls=settings, callers=0)

    with secured(tls.LOCAL, 90) as address:
        found = look(address)
        assert faults(found) == {}
        assert found["certificate-dates"].found == "valid for 90 days"
        other = look(address, TLS(ca=tls.Authority().pem))
        assert faults(other) == {"reachable": "problem"}
        assert "not trusted" in other["certificate-dates"].found
        assert faults(examined(address)) == {"reachable": "problem"}  # plain text to a TLS port
    with secured(tls.LOCAL, 3) as address:
        assert faults(look(address)) == {"certificate-dates": "warning"}
    with secured(tls.LOCAL, -1) as address:
        assert faults(look(address)) == {"reachable": "problem", "certificate-dates": "problem"}
    with secured([tls.x509.DNSName("bert.example")], 90) as address:
        found = look(address)
        assert faults(found) == {"reachable": "problem", "certificate-name": "problem"}
        assert "for bert.example, and not for 127.0.0.1" in found["certificate-name"].found
        assert faults(look(address, TLS(ca=authority.pem, server_name="bert.example"))) == {}


def test_several_servers_that_answer_with_different_versions() -> None:
    others = SOUND._replace(versions=(4,)), embedding(lambda texts: np.ones((len(texts), 3), np.float32))
    with patient() as one, ExitStack() as stack:
        two, three, four = (stack.enter_context(patient(model)) for model in (SOUND, *others))

        def together(*addresses: str) -> Finding:
            with ExitStack() as opened:
                return compare([opened.enter_context(Probe(address, "m")) for address in addresses])

        assert together(one, two).level is Level.OK
        assert together(one, two, three).level is Level.PROBLEM
        assert f"{three} answers with version 4" in together(one, three).found
        assert "different numbers" in together(one, four).found
        done = rawbert("doctor", one, three, "-m", "m", "--callers", 0, "--json")
        assert done.returncode == 1
        assert [each["check"] for each in json.loads(done.out)["together"]] == [TOGETHER.name]


# -- the embedded server with various flags


@pytest.fixture(scope="module")
def folder(model_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models of the stack: version 3 of ``text``, with batching parameters."""
    root = tmp_path_factory.mktemp("doctored")
    shutil.copytree(model_root / "text" / "3", root / "text" / "3")
    (root / "text" / "3" / "batching_params.pbtxt").write_text("max_batch_size { value: 32 }")
    _write_warmup(root / "text" / "3" / "assets.extra" / "tf_serving_warmup_requests")
    return root


def _write_warmup(path: Path) -> None:
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature in ("embed", "pooled", "sequence", "tokenize"):
            for texts in ([b"warm"], [b"warm", b"and warmer"]):
                log = prediction_log_pb2.PredictionLog()
                request = log.predict_log.request
                request.model_spec.name, request.model_spec.signature_name = "text", signature
                request.inputs["text"].CopyFrom(tf.make_tensor_proto(texts))
                writer.write(log.SerializeToString())


Serve = Callable[..., Any]


@pytest.fixture
def serve(folder: Path, tmp_path: Path) -> Iterator[Serve]:
    """A function that serves a copy of the folder with the stack's flags, changed by others; returns the address."""
    with ExitStack() as stack:

        def start(entry: str = "", prepare: Callable[[Path], None] = lambda root: None, **flags: Any) -> str:
            from rawbert.serving.cli.serve import STACK
            from rawbert.serving.server import EmbeddedServer

            root = tmp_path / "models"
            if not root.exists():
                shutil.copytree(folder, root)
            prepare(root)
            config = root / "models.config"
            base = f'name: "text" base_path: "{root}/text" model_platform: "tensorflow"'
            config.write_text(f"model_config_list {{ config {{ {base} {entry} }} }}")
            settings = {**STACK, "max_num_load_retries": 0, "model_config_file": str(config), **flags}
            server = stack.enter_context(EmbeddedServer(**settings))
            address: str = server.address
            return address

        yield start


def test_the_stack_is_sound(serve: Serve, tmp_path: Path) -> None:
    """With REST, metrics, batching and warmup, as docker-compose.yml starts it."""
    monitoring, port = Path(__file__).parents[2] / "deploy" / "serving" / "monitoring.config", free_port()
    label = 'version_labels { key: "stable" value: 3 }'
    address = serve(label, rest_api_port=port, monitoring_config_file=str(monitoring))
    found = examined(address, "text", models=tmp_path / "models", rest=f"127.0.0.1:{port}")
    assert faults(found) == {}
    assert {name for name, finding in found.items() if finding.level is Level.UNKNOWN} == {"large-answers"}
    done = rawbert("doctor", address, cwd=tmp_path)
    assert done.returncode == 0, done.out
    assert "0 problems, 0 warnings" in done.out
    assert "version 3 is known" in done.out  # by the server's models/models.config


def test_a_server_without_flags(serve: Serve) -> None:
    flags = dict.fromkeys(
        ("enable_batching", "enable_per_model_batching_parameters", "enable_grpc_healthcheck_service",
         "enable_serialization_as_tensor_content"), False)  # fmt: skip
    address = serve(**flags, grpc_max_threads=3)
    found = faults(examined(address, "text", callers=32))
    assert found == {"health": "warning", "batching": "warning", "serialization": "warning", "threads": "problem"}
    done = rawbert("doctor", address, "-m", "text", "--callers", 0, "--ignore", "health", "--ignore", "batching",
                   "--ignore", "serialization")  # fmt: skip
    assert (done.returncode, "health" in done.out) == (0, False), done.out


@pytest.mark.slow
def test_other_sound_servers(serve: Serve, tmp_path: Path) -> None:
    """On IPv6, with REST on the next port and metrics at Prometheus' usual path; with mutual TLS."""
    from rawbert.serving.certificates import make_certificates

    monitoring, (port, next_port) = tmp_path / "monitoring.config", neighbours("::1")
    monitoring.write_text('prometheus_config { enable: true path: "/metrics" }')
    serve(host="::1", port=port, rest_api_port=next_port, monitoring_config_file=str(monitoring))
    found = examined(f"[::1]:{port}", "text", models=tmp_path / "models")
    assert faults(found) == {}
    assert (found["rest"].level, found["metrics"].level) == (Level.OK, Level.OK)
    certs = tmp_path / "certs"
    make_certificates(certs)
    tls = TLS(ca=certs / "ca.pem", certificate=certs / "client.pem", key=certs / "client.key")
    address = serve(ssl_config_file=str(certs / "ssl.config"))
    assert faults(examined(address, "text", models=tmp_path / "models", tls=tls)) == {}


def neighbours(host: str) -> tuple[int, int]:
    """Two free ports with consecutive numbers."""
    with socket.socket(socket.AF_INET6) as listener:
        listener.bind((host, 0))
        port: int = listener.getsockname()[1]
    return port, port + 1


#: Planted fault of the embedded server -> flags, batching parameters, and the check that finds it.
EMBEDDED: dict[str, tuple[dict[str, str], str, str]] = {
    **{f"{what} limit of {size}": ({"grpc_channel_arguments": f"grpc.max_{what}_message_length={size}"},
                                   "max_batch_size { value: 32 }", check)
       for what, size, check in (("receive", 1_000_000, "large-requests"), ("send", 10_000, "large-answers"),
                                 ("send", 1000, "large-answers"))},
    "tiny batches": ({}, "max_batch_size { value: 4 }", "batch-size"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("fault", EMBEDDED)
def test_a_fault_that_is_planted_on_the_embedded_server(fault: str, serve: Serve, tmp_path: Path) -> None:
    flags, parameters, check = EMBEDDED[fault]

    def prepare(root: Path) -> None:
        (root / "text" / "3" / "batching_params.pbtxt").write_text(parameters)

    address = serve(prepare=prepare, **flags)
    assert faults(examined(address, "text", models=tmp_path / "models", callers=0)) == {check: "warning"}


@pytest.mark.slow
def test_a_server_that_others_have_warmed(serve: Serve, tmp_path: Path) -> None:
    """The metrics show that the version was loaded without warmup."""
    monitoring, port = tmp_path / "monitoring.config", free_port()
    monitoring.write_text("prometheus_config { enable: true }")
    address = serve(enable_model_warmup=False, rest_api_port=port, monitoring_config_file=str(monitoring))
    settings = {"rest": f"127.0.0.1:{port}", "callers": 0}
    assert "first calls were slow" in examined(address, "text", **settings)["warmup"].found
    found = examined(address, "text", **settings)
    assert faults(found) == {"warmup": "warning"}
    assert found["warmup"].found == "version 3 was loaded without warmup records"


@pytest.mark.slow
def test_a_load_that_is_tried_again(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_PICKED_UP", 1.0)
    address = serve(max_num_load_retries=5)
    (tmp_path / "models" / "text" / "4").mkdir()
    wait_for(lambda: states(address).get(4) == "LOADING")
    found = examined(address, "text", models=tmp_path / "models", callers=0)
    assert faults(found) == {"failed-versions": "warning"}
    assert found["failed-versions"].found == "version 4 has been LOADING for 1 s"


@pytest.mark.slow
def test_batching_parameters_with_a_long_wait(serve: Serve) -> None:
    def prepare(root: Path) -> None:
        parameters = "max_batch_size { value: 32 } batch_timeout_micros { value: 100000 }"
        (root / "text" / "3" / "batching_params.pbtxt").write_text(parameters)

    assert faults(examined(serve(prepare=prepare), "text", callers=0)) == {"batch-wait": "warning"}


@pytest.mark.slow
def test_batching_without_the_file_of_the_version(serve: Serve) -> None:
    address = serve(prepare=lambda root: (root / "text" / "3" / "batching_params.pbtxt").unlink())
    assert faults(examined(address, "text", callers=0)) == {"batching": "warning"}


@pytest.mark.slow
def test_versions_that_failed_or_were_left(serve: Serve, tmp_path: Path) -> None:
    here = {"models": tmp_path / "models", "callers": 0}
    only_3, all_of_them = "model_version_policy { specific { versions: 3 } }", "model_version_policy { all {} }"
    address = serve(only_3, model_config_file_poll_wait_seconds=1)
    base, config = tmp_path / "models" / "text", tmp_path / "models" / "models.config"
    shutil.copytree(base / "3", base / "4")
    # The policy excludes version 4 on purpose.
    assert faults(examined(address, "text", **here)) == {}
    config.write_text(config.read_text().replace(only_3, all_of_them))
    wait_for(lambda: states(address) == {3: "AVAILABLE", 4: "AVAILABLE"})
    assert faults(examined(address, "text", **here)) == {"extra-versions": "warning"}
    labels = 'version_labels { key: "stable" value: 3 } version_labels { key: "canary" value: 9 }'
    config.write_text(config.read_text().replace(all_of_them, f"{all_of_them} {labels}"))
    with Probe(address, "text") as probe:
        wait_for(lambda: models._meaning(probe, "stable") == 3)
    assert faults(examined(address, "text", **here)) == {"labels": "problem"}
    (base / "5").mkdir()
    wait_for(lambda: states(address).get(5) == "END")
    found = examined(address, "text", **here)
    assert faults(found) == {"labels": "problem", "failed-versions": "problem"}
    assert "saved_model.pb" in found["failed-versions"].found


@pytest.mark.slow
def test_a_version_that_is_not_picked_up(serve: Serve, tmp_path: Path) -> None:
    # A poll of models.config looks for versions too.
    address = serve(file_system_poll_wait_seconds=0, model_config_file_poll_wait_seconds=0)
    shutil.copytree(tmp_path / "models" / "text" / "3", tmp_path / "models" / "text" / "4")
    found = examined(address, "text", models=tmp_path / "models", callers=0)
    assert faults(found) == {"published": "problem"}
    assert "the server only knows 3" in found["published"].found


@pytest.mark.slow
def test_minilm_warmed_and_not(minilm_bundle: Any, tmp_path: Path) -> None:
    from rawbert.serving.cli.serve import STACK
    from rawbert.serving.server import EmbeddedServer

    settings = {**STACK, "model_config_file_poll_wait_seconds": 0}
    for warmed, expected in ((True, {}), (False, {"warmup": "warning"})):
        with EmbeddedServer("bert", minilm_bundle.path.parent, enable_model_warmup=warmed, **settings) as server:
            found = examined(server.address, "bert", models=minilm_bundle.path.parents[1], callers=16)
        assert faults(found) == expected
        assert found["large-answers"].level is Level.OK
        assert found["published"].level is Level.OK


def states(address: str) -> dict[int, str]:
    with Probe(address, "text") as probe:
        return {state.version: state.state for state in probe.status()}


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


# -- the command


def test_the_command_says_what_to_do(rest: str) -> None:
    with patient(health=None) as address:
        done = rawbert("doctor", address, "-m", "m", "--rest", rest, "--callers", 2)
        assert done.returncode == 1
        assert "0 problems, 1 warning" in done.out
        assert "--enable_grpc_healthcheck_service=true" in done.out
        written = json.loads(rawbert("doctor", address, "-m", "m", "--callers", 2, "--json").out)
    assert written["sound"] is False
    (server,) = written["servers"]
    assert server["address"] == address
    assert [each["check"] for each in server["checks"]] == [check.name for check in CHECKS]
    assert {each["level"] for each in server["checks"]} == {"ok", "warning", "not known"}


def test_wrong_usage() -> None:
    for arguments in (["a:1", "b:1", "--rest", "a:2"], ["--ignore", "weather"], ["--callers", "-1"]):
        assert rawbert("doctor", *arguments).returncode == 2
    done = rawbert("doctor", "http://bert:8500")
    assert done.returncode == 1
    assert "without a scheme" in done.said
