"""What is asked and what is answered, without asking it: arguments to requests, outputs to results.

The names of the signature contract (inputs and outputs of an exported model) are spelled here, and only here on
this side.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from google.protobuf import text_format
from google.protobuf.message import DecodeError as ProtobufError

from ..errors import DecodeError, InvalidRequest, SignatureNotFound
from ..wire import codec
from ..wire.protos import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    GetModelStatusRequest,
    GetModelStatusResponse,
    ModelServerConfig,
    ModelSpec,
    PredictRequest,
    ReloadConfigRequest,
    ReloadConfigResponse,
    SignatureDefMap,
)
from .results import ModelMetadata, SignatureInfo, TensorSpec, Tokens, TokenSequence, VersionStatus

__all__ = [
    "ENDED",
    "as_row",
    "as_rows",
    "as_texts",
    "check_reload",
    "join_vectors",
    "metadata_request",
    "model_spec",
    "output",
    "parse_metadata",
    "parse_status",
    "predict_request",
    "refuse_single",
    "reload_request",
    "sequences",
    "static_width",
    "status_request",
    "streamed",
    "text_request",
    "tokens",
    "uneven",
]

Array = npt.NDArray[Any]
#: A text, or a text and its pair.
Row = tuple[bytes, ...]

#: signature -> the output that holds one vector a text.
VECTORS = {"embed": "embedding", "pooled": "pooled_output"}
SEQUENCE = "sequence_output"
_TOKENS = ("input_word_ids", "input_mask", "start_offsets", "limit_offsets")
_COUNT = "token_count"
_TYPE_IDS = "input_type_ids"
TEXT, TEXT_PAIR = "text", "text_pair"
_SIGNATURE_DEF = "signature_def"
#: What stands where a stream of pairs has none any more.
ENDED: Final = object()
#: Every SavedModel of TensorFlow 2 has this entry, which nobody can call.
_INIT_OP = "__saved_model_init_op"


def as_texts(texts: Iterable[str | bytes], name: str = "texts") -> list[bytes]:
    """Texts as UTF-8 bytes.

    Raises:
        TypeError: ``texts`` is a single text, or one of them is neither str nor bytes.
        ValueError: a str holds lone surrogates, which UTF-8 cannot carry.
    """
    refuse_single(texts, name)
    encoded = []
    for at, text in enumerate(texts):
        if isinstance(text, bytes):
            encoded.append(text)
        elif isinstance(text, str):
            try:
                encoded.append(codec.utf8(text))
            except ValueError as error:
                raise ValueError(f"{name}[{at}]: {error}") from error
        else:
            raise TypeError(f"{name}[{at}] is a {type(text).__name__}, not a str or bytes")
    return encoded


def as_rows(texts: Iterable[str | bytes], text_pair: Iterable[str | bytes] | None = None) -> list[Row]:
    """Texts, or pairs of texts, as rows of a request; raises as :func:`as_texts` does.

    Raises:
        ValueError: there are more of one than of the other.
    """
    if text_pair is None:
        return [(text,) for text in as_texts(texts)]
    firsts, seconds = as_texts(texts), as_texts(text_pair, "text_pair")
    if len(firsts) != len(seconds):
        raise ValueError(f"texts has {len(firsts)} texts, and text_pair {len(seconds)}: give one pair for each text")
    return list(zip(firsts, seconds, strict=True))


def streamed(texts: Iterable[str | bytes], text_pair: Iterable[str | bytes] | None = None) -> Iterator[Row]:
    """:func:`as_rows` of a stream, read as it is asked for."""
    refuse_single(texts, "texts")
    refuse_single(text_pair, "text_pair")
    seconds = None if text_pair is None else iter(text_pair)
    at = -1
    for at, text in enumerate(texts):
        yield as_row(at, text) if seconds is None else as_row(at, text, next(seconds, ENDED))
    if seconds is not None and next(seconds, ENDED) is not ENDED:
        raise uneven(at + 1, "text_pair", "texts")


def refuse_single(texts: Any, name: str) -> None:
    """Raises TypeError where ``texts`` is a single text."""
    if isinstance(texts, (str, bytes, bytearray)):
        raise TypeError(f"{name} is a single {type(texts).__name__}; give a list of texts, such as [{texts[:20]!r}]")


def as_row(at: int, *texts: Any) -> Row:
    """The text, or the text and its pair, at a place of a stream; raises as :func:`as_rows` does."""
    if texts[-1] is ENDED:
        raise uneven(at, "texts", "text_pair")
    try:
        return tuple(as_texts([text], name)[0] for text, name in zip(texts, ("texts", "text_pair"), strict=False))
    except (TypeError, ValueError) as error:
        raise type(error)(str(error).replace("[0]", f"[{at}]", 1)) from error


def uneven(count: int, longer: str, shorter: str) -> ValueError:
    """The error of a stream of pairs of which one ends after ``count``, and the other does not."""
    return ValueError(f"{longer} goes on after {count} texts, where {shorter} ends: give one pair for each text")


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


def text_request(spec: ModelSpec, rows: Sequence[Row]) -> PredictRequest:
    """A Predict request over texts, or pairs of texts."""
    request = PredictRequest(model_spec=spec)
    for name, column in zip((TEXT, TEXT_PAIR), zip(*rows, strict=True), strict=False):
        request.inputs[name].CopyFrom(codec.encode_texts(column))
    return request


def output(outputs: Mapping[str, Array], name: str, rows: int, rank: int) -> Array:
    """The output ``name``, which must have ``rows`` rows and ``rank`` dimensions.

    Raises:
        DecodeError: it is not there, or of another shape.
    """
    if name not in outputs:
        found = ", ".join(sorted(outputs)) or "none"
        raise DecodeError(f"the answer has no output {name!r} but {found}; was the model exported by rawbert?")
    array = outputs[name]
    if array.ndim != rank or len(array) != rows:
        raise DecodeError(
            f"the output {name!r} has the shape {list(array.shape)} for {rows} texts, where {rank} dimensions with a "
            f"row for each text were expected"
        )
    return array


def tokens(outputs: Mapping[str, Array], rows: int, version: int | None = None) -> list[Tokens]:
    """One :class:`Tokens` a text; raises as :func:`output` does."""
    return [Tokens(**fields, model_version=version) for fields in _token_fields(outputs, rows)]


def sequences(outputs: Mapping[str, Array], rows: int, version: int | None = None) -> list[TokenSequence]:
    """One :class:`TokenSequence` a text; raises as :func:`output` does."""
    vectors = output(outputs, SEQUENCE, rows, 3)
    return [
        TokenSequence(**fields, vectors=vectors[row, : len(fields["ids"])], model_version=version)
        for row, fields in enumerate(_token_fields(outputs, rows))
    ]


def _token_fields(outputs: Mapping[str, Array], rows: int) -> Iterator[dict[str, Any]]:
    ids, mask, starts, limits = (output(outputs, name, rows, 2) for name in _TOKENS)
    counts = output(outputs, _COUNT, rows, 1)
    kinds = output(outputs, _TYPE_IDS, rows, 2) if _TYPE_IDS in outputs else None
    if kinds is not None and kinds.shape != ids.shape:
        raise DecodeError(f"the output {_TYPE_IDS!r} has the shape {list(kinds.shape)}, not that of the tokens")
    if len({array.shape for array in (ids, mask, starts, limits)}) > 1:
        shapes = ", ".join(f"{name} {list(outputs[name].shape)}" for name in _TOKENS)
        raise DecodeError(f"the outputs for the tokens differ in their shapes: {shapes}")
    lengths = mask.sum(axis=1)
    for row in range(rows):
        length = int(lengths[row])
        yield {
            "ids": ids[row, :length],
            "start_offsets": starts[row, :length],
            "limit_offsets": limits[row, :length],
            "token_count": int(counts[row]),
            "type_ids": None if kinds is None else kinds[row, :length],
        }


def join_vectors(parts: Sequence[Array], name: str) -> Array:
    """Parts of an output, in order, as one array.

    Raises:
        DecodeError: they do not fit together: another version answered in between.
    """
    if len({part.shape[1:] for part in parts}) > 1:
        widths = sorted({part.shape[1] for part in parts})
        raise DecodeError(
            f"the output {name!r} came with {' and '.join(map(str, widths))} dimensions: the server changed to another "
            f"version of the model in between; ask again, or name a version"
        )
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def static_width(metadata: ModelMetadata, signature_name: str, name: str) -> int | None:
    """Size of the last dimension of a vector output, ``None`` if it is known only when it runs.

    Raises:
        SignatureNotFound: the model has no such signature.
        DecodeError: the signature has no such output.
    """
    signature = metadata.signatures.get(signature_name)
    if signature is None:
        found = ", ".join(metadata.signatures) or "none"
        raise SignatureNotFound(f"the model {metadata.name!r} has no signature {signature_name!r} but {found}")
    if name not in signature.outputs:
        found = ", ".join(signature.outputs) or "none"
        raise DecodeError(f"the signature {signature_name!r} has no output {name!r} but {found}")
    shape = signature.outputs[name].shape
    return shape[-1] if shape is not None and len(shape) == 2 and shape[-1] >= 0 else None


def metadata_request(spec: ModelSpec) -> GetModelMetadataRequest:
    """A GetModelMetadata request for the signatures."""
    return GetModelMetadataRequest(model_spec=spec, metadata_field=[_SIGNATURE_DEF])


def parse_metadata(response: GetModelMetadataResponse) -> ModelMetadata:
    """The answer to :func:`metadata_request`.

    Raises:
        DecodeError: it holds no signatures.
    """
    # The type inside is known; Any.Unpack would look for it in another descriptor pool.
    try:
        signatures = SignatureDefMap.FromString(response.metadata[_SIGNATURE_DEF].value).signature_def
    except ProtobufError as error:
        raise DecodeError(f"the answer's {_SIGNATURE_DEF} is no SignatureDefMap: {error}") from error
    return ModelMetadata(
        name=response.model_spec.name,
        version=response.model_spec.version.value,
        signatures={
            name: SignatureInfo(_specs(signature.inputs), _specs(signature.outputs))
            for name, signature in sorted(signatures.items())
            if name != _INIT_OP
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


def reload_request(config: str) -> ReloadConfigRequest:
    """A HandleReloadConfigRequest for the text of a ``models.config`` file.

    Raises:
        ValueError: it is not the text of a ModelServerConfig.
    """
    try:
        return ReloadConfigRequest(config=text_format.Parse(config, ModelServerConfig()))
    except text_format.ParseError as error:
        raise ValueError(f"config is not the text of a models.config file: {error}") from error


def check_reload(response: ReloadConfigResponse, address: str) -> None:
    """See that a reload was done.

    Raises:
        InvalidRequest: the server says that it was not.
    """
    if response.status.error_code:
        raise InvalidRequest(
            f"HandleReloadConfigRequest at {address}: {response.status.error_message}", address=address
        )
