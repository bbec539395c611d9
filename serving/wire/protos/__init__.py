"""TensorFlow Serving's messages, in a separate descriptor pool.

The classes have TensorFlow's own names, yet they can share a process with tensorflow and tensorflow-serving-api in any
import order, because nothing is registered in protobuf's default pool. They are created at import from a descriptor
set (descriptors.pb, made by scripts/build_protos.py), which every protobuf runtime from 4.25 on accepts. Generated
code is tied to a runtime version.
"""

# ruff: noqa: F403, F405
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = [
    "BatchingParameters",
    "FastPredictResponse",
    "GetModelMetadataRequest",
    "GetModelMetadataResponse",
    "GetModelStatusRequest",
    "GetModelStatusResponse",
    "ModelServerConfig",
    "ModelSpec",
    "MonitoringConfig",
    "PredictRequest",
    "PredictResponse",
    "ReloadConfigRequest",
    "ReloadConfigResponse",
    "SSLConfig",
    "SignatureDefMap",
    "TensorProto",
]

#: Packed fields of fixed width. On the wire each is a length-delimited field, like bytes.
_FIXED_WIDTH = ("float_val", "double_val")


def _pool(*, fixed_width_as_bytes: bool) -> Any:
    files = descriptor_pb2.FileDescriptorSet.FromString(Path(__file__).with_name("descriptors.pb").read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        for message in file.message_type:
            if fixed_width_as_bytes and message.name == "TensorProto":
                for field in message.field:
                    if field.name in _FIXED_WIDTH:
                        # repeated: with a single bytes field, a second packed chunk would replace the first.
                        field.type = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
                        field.ClearField("options")
        pool.AddSerializedFile(file.SerializeToString())
    return pool


_standard = _pool(fixed_width_as_bytes=False)
_fast = _pool(fixed_width_as_bytes=True)


def _message(pool: Any, name: str) -> Any:
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


if TYPE_CHECKING:
    from .model_server_config_pb2 import *
    from .serving_pb2 import *
    from .tensorflow_pb2 import *
else:
    for _name in __all__:
        if _name != "FastPredictResponse":
            _package = "tensorflow" if _name == "TensorProto" else "tensorflow.serving"
            globals()[_name] = _message(_standard, f"{_package}.{_name}")

#: PredictResponse with float_val and double_val of its tensors declared ``repeated bytes``: a packed chunk then
#: parses without a step per value. Unpacked values become unknown fields.
FastPredictResponse: Any = _message(_fast, "tensorflow.serving.PredictResponse")
