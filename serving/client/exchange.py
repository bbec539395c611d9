"""One call of a user as a state machine without I/O: the next attempts, and the effect of an answer or a failure.

The sync and the asyncio client drive the same :class:`Exchange`: they feed it rows, send the attempts that are due,
and report the result of each. It manages the order of the parts, their version, their retries and their deadlines. It
handles rows and versions; its :class:`Operation` turns them into bytes and back.
"""

import math
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

import grpc

from ..errors import ModelVersionChanged, ServingError, from_status
from ..wire.messages import Row
from . import retry
from .channel import Balancer
from .parts import Limits
from .settings import CallOptions, RetryPolicy

T = TypeVar("T")

#: Seconds after a deadline in which gRPC may still report it. In a busy process its timer is late by a tenth of a
#: second or more.
_GRACE: Final = 0.02


class Answer(NamedTuple, Generic[T]):
    """A decoded answer, and the version that gave it; ``None`` if the server does not report it."""

    value: T
    version: int | None = None


class Part(Generic[T]):
    """The rows of one request, and its state."""

    answer: Answer[T] | None = None
    due: float = 0.0
    flying: bool = False
    error: ServingError | None = None
    attempts: int = 0
    refusals: int = 0
    avoid: frozenset[int] = frozenset()
    without: frozenset[int] = frozenset()

    def __init__(self, rows: Sequence[Row], started: bool = False, deadline: float | None = None) -> None:
        self.rows, self.started, self.deadline = rows, started, deadline


class Attempt(Generic[T]):
    """One call to make to a server, with its ``timeout`` in seconds from now."""

    request_bytes: int = 0
    line: Any = None

    def __init__(self, part: Part[T], server: int, version: int | None, timeout: float | None, begun: float) -> None:
        self.part, self.server, self.version, self.timeout, self.begun = part, server, version, timeout, begun

    @property
    def number(self) -> int:
        """1 for the first attempt at these rows, then 2 and so on."""
        return self.part.attempts + self.part.refusals


class Operation(NamedTuple, Generic[T]):
    """A method of the server, with the encoding of its requests and answers.

    Attributes:
        path: gRPC's name of the method.
        encode: rows, and a version in place of the user's -> the request.
        decode: an answer and its number of rows -> its value, and the version that answered, if the server reports it.
    """

    path: str
    encode: Callable[[Sequence[Row], int | None], bytes]
    decode: Callable[[bytes, int], tuple[T, int | None]]

    @property
    def name(self) -> str:
        """The method name without the service."""
        return self.path.rpartition("/")[2]


class Shared(NamedTuple):
    """Shared state of all calls of a client.

    Attributes:
        model: model name on the servers.
        names: addresses of the servers.
        policy, budget, balancer: retry policy, retry budget, and the choice of the next server.
        limits: size of the parts of a call; lowered if a server reports a smaller limit.
        timeout: seconds for each part of a call without ``timeout``; ``None`` for no deadline.
        concurrency: maximum number of parts of a call in flight.
        connection: properties of the connection, for messages; see :func:`from_status`.
    """

    model: str
    names: tuple[str, ...]
    policy: RetryPolicy
    budget: retry.Budget
    balancer: Balancer
    limits: Limits
    timeout: float | None
    concurrency: int
    connection: frozenset[str]


class Exchange(Generic[T]):
    """See the module.

    Args:
        operation: the method and its encoding.
        options: the user's options.
        shared: shared state of the client.
        source: source of rows; the driver reads it.
        deadline: end of the whole call.
        follow: whether unanswered parts go to another version when the pinned one is gone.
        server: the only server to call, once; the next in turn if left out.
    """

    def __init__(
        self,
        operation: Operation[T],
        options: CallOptions,
        shared: Shared,
        source: Iterator[Sequence[Row]] | AsyncIterator[Sequence[Row]],
        deadline: float | None,
        follow: bool = False,
        server: int | None = None,
    ) -> None:
        self.operation, self.options, self.source = operation, options, source
        self.deadline = deadline
        #: Seconds for each part, over all its attempts.
        self._timeout = shared.timeout if options.timeout is ... else options.timeout
        self._shared, self._follow, self._server = shared, follow, server
        # Without a version from the user, all parts are pinned to the version that answers first.
        self._pins = options.version is None
        self._pinned: int | None = None
        self._order: deque[Part[T]] = deque()
        self._ended = False
        self._where = ",".join(shared.names)

    def __str__(self) -> str:
        asked = f", signature {self.options.signature_name!r}" if self.options.signature_name else ""
        return f"{self.operation.name} (model {self._shared.model!r}, version {self.options.which}{asked})"

    @property
    def wants(self) -> bool:
        """Whether further rows may be fed; the window limits the read-ahead."""
        most, unanswered = self._shared.concurrency, sum(part.answer is None for part in self._order)
        return not self._ended and len(self._order) < 2 * most and unanswered < most

    @property
    def finished(self) -> bool:
        """Whether all rows were fed, and all answers received and taken."""
        return self._ended and not self._order

    def feed(self, rows: Sequence[Row] | None) -> None:
        """Add the rows of the next part; ``None`` at the end."""
        if rows is None:
            self._ended = True
        else:
            self._order.append(Part(rows))

    def due(self, now: float) -> list[Attempt[T]]:
        """Attempts to make now; raises a ServingError if a part's time is over before it could be sent again."""
        room = self._shared.concurrency - sum(part.flying for part in self._order)
        waiting = [part for part in self._order if part.answer is None and not part.flying and part.due <= now]
        return [self._send(part, now) for part in waiting[: max(room, 0)]]

    def wait(self, now: float) -> float | None:
        """Seconds until :meth:`due` or :meth:`overdue` must be called, even if no answer arrives."""
        times = [part.deadline + _GRACE for part in self._order if part.flying and part.deadline is not None]
        if sum(part.flying for part in self._order) < self._shared.concurrency:
            times += [part.due for part in self._order if part.answer is None and not part.flying]
        soonest = min(times, default=math.inf)
        return None if soonest == math.inf else max(soonest - now, 0.0)

    def ready(self) -> Iterator[Answer[T]]:
        """The next answers in order; each is returned once."""
        while self._order and self._order[0].answer is not None:
            answer = self._order.popleft().answer
            assert answer is not None
            yield answer

    def overdue(self, attempt: Attempt[T], now: float) -> bool:
        """Whether an attempt in flight is past its timeout without a report from gRPC."""
        deadline = attempt.part.deadline
        return deadline is not None and deadline + _GRACE <= now

    def held(self, seconds: float) -> None:
        """Record time that the user spent on an answer: in a stream it does not count for later parts."""
        if self.deadline is None:
            for part in self._order:
                if part.deadline is not None:
                    part.deadline += seconds

    def answered(self, attempt: Attempt[T], answer: Answer[T]) -> None:
        """Record an answer; raises ModelVersionChanged if another version than the pinned one gave it."""
        part = attempt.part
        part.flying = False
        self._shared.balancer.answered(attempt.server)
        self._shared.budget.refund()
        if self._pins and answer.version is not None:
            if self._pinned is None:
                self._pinned = answer.version
            elif answer.version != self._pinned:
                if attempt.version is not None:
                    raise self._changed(f"version {answer.version} answered in its place")
                return  # Sent before the version was known: sent again, pinned to it.
        part.answer = answer

    def failed(self, attempt: Attempt[T], code: grpc.StatusCode, details: str, now: float, silent: bool) -> None:
        """Record a failed call: its part is sent again, possibly split, or the exchange ends with a ServingError.

        ``silent``: the call timed out without any data from the server, which is then skipped.
        """
        part = attempt.part
        part.flying = False
        verdict = retry.verdict(code, details)
        if self._server is not None and code is grpc.StatusCode.CANCELLED:
            verdict = retry.Verdict.NEVER  # A call to a given server changes its state, and may have started.
        if silent or verdict is retry.Verdict.AGAIN:
            self._shared.balancer.failed(attempt.server, now, silent)
        else:
            self._shared.balancer.answered(attempt.server)
        if code is grpc.StatusCode.NOT_FOUND and self._server is None:
            part.without |= {attempt.server}
            if len(part.without) < self._shared.balancer.count:
                return  # Another server may have the model or version during a rollout.
            if attempt.version is not None:
                self._gone(attempt, details)
                return
        size = len(part.rows)
        limit = retry.batch_limit(code, details)
        if limit and size > limit:
            self._shared.limits.lower(self._where, texts=limit)
            self._split(part, limit)
            return
        if verdict is retry.Verdict.SMALLER and size > 1:
            if "CLIENT" not in details:  # An answer over the client's own limit.
                self._shared.limits.lower(self._where, size=attempt.request_bytes // 2)
            self._split(part, (size + 1) // 2)
            return
        where, connection = self._shared.names[attempt.server], self._shared.connection
        error = from_status(code, details, str(self), where, attempts=attempt.number, connection=connection)
        part.avoid = frozenset({attempt.server})
        if verdict is retry.Verdict.BUSY:
            part.attempts -= 1
            part.refusals += 1
            pause = retry.backoff(self._shared.policy, part.refusals, verdict)
        else:
            most = self._shared.policy.max_attempts if self._server is None else 1
            if verdict is not retry.Verdict.AGAIN or (most is not None and part.attempts >= most):
                raise error
            if not retry.unreached(details) and not self._shared.budget.spend():
                raise error
            pause = retry.backoff(self._shared.policy, part.attempts, verdict)
        if part.deadline is not None and now + pause >= part.deadline:
            raise error
        part.due, part.error = now + pause, error

    def _gone(self, attempt: Attempt[T], details: str) -> None:
        """No server has the pinned version any more: use another version if the options allow it."""
        if not self._follow:
            raise self._changed(f"no server has it any more ({details.strip()})")
        attempt.part.without = frozenset()
        if self._pinned == attempt.version:
            self._pinned = None

    def _split(self, part: Part[T], size: int) -> None:
        """Replace one part by parts of at most ``size`` rows."""
        at = self._order.index(part)
        del self._order[at]
        for start in reversed(range(0, len(part.rows), size)):
            piece = Part[T](part.rows[start : start + size], part.started, part.deadline)
            self._order.insert(at, piece)

    def _send(self, part: Part[T], now: float) -> Attempt[T]:
        if not part.started:
            part.started = True
            own = None if self._timeout is None else now + self._timeout
            part.deadline = min((end for end in (self.deadline, own) if end is not None), default=None)
        left = None if part.deadline is None else part.deadline - now
        if left is not None and left <= 0:
            raise part.error or from_status(grpc.StatusCode.DEADLINE_EXCEEDED, "", str(self), self._where)
        server = self._shared.balancer.pick(now, part.without or part.avoid) if self._server is None else self._server
        part.flying = True
        part.attempts += 1
        return Attempt(part, server, self._pinned, left, now)

    def _changed(self, why: str) -> ServingError:
        return ModelVersionChanged(
            f"{self}: version {self._pinned} answered the first texts, then {why}; ask again, or name a version",
            address=self._where,
        )
