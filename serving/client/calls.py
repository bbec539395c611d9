"""The calls of a client: its channels, the loop that sends the due attempts of an :class:`Exchange`, and the record
of each call. The sync and the asyncio client share this code; they differ in how they wait.

Anything that takes time is a *plan*: a generator that yields a :class:`Wait`, or a source to read from, receives the
outcome and returns a result. The clients drive it.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, Final, Generic, NamedTuple, TypeVar

import grpc

from ..contract import TensorSpec
from ..errors import ServingError
from ..wire.messages import Target
from . import channel as channels
from .channel import Balancer
from .exchange import Answer, Attempt, Exchange, Shared
from .parts import Limits
from .results import CallRecord
from .retry import Budget
from .settings import DEFAULT_TIMEOUT, TLS, CallMetadata, CallOptions, ChannelConfig, RetryPolicy, whole_number

_LOG = logging.getLogger("rawbert.serving")

T = TypeVar("T")
#: Channel type.
C = TypeVar("C")
#: See the module.
Plan = Generator[Any, Any, T]

#: Bytes of texts in one request: under the 4 MB at which servers and proxies with gRPC's defaults refuse one.
_REQUEST_BYTES: Final = 3_500_000
#: The attempt from which the log reports repeated failures: after about a third of a second.
_TOLD: Final = 5


class Wait(NamedTuple):
    """A step of a plan: wait up to ``seconds`` for the next item in the inbox; its result is that item, or ``None``."""

    inbox: Any
    seconds: float | None


class Calls(Generic[C]):
    """Settings, channels and calls of a client. See :class:`rawbert.serving.Client`."""

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
        metadata: CallMetadata | None = None,
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
        for name, value, kind in (("retry", retry, RetryPolicy), ("tls", tls, TLS), ("config", config, ChannelConfig)):
            if value is not None and not isinstance(value, kind):
                raise TypeError(f"{name} is {value!r}: give {kind.__name__}(...), or leave it out")
        if on_call is not None and not callable(on_call):
            raise TypeError(f"on_call is {on_call!r}: give a function that takes a CallRecord")
        if channel is not None and tls is not None:
            raise ValueError("give channel or tls, not both: tls is for channels that the client opens")
        self.addresses = channels.addresses(address)
        self.model = model
        self.version = version
        self.version_label = version_label
        self._insecure = tls is None and channel is None
        self._own = CallOptions(version, version_label, timeout, metadata, call_credentials)
        self._check_credentials(self._own)
        self._config = config or ChannelConfig()
        self._tls = tls
        self._interceptors = list(interceptors)
        self._on_call = on_call
        self._injected = channel
        self._closed = False
        self._lock = threading.Lock()
        self._lines: channels.Lines | None = None
        #: Calls and channels that are being closed: an event loop keeps only weak references to its tasks.
        self._ending: set[Any] = set()
        #: Cached facts about signatures: the vector size, and the inputs.
        self._widths: dict[tuple[Target, str], int] = {}
        self._specs: dict[Target, Mapping[str, TensorSpec]] = {}
        policy = retry or RetryPolicy()
        self._shared = Shared(
            model=model,
            names=self.addresses,
            policy=policy,
            budget=Budget(policy.budget),
            balancer=Balancer(len(self.addresses)),
            limits=Limits(whole_number("max_batch_size", max_batch_size, 1), _REQUEST_BYTES),
            timeout=None if timeout is None else float(timeout),
            concurrency=whole_number("concurrency", concurrency, 1),
            connection=self._connection(),
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.address!r}, model={self.model!r}, version {self._own.which})"

    def __reduce__(self) -> Any:
        raise TypeError("a client has connections, which cannot be pickled: make a client in each process")

    @property
    def address(self) -> str:
        """The address, or several joined by commas."""
        return ",".join(self.addresses)

    def _check_credentials(self, options: CallOptions) -> None:
        if options.call_credentials is not None and self._insecure:
            raise ValueError("call_credentials are sent only over TLS: give tls=TLS(...) too")

    def _connection(self) -> frozenset[str]:
        """Properties of the connection, for the advice in error messages."""
        proxies = [name for name in ("grpc_proxy", "https_proxy", "http_proxy") if os.environ.get(name)]
        properties = {
            "plain": self._insecure,
            "anonymous": self._tls is not None and self._tls.certificate is None,
            "identified": self._tls is not None and self._tls.certificate is not None,
            "proxy": self._config.http_proxy and proxies,
        }
        return frozenset(name for name, applies in properties.items() if applies)

    # The parts that differ between the clients: a queue of events; calls as futures; the process or event loop that
    # owns the channels; and the addition to an error.
    _inbox: Any
    _send: Any
    _cancel: Any
    _owner: Any
    _open_channel: Any
    _close_channel: Any
    _explained: Any

    # --- Channels ---

    def _opened(self) -> channels.Lines:
        """The channels; opened first if there are none, or if they belong to another process."""
        with self._lock:
            if self._closed:
                raise ValueError("the client is closed")
            owner = self._owner()
            if self._lines is None or self._lines.owner != owner:
                made, closed = self._open_channel, self._close_channel
                if self._injected is not None:
                    made, closed = lambda address, fresh: self._injected, lambda channel: None
                self._lines = channels.Lines(owner, self.addresses, self._config.lookup_interval, made, closed)
            return self._lines

    def _taken(self) -> tuple[Any, list[Any]]:
        """For closing: the owner of the channels, and those channels that this client opened."""
        with self._lock:
            self._closed = True
            lines, self._lines = self._lines, None
        if lines is None or self._injected is not None:
            return None, []
        return lines.owner, [line.channel for line in lines.open if line is not None]

    def _prepared(self, exchange: Exchange[Any], attempt: Attempt[Any]) -> tuple[Any, dict[str, Any]]:
        """The gRPC method for an attempt and its arguments; reserves the channel."""
        data = exchange.operation.encode(attempt.part.rows, attempt.version)
        attempt.request_bytes, attempt.line = len(data), self._opened().take(attempt.server, time.monotonic())
        return attempt.line.methods[exchange.operation.path], {
            "request": data,
            "timeout": attempt.timeout,
            "metadata": exchange.options.metadata or None,
            "credentials": exchange.options.call_credentials,
            "wait_for_ready": self._config.wait_for_ready or None,
        }

    # --- The calls of an exchange ---

    def _answers(self, exchange: Exchange[T]) -> Plan[list[Answer[T]]]:
        """All answers of an exchange, in order."""
        answers = []
        with closing(self._run(exchange)) as run:
            while answer := (yield from self._next(run)):
                answers.append(answer)
        return answers

    def _next(self, run: Plan[None]) -> Plan[Answer[Any] | None]:
        """The next answer of a :meth:`_run`; ``None`` at its end."""
        came = None
        try:
            while not isinstance(step := run.send(came), Answer):
                came = yield step
        except StopIteration:
            return None
        return step

    def _run(self, exchange: Exchange[T]) -> Plan[None]:
        """Make the calls of an exchange. Each answer is a step too, in order; nothing is sent back for it."""
        inbox = self._inbox()
        flying: dict[Attempt[T], Any] = {}
        try:
            while not exchange.finished:
                while exchange.wants:
                    source = exchange.source
                    exchange.feed(next(source, None) if isinstance(source, Iterator) else (yield source))
                for attempt in exchange.due(time.monotonic()):
                    flying[attempt] = self._send(exchange, attempt)
                    flying[attempt].add_done_callback(lambda _, attempt=attempt: inbox.put_nowait(attempt))
                for answer in exchange.ready():
                    taken = time.monotonic()
                    yield answer
                    exchange.held(time.monotonic() - taken)
                if exchange.wants or exchange.finished:
                    continue
                ended = yield Wait(inbox, exchange.wait(time.monotonic()))
                if ended is not None:
                    self._ended(exchange, ended, flying.pop(ended))
                    continue
                for attempt in [each for each in flying if exchange.overdue(each, time.monotonic())]:
                    self._ended(exchange, attempt, None)
        except ServingError as error:
            raise (yield from self._explained(error, exchange)) from error.__cause__
        finally:
            for attempt, call in flying.items():
                self._cancel(call)
                attempt.line.give()

    def _ended(self, exchange: Exchange[T], attempt: Attempt[T], call: Any) -> None:
        """Handle a call that has ended, or is overdue (``None``): record it, then keep its answer, retry or raise."""
        code, details, data = grpc.StatusCode.OK, "", b""
        cause: BaseException | None = None
        try:
            if call is None:
                code, details = grpc.StatusCode.DEADLINE_EXCEEDED, channels.DEADLINE
            else:
                attempt.line.give()
                data = call.result()
        except grpc.RpcError as error:
            cause = error
            # An interceptor may raise an exception without code and details.
            code = error.code() if hasattr(error, "code") else grpc.StatusCode.UNKNOWN
            details = error.details() or "" if hasattr(error, "details") else str(error)
        except (grpc.FutureCancelledError, asyncio.CancelledError) as error:  # Not cancelled by this client.
            cause, code, details = error, grpc.StatusCode.CANCELLED, "the channel was closed"
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
        """Report a call that has ended to the hook and the log."""
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
