"""The gRPC services, answering as TensorFlow Serving 2.20 does: same checks, in the same order, same messages."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
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

from ...errors import DecodeError
from ..admission import Caller
from ..failure import Failure
from ..model import Model
from ..registry import Registry, Servable
from . import tensors

__all__ = ["ModelService", "PredictionService", "predict"]

_LOG = logging.getLogger(__name__)
_DEFAULT_SIGNATURE = "serving_default"
_SIGNATURE_DEF = "signature_def"


def _invalid(message: str) -> Failure:
    return Failure(grpc.StatusCode.INVALID_ARGUMENT, message)


def predict(servable: Servable[Model], request: Any, caller: Caller, as_content: bool = False) -> Any:
    """Answer a PredictRequest by a version.

    Args:
        servable: the version.
        request: the request; its model and version are not looked at.
        caller: who waits for the answer.
        as_content: write outputs into tensor_content.

    Raises:
        Failure: TensorFlow Serving's status for what is wrong with the request, or the model's own.
    """
    model = servable.runnable
    name = request.model_spec.signature_name or _DEFAULT_SIGNATURE
    signature = model.signatures.get(name)
    if signature is None:
        raise Failure(grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
    inputs = _inputs(signature, request.inputs)
    outputs = _outputs(signature, request.output_filter)
    _check_dtypes(signature, request.inputs)
    results = model.run(name, inputs, outputs, caller)
    response = predict_pb2.PredictResponse()
    _name_version(response.model_spec, servable, name)
    for output, value in results.items():
        tensors.encode_into(response.outputs[output], value, as_content)
    return response


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]
    """Predict and GetModelMetadata over the versions of a registry."""

    def __init__(self, registry: Registry[Model], as_content: bool = False) -> None:
        self._registry, self._as_content = registry, as_content

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Run a signature."""
        caller = Caller(context.is_active, context.time_remaining())
        return _answer(lambda request: self._predict(request, caller), request, context)

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """The signatures of a version."""
        return _answer(self._metadata, request, context)

    def Classify(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Not served; refused as there where the signature is not made for it."""
        return _answer(lambda request: self._examples(request, "classification", 2), request, context)

    def Regress(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Not served; refused as there where the signature is not made for it."""
        return _answer(lambda request: self._examples(request, "regression", 1), request, context)

    def MultiInference(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Not served."""
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "rawbert serve does not implement MultiInference")

    def _predict(self, request: Any, caller: Caller) -> Any:
        with _servable(self._registry, request) as servable:
            return predict(servable, request, caller, self._as_content)

    def _examples(self, request: Any, kind: str, most: int) -> Any:
        """Why a signature cannot answer examples.

        Checks: PreProcessClassification and PreProcessRegression of TensorFlow Serving's classifier.cc, regressor.cc.
        """
        name = request.model_spec.signature_name or _DEFAULT_SIGNATURE
        with _servable(self._registry, request) as servable:
            signature = servable.runnable.signatures.get(name)
        if signature is None:
            raise _invalid(f"No signature was found with the name: {name}")
        if len(signature.inputs) != 1:
            raise _invalid("Expected one input Tensor.")
        if not 1 <= len(signature.outputs) <= most:
            found = f"s, found {len(signature.outputs)}" if most > 1 else "."
            raise _invalid(f"Expected one {'or two ' * (most > 1)}output Tensor{found}")
        if "inputs" not in signature.inputs:
            raise _invalid(f"No {kind} inputs found in SignatureDef: {signature}")
        raise Failure(grpc.StatusCode.UNIMPLEMENTED, "rawbert serve answers no examples: call Predict")

    def _metadata(self, request: Any) -> Any:
        if not request.HasField("model_spec"):
            raise _invalid("Missing ModelSpec")
        if not request.metadata_field:
            raise _invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != _SIGNATURE_DEF:
                raise _invalid(f"Metadata field {field} is not supported")
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        signatures = get_model_metadata_pb2.SignatureDefMap()
        with _servable(self._registry, request) as servable:
            for name, signature in servable.runnable.signatures.items():
                signatures.signature_def[name].CopyFrom(signature)
            _name_version(response.model_spec, servable)
        response.metadata[_SIGNATURE_DEF].Pack(signatures)
        return response


class ModelService(model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[misc]
    """GetModelStatus over the versions of a registry, and the replacement of the configuration.

    Args:
        registry: the versions.
        reload: puts a ModelServerConfig into force and returns when its new models answer calls.
    """

    def __init__(self, registry: Registry[Model], reload: Callable[[Any], None]) -> None:
        self._registry, self._reload = registry, reload

    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """The state of a model's versions; a version_label is ignored, as TensorFlow Serving does."""
        return _answer(self._status, request, context)

    def HandleReloadConfigRequest(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Replace the configuration."""
        return _answer(self._replace, request, context)

    def _replace(self, request: Any) -> Any:
        self._reload(request.config)
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()
        return response

    def _status(self, request: Any) -> Any:
        if not request.HasField("model_spec"):
            raise _invalid("Missing ModelSpec")
        spec = request.model_spec
        response = get_model_status_pb2.GetModelStatusResponse()
        for status in self._registry.status(spec.name, _version(spec)):
            shown = response.model_version_status.add(version=status.version, state=int(status.state))
            # Touched: an empty status is how OK is written.
            shown.status.SetInParent()
            if status.failure:
                shown.status.error_code = status.failure.number
                shown.status.error_message = str(status.failure)
        return response


def _answer(method: Callable[[Any], Any], request: Any, context: grpc.ServicerContext) -> Any:
    """What a method answers, or the end of the call with its status."""
    try:
        Caller(context.is_active, context.time_remaining()).check()
        return method(request)
    except Failure as failure:
        code, message = failure.code, str(failure)
    except Exception as error:
        _LOG.exception("a call failed in a way that was not foreseen")
        code, message = grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}"
    context.abort(code, message)


def _servable(registry: Registry[Model], request: Any) -> AbstractContextManager[Servable[Model]]:
    """The version that a request means."""
    if not request.HasField("model_spec"):
        raise _invalid("Missing ModelSpec")
    spec = request.model_spec
    if not spec.name:
        raise _invalid("ModelSpec has no name specified.")
    return registry.use(spec.name, _version(spec), spec.version_label if spec.HasField("version_label") else None)


def _version(spec: Any) -> int | None:
    return spec.version.value if spec.HasField("version") else None


def _inputs(signature: Any, sent: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays by name for all inputs of a signature."""
    wanted = signature.inputs
    if len(sent) > len(wanted) or (len(sent) < len(wanted) and not signature.defaults):
        extra, missing = sorted(set(sent) - set(wanted)), sorted(set(wanted) - set(sent))
        raise _invalid(
            f"input size does not match signature: {len(sent)}!={len(wanted)} len({_set(sent)}) != "
            f"len({_set(wanted)}). Sent extra: {_set(extra)}. Missing but required: {_set(missing)}."
        )
    arrays = {}
    for name in sorted(wanted):
        tensor = sent[name] if name in sent else signature.defaults.get(name)
        if tensor is None:
            raise _invalid(
                f"Signature input alias: {name}(feed name: {wanted[name].name}) not found in request and no default "
                f"value provided. Inputs expected to be in the request {_set(sent)}, or default input alias set: "
                f"{','.join(sorted(signature.defaults))}"
            )
        try:
            arrays[name] = tensors.decode(tensor, name)
        except DecodeError as error:
            _LOG.debug("input %s: %s", name, error)
            raise _invalid(f"tensor parsing error: {name}") from error
    return arrays


def _outputs(signature: Any, output_filter: Iterable[str]) -> list[str]:
    """Names of the outputs to compute."""
    chosen: list[str] = []
    for name in output_filter:
        if name not in signature.outputs:
            raise _invalid(
                f"output tensor alias not found in signature: {name} Outputs expected to be in the set "
                f"{_set(signature.outputs)}."
            )
        if name in chosen:
            raise _invalid(f"duplicate output tensor alias: {name}")
        chosen.append(name)
    return chosen or sorted(signature.outputs)


def _check_dtypes(signature: Any, sent: Mapping[str, Any]) -> None:
    """What the function behind a signature checks of its arguments, which stand in the order of their names."""
    for at, name in enumerate(sorted(signature.inputs)):
        wanted = signature.inputs[name].dtype
        if name in sent and sent[name].dtype != wanted:
            raise _invalid(
                f"Expects arg[{at}] to be {tensors.type_name(wanted)} but {tensors.type_name(sent[name].dtype)} is "
                "provided"
            )


def _name_version(spec: Any, servable: Servable[Model], signature_name: str = "") -> None:
    spec.name = servable.model
    spec.version.value = servable.version
    spec.signature_name = signature_name


def _set(names: Iterable[str]) -> str:
    return f"{{{','.join(sorted(names))}}}"
