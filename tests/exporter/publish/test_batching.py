"""batching_params.pbtxt: the chosen parameters, and the text proto that TensorFlow Serving reads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from rawbert.exporter.publish import batching_params
from rawbert.serving import contract
from rawbert.serving.wire.protos import BatchingParameters


@pytest.fixture(scope="module")
def official(data: Path) -> Any:
    """TensorFlow Serving 2.20.0's declaration of BatchingParameters, which no Python package of the server contains."""
    text = (data / "session_bundle_config.proto").read_text(encoding="utf-8")
    body = re.sub(r"//.*", "", text[text.index("message BatchingParameters {") :])
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(
        name="b.proto", package="b", syntax="proto3", dependency=["google/protobuf/wrappers.proto"]
    )
    message = file.message_type.add(name="BatchingParameters")
    for repeated, kind, name, number in re.findall(r"(repeated )?([\w.]+) (\w+) = (\d+);", body):
        field = message.field.add(name=name, number=int(number), label=3 if repeated else 1)
        if kind.startswith("google."):
            field.type, field.type_name = field.TYPE_MESSAGE, f".{kind}"
        else:
            field.type = {"int64": field.TYPE_INT64, "bool": field.TYPE_BOOL}[kind]
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("b.BatchingParameters"))


def test_our_declaration_is_the_official_one(official: Any) -> None:
    def fields(message: Any) -> list[tuple[Any, ...]]:
        return sorted(
            (
                field.number,
                field.name,
                field.type,
                field.is_repeated,
                field.message_type and field.message_type.full_name,
            )
            for field in message.DESCRIPTOR.fields
        )

    assert len(fields(official)) == 9
    assert fields(BatchingParameters) == fields(official)


def parse(official: Any, text: str) -> dict[str, Any]:
    message = text_format.Parse(text, official())
    return {field.name: getattr(value, "value", value) for field, value in message.ListFields()}


def test_no_call_is_split_where_a_dimension_depends_on_the_texts(official: Any) -> None:
    chosen = batching_params.choose(128, contract.SIGNATURES)
    found = parse(official, chosen.render())
    assert found == {"max_batch_size": 128, "batch_timeout_micros": 1000, "max_enqueued_batches": 1000}


def test_large_calls_are_split_where_every_shape_is_fixed(official: Any) -> None:
    found = parse(official, batching_params.choose(512, [contract.EMBED, contract.POOLED]).render())
    assert found == {
        "max_batch_size": 1024,
        "batch_timeout_micros": 1000,
        "max_enqueued_batches": 1000,
        "enable_large_batch_splitting": True,
        "max_execution_batch_size": 64,
    }


@pytest.mark.parametrize("length", [3, 16, 128, 200, 256, 512, 4096])
def test_a_call_of_our_client_is_never_too_large(length: int) -> None:
    import inspect

    from rawbert.serving import Client

    default = inspect.signature(Client).parameters["max_batch_size"].default
    chosen = batching_params.choose(length, [contract.SEQUENCE])
    assert chosen.max_batch_size >= default
    assert chosen.max_execution_batch_size <= chosen.max_batch_size <= 128


def test_an_export_has_it(tiny_bundle: Any, official: Any) -> None:
    text = Path(tiny_bundle.path, "batching_params.pbtxt").read_text(encoding="utf-8")
    found = parse(official, text)
    assert "enable_large_batch_splitting" not in found
    assert found["max_batch_size"] == tiny_bundle.manifest["batching"]["max_batch_size"]
