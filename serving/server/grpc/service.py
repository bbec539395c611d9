"""TensorFlow Serving's gRPC services: they translate messages for the core, and its failures into statuses."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from .. import core
from ..batcher import Wanted
from ..core import Asked, Core
from ..failure import Failure, invalid
from ..model import Model
from ..options import parse_models
from ..registry import Servable
from . import tensors

_LOG = logging.getLogger(__name__)
_SIGNATURE_DEF = "signature_def"


def predict(
    servable: Servable[Model], request: Any, wanted: Wanted = core.always, as_content: bool = False
) -> predict_pb2.PredictResponse:
    """Answer a PredictRequest by a version.

    Args:
        servable: the version.
        request: the request; its model and version are not looked at.
        wanted: whether somebody still waits for the answer.
        as_content: write outputs into tensor_content.

    Raises:
        Failure: TensorFlow Serving's status for what is wrong with the request, or the model's own.
    """
    name, outputs = core.predict(
        servable, request.model_spec.signature_name, request.inputs, tensors.decode, request.output_filter, wanted
    )
    response = predict_pb2.PredictResponse()
    _name_version(response.model_spec, servable, name)
    for output, value in outputs.items():
        tensors.encode_into(response.outputs[output], value, as_content)
    return response


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]
    """Predict and GetModelMetadata."""

    def __init__(self, core: Core, as_content: bool = False) -> None:
        self._core, self._as_content = core, as_content

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Run a signature."""
        return _answer(lambda: self._predict(request, context.is_active), context)

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """The signatures of a version."""
        return _answer(lambda: self._metadata(request), context)

    def Classify(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Not served; refused as there where the signature is not made for it."""
        return _answer(lambda: self._examples(request, "classification", 2), context)

    def Regress(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Not served; refused as there where the signature is not made for it."""
        return _answer(lambda: self._examples(request, "regression", 1), context)

    def MultiInference(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Not served."""
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "rawbert serve does not implement MultiInference")

    def _predict(self, request: Any, wanted: Wanted) -> Any:
        with self._core.use(_asked(request)) as servable:
            return predict(servable, request, wanted, self._as_content)

    def _examples(self, request: Any, kind: str, most: int) -> None:
        self._core.refuse_examples(_asked(request), request.model_spec.signature_name, kind, most)

    def _metadata(self, request: Any) -> Any:
        asked = _asked(request)
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != _SIGNATURE_DEF:
                raise invalid(f"Metadata field {field} is not supported")
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        signatures = get_model_metadata_pb2.SignatureDefMap()
        with self._core.use(asked) as servable:
            for name, signature in servable.runnable.signatures.items():
                signatures.signature_def[name].CopyFrom(signature)
            _name_version(response.model_spec, servable)
        response.metadata[_SIGNATURE_DEF].Pack(signatures)
        return response


class ModelService(model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[misc]
    """GetModelStatus, and the replacement of the configuration."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """The state of a model's versions; a version_label is ignored, as TensorFlow Serving does."""
        return _answer(lambda: self._status(request), context)

    def HandleReloadConfigRequest(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Replace the configuration."""
        return _answer(lambda: self._replace(request), context)

    def _replace(self, request: Any) -> Any:
        self._core.reload(parse_models(request.config))
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()
        return response

    def _status(self, request: Any) -> Any:
        asked = _asked(request)
        response = get_model_status_pb2.GetModelStatusResponse()
        for status in self._core.status(asked.model, asked.version):
            shown = response.model_version_status.add(version=status.version, state=int(status.state))
            # Touched: an empty status is how OK is written.
            shown.status.SetInParent()
            if status.failure:
                shown.status.error_code = status.failure.number
                shown.status.error_message = str(status.failure)
        return response


def _answer(method: Callable[[], Any], context: grpc.ServicerContext) -> Any:
    """What a method answers, or the end of the call with its status."""
    try:
        return method()
    except Failure as failure:
        code, message = failure.code, str(failure)
    except Exception as error:
        _LOG.exception("a call failed in a way that was not foreseen")
        code, message = grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}"
    context.abort(code, message)


def _asked(request: Any) -> Asked:
    """The model and version that a request names."""
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    spec = request.model_spec
    return Asked(
        spec.name,
        spec.version.value if spec.HasField("version") else None,
        spec.version_label if spec.HasField("version_label") else None,
    )


def _name_version(spec: Any, servable: Servable[Model], signature_name: str = "") -> None:
    spec.name = servable.model
    spec.version.value = servable.version
    spec.signature_name = signature_name
