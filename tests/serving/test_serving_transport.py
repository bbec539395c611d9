"""The environment of calls: forks, sockets, interceptors, compression, readiness, configuration, hints."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from official_server import number_server
from rawbert.serving import (
    AsyncClient,
    ChannelConfig,
    Client,
    InvalidRequest,
    ModelNotFound,
    RetryPolicy,
    ServerFault,
    ServerUnavailable,
    SignatureNotFound,
)
from watched import Refusal

FORK = """
import os, sys
from rawbert.serving import Client
address, used = sys.argv[1], sys.argv[2] == "used"
client = Client(address, model="m", timeout=10)
if used:
    client.embed(["1"])
children = []
for number in range(4):
    child = os.fork()
    if not child:
        os._exit(0 if client.embed([str(number)])[0, 1] == number else 3)
    children.append(child)
assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
assert client.embed(["7"])[0, 1] == 7
"""


@pytest.mark.parametrize("state", ["fresh", "used"])
def test_a_client_made_before_forks_works_in_each_process(state: str) -> None:
    with number_server() as server:
        subprocess.run([sys.executable, "-c", FORK, server.address, state], check=True, timeout=60)


class Header(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]
    def __init__(self) -> None:
        self.methods: list[str] = []

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        self.methods.append(details.method)
        return continuation(details, request)


def test_interceptors_and_gzip() -> None:
    header = Header()
    config = ChannelConfig(gzip=True)
    with number_server() as server, Client(server.address, model="m", interceptors=[header], config=config) as client:
        assert client.embed(["1" + "x" * 10_000])[0, 1] == 1
    assert header.methods == ["/tensorflow.serving.PredictionService/Predict"]


def test_an_interceptor_that_fails_is_heard() -> None:
    class Broken(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]
        def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
            raise KeyError("broken")

    class AsyncBroken(grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[misc]
        async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
            raise KeyError("broken")

    async def call(address: str) -> None:
        async with AsyncClient(address, model="m", interceptors=[AsyncBroken()]) as client:
            await client.embed(["1"])

    with number_server() as server:
        with Client(server.address, model="m", interceptors=[Broken()]) as client, pytest.raises(KeyError):
            client.embed(["1"])
        with pytest.raises(KeyError):
            asyncio.run(call(server.address))


def test_a_hook_that_fails_does_not_fail_the_call(caplog: pytest.LogCaptureFixture) -> None:
    def hook(record: Any) -> None:
        raise RuntimeError("the hook")

    with number_server() as server, Client(server.address, model="m", on_call=hook) as client:
        assert client.embed(["1"])[0, 1] == 1
    assert "the on_call hook failed" in caplog.text


def test_cancelling_the_task_cancels_the_calls() -> None:
    async def main(address: str) -> None:
        async with AsyncClient(address, model="m") as client:
            task = asyncio.create_task(client.embed([str(at) for at in range(1000)]))
            await asyncio.sleep(0.2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert len(asyncio.all_tasks()) == 1

    with number_server(lambda request: time.sleep(0.5)) as server:
        asyncio.run(main(server.address))


def test_wait_until_ready(text_server: Any) -> None:
    with Client(text_server.address, model="text") as client:
        assert client.wait_until_ready(timeout=5)[0].state == "AVAILABLE"
    for call in (
        lambda: Client("127.0.0.1:1", model="m").wait_until_ready(timeout=0.5),
        lambda: asyncio.run(AsyncClient("127.0.0.1:1", model="m").wait_until_ready(timeout=0.5)),
    ):
        with pytest.raises(ServerUnavailable, match="was not ready within"):
            call()


def test_wait_for_ready_waits_for_a_server_that_starts_late() -> None:
    server = number_server()
    threading.Timer(0.5, server.__enter__).start()
    with Client(server.address, model="m", config=ChannelConfig(wait_for_ready=True)) as client:
        assert client.embed(["1"], timeout=20)[0, 1] == 1
    server.__exit__()


def test_unknown_signatures_and_versions_list_those_that_exist(text_server: Any) -> None:
    with (
        Client(text_server.address, model="text") as client,
        pytest.raises(SignatureNotFound, match="has the signatures embed, pooled, sequence"),
    ):
        client.embed(["a"], signature_name="nope")
    with (
        Client(text_server.address, model="text", version=9) as client,
        pytest.raises(ModelNotFound, match=r"has the versions 3 \(AVAILABLE\)"),
    ):
        client.embed(["a"])


CONFIG = """
model_config_list {
  config {
    name: "m" base_path: "/models/m" model_platform: "tensorflow"
    model_version_policy { specific { versions: 3 versions: 4 } }
    version_labels { key: "stable" value: 3 }
  }
}
"""


def test_reload_config_reaches_every_server() -> None:
    from tensorflow_serving.apis import model_management_pb2

    class Reloads(grpc.GenericRpcHandler):  # type: ignore[misc]
        def __init__(self, code: int) -> None:
            self.code, self.got = code, []

        def service(self, details: Any) -> Any:
            def handle(data: bytes, context: Any) -> bytes:
                request = model_management_pb2.ReloadConfigRequest.FromString(data)
                self.got.append(request.config.model_config_list.config[0])
                answer = model_management_pb2.ReloadConfigResponse()
                answer.status.error_code = self.code
                return answer.SerializeToString()

            return grpc.unary_unary_rpc_method_handler(handle)

    from concurrent.futures import ThreadPoolExecutor

    handlers = [Reloads(0), Reloads(3)]
    servers = [grpc.server(ThreadPoolExecutor(2), handlers=[handler]) for handler in handlers]
    ports = [server.add_insecure_port("127.0.0.1:0") for server in servers]
    for server in servers:
        server.start()
    try:
        with Client([f"127.0.0.1:{port}" for port in ports], model="m") as client:
            with pytest.raises(InvalidRequest, match=f"at 127.0.0.1:{ports[1]}"):
                client.reload_config(CONFIG)
            with pytest.raises(ValueError, match=r"models\.config"):
                client.reload_config("nonsense {")
    finally:
        for server in servers:
            server.stop(None).wait()
    for handler in handlers:
        (config,) = handler.got
        assert (config.name, config.version_labels["stable"]) == ("m", 3)
        assert list(config.model_version_policy.specific.versions) == [3, 4]


def test_unix_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # The path of a socket must be short.
    server = number_server(address="unix:s")
    with server, Client("unix:s", model="m", retry=RetryPolicy(max_attempts=2)) as client:
        assert client.embed(["1"])[0, 1] == 1


def test_a_port_that_speaks_http_is_named() -> None:
    import http.server

    web = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    address = f"127.0.0.1:{web.server_port}"
    with (
        Client(address, model="m", retry=RetryPolicy(max_attempts=2)) as client,
        pytest.raises(ServerUnavailable, match="does not speak gRPC"),
    ):
        client.embed(["a"], timeout=5)
    web.shutdown()


def test_refusals_carry_what_was_asked() -> None:
    def refuse(request: Any) -> None:
        raise Refusal(grpc.StatusCode.INTERNAL, "it broke")

    with (
        number_server(refuse) as server,
        Client(server.address, model="m", version_label="stable") as client,
        pytest.raises(ServerFault, match=r"Predict \(model 'm', version stable, signature 'embed'\) at .*: it broke"),
    ):
        client.embed(["a"])


def test_ctrl_c_does_not_strike_where_a_call_is_begun() -> None:
    begun = []

    class Interrupting(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]
        def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
            if len(begun) == 1:
                signal.raise_signal(signal.SIGINT)
            begun.append(continuation(details, request))
            return begun[-1]

    with number_server() as server, Client(server.address, model="m", interceptors=[Interrupting()]) as client:
        client.embed(["1"])
        with pytest.raises(KeyboardInterrupt):
            client.embed(["2"])
        assert len(begun) == 2  # It was begun, and cancelled after.
        assert client.embed(["3"], timeout=5)[0, 1] == 3
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
