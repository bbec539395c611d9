"""The gateway's models and the calls to them. One version of one model answers each request."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from ..client.aio import AsyncClient
from ..client.results import Tokens
from ..contract import TOKENIZE
from ..errors import ModelNotFound, ModelVersionChanged, ServingError
from ..wire.messages import ModelMetadata
from .errors import Kind, Refused
from .metrics import Metrics
from .settings import Served

T = TypeVar("T")

#: Seconds for which the signatures of a model are cached.
_REMEMBERED: Final = 30.0
#: Timeout of a readiness check in seconds: probes of Kubernetes wait for 1 s.
_LOOK: Final = 0.9
#: Seconds before a request is repeated with another version.
_PAUSE: Final = 0.02


class Answered(NamedTuple):
    """A model's answer for texts.

    Attributes:
        value: the answer.
        version: the version that answered; ``None`` if the server does not report it.
        tokens: tokens of each text, if requested and the model has the signature tokenize.
    """

    value: Any
    version: int | None
    tokens: Sequence[Tokens]

    @property
    def token_count(self) -> int:
        """Number of tokens in the model's input for all texts: with special tokens, after truncation."""
        return sum(map(len, self.tokens))


class Models:
    """See the module.

    Args:
        address: address of the servers.
        names: all names for clients, see :func:`.settings.names`.
        timeout: deadline of a request in seconds; ``None`` for no deadline.
        truncate: whether texts over a model's length limit are truncated; they are refused otherwise.
        metrics: counters of answers and calls.
        settings: additional arguments of :class:`AsyncClient`.
    """

    def __init__(
        self,
        address: str | Sequence[str],
        names: Mapping[str, Served],
        timeout: float | None,
        truncate: bool,
        metrics: Metrics,
        settings: Mapping[str, Any],
    ) -> None:
        self.names, self.truncate, self.metrics = names, truncate, metrics
        self._address, self._timeout, self._settings = address, timeout, dict(settings)
        #: A client belongs to its event loop; tests with the mounted app have one loop per request.
        self._clients: dict[asyncio.AbstractEventLoop, dict[str, AsyncClient]] = {}
        self._own = [each for name, each in names.items() if name == each.model]
        self._signatures: dict[Served, tuple[float, frozenset[str]]] = {}
        for each in self._own:
            self._made(each.model)  # Invalid settings raise here.

    def _made(self, model: str) -> AsyncClient:
        return AsyncClient(
            self._address, model=model, timeout=self._timeout, on_call=self.metrics.on_call, **self._settings
        )

    def _client(self, model: str) -> AsyncClient:
        clients = self._clients.setdefault(asyncio.get_running_loop(), {})
        if model not in clients:
            clients[model] = self._made(model)
        return clients[model]

    async def close(self) -> None:
        """End the connections of this event loop."""
        for client in self._clients.pop(asyncio.get_running_loop(), {}).values():
            await client.close()

    # --- Choice of the model ---

    def find(self, name: str) -> Served:
        """The model of a name; Refused for an unknown one."""
        if name not in self.names:
            listed = ", ".join(self.names)
            raise Refused(Kind.NO_MODEL, f"the model {name!r} does not exist: use one of {listed}", "model")
        return self.names[name]

    async def choose(self, name: str | None, *tasks: str) -> tuple[Served, str]:
        """A model and the first of the signatures that it has; without a name, the only model with one of them."""
        candidates = [self.find(name)] if name else self._own
        found = await asyncio.gather(*map(self.signatures, candidates), return_exceptions=True)
        failures = [each for each in found if isinstance(each, BaseException)]
        known = [
            (served, each)
            for served, each in zip(candidates, found, strict=True)
            if not isinstance(each, BaseException)
        ]
        for task in tasks:
            able = [served for served, signatures in known if task in signatures]
            if len(able) > 1:
                listed = ", ".join(each.name for each in able)
                raise Refused(Kind.INVALID, f"several models fit: name one of {listed}", "model")
            if able:
                return able[0], task
        if failures:
            raise failures[0]
        has = "; ".join(f"{served.name!r} has {', '.join(sorted(each))}" for served, each in known)
        raise Refused(
            Kind.NO_TASK,
            f"the request needs the signature {' or '.join(tasks)}: use another model; the model {has}",
            "model",
        )

    async def signatures(self, served: Served) -> frozenset[str]:
        """The signatures of a model; cached for a short time."""
        known = self._signatures.get(served)
        if known is None or known[0] < time.monotonic():
            known = time.monotonic() + _REMEMBERED, frozenset((await self.metadata(served)).signatures)
            self._signatures[served] = known
        return known[1]

    async def metadata(self, served: Served) -> ModelMetadata:
        """The server's metadata of a model."""
        return await self._client(served.model).metadata(**self._which(served), timeout=self._timeout)

    @staticmethod
    def _which(served: Served) -> dict[str, Any]:
        return {"version": served.version, "version_label": served.version_label}

    # --- Answers ---

    async def answer(
        self,
        served: Served,
        ask: Callable[[AsyncClient, Mapping[str, Any]], Awaitable[tuple[Any, int | None]]],
        texts: Sequence[str],
        text_pair: Sequence[str] | None = None,
        *,
        counted: bool = True,
        truncate: bool | None = None,
        param: str = "input",
    ) -> Answered:
        """A model's answer for texts, and their tokens, all by one version, also during a version swap.

        Args:
            served: the model.
            ask: the client and keywords of a call -> its answer, and the version that answered.
            texts, text_pair: the texts.
            counted: whether to count tokens, if the model has the signature tokenize; always without truncation.
            truncate: overrides the class's ``truncate``.
            param: the field of the request with the texts, for messages.

        Raises:
            Refused: a text is too long, and truncation is off.
            ServingError: as raised by the client.
        """
        until = math.inf if self._timeout is None else time.monotonic() + self._timeout
        truncate = self.truncate if truncate is None else truncate
        client = self._client(served.model)
        counts = (counted or not truncate) and TOKENIZE.name in await self.signatures(served)
        if not (truncate or counts):
            raise Refused(
                Kind.NO_TASK,
                f"the model has no signature {TOKENIZE.name} to find long texts: set truncate, or give "
                "--on-truncation ignore",
            )
        while True:
            which: dict[str, Any] = self._which(served)
            tokens: Sequence[Tokens] = ()
            try:
                if counts:
                    tokens = await client.tokenize(texts, text_pair=text_pair, **which, timeout=_left(until))
                    _check_lengths(tokens, truncate, param)
                    if tokens and tokens[0].model_version is not None:
                        which = {"version": tokens[0].model_version}
                value, version = await ask(client, {**which, "timeout": _left(until)})
            except (ModelNotFound, ModelVersionChanged) as error:
                # A version was unloaded after it counted the tokens or answered the first texts: repeat.
                if not (tokens or isinstance(error, ModelVersionChanged)) or time.monotonic() >= until:
                    raise
                await asyncio.sleep(_PAUSE)
                continue
            answered = Answered(value, version, tokens)
            self.metrics.answered(served.model, version, len(texts), answered.token_count)
            return answered

    # --- Readiness ---

    async def unready(self) -> str | None:
        """The reason for unreadiness, a model without an available version; ``None`` if all have one."""
        found = await asyncio.gather(*map(self._unready, self._own))
        return next((why for why in found if why), None)

    async def _unready(self, served: Served) -> str | None:
        try:
            statuses = await self._client(served.model).status(timeout=_LOOK)
        except ServingError as error:
            return f"model {served.model!r}: {type(error).__name__}"
        if any(each.state == "AVAILABLE" for each in statuses):
            return None
        return f"model {served.model!r}: no version is available"


def _left(until: float) -> float | None:
    """Seconds left for a call."""
    return None if until == math.inf else max(until - time.monotonic(), 0.001)


def _check_lengths(tokens: Sequence[Tokens], truncate: bool, param: str) -> None:
    """Refuse texts that are too long, unless they may be truncated."""
    for at, each in enumerate(tokens):
        if each.truncated and not truncate:
            raise Refused(
                Kind.TOO_LONG,
                f"{param}[{at}] has {each.token_count} tokens, but the model's limit is {len(each)}: shorten it",
                param,
            )
