"""ONNX Runtime after its transformer optimizer, which fuses attention, layer normalization and GELU into one op each.

https://onnxruntime.ai/docs/performance/transformers-optimization.html
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from . import onnx, ort_plain

__all__ = ["Peer"]


class Peer(ort_plain.Peer):
    """See :class:`.base.Contestant`."""

    def _file(self) -> Path:
        plain = onnx.exported(self._setup)
        path = plain.with_name("fused.onnx")
        if not path.is_file():
            from onnxruntime.transformers import optimizer

            config = json.loads((self._setup.source / "config.json").read_text())
            model = optimizer.optimize_model(
                str(plain),
                model_type="bert",
                num_heads=config["num_attention_heads"],
                hidden_size=config["hidden_size"],
                use_gpu=False,
            )
            fused = model.get_fused_operator_statistics()
            if fused["Attention"] + fused["MultiHeadAttention"] != config["num_hidden_layers"]:
                raise RuntimeError(f"the optimizer did not fuse every layer's attention: {fused}")
            partial = path.with_suffix(".partial")
            model.save_model_to_file(str(partial))
            os.replace(partial, path)
        return path
