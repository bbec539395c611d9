"""The gRPC client: strings in, numpy arrays out, and nothing of TensorFlow."""

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
#: Vectors or scores, and the version of the model that made them; ``None`` where the server does not say.
Versioned = tuple[Array, int | None]


class Client(TaskClient[grpc.Channel]):
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
        metadata: gRPC metadata of calls that have none of their own: a dict, or pairs.
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

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the channels, if they are our own. Calls in flight are cancelled."""
        owner, open_channels = self._taken()
        if owner == os.getpid():
            for channel in open_channels:
                channel.close()

    @overload
    def embed(self, texts: Texts, *, return_version: Literal[True], **options: Unpack[PairKeywords]) -> Versioned: ...
    @overload
    def embed(self, texts: Texts, **options: Unpack[PairKeywords]) -> Array: ...
    def embed(self, texts: Texts, *, return_version: bool = False, **options: Unpack[PairKeywords]) -> Any:
        """One embedding a text, by the model's own pooling recipe; all of them by one version of the model.

        Args:
            texts: any number of texts.
            return_version: also answer the version of the model that made the vectors.
            **options: all optional:
                text_pair (texts): a second text for each, where the model takes pairs.
                signature_name (str): another signature with the output ``embedding``, or ``output_name``.
                output_name (str): another output with one vector a text.
                sort_by_length (bool): send texts of similar length together; the results keep the order of ``texts``.
                version (int): version number to ask in place of the client's own.
                version_label (str): label of a version to ask in place of the client's own.
                timeout (float): seconds for the whole call; ``None`` for no deadline; the client's own, for each
                part, if left out.
                metadata (dict or pairs): gRPC metadata to send along.
                call_credentials (grpc.CallCredentials): in place of the client's own; over TLS only.

        Returns:
            A new float32 array ``[len(texts), dim]``; with ``return_version`` a tuple of it and the version, an int,
            or ``None`` where the server does not say.

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
        """The label of each text or pair, and its scores; all of them by one version of the model.

        Scores are what the model was exported with: probabilities of labels that exclude each other, or of each by
        itself, or raw numbers.

        Args:
            texts: any number of texts; none are answered without a call.
            top_k: most labels in ``scores`` of a result; all if left out.
            threshold: the least score in them.
            stride: let the model see texts that are too long for it, in windows: tokens that two neighbouring windows
                share, 0 or more. Scores are the mean over the windows, each counting by its tokens. Not for pairs.
            **options: as in :meth:`embed`; ``signature_name`` has the outputs ``scores`` and ``labels``.

        Raises:
            TypeError, ValueError: arguments that cannot work; a ``stride`` that is no less than what the model takes.
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
        """The entities of each text, with their places in it, by the rules of transformers' token-classification.

        Args:
            texts: any number of texts; none are answered without a call. Places in a ``str`` are characters, places in
                ``bytes`` are bytes.
            aggregation: ``simple`` joins neighbouring tokens with one label, by their ``B-`` and ``I-`` where they have
                any; ``first``, ``average`` and ``max`` first give all tokens of a word the tag of its first token, the
                tag that is best on average, or that of its surest token; ``none`` answers each token by itself.
            ignore_labels: labels to leave out; with ``none``, tags.
            stride: let the model see texts that are too long for it, in windows: tokens that two neighbouring windows
                share, 0 or more. Of entities that overlap the longest is kept, of equal ones that with the best score.
                Without, only the beginning of such a text is tagged, and its result is ``truncated``.
            **options: as in :meth:`embed`, without ``text_pair``.

        Raises:
            TypeError, ValueError: arguments that cannot work; a ``stride`` that is no less than what the model takes.
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
            pairs: any number of pairs, each a tuple of two texts; or of texts, where the model takes no pairs. None are
                answered without a call.
            return_version: also answer the version of the model, as in :meth:`embed`.
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
        """Documents by how well they answer a query, best first, by a cross-encoder.

        Args:
            query: the query. An empty one is a text like others: the model says what it makes of it.
            documents: any number of documents; none are answered without a call. Many go in parts, in the deadline of
                the whole call if a ``timeout`` is given.
            top_k: most documents to answer; all if left out.
            **options: as in :meth:`embed`, without ``text_pair``.

        Returns:
            The documents with their scores and their places in ``documents``; of equal scores, the first one first.

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
        """:meth:`embed` for a stream that does not fit in memory: one vector ``[dim]`` a text, in order.

        It reads ahead by a few parts at most, and only as the vectors are taken.

        Args:
            texts: any number of texts.
            return_version: yield tuples of a vector and the version of the model that made it.
            **options: as in :meth:`embed`; ``timeout`` is for each part, ``text_pair`` another stream of the same
                length, and ``sort_by_length`` sends texts of similar length together, out of every 16 parts: it reads
                ahead by as much. One more:
                follow_version (bool): go on with another version where the one that answered the first texts is
                unloaded; only together with ``return_version``: vectors of two versions do not go into one index.

        Raises:
            ModelVersionChanged: the version that answered the first texts was unloaded meanwhile.
            TypeError, ValueError: a text that cannot be sent; one of the two streams is longer than the other.
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
        """Any signature, in one call: arrays by input name in, arrays by output name out.

        Args:
            inputs: what numpy can make an array of; str and bytes become string tensors.
            signature_name: the signature.
            output_filter: names of the outputs to answer; all if empty.
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
        """State of the model's versions, newest first, on one of the servers.

        Only of the version or label that is asked for, by the call or by the client. Arguments and errors as
        :meth:`predict`.
        """
        return self._drive(self._status(options))

    def wait_until_ready(self, **options: Unpack[CallKeywords]) -> list[VersionStatus]:
        """Wait until a server answers and has the version, or the label, available; its :meth:`status` then.

        Args:
            **options: as in :meth:`predict`; ``timeout``, seconds to wait, is 60 if left out, and ``None`` waits for
                ever.

        Raises:
            ServerUnavailable: it did not come in time; the message says what was seen last.
            ServingError: it answers, but not to us.
        """
        return self._drive(self._ready(options))

    def reload_config(self, config: str, **options: Unpack[CallKeywords]) -> None:
        """Replace the configuration of every server: all models that it does not name are unloaded.

        Args:
            config: the text of a ``models.config`` file.
            **options: timeout, metadata and call_credentials as in :meth:`embed`; the timeout is for each server.
                TensorFlow Serving blocks where a base path contains no version.

        Raises:
            ValueError: it is not the text of a ``models.config`` file.
            ServingError: a server refused it; those before it in the list have it already.
        """
        self._drive(self._reload(config, options))

    _inbox = queue.SimpleQueue

    def _drive(self, plan: Plan[T]) -> T:
        """Do what a plan asks for, until it has its result."""
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
        """Channels do not outlive a fork."""
        return os.getpid()

    def _open_channel(self, address: str, fresh: int) -> grpc.Channel:
        channel = channels.make(grpc, self._config, self._tls, address, fresh)
        return grpc.intercept_channel(channel, *self._interceptors) if self._interceptors else channel

    def _close_channel(self, channel: grpc.Channel) -> None:
        channel.close()


def _parts(texts: Texts, text_pair: Texts | None, batcher: Batcher[Any]) -> Iterator[list[Row]]:
    return batcher.parts(requests.streamed(texts, text_pair))
