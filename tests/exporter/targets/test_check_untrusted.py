"""Malicious files: ``rawbert check`` and ``inspect`` answer quickly, in little memory, with one sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import graphs
import pytest
from rawbert.exporter.protos import BundleEntry, BundleHeader, SavedModel
from rawbert.exporter.targets import check as rules
from rawbert.exporter.targets import tensor_bundle
from rawbert.exporter.targets.graph_hash import Unhashable, graph_hash
from rawbert.exporter.targets.saved_model import Graph
from rawbert.serving.wire import varint

RAWBERT = [sys.executable, "-c", "from rawbert.serving.cli import main; main()"]


def errors(folder: Path) -> list[str]:
    return [finding.message for finding in rules.check(folder, "2.20") if finding.level == "error"]


def model(folder: Path) -> Path:
    return graphs.write(graphs.chain("Relu"), folder)


# variables.index.

Pair = tuple[bytes, bytes]


def block(pairs: list[Pair], shared: int = 0) -> bytes:
    """A block of a LevelDB table; every key except the first shares ``shared`` bytes with the one before it."""
    data = b""
    for at, (key, value) in enumerate(pairs):
        same = shared if at else 0
        data += varint.encode(same) + varint.encode(len(key) - same) + varint.encode(len(value)) + key[same:] + value
    return data + bytes(4) + (1).to_bytes(4, "little")


def table(*blocks: bytes, times: int = 1) -> bytes:
    """A table of these blocks; its index contains each block ``times`` times."""
    data, handles = b"", []
    for each in blocks:
        handles += [(b"k", varint.encode(len(data)) + varint.encode(len(each)))] * times
        data += each + bytes(5)
    index = block(handles)
    footer = varint.encode(0) * 2 + varint.encode(len(data)) + varint.encode(len(index))
    return data + index + bytes(5) + footer.ljust(40, b"\0") + bytes.fromhex("57fb808b247547db")


def header(shards: int) -> Pair:
    return b"", BundleHeader(num_shards=shards).SerializeToString()


def entry(name: str, shard: int = 0, offset: int = 0, size: int = 4) -> Pair:
    return name.encode(), BundleEntry(dtype=1, shard_id=shard, offset=offset, size=size).SerializeToString()


def index_of(folder: Path, data: bytes) -> Path:
    (folder / "variables").mkdir()
    path = folder / "variables" / "variables.index"
    path.write_bytes(data)
    return path


INDEXES: dict[str, tuple[bytes, str]] = {
    "300,000 shards": (table(block([header(300_000)])), "claims 300000 shards for 0 tensors"),
    "two billion shards": (table(block([header(2**31 - 1), entry("a")])), "claims 2147483647 shards for 1 tensors"),
    "no shards": (table(block([header(0), entry("a")])), "claims 0 shards"),
    "fewer than no shards": (table(block([header(-1), entry("a")])), "claims -1 shards"),
    "a shard that there is not": (table(block([header(1), entry("a", shard=7)])), "is in shard 7 of 1"),
    "before the first shard": (table(block([header(1), entry("a", shard=-1)])), "is in shard -1 of 1"),
    "before the beginning": (table(block([header(1), entry("a", offset=-8)])), "tensors overlap"),
    "a size below zero": (table(block([header(1), entry("a", size=-8)])), "tensors overlap"),
    "tensors that overlap": (table(block([header(1), entry("a", size=9), entry("b", offset=8)])), "tensors overlap"),
    "a block that is named often": (table(block([header(1), entry("a" * 5000)]), times=500), "blocks overlap"),
    "keys that share a prefix": (table(block([(b"x" * 200_000, b"")] * 20_000, shared=200_000)), "more than 268435456"),
}  # fmt: skip


@pytest.mark.parametrize("case", INDEXES)
def test_an_index_that_lies(tmp_path: Path, case: str) -> None:
    data, says = INDEXES[case]
    path = index_of(model(tmp_path), data)
    tracemalloc.start()
    began = time.monotonic()
    with pytest.raises(tensor_bundle.CorruptIndex, match=says):
        tensor_bundle.read_index(path)
    assert time.monotonic() - began < 20
    assert tracemalloc.get_traced_memory()[1] < 400e6
    tracemalloc.stop()
    (message,) = errors(tmp_path)
    assert message.startswith("variables/variables.index: it is damaged")


def test_an_index_that_does_not_lie(tmp_path: Path) -> None:
    path = index_of(model(tmp_path), table(block([header(2), entry("a"), entry("b", shard=1), entry("c", offset=4)])))
    shards, entries = tensor_bundle.read_index(path)
    assert (shards, [name for name, _ in entries]) == (2, ["a", "b", "c"])
    for shard in range(2):
        path.with_name(tensor_bundle.shard_name(shard, 2)).write_bytes(bytes(8))
    assert errors(tmp_path) == []
    path.with_name(tensor_bundle.shard_name(0, 2)).write_bytes(bytes(7))
    assert errors(tmp_path) == [
        "variables/variables.data-00000-of-00002 is cut short: it has 7 bytes, and 8 are needed"
    ]


# batching_params.pbtxt.


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "max_batch_size { value: 99999999999999999999 }",
        "enable_large_batch_splitting { value: 2 }",
        "unknown { value: 1 }",
        "a {" * 10_000,
        "enable_large_batch_splitting" + " " * 99_000,
        "#" * 10_000_000,
        "\0\x80",
    ],
    ids=range(8),
)
def test_batching_parameters_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    folder = model(tmp_path)
    (folder / "batching_params.pbtxt").write_bytes(text.encode("latin-1"))
    began = time.monotonic()
    (message,) = errors(folder)
    assert message.startswith("batching_params.pbtxt: it ")
    assert message.endswith("the version would not load")
    assert time.monotonic() - began < 5


# Graphs.


def chain_of_functions(count: int, last: str) -> Any:
    """A chain of functions, each of which calls the next one, and the last one ``last``; each has an unknown op."""
    made = graphs.chain("Relu")
    graph = made.meta_graphs[0].graph_def
    graph.node.add(name="call", op="PartitionedCall").attr["f"].func.name = "f0"
    for at in range(count):
        function = graph.library.function.add()
        function.signature.name = f"f{at}"
        function.node_def.add(name="n", op=f"Unknown{at}")
        called = f"f{at + 1}" if at + 1 < count else last
        function.node_def.add(name="m", op="PartitionedCall").attr["f"].func.name = called
    return made


@pytest.mark.parametrize("last", ["none", "f0", "f4999", ""])
def test_functions_deep_within_functions(tmp_path: Path, last: str) -> None:
    folder = graphs.write(chain_of_functions(5000, last), tmp_path)
    began = time.monotonic()
    found = errors(folder)
    assert time.monotonic() - began < 20
    assert len(found) == 5000
    assert max(map(len, found)) < 1000


def test_a_function_without_a_name_is_not_the_main_graph(tmp_path: Path) -> None:
    made = graphs.chain("Relu")
    made.meta_graphs[0].graph_def.library.function.add().node_def.add(name="x", op="Unknown")
    assert errors(graphs.write(made, tmp_path)) == []


def test_names_without_a_letter(tmp_path: Path) -> None:
    made = graphs.chain("Relu")
    meta_graph = made.meta_graphs[0]
    node = meta_graph.graph_def.node.add(name="", op="PartitionedCall", input=["", "^", ":", "n0"])
    node.attr[""].func.name = ""
    meta_graph.signature_def[""].outputs[""].name = ":"
    graphs.write(made, tmp_path)
    rules.check(tmp_path, "2.20")
    with pytest.raises(Unhashable, match="in a cycle"):
        graph_hash(Graph(meta_graph))


def test_attributes_deep_within_attributes(tmp_path: Path) -> None:
    made = graphs.chain("Relu")
    attr = made.meta_graphs[0].graph_def.node[1].attr
    for _ in range(200):
        value = attr["f"]
        value.func.name = "f"
        attr = value.func.attr
    try:
        graphs.write(made, tmp_path)
    except Exception:  # some runtimes of protobuf do not write such a thing
        pytest.skip("this protobuf writes no message that it would not read")
    (message,) = errors(tmp_path)
    assert "not a SavedModel, or cut short" in message


def test_a_graph_for_a_server_has_the_one_tag(tmp_path: Path) -> None:
    made = graphs.chain("Relu")
    made.meta_graphs[0].meta_info_def.tags.append("gpu")
    assert "found: ['serve', 'gpu']" in errors(graphs.write(made, tmp_path))[0]


def no_file(path: Path) -> None:
    path.mkdir()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.skipif(sys.platform == "win32", reason="no such files")
@pytest.mark.parametrize("make", [no_file, pipe, device])
@pytest.mark.parametrize("name", ["saved_model.pb", "variables/variables.index", "batching_params.pbtxt",
                                  "assets.extra/tf_serving_warmup_requests", "assets.extra/rawbert.json"])  # fmt: skip
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, make: Callable[[Path], None], name: str) -> None:
    folder = graphs.write(graphs.chain("Relu"), tmp_path / "1")
    path = folder / name
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    make(path)
    for command in ("check", "inspect"):
        done = subprocess.run([*RAWBERT, command, str(folder)], capture_output=True, text=True, check=False, timeout=60)
        assert "Traceback" not in done.stderr
        assert done.returncode == (1 if name == "saved_model.pb" else 0), done.stdout


# At the terminal.


def test_inspect_goes_on_without_a_hash_or_a_manifest(tmp_path: Path) -> None:
    folder = graphs.write(chain_of_functions(3, "f0"), tmp_path / "1")
    (folder / "assets.extra").mkdir()
    for manifest in ("[" * 100_000, '{"recipe": [], "name": {}}', "[]", "\0"):
        (folder / "assets.extra" / "rawbert.json").write_text(manifest, encoding="utf-8")
        for options in ([], ["--json"]):
            done = subprocess.run(
                [*RAWBERT, "inspect", str(folder), *options], capture_output=True, text=True, check=True
            )
            assert done.stderr == "no content hash: functions call each other in a cycle: f0 > f1 > f2 > f0\n"
            assert "Relu" in done.stdout


def test_of_very_many_findings_the_table_has_the_first(tmp_path: Path) -> None:
    made = SavedModel.FromString(graphs.chain("Relu").SerializeToString())
    outputs = made.meta_graphs[0].signature_def["serving_default"].outputs
    for at in range(20_000):
        outputs[f"o{at}"].name = "gone:0"
    folder = graphs.write(made, tmp_path / "1")
    began = time.monotonic()
    done = subprocess.run([*RAWBERT, "check", str(folder)], capture_output=True, text=True, check=False)
    assert "more; --json shows all of them" in done.stdout
    assert "20000 errors for TensorFlow Serving" in done.stdout
    assert time.monotonic() - began < 30
    done = subprocess.run([*RAWBERT, "check", str(folder), "--json"], capture_output=True, text=True, check=False)
    assert len(json.loads(done.stdout)["findings"]) > 20_000
