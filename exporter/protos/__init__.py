"""TensorFlow's and TensorFlow Serving's messages that the exporter reads and writes, without either.

They live in descriptor pools of our own, so that nothing clashes with theirs. Each ``.pb`` here is the descriptor set
of the ``.proto`` beside it::

    python -m grpc_tools.protoc -I exporter/protos --include_imports --descriptor_set_out exporter/protos/X.pb X.proto
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = ["BundleEntry", "BundleHeader", "PredictionLog", "SavedModel"]


@functools.cache
def _pool(file_name: str) -> descriptor_pool.DescriptorPool:
    files = descriptor_pb2.FileDescriptorSet.FromString(Path(__file__).with_name(file_name).read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


def _message(file_name: str, name: str) -> Any:
    return message_factory.GetMessageClass(_pool(file_name).FindMessageTypeByName(name))


#: tensorflow.SavedModel, as far as saved_model.proto declares it.
SavedModel: Any = _message("saved_model.pb", "tensorflow.SavedModel")
#: The entries of variables.index.
BundleHeader: Any = _message("saved_model.pb", "tensorflow.BundleHeaderProto")
BundleEntry: Any = _message("saved_model.pb", "tensorflow.BundleEntryProto")
#: A record of assets.extra/tf_serving_warmup_requests that holds a PredictRequest.
PredictionLog: Any = _message("warmup.pb", "tensorflow.serving.PredictionLog")
