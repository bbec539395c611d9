"""The clients with servers that fail, are busy, change their version, or limit requests."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from official_server import number_server
from rawbert.serving import (
    AsyncClient,
    CallCancelled,
    CallRecord,
    Client,
    DeadlineExceeded,
    ModelVersionChanged,
    RetryPolicy,
    ServerOverloaded,
    ServerUnavailable,
)
from watched import Refusal

BUSY = Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")
DOWN = Refusal(grpc.StatusCode.UNAVAILABLE, "Stream removed (Socket closed)")
#: gRPC itself drops calls with this status when too many of them wait.
DROPPED = Refusal(grpc.StatusCode.CANCELLED, "")


def texts(count: int, start: int = 0) -> list[str]:
    return [str(at) for at in range(start, start + count)]


def both(address: Any, call: Callable[[Any], Any], **settings: Any) -> list[Any]:
    """The same call with the sync and with the asyncio client."""

    async def asked() -> Any:
        async with AsyncClient(address, model="m", **settings) as client:
            return await call(client)

    with Client(address, model="m", **settings) as client:
        return [call(client), asyncio.run(asked())]


def test_the_twins_have_the_same_methods_and_arguments() -> None:
    for name, method in inspect.getmembers(Client, inspect.isfunction):
        if name.startswith("_") and name != "__init__":
            continue
        twin = getattr(AsyncClient, name)
        assert inspect.signature(method).parameters.keys() == inspect.signature(twin).parameters.keys(), name
        assert inspect.iscoroutinefunction(twin) or inspect.isasyncgenfunction(twin) or name == "__init__", name
        assert name == "__init__" or inspect.getdoc(twin) == inspect.getdoc(method), name


@pytest.mark.parametrize("sort", [False, True])
def test_many_texts_in_order(sort: bool) -> None:
    asked = [text + "x" * random.Random(at).randrange(9) for at, text in enumerate(texts(1000))]
    with number_server(lambda request: time.sleep(random.random() / 100)) as server:
        for vectors, version in both(
            server.address,
            lambda client: client.embed(asked, sort_by_length=sort, return_version=True),
            max_batch_size=7,
        ):
            assert vectors[:, 1].tolist() == list(range(1000))
            assert version == 1


def test_the_servers_batch_limit_is_learnt() -> None:
    def limited(request: Any) -> None:
        if (size := len(request.inputs["text"].string_val)) > 10:
            message = f"Task size {size} is larger than maximum input batch size 10"
            raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, message)

    with number_server(limited) as server, Client(server.address, model="m") as client:
        assert client.embed(texts(500))[:, 1].tolist() == list(range(500))
        server.sizes.clear()
        client.embed(texts(100))
        assert max(server.sizes) == 10


@pytest.mark.parametrize("refusal", [BUSY, DOWN, DROPPED], ids=["busy", "down", "dropped"])
def test_a_third_of_all_calls_refused(refusal: Refusal) -> None:
    turn = itertools.count()

    def third(request: Any) -> None:
        if next(turn) % 3 == 0:
            raise refusal

    # Of a thousand calls one in seven runs has one that is refused eight times in a row.
    retry = RetryPolicy(max_attempts=16)
    with (
        number_server(third) as server,
        Client(server.address, model="m", retry=retry) as client,
        ThreadPoolExecutor(32) as pool,
    ):
        for at, vectors in enumerate(pool.map(lambda at: client.embed([str(at)]), range(1000))):
            assert vectors[:, 1].tolist() == [at]


def refuse(refusal: Refusal) -> Callable[[Any], None]:
    def before(request: Any) -> None:
        raise refusal

    return before


@pytest.mark.parametrize(
    ("refusal", "kind"), [(BUSY, ServerOverloaded), (DOWN, ServerUnavailable), (DROPPED, CallCancelled)]
)
def test_refused_for_good_ends_within_the_deadline(refusal: Refusal, kind: type[Exception]) -> None:
    """Over a connection; test_serving_retry.py has the same test with a simulated clock."""
    with number_server(refuse(refusal)) as server:
        begun = time.monotonic()
        # An attempt that is on its way when the time is over says nothing of the server.
        with Client(server.address, model="m") as client, pytest.raises((kind, DeadlineExceeded)):
            client.embed(["1"], timeout=1)
        assert time.monotonic() - begun < 5
        assert len(server.sizes) > 1
    with (
        number_server(refuse(DOWN)) as server,
        Client(server.address, model="m", retry=RetryPolicy(max_attempts=1)) as client,
    ):
        with pytest.raises(ServerUnavailable):
            client.embed(["1"], timeout=20)
        assert server.sizes == [1]


def test_a_message_over_the_limit_is_sent_once() -> None:
    refusal = Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "SERVER: Received message larger than max (9 vs. 8)")
    with number_server(refuse(refusal)) as server, Client(server.address, model="m") as client:
        with pytest.raises(Exception, match="max_message_bytes"):
            client.embed(["1"])
        assert server.sizes == [1]


def test_a_server_that_never_answers() -> None:
    ended = threading.Event()
    with number_server(lambda request: ended.wait(20)) as server:
        for timeout in (0.1, 0.3):
            begun = time.monotonic()
            with Client(server.address, model="m") as client, pytest.raises(DeadlineExceeded):
                client.embed(texts(1000), timeout=timeout)
            assert time.monotonic() - begun < 5
        ended.set()


def test_versions_of_one_call_never_mix() -> None:
    done = threading.Event()
    with number_server(lambda request: time.sleep(0.002)) as server, Client(server.address, model="m") as client:

        def swap() -> None:
            for version in range(2, 12):
                server.versions.append(version)  # Both are there, as in TensorFlow Serving.
                time.sleep(0.05)
                server.versions.remove(version - 1)
                time.sleep(0.25)
            done.set()

        thread = threading.Thread(target=swap)
        thread.start()
        calls = 0
        while not done.is_set():
            try:
                vectors, version = client.embed(texts(2000), return_version=True)
            except ModelVersionChanged:
                continue
            calls += 1
            assert set(vectors[:, 0].tolist()) == {version}
            assert vectors[:, 1].tolist() == list(range(2000))
        thread.join()
        assert calls >= 5


def test_embed_iter_raises_when_its_version_goes() -> None:
    with number_server() as server, Client(server.address, model="m", max_batch_size=4) as client:
        stream = client.embed_iter(texts(1000), return_version=True)
        assert next(stream)[1] == 1
        server.versions = [2]
        with pytest.raises(ModelVersionChanged, match="version 1 answered the first texts"):
            list(stream)


def test_embed_iter_follows_to_another_version_where_it_may() -> None:
    with number_server() as server, Client(server.address, model="m", max_batch_size=4) as client:
        vectors, versions = [], []
        for vector, version in client.embed_iter(texts(400), follow_version=True, return_version=True):
            vectors.append(vector)
            versions.append(version)
            if len(vectors) == 100:
                server.versions = [2]
        assert [vector[1] for vector in vectors] == list(range(400))
        assert versions == sorted(versions)
        assert versions[0] == 1
        assert versions[-1] == 2
        assert all(vector[0] == version for vector, version in zip(vectors, versions, strict=True))
        with pytest.raises(ValueError, match="return_version"):
            next(client.embed_iter(["1"], follow_version=True))


def test_embed_iter_reads_no_further_than_its_window() -> None:
    read = itertools.count()

    def source() -> Iterator[str]:
        for text in texts(100_000):
            next(read)
            yield text

    with number_server() as server, Client(server.address, model="m", max_batch_size=10, concurrency=2) as client:
        stream = client.embed_iter(source())
        assert [next(stream)[1] for _ in range(25)] == list(range(25))
        assert next(read) <= 25 + 10 * 5
        stream.close()  # type: ignore[attr-defined]


def listed(stream: Any) -> Any:
    """All items of a stream, sync or asyncio."""

    async def awaited() -> list[Any]:
        return [each async for each in stream]

    return awaited() if isinstance(stream, AsyncIterator) else list(stream)


def test_embed_iter_of_pairs_sorted_by_length_in_order() -> None:
    asked = [text + "x" * random.Random(at).randrange(300) for at, text in enumerate(texts(3000))]
    pairs = texts(3000, start=7)

    def stream(client: Any) -> Any:
        return listed(client.embed_iter(iter(asked), text_pair=iter(pairs), sort_by_length=True, return_version=True))

    with number_server(lambda request: time.sleep(random.random() / 200)) as server:
        for got in both(server.address, stream, max_batch_size=8):
            assert [vector.tolist() for vector, _ in got] == [[1, at, at + 7] for at in range(3000)]
            assert {version for _, version in got} == {1}


def test_a_sorted_stream_is_split_at_the_servers_limit_in_order() -> None:
    def limited(request: Any) -> None:
        if (size := len(request.inputs["text"].string_val)) > 10:
            message = f"Task size {size} is larger than maximum input batch size 10"
            raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, message)

    asked = [text + "x" * random.Random(at).randrange(300) for at, text in enumerate(texts(2500))]
    with number_server(limited) as server:
        for got in both(server.address, lambda client: listed(client.embed_iter(asked, sort_by_length=True))):
            assert [vector[1] for vector in got] == list(range(2500))


@pytest.mark.parametrize(
    ("streams", "says"),
    [
        ((["1"] * 9, ["1"] * 8), r"texts continues after the end of text_pair \(8 texts\)"),
        ((["1"] * 8, ["1"] * 9), r"text_pair continues after the end of texts \(8 texts\)"),
        (([], ["1"]), r"text_pair continues after the end of texts \(0 texts\)"),
        ((["1", "2"], ["1", None]), r"text_pair\[1\] is a NoneType"),
        ((["1"], "1"), "text_pair is a single str"),
        (("1", None), "texts is a single str"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(streams: Any, says: str) -> None:
    with number_server() as server, pytest.raises((TypeError, ValueError), match=says):
        both(server.address, lambda client: listed(client.embed_iter(streams[0], text_pair=streams[1])))
    with number_server() as server, pytest.raises((TypeError, ValueError), match=says):
        asyncio.run(alone(server.address, *streams))


async def alone(address: str, texts: Any, pairs: Any) -> None:
    async with AsyncClient(address, model="m") as client:
        await listed(client.embed_iter(texts, text_pair=pairs))


def test_a_version_for_one_call() -> None:
    with number_server() as server:
        server.versions = [1, 2]
        for got in both(server.address, lambda client: client.embed(["5"], version=1)):
            assert got.tolist() == [[1, 5]]
        for got in both(server.address, lambda client: client.embed(["5"]), version=1):
            assert got.tolist() == [[1, 5]]
        with Client(server.address, model="m", version=1) as client:
            assert client.embed(["5"], version=2, return_version=True)[1] == 2
            with pytest.raises(ValueError, match="not both"):
                client.embed(["5"], version=2, version_label="stable")


def test_embed_iter_of_an_asynchronous_stream() -> None:
    async def source() -> AsyncIterator[str]:
        for text in texts(1000):
            yield text

    async def asked(address: str) -> list[tuple[float, float]]:
        async with AsyncClient(address, model="m") as client:
            stream = client.embed_iter(source(), text_pair=source())
            return [(vector[1], vector[2]) async for vector in stream]

    with number_server() as server:
        assert asyncio.run(asked(server.address)) == [(at, at) for at in range(1000)]


def test_another_event_loop_is_refused() -> None:
    client = AsyncClient("127.0.0.1:1", model="m", retry=RetryPolicy(max_attempts=1))

    async def call() -> None:
        await client.embed(["1"])

    with pytest.raises(ServerUnavailable):
        asyncio.run(call())
    with pytest.raises(RuntimeError, match="another event loop"):
        asyncio.run(call())


def test_hook() -> None:
    records: list[CallRecord] = []
    with number_server() as server:
        both(server.address, lambda client: client.embed(["1", "2"]), on_call=records.append)
        assert {(each.method, each.address, each.code, each.rows, each.attempt) for each in records} == {
            ("Predict", server.address, grpc.StatusCode.OK, 2, 1)
        }


def test_servers_in_turn() -> None:
    with (
        number_server() as one,
        number_server() as two,
        Client([one.address, two.address, "127.0.0.1:1"], model="m") as client,
    ):
        for at in range(60):
            client.embed([str(at)])
        assert min(len(one.sizes), len(two.sizes)) >= 20


@pytest.mark.parametrize("address", ["http://h:1", "h", "h:x", "", "h:99999", []])
def test_addresses_that_cannot_be(address: Any) -> None:
    with pytest.raises(ValueError, match="host:port"):
        Client(address, model="m")


def spawn(port: int, target: str) -> subprocess.Popen[str]:
    """A gate to a server, in a process that can be killed."""
    script = Path(__file__).with_name("watched.py")
    process = subprocess.Popen([sys.executable, str(script), str(port), target], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline()
    return process


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def cutting_proxy(target: int) -> Iterator[int]:
    """A TCP proxy that cuts each connection after some bytes of answers, or after some time."""
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, sink: socket.socket, most: float) -> None:
        try:
            while most > 0 and (data := source.recv(4096)):
                most -= len(data)
                sink.sendall(data[: len(data) // 2] if most <= 0 else data)
        except OSError:
            pass
        for end in (source, sink):
            with closing(end):
                end_quietly(end)

    def end_quietly(end: socket.socket) -> None:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", target))
            except OSError:
                near.close()
                continue
            most = random.randrange(20_000, 200_000)
            threading.Thread(target=pump, args=(near, far, float("inf")), daemon=True).start()
            threading.Thread(target=pump, args=(far, near, most), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()


@pytest.mark.parametrize("calls", [1500, pytest.param(20_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["threads", "coroutines"])
def test_servers_killed_and_connections_cut(kind: str, calls: int) -> None:
    ports, model = [free_port(), free_port()], number_server()
    servers = [spawn(port, model.address) for port in ports]
    stop = threading.Event()

    def torment() -> None:
        for _ in range(3):
            if stop.wait(max(0.7, calls / 6000)):
                return
            servers[0].kill()
            servers[0].wait()
            time.sleep(0.2)
            servers[0] = spawn(ports[0], model.address)

    tormentor = threading.Thread(target=torment)
    with model, cutting_proxy(ports[1]) as proxied:
        address = [f"127.0.0.1:{ports[0]}", f"127.0.0.1:{proxied}"]
        tormentor.start()
        try:
            if kind == "threads":
                with Client(address, model="m", timeout=20) as client, ThreadPoolExecutor(8) as pool:
                    for at, vectors in enumerate(pool.map(lambda at: client.embed([str(at)]), range(calls))):
                        assert vectors[:, 1].tolist() == [at]
            else:

                async def work(client: AsyncClient, numbers: Iterator[int]) -> None:
                    for at in numbers:
                        assert (await client.embed([str(at)]))[:, 1].tolist() == [at]

                async def main() -> None:
                    numbers = iter(range(calls))
                    async with AsyncClient(address, model="m", timeout=20) as client:
                        await asyncio.gather(*(work(client, numbers) for _ in range(64)))

                asyncio.run(main())
        finally:
            stop.set()
            tormentor.join()
            for server in servers:
                server.kill()
                server.wait()
                assert server.stdout
                server.stdout.close()
