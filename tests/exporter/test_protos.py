"""The exporter's messages have TensorFlow's names and numbers, and compatible types on the wire."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from rawbert.exporter import protos


def reachable(descriptor: Any, seen: set[str]) -> Iterator[Any]:
    if descriptor.full_name not in seen:
        seen.add(descriptor.full_name)
        yield descriptor
        for field in descriptor.fields:
            if field.message_type is not None:
                yield from reachable(field.message_type, seen)


def official(full_name: str) -> Any:
    from google.protobuf import descriptor_pool
    from tensorflow.core.protobuf import saved_model_pb2, tensor_bundle_pb2  # noqa: F401
    from tensorflow_serving.apis import prediction_log_pb2  # noqa: F401

    return descriptor_pool.Default().FindMessageTypeByName(full_name)


#: Types that replace others: bytes for tensors and requests, numbers for enums.
STANDS_FOR = {
    FieldDescriptor.TYPE_BYTES: FieldDescriptor.TYPE_MESSAGE,
    FieldDescriptor.TYPE_INT32: FieldDescriptor.TYPE_ENUM,
}


@pytest.mark.parametrize("name", protos.__all__)
def test_names_numbers_and_types_are_the_official_ones(name: str) -> None:
    for ours in reachable(getattr(protos, name).DESCRIPTOR, set()):
        theirs = official(ours.full_name)
        for field in ours.fields:
            other = theirs.fields_by_number[field.number]
            assert (field.name, field.is_repeated) == (other.name, other.is_repeated), field.full_name
            assert other.type in (field.type, STANDS_FOR.get(field.type)), field.full_name
            assert (field.containing_oneof is None) == (other.containing_oneof is None), field.full_name


def test_a_message_keeps_what_it_does_not_declare() -> None:
    import graphs

    data = graphs.archive()["three_functions_deep.pb"]
    again = protos.SavedModel.FromString(data).SerializeToString()
    from tensorflow.core.protobuf import saved_model_pb2

    assert saved_model_pb2.SavedModel.FromString(again) == saved_model_pb2.SavedModel.FromString(data)
