"""Messages of TensorFlow and TensorFlow Serving that the exporter reads and writes; neither package is needed.

The messages are in separate descriptor pools, so that they do not conflict with those packages. Each ``.pb`` here
is the descriptor set of the ``.proto`` file with the same name::

    python -m grpc_tools.protoc -I exporter/protos --include_imports --descriptor_set_out exporter/protos/X.pb X.proto
"""

from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, message_factory

__all__ = ["BundleEntry", "BundleHeader", "PredictionLog", "SavedModel"]


def _messages(file_name: str) -> dict[str, Any]:
    files = descriptor_pb2.FileDescriptorSet.FromString(Path(__file__).with_name(file_name).read_bytes())
    return message_factory.GetMessages(files.file)


_saved_model = _messages("saved_model.pb")
#: tensorflow.SavedModel, as far as saved_model.proto declares it.
SavedModel: Any = _saved_model["tensorflow.SavedModel"]
#: The entries of variables.index.
BundleHeader: Any = _saved_model["tensorflow.BundleHeaderProto"]
BundleEntry: Any = _saved_model["tensorflow.BundleEntryProto"]
#: A record of assets.extra/tf_serving_warmup_requests, with a PredictRequest.
PredictionLog: Any = _messages("warmup.pb")["tensorflow.serving.PredictionLog"]
