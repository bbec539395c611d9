"""TensorFlow Serving's gRPC services; a failure becomes the status of its call."""

import functools
import json
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from ...contract import DEFAULT_SIGNATURE
from ...errors import MODELS_KEY
from ..answers import model_status, name_version, signature_map
from ..examples import refuse_examples
from ..failure import Failure, invalid
from ..metrics import Metrics
from ..model import Model
from ..options import ModelSettings, parse_models
from ..predict import predict
from ..registry import Registry
from ..tensors import encode_into

_LOG = logging.getLogger(__name__)

#: Maximum bytes for model names in an answer's metadata, whose size gRPC limits.
_MOST_NAMES = 4096


def _answered(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of a service, with failures turned into the status of the call."""

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
            _LOG.exception("a call failed with an unexpected error")
            code, message = grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}"
        context.abort(code, message)

    return answer


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]
    """Predict and GetModelMetadata. gRPC itself answers MultiInference with UNIMPLEMENTED."""

    def __init__(self, registry: Registry[Model], metrics: Metrics, as_content: bool) -> None:
        self._registry, self._metrics, self._as_content = registry, metrics, as_content

    @_answered
    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Run a signature."""
        signature_name = request.model_spec.signature_name
        with self._counted(request, "Predict"), self._registry.use(*_asked(request)) as servable:
            outputs = predict(servable, signature_name, request.inputs, request.output_filter, context.is_active)
        response = predict_pb2.PredictResponse()
        name_version(response.model_spec, servable, signature_name or DEFAULT_SIGNATURE)
        for name, value in outputs.items():
            encode_into(response.outputs[name], value, self._as_content)
        return response

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
        with self._registry.use(*asked) as servable:
            response.metadata["signature_def"].Pack(signature_map(servable))
            name_version(response.model_spec, servable)
        return response

    @_answered
    def Classify(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Refuse the call, because tf.Examples are not supported: see :func:`.examples.refuse_examples`."""
        with self._counted(request, "Classify"), self._registry.use(*_asked(request)) as servable:
            refuse_examples(servable, request.model_spec.signature_name, "classification")

    @_answered
    def Regress(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Refuse the call, because tf.Examples are not supported: see :func:`.examples.refuse_examples`."""
        with self._counted(request, "Regress"), self._registry.use(*_asked(request)) as servable:
            refuse_examples(servable, request.model_spec.signature_name, "regression")

    def _counted(self, request: Any, api: str) -> AbstractContextManager[None]:
        return self._metrics.request(request.model_spec.name, api, "GRPC")


class ModelService(model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[misc]
    """GetModelStatus, and the replacement of the configuration."""

    def __init__(self, registry: Registry[Model], replace: Callable[[dict[str, ModelSettings]], None]) -> None:
        self._registry, self._replace = registry, replace

    @_answered
    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """The state of a model's versions; a version_label is ignored, as TensorFlow Serving does."""
        model, version, _ = _asked(request)
        return model_status(self._registry, model, version)

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
