"""The gRPC client: strings in, numpy arrays out, and nothing of TensorFlow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final

import grpc
import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError as ProtobufError

from . import channel as channels
from . import codec, requests
from .config import ChannelConfig
from .errors import DecodeError, from_rpc
from .protos import GetModelMetadataResponse, GetModelStatusResponse
from .results import ModelMetadata, Tokens, TokenSequence, VersionStatus

__all__ = ["DEFAULT_TIMEOUT", "Client"]

Array = npt.NDArray[Any]
#: gRPC call metadata, an authorization header for instance.
CallMetadata = Sequence[tuple[str, str | bytes]]

#: Seconds. A deadline is always sent unless it is switched off: without one, TensorFlow Serving computes on for
#: callers that have gone.
DEFAULT_TIMEOUT: Final = 30.0


class _NotGiven:
    """The type of "argument not given", where ``None`` means something else."""

    def __repr__(self) -> str:
        return "<the client's own>"


_NOT_GIVEN: Final = _NotGiven()
Timeout = float | None | _NotGiven


class Client:
    """A client of one model on a TensorFlow Serving server, or on ``rawbert serve``.

    Thread-safe: share one among threads. Use it as a context manager, or :meth:`close` it.

    Args:
        address: ``host:port`` of the gRPC port.
        model: model name on the server.
        version: version number; the newest available one if neither it nor a label is given.
        version_label: label of a version, such as ``stable``.
        timeout: seconds that one call to the server may take; ``None`` switches the deadline off. Texts beyond
            ``max_batch_size`` are several calls, each with the whole timeout.
        max_batch_size: most texts in one call; at most what the server's batching allows.
        channel: a channel to use in place of one of our own; it is left open at the end.
        config: settings of our own channel.

    Raises:
        ValueError: settings that contradict each other.

    Example::

        with Client("localhost:8500", model="minilm") as client:
            vectors = client.embed(["plain strings go in", "numpy arrays come out"])  # float32 [2, 384]
    """

    def __init__(
        self,
        address: str = "localhost:8500",
        *,
        model: str,
        version: int | None = None,
        version_label: str | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
        max_batch_size: int = 64,
        channel: grpc.Channel | None = None,
        config: ChannelConfig | None = None,
    ) -> None:
        if not model:
            raise ValueError("model is empty: name the model on the server")
        if version is not None and version_label is not None:
            raise ValueError("give version or version_label, not both")
        if max_batch_size < 1:
            raise ValueError(f"max_batch_size is {max_batch_size}: at least 1 text goes into a call")
        _check_timeout(timeout)
        self.address = address
        self.model = model
        self.version = version
        self.version_label = version_label
        self._timeout = timeout
        self._max_batch_size = max_batch_size
        self._widths: dict[tuple[str, str], int] = {}
        self._owned = channel is None
        self._channel = channel or channels.insecure_channel(address, config or ChannelConfig())
        self._calls = {
            channels.PREDICT: self._method(channels.PREDICT),
            channels.GET_MODEL_METADATA: self._method(channels.GET_MODEL_METADATA),
            channels.GET_MODEL_STATUS: self._method(channels.GET_MODEL_STATUS),
        }

    def __repr__(self) -> str:
        which = self.version_label or ("newest" if self.version is None else self.version)
        return f"Client({self.address!r}, model={self.model!r}, version={which!r})"

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the channel, if it is our own. Calls in flight are cancelled."""
        if self._owned:
            self._channel.close()

    def embed(
        self,
        texts: Iterable[str | bytes],
        *,
        signature_name: str = "embed",
        timeout: Timeout = _NOT_GIVEN,
        metadata: CallMetadata = (),
    ) -> Array:
        """One embedding a text, by the model's own pooling recipe.

        Args:
            texts: any number of texts.
            signature_name: another signature with the output ``embedding``.
            timeout: seconds for each call to the server; the client's own if left out, ``None`` for no deadline.
            metadata: gRPC metadata to send along.

        Returns:
            float32 ``[len(texts), dim]``; it may be read-only.

        Raises:
            TypeError, ValueError: texts that cannot be sent.
            ServingError: the call failed; see :mod:`rawbert.serving.errors`.
        """
        return self._vectors(texts, "embed", signature_name, timeout, metadata)

    def pooled(
        self,
        texts: Iterable[str | bytes],
        *,
        signature_name: str = "pooled",
        timeout: Timeout = _NOT_GIVEN,
        metadata: CallMetadata = (),
    ) -> Array:
        """The encoder's ``pooled_output`` of each text: float32 ``[len(texts), hidden]``.

        Arguments and errors as :meth:`embed`.
        """
        return self._vectors(texts, "pooled", signature_name, timeout, metadata)

    def sequence(
        self,
        texts: Iterable[str | bytes],
        *,
        signature_name: str = "sequence",
        timeout: Timeout = _NOT_GIVEN,
        metadata: CallMetadata = (),
    ) -> list[TokenSequence]:
        """Token vectors of each text, trimmed to its real tokens.

        Arguments and errors as :meth:`embed`.
        """
        results: list[TokenSequence] = []
        for part, outputs in self._batches(texts, signature_name, timeout, metadata):
            results += requests.sequences(outputs, len(part))
        return results

    def tokenize(
        self,
        texts: Iterable[str | bytes],
        *,
        signature_name: str = "tokenize",
        timeout: Timeout = _NOT_GIVEN,
        metadata: CallMetadata = (),
    ) -> list[Tokens]:
        """Tokens of each text, as the model sees them; the encoder does not run.

        Arguments and errors as :meth:`embed`.
        """
        results: list[Tokens] = []
        for part, outputs in self._batches(texts, signature_name, timeout, metadata):
            results += requests.tokens(outputs, len(part))
        return results

    def predict(
        self,
        inputs: Mapping[str, npt.ArrayLike],
        *,
        signature_name: str = "serving_default",
        output_filter: Iterable[str] = (),
        timeout: Timeout = _NOT_GIVEN,
        metadata: CallMetadata = (),
    ) -> dict[str, Array]:
        """Any signature, in one call: arrays by input name in, arrays by output name out.

        Args:
            inputs: what numpy can make an array of; str and bytes become string tensors.
            signature_name: the signature.
            output_filter: names of the outputs to answer; all if empty.
            timeout: as in :meth:`embed`.
            metadata: as in :meth:`embed`.

        Returns:
            Arrays by output name, perhaps read-only. Strings are ``bytes`` objects, bfloat16 becomes float32.

        Raises:
            TypeError: an input that cannot be sent.
            ServingError: the call failed.
        """
        request = requests.predict_request(self._spec(signature_name), inputs, output_filter)
        return self._predict(request, timeout, metadata)

    def metadata(self, *, timeout: Timeout = _NOT_GIVEN, metadata: CallMetadata = ()) -> ModelMetadata:
        """The model's signatures, and the version that answered. Errors as :meth:`embed`."""
        request = requests.metadata_request(self._spec())
        data = self._call(channels.GET_MODEL_METADATA, request, timeout, metadata)
        return requests.parse_metadata(_parse(GetModelMetadataResponse, data))

    def status(self, *, timeout: Timeout = _NOT_GIVEN, metadata: CallMetadata = ()) -> list[VersionStatus]:
        """State of the model's versions, newest first. Errors as :meth:`embed`."""
        request = requests.status_request(requests.model_spec(self.model, self.version))
        data = self._call(channels.GET_MODEL_STATUS, request, timeout, metadata)
        return requests.parse_status(_parse(GetModelStatusResponse, data))

    def _vectors(
        self, texts: Iterable[str | bytes], kind: str, signature_name: str, timeout: Timeout, metadata: CallMetadata
    ) -> Array:
        name = requests.VECTORS[kind]
        parts = [
            requests.output(outputs, name, len(part), rank=2)
            for part, outputs in self._batches(texts, signature_name, timeout, metadata)
        ]
        if not parts:
            return np.zeros((0, self._width(signature_name, name, timeout, metadata)), np.float32)
        return requests.join_vectors(parts, name)

    def _width(self, signature_name: str, name: str, timeout: Timeout, metadata: CallMetadata) -> int:
        """Size of a vector, for no texts: with batching on, TensorFlow Serving does not answer an empty Predict."""
        width = self._widths.get((signature_name, name))
        if width is None:
            model = self.metadata(timeout=timeout, metadata=metadata)
            width = requests.static_width(model, signature_name, name)
            if width is None:
                request = requests.text_request(self._spec(signature_name), [b""])
                outputs = self._predict(request, timeout, metadata)
                width = requests.output(outputs, name, 1, rank=2).shape[1]
            self._widths[signature_name, name] = width
        return width

    def _batches(
        self, texts: Iterable[str | bytes], signature_name: str, timeout: Timeout, metadata: CallMetadata
    ) -> Iterable[tuple[Sequence[bytes], dict[str, Array]]]:
        encoded, spec = requests.as_texts(texts), self._spec(signature_name)
        for part in requests.chunks(encoded, self._max_batch_size):
            yield part, self._predict(requests.text_request(spec, part), timeout, metadata)

    def _predict(self, request: Any, timeout: Timeout, metadata: CallMetadata) -> dict[str, Array]:
        _, outputs = codec.decode_response(self._call(channels.PREDICT, request, timeout, metadata))
        return outputs

    def _spec(self, signature_name: str = "") -> Any:
        return requests.model_spec(self.model, self.version, self.version_label, signature_name)

    def _method(self, path: str) -> Any:
        # Answers stay bytes: the codec decodes them faster than the parser of the standard messages.
        return self._channel.unary_unary(path, request_serializer=_serialize, response_deserializer=None)

    def _call(self, path: str, request: Any, timeout: Timeout, metadata: CallMetadata) -> bytes:
        seconds = self._timeout if isinstance(timeout, _NotGiven) else timeout
        _check_timeout(seconds)
        try:
            answer: bytes = self._calls[path](request, timeout=seconds, metadata=tuple(metadata) or None)
        except grpc.RpcError as error:
            raise from_rpc(error, path.rpartition("/")[2], self.address) from error
        return answer


def _serialize(request: Any) -> bytes:
    data: bytes = request.SerializeToString()
    return data


def _parse(message: Any, data: bytes) -> Any:
    try:
        return message.FromString(data)
    except ProtobufError as error:
        raise DecodeError(f"the answer is no {message.DESCRIPTOR.name}: {error}") from error


def _check_timeout(timeout: float | None) -> None:
    if timeout is not None and not timeout > 0:
        raise ValueError(f"timeout is {timeout}: give seconds above 0, or None for no deadline")
