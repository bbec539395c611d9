"""rawbert's messages have TensorFlow's names, numbers and wire format, and can share a process with TensorFlow's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rawbert.serving.wire import protos

# No Python package of the server has BatchingParameters: tests/exporter/publish/test_batching.py compares it.
_NO_PACKAGE_HAS = ("BatchingParameters", "FastPredictResponse", "MonitoringConfig", "SSLConfig")
OURS = [name for name in protos.__all__ if name not in _NO_PACKAGE_HAS]


def official(full_name: str) -> Any:
    from google.protobuf import descriptor_pool, message_factory
    from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_management_pb2, predict_pb2  # noqa: F401

    return message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(full_name))


def reachable(descriptor: Any, seen: dict[str, Any]) -> dict[str, Any]:
    """A message and all messages in it, by full name."""
    if descriptor.full_name not in seen and not descriptor.full_name.startswith("google."):
        seen[descriptor.full_name] = descriptor
        for field in descriptor.fields:
            if field.message_type is not None:
                reachable(field.message_type, seen)
    return seen


@pytest.mark.parametrize("name", OURS)
def test_names_numbers_and_types_are_the_official_ones(name: str) -> None:
    for full_name, ours in reachable(getattr(protos, name).DESCRIPTOR, {}).items():
        theirs = official(full_name).DESCRIPTOR.fields_by_number
        for field in ours.fields:
            other = theirs[field.number]
            assert (field.name, field.type, field.is_packed) == (other.name, other.type, other.is_packed), full_name
            assert (field.containing_oneof is None) == (other.containing_oneof is None), field.full_name
            if field.enum_type is not None:
                known = {value.name: value.number for value in other.enum_type.values}
                assert {value.name: value.number for value in field.enum_type.values}.items() <= known.items()
            if field.message_type is not None:
                assert field.message_type.full_name == other.message_type.full_name


def test_messages_go_both_ways() -> None:
    request = protos.PredictRequest()
    request.model_spec.name = "m"
    request.model_spec.version.value = 3
    request.model_spec.signature_name = "embed"
    request.inputs["text"].dtype = 7
    request.inputs["text"].string_val.append(b"\xff")
    request.inputs["text"].tensor_shape.dim.add(size=1)
    request.output_filter.append("embedding")
    theirs = official("tensorflow.serving.PredictRequest").FromString(request.SerializeToString())
    assert (theirs.model_spec.name, theirs.model_spec.version.value, theirs.model_spec.signature_name) == (
        "m",
        3,
        "embed",
    )
    assert theirs.inputs["text"].string_val[0] == b"\xff"
    back = protos.PredictRequest.FromString(theirs.SerializeToString())
    assert back == request


def test_official_extras_survive_in_ours() -> None:
    """Undeclared fields are ignored."""
    theirs = official("tensorflow.serving.GetModelStatusResponse")()
    theirs.model_version_status.add(version=2, state=30).status.error_code = 5
    ours = protos.GetModelStatusResponse.FromString(theirs.SerializeToString())
    assert (ours.model_version_status[0].version, ours.model_version_status[0].status.error_code) == (2, 5)
    tensor = official("tensorflow.TensorProto")(dtype=20)
    tensor.resource_handle_val.add(device="cpu")
    assert protos.TensorProto.FromString(tensor.SerializeToString()).SerializeToString() == tensor.SerializeToString()


def test_nothing_is_registered_in_the_default_pool() -> None:
    code = (
        "from google.protobuf import descriptor_pool\nimport rawbert.serving\n"
        "try: descriptor_pool.Default().FindMessageTypeByName('tensorflow.TensorProto')\n"
        "except KeyError: raise SystemExit(0)\nraise SystemExit('registered')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


USE = """
from rawbert.serving.wire import codec, messages
from tensorflow_serving.apis import predict_pb2
official = predict_pb2.PredictResponse()
official.outputs["o"].CopyFrom(tf.make_tensor_proto([1.5, 2.5]))
_, outputs = codec.decode_response(official.SerializeToString())
assert outputs["o"].tolist() == [1.5, 2.5]
assert tf.make_ndarray(predict_pb2.PredictRequest.FromString(
    messages.predict_request(messages.Target("m"), {"x": [[1]]})
).inputs["x"]).tolist() == [[1]]
"""


def test_tensorflow_may_be_imported_first() -> None:
    """The tests themselves import it after rawbert.serving."""
    order = "import tensorflow as tf, tensorflow_serving.apis.predict_pb2, rawbert.serving"
    subprocess.run([sys.executable, "-c", order + USE], check=True)


def test_tensorflow_may_be_imported_later() -> None:
    exec("import rawbert.serving, tensorflow as tf, tensorflow_serving.apis.predict_pb2" + USE, {})


def test_the_checked_in_descriptors_are_those_of_the_proto_files(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools", reason="grpcio-tools is needed only to change a .proto file")
    script = Path(__file__).parents[2] / "scripts" / "build_protos.py"
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True)
    folder = Path(protos.__file__).parent
    from google.protobuf import descriptor_pb2

    made, kept = (
        descriptor_pb2.FileDescriptorSet.FromString((place / "descriptors.pb").read_bytes())
        for place in (tmp_path, folder)
    )
    assert [file.name for file in made.file] == [file.name for file in kept.file]
    for new, old in zip(made.file, kept.file, strict=True):
        assert new.message_type == old.message_type, new.name
