"""One call of a user, as a state machine without I/O: what to send when, what an answer or a failure leads to.

The sync and the asyncio client drive the same :class:`Exchange`: they hand it parts, send the attempts that are due,
and tell it what came back. It keeps the order of the parts, their version, their retries and their deadlines.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

import grpc

from ..errors import ModelVersionChanged, ServingError, from_status
from . import retry
from .channel import Balancer
from .settings import RetryPolicy

__all__ = ["Answer", "Attempt", "Exchange", "Part"]

T = TypeVar("T")

#: Seconds after a deadline for which gRPC's own word of it is waited for. Where the process is busy, its timer tells
#: far later, a tenth of a second and more.
_GRACE: Final = 0.02


@dataclass
class Answer(Generic[T]):
    """A decoded answer, and the version that gave it; ``None`` where the server does not say."""

    value: T
    version: int | None = None


@dataclass(eq=False)
class Part(Generic[T]):
    """What goes into one call to the server.

    Attributes:
        build: the request for a version, ``None`` for whichever the user asked for.
        decode: parses and checks an answer.
        rows: texts in it.
        split: parts of at most so many texts each; ``None`` where it cannot be split.
    """

    build: Callable[[int | None], Any]
    decode: Callable[[bytes], Answer[T]]
    rows: int = 1
    split: Callable[[int], list[Part[T]]] | None = None
    answer: Answer[T] | None = None
    deadline: float | None = None
    due: float = 0.0
    started: bool = False
    flying: int = 0
    sent: float = 0.0
    error: ServingError | None = None
    server: int = 0
    attempts: int = 0
    refusals: int = 0
    avoid: frozenset[int] = frozenset()
    without: frozenset[int] = frozenset()


@dataclass(eq=False)
class Attempt(Generic[T]):
    """One call to a server that is to be made: ``timeout`` in seconds from now."""

    part: Part[T]
    server: int
    request: Any
    timeout: float | None
    pinned: int | None
    begun: float


@dataclass
class Exchange(Generic[T]):
    """See the module.

    Args:
        what: what is asked, for messages: method, model, version, signature.
        names: addresses of the servers, for messages.
        timeout: seconds for each part, over all its attempts.
        deadline: when the whole call must have ended.
        concurrency: parts on their way at once.
        pin: whether all parts must be answered by the version that answered first.
        follow: whether parts that were not answered yet go to another version where the pinned one is gone.
        server: the one server that is asked, where it is not whichever is next.
        anonymous: whether the connection is TLS without a client certificate.
        learn: told the server's batch limit.
    """

    what: str
    names: tuple[str, ...]
    policy: RetryPolicy
    budget: retry.Budget
    balancer: Balancer
    timeout: float | None
    deadline: float | None
    concurrency: int = 1
    pin: bool = False
    follow: bool = False
    server: int | None = None
    anonymous: bool = False
    learn: Callable[[int], None] = lambda limit: None
    pinned: int | None = None
    _order: deque[Part[T]] = field(default_factory=deque)
    _ended: bool = False
    _fed: int = 0

    @property
    def wants(self) -> bool:
        """Whether a further part may be fed: the window bounds what is read ahead."""
        return not self._ended and len(self._order) < 2 * self.concurrency and self._open() < self.concurrency

    @property
    def finished(self) -> bool:
        """Whether everything was fed, answered and taken."""
        return self._ended and not self._order

    def feed(self, part: Part[T]) -> None:
        """A further part."""
        self._fed += 1
        self._order.append(part)

    def end(self) -> None:
        """There are no further parts."""
        self._ended = True

    def due(self, now: float) -> list[Attempt[T]]:
        """Attempts to make now.

        Raises:
            ServingError: a part's time has passed before it could be sent again.
        """
        room = self.concurrency - sum(part.flying for part in self._order)
        attempts = []
        for part in self._order:
            if self._hedges(part) <= now:
                attempts.append(self._send(part, now))
            if room <= 0:
                break
            if part.answer is None and not part.flying and part.due <= now:
                attempts.append(self._send(part, now))
                room -= 1
        return attempts

    def wait(self, now: float) -> float | None:
        """Seconds after which :meth:`due` has something to say, whatever comes in meanwhile."""
        times = [self._hedges(part) for part in self._order]
        times += [
            part.deadline + _GRACE
            for part in self._order
            if part.flying and part.answer is None and part.deadline is not None
        ]
        if sum(part.flying for part in self._order) < self.concurrency:
            times += [part.due for part in self._order if part.answer is None and not part.flying]
        soonest = min(times, default=math.inf)
        return None if soonest == math.inf else max(soonest - now, 0.0)

    def ready(self) -> Iterator[Answer[T]]:
        """Answers that are next in order; each is handed out once."""
        while self._order and self._order[0].answer is not None:
            answer = self._order.popleft().answer
            assert answer is not None
            yield answer

    def answered(self, attempt: Attempt[T], data: bytes) -> None:
        """An answer came.

        Raises:
            DecodeError: it is not what the protocol says.
            ModelVersionChanged: another version answered than was asked for.
        """
        part = attempt.part
        part.flying -= 1
        self.balancer.answered(attempt.server)
        if part.answer is not None:
            return  # A hedged call, answered twice.
        answer = part.decode(data)
        self.budget.refund()
        if self.pin and answer.version is not None:
            if self.pinned is None:
                self.pinned = answer.version
            elif answer.version != self.pinned:
                if attempt.pinned is not None:
                    raise self._changed(f"version {answer.version} answered in its place")
                return  # It went out before the version was known: again, for that version.
        part.answer = answer

    def overdue(self, attempt: Attempt[T], now: float) -> bool:
        """Whether an attempt that is still on its way has had its time, and no word of it."""
        part = attempt.part
        return part.answer is None and part.deadline is not None and part.deadline + _GRACE <= now

    def held(self, seconds: float) -> None:
        """The user took so long over an answer: in a stream, that is no time of the parts behind it."""
        if self.deadline is None:
            for part in self._order:
                if part.deadline is not None:
                    part.deadline += seconds

    def failed(self, attempt: Attempt[T], code: grpc.StatusCode, details: str, now: float) -> None:
        """A call failed: its part is sent again, perhaps split, or the exchange is over.

        Raises:
            ServingError: it cannot be, or need not be, sent again.
        """
        part = attempt.part
        part.flying -= 1
        verdict = retry.verdict(code, details)
        if verdict is retry.Verdict.AGAIN:
            self.balancer.failed(attempt.server, now)
        else:
            self.balancer.answered(attempt.server)
        if part.answer is not None or (part.flying and verdict is not retry.Verdict.NEVER):
            return  # A hedged call: the other one counts.
        if attempt.pinned is not None and code is grpc.StatusCode.NOT_FOUND:
            part.without |= {attempt.server}
            if len(part.without) < self.balancer.count:
                return
            if self.follow:
                part.without = frozenset()
                if self.pinned == attempt.pinned:
                    self.pinned = None
                return
            raise self._changed(f"no server has it any more ({details.strip()})")
        limit = retry.batch_limit(code, details)
        if limit and part.split is not None and part.rows > limit:
            self.learn(limit)
            at = self._order.index(part)
            del self._order[at]
            for piece in reversed(part.split(limit)):
                piece.deadline, piece.started = part.deadline, part.started
                self._order.insert(at, piece)
            return
        error = from_status(
            code,
            details,
            self.what,
            self.names[attempt.server],
            attempts=part.attempts + part.refusals,
            anonymous=self.anonymous,
        )
        if verdict is retry.Verdict.NEVER:
            raise error
        part.avoid = frozenset({attempt.server})
        if verdict is retry.Verdict.BUSY:
            part.attempts -= 1
            part.refusals += 1
            pause = retry.backoff(self.policy, part.refusals, verdict)
        elif part.attempts >= self.policy.max_attempts or not self.budget.spend():
            raise error
        else:
            pause = retry.backoff(self.policy, part.attempts, verdict)
        if part.deadline is not None and now + pause >= part.deadline:
            raise error
        part.due, part.error = now + pause, error

    def _hedges(self, part: Part[T]) -> float:
        """When a part that is on its way is sent a second time; only calls of a single part are."""
        if self.policy.hedge_after is None or part.flying != 1 or not self._ended or self._fed > 1:
            return math.inf
        return part.sent + self.policy.hedge_after

    def _open(self) -> int:
        return sum(part.answer is None for part in self._order)

    def _send(self, part: Part[T], now: float) -> Attempt[T]:
        if not part.started:
            part.started = True
            own = None if self.timeout is None else now + self.timeout
            part.deadline = min((end for end in (self.deadline, own) if end is not None), default=None)
        left = None if part.deadline is None else part.deadline - now
        if left is not None and left <= 0:
            raise part.error or from_status(grpc.StatusCode.DEADLINE_EXCEEDED, "", self.what, ", ".join(self.names))
        server = self.server
        if server is None:
            # A second call beside the first one goes to another server.
            avoid = frozenset({part.server}) if part.flying else part.without or part.avoid
            server = self.balancer.pick(now, avoid)
        part.server, part.sent = server, now
        part.flying += 1
        part.attempts += 1
        return Attempt(part, server, part.build(self.pinned), left, self.pinned, now)

    def _changed(self, why: str) -> ServingError:
        return ModelVersionChanged(
            f"{self.what}: version {self.pinned} answered the first texts, then {why}; ask again, or name a version",
            address=", ".join(self.names),
        )
