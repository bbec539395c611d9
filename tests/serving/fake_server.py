"""A server whose failures can be chosen: real gRPC, no model. An embedding is ``[version, number in the text]``, and
that in its pair where there is one.

As a script it serves until it is killed: ``python fake_server.py PORT [LONGEST_DELAY]``.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
from rawbert.serving.wire import codec
from rawbert.serving.wire.protos import PredictRequest, PredictResponse


class Refusal(Exception):
    """The call is answered with a status other than OK."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.code, self.details = code, details


def answer(request: Any, version: int) -> bytes:
    response = PredictResponse()
    response.model_spec.name = request.model_spec.name
    response.model_spec.version.value = version
    columns = [request.inputs[name].string_val for name in ("text", "text_pair") if name in request.inputs]
    rows = [[version, *(int(text.decode().strip("x")) for text in row)] for row in zip(*columns, strict=True)]
    response.outputs["embedding"].CopyFrom(codec.encode(np.array(rows, np.float32)))
    return response.SerializeToString()


class Fake(grpc.GenericRpcHandler):  # type: ignore[misc]
    """``before(request)`` may raise :class:`Refusal`, or wait; ``answer(request, version)`` makes the answer."""

    def __init__(
        self,
        before: Callable[[Any], None] = lambda request: None,
        port: int = 0,
        credentials: Any = None,
        address: str = "",
        options: Sequence[tuple[str, Any]] = (),
        answer: Callable[[Any, int], bytes] = answer,
    ) -> None:
        self.before = before
        self.answer = answer
        self.versions = [1]
        self.sizes: list[int] = []
        self.tokens: list[str] = []
        self._server = grpc.server(
            ThreadPoolExecutor(128, thread_name_prefix="server"),
            handlers=[self],
            options=[("grpc.so_reuseport", 0), *options],
        )
        where = address or f"127.0.0.1:{port}"
        if credentials is None:
            self.port = self._server.add_insecure_port(where)
        else:
            self.port = self._server.add_secure_port(where, credentials)
        self.address = address or f"127.0.0.1:{self.port}"

    def __enter__(self) -> Fake:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait()

    def service(self, details: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(self._handle)

    def _handle(self, data: bytes, context: Any) -> bytes:
        request = PredictRequest.FromString(data)
        self.sizes.append(len(request.inputs["text"].string_val))
        self.tokens += [value for key, value in context.invocation_metadata() if key == "authorization"]
        try:
            self.before(request)
            spec = request.model_spec
            version = spec.version.value if spec.HasField("version") else max(self.versions)
            if version not in self.versions:
                raise Refusal(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Specific(m, {version})")
            return self.answer(request, version)
        except Refusal as refusal:
            context.abort(refusal.code, refusal.details)
            raise AssertionError from None


if __name__ == "__main__":
    longest = float(sys.argv[2]) if len(sys.argv) > 2 else 0.004
    with Fake(lambda request: time.sleep(random.random() * longest), int(sys.argv[1])) as server:
        print(server.address, flush=True)
        threading.Event().wait()
