"""A server from the official stubs of tensorflow-serving-api, with TensorFlow Serving's error messages.

It shares neither code nor models with ``rawbert serve``. As a script:
``python official_server.py PORT [LONGEST_DELAY]``.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import grpc
import numpy as np
from official_models import NUMBERS, TASKS, TOY, Arrays, Model, Signature
from watched import Refusal, Watched, chosen


class Official(Watched):
    """Serves models; see :class:`Watched`.

    Attributes:
        as_values: whether floats are written one by one in float_val.
    """

    as_values = False

    def __init__(
        self,
        models: Mapping[str, Model] | None = None,
        before: Callable[[Any], None] = lambda request: None,
        **settings: Any,
    ) -> None:
        from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

        super().__init__(before, **settings)
        self.models = {"m": NUMBERS} if models is None else models
        services = _services(self)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(services, self.server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(services, self.server)

    def found(self, spec: Any) -> tuple[Model, int]:
        """The model that was asked for, and its version."""
        if spec.name not in self.models:
            raise Refusal(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Latest({spec.name})")
        model = self.models[spec.name]
        if spec.HasField("version_label"):
            if spec.version_label not in model.labels:
                said = f"Unrecognized servable version label: {spec.version_label}"
                raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, said)
            return model, model.labels[spec.version_label]
        return model, chosen(spec, self.versions or model.versions)


def number_server(before: Callable[[Any], None] = lambda request: None, **settings: Any) -> Official:
    """A server of the model ``m``, in version 1: an embedding is ``[version, number in the text]``."""
    return Official(before=before, **{"versions": [1], **settings})


def task_server(before: Callable[[Any], None] = lambda request: None, **settings: Any) -> Official:
    """A server of the model ``m``, which classifies, tags and scores with the rules of task_rules.py."""
    return Official({"m": TASKS}, before, **settings)


def _checked(request: Any, signature: Signature) -> Arrays:
    """The inputs, checked against the signature as in TensorFlow Serving; ``text_pair`` is optional."""
    import tensorflow as tf

    sent, declared = set(request.inputs), set(signature.inputs)
    for name in sorted(declared - sent):
        said = f"Signature input alias: {name}(feed name: serving_default_{name}:0) not found in request"
        raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, said)
    if extra := sent - declared - {"text_pair"}:
        said = f"input size does not match signature: {len(sent)}!={len(declared)}. Sent extra: {extra}."
        raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, said)
    for at, name in enumerate(sorted(declared)):
        wanted, given = tf.as_dtype(signature.inputs[name][0]), tf.as_dtype(request.inputs[name].dtype)
        if wanted != given:
            wanted, given = (
                {"float32": "float", "float64": "double"}.get(each.name, each.name) for each in (wanted, given)
            )
            said = f"Expects arg[{at}] to be {wanted} but {given} is provided"
            raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, said)
    return {name: tf.make_ndarray(request.inputs[name]) for name in sorted(sent)}


def _services(server: Official) -> Any:
    import tensorflow as tf
    from tensorflow_serving.apis import (
        get_model_metadata_pb2,
        get_model_status_pb2,
        model_service_pb2_grpc,
        predict_pb2,
        prediction_service_pb2_grpc,
    )

    class Services(prediction_service_pb2_grpc.PredictionServiceServicer, model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[misc]
        def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802
            model, version = server.found(request.model_spec)
            name = request.model_spec.signature_name or "serving_default"
            if name not in model.signatures:
                said = f'Serving signature key "{name}" not found.'
                raise Refusal(grpc.StatusCode.FAILED_PRECONDITION, said)
            signature = model.signatures[name]
            answered = signature.answer(_checked(request, signature), version)
            response = predict_pb2.PredictResponse()
            response.model_spec.name = request.model_spec.name
            response.model_spec.version.value = version
            for output, array in answered.items():
                if not request.output_filter or output in request.output_filter:
                    made = tf.make_tensor_proto(array)
                    if server.as_values and array.dtype == np.float32:
                        made.ClearField("tensor_content")
                        made.float_val[:] = array.ravel()
                    response.outputs[output].CopyFrom(made)
            return response

        def GetModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
            model, version = server.found(request.model_spec)
            found = get_model_metadata_pb2.SignatureDefMap()
            for name, signature in model.signatures.items():
                made = found.signature_def[name]
                for tensors, declared in ((made.inputs, signature.inputs), (made.outputs, signature.outputs)):
                    for tensor, (dtype, sizes) in declared.items():
                        tensors[tensor].dtype = tf.as_dtype(dtype).as_datatype_enum
                        tensors[tensor].tensor_shape.SetInParent()
                        for size in sizes:
                            tensors[tensor].tensor_shape.dim.add(size=size)
            response = get_model_metadata_pb2.GetModelMetadataResponse()
            response.model_spec.name = request.model_spec.name
            response.model_spec.version.value = version
            response.metadata["signature_def"].Pack(found)
            return response

        def GetModelStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
            spec = request.model_spec
            if spec.name not in server.models:
                said = f"Could not find any versions of model {spec.name}"
                raise Refusal(grpc.StatusCode.NOT_FOUND, said)
            versions = server.versions or server.models[spec.name].versions
            if spec.HasField("version") and spec.version.value not in versions:
                said = f"Could not find version {spec.version.value} of model {spec.name}"
                raise Refusal(grpc.StatusCode.NOT_FOUND, said)
            response = get_model_status_pb2.GetModelStatusResponse()
            for version in versions:
                if not spec.HasField("version") or spec.version.value == version:
                    response.model_version_status.add(version=version, state="AVAILABLE").status.SetInParent()
            return response

    return Services()


if __name__ == "__main__":
    longest = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
    models = {"m": NUMBERS, "text": TOY}
    with Official(models, lambda request: time.sleep(random.random() * longest), port=int(sys.argv[1])) as server:
        print(f"Running gRPC ModelServer at {server.address} ...", file=sys.stderr, flush=True)
        threading.Event().wait()
