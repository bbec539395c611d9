"""The toy text model over the official tensorflow-serving-api stubs, computed by numpy: ``official_server.py PORT``.

It shares nothing with ``rawbert serve``: neither the messages nor the model.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
import toy_models
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2, prediction_service_pb2_grpc


class Service(prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]
    """Predict of ``embed``, and GetModelMetadata; of one model ``text`` with the version 3."""

    def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802
        response = predict_pb2.PredictResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = 3
        texts = tf.make_ndarray(request.inputs["text"])
        vectors = np.array([toy_models.embedding(text) for text in texts], np.float32)
        response.outputs["embedding"].CopyFrom(tf.make_tensor_proto(vectors))
        return response

    def GetModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        signatures = meta_graph_pb2.SignatureDef()
        made = get_model_metadata_pb2.SignatureDefMap()
        signatures.inputs["text"].dtype = tf.string.as_datatype_enum
        signatures.inputs["text"].tensor_shape.dim.add(size=-1)
        signatures.outputs["embedding"].dtype = tf.float32.as_datatype_enum
        signatures.outputs["embedding"].tensor_shape.dim.add(size=-1)
        signatures.outputs["embedding"].tensor_shape.dim.add(size=toy_models.DIM)
        made.signature_def["embed"].CopyFrom(signatures)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = 3
        response.metadata["signature_def"].Pack(made)
        return response


if __name__ == "__main__":
    server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    server.start()
    print(f"Running gRPC ModelServer at 127.0.0.1:{port} ...", file=sys.stderr, flush=True)
    server.wait_for_termination()
