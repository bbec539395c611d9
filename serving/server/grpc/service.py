"""TensorFlow Serving's gRPC services; a failure becomes the status of its call."""

import functools
import json
import logging
from collections.abc import Callable
from typing import Any

import grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from ...contract import DEFAULT_SIGNATURE
from ...errors import MODELS_KEY
from ..failure import Failure, invalid
from ..model import Model
from ..options import ModelSettings, parse_models
from ..registry import Registry
from .predict import name_version, predict

_LOG = logging.getLogger(__name__)

#: Bytes that the names of the models may take in an answer's metadata, which gRPC bounds.
_MOST_NAMES = 4096


def _answered(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of a service, whose failures end the call with their status."""

    @functools.wraps(method)
    def answer(service: Any, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(service, request, context)
        except Failure as failure:
            code, message = failure.code, str(failure)
            models = json.dumps(sorted({name for name, _ in service._registry.loaded()})).encode()
            if code is grpc.StatusCode.NOT_FOUND and len(models) < _MOST_NAMES:
                context.set_trailing_metadata(((MODELS_KEY, models),))
        except Exception as error:
            _LOG.exception("a call failed in a way that was not foreseen")
            code, message = grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}"
        context.abort(code, message)

    return answer


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]
    """Predict and GetModelMetadata; of gRPC itself MultiInference is UNIMPLEMENTED."""

    def __init__(self, registry: Registry[Model], as_content: bool) -> None:
        self._registry, self._as_content = registry, as_content

    @_answered
    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Run a signature."""
        with self._registry.use(*_asked(request)) as servable:
            return predict(servable, request, context.is_active, self._as_content)

    @_answered
    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """The signatures of a version."""
        asked = _asked(request)
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != "signature_def":
                raise invalid(f"Metadata field {field} is not supported")
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        signatures = get_model_metadata_pb2.SignatureDefMap()
        with self._registry.use(*asked) as servable:
            for name, signature in servable.runnable.signatures.items():
                signatures.signature_def[name].CopyFrom(signature)
            name_version(response.model_spec, servable)
        response.metadata["signature_def"].Pack(signatures)
        return response

    @_answered
    def Classify(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Not served; refused as there where the signature is not made for it."""
        self._refuse_examples(request, "classification", 2)

    @_answered
    def Regress(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Not served; refused as there where the signature is not made for it."""
        self._refuse_examples(request, "regression", 1)

    def _refuse_examples(self, request: Any, kind: str, most: int) -> None:
        """Why a signature with at most so many outputs answers no tf.Examples.

        The checks: PreProcessClassification and PreProcessRegression of TensorFlow Serving's classifier.cc and
        regressor.cc.
        """
        name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        with self._registry.use(*_asked(request)) as servable:
            signature = servable.runnable.signatures.get(name)
        if signature is None:
            raise invalid(f"No signature was found with the name: {name}")
        if len(signature.inputs) != 1:
            raise invalid("Expected one input Tensor.")
        if not 1 <= len(signature.outputs) <= most:
            found = f"s, found {len(signature.outputs)}" if most > 1 else "."
            raise invalid(f"Expected one {'or two ' * (most > 1)}output Tensor{found}")
        if "inputs" not in signature.inputs:
            raise invalid(f"No {kind} inputs found in SignatureDef: {signature}")
        raise Failure(grpc.StatusCode.UNIMPLEMENTED, "rawbert serve answers no examples: call Predict")


class ModelService(model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[misc]
    """GetModelStatus, and the replacement of the configuration."""

    def __init__(self, registry: Registry[Model], replace: Callable[[dict[str, ModelSettings]], None]) -> None:
        self._registry, self._replace = registry, replace

    @_answered
    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """The state of a model's versions; a version_label is ignored, as TensorFlow Serving does."""
        model, version, _ = _asked(request)
        response = get_model_status_pb2.GetModelStatusResponse()
        for status in self._registry.status(model, version):
            shown = response.model_version_status.add(version=status.version, state=int(status.state))
            # Touched: an empty status is how OK is written.
            shown.status.SetInParent()
            if status.failure:
                shown.status.error_code = status.failure.code.value[0]
                shown.status.error_message = str(status.failure)
        return response

    @_answered
    def HandleReloadConfigRequest(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Replace the configuration."""
        self._replace(parse_models(request.config))
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()
        return response


def _asked(request: Any) -> tuple[str, int | None, str | None]:
    """The model that a request names, and the version or label if it names one."""
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    spec = request.model_spec
    return (
        spec.name,
        spec.version.value if spec.HasField("version") else None,
        spec.version_label if spec.HasField("version_label") else None,
    )
