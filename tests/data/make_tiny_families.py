"""Write the outputs of PyTorch, in float64, for tiny random RoBERTas, XLM-RoBERTas, CamemBERTs and ALBERTs.

Environment: transformers and PyTorch (CPU).

    python make_tiny_families.py tests/data

writes ``tiny_families.npz``. It does not contain weights, because :func:`tensors_of` generates them with numpy.
``models`` is JSON as UTF-8 bytes: for each of MODELS the ``config`` that transformers writes, and names and shapes of
the ``tensors`` in its file. For each model, over all ROWS (see :func:`ids_of`), concatenated:

* for an encoder ``NAME.sequence``, float32 ``[tokens of all rows, hidden]``, and ``NAME.pooled``, float32 ``[rows,
  hidden]``; for a head ``NAME.logits``, float32 ``[rows, labels]`` or ``[tokens of all rows, labels]``.

Rows contain the padding id among their tokens, for which PyTorch counts no position. For encoders, ``NAME.padded`` is
the largest difference that padding makes in PyTorch's own outputs.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

#: Number of tokens of each row; the last one has the maximum length.
ROWS = (2, 3, 5, 9, 14, 22)
VOCABULARY, LONGEST = 60, 22

_FROM_PADDING = {"max_position_embeddings": LONGEST + 2, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
_SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
_ALBERT = {**_SMALL, "embedding_size": 16, "max_position_embeddings": LONGEST, "num_hidden_layers": 3}
#: Name -> class in transformers, and settings of its configuration.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "roberta": ("RobertaModel", {**_SMALL, **_FROM_PADDING}),
    "roberta.masked": (
        "RobertaForMaskedLM",
        {**_SMALL, **_FROM_PADDING, "hidden_size": 33, "num_attention_heads": 3, "hidden_act": "relu"},
    ),
    "roberta.padding": (
        "RobertaModel",
        {
            **_SMALL,
            **_FROM_PADDING,
            "pad_token_id": 3,
            "max_position_embeddings": LONGEST + 4,
            "type_vocab_size": 2,
            "hidden_size": 30,
            "num_attention_heads": 5,
            "hidden_act": "gelu_new",
        },
    ),
    "xlm-roberta": ("XLMRobertaModel", {**_SMALL, **_FROM_PADDING, "hidden_size": 48, "num_hidden_layers": 3}),
    "xlm-roberta.one": (
        "XLMRobertaForMaskedLM",
        {
            **_FROM_PADDING,
            "hidden_size": 7,
            "num_hidden_layers": 1,
            "num_attention_heads": 1,
            "intermediate_size": 5,
            "layer_norm_eps": 1e-12,
        },
    ),
    "camembert": ("CamembertModel", {**_SMALL, **_FROM_PADDING, "hidden_size": 36, "num_attention_heads": 6}),
    "camembert.masked": ("CamembertForMaskedLM", {**_SMALL, **_FROM_PADDING, "num_hidden_layers": 1}),
    "albert": ("AlbertForPreTraining", _ALBERT),
    "albert.groups": (
        "AlbertModel",
        {**_ALBERT, "num_hidden_layers": 4, "num_hidden_groups": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-5},
    ),
    # Groups of unequal size: 2, 2 and 1 layers.
    "albert.uneven": (
        "AlbertForMaskedLM",
        {
            **_ALBERT,
            "num_hidden_layers": 5,
            "num_hidden_groups": 3,
            "hidden_size": 21,
            "num_attention_heads": 3,
            "hidden_act": "relu",
        },
    ),
    "albert.wide": ("AlbertModel", {**_ALBERT, "embedding_size": 32, "num_hidden_layers": 1}),
}
for _family, _prefix in (
    ("roberta", "Roberta"),
    ("xlm-roberta", "XLMRoberta"),
    ("camembert", "Camembert"),
    ("albert", "Albert"),
):
    for _task, _count in (("Sequence", 1), ("Sequence", 3), ("Token", 5)):
        MODELS[f"{_family}.{_task}.{_count}"] = (
            f"{_prefix}For{_task}Classification",
            {**MODELS[_family][1], "num_labels": _count},
        )


def ids_of(config: dict[str, Any]) -> list[np.ndarray]:
    """The token ids of each row, int32 ``[tokens]``."""
    rng = np.random.default_rng(5)
    rows = [rng.integers(0, VOCABULARY, length).astype(np.int32) for length in ROWS]
    for row in rows[2:]:
        row[[1, -2]] = config["pad_token_id"]
    return rows


def types_of(config: dict[str, Any]) -> list[np.ndarray]:
    """The token types of each row, int32 ``[tokens]``, as those of a pair."""
    return [(np.arange(length) >= length // 2).astype(np.int32) % config["type_vocab_size"] for length in ROWS]


def tensors_of(shapes: dict[str, list[int]]) -> dict[str, np.ndarray]:
    """Weights that all have an effect: no zero bias, no LayerNorm that is the identity."""
    tensors = {}
    for name, shape in sorted(shapes.items()):
        noise = np.random.default_rng(list(name.encode())).normal(size=shape)
        if "norm.weight" in name.lower():
            value = 1 + 0.2 * noise
        elif "embeddings.weight" in name:
            value = 0.03 * noise
        elif len(shape) == 1:
            value = 0.1 * noise
        else:
            value = (2 if "query" in name or "key" in name else 1) * noise / shape[1] ** 0.5
        tensors[name] = value.astype(np.float32)
    return tensors


def main() -> None:
    import tempfile

    import torch
    import transformers
    from safetensors.numpy import load_file, save_file

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="tests/data")
    data = parser.parse_args().data
    described, arrays = {}, {}
    for name, (kind, settings) in MODELS.items():
        of = getattr(transformers, kind)
        with tempfile.TemporaryDirectory() as folder:
            of(of.config_class(vocab_size=VOCABULARY, **settings)).save_pretrained(folder)
            config = json.loads((Path(folder) / "config.json").read_text())
            file = Path(folder) / "model.safetensors"
            shapes = {key: list(value.shape) for key, value in load_file(file).items()}
            save_file(tensors_of(shapes), file, {"format": "pt"})
            model = of.from_pretrained(folder, attn_implementation="eager").double().eval()
        described[name] = {"config": config, "tensors": shapes}
        rows, types = ids_of(config), types_of(config)

        def run(row: int, padding: int = 0, model=model, rows=rows, types=types, config=config) -> Any:
            ids = np.concatenate([rows[row], np.full(padding, config["pad_token_id"])])
            mask = np.concatenate([np.ones(len(rows[row])), np.zeros(padding)])
            inputs = {"attention_mask": mask, "token_type_ids": np.concatenate([types[row], np.zeros(padding)])}
            with torch.no_grad():
                return model(
                    **{key: torch.tensor(value[None]).long() for key, value in {"input_ids": ids, **inputs}.items()},
                    output_hidden_states=True,
                )

        outputs = [run(row) for row in range(len(ROWS))]
        if "Classification" in kind:
            logits = [output.logits[0].numpy() for output in outputs]
            arrays[f"{name}.logits"] = (np.stack if "Sequence" in kind else np.concatenate)(logits).astype(np.float32)
            continue
        vectors = [output.hidden_states[-1][0].numpy() for output in outputs]
        arrays[f"{name}.sequence"] = np.concatenate(vectors).astype(np.float32)
        padded = [run(row, 4).hidden_states[-1][0, : len(rows[row])].numpy() for row in range(len(ROWS) - 1)]
        off = max(float(np.abs(one - other).max()) for one, other in zip(padded, vectors, strict=False))
        arrays[f"{name}.padded"] = np.float32(off)
        encoder = getattr(model, model.base_model_prefix, model)
        if getattr(encoder, "pooler", None) is not None:
            if name == "albert":  # ForPreTraining does not give the pooler's output
                pooled = [torch.tanh(encoder.pooler(output.hidden_states[-1][:, 0])) for output in outputs]
            else:
                pooled = [output.pooler_output for output in outputs]
            arrays[f"{name}.pooled"] = torch.cat(pooled).detach().numpy().astype(np.float32)
    arrays["models"] = np.frombuffer(json.dumps(described).encode(), np.uint8)
    np.savez_compressed(data / "tiny_families.npz", **arrays)


if __name__ == "__main__":
    main()
