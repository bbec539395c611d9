"""Arguments of calls and settings of clients: both clients check them equally, before anything is sent."""

from __future__ import annotations

import asyncio
import math
import multiprocessing
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pytest
from command import SLOW_ON_THE_SECOND
from rawbert.serving import TLS, AsyncClient, ChannelConfig, Client, RetryPolicy
from rawbert.serving.client.settings import CallOptions

KINDS = pytest.mark.parametrize("kind", [Client, AsyncClient])


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"metadata": {"Authorization": "x"}}, ValueError, "'Authorization': .* write 'authorization'"),
        ({"metadata": [("my key", "x")]}, ValueError, "metadata key 'my key'"),
        ({"metadata": [("", "x")]}, ValueError, "metadata key ''"),
        ({"metadata": [("clé", "x")]}, ValueError, "metadata key"),
        ({"metadata": [("key", "a\nb")]}, ValueError, "printable ASCII"),
        ({"metadata": [("key", "a\0")]}, ValueError, "printable ASCII"),
        ({"metadata": [("key", "é")]}, ValueError, "printable ASCII"),
        ({"metadata": [("key", b"\xff")]}, ValueError, "ends in -bin"),
        ({"metadata": [("key", 5)]}, TypeError, "'key' has a int"),
        ({"metadata": {"key-bin": "text"}}, TypeError, "'key-bin' has a str as its value"),
        ({"metadata": ["key"]}, TypeError, "pairs"),
        ({"metadata": "key"}, TypeError, "pairs"),
        ({"timeout": math.inf}, ValueError, "None for no deadline"),
        ({"timeout": math.nan}, ValueError, "timeout is nan"),
        ({"timeout": 0}, ValueError, "timeout is 0"),
        ({"timeout": -1}, ValueError, "timeout is -1"),
        ({"timeout": 1e300}, ValueError, "at most"),
        ({"timeout": "3"}, TypeError, "timeout is '3'"),
        ({"timeout": True}, TypeError, "timeout is True"),
        ({"version": "3"}, TypeError, "version is '3'"),
        ({"version": 1.5}, TypeError, "version is 1.5"),
        ({"version_label": ""}, ValueError, "version_label is empty"),
        ({"version_label": 3}, TypeError, "version_label is 3"),
        ({"version": 1, "version_label": "a"}, ValueError, "not both"),
        ({"signature_name": 3}, TypeError, "signature_name is 3"),
        ({"call_credentials": "token"}, TypeError, "call_credentials is a str"),
    ],
)
def test_options_that_cannot_be_sent(server: Any, options: dict[str, Any], error: type[Exception], says: str) -> None:
    def calls(client: Any) -> list[Callable[[], Any]]:
        made = [
            lambda: client.embed(["1"], **options),
            lambda: anext(client.embed_iter(["1"], **options)) if isinstance(client, AsyncClient) else
            next(client.embed_iter(["1"], **options)),
        ]  # fmt: skip
        if "signature_name" not in options:
            made += [lambda: client.predict({"text": ["1"]}, **options), lambda: client.metadata(**options)]
            made += [lambda: client.status(**options), lambda: client.wait_until_ready(**options)]
        return made

    async def asked() -> None:
        async with AsyncClient(server.address, model="m") as client:
            for call in calls(client):
                with pytest.raises(error, match=says):
                    await call()

    with Client(server.address, model="m") as client:
        for call in calls(client):
            with pytest.raises(error, match=says):
                call()
    asyncio.run(asked())
    assert server.headers == []


@pytest.mark.parametrize(
    "options",
    [
        {"metadata": None},
        {"metadata": {"authorization": "Bearer x", "trace-bin": b"\xff\0"}},
        {"metadata": {"a.b-c_9": b"plain"}.items()},
        {"timeout": 1e9},
        {"timeout": np.float32(3)},
        {"version": np.int64(1)},
    ],
)
def test_options_that_can(server: Any, options: dict[str, Any]) -> None:
    with Client(server.address, model="m") as client:
        assert client.embed(["1"], **options)[0, 1] == 1
    if "authorization" in (options.get("metadata") or {}):
        assert server.tokens == ["Bearer x"]
        assert server.headers[-1]["trace-bin"] == b"\xff\0"


@KINDS
@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"address": None}, TypeError),
        ({"address": [None]}, TypeError),
        ({"address": 8500}, TypeError),
        ({"address": []}, ValueError),
        ({"model": None}, TypeError),
        ({"model": ""}, ValueError),
        ({"timeout": math.inf}, ValueError),
        ({"version": "1"}, TypeError),
        ({"version": True}, TypeError),
        ({"metadata": {"Authorization": "x"}}, ValueError),
        ({"max_batch_size": 0}, ValueError),
        ({"max_batch_size": 1.5}, TypeError),
        ({"max_batch_size": "64"}, TypeError),
        ({"concurrency": 0}, ValueError),
        ({"concurrency": None}, TypeError),
        ({"tls": True}, TypeError),
        ({"retry": 3}, TypeError),
        ({"config": {"gzip": True}}, TypeError),
        ({"on_call": "print"}, TypeError),
        ({"call_credentials": "token"}, TypeError),
    ],
)
def test_settings_that_cannot_work(kind: Any, settings: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(settings))):
        kind(**{"address": "localhost:1", "model": "m", **settings})


@pytest.mark.parametrize(
    ("make", "settings", "error"),
    [
        (ChannelConfig, {"max_message_bytes": 0}, ValueError),
        (ChannelConfig, {"max_message_bytes": "4MB"}, TypeError),
        (ChannelConfig, {"keepalive_time": -1}, ValueError),
        (ChannelConfig, {"keepalive_timeout": 0}, ValueError),
        (ChannelConfig, {"keepalive_timeout": math.nan}, ValueError),
        (ChannelConfig, {"connect_timeout": None}, TypeError),
        (ChannelConfig, {"idle_timeout": math.inf}, ValueError),
        (ChannelConfig, {"lookup_interval": "10"}, TypeError),
        (ChannelConfig, {"options": (("grpc.x",),)}, TypeError),
        (RetryPolicy, {"max_attempts": "3"}, TypeError),
        (RetryPolicy, {"max_attempts": 2.5}, TypeError),
        (RetryPolicy, {"initial_backoff": math.nan}, ValueError),
        (RetryPolicy, {"budget": -1}, ValueError),
        (TLS, {"ca": 3}, TypeError),
    ],
)
def test_settings_of_settings_that_cannot_work(make: Any, settings: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(settings))):
        make(**settings)


def test_channel_options_may_be_a_dict() -> None:
    assert ChannelConfig(options={"grpc.a": 1}) == ChannelConfig(options=(("grpc.a", 1),))
    assert hash(ChannelConfig(options={"grpc.a": 1})) == hash(ChannelConfig(options=(("grpc.a", 1),)))


def test_settings_can_be_pickled() -> None:
    pem = b"-----BEGIN CERTIFICATE-----"
    for settings in (
        ChannelConfig(gzip=True, options=(("grpc.http2.write_buffer_size", 65536),)),
        RetryPolicy(max_attempts=3),
        TLS(ca=pem, server_name="bert"),
        CallOptions(version=3, metadata={"a": "b"}),
    ):
        assert pickle.loads(pickle.dumps(settings)) == settings


def embedded(address: str, settings: dict[str, Any]) -> float:
    with Client(address, model="m", **settings) as client:
        return float(client.embed(["7"])[0, 1])


@SLOW_ON_THE_SECOND
@pytest.mark.parametrize("way", ["spawn", "forkserver"])
def test_a_client_is_made_in_a_worker_of_its_own(server: Any, way: str) -> None:
    settings = {"config": ChannelConfig(gzip=True), "retry": RetryPolicy(max_attempts=3), "timeout": 20}
    with ProcessPoolExecutor(1, multiprocessing.get_context(way)) as pool:
        assert pool.submit(embedded, server.address, settings).result(60) == 7


def test_any_channel_option_can_be_passed(server: Any) -> None:
    config = ChannelConfig(options=(("grpc.primary_user_agent", "batch-job"), ("grpc.max_send_message_length", 1000)))
    with Client(server.address, model="m", config=config) as client:
        with pytest.raises(Exception, match="larger than max"):
            client.embed(["1" + "x" * 2000])
        assert client.embed(["1"])[0, 1] == 1
    assert server.headers[-1]["user-agent"].startswith("batch-job ")


def test_a_client_says_how_it_goes_to_another_process() -> None:
    with pytest.raises(TypeError, match="make a client in each process"):
        pickle.dumps(Client("localhost:1", model="m", call_credentials=None))
