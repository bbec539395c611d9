"""The asyncio twin of :mod:`.client`: the same methods and arguments, awaited."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from itertools import chain
from types import TracebackType
from typing import Any, TypeVar

import grpc
import numpy as np
import numpy.typing as npt

from ..errors import DeadlineExceeded, ModelNotFound, ModelVersionChanged, ServerUnavailable, ServingError
from . import channel as channels
from . import requests
from .base import (
    DEADLINE,
    DEFAULT_TIMEOUT,
    NOT_GIVEN,
    RESTARTS,
    Ask,
    BaseClient,
    CallMetadata,
    CallRecord,
    Decode,
    Timeout,
    available,
    readiness_timeout,
    unknown_signature,
    unknown_version,
    vectors,
    width_key,
    with_found,
)
from .client import Client
from .exchange import Answer, Exchange, Part
from .parts import Batcher, by_length, restored
from .requests import Row
from .results import ModelMetadata, Prediction, Tokens, TokenSequence, Vectors, VersionStatus
from .settings import TLS, ChannelConfig, RetryPolicy

__all__ = ["AsyncClient"]

T = TypeVar("T")


def _documented(client: type[AsyncClient]) -> type[AsyncClient]:
    """Its methods get the docstrings of their twins, for ``help()``."""
    for name, method in vars(client).items():
        if not name.startswith("_") and callable(method):
            method.__doc__ = getattr(Client, name).__doc__
    return client


@_documented
class AsyncClient(BaseClient):
    """:class:`rawbert.serving.Client` for asyncio: the same arguments, methods and errors.

    It belongs to the event loop of its first call. ``embed_iter`` also takes an asynchronous iterable.

    Example::

        async with AsyncClient("localhost:8500", model="minilm") as client:
            vectors = await client.embed(["plain strings go in"])  # float32 [1, 384]
    """

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
        channel: grpc.aio.Channel | None = None,
        config: ChannelConfig | None = None,
    ) -> None:
        super().__init__(
            address, model, version, version_label, timeout, max_batch_size, concurrency, config, retry, tls,
            call_credentials, on_call, channel is not None,
        )  # fmt: skip
        self._injected = channel
        self._interceptors = list(interceptors)
        self._opened: tuple[Any, list[grpc.aio.Channel], list[dict[str, Any]]] | None = None
        self._closed = False

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """As :meth:`Client.close`."""
        self._closed = True
        opened, self._opened = self._opened, None
        if opened is not None and self._injected is None:
            for channel in opened[1]:
                await channel.close()

    async def embed(
        self,
        texts: Iterable[str | bytes],
        *,
        text_pair: Iterable[str | bytes] | None = None,
        signature_name: str = "embed",
        sort_by_length: bool = False,
        version: int | None = None,
        version_label: str | None = None,
        timeout: Timeout = NOT_GIVEN,
        metadata: CallMetadata = (),
        call_credentials: grpc.CallCredentials | None = None,
    ) -> Vectors:
        """As :meth:`Client.embed`."""
        ask = self._ask(timeout, metadata, call_credentials, signature_name, version, version_label)
        return await self._vectors(texts, text_pair, "embed", sort_by_length, ask)

    async def pooled(
        self,
        texts: Iterable[str | bytes],
        *,
        text_pair: Iterable[str | bytes] | None = None,
        signature_name: str = "pooled",
        sort_by_length: bool = False,
        version: int | None = None,
        version_label: str | None = None,
        timeout: Timeout = NOT_GIVEN,
        metadata: CallMetadata = (),
        call_credentials: grpc.CallCredentials | None = None,
    ) -> Vectors:
        """As :meth:`Client.pooled`."""
        ask = self._ask(timeout, metadata, call_credentials, signature_name, version, version_label)
        return await self._vectors(texts, text_pair, "pooled", sort_by_length, ask)

    async def sequence(
        self,
        texts: Iterable[str | bytes],
        *,
        text_pair: Iterable[str | bytes] | None = None,
        signature_name: str = "sequence",
        sort_by_length: bool = False,
        version: int | None = None,
        version_label: str | None = None,
        timeout: Timeout = NOT_GIVEN,
        metadata: CallMetadata = (),
        call_credentials: grpc.CallCredentials | None = None,
    ) -> list[TokenSequence]:
        """As :meth:`Client.sequence`."""
        ask = self._ask(timeout, metadata, call_credentials, signature_name, version, version_label)
        return await self._each(texts, text_pair, requests.sequences, sort_by_length, ask)

    async def tokenize(
        self,
        texts: Iterable[str | bytes],
        *,
        text_pair: Iterable[str | bytes] | None = None,
        signature_name: str = "tokenize",
        sort_by_length: bool = False,
        version: int | None = None,
        version_label: str | None = None,
        timeout: Timeout = NOT_GIVEN,
        metadata: CallMetadata = (),
        call_credentials: grpc.CallCredentials | None = None,
    ) -> list[Tokens]:
        """As :meth:`Client.tokenize`."""
        ask = self._ask(timeout, metadata, call_credentials, signature_name, version, version_label)
        return await self._each(texts, text_pair, requests.tokens, sort_by_length, ask)

    async def embed_iter(
        self,
        texts: Iterable[str | bytes] | AsyncIterable[str | bytes],
        *,
        text_pair: Iterable[str | bytes] | AsyncIterable[str | bytes] | None = None,
        signature_name: str = "embed",
        sort_by_length: bool = False,
        follow_version: bool = False,
        version: int | None = None,
        version_label: str | None = None,
        timeout: Timeout = NOT_GIVEN,
        metadata: CallMetadata = (),
        call_credentials: grpc.CallCredentials | None = None,
    ) -> AsyncIterator[Vectors]:
        """As :meth:`Client.embed_iter`."""
        ask = self._ask(timeout, metadata, call_credentials, signature_name, version, version_label)
        exchange = self._exchange(channels.PREDICT, time.monotonic(), ask, pin=True, each=True)
        exchange.follow = follow_version
        batcher, decode = self._batcher(sort_by_length), vectors(requests.VECTORS["embed"])
        parts = self._parts(_rows(texts, text_pair), batcher, decode, ask)
        async with contextlib.aclosing(self._run(channels.PREDICT, exchange, parts, ask)) as answers:
            async for answer in answers:
                for vector in batcher.results(Vectors(answer.value[0], answer.version)):
                    yield vector

    async def predict(
        self,
        inputs: Mapping[str, npt.ArrayLike],
        *,
        signature_name: str = "serving_default",
        output_filter: Iterable[str] = (),
        version: int | None = None,
        version_label: str | None = None,
        timeout: Timeout = NOT_GIVEN,
        metadata: CallMetadata = (),
        call_credentials: grpc.CallCredentials | None = None,
    ) -> Prediction:
        """As :meth:`Client.predict`."""
        ask = self._ask(timeout, metadata, call_credentials, signature_name, version, version_label)
        return await self._one(channels.PREDICT, self._predict_part(inputs, output_filter, ask), ask)

    async def metadata(
        self,
        *,
        version: int | None = None,
        version_label: str | None = None,
        timeout: Timeout = NOT_GIVEN,
        metadata: CallMetadata = (),
        call_credentials: grpc.CallCredentials | None = None,
    ) -> ModelMetadata:
        """As :meth:`Client.metadata`."""
        ask = self._ask(timeout, metadata, call_credentials, "", version, version_label)
        return await self._one(channels.GET_MODEL_METADATA, self._metadata_part(ask), ask)

    async def status(
        self,
        *,
        timeout: Timeout = NOT_GIVEN,
        metadata: CallMetadata = (),
        call_credentials: grpc.CallCredentials | None = None,
    ) -> list[VersionStatus]:
        """As :meth:`Client.status`."""
        ask = self._ask(timeout, metadata, call_credentials)
        return await self._one(channels.GET_MODEL_STATUS, self._status_part(ask.version), ask)

    async def wait_until_ready(
        self,
        *,
        timeout: float | None = 60.0,
        metadata: CallMetadata = (),
        call_credentials: grpc.CallCredentials | None = None,
    ) -> list[VersionStatus]:
        """As :meth:`Client.wait_until_ready`."""
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                statuses = await self.status(
                    timeout=readiness_timeout(until),
                    metadata=metadata,
                    call_credentials=call_credentials,
                )
                if available(statuses):
                    return statuses
                seen = "; ".join(f"version {each.version} {each.state} {each.error_message}" for each in statuses)
            except (ServerUnavailable, ModelNotFound, DeadlineExceeded) as error:
                seen = str(error)
            if until is not None and time.monotonic() >= until:
                raise ServerUnavailable(
                    f"model {self.model!r} at {self.address} was not ready within {timeout:g} s: {seen}",
                    address=self.address,
                )
            await asyncio.sleep(0.2)

    async def reload_config(
        self,
        config: str,
        *,
        timeout: Timeout = NOT_GIVEN,
        metadata: CallMetadata = (),
        call_credentials: grpc.CallCredentials | None = None,
    ) -> None:
        """As :meth:`Client.reload_config`."""
        ask = self._ask(timeout, metadata, call_credentials)
        for server, address in enumerate(self.addresses):
            await self._one(channels.RELOAD_CONFIG, self._reload_part(config, address), ask, server)

    async def _vectors(
        self,
        texts: Iterable[str | bytes],
        text_pair: Iterable[str | bytes] | None,
        kind: str,
        sort: bool,
        ask: Ask,
    ) -> Vectors:
        name, rows = requests.VECTORS[kind], requests.as_rows(texts, text_pair)
        if not rows:
            return Vectors(np.zeros((0, await self._width(name, ask)), np.float32))
        order = by_length(rows) if sort else range(len(rows))
        parts = await self._collect([rows[at] for at in order], vectors(name), ask)
        joined = requests.join_vectors([array for array, _ in parts], name)
        self._widths[width_key(name, ask)] = joined.shape[1]
        return Vectors(joined[np.argsort(order)] if sort else joined, parts[0][1])

    async def _each(
        self,
        texts: Iterable[str | bytes],
        text_pair: Iterable[str | bytes] | None,
        decode: Decode[list[T]],
        sort: bool,
        ask: Ask,
    ) -> list[T]:
        rows = requests.as_rows(texts, text_pair)
        order = by_length(rows) if sort else range(len(rows))
        values = list(chain.from_iterable(await self._collect([rows[at] for at in order], decode, ask)))
        return restored(values, order) if sort else values

    async def _width(self, name: str, ask: Ask) -> int:
        """Size of a vector, for no texts: with batching on, TensorFlow Serving does not answer an empty Predict."""
        key = width_key(name, ask)
        if key not in self._widths:
            metadata = await self._one(channels.GET_MODEL_METADATA, self._metadata_part(ask), ask)
            width = requests.static_width(metadata, ask.signature, name)
            if width is None:
                width = (await self._collect([(b"",)], vectors(name), ask))[0][0].shape[1]
            self._widths[key] = width
        return self._widths[key]

    async def _collect(self, rows: Sequence[Row], decode: Decode[T], ask: Ask) -> list[T]:
        """Answers to the parts of a call, in order, all of one version: it starts again where that was unloaded."""
        begun = time.monotonic()
        for left in reversed(range(RESTARTS)):
            exchange = self._exchange(channels.PREDICT, begun, ask, pin=True)
            parts = (self._part(batch, decode, ask) for batch in self._batcher().parts(rows))
            try:
                return [answer.value async for answer in self._run(channels.PREDICT, exchange, parts, ask)]
            except ModelVersionChanged:
                if not left:
                    raise
        raise AssertionError("unreachable")

    async def _one(self, path: str, part: Part[T], ask: Ask, server: int | None = None) -> T:
        exchange: Exchange[T] = self._exchange(path, time.monotonic(), ask)
        exchange.server = server
        (answer,) = [answer async for answer in self._run(path, exchange, iter([part]), ask)]
        return answer.value

    async def _run(
        self,
        path: str,
        exchange: Exchange[T],
        parts: Iterator[Part[T]] | AsyncIterator[Part[T]],
        ask: Ask,
    ) -> AsyncGenerator[Answer[T], None]:
        inbox: asyncio.Queue[Any] = asyncio.Queue()
        flying: dict[Any, asyncio.Task[None]] = {}
        try:
            while True:
                while exchange.wants:
                    part = next(parts, None) if isinstance(parts, Iterator) else await anext(parts, None)
                    exchange.end() if part is None else exchange.feed(part)
                for attempt in exchange.due(time.monotonic()):
                    flying[attempt] = asyncio.create_task(
                        self._fly(self._call(path, attempt.server), attempt, ask, inbox)
                    )
                for answer in exchange.ready():
                    taken = time.monotonic()
                    yield answer
                    exchange.held(time.monotonic() - taken)
                if exchange.finished:
                    return
                if exchange.wants:
                    continue
                try:
                    async with asyncio.timeout(exchange.wait(time.monotonic())):
                        attempt, data, code, details, cause = await inbox.get()
                except TimeoutError:
                    now = time.monotonic()
                    for attempt in [each for each in flying if exchange.overdue(each, now)]:
                        self._failed(path, exchange, attempt, grpc.StatusCode.DEADLINE_EXCEEDED, DEADLINE, now, None)
                    continue
                del flying[attempt]
                if code is None:
                    raise cause
                now = time.monotonic()
                if code is not grpc.StatusCode.OK:
                    self._failed(path, exchange, attempt, code, details, now, cause)
                    continue
                self._note(path, attempt, code, len(data), now)
                exchange.answered(attempt, data)
        except ServingError as error:
            raise await self._explained(error, self._explaining(ask, exchange)) from error.__cause__
        finally:
            for task in flying.values():
                task.cancel()
            await asyncio.gather(*flying.values(), return_exceptions=True)

    async def _fly(self, call: Any, attempt: Any, ask: Ask, inbox: asyncio.Queue[Any]) -> None:
        """Make one call, and put what came of it into the inbox."""
        try:
            data = await call(
                attempt.request,
                timeout=attempt.timeout,
                metadata=ask.metadata,
                credentials=ask.credentials,
                wait_for_ready=self._config.wait_for_ready or None,
            )
        except grpc.RpcError as error:
            inbox.put_nowait((attempt, b"", error.code(), error.details() or "", error))
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Not we: the channel was closed.
            inbox.put_nowait((attempt, b"", grpc.StatusCode.CANCELLED, "the channel was closed", error))
        except Exception as error:
            inbox.put_nowait((attempt, b"", None, "", error))  # An interceptor of the user's, for one.
        else:
            inbox.put_nowait((attempt, data, grpc.StatusCode.OK, "", None))

    async def _parts(
        self, rows: AsyncIterator[Row], batcher: Batcher[Any], decode: Decode[T], ask: Ask
    ) -> AsyncIterator[Part[T]]:
        async for row in rows:
            for batch in batcher.add(row):
                yield self._part(batch, decode, ask)
        for batch in batcher.end():
            yield self._part(batch, decode, ask)

    async def _explained(self, error: ServingError, ask: Ask) -> ServingError:
        """An unknown signature or version, with those that exist."""
        try:
            if unknown_signature(error):
                model = await self._one(channels.GET_MODEL_METADATA, self._metadata_part(ask), ask)
                return with_found(error, "signatures", model.signatures)
            if unknown_version(error):
                found = await self._one(channels.GET_MODEL_STATUS, self._status_part(None), ask)
                return with_found(error, "versions", [f"{each.version} ({each.state})" for each in found])
        except ServingError:
            pass  # The first error says more.
        return error

    def _call(self, path: str, server: int) -> Any:
        loop = asyncio.get_running_loop()
        if self._opened is None:
            if self._closed:
                raise ValueError("the client is closed")
            made = [self._channel(address) for address in self.addresses]
            # Answers stay bytes: the codec decodes them faster than the parser of the standard messages.
            self._opened = (loop, made, [{path: each.unary_unary(path) for path in channels.METHODS} for each in made])
        if self._opened[0] is not loop:
            raise RuntimeError("this AsyncClient belongs to another event loop: make one in each loop")
        return self._opened[2][server][path]

    def _channel(self, address: str) -> grpc.aio.Channel:
        if self._injected is not None:
            return self._injected
        options = channels.options(self._config, self._tls, address)
        compression = grpc.Compression.Gzip if self._config.gzip else None
        if self._tls is None:
            return grpc.aio.insecure_channel(
                address, options=options, compression=compression, interceptors=self._interceptors
            )
        secret = channels.credentials(self._tls)
        return grpc.aio.secure_channel(
            address, secret, options=options, compression=compression, interceptors=self._interceptors
        )


async def _rows(
    texts: Iterable[str | bytes] | AsyncIterable[str | bytes],
    text_pair: Iterable[str | bytes] | AsyncIterable[str | bytes] | None,
) -> AsyncIterator[Row]:
    """:func:`requests.streamed`, also of what is read asynchronously."""
    requests.refuse_single(texts, "texts")
    requests.refuse_single(text_pair, "text_pair")
    seconds = None if text_pair is None else _read(text_pair)
    at = 0
    async for text in _read(texts):
        yield requests.as_row(at, text, *(() if seconds is None else (await anext(seconds, requests.ENDED),)))
        at += 1
    if seconds is not None and await anext(seconds, requests.ENDED) is not requests.ENDED:
        raise requests.uneven(at, "text_pair", "texts")


async def _read(texts: Iterable[str | bytes] | AsyncIterable[str | bytes]) -> AsyncIterator[str | bytes | object]:
    if isinstance(texts, Iterable):
        for text in texts:
            yield text
    else:
        async for text in texts:
            yield text
