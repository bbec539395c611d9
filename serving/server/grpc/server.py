"""The gRPC server: its address, its limits, and the refusal of calls beyond its threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from ...listening import joined
from ..metrics import Metrics
from ..model import Model
from ..options import ModelSettings
from ..registry import Registry
from ..start import Plan, StartError
from ..threads import CallThreads
from .service import ModelService, PredictionService

#: Number of concurrent calls without --grpc_max_threads. A call that waits for its batch occupies a thread, so a lower
#: number would keep batches of single texts small (TensorFlow Serving has about 4 threads per core).
_MOST_CALLS = 64
_THREADS_FOR_HEALTH = 4
#: Maximum number of refusals that wait to be sent; gRPC itself refuses calls beyond them.
_MOST_REFUSALS = 1024

_OPTIONS = {
    # TensorFlow Serving accepts and sends messages up to protobuf's limit; gRPC's default is 4 MB. In a tokenizer, a
    # request needs a hundred times its size, so it is limited here; --grpc_channel_arguments changes the limit.
    "grpc.max_receive_message_length": 128 << 20,
    "grpc.max_send_message_length": -1,
    # Otherwise two servers could share a port, and callers would reach either of them.
    "grpc.so_reuseport": 0,
}


def listen(
    plan: Plan, registry: Registry[Model], metrics: Metrics, replace: Callable[[dict[str, ModelSettings]], None]
) -> tuple[grpc.Server, CallThreads, int]:
    """A server that listens, and answers calls after its start; the threads for its calls; and its port."""
    options = plan.options
    most = max(1, options.grpc_max_threads - 1) if options.grpc_max_threads else _MOST_CALLS
    threads = CallThreads(most + _THREADS_FOR_HEALTH, "rawbert-call")
    server = grpc.server(
        threads,
        interceptors=[_Admission(threads, most)],
        # Of two values with one name gRPC takes the first.
        options=list({**_OPTIONS, **dict(plan.channel_arguments)}.items()),
        maximum_concurrent_rpcs=most + _MOST_REFUSALS,
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        PredictionService(registry, metrics, options.enable_serialization_as_tensor_content), server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(registry, replace), server)
    if options.enable_grpc_healthcheck_service:
        servicer = health.HealthServicer()
        for name in ("", "ModelService", "PredictionService"):
            servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    try:
        port = _add(server, joined(options.host, options.port), plan.credentials)
        if options.grpc_socket_path:
            _add(server, f"unix:{options.grpc_socket_path}", plan.credentials)
    except RuntimeError as error:
        raise StartError(f"cannot listen: {error}") from error
    return server, threads, port


def _add(server: grpc.Server, address: str, credentials: grpc.ServerCredentials | None) -> int:
    port: int = (
        server.add_insecure_port(address) if credentials is None else server.add_secure_port(address, credentials)
    )
    return port


class _Admission(grpc.ServerInterceptor):  # type: ignore[misc]
    """Refuses calls beyond ``most``, as TensorFlow Serving does; health checks are always accepted."""

    def __init__(self, threads: CallThreads, most: int) -> None:
        self._threads, self._most = threads, most
        # The messages of a stream are read only on request, so a refused call costs only its status.
        self._full = grpc.stream_unary_rpc_method_handler(_refuse)

    def intercept_service(self, continuation: Callable[[Any], Any], handler_call_details: Any) -> Any:
        """See the base class."""
        is_health = handler_call_details.method.startswith("/grpc.health.")
        if self._threads.calls >= self._most and not is_health:
            return self._full
        handler = continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler
        parse, method = handler.request_deserializer, handler.unary_unary

        def answer(data: bytes, context: grpc.ServicerContext) -> Any:
            try:
                # Parsed here, because gRPC never frees a call whose message it cannot parse.
                try:
                    request = parse(data)
                except Exception:
                    context.abort(grpc.StatusCode.INTERNAL, "Exception deserializing request!")
                return method(request, context)
            finally:
                self._threads.answered()

        return handler._replace(request_deserializer=None, unary_unary=answer)


def _refuse(_: object, context: grpc.ServicerContext) -> None:
    context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")


# The attribute by which gRPC finds separate threads for a method.
_refuse.experimental_thread_pool = ThreadPoolExecutor(1, "rawbert-refuse")  # type: ignore[attr-defined]
