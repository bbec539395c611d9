"""Thousands of calls: deadlines are kept, answers are neither lost nor mixed, no memory leaks. Long; prints figures."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from official_server import number_server
from rawbert.serving import AsyncClient, Client, DeadlineExceeded, ModelVersionChanged, ServingError
from watched import Refusal

pytestmark = pytest.mark.slow
READY = re.compile(r"Running gRPC ModelServer at (\S+) \.\.\.")


def resident() -> int:
    """Bytes of memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def spawned(*arguments: str) -> Iterator[str]:
    """A server in a separate process, so that its work does not delay the client's clock."""
    script = Path(__file__).with_name("official_server.py")
    with subprocess.Popen([sys.executable, str(script), "0", *arguments], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        try:
            yield next(filter(None, map(READY.match, process.stderr)))[1]
        finally:
            process.kill()


@pytest.mark.parametrize("kind", ["threads", "coroutines"])
def test_deadlines_are_kept(kind: str) -> None:
    limit, late, outcomes = 0.3, [], Counter[str]()

    def note(begun: float, outcome: str) -> None:
        late.append(time.monotonic() - begun - limit)
        outcomes[outcome] += 1

    with spawned("0.6") as address:
        if kind == "threads":
            with Client(address, model="m") as client, ThreadPoolExecutor(8) as pool:

                def call(at: int) -> None:
                    begun = time.monotonic()
                    try:
                        assert client.embed([str(at)], timeout=limit)[0, 1] == at
                        note(begun, "answered")
                    except DeadlineExceeded:
                        note(begun, "deadline")

                list(pool.map(call, range(1500)))
        else:

            async def work(client: AsyncClient, numbers: Iterator[int]) -> None:
                for at in numbers:
                    begun = time.monotonic()
                    try:
                        assert (await client.embed([str(at)], timeout=limit))[0, 1] == at
                        note(begun, "answered")
                    except DeadlineExceeded:
                        note(begun, "deadline")

            async def main() -> None:
                numbers = iter(range(3000))
                async with AsyncClient(address, model="m") as client:
                    await asyncio.gather(*(work(client, numbers) for _ in range(64)))

            asyncio.run(main())
    print(
        f"\n{kind}: {dict(outcomes)}; latest {max(late) * 1000:.0f} ms after its deadline, "
        f"{np.mean(np.array(late) <= 0.1):.2%} within 100 ms"
    )
    assert min(outcomes["answered"], outcomes["deadline"]) > 100
    assert np.mean(np.array(late) <= 0.1) >= 0.999
    assert max(late) <= 0.5


def test_busy_for_a_third_of_all_calls() -> None:
    turn = itertools.count()

    def third(request: Any) -> None:
        if next(turn) % 3 == 0:
            raise Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")

    with number_server(third) as server, Client(server.address, model="m") as client, ThreadPoolExecutor(32) as pool:
        begun = time.monotonic()
        for at, vectors in enumerate(pool.map(lambda at: client.embed([str(at)], timeout=30), range(10_000))):
            assert vectors[:, 1].tolist() == [at]
        print(f"\n10000 calls in {time.monotonic() - begun:.1f} s, {len(server.sizes)} attempts")


def test_a_server_with_few_threads_refuses_and_every_call_is_answered() -> None:
    """Like TensorFlow Serving at ``--grpc_max_threads``: it accepts 7 concurrent calls and refuses others."""
    room = threading.Semaphore(7)

    def few(request: Any) -> None:
        if not room.acquire(blocking=False):
            raise Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")
        try:
            time.sleep(0.01)
        finally:
            room.release()

    with number_server(few) as server, Client(server.address, model="m") as client, ThreadPoolExecutor(32) as pool:
        times = []

        def call(at: int) -> None:
            begun = time.monotonic()
            assert client.embed([str(at)])[0, 1] == at
            times.append(time.monotonic() - begun)

        begun = time.monotonic()
        list(pool.map(call, range(5000)))
        print(
            f"\n5000 calls in {time.monotonic() - begun:.1f} s, {len(server.sizes)} attempts, longest {max(times):.2f}"
        )


@pytest.mark.parametrize("kind", ["threads", "coroutines"])
def test_thirty_versions_under_large_calls(kind: str) -> None:
    asked, done, outcomes = [str(at) for at in range(2000)], threading.Event(), Counter[str]()

    def swap(server: Any) -> None:
        for version in range(2, 32):
            server.versions.append(version)
            time.sleep(random.random() / 5)
            server.versions.remove(version - 1)
            time.sleep(random.random() / 2)
        done.set()

    def check(vectors: Any, version: Any) -> None:
        assert set(vectors[:, 0].tolist()) == {version}
        assert vectors[:, 1].tolist() == list(range(2000))
        outcomes["answered"] += 1

    with number_server(lambda request: time.sleep(0.005)) as server:
        thread = threading.Thread(target=swap, args=(server,))
        thread.start()
        if kind == "threads":
            with Client(server.address, model="m") as client, ThreadPoolExecutor(2) as pool:

                def work() -> None:
                    while not done.is_set():
                        try:
                            check(*client.embed(asked, return_version=True))
                        except ModelVersionChanged:
                            outcomes["changed"] += 1

                for future in [pool.submit(work) for _ in range(2)]:
                    future.result()
        else:

            async def awork(client: AsyncClient) -> None:
                while not done.is_set():
                    try:
                        check(*await client.embed(asked, return_version=True))
                    except ModelVersionChanged:
                        outcomes["changed"] += 1

            async def main() -> None:
                async with AsyncClient(server.address, model="m") as client:
                    await asyncio.gather(awork(client), awork(client))

            asyncio.run(main())
        thread.join()
    print(f"\n{kind}: {dict(outcomes)}")
    assert outcomes["answered"] >= 20


@pytest.mark.parametrize("sort", [False, True])
def test_a_hundred_thousand_texts_in_flat_memory(sort: bool) -> None:
    asked = ("x" * (at * 7919 % 1000) + str(at) for at in range(100_000))
    with spawned() as address, Client(address, model="m") as client:
        sizes = []
        for at, vector in enumerate(client.embed_iter(asked, sort_by_length=sort)):
            assert vector[1] == np.float32(at)
            if at % 10_000 == 9_999:
                gc.collect()
                sizes.append(resident() / 1e6)
    print(f"\nMB after each 10000: {[round(size, 1) for size in sizes]}")
    assert sizes[-1] - sizes[0] < 5


@contextmanager
def raw_server(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """A TCP server that does not speak gRPC, or stops in the middle."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=200)

    def handle(near: socket.socket) -> None:
        with near, suppress(OSError):
            talk(near)

    def accept() -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                threading.Thread(target=handle, args=(near,), daemon=True, name="server").start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def silent(near: socket.socket) -> None:
    while near.recv(4096):
        pass


def garbage(near: socket.socket) -> None:
    near.recv(100)
    near.sendall(os.urandom(2000))


def cut(near: socket.socket) -> None:
    near.recv(100)
    near.sendall(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00" + b"\x00\x00\x00\x04\x01\x00\x00\x00\x00")  # SETTINGS and ACK
    near.recv(1000)
    near.sendall(b"\x00\x40\x00\x00\x00\x00\x00\x00\x01half of a mess")


def test_ten_thousand_calls_that_fail_leak_nothing() -> None:
    codes = itertools.cycle(code for code in grpc.StatusCode if code is not grpc.StatusCode.OK)

    def refuse(request: Any) -> None:
        raise Refusal(next(codes), "because")

    limit, late, outcomes = 0.05, [], Counter[str]()
    with raw_server(silent) as one, raw_server(garbage) as two, raw_server(cut) as three, number_server(refuse) as four:
        clients = [Client(address, model="m", timeout=limit) for address in (one, two, three, four.address)]

        def call(at: int) -> None:
            begun = time.monotonic()
            try:
                clients[at % 4].embed([str(at)])
            except ServingError as error:
                late.append(time.monotonic() - begun - limit)
                outcomes[type(error).__name__] += 1

        figures = []
        with ThreadPoolExecutor(16) as pool:
            for _ in range(5):
                list(pool.map(call, range(2000)))
                time.sleep(1)
                gc.collect()
                threads = [each for each in threading.enumerate() if not each.name.startswith("server")]
                figures.append((len(threads), len(os.listdir("/proc/self/fd")), resident() / 1e6))
        for client in clients:
            client.close()
    print(f"\n{dict(outcomes)}; latest {max(late) * 1000:.0f} ms; threads, descriptors, MB: {figures}")
    assert sum(outcomes.values()) == 10_000
    assert max(late) <= 0.5
    assert figures[-1][0] <= figures[1][0] + 4
    assert figures[-1][1] <= figures[1][1] + 8
    assert figures[-1][2] - figures[1][2] < 10
