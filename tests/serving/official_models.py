"""A server side made from the official stubs of tensorflow-serving-api, with TensorFlow Serving's messages.

Every signature answers one output of floats: the bytes of the text, the version, and ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np

#: Signature -> its output, and the output's shape.
EMBED = {"embed": ("embedding", (-1, 3)), "serving_default": ("embedding", (-1, 3))}
POOLED = {"pooled": ("pooled_output", (-1, 4)), "serving_default": ("pooled_output", (-1, 4))}
FOREIGN = {"encode": ("vector", (-1, 5))}


class Official:
    """Serves models by their signatures, all in version 3; the metadata of each call is kept."""

    def __init__(self, models: Mapping[str, Mapping[str, tuple[str, tuple[int, ...]]]]) -> None:
        from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

        self.headers: list[dict[str, Any]] = []
        services = _services(models, self.headers)
        self._server = grpc.server(ThreadPoolExecutor(8))
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(services, self._server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(services, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> Official:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait()


def _services(models: Mapping[str, Any], headers: list[dict[str, Any]]) -> Any:
    import tensorflow as tf
    from tensorflow_serving.apis import (
        get_model_metadata_pb2,
        get_model_status_pb2,
        model_service_pb2_grpc,
        predict_pb2,
        prediction_service_pb2_grpc,
    )

    class Services(prediction_service_pb2_grpc.PredictionServiceServicer, model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[misc]
        def _model(self, request: Any, context: Any) -> Any:
            headers.append(dict(context.invocation_metadata()))
            spec = request.model_spec
            if spec.HasField("version_label") and spec.version_label != "stable":
                context.abort(
                    grpc.StatusCode.INVALID_ARGUMENT, f"Unrecognized servable version label: {spec.version_label}"
                )
            if spec.name not in models or (spec.HasField("version") and spec.version.value != 3):
                asked = f"Specific({spec.name}, {spec.version.value})" if spec.HasField("version") else ""
                asked = asked or f"Latest({spec.name})"
                context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {asked}")
            return models[spec.name]

        def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802
            signatures = self._model(request, context)
            name = request.model_spec.signature_name or "serving_default"
            if name not in signatures:
                context.abort(grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
            output, shape = signatures[name]
            rows = [[len(text), 3, *[1] * (shape[1] - 2)] for text in request.inputs["text"].string_val]
            response = predict_pb2.PredictResponse()
            response.model_spec.name = request.model_spec.name
            response.model_spec.version.value = 3
            response.outputs[output].CopyFrom(tf.make_tensor_proto(np.array(rows, np.float32)))
            return response

        def GetModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
            found = get_model_metadata_pb2.SignatureDefMap()
            for name, (output, shape) in self._model(request, context).items():
                signature = found.signature_def[name]
                for tensor, dtype, sizes in (
                    (signature.inputs["text"], tf.string, (-1,)),
                    (signature.outputs[output], tf.float32, shape),
                ):
                    tensor.dtype = dtype.as_datatype_enum
                    for size in sizes:
                        tensor.tensor_shape.dim.add(size=size)
            response = get_model_metadata_pb2.GetModelMetadataResponse()
            response.model_spec.name = request.model_spec.name
            response.model_spec.version.value = 3
            response.metadata["signature_def"].Pack(found)
            return response

        def GetModelStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
            headers.append(dict(context.invocation_metadata()))
            if request.model_spec.name not in models:
                context.abort(
                    grpc.StatusCode.NOT_FOUND, f"Could not find any versions of model {request.model_spec.name}"
                )
            response = get_model_status_pb2.GetModelStatusResponse()
            response.model_version_status.add(version=3, state="AVAILABLE").status.SetInParent()
            return response

    return Services()
