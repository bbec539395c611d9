"""The forward pass of DeBERTa v2 and v3 (He et al., 2021, https://arxiv.org/abs/2006.03654)."""

import math
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
    on = Layers(tensors, config.get("layer_norm_eps", 1e-7))
    x = on.rows("embeddings.word_embeddings", ids)
    if config.get("position_biased_input", True):
        x = x + on.rows("embeddings.position_embeddings", slice(len(ids)))
    if config.get("type_vocab_size", 0):
        x = x + on.rows("embeddings.token_type_embeddings", np.zeros_like(ids) if types is None else types)
    embedded = x = on.norm(x, "embeddings.LayerNorm")
    span, rows = _rows(config, len(ids))
    distances = on.rows("encoder.rel_embeddings", slice(2 * span))
    if config.get("norm_rel_ebd", "none") == "layer_norm":
        distances = on.norm(distances, "encoder.LayerNorm")
    activation = ACTIVATIONS[config.get("hidden_act", "gelu")]
    for index in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{index}"
        attended = _attention(on, config, x, distances, rows, f"{layer}.attention.self")
        x = on.norm(x + on.linear(attended, f"{layer}.attention.output.dense"), f"{layer}.attention.output.LayerNorm")
        inner = activation(on.linear(x, f"{layer}.intermediate.dense"))
        x = on.norm(x + on.linear(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
        if index == 0 and config.get("conv_kernel_size", 0):
            convolved = _convolved(embedded, tensors["encoder.conv.conv.weight"], tensors["encoder.conv.conv.bias"])
            x = on.norm(x + ACTIVATIONS[config.get("conv_act", "tanh")](convolved), "encoder.conv.LayerNorm")
    return {"sequence_output": x}


def _attention(
    on: Layers, config: Mapping[str, Any], x: np.ndarray, distances: np.ndarray, rows: np.ndarray, layer: str
) -> np.ndarray:
    """Section 3.1: content to content, content to position, position to content."""
    heads, kinds = config["num_attention_heads"], config["pos_att_type"]
    names = ("query_proj", "key_proj") if config.get("share_att_key", False) else ("pos_query_proj", "pos_key_proj")
    query, key, value = (on.linear(x, f"{layer}.{name}_proj") for name in ("query", "key", "value"))
    q, k = (each.reshape(len(x), heads, -1).transpose(1, 0, 2) for each in (query, key))
    more, terms = 0.0, 1
    for kind, name in (("p2c", names[0]), ("c2p", names[1])):
        if kind in kinds:
            vectors = on.linear(distances, f"{layer}.{name}")[rows]  # [query, key, hidden]
            vectors = vectors.reshape(*rows.shape, heads, -1)
            more = more + np.einsum(
                "hid,ijhd->hij" if kind == "c2p" else "hjd,ijhd->hij", q if kind == "c2p" else k, vectors
            )
            terms += 1
    scale = math.sqrt(terms)
    return on.attend(query / scale, key, value, heads, more / (scale * math.sqrt(q.shape[-1])))


def _rows(config: Mapping[str, Any], length: int) -> tuple[int, np.ndarray]:
    """Number of distances with vectors on each side, and the row of each query and key, ``[query, key]``."""
    farthest = config.get("max_relative_positions", -1)
    farthest = config["max_position_embeddings"] if farthest < 1 else farthest
    buckets = config.get("position_buckets", -1)
    span = buckets if buckets > 0 else farthest

    def row(distance: int) -> int:
        away, middle = abs(distance), buckets // 2
        if buckets > 0 and away > middle:
            # Only the farthest distance gives a whole number, which rounding must not change.
            share = math.log(away / middle) / math.log((farthest - 1) / middle)
            away = middle + math.ceil(round(share * (middle - 1), 5))
        return min(max(span + (away if distance > 0 else -away), 0), 2 * span - 1)

    of = {distance: row(distance) for distance in range(1 - length, length)}
    return span, np.array([[of[query - key] for key in range(length)] for query in range(length)])


def _convolved(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """A convolution over the tokens, with zeros around them: ``[tokens, in]`` by ``[out, in, width]``."""
    reach = kernel.shape[2] // 2
    around = np.pad(x, ((reach, reach), (0, 0)))
    taps = (around[at : at + len(x)] @ kernel[:, :, at].astype(np.float64).T for at in range(kernel.shape[2]))
    return np.asarray(sum(taps) + bias.astype(np.float64))
