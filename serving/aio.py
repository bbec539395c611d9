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

from . import channel as channels
from . import requests
from .base import (
    DEFAULT_TIMEOUT,
    NOT_GIVEN,
    RESTARTS,
    BaseClient,
    CallMetadata,
    CallRecord,
    Decode,
    Timeout,
    available,
    by_length,
    restored,
    unknown_signature,
    unknown_version,
    vectors,
    with_found,
)
from .config import TLS, ChannelConfig, RetryPolicy
from .errors import DeadlineExceeded, ModelNotFound, ModelVersionChanged, ServerUnavailable, ServingError
from .exchange import Answer, Exchange, Part
from .requests import Row
from .results import ModelMetadata, Prediction, Tokens, TokenSequence, Vectors, VersionStatus

__all__ = ["AsyncClient"]

T = TypeVar("T")


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
        """Close the channels, if they are our own. Calls in flight are cancelled."""
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
        timeout: Timeout = NOT_GIVEN,
        metadata: CallMetadata = (),
    ) -> Vectors:
        """One embedding a text, by the model's own pooling recipe; all of them by one version of the model.

        Args:
            texts: any number of texts.
            text_pair: a second text for each, where the model takes pairs.
            signature_name: another signature with the output ``embedding``.
            sort_by_length: send texts of similar length together; the results keep the order of ``texts``.
            timeout: seconds for the whole call; ``None`` for no deadline; the client's own, for each part, if left out.
            metadata: gRPC metadata to send along.

        Returns:
            float32 ``[len(texts), dim]`` with ``model_version``; it may be read-only.

        Raises:
            TypeError, ValueError: texts that cannot be sent.
            ServingError: the call failed; see :mod:`rawbert.serving.errors`.
        """
        return await self._vectors(texts, text_pair, "embed", signature_name, sort_by_length, timeout, metadata)

    async def pooled(
        self,
        texts: Iterable[str | bytes],
        *,
        text_pair: Iterable[str | bytes] | None = None,
        signature_name: str = "pooled",
        sort_by_length: bool = False,
        timeout: Timeout = NOT_GIVEN,
        metadata: CallMetadata = (),
    ) -> Vectors:
        """The encoder's ``pooled_output`` of each text: float32 ``[len(texts), hidden]``.

        Arguments and errors as :meth:`embed`.
        """
        return await self._vectors(texts, text_pair, "pooled", signature_name, sort_by_length, timeout, metadata)

    async def sequence(
        self,
        texts: Iterable[str | bytes],
        *,
        text_pair: Iterable[str | bytes] | None = None,
        signature_name: str = "sequence",
        sort_by_length: bool = False,
        timeout: Timeout = NOT_GIVEN,
        metadata: CallMetadata = (),
    ) -> list[TokenSequence]:
        """Token vectors of each text, trimmed to its real tokens.

        Arguments and errors as :meth:`embed`.
        """
        rows = requests.as_rows(texts, text_pair)
        return await self._each(rows, signature_name, requests.sequences, sort_by_length, timeout, metadata)

    async def tokenize(
        self,
        texts: Iterable[str | bytes],
        *,
        text_pair: Iterable[str | bytes] | None = None,
        signature_name: str = "tokenize",
        sort_by_length: bool = False,
        timeout: Timeout = NOT_GIVEN,
        metadata: CallMetadata = (),
    ) -> list[Tokens]:
        """Tokens of each text, as the model sees them; the encoder does not run.

        Arguments and errors as :meth:`embed`.
        """
        rows = requests.as_rows(texts, text_pair)
        return await self._each(rows, signature_name, requests.tokens, sort_by_length, timeout, metadata)

    async def embed_iter(
        self,
        texts: Iterable[str | bytes] | AsyncIterable[str | bytes],
        *,
        signature_name: str = "embed",
        follow_version: bool = False,
        timeout: Timeout = NOT_GIVEN,
        metadata: CallMetadata = (),
    ) -> AsyncIterator[Vectors]:
        """:meth:`embed` for a stream that does not fit in memory: one vector ``[dim]`` a text, in order.

        It reads ahead by a few parts at most, and only as the vectors are taken. ``timeout`` is for each part.

        Args:
            texts: any number of texts.
            signature_name: another signature with the output ``embedding``.
            follow_version: go on with another version where the one that answered the first texts is unloaded:
                ``model_version`` of each vector tells. Their spaces differ; never put both into one index.
            timeout: seconds for each part; ``None`` for no deadline.
            metadata: as in :meth:`embed`.

        Raises:
            ModelVersionChanged: the version that answered the first texts was unloaded meanwhile.
            ServingError: as :meth:`embed`.
        """
        exchange = self._exchange(
            channels.PREDICT, time.monotonic(), timeout, signature=signature_name, pin=True, each=True
        )
        exchange.follow = follow_version
        decode = vectors(requests.VECTORS["embed"])
        batches = self._batches(requests.streamed(texts)) if isinstance(texts, Iterable) else self._abatches(texts)
        parts = _mapped(lambda rows: self._part(rows, signature_name, decode), batches)
        async with contextlib.aclosing(self._run(channels.PREDICT, exchange, parts, metadata)) as answers:
            async for answer in answers:
                for vector in Vectors(answer.value[0], answer.version):
                    yield vector

    async def predict(
        self,
        inputs: Mapping[str, npt.ArrayLike],
        *,
        signature_name: str = "serving_default",
        output_filter: Iterable[str] = (),
        timeout: Timeout = NOT_GIVEN,
        metadata: CallMetadata = (),
    ) -> Prediction:
        """Any signature, in one call: arrays by input name in, arrays by output name out.

        Args:
            inputs: what numpy can make an array of; str and bytes become string tensors.
            signature_name: the signature.
            output_filter: names of the outputs to answer; all if empty.
            timeout: as in :meth:`embed`.
            metadata: as in :meth:`embed`.

        Returns:
            Arrays by output name, perhaps read-only, with ``model_version``. Strings are ``bytes`` objects, bfloat16
            becomes float32.

        Raises:
            TypeError: an input that cannot be sent.
            ServingError: the call failed.
        """
        part = self._predict_part(inputs, signature_name, output_filter)
        return await self._one(channels.PREDICT, part, timeout, metadata, signature=signature_name)

    async def metadata(self, *, timeout: Timeout = NOT_GIVEN, metadata: CallMetadata = ()) -> ModelMetadata:
        """The model's signatures, and the version that answered. Errors as :meth:`embed`."""
        return await self._one(channels.GET_MODEL_METADATA, self._metadata_part(), timeout, metadata)

    async def status(self, *, timeout: Timeout = NOT_GIVEN, metadata: CallMetadata = ()) -> list[VersionStatus]:
        """State of the model's versions, newest first, on one of the servers. Errors as :meth:`embed`."""
        return await self._one(channels.GET_MODEL_STATUS, self._status_part(), timeout, metadata)

    async def wait_until_ready(
        self, *, timeout: float | None = 60.0, metadata: CallMetadata = ()
    ) -> list[VersionStatus]:
        """Wait until a server answers and has the version available; its :meth:`status` then.

        Args:
            timeout: seconds to wait; ``None`` waits for ever.
            metadata: as in :meth:`embed`.

        Raises:
            ServerUnavailable: it did not come in time; the message says what was seen last.
            ServingError: it answers, but not to us.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                statuses = await self.status(timeout=5.0 if timeout is None else min(5.0, timeout), metadata=metadata)
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

    async def reload_config(self, config: str, *, timeout: Timeout = NOT_GIVEN, metadata: CallMetadata = ()) -> None:
        """Replace the configuration of every server: all models that it does not name are unloaded.

        Args:
            config: the text of a ``models.config`` file.
            timeout: seconds for each server. TensorFlow Serving blocks where a base path holds no version.
            metadata: as in :meth:`embed`.

        Raises:
            ValueError: it is not the text of a ``models.config`` file.
            ServingError: a server refused it; those before it in the list have it already.
        """
        for server, address in enumerate(self.addresses):
            part = self._reload_part(config, address)
            await self._one(channels.RELOAD_CONFIG, part, timeout, metadata, server=server)

    async def _vectors(
        self,
        texts: Iterable[str | bytes],
        text_pair: Iterable[str | bytes] | None,
        kind: str,
        signature: str,
        sort: bool,
        timeout: Timeout,
        metadata: CallMetadata,
    ) -> Vectors:
        name, rows = requests.VECTORS[kind], requests.as_rows(texts, text_pair)
        if not rows:
            return Vectors(np.zeros((0, await self._width(signature, name, timeout, metadata)), np.float32))
        order = by_length(rows) if sort else range(len(rows))
        parts = await self._collect([rows[at] for at in order], signature, vectors(name), timeout, metadata)
        joined = requests.join_vectors([array for array, _ in parts], name)
        self._widths[signature, name] = joined.shape[1]
        return Vectors(joined[np.argsort(order)] if sort else joined, parts[0][1])

    async def _each(
        self,
        rows: list[Row],
        signature: str,
        decode: Decode[list[T]],
        sort: bool,
        timeout: Timeout,
        metadata: CallMetadata,
    ) -> list[T]:
        order = by_length(rows) if sort else range(len(rows))
        parts = await self._collect([rows[at] for at in order], signature, decode, timeout, metadata)
        values = list(chain.from_iterable(parts))
        return restored(values, order) if sort else values

    async def _width(self, signature: str, name: str, timeout: Timeout, metadata: CallMetadata) -> int:
        """Size of a vector, for no texts: with batching on, TensorFlow Serving does not answer an empty Predict."""
        width = self._widths.get((signature, name))
        if width is None:
            width = requests.static_width(await self.metadata(timeout=timeout, metadata=metadata), signature, name)
            if width is None:
                width = (await self._collect([(b"",)], signature, vectors(name), timeout, metadata))[0][0].shape[1]
            self._widths[signature, name] = width
        return width

    async def _collect(
        self, rows: Sequence[Row], signature: str, decode: Decode[T], timeout: Timeout, metadata: CallMetadata
    ) -> list[T]:
        """Answers to the parts of a call, in order, all of one version: it starts again where that was unloaded."""
        begun = time.monotonic()
        for left in reversed(range(RESTARTS)):
            exchange = self._exchange(channels.PREDICT, begun, timeout, signature=signature, pin=True)
            parts = (self._part(batch, signature, decode) for batch in self._batches(rows))
            try:
                return [answer.value async for answer in self._run(channels.PREDICT, exchange, parts, metadata)]
            except ModelVersionChanged:
                if not left:
                    raise
        raise AssertionError("unreachable")

    async def _one(
        self,
        path: str,
        part: Part[T],
        timeout: Timeout,
        metadata: CallMetadata,
        *,
        signature: str = "",
        server: int | None = None,
    ) -> T:
        exchange: Exchange[T] = self._exchange(path, time.monotonic(), timeout, signature=signature)
        exchange.server = server
        (answer,) = [answer async for answer in self._run(path, exchange, iter([part]), metadata)]
        return answer.value

    async def _run(
        self,
        path: str,
        exchange: Exchange[T],
        parts: Iterator[Part[T]] | AsyncIterator[Part[T]],
        metadata: CallMetadata,
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
                        self._fly(self._call(path, attempt.server), attempt, metadata, inbox)
                    )
                for answer in exchange.ready():
                    yield answer
                if exchange.finished:
                    return
                if exchange.wants:
                    continue
                try:
                    async with asyncio.timeout(exchange.wait(time.monotonic())):
                        attempt, data, code, details, cause = await inbox.get()
                except TimeoutError:
                    continue
                del flying[attempt]
                if code is None:
                    raise cause
                now = time.monotonic()
                self._note(path, attempt, code, len(data), now)
                if code is grpc.StatusCode.OK:
                    exchange.answered(attempt, data)
                    continue
                try:
                    exchange.failed(attempt, code, details, now)
                except ServingError as failure:
                    raise failure from cause
        except ServingError as error:
            raise await self._explained(error, metadata) from error.__cause__
        finally:
            for task in flying.values():
                task.cancel()
            await asyncio.gather(*flying.values(), return_exceptions=True)

    async def _fly(self, call: Any, attempt: Any, metadata: CallMetadata, inbox: asyncio.Queue[Any]) -> None:
        """Make one call, and put what came of it into the inbox."""
        try:
            data = await call(
                attempt.request,
                timeout=attempt.timeout,
                metadata=tuple(metadata) or None,
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

    async def _abatches(self, texts: AsyncIterable[str | bytes]) -> AsyncIterator[list[Row]]:
        rows: list[Row] = []
        at = 0
        async for text in texts:
            rows.append(requests.as_row(text, at))
            at += 1
            if len(rows) >= self._max_batch_size:
                for batch in self._batches(rows):
                    yield batch
                rows = []
        for batch in self._batches(rows):
            yield batch

    async def _explained(self, error: ServingError, metadata: CallMetadata) -> ServingError:
        """An unknown signature or version, with those that exist."""
        try:
            if unknown_signature(error):
                return with_found(error, "signatures", (await self.metadata(timeout=2.0, metadata=metadata)).signatures)
            if unknown_version(error):
                part = self._status_part(every=True)
                found = await self._one(channels.GET_MODEL_STATUS, part, 2.0, metadata)
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
        secret = channels.credentials(self._tls, self._call_credentials)
        return grpc.aio.secure_channel(
            address, secret, options=options, compression=compression, interceptors=self._interceptors
        )


async def _mapped(
    function: Callable[[list[Row]], Part[T]], batches: Iterable[list[Row]] | AsyncIterable[list[Row]]
) -> AsyncIterator[Part[T]]:
    if isinstance(batches, Iterable):
        for batch in batches:
            yield function(batch)
    else:
        async for batch in batches:
            yield function(batch)
