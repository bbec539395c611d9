"""Load on a server from a separate process: at a fixed rate, or from callers that wait for their answers.

    python load.py ADDRESS REQUESTS SECONDS --rate 100 [--most 64] | --callers 16

REQUESTS is a file of serialised PredictRequests, one per line in base64, which are sent in turn. The script prints
JSON: calls by status, a message for each status, seconds of answered calls (median and maximum), and the largest excess
of a call over its deadline.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import json
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import grpc

PREDICT = "/tensorflow.serving.PredictionService/Predict"


def run(address: str, requests: Path, seconds: float, *flags: str) -> dict[str, Any]:
    """The output of a process with this script."""
    command = [sys.executable, __file__, address, str(requests), str(seconds), *flags]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def write(path: Path, requests: list[bytes]) -> Path:
    """A file of requests."""
    path.write_bytes(b"\n".join(base64.b64encode(each) for each in requests))
    return path


class Load:
    def __init__(self, address: str, requests: list[bytes], deadline: float) -> None:
        self.channels = [
            # A connection per channel, because a connection carries at most a hundred concurrent calls.
            grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
            for _ in range(8)
        ]
        self.stubs = itertools.cycle([channel.unary_unary(PREDICT) for channel in self.channels])
        self.requests = itertools.cycle(requests)
        self.deadline = deadline
        self.codes: Counter[str] = Counter()
        self.messages: dict[str, str] = {}
        self.seconds: list[float] = []
        self.late = 0.0

    async def call(self) -> None:
        began = time.monotonic()
        try:
            await next(self.stubs)(next(self.requests), timeout=self.deadline)
            self.codes["OK"] += 1
            self.seconds.append(time.monotonic() - began)
        except grpc.aio.AioRpcError as error:
            self.codes[error.code().name] += 1
            self.messages.setdefault(error.code().name, error.details() or "")
        self.late = max(self.late, time.monotonic() - began - self.deadline)

    async def at_rate(self, rate: float, most: int, seconds: float) -> None:
        running: set[asyncio.Task[None]] = set()
        began = time.monotonic()
        sent = 0
        while (now := time.monotonic() - began) < seconds:
            for _ in range(int(now * rate) - sent):
                sent += 1
                if not most or len(running) < most:
                    task = asyncio.create_task(self.call())
                    running.add(task)
                    task.add_done_callback(running.discard)
            await asyncio.sleep(0.005)
        await asyncio.gather(*running)

    async def by_callers(self, callers: int, seconds: float) -> None:
        end = time.monotonic() + seconds

        async def work() -> None:
            while time.monotonic() < end:
                await self.call()

        await asyncio.gather(*(work() for _ in range(callers)))


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("requests", type=Path)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--most", type=int, default=0)
    parser.add_argument("--callers", type=int, default=1)
    parser.add_argument("--deadline", type=float, default=10)
    given = parser.parse_args()
    requests = [base64.b64decode(line) for line in given.requests.read_bytes().splitlines()]
    load = Load(given.address, requests, given.deadline)
    if given.rate:
        await load.at_rate(given.rate, given.most, given.seconds)
    else:
        await load.by_callers(given.callers, given.seconds)
    for channel in load.channels:
        await channel.close()
    print(json.dumps({
        "codes": load.codes, "messages": load.messages, "late": load.late,
        "median": statistics.median(load.seconds or [0]), "longest": max(load.seconds, default=0),
    }))  # fmt: skip


if __name__ == "__main__":
    asyncio.run(main())
