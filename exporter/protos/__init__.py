"""saved_model.pb without TensorFlow: its messages in a descriptor pool of our own, so that nothing clashes.

``saved_model.pb`` here is the descriptor set of saved_model.proto::

    python -m grpc_tools.protoc -I exporter/protos --descriptor_set_out exporter/protos/saved_model.pb saved_model.proto
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = ["SavedModel"]


def _message(name: str) -> Any:
    files = descriptor_pb2.FileDescriptorSet.FromString(Path(__file__).with_name("saved_model.pb").read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


#: tensorflow.SavedModel, as far as saved_model.proto declares it.
SavedModel: Any = _message("tensorflow.SavedModel")
