"""What the sync and the asyncio client share: everything but the calling.

Each method of a client is a *plan* here: a generator that yields the next thing to do, an :class:`Exchange` to run or
seconds to wait, is sent what came of it, and returns the result. The clients drive it.
"""

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, Final, Generic, TypeVar

import grpc
import numpy as np
import numpy.typing as npt

from ..contract import TensorSpec
from ..errors import (
    DeadlineExceeded,
    InvalidRequest,
    ModelNotFound,
    ModelVersionChanged,
    ServerUnavailable,
    ServingError,
)
from ..wire.messages import ModelMetadata, Row, Target, VersionStatus
from . import channel as channels
from . import operations, requests
from .exchange import Answer, Attempt, Exchange
from .operations import Operation
from .parts import Batcher, by_length
from .results import CallRecord, Prediction, Tokens
from .retry import Budget
from .settings import DEFAULT_TIMEOUT, TLS, CallKeywords, CallOptions, ChannelConfig, RetryPolicy, TextKeywords

_LOG = logging.getLogger("rawbert.serving")

T = TypeVar("T")
K = TypeVar("K", bound=Tokens)
#: The kind of channel.
C = TypeVar("C")
Array = npt.NDArray[Any]
Texts = Iterable[str | bytes]
#: A method of a client, without I/O; see the module.
Plan = Generator["Exchange[Any] | float", Any, T]

#: Bytes of texts in one request: under the 4 MB at which servers and proxies with gRPC's defaults refuse one.
_REQUEST_BYTES: Final = 3_500_000
#: Requests do not get smaller than so many bytes, but for a single text.
_LEAST_BYTES: Final = 1000
#: Seconds that finding out which signatures or versions exist may take, for an error's message.
_EXPLAIN: Final = 2.0
#: Times that a call starts again because the version that answered its first texts was unloaded.
_RESTARTS: Final = 5
#: The attempt after which a log says that a call is tried again and again: about a third of a second.
_TOLD: Final = 5
#: Seconds for a look at whether the server is ready, and between two looks.
_LOOK, _PAUSE = 5.0, 0.2


class BaseClient(Generic[C]):
    """Settings, and every method as a plan. See :class:`rawbert.serving.Client`."""

    def __init__(
        self,
        address: str | Sequence[str] = "localhost:8500",
        *,
        model: str,
        version: int | None = None,
        version_label: str | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
        max_batch_size: int = 64,
        concurrency: int = 4,
        retry: RetryPolicy | None = None,
        tls: TLS | None = None,
        call_credentials: grpc.CallCredentials | None = None,
        interceptors: Sequence[Any] = (),
        on_call: Callable[[CallRecord], None] | None = None,
        channel: C | None = None,
        config: ChannelConfig | None = None,
    ) -> None:
        if not isinstance(model, str):
            raise TypeError(f"model is {model!r}: give the model's name on the server")
        if not model:
            raise ValueError("model is empty: name the model on the server")
        if max_batch_size < 1:
            raise ValueError(f"max_batch_size is {max_batch_size}: at least 1 text goes into a call")
        if concurrency < 1:
            raise ValueError(f"concurrency is {concurrency}: at least 1 call is on its way")
        if channel is not None and tls is not None:
            raise ValueError("give channel or tls, not both: the channel is used as it is")
        self.addresses = channels.addresses(address)
        self.model = model
        self.version = version
        self.version_label = version_label
        self._insecure = tls is None and channel is None
        self._own = CallOptions(version, version_label, timeout, (), call_credentials)
        self._check_credentials(self._own)
        self._max_batch_size = max_batch_size
        self._request_bytes = _REQUEST_BYTES
        self._concurrency = concurrency
        self._config = config or ChannelConfig()
        self._retries = retry or RetryPolicy()
        self._tls = tls
        self._interceptors = list(interceptors)
        self._on_call = on_call
        self._injected = channel
        self._closed = False
        self._lock = threading.Lock()
        #: The channels, and the process or event loop that they belong to.
        self._lines: tuple[Any, channels.Lines] | None = None
        #: Channels that are being closed, which asyncio itself holds only weakly.
        self._closing: set[Any] = set()
        self._budget = Budget(self._retries.budget)
        self._balancer = channels.Balancer(len(self.addresses))
        #: What is remembered of signatures: the size of a vector, and the inputs.
        self._widths: dict[Target, int] = {}
        self._specs: dict[Target, Mapping[str, TensorSpec]] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.address!r}, model={self.model!r}, version {self._own.which})"

    def __reduce__(self) -> Any:
        raise TypeError("a client has connections, which cannot be pickled: make a client in each process")

    @property
    def address(self) -> str:
        """The address, or several joined by commas."""
        return ",".join(self.addresses)

    # --- The methods of a client, as plans ---

    def _vectors(self, signature: str, texts: Texts, return_version: bool, keywords: Mapping[str, Any]) -> Plan[Any]:
        options, rows = self._asked(signature, texts, keywords)
        name = requests.vector_output(signature)
        target, version = self._target(options), None
        if rows:
            answers, places = yield from self._collect(operations.vectors(target, name), rows, options)
            found, version = requests.join_vectors([each.value for each in answers], name), answers[0].version
            self._widths[target] = found.shape[1]
            found = found if places is None else found[places]
        else:
            if target not in self._widths:
                self._widths[target] = yield from self._width(name, options)
            found = np.zeros((0, self._widths[target]), np.float32)
        return (found, version) if return_version else found

    def _width(self, name: str, options: CallOptions) -> Plan[int]:
        """Size of a vector, for no texts: with batching on, TensorFlow Serving does not answer an empty Predict."""
        model = yield from self._one(operations.metadata(self._target(options)), options)
        width = requests.static_width(model, options.signature_name, name)
        if width is None:
            answers, _ = yield from self._collect(operations.vectors(self._target(options), name), [(b"",)], options)
            width = answers[0].value.shape[1]
        return width

    def _objects(self, kind: type[K], signature: str, texts: Texts, keywords: Mapping[str, Any]) -> Plan[list[K]]:
        options, rows = self._asked(signature, texts, keywords)
        operation = operations.tokens(self._target(options), kind, signature)
        answers, places = yield from self._collect(operation, rows, options)
        values = list(chain.from_iterable(answer.value for answer in answers))
        return values if places is None else [values[at] for at in places]

    def _predict(
        self, inputs: Mapping[str, npt.ArrayLike], signature: str, wanted: Iterable[str], keywords: Mapping[str, Any]
    ) -> Plan[Prediction]:
        options = self._options(keywords, signature=signature)
        specs = (yield from self._inputs(options)) if requests.has_python_numbers(inputs) else {}
        sent = requests.fitted(inputs, specs)
        try:
            return (yield from self._one(operations.predict(self._target(options), sent, wanted), options))
        except InvalidRequest as error:
            if error.code is not grpc.StatusCode.INVALID_ARGUMENT:
                raise
            found = requests.misfits(sent, specs or (yield from self._inputs(options)))
            raise _because(error, f"input {'; input '.join(found)}") if found else error from error.__cause__

    def _inputs(self, options: CallOptions) -> Plan[Mapping[str, TensorSpec]]:
        """Inputs of a signature; remembered. None where the server does not tell."""
        key = self._target(options)
        if key not in self._specs:
            try:
                model = yield from self._one(operations.metadata(key), options)
            except ServingError:
                return {}  # The call itself says what is wrong.
            signature = model.signatures.get(options.signature_name)
            self._specs[key] = {} if signature is None else signature.inputs
        return self._specs[key]

    def _metadata(self, keywords: Mapping[str, Any]) -> Plan[ModelMetadata]:
        options = self._options(keywords)
        return (yield from self._one(operations.metadata(self._target(options)), options))

    def _status(self, keywords: Mapping[str, Any]) -> Plan[list[VersionStatus]]:
        options = self._options(keywords)
        if options.version_label is not None:
            # TensorFlow Serving's GetModelStatus takes no notice of a label: GetModelMetadata says whose it is.
            model = yield from self._one(operations.metadata(self._target(options)), options)
            options = replace(options, version=model.version, version_label=None)
        return (yield from self._one(operations.status(self._target(options)), options))

    def _ready(self, keywords: Mapping[str, Any]) -> Plan[list[VersionStatus]]:
        timeout = self._options({"timeout": 60.0, **keywords}).timeout
        until = math.inf if not isinstance(timeout, (int, float)) else time.monotonic() + timeout
        while True:
            look = {**keywords, "timeout": min(_LOOK, max(until - time.monotonic(), 0.001))}
            try:
                statuses = yield from self._status(look)
                if any(status.state == "AVAILABLE" for status in statuses):
                    return statuses
                seen = "; ".join(f"version {each.version} {each.state} {each.error_message}" for each in statuses)
            except (ServerUnavailable, ModelNotFound, DeadlineExceeded) as error:
                seen = str(error)
            except InvalidRequest as error:
                if "label" not in error.details:
                    raise
                seen = str(error)  # The label is not there yet.
            if time.monotonic() >= until:
                late = f"model {self.model!r} at {self.address} was not ready within {timeout:g} s: {seen}"
                raise ServerUnavailable(late, address=self.address)
            yield _PAUSE

    def _reload(self, config: str, keywords: Mapping[str, Any]) -> Plan[None]:
        options = self._options(keywords)
        for server, address in enumerate(self.addresses):
            yield from self._one(operations.reload(config, address), options, server)

    def _stream(
        self, texts: Any, text_pair: Any, follow: bool, return_version: bool, keywords: Mapping[str, Any]
    ) -> tuple[Exchange[Array], Batcher[Any]]:
        """What ``embed_iter`` runs: its source is the client's to set, and a timeout given is for each part."""
        requests.check_texts(texts)
        if text_pair is not None:
            requests.check_texts(text_pair, "text_pair")
        if follow and not return_version:
            raise ValueError("follow_version=True needs return_version=True: vectors of two versions do not compare")
        options = self._options(keywords, TextKeywords, "embed")
        name = requests.vector_output("embed")
        operation = operations.vectors(self._target(options), name, writable=True)
        exchange = self._exchange(operation, options, iter(()), None)
        exchange.follow = follow
        return exchange, self._batcher(options.sort_by_length)

    # --- What plans are made of ---

    def _collect(
        self, operation: Operation[T], rows: Sequence[Row], options: CallOptions
    ) -> Plan[tuple[list[Answer[T]], Array | None]]:
        """Answers to the parts of a call, all of one version: it starts again where that was unloaded.

        And the place of each row in the answers, where they were sorted by length.
        """
        deadline, places = _deadline(options), None
        if options.sort_by_length:
            order = by_length(rows)
            rows, places = [rows[at] for at in order], np.argsort(order)
        for left in reversed(range(_RESTARTS)):
            try:
                parts = self._batcher().parts(rows)
                answers: list[Answer[T]] = yield self._exchange(operation, options, parts, deadline)
                return answers, places
            except ModelVersionChanged:
                if not left:
                    raise
        raise AssertionError("unreachable")

    def _one(self, operation: Operation[T], options: CallOptions, server: int | None = None) -> Plan[T]:
        """The answer to a request without texts; of one ``server``, it is asked for once."""
        exchange = self._exchange(operation, options, iter([()]), _deadline(options))
        if server is not None:
            exchange.server, exchange.policy = server, RetryPolicy(max_attempts=1)
        (answer,) = yield exchange
        value: T = answer.value
        return value

    def _asked(self, signature: str, texts: Texts, keywords: Mapping[str, Any]) -> tuple[CallOptions, list[Row]]:
        rest = dict(keywords)
        text_pair = rest.pop("text_pair", None)
        return self._options(rest, TextKeywords, signature), requests.as_rows(texts, text_pair)

    def _options(self, keywords: Mapping[str, Any], known: Any = CallKeywords, signature: str = "") -> CallOptions:
        for name in keywords:
            if name not in known.__optional_keys__:
                raise TypeError(f"unexpected keyword argument {name!r}; there are {', '.join(known.__optional_keys__)}")
        options = CallOptions(**{"signature_name": signature, **keywords})
        self._check_credentials(options)
        return options.over(self._own)

    def _check_credentials(self, options: CallOptions) -> None:
        if options.call_credentials is not None and self._insecure:
            raise ValueError("call_credentials are sent only over TLS: give tls=TLS(...) too")

    def _target(self, options: CallOptions) -> Target:
        return Target(self.model, options.version, options.version_label, options.signature_name)

    def _batcher(self, sort: bool = False) -> Batcher[Any]:
        return Batcher(lambda: self._max_batch_size, lambda: self._request_bytes, sort)

    def _connection(self) -> frozenset[str]:
        """How the servers are connected to, for the hints of errors."""
        proxies = [name for name in ("grpc_proxy", "https_proxy", "http_proxy") if os.environ.get(name)]
        holds = {
            "plain": self._insecure,
            "anonymous": self._tls is not None and self._tls.certificate is None,
            "proxy": self._config.http_proxy and proxies,
        }
        return frozenset(word for word, true in holds.items() if true)

    def _learn(self, *, texts: int | None = None, size: int | None = None) -> None:
        """A server takes so many texts in a call at most, or so many bytes."""
        self._max_batch_size = min(self._max_batch_size, texts or self._max_batch_size)
        self._request_bytes = min(self._request_bytes, max(size or self._request_bytes, _LEAST_BYTES))
        _LOG.info("%s: at most %d texts and %d bytes a call", self.address, self._max_batch_size, self._request_bytes)

    def _exchange(
        self, operation: Operation[T], options: CallOptions, source: Iterator[Sequence[Row]], deadline: float | None
    ) -> Exchange[T]:
        """What drives one call of a user."""
        timeout = self._own.timeout if options.timeout is ... else options.timeout
        assert timeout is None or isinstance(timeout, float)
        asked = f", signature {options.signature_name!r}" if options.signature_name else ""
        return Exchange(
            operation,
            options,
            what=f"{operation.name} (model {self.model!r}, version {options.which}{asked})",
            names=self.addresses,
            source=source,
            policy=self._retries,
            budget=self._budget,
            balancer=self._balancer,
            timeout=timeout,
            deadline=deadline,
            concurrency=self._concurrency,
            pin=options.version is None,
            connection=self._connection(),
            learn=self._learn,
        )

    # --- What the drivers report ---

    def _prepared(self, exchange: Exchange[Any], attempt: Attempt[Any]) -> tuple[Any, dict[str, Any]]:
        """gRPC's method for an attempt, whose channel is taken, and its arguments."""
        data = exchange.operation.encode(attempt.part.rows, attempt.version)
        attempt.request_bytes, attempt.line = len(data), self._opened().take(attempt.server, time.monotonic())
        return attempt.line.methods[exchange.operation.path], {
            "request": data,
            "timeout": attempt.timeout,
            "metadata": exchange.options.metadata or None,
            "credentials": exchange.options.call_credentials,
            "wait_for_ready": self._config.wait_for_ready or None,
        }

    def _opened(self) -> channels.Lines:
        """The channels; opened where they are not, or are another process's."""
        with self._lock:
            if self._closed:
                raise ValueError("the client is closed")
            owner = self._owner()
            if self._lines is None or self._lines[0] != owner:
                opened, closed = self._open_channel, self._close_channel
                if self._injected is not None:
                    opened, closed = lambda address, fresh: self._injected, lambda channel: None
                self._lines = (owner, channels.Lines(self.addresses, self._config.lookup_interval, opened, closed))
            return self._lines[1]

    def _taken(self) -> tuple[Any, list[Any]]:
        """For the end: whose the channels are, and those that are ours to close."""
        with self._lock:
            self._closed = True
            taken, self._lines = self._lines, None
        if taken is None or self._injected is not None:
            return None, []
        return taken[0], [line.channel for line in taken[1].open if line is not None]

    def _owner(self) -> Any:
        raise NotImplementedError

    def _open_channel(self, address: str, fresh: int) -> Any:
        raise NotImplementedError

    def _close_channel(self, channel: Any) -> None:
        raise NotImplementedError

    def _ended(
        self,
        exchange: Exchange[T],
        attempt: Attempt[T],
        code: grpc.StatusCode,
        details: str = "",
        data: bytes = b"",
        cause: BaseException | None = None,
    ) -> None:
        """A call has ended: it is noted, and its answer kept; or it is sent again, or raised."""
        now = time.monotonic()
        silent = code is grpc.StatusCode.DEADLINE_EXCEEDED and attempt.line.silent(attempt.begun, now)
        if code not in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE):
            attempt.line.heard = now
        self._note(exchange.operation.name, attempt, code, len(data), now)
        if code is grpc.StatusCode.OK:
            exchange.answered(attempt, Answer(*exchange.operation.decode(data, len(attempt.part.rows))))
            return
        try:
            exchange.failed(attempt, code, details, now, silent)
        except ServingError as error:
            raise error from cause
        if attempt.number == _TOLD:
            _LOG.warning("waiting for %s: %s", self.addresses[attempt.server], attempt.part.error)

    def _note(self, name: str, attempt: Attempt[Any], code: grpc.StatusCode, size: int, now: float) -> None:
        """Tell the hook and the log of a call that has ended."""
        address, rows = self.addresses[attempt.server], len(attempt.part.rows)
        if code is not grpc.StatusCode.OK:
            _LOG.debug("%s at %s: %s in attempt %d", name, address, code.name, attempt.number)
        if self._on_call is None:
            return
        seconds, sent = now - attempt.begun, attempt.request_bytes
        try:
            self._on_call(CallRecord(name, address, self.model, code, seconds, rows, attempt.number, sent, size))
        except Exception:
            _LOG.exception("the on_call hook failed")

    def _explained(self, error: ServingError, exchange: Exchange[Any]) -> Plan[ServingError]:
        """An unknown signature or version, with those that exist, within what is left of the time."""
        left = math.inf if exchange.deadline is None else exchange.deadline - time.monotonic()
        options = replace(exchange.options, timeout=max(min(_EXPLAIN, left), 0.001))
        try:
            if error.code is grpc.StatusCode.FAILED_PRECONDITION and error.details.startswith("Serving signature"):
                model = yield from self._one(operations.metadata(self._target(options)), options)
                return _because(error, f"the model has the signatures {_listed(model.signatures)}")
            if error.code is grpc.StatusCode.NOT_FOUND and error.details.startswith(
                "Servable not found for request: Spec"
            ):
                every = replace(options, version=None, version_label=None)
                statuses = yield from self._one(operations.status(self._target(every)), every)
                found = _listed(f"{each.version} ({each.state})" for each in statuses)
                return _because(error, f"the model has the versions {found}")
        except ServingError:
            pass  # The first error says more.
        return error


def _deadline(options: CallOptions) -> float | None:
    """When a call must have ended for which the user gave a timeout."""
    return time.monotonic() + options.timeout if isinstance(options.timeout, float) else None


def _because(error: ServingError, why: str) -> ServingError:
    """The same error, with more to say."""
    return type(error)(f"{error}; {why}", code=error.code, details=error.details, address=error.address)


def _listed(found: Iterable[Any]) -> str:
    return ", ".join(map(str, found)) or "none"
