"""Files of which not all is read: what is read of them means the same as the whole."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import graphs
import pytest
from google.protobuf.message import DecodeError
from rawbert.exporter.protos import SavedModel
from rawbert.exporter.targets import bodies, wire
from rawbert.exporter.targets import check as rules

#: Of a SavedModel, the tensors of constants in the main graph.
TENSORS: wire.Taken = {2: {2: {1: {5: {2: {8: None}}}}}}


class Counted(io.BytesIO):
    """A file that counts what is read of it."""

    count = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data


def without(data: bytes, taken: wire.Taken = TENSORS) -> bytes:
    file = wire.File(io.BytesIO(data))
    return file.without((0, file.size), taken)


def parsed(data: bytes) -> Any:
    """What of the message is declared; ``None`` if it is damaged."""
    try:
        model = SavedModel.FromString(data)
    except DecodeError:
        return None
    model.DiscardUnknownFields()
    return model


def with_constants(sizes: dict[str, int]) -> bytes:
    """A SavedModel with constants of so many bytes."""
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel.FromString(graphs.archive()["half_plus_two.pb"])
    for name, size in sizes.items():
        node = model.meta_graphs[0].graph_def.node.add(name=name, op="Const")
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(b"\x0a\x05value\x12" * (size // 8)))
        node.attr["dtype"].type = 7
    return model.SerializeToString()


@pytest.fixture(scope="module")
def large() -> bytes:
    return with_constants({"small": 1000, "large": 100_000, "last": 20_000})


def test_large_tensors_are_left_out_and_all_else_is_kept(large: bytes) -> None:
    smaller = without(large)
    assert len(large) - len(smaller) == pytest.approx(120_000, abs=50)
    assert parsed(smaller) == parsed(large)
    assert [node.name for node in parsed(smaller).meta_graphs[0].graph_def.node][-3:] == ["small", "large", "last"]


def test_fields_of_every_type_are_passed_over() -> None:
    def field(number: int, kind: int, value: bytes) -> bytes:
        return bytes([number << 3 | kind]) + value

    small = field(1, 0, b"\xff\x7f") + field(3, 1, b"\x01" * 8) + field(4, 5, b"\x02" * 4) + field(5, 2, b"\x03abc")
    asked = field(2, 2, b"\x80\x80\x02") + bytes(32_768)
    assert without(small + asked + small, {2: None}) == small * 2
    places: list[wire.Range] = []
    assert without(asked + small + field(2, 2, b"\x01x"), {2: places}) == small
    assert places == [(4, 4 + 32_768), (4 + 32_768 + len(small) + 2, 4 + 32_768 + len(small) + 3)]
    # A group, which nothing here writes: from there on all is kept.
    assert without(asked + field(6, 3, b"") + asked, {2: None}) == field(6, 3, b"") + asked


def test_damage_is_kept_for_the_parser_to_see(large: bytes) -> None:
    rng = random.Random(0)
    damaged = 0
    for at in range(1500):
        data = bytearray(large)
        if at % 3 == 0:
            del data[rng.randrange(len(data)) :]
        for _ in range(rng.choice((1, 2, 8))):
            # Mostly between the tensors, where the lengths are.
            spot = rng.choice([*range(3000), *range(len(data) - 20_300, len(data))])
            data[min(max(spot, 0), len(data) - 1) if data else 0 : spot + rng.randrange(2)] = rng.randbytes(1)
        wanted = parsed(bytes(data))
        assert parsed(without(bytes(data))) == wanted
        damaged += wanted is None
    assert 300 < damaged < 1400


def test_what_a_constant_holds_is_not_read() -> None:
    file = Counted(with_constants({"weights": 8_000_000, "more": 8_000_000}))
    (graph,) = bodies.read(file)
    assert {"weights", "more"} <= set(graph.names(bodies.MAIN, graph.kinds(bodies.MAIN)))
    assert file.count < 100_000


def test_a_file_larger_than_any_message(tmp_path: Path) -> None:
    with (tmp_path / "saved_model.pb").open("wb") as file:
        file.truncate(2**31)
    (finding,) = rules.check(tmp_path, "2.20")
    assert finding.kind == "damaged"
    assert "2147483648 bytes" in finding.message
