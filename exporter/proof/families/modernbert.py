"""ModernBERT's forward pass (Warner et al., 2024, https://arxiv.org/abs/2412.13663)."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..numerics import ACTIVATIONS
from .layers import Layers


def first_row(config: Mapping[str, Any]) -> int:
    """See :class:`.Twin`."""
    return 0


def forward(
    tensors: Mapping[str, np.ndarray], config: Mapping[str, Any], ids: np.ndarray, types: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """See :class:`.Twin`."""
    on = Layers(tensors, config.get("norm_eps", 1e-5))
    gated = ACTIVATIONS[config.get("hidden_activation", "gelu")]
    attends, feeds, norms = (config.get(f"{part}_bias", False) for part in ("attention", "mlp", "norm"))
    heads = config["num_attention_heads"]
    at = np.arange(len(ids))
    is_far = np.abs(at - at[:, None]) > config.get("local_attention", 128) // 2
    x = on.norm(on.rows("embeddings.tok_embeddings", ids), "embeddings.norm", norms)
    for index in range(config["num_hidden_layers"]):
        layer, is_local = f"layers.{index}", _is_local(config, index)
        taken = x if index == 0 else on.norm(x, f"{layer}.attn_norm", norms)
        query, key, value = np.split(on.linear(taken, f"{layer}.attn.Wqkv", attends), 3, axis=-1)
        query, key = (on.turned(each, heads, _theta(config, is_local)) for each in (query, key))
        attended = on.attend(query, key, value, heads, np.where(is_far & is_local, -np.inf, 0.0))
        x = x + on.linear(attended, f"{layer}.attn.Wo", attends)
        inner = on.linear(on.norm(x, f"{layer}.mlp_norm", norms), f"{layer}.mlp.Wi", feeds)
        activated, gate = np.split(inner, 2, axis=-1)
        x = x + on.linear(gated(activated) * gate, f"{layer}.mlp.Wo", feeds)
    return {"sequence_output": on.norm(x, "final_norm", norms)}


def _is_local(config: Mapping[str, Any], index: int) -> bool:
    if kinds := config.get("layer_types"):
        return bool(kinds[index] == "sliding_attention")
    return bool(index % config.get("global_attn_every_n_layers", 3))


def _theta(config: Mapping[str, Any], is_local: bool) -> float:
    kind, old, usual = ("sliding_attention", "local", 1e4) if is_local else ("full_attention", "global", 1.6e5)
    stated = (config.get("rope_parameters") or {}).get(kind) or {}
    return float(stated.get("rope_theta", config.get(f"{old}_rope_theta", usual)))
