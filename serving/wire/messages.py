"""Requests to TensorFlow Serving as bytes, and its answers as plain data.

Only this module of the client uses the messages. The layer above it handles texts, arrays and versions; the layer below
it is gRPC. An answer that does not fit its request raises a DecodeError.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy.typing as npt
from google.protobuf import text_format
from google.protobuf.message import DecodeError as ProtobufError

from ..contract import INIT_OP, TEXT, TEXT_PAIR, TensorSpec
from ..errors import DecodeError, InvalidRequest
from . import codec, protos
from .codec import Array

#: gRPC's names of the methods.
PREDICT = "/tensorflow.serving.PredictionService/Predict"
GET_MODEL_METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"
GET_MODEL_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"
RELOAD_CONFIG = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
METHODS = (PREDICT, GET_MODEL_METADATA, GET_MODEL_STATUS, RELOAD_CONFIG)

_SIGNATURE_DEF = "signature_def"
M = TypeVar("M")
#: A text, or a text and its pair, UTF-8.
Row = tuple[bytes, ...]


class Target(NamedTuple):
    """Model, version and signature of a request; without a version or label, the newest version."""

    model: str
    version: int | None = None
    version_label: str | None = None
    signature: str = ""

    def at(self, version: int | None) -> Target:
        """The target with another version, unless it is ``None``."""
        return self if version is None else self._replace(version=version, version_label=None)

    def spec(self) -> Any:
        """The ModelSpec of a request."""
        spec = protos.ModelSpec(name=self.model, signature_name=self.signature)
        if self.version is not None:
            spec.version.value = self.version
        elif self.version_label is not None:
            spec.version_label = self.version_label
        return spec


@dataclass(frozen=True)
class SignatureInfo:
    """Inputs and outputs of a signature, by name."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]


@dataclass(frozen=True)
class ModelMetadata:
    """A server's description of a model: its name, the version that answered, its signatures by name."""

    name: str
    version: int
    signatures: Mapping[str, SignatureInfo]


@dataclass(frozen=True)
class VersionStatus:
    """State of one version of a model.

    Attributes:
        version: version number.
        state: START, LOADING, AVAILABLE, UNLOADING, END or UNKNOWN.
        error_code: 0, or the gRPC code of the error that makes it unavailable.
        error_message: the message of that error.
    """

    version: int
    state: str
    error_code: int = 0
    error_message: str = ""


def text_request(target: Target, rows: Sequence[Row]) -> bytes:
    """A Predict request over texts, or pairs of texts."""
    request = protos.PredictRequest(model_spec=target.spec())
    for name, column in zip((TEXT, TEXT_PAIR), zip(*rows, strict=True), strict=False):
        request.inputs[name].CopyFrom(codec.encode_texts(column))
    return _written(request)


def predict_request(target: Target, inputs: Mapping[str, npt.ArrayLike], output_filter: Iterable[str] = ()) -> bytes:
    """A Predict request over arrays by input name; a TypeError or ValueError names the input that cannot be sent."""
    request = protos.PredictRequest(model_spec=target.spec(), output_filter=output_filter)
    for name, tensor in codec.encode_inputs(inputs).items():
        request.inputs[name].CopyFrom(tensor)
    return _written(request)


def predict_answer(data: bytes) -> tuple[dict[str, Array], int | None]:
    """Outputs by name, and the version that answered; ``None`` if the server does not report it."""
    spec, outputs = codec.decode_response(data)
    return outputs, spec.version.value if spec.HasField("version") else None


def metadata_request(target: Target) -> bytes:
    """A GetModelMetadata request for the signatures."""
    spec = target._replace(signature="").spec()
    return _written(protos.GetModelMetadataRequest(model_spec=spec, metadata_field=[_SIGNATURE_DEF]))


def metadata_answer(data: bytes) -> ModelMetadata:
    """The signatures, with the version that answered."""
    response = _parsed(protos.GetModelMetadataResponse, data)
    # The type of the contents is known; Any.Unpack would search another descriptor pool for it.
    signatures = _parsed(protos.SignatureDefMap, response.metadata[_SIGNATURE_DEF].value).signature_def
    return ModelMetadata(
        name=response.model_spec.name,
        version=response.model_spec.version.value,
        signatures=signature_infos(signatures),
    )


def signature_infos(signatures: Mapping[str, Any]) -> dict[str, SignatureInfo]:
    """Contents of ``SignatureDef`` messages, sorted by name, without the entry that cannot be called."""
    return {
        name: SignatureInfo(_specs(each.inputs), _specs(each.outputs))
        for name, each in sorted(signatures.items())
        if name != INIT_OP
    }


def _specs(infos: Mapping[str, Any]) -> dict[str, TensorSpec]:
    return {
        name: TensorSpec(
            name,
            codec.dtype_name(info.dtype),
            None if info.tensor_shape.unknown_rank else tuple(dim.size for dim in info.tensor_shape.dim),
        )
        for name, info in sorted(infos.items())
    }


def status_request(target: Target) -> bytes:
    """A GetModelStatus request."""
    return _written(protos.GetModelStatusRequest(model_spec=target._replace(signature="").spec()))


def status_answer(data: bytes) -> list[VersionStatus]:
    """States of the versions, newest first."""
    statuses = []
    for each in _parsed(protos.GetModelStatusResponse, data).model_version_status:
        state = each.DESCRIPTOR.fields_by_name["state"].enum_type.values_by_number.get(each.state)
        name, status = "UNKNOWN" if state is None else state.name, each.status
        statuses.append(VersionStatus(each.version, name, int(status.error_code), status.error_message))
    return sorted(statuses, key=lambda status: status.version, reverse=True)


def reload_request(config: str) -> bytes:
    """A HandleReloadConfigRequest for the text of a ``models.config`` file; a ValueError reports a fault in it."""
    try:
        parsed = text_format.Parse(config, protos.ModelServerConfig())
    except text_format.ParseError as error:
        raise ValueError(f"config is not the text of a models.config file: {error}") from error
    return _written(protos.ReloadConfigRequest(config=parsed))


def reload_answer(data: bytes, address: str) -> None:
    """Check that a reload succeeded; an InvalidRequest contains the server's reason if not."""
    status = _parsed(protos.ReloadConfigResponse, data).status
    if status.error_code:
        said = status.error_message
        raise InvalidRequest(f"HandleReloadConfigRequest at {address}: {said}", details=said, address=address)


def _written(message: Any) -> bytes:
    """Serialise deterministically, because warm-up files are compared."""
    data: bytes = message.SerializeToString(deterministic=True)
    return data


def _parsed(message: type[M], data: bytes) -> M:
    try:
        return message.FromString(data)  # type: ignore[attr-defined,no-any-return]
    except ProtobufError as error:
        raise DecodeError(f"the answer is not a {message.__name__}: {error}") from error
