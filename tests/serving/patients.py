"""Servers for the tests of the doctor: a faultless one, and the same one with single faults.

They use the official stubs (official_server.py). To a client, they behave as TensorFlow Serving 2.20.0 was measured to
behave with the flags of docker-compose.yml. Keywords plant faults.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import numpy as np
from official_models import TEXT, TOKENS, TOY, Model, Signature
from official_server import Official
from watched import Refusal

#: Texts in a full batch.
FULL = 16
_UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def wide(hidden: int = 4096) -> Signature:
    """Token vectors, for large answers to few long texts: 1 MB per text."""

    def answer(given: dict[str, Any], version: int) -> dict[str, Any]:
        rows, length = len(given["text"]), min(64, max(map(len, given["text"])) // 16 + 1)
        ones = {name: np.ones((rows, length), np.int32) for name in TOKENS if name != "token_count"}
        vectors = np.ones((rows, length, hidden), np.float32)
        return {"sequence_output": vectors, "token_count": np.ones(rows, np.int32), **ones}

    return Signature(TEXT, {"sequence_output": ("float32", (-1, -1, hidden)), **TOKENS}, answer)


#: The faultless model.
SOUND = Model({**TOY.signatures, "sequence": wide()}, versions=(3,))


def changed(**signatures: Signature | None) -> Model:
    """The model with changed signatures; ``None`` removes one."""
    found = {**SOUND.signatures, **signatures}
    return SOUND._replace(signatures={name: each for name, each in found.items() if each is not None})


def embedding(answer: Any) -> Model:
    """The model with another ``embed``: a function of the texts."""
    made = Signature(TEXT, {"embedding": ("float32", (-1, 3))},
                     lambda given, version: {"embedding": answer(given["text"])})  # fmt: skip
    return changed(embed=made, serving_default=made)


@contextmanager
def patient(
    model: Model = SOUND,
    *,
    batched: bool = True,
    full: int = FULL,
    wait: float = 0.0,
    cold: float = 0.0,
    threads: int = 64,
    queue: int = 64,
    health: str | None = "SERVING",
    float_val: bool = False,
    options: Mapping[str, int] | None = None,
    **settings: Any,
) -> Iterator[str]:
    """The address of a server that serves the model ``m``.

    Args:
        model: its signatures, versions and labels.
        batched: whether there is a batcher.
        full: texts in a full batch.
        wait: seconds that an incomplete batch waits.
        cold: additional seconds of the first call to each signature.
        threads, queue: number of concurrent calls without an error for missing threads, or for a full queue.
        health: the health service's status; ``None`` for no such service.
        float_val: whether floats are encoded one by one.
        options: gRPC channel arguments.
        **settings: of :class:`~watched.Watched`.
    """
    called: Counter[str] = Counter()
    running = threading.Semaphore(threads), threading.Semaphore(queue)

    def before(request: Any) -> None:
        text, name = request.inputs["text"], request.model_spec.signature_name
        if name not in model.signatures:
            return
        called[name] += 1
        if batched and not text.tensor_shape.dim:
            said = "Batching Run() input tensors must have at least one dimension"
            raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, said)
        rows = len(text.string_val)
        if batched and rows > full:
            said = f"Task size {rows} is larger than maximum input batch size {full}"
            raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, said)
        thread, room = (each.acquire(blocking=False) for each in running)
        try:
            if not thread:
                raise Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")
            if not room:
                raise Refusal(
                    grpc.StatusCode.UNAVAILABLE, "The batch scheduling queue to which this task was submitted is full"
                )
            time.sleep((cold if called[name] == 1 else 0) + (wait if rows < full else 0) + (rows > 1) * 0.02)
        finally:
            for each, got in zip(running, (thread, room), strict=True):
                if got:
                    each.release()

    arguments = {**dict(_UNLIMITED), **(options or {})}
    with Official({"m": model}, before, options=list(arguments.items()), **settings) as server:
        if health is not None:
            _add_health(server.server, health)
        if float_val:
            server.as_values = True
        yield server.address


def _add_health(server: Any, said: str) -> None:
    from grpc_health.v1 import health, health_pb2, health_pb2_grpc

    servicer = health.HealthServicer()
    servicer.set("", health_pb2.HealthCheckResponse.ServingStatus.Value(said))
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)


@contextmanager
def rest(*, ahead: float = 0.0, metrics: bool = True) -> Iterator[str]:
    """The address of TensorFlow Serving's REST API, as far as the doctor calls it.

    Args:
        ahead: seconds by which its clock is fast.
        metrics: whether it serves metrics.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            pages = {"/v1/models/m": b'{"model_version_status": []}'}
            if metrics:
                pages["/monitoring/prometheus/metrics"] = b":tensorflow:serving:request_count{} 1\n"
            body = pages.get(self.path)
            self.send_response_only(200 if body else 404)
            self.send_header("Date", formatdate(time.time() + ahead, usegmt=True))
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
