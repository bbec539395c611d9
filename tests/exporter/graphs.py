"""The SavedModels of data/op_graphs.tar.xz, and SavedModel messages written by hand."""

from __future__ import annotations

import json
import tarfile
from functools import cache
from pathlib import Path
from typing import Any

from rawbert.exporter.protos import SavedModel
from rawbert.exporter.targets import op_gate
from rawbert.exporter.targets.finding import Finding
from rawbert.exporter.targets.saved_model import Graph

ARCHIVE = Path(__file__).parents[1] / "data" / "op_graphs.tar.xz"


@cache
def archive() -> dict[str, bytes]:
    with tarfile.open(ARCHIVE) as stream:
        return {member.name: stream.extractfile(member).read() for member in stream}  # type: ignore[union-attr]


def truth() -> dict[str, dict[str, bool]]:
    """Release -> graph -> whether TensorFlow itself loaded and ran it."""
    return json.loads(archive()["truth.json"])


def load(name: str) -> Any:
    return SavedModel.FromString(archive()[f"{name}.pb"])


def judge(model: Any, release: str) -> list[Finding]:
    """The findings of the op gate for a SavedModel message."""
    return list(op_gate.check(map(Graph, model.meta_graphs), release))


def place(name: str, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "saved_model.pb").write_bytes(archive()[f"{name}.pb"])
    return folder


def chain(*ops: str, dtype: int = 1, dims: tuple[int, ...] = (-1, 3), output: str = "y") -> Any:
    """A SavedModel with one signature, whose graph is a chain of these ops, each with this dtype as attribute T."""
    model = SavedModel()
    meta_graph = model.meta_graphs.add()
    meta_graph.meta_info_def.tags.append("serve")
    meta_graph.graph_def.versions.producer = 2000
    before = ""
    for at, op in enumerate(("Placeholder", *ops)):
        node = meta_graph.graph_def.node.add(name=f"n{at}", op=op, input=[before] if before else [])
        node.attr["dtype" if op == "Placeholder" else "T"].type = dtype
        before = node.name
    signature = meta_graph.signature_def["serving_default"]
    for side, name, node in ((signature.inputs, "x", "n0"), (signature.outputs, output, before)):
        side[name].name, side[name].dtype = f"{node}:0", dtype
        for size in dims:
            side[name].tensor_shape.dim.add(size=size)
    return model


def write(model: Any, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "saved_model.pb").write_bytes(model.SerializeToString())
    return folder
