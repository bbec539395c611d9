"""The asyncio twin of :mod:`.client`: the same methods and arguments, awaited."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterable, AsyncIterator, Collection, Iterable, Mapping
from typing import Any, Literal, TypeVar, Unpack, overload

import grpc
import numpy.typing as npt

from ..contract import DEFAULT_SIGNATURE
from ..wire.codec import Array
from ..wire.messages import ModelMetadata, Row, VersionStatus
from . import channel as channels
from . import requests
from .base import Texts
from .calls import Plan, Wait
from .client import Client, Versioned
from .entities import Aggregation
from .exchange import Attempt, Exchange
from .parts import Batcher
from .results import Classification, Prediction, Ranked, TaggedText, Tokens, TokenSequence
from .settings import CallKeywords, PairKeywords, TextKeywords
from .tasks import Pair, TaskClient

T = TypeVar("T")
AnyTexts = Texts | AsyncIterable[str | bytes]


class AsyncStreamKeywords(TextKeywords, total=False):
    """:class:`StreamKeywords`, with texts that may come from an asynchronous iterable."""

    text_pair: AnyTexts | None
    follow_version: bool


def _documented(client: type[AsyncClient]) -> type[AsyncClient]:
    """Copy the docstrings of :class:`Client` to the methods of the same name, for ``help()``."""
    for name, method in vars(client).items():
        if not name.startswith("_") and callable(method):
            method.__doc__ = getattr(Client, name).__doc__
    return client


@_documented
class AsyncClient(TaskClient[grpc.aio.Channel]):
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

    async def classify(
        self,
        texts: Texts,
        *,
        top_k: int | None = None,
        threshold: float | None = None,
        stride: int | None = None,
        **options: Unpack[PairKeywords],
    ) -> list[Classification]:
        return await self._drive(self._classify(texts, top_k, threshold, stride, options))

    async def tag(
        self,
        texts: Texts,
        *,
        aggregation: Aggregation = "simple",
        ignore_labels: Collection[str] = ("O",),
        stride: int | None = None,
        **options: Unpack[TextKeywords],
    ) -> list[TaggedText]:
        return await self._drive(self._tag(texts, aggregation, ignore_labels, stride, options))

    @overload
    async def score(
        self, pairs: Iterable[Pair], *, return_version: Literal[True], **options: Unpack[TextKeywords]
    ) -> Versioned: ...
    @overload
    async def score(self, pairs: Iterable[Pair], **options: Unpack[TextKeywords]) -> Array: ...
    async def score(
        self, pairs: Iterable[Pair], *, return_version: bool = False, **options: Unpack[TextKeywords]
    ) -> Any:
        return await self._drive(self._score(pairs, return_version, options))

    async def rerank(
        self, query: str | bytes, documents: Texts, *, top_k: int | None = None, **options: Unpack[TextKeywords]
    ) -> list[Ranked]:
        return await self._drive(self._rerank(query, documents, top_k, options))

    @overload
    def embed_iter(
        self, texts: AnyTexts, *, return_version: Literal[True], **options: Unpack[AsyncStreamKeywords]
    ) -> AsyncIterator[Versioned]: ...
    @overload
    def embed_iter(self, texts: AnyTexts, **options: Unpack[AsyncStreamKeywords]) -> AsyncIterator[Array]: ...
    async def embed_iter(
        self, texts: AnyTexts, *, return_version: bool = False, **options: Unpack[AsyncStreamKeywords]
    ) -> AsyncIterator[Any]:
        run, batcher = self._stream(texts, return_version, options, _parts)
        try:
            while answer := await self._drive(self._next(run)):
                for result in batcher.results(answer.value):
                    yield result
        finally:
            await self._end(run)

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

    _inbox = asyncio.Queue

    async def _drive(self, plan: Plan[T]) -> T:
        """As :meth:`Client._drive`."""
        try:
            step = next(plan)
            while True:
                step = plan.send(await _came(step))
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            await self._end(plan)

    async def _end(self, plan: Plan[Any]) -> None:
        """Close a plan, and wait until the calls that it cancels have ended."""
        plan.close()
        if self._ending:
            await asyncio.wait(self._ending)

    def _send(self, exchange: Exchange[Any], attempt: Attempt[Any]) -> asyncio.Future[bytes]:
        method, arguments = self._prepared(exchange, attempt)

        async def call() -> bytes:
            answer: bytes = await method(**arguments)
            return answer

        return asyncio.ensure_future(call())

    def _cancel(self, call: asyncio.Future[bytes]) -> None:
        call.cancel()
        self._ending.add(call)
        call.add_done_callback(self._has_ended)

    def _owner(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        if self._lines is not None and self._lines.owner is not loop:
            raise RuntimeError("this AsyncClient belongs to another event loop: make one in each loop")
        return loop

    def _open_channel(self, address: str, fresh: int) -> grpc.aio.Channel:
        more = {"interceptors": self._interceptors}
        return channels.make(grpc.aio, self._config, self._tls, address, fresh, **more)

    def _close_channel(self, channel: grpc.aio.Channel) -> None:
        closing = asyncio.ensure_future(channel.close())
        self._ending.add(closing)
        closing.add_done_callback(self._has_ended)

    def _has_ended(self, future: asyncio.Future[Any]) -> None:
        self._ending.discard(future)
        future.cancelled() or future.exception()  # Retrieved, so that asyncio does not log it.


async def _came(step: Any) -> Any:
    """Carry out one step of a plan and return its result."""
    if not isinstance(step, Wait):
        return await anext(step, None)
    try:
        async with asyncio.timeout(step.seconds):
            return await step.inbox.get()
    except TimeoutError:
        return None


async def _parts(texts: AnyTexts, text_pair: AnyTexts | None, batcher: Batcher[Any]) -> AsyncIterator[list[Row]]:
    """:meth:`Batcher.parts` of :func:`requests.streamed`, for synchronous and asynchronous iterables."""
    columns = [_read(each) for each in (texts, text_pair) if each is not None]
    for at in itertools.count():
        row = [await anext(column, requests.ENDED) for column in columns]
        if all(text is requests.ENDED for text in row):
            break
        for part in batcher.add(requests.as_row(at, row)):
            yield part
    for part in batcher.end():
        yield part


async def _read(texts: AnyTexts) -> AsyncIterator[str | bytes | object]:
    if isinstance(texts, AsyncIterable):
        async for text in texts:
            yield text
    else:
        for text in texts:
            yield text
