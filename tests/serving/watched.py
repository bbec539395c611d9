"""gRPC servers for tests, which record, delay or refuse calls. They have no model and need no TensorFlow.

:class:`Gate` forwards calls to another server; ``official_server.py`` answers them itself.

The script is a gate in a process that can be killed: ``python watched.py PORT TARGET [LONGEST_DELAY]``.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Self

import grpc
from rawbert.serving.wire.protos import GetModelMetadataRequest, PredictRequest


class Refusal(Exception):
    """The call is answered with a status other than OK."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.code, self.details = code, details


class Watched(grpc.ServerInterceptor):  # type: ignore[misc]
    """A server; a context manager.

    Args:
        before: called with each Predict request; it may raise :class:`Refusal`, or wait.
        port, address: where it listens; a free port if left out.
        credentials: for TLS.
        options: gRPC channel arguments.
        versions: versions of all models; the largest one answers calls without a version.

    Attributes:
        sizes: texts of each Predict.
        headers: metadata of each call.
    """

    def __init__(
        self,
        before: Callable[[Any], None] = lambda request: None,
        *,
        port: int = 0,
        address: str = "",
        credentials: Any = None,
        options: Sequence[tuple[str, Any]] = (),
        versions: Sequence[int] = (),
    ) -> None:
        self.before, self.versions = before, list(versions)
        self.sizes: list[int] = []
        self.headers: list[dict[str, Any]] = []
        self.server = grpc.server(
            ThreadPoolExecutor(128, thread_name_prefix="server"),
            interceptors=[self],
            options=[("grpc.so_reuseport", 0), *options],
        )
        where = address or f"127.0.0.1:{port}"
        add = self.server.add_insecure_port
        self.port = add(where) if credentials is None else self.server.add_secure_port(where, credentials)
        self.address = address or f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop(None).wait()

    @property
    def tokens(self) -> list[str]:
        """The authorization of each call that has one."""
        return [each["authorization"] for each in self.headers if "authorization" in each]

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = continuation(details)
        if handler is None:
            return None
        watched = partial(self._watched, handler.unary_unary)
        return grpc.unary_unary_rpc_method_handler(watched, handler.request_deserializer, handler.response_serializer)

    def _watched(self, answer: Any, request: Any, context: Any) -> Any:
        self.headers.append(dict(context.invocation_metadata()))
        try:
            if hasattr(request, "inputs"):
                self.sizes.append(len(request.inputs["text"].string_val) if "text" in request.inputs else 0)
                self.before(request)
            return answer(request, context)
        except Refusal as refusal:
            context.abort(refusal.code, refusal.details)
            raise AssertionError from None


def chosen(spec: Any, versions: Sequence[int]) -> int:
    """The version that answers a call."""
    version: int = spec.version.value if spec.HasField("version") else max(versions)
    if version not in versions:
        raise Refusal(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Specific({spec.name}, {version})")
    return version


class Gate(Watched, grpc.GenericRpcHandler):  # type: ignore[misc]
    """A server that forwards calls to the server at ``target``, and returns its answers."""

    def __init__(self, target: str, before: Callable[[Any], None] = lambda request: None, **settings: Any) -> None:
        super().__init__(before, **settings)
        self.server.add_generic_rpc_handlers([self])
        sizes = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self._channel = grpc.insecure_channel(target, options=sizes)

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._channel.close()

    def service(self, details: Any) -> Any:
        kinds = {"Predict": PredictRequest, "GetModelMetadata": GetModelMetadataRequest}
        kind: Any = kinds.get(details.method.rpartition("/")[2])
        call = self._channel.unary_unary(details.method, kind and kind.SerializeToString)

        def passed(request: Any, context: Any) -> bytes:
            if kind and self.versions:
                request.model_spec.version.value = chosen(request.model_spec, self.versions)
            try:
                answer: bytes = call(request, timeout=context.time_remaining())
                return answer
            except grpc.RpcError as error:
                raise Refusal(error.code(), error.details()) from error

        return grpc.unary_unary_rpc_method_handler(passed, kind and kind.FromString)


if __name__ == "__main__":
    longest = float(sys.argv[3]) if len(sys.argv) > 3 else 0.004
    with Gate(sys.argv[2], lambda request: time.sleep(random.random() * longest), port=int(sys.argv[1])) as gate:
        print(gate.address, flush=True)
        threading.Event().wait()
