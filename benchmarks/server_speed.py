"""The embedded server compared with the same SavedModel called in process: throughput of many callers, latency of one.

    python benchmarks/server_speed.py models/minilm [--signature embed] [--callers 32] [--seconds 4] [--rounds 5]

The argument is the base path of a model, whose newest version is measured. Server, in-process model and callers are
separate processes on the same cores. Rounds alternate, so that a busy machine slows all of them; the results are
medians. In process, the model is called with one text for each caller, both by ``tf.saved_model.load`` and by a
session; the server is compared with the faster one. Callers are threads of several processes, with one text per call
and batching.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

#: Batching parameters: a batch runs as soon as a thread is free.
BATCHING = (
    "max_batch_size {{ value: 64 }} batch_timeout_micros {{ value: {timeout} }} max_enqueued_batches {{ value: 1000 }}"
)
TEXT = """
the a of and in is was for on with server model text invoice password account reset tokenization embeddings because
question answer café naïve Zürich straße über ответ вопрос модель 日本語 中文字符 σοφός नमस्ते 12.50 2024-11-05 don't
https://example.org/x?y=1 state-of-the-art (see below) "quoted" !? 👍
"""


def texts(count: int, seed: int = 5) -> list[str]:
    """Texts of mixed scripts and lengths: some 25 words, from 2 to 150."""
    draw, words = random.Random(seed), TEXT.split()
    return [" ".join(draw.choices(words, k=min(150, max(2, int(draw.lognormvariate(2.8, 0.7)))))) for _ in range(count)]


def for_seconds(seconds: float, call: Callable[[int], Any], start: int = 0) -> list[float]:
    """Seconds of each of several consecutive calls."""
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        call(start + len(taken))
        taken.append(time.perf_counter() - began)
    return taken


def in_process(pipe: Any, folder: str, signature: str) -> None:
    """A process with the model: answers (way, texts per call, seconds) with the seconds of each call."""
    import numpy as np
    import tensorflow as tf
    import tensorflow_text  # noqa: F401

    loaded = tf.saved_model.load(folder)
    function = loaded.signatures[signature]
    with tf.Graph().as_default() as graph:
        session = tf.compat.v1.Session(graph=graph)
        tf.get_logger().setLevel("ERROR")
        info = tf.compat.v1.saved_model.load(session, ["serve"], folder).signature_def[signature]
    prepared = session.make_callable([each.name for each in info.outputs.values()], [info.inputs["text"].name])
    pool = [text.encode() for text in texts(2048)]
    ways = {
        "function": lambda part: {name: value.numpy() for name, value in function(text=tf.constant(part)).items()},
        "session": lambda part: prepared(np.array(part, object)),
    }
    pipe.send("ready")
    while order := pipe.recv():
        way, size, seconds = order
        parts = [pool[at : at + size] for at in range(0, len(pool) - size + 1, size)]
        pipe.send(for_seconds(seconds, lambda at, parts=parts, run=ways[way]: run(parts[at % len(parts)])))


def callers(pipe: Any, address: str, signature: str, which: int) -> None:
    """A process of callers: answers (threads, seconds) with the seconds of each call."""
    from rawbert.serving import Client

    pool = texts(2048)
    client = Client(address, model="m")
    pipe.send("ready")
    while order := pipe.recv():
        count, seconds = order
        taken: list[list[float]] = [[] for _ in range(count)]

        def work(at: int, taken: list[list[float]] = taken, seconds: float = seconds) -> None:
            offset = (which * 37 + at) * 61

            def call(number: int) -> None:
                text = pool[(offset + number) % len(pool)]
                client.predict({"text": [text]}, signature_name=signature)

            taken[at] = for_seconds(seconds, call)

        threads = [threading.Thread(target=work, args=(at,)) for at in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        pipe.send([each for some in taken for each in some])


class Child:
    """A process that measures on request."""

    def __init__(self, target: Callable[..., None], *arguments: Any) -> None:
        context = get_context("spawn")
        self.pipe, far = context.Pipe()
        self.process = context.Process(target=target, args=(far, *arguments), daemon=True)
        self.process.start()

    def ready(self) -> Child:
        """Wait until it has begun."""
        self.pipe.recv()
        return self


def together(children: list[Child], order: Any) -> list[float]:
    """The results of simultaneous measurements."""
    for child in children:
        child.pipe.send(order)
    return [each for child in children for each in child.pipe.recv()]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--signature", default="embed")
    parser.add_argument("--callers", type=int, default=32)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-timeout-micros", type=int, default=0)
    parser.add_argument("--server", nargs=argparse.REMAINDER, default=[], help="further flags of the server")
    arguments = parser.parse_args()
    newest = max((each for each in arguments.model.iterdir() if each.name.isdigit()), key=lambda each: int(each.name))
    with tempfile.NamedTemporaryFile("w", suffix=".pbtxt") as batching:
        batching.write(BATCHING.format(timeout=arguments.batch_timeout_micros))
        batching.flush()
        server = subprocess.Popen(
            [
                sys.executable, "-c", "from rawbert.serving.cli import main; main()", "serve", "--model_name=m",
                f"--model_base_path={arguments.model.absolute()}", "--host=127.0.0.1", "--port=0", "--enable_batching",
                f"--batching_parameters_file={batching.name}", *arguments.server,
            ],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            measure(arguments, server, newest)
        finally:
            server.kill()


def measure(arguments: Any, server: subprocess.Popen[str], newest: Path) -> None:
    """Alternate the rounds, and print medians."""
    assert server.stderr
    address = next(
        found.group(1) for line in server.stderr if (found := re.match(r"Running gRPC ModelServer at (\S+)", line))
    )
    model = Child(in_process, str(newest), arguments.signature).ready()
    clients = [Child(callers, address, arguments.signature, which).ready() for which in range(arguments.processes)]
    each = arguments.callers // arguments.processes
    count = each * arguments.processes
    rates: dict[str, list[float]] = {"function": [], "session": [], "server": []}
    alone: dict[str, list[float]] = {"function": [], "session": [], "server": []}
    for number in range(arguments.rounds + 1):
        for way in ("function", "session"):
            many = together([model], (way, count, arguments.seconds))
            one = together([model], (way, 1, arguments.seconds / 2))
            if number:  # The first round warms up.
                rates[way].append(count * len(many) / sum(many))
                alone[way].append(statistics.median(one))
        calls = together(clients, (each, arguments.seconds))
        lone = together(clients[:1], (1, arguments.seconds / 2))
        if number:
            # Each caller always has a call in flight.
            rates["server"].append(count * len(calls) / sum(calls))
            alone["server"].append(statistics.median(lone))
    rate = {way: statistics.median(values) for way, values in rates.items()}
    delay = {way: statistics.median(values) * 1000 for way, values in alone.items()}
    for child in (model, *clients):
        child.pipe.send(None)
    best_rate, best_delay = max(rate["function"], rate["session"]), min(delay["function"], delay["session"])
    print(f"{count} callers in {len(clients)} processes, {arguments.signature} of {newest}, {os.cpu_count()} cores")
    for way, text in (
        ("function", "in process, tf.saved_model.load"),
        ("session", "in process, session"),
        ("server", "server"),
    ):
        print(f"{text:34} {rate[way]:8.1f} texts/s  {delay[way]:8.2f} ms alone")
    print(f"throughput {rate['server'] / best_rate:.1%} of in process")
    print(f"lone caller {delay['server'] - best_delay:+.2f} ms; bound 1.25x + 1 ms: {1.25 * best_delay + 1:.2f} ms")


if __name__ == "__main__":
    main()
