"""What is asked and what is answered, without asking it: arguments to requests, outputs to results.

The names of the signature contract (inputs and outputs of an exported model) are spelled here, and only here on
this side.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from . import codec
from .errors import DecodeError
from .protos import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    GetModelStatusRequest,
    GetModelStatusResponse,
    ModelSpec,
    PredictRequest,
    SignatureDefMap,
)

__all__ = [
    "ModelMetadata",
    "SignatureInfo",
    "TensorSpec",
    "TokenSequence",
    "Tokens",
    "VersionStatus",
    "as_texts",
    "chunks",
]

Array = npt.NDArray[Any]

#: signature -> the output that holds one vector a text.
VECTORS = {"embed": "embedding", "pooled": "pooled_output"}
SEQUENCE = "sequence_output"
TEXT = "text"
_SIGNATURE_DEF = "signature_def"


@dataclass(frozen=True, eq=False)
class Tokens:
    """The tokens of one text, without padding.

    Attributes:
        ids: vocabulary ids, int32 ``[tokens]``, with ``[CLS]`` and ``[SEP]``.
        start_offsets: first byte of each token in the UTF-8 text, int32 ``[tokens]``; -1 at ``[CLS]``, ``[SEP]``.
        limit_offsets: byte after its last, likewise.
        token_count: tokens that the whole text has; more than ``len(ids)`` where it was cut.
    """

    ids: Array
    start_offsets: Array
    limit_offsets: Array
    token_count: int

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def truncated(self) -> bool:
        """Whether the text was cut to the model's maximum length."""
        return self.token_count > len(self.ids)


@dataclass(frozen=True, eq=False)
class TokenSequence(Tokens):
    """The tokens of one text with their vectors.

    Attributes:
        vectors: float32 ``[tokens, hidden]``.
    """

    vectors: Array


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a signature; ``shape`` is ``None`` for an unknown rank, -1 stands for any size."""

    name: str
    dtype: str
    shape: tuple[int, ...] | None


@dataclass(frozen=True)
class SignatureInfo:
    """Inputs and outputs of a signature, by name."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]


@dataclass(frozen=True)
class ModelMetadata:
    """What a server says of a model: its name, the version that answered, its signatures by name."""

    name: str
    version: int
    signatures: Mapping[str, SignatureInfo]


@dataclass(frozen=True)
class VersionStatus:
    """State of one version of a model.

    Attributes:
        version: its number.
        state: START, LOADING, AVAILABLE, UNLOADING, END or UNKNOWN.
        error_code: 0, or the gRPC code of the reason why it is not available.
        error_message: that reason.
    """

    version: int
    state: str
    error_code: int = 0
    error_message: str = ""


def as_texts(texts: Iterable[str | bytes]) -> list[bytes]:
    """Texts as UTF-8 bytes.

    Raises:
        TypeError: ``texts`` is a single text, or one of them is neither str nor bytes.
        ValueError: a str holds lone surrogates, which UTF-8 cannot carry.
    """
    if isinstance(texts, (str, bytes, bytearray)):
        raise TypeError(f"texts is a single {type(texts).__name__}; give a list of texts, such as [{texts[:20]!r}]")
    encoded = []
    for at, text in enumerate(texts):
        if isinstance(text, bytes):
            encoded.append(text)
        elif isinstance(text, str):
            try:
                encoded.append(text.encode())
            except UnicodeEncodeError as error:
                raise ValueError(
                    f"texts[{at}] cannot be sent as UTF-8: it holds the lone surrogate "
                    f"{text[error.start]!r} at position {error.start}"
                ) from error
        else:
            raise TypeError(f"texts[{at}] is a {type(text).__name__}, not a str or bytes")
    return encoded


def chunks(texts: Sequence[bytes], size: int) -> Iterator[Sequence[bytes]]:
    """Consecutive parts of at most ``size`` texts."""
    return (texts[start : start + size] for start in range(0, len(texts), size))


def model_spec(
    model: str, version: int | None = None, version_label: str | None = None, signature_name: str = ""
) -> ModelSpec:
    """Which model, version and signature a request means."""
    spec = ModelSpec(name=model, signature_name=signature_name)
    if version is not None:
        spec.version.value = version
    elif version_label is not None:
        spec.version_label = version_label
    return spec


def predict_request(
    spec: ModelSpec, inputs: Mapping[str, npt.ArrayLike], output_filter: Iterable[str] = ()
) -> PredictRequest:
    """A Predict request over arrays by input name.

    Raises:
        TypeError: an input that cannot be sent.
    """
    request = PredictRequest(model_spec=spec, output_filter=output_filter)
    for name, tensor in codec.encode_inputs(inputs).items():
        request.inputs[name].CopyFrom(tensor)
    return request


def text_request(spec: ModelSpec, texts: Sequence[bytes]) -> PredictRequest:
    """A Predict request over texts."""
    request = PredictRequest(model_spec=spec)
    request.inputs[TEXT].CopyFrom(codec.encode_texts(texts))
    return request


def output(outputs: Mapping[str, Array], name: str, rows: int) -> Array:
    """The output ``name``, which must have ``rows`` rows.

    Raises:
        DecodeError: it is not there, or has another number of rows.
    """
    if name not in outputs:
        found = ", ".join(sorted(outputs)) or "none"
        raise DecodeError(f"the answer has no output {name!r} but {found}; was the model exported by rawbert?")
    array = outputs[name]
    if array.ndim == 0 or len(array) != rows:
        raise DecodeError(f"the output {name!r} has the shape {list(array.shape)} for {rows} texts")
    return array


def tokens(outputs: Mapping[str, Array], rows: int) -> list[Tokens]:
    """One :class:`Tokens` a text; raises as :func:`output` does."""
    return [Tokens(**fields) for fields in _token_fields(outputs, rows)]


def sequences(outputs: Mapping[str, Array], rows: int) -> list[TokenSequence]:
    """One :class:`TokenSequence` a text; raises as :func:`output` does."""
    vectors = output(outputs, SEQUENCE, rows)
    return [
        TokenSequence(**fields, vectors=vectors[row, : len(fields["ids"])])
        for row, fields in enumerate(_token_fields(outputs, rows))
    ]


def _token_fields(outputs: Mapping[str, Array], rows: int) -> Iterator[dict[str, Any]]:
    ids, mask, starts, limits, counts = (
        output(outputs, name, rows)
        for name in ("input_word_ids", "input_mask", "start_offsets", "limit_offsets", "token_count")
    )
    lengths = mask.sum(axis=-1)
    for row in range(rows):
        length = int(lengths[row])
        yield {
            "ids": ids[row, :length],
            "start_offsets": starts[row, :length],
            "limit_offsets": limits[row, :length],
            "token_count": int(counts[row]),
        }


def empty_vectors(metadata: ModelMetadata, signature_name: str, name: str) -> Array:
    """What the output ``name`` of a signature is for no texts: float32 ``[0, dim]``.

    Raises:
        DecodeError: the model has no such signature or output.
    """
    signature = metadata.signatures.get(signature_name)
    spec = signature.outputs.get(name) if signature else None
    if spec is None or spec.shape is None or len(spec.shape) != 2:
        raise DecodeError(f"the model {metadata.name!r} has no signature {signature_name!r} with an output {name!r}")
    return np.zeros((0, max(spec.shape[1], 0)), np.float32)


def metadata_request(spec: ModelSpec) -> GetModelMetadataRequest:
    """A GetModelMetadata request for the signatures."""
    return GetModelMetadataRequest(model_spec=spec, metadata_field=[_SIGNATURE_DEF])


def parse_metadata(response: GetModelMetadataResponse) -> ModelMetadata:
    """The answer to :func:`metadata_request`."""
    # The type inside is known; Any.Unpack would look for it in another descriptor pool.
    signatures = SignatureDefMap.FromString(response.metadata[_SIGNATURE_DEF].value).signature_def
    return ModelMetadata(
        name=response.model_spec.name,
        version=response.model_spec.version.value,
        signatures={
            name: SignatureInfo(_specs(signature.inputs), _specs(signature.outputs))
            for name, signature in sorted(signatures.items())
        },
    )


def _specs(infos: Mapping[str, Any]) -> dict[str, TensorSpec]:
    return {
        name: TensorSpec(
            name,
            codec.dtype_name(info.dtype),
            None if info.tensor_shape.unknown_rank else tuple(dim.size for dim in info.tensor_shape.dim),
        )
        for name, info in sorted(infos.items())
    }


def status_request(spec: ModelSpec) -> GetModelStatusRequest:
    """A GetModelStatus request."""
    return GetModelStatusRequest(model_spec=spec)


def parse_status(response: GetModelStatusResponse) -> list[VersionStatus]:
    """The answer to :func:`status_request`, newest version first."""
    statuses = [
        VersionStatus(each.version, _state_name(each), int(each.status.error_code), each.status.error_message)
        for each in response.model_version_status
    ]
    return sorted(statuses, key=lambda status: status.version, reverse=True)


def _state_name(status: Any) -> str:
    value = status.DESCRIPTOR.fields_by_name["state"].enum_type.values_by_number.get(status.state)
    return value.name if value is not None else "UNKNOWN"
