"""The gRPC client: strings in, numpy arrays out, and nothing of TensorFlow."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from .exchange import Answer, Exchange, Part
from .parts import by_length, restored
from .requests import Row
from .results import ModelMetadata, Prediction, Tokens, TokenSequence, Vectors, VersionStatus
from .settings import TLS, ChannelConfig, RetryPolicy

__all__ = ["DEFAULT_TIMEOUT", "Client"]

T = TypeVar("T")


class Client(BaseClient):
    """A client of one model on TensorFlow Serving, or on ``rawbert serve``.

    Thread-safe: share one among threads. Channels are opened by the first call, in each process anew: make clients
    before a fork, and call after it. Use it as a context manager, or :meth:`close` it.

    Args:
        address: ``host:port`` of the gRPC port, ``dns:///host:port``, ``unix:path``, or a list of such addresses,
            which are called in turn; a server that fails is passed over.
        model: model name on the server.
        version: version number; the newest available one if neither it nor a label is given.
        version_label: label of a version, such as ``stable``.
        timeout: seconds for each part of a call, over all its attempts; ``None`` switches the deadline off. A
            timeout that is given with a call is the deadline of the whole call instead.
        max_batch_size: most texts in one part; lowered where the server says that it takes fewer.
        concurrency: parts of one call that are on their way at once.
        retry: what is sent again, and how often.
        tls: TLS; without it the connection is in plain text.
        call_credentials: gRPC call credentials, sent over TLS only.
        interceptors: gRPC client interceptors of our own channels.
        on_call: called after each call to a server with a :class:`CallRecord`, perhaps from several threads.
        channel: a channel to use in place of our own; it is left open at the end.
        config: settings of our own channels.

    Raises:
        ValueError: settings that cannot work or contradict each other.

    Example::

        with Client("localhost:8500", model="minilm") as client:
            vectors = client.embed(["plain strings go in", "numpy arrays come out"])  # float32 [2, 384]
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
        channel: grpc.Channel | None = None,
        config: ChannelConfig | None = None,
    ) -> None:
        super().__init__(
            address, model, version, version_label, timeout, max_batch_size, concurrency, config, retry, tls,
            call_credentials, on_call, channel is not None,
        )  # fmt: skip
        self._injected = channel
        self._interceptors = tuple(interceptors)
        self._opened: tuple[int, list[grpc.Channel], list[dict[str, Any]]] | None = None
        self._lock = threading.Lock()
        self._closed = False

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the channels, if they are our own. Calls in flight are cancelled."""
        with self._lock:
            self._closed = True
            opened, self._opened = self._opened, None
        if opened is not None and opened[0] == os.getpid() and self._injected is None:
            for channel in opened[1]:
                channel.close()

    def embed(
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
        """One embedding a text, by the model's own pooling recipe; all of them by one version of the model.

        Args:
            texts: any number of texts.
            text_pair: a second text for each, where the model takes pairs.
            signature_name: another signature with the output ``embedding``.
            sort_by_length: send texts of similar length together; the results keep the order of ``texts``.
            version: version number to ask in place of the client's own.
            version_label: label of a version to ask in place of the client's own.
            timeout: seconds for the whole call; ``None`` for no deadline; the client's own, for each part, if left out.
            metadata: gRPC metadata to send along.
            call_credentials: gRPC call credentials in place of the client's own; over TLS only.

        Returns:
            float32 ``[len(texts), dim]`` with ``model_version``; it may be read-only.

        Raises:
            TypeError, ValueError: texts that cannot be sent.
            ServingError: the call failed; see :mod:`rawbert.serving.errors`.
        """
        ask = self._ask(timeout, metadata, call_credentials, signature_name, version, version_label)
        return self._vectors(texts, text_pair, "embed", sort_by_length, ask)

    def pooled(
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
        """The encoder's ``pooled_output`` of each text: float32 ``[len(texts), hidden]``.

        Arguments and errors as :meth:`embed`.
        """
        ask = self._ask(timeout, metadata, call_credentials, signature_name, version, version_label)
        return self._vectors(texts, text_pair, "pooled", sort_by_length, ask)

    def sequence(
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
        """Token vectors of each text, trimmed to its real tokens.

        Arguments and errors as :meth:`embed`.
        """
        ask = self._ask(timeout, metadata, call_credentials, signature_name, version, version_label)
        return self._each(texts, text_pair, requests.sequences, sort_by_length, ask)

    def tokenize(
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
        """Tokens of each text, as the model sees them; the encoder does not run.

        Arguments and errors as :meth:`embed`.
        """
        ask = self._ask(timeout, metadata, call_credentials, signature_name, version, version_label)
        return self._each(texts, text_pair, requests.tokens, sort_by_length, ask)

    def embed_iter(
        self,
        texts: Iterable[str | bytes],
        *,
        text_pair: Iterable[str | bytes] | None = None,
        signature_name: str = "embed",
        sort_by_length: bool = False,
        follow_version: bool = False,
        version: int | None = None,
        version_label: str | None = None,
        timeout: Timeout = NOT_GIVEN,
        metadata: CallMetadata = (),
        call_credentials: grpc.CallCredentials | None = None,
    ) -> Iterator[Vectors]:
        """:meth:`embed` for a stream that does not fit in memory: one vector ``[dim]`` a text, in order.

        It reads ahead by a few parts at most, and only as the vectors are taken.

        Args:
            texts: any number of texts.
            text_pair: a second text for each, where the model takes pairs; another stream of the same length.
            signature_name: another signature with the output ``embedding``.
            sort_by_length: send texts of similar length together, out of every 16 parts; it reads ahead by as much.
            follow_version: go on with another version where the one that answered the first texts is unloaded:
                ``model_version`` of each vector tells. Their spaces differ; never put both into one index.
            timeout: seconds for each part; ``None`` for no deadline.
            version, version_label, metadata, call_credentials: as in :meth:`embed`.

        Raises:
            ModelVersionChanged: the version that answered the first texts was unloaded meanwhile.
            TypeError, ValueError: a text that cannot be sent; one of the two streams is longer than the other.
            ServingError: as :meth:`embed`.
        """
        ask = self._ask(timeout, metadata, call_credentials, signature_name, version, version_label)
        exchange = self._exchange(channels.PREDICT, time.monotonic(), ask, pin=True, each=True)
        exchange.follow = follow_version
        batcher, decode = self._batcher(sort_by_length), vectors(requests.VECTORS["embed"])
        rows = requests.streamed(texts, text_pair)
        parts = (self._part(batch, decode, ask) for batch in batcher.parts(rows))
        for answer in self._run(channels.PREDICT, exchange, parts, ask):
            yield from batcher.results(Vectors(answer.value[0], answer.version))

    def predict(
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
        """Any signature, in one call: arrays by input name in, arrays by output name out.

        Args:
            inputs: what numpy can make an array of; str and bytes become string tensors.
            signature_name: the signature.
            output_filter: names of the outputs to answer; all if empty.
            version, version_label, timeout, metadata, call_credentials: as in :meth:`embed`.

        Returns:
            Arrays by output name, perhaps read-only, with ``model_version``. Strings are ``bytes`` objects, bfloat16
            becomes float32.

        Raises:
            TypeError: an input that cannot be sent.
            ServingError: the call failed.
        """
        ask = self._ask(timeout, metadata, call_credentials, signature_name, version, version_label)
        return self._one(channels.PREDICT, self._predict_part(inputs, output_filter, ask), ask)

    def metadata(
        self,
        *,
        version: int | None = None,
        version_label: str | None = None,
        timeout: Timeout = NOT_GIVEN,
        metadata: CallMetadata = (),
        call_credentials: grpc.CallCredentials | None = None,
    ) -> ModelMetadata:
        """The model's signatures, and the version that answered. Arguments and errors as :meth:`embed`."""
        ask = self._ask(timeout, metadata, call_credentials, "", version, version_label)
        return self._one(channels.GET_MODEL_METADATA, self._metadata_part(ask), ask)

    def status(
        self,
        *,
        timeout: Timeout = NOT_GIVEN,
        metadata: CallMetadata = (),
        call_credentials: grpc.CallCredentials | None = None,
    ) -> list[VersionStatus]:
        """State of the model's versions, newest first, on one of the servers.

        Only of the client's own version, where it has one. Arguments and errors as :meth:`embed`.
        """
        ask = self._ask(timeout, metadata, call_credentials)
        return self._one(channels.GET_MODEL_STATUS, self._status_part(ask.version), ask)

    def wait_until_ready(
        self,
        *,
        timeout: float | None = 60.0,
        metadata: CallMetadata = (),
        call_credentials: grpc.CallCredentials | None = None,
    ) -> list[VersionStatus]:
        """Wait until a server answers and has the version available; its :meth:`status` then.

        Args:
            timeout: seconds to wait; ``None`` waits for ever.
            metadata, call_credentials: as in :meth:`embed`.

        Raises:
            ServerUnavailable: it did not come in time; the message says what was seen last.
            ServingError: it answers, but not to us.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                statuses = self.status(
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
            time.sleep(0.2)

    def reload_config(
        self,
        config: str,
        *,
        timeout: Timeout = NOT_GIVEN,
        metadata: CallMetadata = (),
        call_credentials: grpc.CallCredentials | None = None,
    ) -> None:
        """Replace the configuration of every server: all models that it does not name are unloaded.

        Args:
            config: the text of a ``models.config`` file.
            timeout: seconds for each server. TensorFlow Serving blocks where a base path holds no version.
            metadata, call_credentials: as in :meth:`embed`.

        Raises:
            ValueError: it is not the text of a ``models.config`` file.
            ServingError: a server refused it; those before it in the list have it already.
        """
        ask = self._ask(timeout, metadata, call_credentials)
        for server, address in enumerate(self.addresses):
            self._one(channels.RELOAD_CONFIG, self._reload_part(config, address), ask, server)

    def _vectors(
        self,
        texts: Iterable[str | bytes],
        text_pair: Iterable[str | bytes] | None,
        kind: str,
        sort: bool,
        ask: Ask,
    ) -> Vectors:
        name, rows = requests.VECTORS[kind], requests.as_rows(texts, text_pair)
        if not rows:
            return Vectors(np.zeros((0, self._width(name, ask)), np.float32))
        order = by_length(rows) if sort else range(len(rows))
        parts = self._collect([rows[at] for at in order], vectors(name), ask)
        joined = requests.join_vectors([array for array, _ in parts], name)
        self._widths[width_key(name, ask)] = joined.shape[1]
        return Vectors(joined[np.argsort(order)] if sort else joined, parts[0][1])

    def _each(
        self,
        texts: Iterable[str | bytes],
        text_pair: Iterable[str | bytes] | None,
        decode: Decode[list[T]],
        sort: bool,
        ask: Ask,
    ) -> list[T]:
        rows = requests.as_rows(texts, text_pair)
        order = by_length(rows) if sort else range(len(rows))
        values = list(chain.from_iterable(self._collect([rows[at] for at in order], decode, ask)))
        return restored(values, order) if sort else values

    def _width(self, name: str, ask: Ask) -> int:
        """Size of a vector, for no texts: with batching on, TensorFlow Serving does not answer an empty Predict."""
        key = width_key(name, ask)
        if key not in self._widths:
            metadata = self._one(channels.GET_MODEL_METADATA, self._metadata_part(ask), ask)
            width = requests.static_width(metadata, ask.signature, name)
            if width is None:
                width = self._collect([(b"",)], vectors(name), ask)[0][0].shape[1]
            self._widths[key] = width
        return self._widths[key]

    def _collect(self, rows: Sequence[Row], decode: Decode[T], ask: Ask) -> list[T]:
        """Answers to the parts of a call, in order, all of one version: it starts again where that was unloaded."""
        begun = time.monotonic()
        for left in reversed(range(RESTARTS)):
            exchange = self._exchange(channels.PREDICT, begun, ask, pin=True)
            parts = (self._part(batch, decode, ask) for batch in self._batcher().parts(rows))
            try:
                return [answer.value for answer in self._run(channels.PREDICT, exchange, parts, ask)]
            except ModelVersionChanged:
                if not left:
                    raise
        raise AssertionError("unreachable")

    def _one(self, path: str, part: Part[T], ask: Ask, server: int | None = None) -> T:
        exchange: Exchange[T] = self._exchange(path, time.monotonic(), ask)
        exchange.server = server
        (answer,) = self._run(path, exchange, iter([part]), ask)
        return answer.value

    def _run(self, path: str, exchange: Exchange[T], parts: Iterator[Part[T]], ask: Ask) -> Iterator[Answer[T]]:
        inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        flying: dict[Any, Any] = {}
        ready = self._config.wait_for_ready or None
        try:
            while True:
                while exchange.wants:
                    part = next(parts, None)
                    exchange.end() if part is None else exchange.feed(part)
                for attempt in exchange.due(time.monotonic()):
                    method = self._call(path, attempt.server)
                    with channels.uninterrupted():
                        flying[attempt] = method.future(
                            attempt.request,
                            timeout=attempt.timeout,
                            metadata=ask.metadata,
                            credentials=ask.credentials,
                            wait_for_ready=ready,
                        )
                    flying[attempt].add_done_callback(lambda _, attempt=attempt: inbox.put(attempt))
                for answer in exchange.ready():
                    taken = time.monotonic()
                    yield answer
                    exchange.held(time.monotonic() - taken)
                if exchange.finished:
                    return
                if exchange.wants:
                    continue
                try:
                    attempt = inbox.get(timeout=exchange.wait(time.monotonic()))
                except queue.Empty:
                    now = time.monotonic()
                    for attempt in [each for each in flying if exchange.overdue(each, now)]:
                        self._failed(path, exchange, attempt, grpc.StatusCode.DEADLINE_EXCEEDED, DEADLINE, now)
                    continue
                self._arrived(path, exchange, attempt, flying.pop(attempt))
        except ServingError as error:
            raise self._explained(error, self._explaining(ask, exchange)) from error.__cause__
        finally:
            for call in flying.values():
                call.cancel()

    def _arrived(self, path: str, exchange: Exchange[Any], attempt: Any, call: Any) -> None:
        now = time.monotonic()
        try:
            data: bytes = call.result()
        except (grpc.RpcError, grpc.FutureCancelledError) as error:
            code = call.code() or grpc.StatusCode.CANCELLED
            self._failed(path, exchange, attempt, code, call.details() or "", now, error)
        else:
            self._note(path, attempt, grpc.StatusCode.OK, len(data), now)
            exchange.answered(attempt, data)

    def _explained(self, error: ServingError, ask: Ask) -> ServingError:
        """An unknown signature or version, with those that exist."""
        try:
            if unknown_signature(error):
                model = self._one(channels.GET_MODEL_METADATA, self._metadata_part(ask), ask)
                return with_found(error, "signatures", model.signatures)
            if unknown_version(error):
                found = self._one(channels.GET_MODEL_STATUS, self._status_part(None), ask)
                return with_found(error, "versions", [f"{each.version} ({each.state})" for each in found])
        except ServingError:
            pass  # The first error says more.
        return error

    def _call(self, path: str, server: int) -> Any:
        opened = self._opened
        if opened is None or opened[0] != os.getpid():
            opened = self._open()
        return opened[2][server][path]

    def _open(self) -> tuple[int, list[grpc.Channel], list[dict[str, Any]]]:
        with self._lock:
            if self._closed:
                raise ValueError("the client is closed")
            if self._opened is None or self._opened[0] != os.getpid():
                made = [self._channel(address) for address in self.addresses]
                # Answers stay bytes: the codec decodes them faster than the parser of the standard messages.
                calls = [{path: channel.unary_unary(path) for path in channels.METHODS} for channel in made]
                self._opened = (os.getpid(), made, calls)
            return self._opened

    def _channel(self, address: str) -> grpc.Channel:
        if self._injected is not None:
            return self._injected
        options = channels.options(self._config, self._tls, address)
        compression = grpc.Compression.Gzip if self._config.gzip else None
        if self._tls is None:
            channel = grpc.insecure_channel(address, options=options, compression=compression)
        else:
            secret = channels.credentials(self._tls)
            channel = grpc.secure_channel(address, secret, options=options, compression=compression)
        return grpc.intercept_channel(channel, *self._interceptors) if self._interceptors else channel
