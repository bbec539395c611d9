"""Checks of the server's calls: health, batching, encoding, message sizes and concurrent callers."""

import math

import grpc

from ..errors import DeadlineExceeded, InvalidRequest, MessageTooLarge, ModelNotFound, ServingError, SignatureNotFound
from ..plurals import counted
from ..wire import messages
from .finding import NotKnown, Result, check, ok, problem, unknown, warning
from .probe import LONG, Probe, Times

_HEALTH = "/grpc.health.v1.Health/Check"
#: A serialized HealthCheckResponse with the status SERVING (grpc/health/v1/health.proto).
_SERVING = b"\x08\x01"
#: Bytes of a large request: more than gRPC's default limit of 4 MB.
_LARGE = 5 << 20
#: Largest number of texts in a call for a large answer, and the text, which the model truncates.
_MOST_ROWS, _TEXT = 64, LONG * 8
#: Bytes: gRPC's default limit of a message.
_DEFAULT_LIMIT = 4 << 20
#: A max_batch_size below this number of texts is a warning.
_FEW = 16
#: Seconds that a single call may wait for a batch.
_WAIT = 0.02


@check(
    "a grpc.health.v1.Health/Check call for the whole server",
    "Start the server with --enable_grpc_healthcheck_service=true: load balancers and the gRPC probes of Kubernetes "
    "need it.",
)
def health(probe: Probe) -> Result:
    """The health service reports SERVING."""
    try:
        answer = probe.call(_HEALTH, b"")
    except ServingError as error:
        if error.code is grpc.StatusCode.UNIMPLEMENTED:
            return warning("there is no health service")
        return problem(str(error))
    return ok("SERVING") if answer == _SERVING else problem("the status is not SERVING")


@check(
    "the answer to a scalar: with batching, the batcher refuses it (`Batching Run() input tensors must have at least "
    "one dimension`); otherwise it reaches the graph",
    "Start the server with --enable_batching. Add --enable_per_model_batching_parameters if the version folder "
    "contains batching_params.pbtxt; without that file the model is then not batched.",
)
def batching(probe: Probe) -> Result:
    """Calls of several callers share a batch."""
    return ok("on") if probe.batched else warning("off: the calls of several callers run one by one")


@check(
    "max_batch_size, from the refusal of 5000 texts: less than 16 is a warning",
    "Raise max_batch_size in batching_params.pbtxt or --batching_parameters_file (`rawbert export` writes 64 to 128):"
    " small batches leave the machine idle, and calls with more texts are refused.",
)
def batch_size(probe: Probe) -> Result:
    """A batch may have many texts."""
    if not probe.batched:
        return ok("no batching")
    if probe.batch_limit is None:
        return ok("a call may have 5000 texts")
    said = f"at most {counted(probe.batch_limit, 'text')} in a batch and in a call"
    return warning(said) if probe.batch_limit < _FEW else ok(said)


@check(
    "one text, compared with a full batch (max_batch_size, from the refusal of 5000 texts), the fastest of four calls"
    " each: a single text that takes 20 ms longer than a full batch waits for other calls",
    "Lower batch_timeout_micros in batching_params.pbtxt or --batching_parameters_file: 1000 (1 ms) is enough, "
    "because batches fill while others run.",
)
def batch_wait(probe: Probe) -> Result:
    """A single caller does not wait."""
    if not probe.batched:
        return ok("no batching")
    signature, most = probe.cheapest, probe.batch_limit
    if most is None:
        raise NotKnown("the server accepts 5000 texts in a call, so the size of a full batch is not known")
    lone = probe.fastest(signature, 1)
    full = probe.fastest(signature, most)
    if lone - full > _WAIT:
        return warning(f"a call with 1 text takes {1000 * lone:.0f} ms, one with {most} texts {1000 * full:.0f} ms")
    return ok(f"a call with 1 text takes {1000 * lone:.1f} ms")


@check(
    "the encoding of float32 outputs: float_val instead of tensor_content is a warning",
    "Start the server with --enable_serialization_as_tensor_content=true (since 2.19): it copies answers as a whole, "
    "instead of value by value.",
)
def serialization(probe: Probe) -> Result:
    """Answers come as bytes."""
    slow = [name for name, tensor in probe.answer.items() if not tensor.tensor_content]
    return warning(f"float_val: {', '.join(slow)}") if slow else ok("tensor_content")


@check(
    "a request of 5 MB to an unknown signature: any answer except the refusal of that signature is a warning",
    "Raise the limit of the proxy (client_max_body_size of nginx, the buffers of Envoy), or of the server "
    "(--grpc_channel_arguments=grpc.max_receive_message_length=...). TensorFlow Serving accepts such requests by "
    "default.",
)
def large_requests(probe: Probe) -> Result:
    """The server accepts requests over gRPC's default of 4 MB."""
    target = messages.Target(probe.model, probe.version, probe.version_label, "rawbert_doctor")
    try:
        probe.call(messages.PREDICT, messages.text_request(target, [(b"x" * _LARGE,)]))
    except SignatureNotFound:
        return ok("5 MB are accepted")
    except ServingError as error:
        return _refused("5 MB", error)
    return ok("5 MB are accepted")


@check(
    "the largest answer to at most 64 texts (vectors of tokens, if the model has them), or an answer of more than 4 "
    "MB: an error is a warning",
    "Raise the limit: grpc.max_send_message_length in --grpc_channel_arguments, or that of the proxy before the "
    "server. gRPC clients accept 4 MB by default; rawbert's client has no limit.",
)
def large_answers(probe: Probe) -> Result:
    """The client receives answers over gRPC's default of 4 MB."""
    try:
        sizes = _answer_sizes(probe)
    except MessageTooLarge as error:
        return _refused("small answers", error)
    if not sizes:
        raise NotKnown("no signature answers")
    name = max(sizes, key=lambda name: sizes[name])
    most = min(_MOST_ROWS, (probe.batch_limit if probe.batched else None) or _MOST_ROWS)
    count = min(most, math.ceil(1.1 * _DEFAULT_LIMIT / max(sizes[name], 1)))
    said = f"{count * sizes[name] / (1 << 20):.2g} MB"
    try:
        probe.predict(name, [_TEXT] * count)
    except ServingError as error:
        return _refused(said, error)
    if count * sizes[name] < _DEFAULT_LIMIT:
        raise NotKnown(f"{said} are received; no signature has larger answers")
    return ok(f"{said} are received")


def _answer_sizes(probe: Probe) -> dict[str, int]:
    """Size in bytes of the answer to one long text, by signature."""
    return {
        name: sum(array.nbytes for array in probe.predict(name, [_TEXT]).values())
        for name, times in probe.times.items()
        if isinstance(times, Times)
    }


def _refused(size: str, error: ServingError) -> Result:
    """The result for a large message that failed, while small ones succeed."""
    if isinstance(error, (DeadlineExceeded, InvalidRequest, ModelNotFound)):
        return unknown(str(error))
    return warning(f"{size} are refused: {' '.join(error.details.split()) or error.code}")


@check(
    "--callers concurrent calls, at least four times: a call that is refused with RESOURCE_EXHAUSTED is a problem",
    "Raise --grpc_max_threads above the number of callers (the default is about 4 for each core, and the server needs"
    " one itself). Or let calls wait in the client: --grpc_channel_arguments=grpc.max_concurrent_streams=N, with N "
    "below it.",
)
def threads(probe: Probe) -> Result:
    """No caller is refused."""
    return _concurrent(probe, grpc.StatusCode.RESOURCE_EXHAUSTED, "were refused")


@check(
    "the same concurrent calls: a call that finds the queue of the batcher full (UNAVAILABLE) is a problem",
    "Raise max_enqueued_batches in batching_params.pbtxt above --grpc_max_threads: each waiting call occupies at most"
    " one batch.",
)
def queue(probe: Probe) -> Result:
    """No caller finds the queue full."""
    return _concurrent(probe, grpc.StatusCode.UNAVAILABLE, "found the queue full")


def _concurrent(probe: Probe, code: grpc.StatusCode, how: str) -> Result:
    """A problem if concurrent calls fail with a status; ``how`` is the meaning of the status, in words."""
    failed = [error for error in probe.rush if error is not None]
    if refused := sum(error.code is code for error in failed):
        return problem(f"{refused} of {probe.callers} concurrent calls {how}")
    if failed:
        return unknown(f"{len(failed)} of {probe.callers} concurrent calls failed with another error: {failed[0]}")
    return ok(f"{probe.callers} concurrent calls were answered")
