"""The gRPC client: strings in, numpy arrays out, no TensorFlow."""

from __future__ import annotations

import contextlib
import os
import queue
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Literal, TypeVar, Unpack, overload

import grpc
import numpy.typing as npt

from ..contract import DEFAULT_SIGNATURE
from ..interrupts import held
from ..wire.codec import Array
from ..wire.messages import ModelMetadata, Row, VersionStatus
from . import channel as channels
from . import requests
from .base import Texts
from .calls import Plan
from .entities import Aggregation
from .exchange import Attempt, Exchange
from .parts import Batcher
from .results import Classification, Prediction, Ranked, TaggedText, Tokens, TokenSequence
from .settings import CallKeywords, PairKeywords, StreamKeywords, TextKeywords
from .tasks import Pair, TaskClient

T = TypeVar("T")
#: Vectors or scores, and the model version that computed them; ``None`` if the server does not report it.
Versioned = tuple[Array, int | None]


class Client(TaskClient[grpc.Channel]):
    """A client of one model on TensorFlow Serving, or on ``rawbert serve``.

    Thread-safe: share one client among threads. The first call in each process opens the channels: create clients
    before a fork, and call them after it. Use the client as a context manager, or :meth:`close` it.

    Args:
        address: ``host:port`` of the gRPC port, ``dns:///host:port``, ``unix:path``, or a list of such addresses,
            which are called in turn; a server that fails is skipped for a while.
        model: model name on the server.
        version: version number; the newest available one if neither it nor a label is given.
        version_label: label of a version, such as ``stable``.
        timeout: seconds for each part of a call, including its retries; ``None`` switches the deadline off. A
            timeout given with a call is the deadline of the whole call instead.
        max_batch_size: maximum number of texts in one part; lowered if the server reports a smaller limit.
        concurrency: maximum number of parts of one call in flight.
        retry: retry policy.
        tls: TLS; without it the connection is in plain text.
        metadata: gRPC metadata for calls without ``metadata``: a dict, or pairs.
        call_credentials: gRPC call credentials, sent over TLS only.
        interceptors: gRPC client interceptors for the channels that the client opens.
        on_call: function that gets a :class:`CallRecord` after each call to a server, possibly from several threads.
        channel: an existing channel to use; the client does not close it.
        config: settings of the channels that the client opens.

    Raises:
        ValueError: invalid or contradictory settings.
    Example::

        with Client("localhost:8500", model="minilm") as client:
            vectors = client.embed(["plain strings go in", "numpy arrays come out"])  # float32 [2, 384]
    """

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the channels that the client opened. Calls in flight are cancelled."""
        owner, open_channels = self._taken()
        if owner == os.getpid():
            for channel in open_channels:
                channel.close()

    @overload
    def embed(self, texts: Texts, *, return_version: Literal[True], **options: Unpack[PairKeywords]) -> Versioned: ...
    @overload
    def embed(self, texts: Texts, **options: Unpack[PairKeywords]) -> Array: ...
    def embed(self, texts: Texts, *, return_version: bool = False, **options: Unpack[PairKeywords]) -> Any:
        """One embedding per text, by the model's own pooling recipe; all embeddings come from one model version.

        Args:
            texts: any number of texts.
            return_version: also return the model version that computed the vectors.
            **options: all optional:
                text_pair (texts): a second text for each text, for models of pairs.
                signature_name (str): another signature that has the output ``embedding``, or ``output_name``.
                output_name (str): another output with one vector per text.
                sort_by_length (bool): send texts of similar length together; the results keep the order of ``texts``.
                version (int): version number, in place of the client's own.
                version_label (str): version label, in place of the client's own.
                timeout (float): seconds for the whole call; ``None`` for no deadline. Default: the client's own,
                which applies to each part.
                metadata (dict or pairs): gRPC metadata to send.
                call_credentials (grpc.CallCredentials): in place of the client's own; over TLS only.

        Returns:
            A new float32 array ``[len(texts), dim]``; with ``return_version`` a tuple of it and the version, an int,
            or ``None`` if the server does not report it.

        Raises:
            TypeError, ValueError: texts or options that cannot be sent.
            ServingError: the call failed; see :mod:`rawbert.serving.errors`.
        """
        return self._drive(self._vectors("embed", texts, return_version, options))

    @overload
    def pooled(self, texts: Texts, *, return_version: Literal[True], **options: Unpack[PairKeywords]) -> Versioned: ...
    @overload
    def pooled(self, texts: Texts, **options: Unpack[PairKeywords]) -> Array: ...
    def pooled(self, texts: Texts, *, return_version: bool = False, **options: Unpack[PairKeywords]) -> Any:
        """The encoder's ``pooled_output`` of each text: float32 ``[len(texts), hidden]``.

        Arguments, results and errors as :meth:`embed`.
        """
        return self._drive(self._vectors("pooled", texts, return_version, options))

    def sequence(self, texts: Texts, **options: Unpack[PairKeywords]) -> list[TokenSequence]:
        """Token vectors of each text, trimmed to its real tokens. Arguments and errors as :meth:`embed`."""
        return self._drive(self._objects(TokenSequence, "sequence", texts, options))

    def tokenize(self, texts: Texts, **options: Unpack[PairKeywords]) -> list[Tokens]:
        """Tokens of each text, as the model sees them; the encoder does not run.

        Arguments and errors as :meth:`embed`.
        """
        return self._drive(self._objects(Tokens, "tokenize", texts, options))

    def classify(
        self,
        texts: Texts,
        *,
        top_k: int | None = None,
        threshold: float | None = None,
        stride: int | None = None,
        **options: Unpack[PairKeywords],
    ) -> list[Classification]:
        """The label of each text or pair, and its scores; all results come from one model version.

        The export decides the scores: probabilities of labels that exclude each other, independent probabilities of
        each label, or raw numbers.

        Args:
            texts: any number of texts; for no texts, no call is made.
            top_k: maximum number of labels in ``scores`` of a result; all if left out.
            threshold: minimum score in ``scores``.
            stride: divide texts that are too long for the model into windows; neighbouring windows share ``stride``
                tokens, 0 or more. Scores are the mean over the windows, weighted by tokens. Not for pairs.
            **options: as in :meth:`embed`; ``signature_name`` has the outputs ``scores`` and ``labels``.

        Raises:
            TypeError, ValueError: invalid arguments; a ``stride`` that is not below the model's limit of tokens.
            ServingError: as :meth:`embed`.
        """
        return self._drive(self._classify(texts, top_k, threshold, stride, options))

    def tag(
        self,
        texts: Texts,
        *,
        aggregation: Aggregation = "simple",
        ignore_labels: Collection[str] = ("O",),
        stride: int | None = None,
        **options: Unpack[TextKeywords],
    ) -> list[TaggedText]:
        """The entities of each text and their positions, by the rules of transformers' token classification.

        Args:
            texts: any number of texts; for no texts, no call is made. Positions in a ``str`` are characters, positions
                in ``bytes`` are bytes.
            aggregation: ``simple`` joins neighbouring tokens with the same label, by ``B-`` and ``I-`` if the tags have
                these prefixes; ``first``, ``average`` and ``max`` first give every token of a word the tag of its first
                token, the tag with the best mean score, or the tag of its most certain token; ``none`` returns each
                token separately.
            ignore_labels: labels to leave out; tags with ``none``.
            stride: divide texts that are too long for the model into windows; neighbouring windows share ``stride``
                tokens, 0 or more. Of overlapping entities the longest is kept; of equally long ones, the one with the
                best score. Without ``stride``, such a text is cut at the limit, and its result is ``truncated``.
            **options: as in :meth:`embed`, without ``text_pair``.

        Raises:
            TypeError, ValueError: invalid arguments; a ``stride`` that is not below the model's limit of tokens.
            ServingError: as :meth:`embed`.
        """
        return self._drive(self._tag(texts, aggregation, ignore_labels, stride, options))

    @overload
    def score(
        self, pairs: Iterable[Pair], *, return_version: Literal[True], **options: Unpack[TextKeywords]
    ) -> Versioned: ...
    @overload
    def score(self, pairs: Iterable[Pair], **options: Unpack[TextKeywords]) -> Array: ...
    def score(self, pairs: Iterable[Pair], *, return_version: bool = False, **options: Unpack[TextKeywords]) -> Any:
        """The score of each pair of texts, by a cross-encoder; or of each text, by a model of single texts.

        Args:
            pairs: any number of pairs, each a tuple of two texts; or texts, for a model of single texts. For no pairs,
                no call is made.
            return_version: also return the model version, as in :meth:`embed`.
            **options: as in :meth:`embed`, without ``text_pair``.

        Returns:
            A new float32 array ``[len(pairs)]``; with ``return_version`` a tuple of it and the version.

        Raises:
            TypeError, ValueError, ServingError: as :meth:`embed`.
        """
        return self._drive(self._score(pairs, return_version, options))

    def rerank(
        self, query: str | bytes, documents: Texts, *, top_k: int | None = None, **options: Unpack[TextKeywords]
    ) -> list[Ranked]:
        """Rank documents by relevance to a query with a cross-encoder, best first.

        Args:
            query: the query. An empty query is sent like any other text.
            documents: any number of documents; for no documents, no call is made. Many documents are sent in parts; a
                ``timeout`` applies to the whole call.
            top_k: maximum number of documents to return; all if left out.
            **options: as in :meth:`embed`, without ``text_pair``.

        Returns:
            The documents with their scores and their indices in ``documents``; equal scores keep the given order.

        Raises:
            TypeError, ValueError, ServingError: as :meth:`embed`.
        """
        return self._drive(self._rerank(query, documents, top_k, options))

    @overload
    def embed_iter(
        self, texts: Texts, *, return_version: Literal[True], **options: Unpack[StreamKeywords]
    ) -> Iterator[Versioned]: ...
    @overload
    def embed_iter(self, texts: Texts, **options: Unpack[StreamKeywords]) -> Iterator[Array]: ...
    def embed_iter(
        self, texts: Texts, *, return_version: bool = False, **options: Unpack[StreamKeywords]
    ) -> Iterator[Any]:
        """:meth:`embed` for a stream that does not fit in memory: one vector ``[dim]`` per text, in order.

        It reads at most a few parts ahead, and only while the vectors are consumed.

        Args:
            texts: any number of texts.
            return_version: yield tuples of a vector and the model version that computed it.
            **options: as in :meth:`embed`, but ``timeout`` applies to each part, ``text_pair`` is a second stream of
                the same length, and ``sort_by_length`` groups texts of similar length within windows of 16 parts,
                which are read ahead. One more:
                follow_version (bool): continue with another version if the version that answered the first texts is
                unloaded. Requires ``return_version``: vectors of two versions must not be mixed in one index.

        Raises:
            ModelVersionChanged: the version that answered the first texts was unloaded meanwhile.
            TypeError, ValueError: a text that cannot be sent; two streams of different length.
            ServingError: as :meth:`embed`.
        """
        run, batcher = self._stream(texts, return_version, options, _parts)
        with contextlib.closing(run):
            while answer := self._drive(self._next(run)):
                yield from batcher.results(answer.value)

    def predict(
        self,
        inputs: Mapping[str, npt.ArrayLike],
        *,
        signature_name: str = DEFAULT_SIGNATURE,
        output_filter: Iterable[str] = (),
        **options: Unpack[CallKeywords],
    ) -> Prediction:
        """Call any signature once: arrays by input name in, arrays by output name out.

        Args:
            inputs: array-likes by input name; str and bytes become string tensors.
            signature_name: the signature.
            output_filter: names of the outputs to return; all if empty.
            **options: version, version_label, timeout, metadata and call_credentials as in :meth:`embed`.

        Returns:
            New arrays by output name, with ``model_version``. Strings are ``bytes`` objects, bfloat16 becomes float32.

        Raises:
            TypeError, ValueError: an input that cannot be sent.
            ServingError: the call failed.
        """
        return self._drive(self._predict(inputs, signature_name, output_filter, options))

    def metadata(self, **options: Unpack[CallKeywords]) -> ModelMetadata:
        """The model's signatures, and the version that answered. Arguments and errors as :meth:`predict`."""
        return self._drive(self._metadata(options))

    def status(self, **options: Unpack[CallKeywords]) -> list[VersionStatus]:
        """State of the model's versions on one of the servers, newest first.

        With a version or label, in the call or in the client, the state of that version only. Arguments and errors as
        :meth:`predict`.
        """
        return self._drive(self._status(options))

    def wait_until_ready(self, **options: Unpack[CallKeywords]) -> list[VersionStatus]:
        """Wait until a server reports the version, or the label, as available; return its :meth:`status`.

        Args:
            **options: as in :meth:`predict`; ``timeout`` is the time to wait in seconds, 60 by default; ``None`` waits
                forever.

        Raises:
            ServerUnavailable: not available in time; the message contains the last state.
            ServingError: the server refuses the call.
        """
        return self._drive(self._ready(options))

    def reload_config(self, config: str, **options: Unpack[CallKeywords]) -> None:
        """Replace the configuration of every server; models that it does not name are unloaded.

        Args:
            config: the text of a ``models.config`` file.
            **options: timeout, metadata and call_credentials as in :meth:`embed`; the timeout applies to each server.
                TensorFlow Serving does not answer while a base path contains no version.

        Raises:
            ValueError: not the text of a ``models.config`` file.
            ServingError: a server refused it; the servers before it in the list have loaded it already.
        """
        self._drive(self._reload(config, options))

    _inbox = queue.SimpleQueue

    def _drive(self, plan: Plan[T]) -> T:
        """Carry out the steps of a plan until it returns its result."""
        with contextlib.closing(plan):
            try:
                step = next(plan)
                while True:
                    try:
                        came = step.inbox.get(timeout=step.seconds)
                    except queue.Empty:
                        came = None
                    step = plan.send(came)
            except StopIteration as end:
                result: T = end.value
                return result

    def _send(self, exchange: Exchange[Any], attempt: Attempt[Any]) -> Any:
        method, arguments = self._prepared(exchange, attempt)
        with held():
            return method.future(**arguments)

    def _cancel(self, call: Any) -> None:
        call.cancel()

    def _owner(self) -> int:
        """The process: channels do not survive a fork."""
        return os.getpid()

    def _open_channel(self, address: str, fresh: int) -> grpc.Channel:
        channel = channels.make(grpc, self._config, self._tls, address, fresh)
        return grpc.intercept_channel(channel, *self._interceptors) if self._interceptors else channel

    def _close_channel(self, channel: grpc.Channel) -> None:
        channel.close()


def _parts(texts: Texts, text_pair: Texts | None, batcher: Batcher[Any]) -> Iterator[list[Row]]:
    return batcher.parts(requests.streamed(texts, text_pair))
