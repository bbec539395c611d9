"""The HTTP server with slow callers, huge and malformed requests and disconnects, and its shutdown."""

from __future__ import annotations

import gzip
import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tensorflow_serving", reason="the embedded server needs the server extra")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def server(model_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from rawbert.serving.server import EmbeddedServer

    monitoring = tmp_path_factory.mktemp("monitoring") / "monitoring.config"
    monitoring.write_text('prometheus_config { enable: true path: "/my/metrics" }')
    flags = {"rest_api_port": _free_port(), "rest_api_num_threads": 3, "monitoring_config_file": str(monitoring)}
    with EmbeddedServer("arithmetic", model_root / "arithmetic", **flags) as started:
        yield started


@pytest.fixture
def port(server: Any) -> int:
    number: int = server.rest_port
    return number


PATH = "/v1/models/arithmetic:predict"
BODY = b'{"instances": [1]}'
ANSWER = b'{\n    "predictions": [2.5\n    ]\n}'


def _ask(port: int, body: Any = BODY, method: str = "POST", path: str = PATH, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _raw(port: int, *parts: bytes) -> bytes:
    """The answer to these bytes, up to the end of the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        for part in parts:
            connection.sendall(part)
        received = b""
        while part := connection.recv(1 << 16):
            received += part
        return received


def test_one_connection_is_used_again(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for _ in range(3):
        connection.request("POST", PATH, BODY)
        assert connection.getresponse().read() == ANSWER
    connection.close()


def test_a_body_in_parts(port: int) -> None:
    assert _ask(port, iter([BODY[:5], BODY[5:]])) == (200, ANSWER)
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()
    assert _raw(port, head, BODY[:3], BODY[3:]).endswith(ANSWER)


@pytest.mark.parametrize("line", [b"nonsense\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\xfc\x03", b"GET /"])
def test_what_is_no_http(port: int, line: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(line)
        connection.shutdown(socket.SHUT_WR)
        received = connection.recv(1 << 16)
    assert received == b"" or received.startswith(b"HTTP/1.1 400")
    assert _ask(port) == (200, ANSWER)


def test_a_caller_that_leaves_in_the_middle(port: int) -> None:
    for sent in (b"POST", f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{".encode()):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(sent)
    assert _ask(port) == (200, ANSWER)


def test_callers_that_send_nothing_do_not_keep_others_out(port: int) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 18\r\n\r\n".encode()
    waiting = [socket.create_connection(("127.0.0.1", port)) for _ in range(200)]
    try:
        for at, connection in enumerate(waiting):
            connection.sendall(head[: at % len(head)])
        assert _ask(port) == (200, ANSWER)
    finally:
        for connection in waiting:
            connection.close()


def test_half_a_request_is_given_up(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from rawbert.serving.server.rest import app
    from rawbert.serving.server.rest import server as http_server

    monkeypatch.setattr(app, "PATIENCE", 0.5)
    monkeypatch.setattr(http_server, "PATIENCE", 0.5)
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 18\r\n\r\n".encode()
    assert _raw(port, b"") == _raw(port, head[:20]) == b""
    assert _raw(port, head, BODY[:5]).startswith(b"HTTP/1.1 408")


def test_bodies_that_are_too_large(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from rawbert.serving.server.rest import app

    monkeypatch.setattr(app, "MOST_BYTES", 1 << 20)
    large = b" " * (1 << 20)
    assert _ask(port, BODY + large[len(BODY) :]) == (200, ANSWER)
    assert _ask(port, BODY + large)[0] == 413
    assert _ask(port, iter([BODY, large]))[0] == 413
    assert _ask(port, gzip.compress(BODY + large), **{"Content-Encoding": "gzip"})[0] == 413
    assert _ask(port, gzip.compress(BODY)[:-4], **{"Content-Encoding": "gzip"})[0] == 400
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {1 << 40}\r\n\r\n".encode()
    assert _raw(port, head).startswith(b"HTTP/1.1 413")
    assert _ask(port) == (200, ANSWER)


def test_headers_without_end(port: int) -> None:
    received = _raw(port, f"GET {PATH} HTTP/1.1\r\n".encode(), b"X: " + b"x" * 100_000)
    assert received.startswith(b"HTTP/1.1 400")


def test_a_caller_that_is_gone_is_not_computed(server: Any, port: int) -> None:
    """All threads are busy; requests whose callers disconnect in the meantime do not reach the model."""
    name = 'runtime_latency_count{model_name="arithmetic"'
    slow = b'{"signature_name": "slow", "inputs": [200000]}'

    def runs() -> int:
        return int(
            re.findall(re.escape(name) + r".*\} (\d+)", _ask(port, method="GET", path="/my/metrics")[1].decode())[0]
        )

    before = runs()
    with ThreadPoolExecutor(2) as pool:
        busy = [pool.submit(_ask, port, slow) for _ in range(2)]
        time.sleep(0.3)
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()
                connection.sendall(head + BODY)
                time.sleep(0.05)
        assert [future.result()[0] for future in busy] == [200, 200]
    assert runs() == before + 2
    page = _ask(port, method="GET", path="/my/metrics")[1]
    assert b':tensorflow:serving:request_count{model_name="arithmetic",status="CANCELLED"} 5\n' in page


def test_the_status_for_a_caller_that_is_gone(server: Any) -> None:
    from rawbert.serving.server.metrics import Metrics
    from rawbert.serving.server.rest.api import Api

    status, body = Api(server._registry, Metrics(), None).answer("POST", PATH, BODY, wanted=lambda: False)
    assert (status, json.loads(body)) == (499, {"error": "the caller is gone"})


def test_the_path_of_the_metrics(port: int) -> None:
    status, page = _ask(port, method="GET", path="/my/metrics")
    assert status == 200
    assert page.startswith(b"# TYPE :tensorflow:cc:saved_model:load_attempt_count counter\n")
    assert _ask(port, method="GET", path="/monitoring/prometheus/metrics")[0] == 404
    assert _ask(port, method="GET", path="/my/metrics?x=1") == (
        400, b"Unexpected path: /my/metrics?x=1. Should be /my/metrics",
    )  # fmt: skip


def test_names_of_models_in_the_metrics_are_escaped(port: int) -> None:
    assert _ask(port, path="/v1/models/%22%5c%0a%ff:predict")[0] == 404
    page = _ask(port, method="GET", path="/my/metrics")[1].decode()
    assert ':tensorflow:serving:request_count{model_name="\\"\\\\\\n?",status="NOT_FOUND"} 1\n' in page


def test_prometheus_own_reader_takes_the_page(port: int) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    families = list(text_string_to_metric_families(_ask(port, method="GET", path="/my/metrics")[1].decode()))
    assert len(families) == 11
    assert {family.type for family in families} == {"counter", "histogram"}


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"rest_api_port": 8501, "port": 8501}, "--rest_api_port and --port are the same"),
        ({"monitoring_config_file": "/nowhere/monitoring"}, "No such file"),
        ({"monitoring_config_file": "nonsense"}, "it is not a MonitoringConfig text proto"),
    ],
)
def test_starts_that_fail(model_root: Path, tmp_path: Path, flags: dict[str, Any], says: str) -> None:
    from rawbert.serving.server import StartError
    from rawbert.serving.server.options import ServerOptions
    from rawbert.serving.server.start import Plan

    if flags.get("monitoring_config_file") == "nonsense":
        (tmp_path / "monitoring").write_text("nonsense")
        flags = {"monitoring_config_file": str(tmp_path / "monitoring")}
    with pytest.raises(StartError, match=says):
        Plan(ServerOptions(model_name="m", model_base_path=str(model_root / "m"), **flags))


def test_a_port_that_is_taken(server: Any, model_root: Path) -> None:
    from rawbert.serving.server import StartError
    from rawbert.serving.server.options import ServerOptions
    from rawbert.serving.server.start import Plan

    options = ServerOptions(model_name="m", model_base_path=str(model_root / "m"), rest_api_port=server.rest_port)
    with pytest.raises(StartError, match=f"cannot listen on 127.0.0.1:{server.rest_port}: Address already in use"):
        Plan(options)


def test_the_end_waits_for_calls_and_closes_the_rest(model_root: Path) -> None:
    """A call in flight is answered; idle connections are closed, new ones refused; the port becomes free."""
    from rawbert.serving.server import EmbeddedServer

    for steps in (20_000, 80_000, 320_000):
        port = _free_port()
        server = EmbeddedServer("arithmetic", model_root / "arithmetic", rest_api_port=port)
        server.start()
        idle = socket.create_connection(("127.0.0.1", port))
        half = socket.create_connection(("127.0.0.1", port))
        half.sendall(f"POST {PATH} HTTP/1.1\r\n".encode())
        assert _ask(port) == (200, ANSWER)
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(_ask, port, json.dumps({"signature_name": "slow", "inputs": [steps]}))
            time.sleep(0.2)
            in_flight = not call.done()
            assert server.stop(grace=120)
            assert call.result()[0] == 200
        assert idle.recv(1) == half.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            _ask(port)
        idle.close()
        half.close()
        if in_flight:
            return
    pytest.fail("no call was in flight when the server was stopped")


@pytest.mark.slow
def test_the_end_after_its_grace_cuts_calls_off(model_root: Path) -> None:
    from rawbert.serving.server import EmbeddedServer

    port = _free_port()
    server = EmbeddedServer("arithmetic", model_root / "arithmetic", rest_api_port=port)
    server.start()
    ended = []

    def ask() -> None:
        try:
            ended.append(_ask(port, b'{"signature_name": "slow", "inputs": [700000]}')[0])
        except (http.client.HTTPException, OSError) as error:
            ended.append(error)

    caller = threading.Thread(target=ask)
    caller.start()
    time.sleep(0.3)
    begun = time.monotonic()
    assert not server.stop(grace=0.2)
    assert time.monotonic() - begun < 30
    caller.join(60)
    assert len(ended) == 1
    assert ended[0] != 200
    time.sleep(5)  # The model is still computing, and a process that ended now would be aborted.


def test_batches_are_shared_with_grpc(model_root: Path, tmp_path: Path) -> None:
    """Two calls, one over each protocol, share a batch."""
    import numpy as np
    from rawbert.serving import Client
    from rawbert.serving.server import EmbeddedServer

    (tmp_path / "batching").write_text("max_batch_size { value: 2 } batch_timeout_micros { value: 20000000 }")
    flags = {"enable_batching": True, "batching_parameters_file": str(tmp_path / "batching")}
    port = _free_port()
    with (
        EmbeddedServer("arithmetic", model_root / "arithmetic", rest_api_port=port, **flags) as server,
        Client(server.address, model="arithmetic") as client,
        ThreadPoolExecutor(2) as pool,
    ):
        begun = time.monotonic()
        rest = pool.submit(_ask, port)
        grpc = pool.submit(client.predict, {"x": np.float32([3])})
        assert rest.result() == (200, ANSWER)
        assert grpc.result()["y"].tolist() == [3.5]
        assert time.monotonic() - begun < 15
