"""One contestant per module: each has a class ``Peer`` with the interface :class:`.base.Contestant`."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from .base import Contestant, Setup

__all__ = ["ALL", "Contestant", "Kind", "Setup", "make"]


@dataclass(frozen=True)
class Kind:
    """A contestant of the table: its module, its description, and its precisions.

    ``ours`` marks rawbert; ``limit`` marks the GEMM limit, which is neither rawbert nor a peer.
    """

    name: str
    module: str
    title: str
    precisions: tuple[str, ...] = ("float32",)
    ours: bool = False
    limit: bool = False


_BOTH = ("float32", "bfloat16")
ALL = {
    kind.name: kind
    for kind in (
        Kind("rawbert", "rawbert_graph", "rawbert, in process", _BOTH, ours=True),
        Kind("rawbert-server", "rawbert_server", "rawbert serve, over gRPC", _BOTH, ours=True),
        Kind("rawbert-hub", "rawbert_hub", "rawbert, Hub layer as a black box", ours=True),
        Kind("hub-recipe", "hub_recipe", "Hub preprocessing + Hub encoder in one model"),
        Kind("hub-layer", "hub_layer", "BertTokenizer + hub.KerasLayer"),
        Kind("sentence-transformers", "torch_st", "sentence-transformers (PyTorch)", _BOTH),
        Kind("onnxruntime", "ort_plain", "ONNX Runtime"),
        Kind("onnxruntime-fused", "ort_fused", "ONNX Runtime, fused by its optimizer"),
        Kind("openvino", "openvino_ir", "OpenVINO", _BOTH),
        Kind("gemm", "gemm", "GEMM limit: the dense layers' products alone", _BOTH, limit=True),
    )
}


def make(name: str, setup: Setup) -> Contestant:
    """The contestant with a name of :data:`ALL`, not yet loaded."""
    module = importlib.import_module(f".{ALL[name].module}", __package__)
    contestant: Contestant = module.Peer(setup)
    return contestant
