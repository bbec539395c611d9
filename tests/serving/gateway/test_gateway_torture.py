"""Ten thousand requests while servers are killed and versions change: none fails, and none mixes versions."""

from __future__ import annotations

import asyncio
import itertools
import random
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2
import pytest
from official_models import NUMBERS, TOY, Model
from official_server import Official
from test_gateway_command import gateway

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
#: Each text is a number, and its vector is [version, number]; the model also counts tokens.
MODEL = Model({**NUMBERS.signatures, "tokenize": TOY.signatures["tokenize"]}, (1,))
REQUESTS, CALLERS = 10_000, 24


class Killed:
    """A TCP proxy before a server, in its own process, which is killed and started again at the same port."""

    def __init__(self, target: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        self.address, self._target, self.kills = f"127.0.0.1:{self.port}", target, 0
        self.start()

    def start(self) -> None:
        script = Path(__file__).parents[1] / "watched.py"
        command = [sys.executable, str(script), str(self.port), self._target, "0.002"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        assert self.process.stdout.readline()  # Wait until it listens.

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.kills += 1


def test_ten_thousand_requests_while_servers_are_killed_and_versions_swapped() -> None:
    done, outcomes, versions = threading.Event(), Counter[Any](), Counter[int]()
    servers = [Official({"m": MODEL}, versions=[1]) for _ in range(2)]
    chance = random.Random(33)

    def swap() -> None:
        """The servers get a new version one after the other: for some time they have no common version."""
        for version in itertools.count(2):
            for server in servers:
                server.versions[:] = [version]
                if done.wait(chance.uniform(0.1, 0.6)):
                    return

    def kill() -> None:
        for gate in itertools.cycle(gates):
            if done.wait(chance.uniform(0.2, 1.0)):
                return
            gate.kill()
            time.sleep(chance.uniform(0, 0.5))
            gate.start()

    async def work(http: httpx2.AsyncClient, numbers: Any) -> None:
        for number in numbers:
            count = chance.choice([1, 1, 1, 5, 150])
            texts = [str(number + at) for at in range(count)]
            path, body = chance.choice([
                ("/v1/embeddings", {"input": texts, "model": "m"}),
                ("/embed", {"inputs": texts, "normalize": False}),
            ])  # fmt: skip
            answer = await http.post(path, json=body)
            if answer.status_code != 200:
                outcomes[f"{answer.status_code} {answer.text}"] += 1
                continue
            found = answer.json()
            vectors = found if path == "/embed" else [each["embedding"] for each in found["data"]]
            version = int(answer.headers["x-rawbert-model-version"])
            right = vectors == [[version, number + at] for at in range(count)]
            tokens = path == "/embed" or found["usage"]["total_tokens"] == sum(len(text) + 2 for text in texts)
            outcomes["right" if right and tokens else f"wrong: {version} {vectors}"] += 1
            versions[version] += 1

    async def call(url: str) -> None:
        numbers = iter(range(REQUESTS))
        limits = httpx2.Limits(max_connections=CALLERS)
        async with httpx2.AsyncClient(base_url=url, timeout=120, limits=limits, trust_env=False) as http:
            await asyncio.gather(*(work(http, numbers) for _ in range(CALLERS)))

    with servers[0], servers[1]:
        gates = [Killed(server.address) for server in servers]
        threads = [threading.Thread(target=each) for each in (swap, kill)]
        try:
            with gateway("-a", gates[0].address, "-a", gates[1].address, "-m", "m") as running:
                for thread in threads:
                    thread.start()
                begun = time.monotonic()
                asyncio.run(call(running.url))
                seconds = time.monotonic() - begun
        finally:
            done.set()
            for thread in threads:
                thread.join()
            for gate in gates:
                gate.kill()
    kills = [gate.kills for gate in gates]
    print(f"\n{REQUESTS} requests in {seconds:.0f} s; {len(versions)} versions answered; killed {kills} times")
    assert outcomes == {"right": REQUESTS}
    assert len(versions) > 10
    assert min(kills) > 5
