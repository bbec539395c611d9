"""What the sync and the asyncio client share: everything but the calling."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

import grpc
import numpy.typing as npt
from google.protobuf.message import DecodeError as ProtobufError

from ..errors import DecodeError, ServingError
from ..wire import codec
from ..wire.protos import GetModelMetadataResponse, GetModelStatusResponse, ReloadConfigResponse
from . import channel as channels
from . import requests, retry
from .exchange import Answer, Attempt, Exchange, Part
from .parts import Batcher
from .requests import Row
from .results import ModelMetadata, Prediction, VersionStatus
from .settings import TLS, ChannelConfig, RetryPolicy

__all__ = ["DEFAULT_TIMEOUT", "NOT_GIVEN", "BaseClient", "CallMetadata", "CallRecord", "NotGiven", "Timeout"]

_LOG = logging.getLogger("rawbert.serving")
T = TypeVar("T")

Array = npt.NDArray[Any]
#: gRPC call metadata, an authorization header for instance.
CallMetadata = Sequence[tuple[str, str | bytes]]
#: Outputs, rows, version -> what a part is answered with.
Decode = Callable[[Mapping[str, Array], int, int | None], T]

#: Seconds. A deadline is always sent unless it is switched off: without one, TensorFlow Serving computes on for
#: callers that have gone.
DEFAULT_TIMEOUT: Final = 30.0
#: Bytes of texts in one request: under the 4 MB at which servers and proxies with gRPC's defaults refuse one.
_REQUEST_BYTES: Final = 3_500_000
#: What gRPC says at a deadline, and we too where it does not in time.
DEADLINE: Final = "Deadline Exceeded"
#: Seconds that finding out which signatures or versions exist may take, for an error's message.
_EXPLAIN: Final = 2.0
#: Times that a call starts again because the version that answered its first texts was unloaded.
RESTARTS: Final = 5


class NotGiven:
    """The type of "argument not given", where ``None`` means something else."""

    def __repr__(self) -> str:
        return "<the client's own>"


NOT_GIVEN: Final = NotGiven()
Timeout = float | None | NotGiven


@dataclass(frozen=True)
class CallRecord:
    """One call to a server, as the ``on_call`` hook gets it.

    Attributes:
        method: Predict, GetModelMetadata, GetModelStatus or HandleReloadConfigRequest.
        address: the server.
        model: the model.
        code: how it ended.
        seconds: how long it took.
        rows: texts in it.
        attempt: 1, or more where it was sent again.
        request_bytes: size of the request.
        answer_bytes: size of the answer; 0 where there was none.
    """

    method: str
    address: str
    model: str
    code: grpc.StatusCode
    seconds: float
    rows: int
    attempt: int
    request_bytes: int
    answer_bytes: int


@dataclass(frozen=True)
class Ask:
    """What one call of a user is made with, the client's own settings put in; see :meth:`Client.embed`."""

    timeout: Timeout
    metadata: CallMetadata | None
    credentials: grpc.CallCredentials | None
    signature: str
    version: int | None
    version_label: str | None


class BaseClient:
    """Settings, and what is to be sent. See :class:`rawbert.serving.Client`."""

    def __init__(
        self,
        address: str | Sequence[str],
        model: str,
        version: int | None,
        version_label: str | None,
        timeout: float | None,
        max_batch_size: int,
        concurrency: int,
        config: ChannelConfig | None,
        retries: RetryPolicy | None,
        tls: TLS | None,
        call_credentials: grpc.CallCredentials | None,
        on_call: Callable[[CallRecord], None] | None,
        injected: bool,
    ) -> None:
        if not model:
            raise ValueError("model is empty: name the model on the server")
        check_version(version, version_label)
        if max_batch_size < 1:
            raise ValueError(f"max_batch_size is {max_batch_size}: at least 1 text goes into a call")
        if concurrency < 1:
            raise ValueError(f"concurrency is {concurrency}: at least 1 call is on its way")
        if injected and tls is not None:
            raise ValueError("give channel or tls, not both: the channel is used as it is")
        self._insecure = tls is None and not injected
        self._check_credentials(call_credentials)
        check_timeout(timeout)
        self.addresses = channels.addresses(address)
        self.model = model
        self.version = version
        self.version_label = version_label
        self._timeout = timeout
        self._max_batch_size = max_batch_size
        self._concurrency = concurrency
        self._config = config or ChannelConfig()
        self._retries = retries or RetryPolicy()
        self._tls = tls
        self._credentials = call_credentials
        self._on_call = on_call
        self._budget = retry.Budget(self._retries.budget)
        self._balancer = channels.Balancer(len(self.addresses))
        self._widths: dict[tuple[Any, ...], int] = {}

    def __repr__(self) -> str:
        which = self.version_label or ("newest" if self.version is None else self.version)
        return f"{type(self).__name__}({self.address!r}, model={self.model!r}, version={which!r})"

    @property
    def address(self) -> str:
        """The address, or several joined by commas."""
        return ",".join(self.addresses)

    def _ask(
        self,
        timeout: Timeout,
        metadata: CallMetadata,
        credentials: grpc.CallCredentials | None,
        signature: str = "",
        version: int | None = None,
        version_label: str | None = None,
    ) -> Ask:
        check_version(version, version_label)
        self._check_credentials(credentials)
        if not isinstance(timeout, NotGiven):
            check_timeout(timeout)
        if version is None and version_label is None:
            version, version_label = self.version, self.version_label
        return Ask(
            timeout, tuple(metadata) or None, credentials or self._credentials, signature, version, version_label
        )

    def _check_credentials(self, credentials: grpc.CallCredentials | None) -> None:
        if credentials is not None and self._insecure:
            raise ValueError("call_credentials are sent only over TLS: give tls=TLS(...) too")

    def _exchange(self, path: str, now: float, ask: Ask, *, pin: bool = False, each: bool = False) -> Exchange[Any]:
        """What drives one call of a user; ``each``: a timeout given is for each part, not for all of them."""
        whole: float | None = None
        part = self._timeout
        if not isinstance(ask.timeout, NotGiven):
            part = ask.timeout
            whole = None if ask.timeout is None or each else now + ask.timeout
        which = ask.version_label or ("newest" if ask.version is None else ask.version)
        asked = f", signature {ask.signature!r}" if ask.signature else ""
        return Exchange(
            what=f"{_short(path)} (model {self.model!r}, version {which}{asked})",
            names=self.addresses,
            policy=self._retries if path != channels.RELOAD_CONFIG else RetryPolicy(max_attempts=1),
            budget=self._budget,
            balancer=self._balancer,
            timeout=part,
            deadline=whole,
            concurrency=self._concurrency,
            pin=pin and ask.version is None,
            anonymous=self._tls is not None and self._tls.certificate is None,
            learn=self._learn,
        )

    def _explaining(self, ask: Ask, exchange: Exchange[Any]) -> Ask:
        """To find out, in what is left of the time, what a failed call should have asked."""
        left = math.inf if exchange.deadline is None else exchange.deadline - time.monotonic()
        return replace(ask, timeout=max(min(_EXPLAIN, left), 0.001))

    def _learn(self, limit: int) -> None:
        self._max_batch_size = min(self._max_batch_size, limit)
        _LOG.info("%s takes at most %d texts a call", self.address, limit)

    def _spec(self, ask: Ask, version: int | None = None) -> Any:
        if version is not None:
            return requests.model_spec(self.model, version, None, ask.signature)
        return requests.model_spec(self.model, ask.version, ask.version_label, ask.signature)

    def _batcher(self, sort: bool = False) -> Batcher[Any]:
        return Batcher(lambda: self._max_batch_size, _REQUEST_BYTES, sort)

    def _part(self, rows: Sequence[Row], decode: Decode[T], ask: Ask) -> Part[T]:
        def build(version: int | None) -> bytes:
            return _serialized(requests.text_request(self._spec(ask, version), rows))

        def split(size: int) -> list[Part[T]]:
            return [self._part(rows[at : at + size], decode, ask) for at in range(0, len(rows), size)]

        return Part(build, _decoder(decode, len(rows)), len(rows), split)

    def _predict_part(
        self, inputs: Mapping[str, npt.ArrayLike], output_filter: Iterable[str], ask: Ask
    ) -> Part[Prediction]:
        data = _serialized(requests.predict_request(self._spec(ask), inputs, output_filter))
        return Part(lambda version: data, _decoder(lambda outputs, _, version: Prediction(outputs, version), 1))

    def _metadata_part(self, ask: Ask) -> Part[ModelMetadata]:
        data = _serialized(requests.metadata_request(self._spec(replace(ask, signature=""))))
        return Part(lambda _: data, lambda got: Answer(requests.parse_metadata(_parse(GetModelMetadataResponse, got))))

    def _status_part(self, version: int | None) -> Part[list[VersionStatus]]:
        data = _serialized(requests.status_request(requests.model_spec(self.model, version)))
        return Part(lambda _: data, lambda got: Answer(requests.parse_status(_parse(GetModelStatusResponse, got))))

    def _reload_part(self, config: str, address: str) -> Part[None]:
        data = _serialized(requests.reload_request(config))

        def decode(got: bytes) -> Answer[None]:
            requests.check_reload(_parse(ReloadConfigResponse, got), address)
            return Answer(None)

        return Part(lambda _: data, decode)

    def _failed(
        self,
        path: str,
        exchange: Exchange[Any],
        attempt: Attempt[Any],
        code: grpc.StatusCode,
        details: str,
        now: float,
        cause: BaseException | None = None,
    ) -> None:
        """A call has failed: it is noted, and sent again or raised."""
        self._note(path, attempt, code, 0, now)
        try:
            exchange.failed(attempt, code, details, now)
        except ServingError as error:
            raise error from cause

    def _note(self, path: str, attempt: Attempt[Any], code: grpc.StatusCode, size: int, now: float) -> None:
        """Tell the hook and the log of a call that has ended."""
        address = self.addresses[attempt.server]
        if code is not grpc.StatusCode.OK:
            _LOG.debug("%s at %s: %s in attempt %d", _short(path), address, code.name, attempt.part.attempts)
        if self._on_call is None:
            return
        number = attempt.part.attempts + attempt.part.refusals
        seconds, sent = now - attempt.begun, len(attempt.request)
        record = CallRecord(_short(path), address, self.model, code, seconds, attempt.part.rows, number, sent, size)
        try:
            self._on_call(record)
        except Exception:
            _LOG.exception("the on_call hook failed")


def vectors(name: str) -> Decode[tuple[Array, int | None]]:
    """Decodes the output that holds one vector a text."""
    return lambda outputs, rows, version: (requests.output(outputs, name, rows, rank=2), version)


def width_key(name: str, ask: Ask) -> tuple[Any, ...]:
    """What the size of a vector is remembered under."""
    return name, ask.signature, ask.version, ask.version_label


def check_version(version: int | None, version_label: str | None) -> None:
    """Raises ValueError where both are given."""
    if version is not None and version_label is not None:
        raise ValueError("give version or version_label, not both")


def check_timeout(timeout: float | None) -> None:
    """Raises ValueError for a timeout that is none."""
    if timeout is not None and not timeout > 0:
        raise ValueError(f"timeout is {timeout}: give seconds above 0, or None for no deadline")


def readiness_timeout(until: float | None) -> float:
    """Seconds for one look at whether the server is ready: five, or what is left."""
    return 5.0 if until is None else min(5.0, max(until - time.monotonic(), 0.001))


def available(statuses: Sequence[VersionStatus]) -> bool:
    """Whether a version can be called."""
    return any(status.state == "AVAILABLE" for status in statuses)


def unknown_signature(error: ServingError) -> bool:
    """Whether a call failed for a signature that is not there."""
    return error.code is grpc.StatusCode.FAILED_PRECONDITION and error.details.startswith("Serving signature")


def unknown_version(error: ServingError) -> bool:
    """Whether a call failed for a version that is not there."""
    return error.code is grpc.StatusCode.NOT_FOUND and error.details.startswith("Servable not found for request: Spec")


def with_found(error: ServingError, what: str, found: Iterable[str]) -> ServingError:
    """The same error, naming what is there."""
    message = f"{error}; the model has the {what} {', '.join(map(str, found)) or 'none'}"
    return type(error)(message, code=error.code, details=error.details, address=error.address)


def _decoder(decode: Decode[T], rows: int) -> Callable[[bytes], Answer[T]]:
    def decoded(data: bytes) -> Answer[T]:
        spec, outputs = codec.decode_response(data)
        version = spec.version.value if spec.HasField("version") else None
        return Answer(decode(outputs, rows, version), version)

    return decoded


def _short(path: str) -> str:
    return path.rpartition("/")[2]


def _serialized(request: Any) -> bytes:
    data: bytes = request.SerializeToString()
    return data


def _parse(message: Any, data: bytes) -> Any:
    try:
        return message.FromString(data)
    except ProtobufError as error:
        raise DecodeError(f"the answer is no {message.DESCRIPTOR.name}: {error}") from error
