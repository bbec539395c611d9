"""The asyncio twin of :mod:`.client`: the same methods and arguments, awaited."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from itertools import repeat
from typing import Any, Literal, TypeVar, Unpack, overload

import grpc
import numpy.typing as npt

from ..contract import DEFAULT_SIGNATURE
from ..errors import ServingError
from ..wire.messages import ModelMetadata, Row, VersionStatus
from . import channel as channels
from . import requests
from .base import Array, BaseClient, Plan, Texts
from .client import Client, Versioned
from .exchange import Answer, Attempt, Exchange
from .parts import Batcher
from .results import Prediction, Tokens, TokenSequence
from .settings import CallKeywords, PairKeywords, TextKeywords

T = TypeVar("T")
AnyTexts = Texts | AsyncIterable[str | bytes]


def _documented(client: type[AsyncClient]) -> type[AsyncClient]:
    """Its methods get the docstrings of their twins, for ``help()``."""
    for name, method in vars(client).items():
        if not name.startswith("_") and callable(method):
            method.__doc__ = getattr(Client, name).__doc__
    return client


@_documented
class AsyncClient(BaseClient[grpc.aio.Channel]):
    """:class:`rawbert.serving.Client` for asyncio: the same arguments, methods and errors.

    It belongs to the event loop of its first call. ``embed_iter`` also takes an asynchronous iterable.

    Example::

        async with AsyncClient("localhost:8500", model="minilm") as client:
            vectors = await client.embed(["plain strings go in"])  # float32 [1, 384]
    """

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.close()

    async def close(self) -> None:
        _, open_channels = self._taken()
        for channel in open_channels:
            await channel.close()

    @overload
    async def embed(
        self, texts: Texts, *, return_version: Literal[True], **options: Unpack[PairKeywords]
    ) -> Versioned: ...
    @overload
    async def embed(self, texts: Texts, **options: Unpack[PairKeywords]) -> Array: ...
    async def embed(self, texts: Texts, *, return_version: bool = False, **options: Unpack[PairKeywords]) -> Any:
        return await self._drive(self._vectors("embed", texts, return_version, options))

    @overload
    async def pooled(
        self, texts: Texts, *, return_version: Literal[True], **options: Unpack[PairKeywords]
    ) -> Versioned: ...
    @overload
    async def pooled(self, texts: Texts, **options: Unpack[PairKeywords]) -> Array: ...
    async def pooled(self, texts: Texts, *, return_version: bool = False, **options: Unpack[PairKeywords]) -> Any:
        return await self._drive(self._vectors("pooled", texts, return_version, options))

    async def sequence(self, texts: Texts, **options: Unpack[PairKeywords]) -> list[TokenSequence]:
        return await self._drive(self._objects(TokenSequence, "sequence", texts, options))

    async def tokenize(self, texts: Texts, **options: Unpack[PairKeywords]) -> list[Tokens]:
        return await self._drive(self._objects(Tokens, "tokenize", texts, options))

    @overload
    def embed_iter(
        self, texts: AnyTexts, *, text_pair: AnyTexts | None = None, follow_version: bool = False,
        return_version: Literal[True], **options: Unpack[TextKeywords],
    ) -> AsyncIterator[Versioned]: ...  # fmt: skip
    @overload
    def embed_iter(
        self, texts: AnyTexts, *, text_pair: AnyTexts | None = None, **options: Unpack[TextKeywords]
    ) -> AsyncIterator[Array]: ...
    async def embed_iter(
        self,
        texts: AnyTexts,
        *,
        text_pair: AnyTexts | None = None,
        follow_version: bool = False,
        return_version: bool = False,
        **options: Unpack[TextKeywords],
    ) -> AsyncIterator[Any]:
        exchange, batcher = self._stream(texts, text_pair, follow_version, return_version, options)
        exchange.source = _parts(texts, text_pair, batcher)
        async with contextlib.aclosing(self._run(exchange)) as answers:
            async for answer in answers:
                pairs = zip(answer.value, repeat(answer.version), strict=False)
                for result in batcher.results(pairs if return_version else answer.value):
                    yield result

    async def predict(
        self,
        inputs: Mapping[str, npt.ArrayLike],
        *,
        signature_name: str = DEFAULT_SIGNATURE,
        output_filter: Iterable[str] = (),
        **options: Unpack[CallKeywords],
    ) -> Prediction:
        return await self._drive(self._predict(inputs, signature_name, output_filter, options))

    async def metadata(self, **options: Unpack[CallKeywords]) -> ModelMetadata:
        return await self._drive(self._metadata(options))

    async def status(self, **options: Unpack[CallKeywords]) -> list[VersionStatus]:
        return await self._drive(self._status(options))

    async def wait_until_ready(self, **options: Unpack[CallKeywords]) -> list[VersionStatus]:
        return await self._drive(self._ready(options))

    async def reload_config(self, config: str, **options: Unpack[CallKeywords]) -> None:
        await self._drive(self._reload(config, options))

    async def _drive(self, plan: Plan[T]) -> T:
        """As :meth:`Client._drive`."""
        answers: list[Any] = []
        try:
            step = next(plan)
            while True:
                try:
                    if isinstance(step, float):
                        await asyncio.sleep(step)
                    else:
                        answers = [answer async for answer in self._run(step)]
                except ServingError as error:
                    step = plan.throw(error)
                else:
                    step = plan.send(answers)
        except StopIteration as end:
            result: T = end.value
            return result

    async def _run(self, exchange: Exchange[T]) -> AsyncGenerator[Answer[T], None]:
        """As :meth:`Client._run`."""
        inbox: asyncio.Queue[Attempt[T]] = asyncio.Queue()
        flying: dict[Attempt[T], asyncio.Future[bytes]] = {}
        source = exchange.source
        try:
            while not exchange.finished:
                while exchange.wants:
                    exchange.feed(next(source, None) if isinstance(source, Iterator) else await anext(source, None))
                for attempt in exchange.due(time.monotonic()):
                    flying[attempt] = self._send(exchange, attempt)
                    flying[attempt].add_done_callback(lambda _, attempt=attempt: inbox.put_nowait(attempt))  # type: ignore[misc]
                for answer in exchange.ready():
                    taken = time.monotonic()
                    yield answer
                    exchange.held(time.monotonic() - taken)
                if exchange.wants or exchange.finished:
                    continue
                try:
                    async with asyncio.timeout(exchange.wait(time.monotonic())):
                        attempt = await inbox.get()
                except TimeoutError:
                    for attempt in [each for each in flying if exchange.overdue(each, time.monotonic())]:
                        self._ended(exchange, attempt, grpc.StatusCode.DEADLINE_EXCEEDED, channels.DEADLINE)
                    continue
                call = flying.pop(attempt)
                attempt.line.give()
                try:
                    data = call.result()
                except grpc.RpcError as error:
                    self._ended(exchange, attempt, error.code(), error.details() or "", cause=error)
                except asyncio.CancelledError as error:  # Not by us: the channel was closed.
                    self._ended(exchange, attempt, grpc.StatusCode.CANCELLED, "the channel was closed", cause=error)
                else:
                    self._ended(exchange, attempt, grpc.StatusCode.OK, data=data)
        except ServingError as error:
            raise await self._drive(self._explained(error, exchange)) from error.__cause__
        finally:
            for call in flying.values():
                call.cancel()
            await asyncio.gather(*flying.values(), return_exceptions=True)
            for attempt in flying:
                attempt.line.give()

    def _send(self, exchange: Exchange[Any], attempt: Attempt[Any]) -> asyncio.Future[bytes]:
        method, arguments = self._prepared(exchange, attempt)

        async def call() -> bytes:
            answer: bytes = await method(**arguments)
            return answer

        return asyncio.ensure_future(call())

    def _owner(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        if self._lines is not None and self._lines[0] is not loop:
            raise RuntimeError("this AsyncClient belongs to another event loop: make one in each loop")
        return loop

    def _open_channel(self, address: str, fresh: int) -> grpc.aio.Channel:
        arguments = channels.arguments(self._config, self._tls, address, fresh) | {"interceptors": self._interceptors}
        if self._tls is None:
            return grpc.aio.insecure_channel(address, **arguments)
        return grpc.aio.secure_channel(address, channels.credentials(self._tls), **arguments)

    def _close_channel(self, channel: grpc.aio.Channel) -> None:
        closing = asyncio.ensure_future(channel.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


async def _parts(texts: AnyTexts, text_pair: AnyTexts | None, batcher: Batcher[Any]) -> AsyncIterator[list[Row]]:
    """:meth:`Batcher.parts` of :func:`requests.streamed`, also of what is read asynchronously."""
    seconds = None if text_pair is None else _read(text_pair)
    at = 0
    async for text in _read(texts):
        row = requests.as_row(at, text, *(() if seconds is None else (await anext(seconds, requests.ENDED),)))
        for part in batcher.add(row):
            yield part
        at += 1
    if seconds is not None and await anext(seconds, requests.ENDED) is not requests.ENDED:
        raise requests.uneven(at, "text_pair", "texts")
    for part in batcher.end():
        yield part


async def _read(texts: AnyTexts) -> AsyncIterator[str | bytes | object]:
    if isinstance(texts, AsyncIterable):
        async for text in texts:
            yield text
    else:
        for text in texts:
            yield text
