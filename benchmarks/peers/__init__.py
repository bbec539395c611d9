"""One contestant a file: each has a class ``Peer`` that keeps to :class:`.base.Contestant`."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from .base import Contestant, Setup

__all__ = ["ALL", "Contestant", "Kind", "Setup", "make"]


@dataclass(frozen=True)
class Kind:
    """A contestant of the table: its module, what people may read about it, and the precisions that it has.

    ``ours`` tells rawbert from its peers; neither is true of the GEMM limit.
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
    """The contestant of a name in :data:`ALL`, not yet loaded."""
    module = importlib.import_module(f".{ALL[name].module}", __package__)
    contestant: Contestant = module.Peer(setup)
    return contestant
