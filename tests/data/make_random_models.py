"""Write the outputs of PyTorch, in float64, for random models of several shapes.

Environment: transformers and PyTorch (CPU).

    python make_random_models.py tests/data [FAMILY ...]

writes ``random_FAMILY.npz`` for each family. It does not contain weights and token ids, which :mod:`random_models`
generates from names, shapes and a seed. ``models`` is a JSON object: name -> ``config`` (as transformers writes it),
``shapes`` of its tensors, and ``seed``. For each model:

* ``NAME.sequence``, float32 ``[tokens of all texts, hidden]``;
* ``NAME.classify``, float32 ``[texts, labels]``: logits of ``*ForSequenceClassification`` over the same tensors;
* ``NAME.tag``, float32 ``[tokens of all texts, labels]``: logits of ``*ForTokenClassification``.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from random_models import tensors, texts, types
from safetensors import safe_open
from safetensors.numpy import save_file

LABELS = 3
#: Task of a class -> name of its logits in the file.
OUTPUTS = {"Sequence": "classify", "Token": "tag"}
COMMON = {"vocab_size": 99, "num_labels": LABELS}
#: Family -> prefix of its classes, and the settings of each model.
MODELS: dict[str, tuple[str, dict[str, dict[str, Any]]]] = {
    "modernbert": (
        "ModernBert",
        {
            "base": {
                "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 5, "intermediate_size": 40,
                "max_position_embeddings": 64, "local_attention": 8, "pad_token_id": 0,
            },
            "biases": {
                "hidden_size": 30, "num_attention_heads": 3, "num_hidden_layers": 4, "intermediate_size": 23,
                "max_position_embeddings": 40, "local_attention": 6, "pad_token_id": 1,
                "attention_bias": True, "mlp_bias": True, "norm_bias": True, "norm_eps": 1e-3,
                "classifier_bias": True, "classifier_pooling": "mean",
                "hidden_activation": "gelu_new", "classifier_activation": "relu",
                "layer_types": ["sliding_attention", "full_attention"] * 2,
                "rope_parameters": {
                    "full_attention": {"rope_type": "default", "rope_theta": 500.0},
                    "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
                },
            },
            "sliding": {
                "hidden_size": 12, "num_attention_heads": 1, "num_hidden_layers": 3, "intermediate_size": 16,
                "max_position_embeddings": 64, "local_attention": 7, "pad_token_id": 0,
                "layer_types": ["sliding_attention"] * 3, "norm_bias": True, "classifier_pooling": "mean",
            },
            "full": {
                "hidden_size": 16, "num_attention_heads": 8, "num_hidden_layers": 2, "intermediate_size": 9,
                "max_position_embeddings": 31, "layer_types": ["full_attention"] * 2, "pad_token_id": 0,
            },
        },
    ),
    "deberta-v2": (
        "DebertaV2",
        {
            "v3_small": {
                "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 3, "intermediate_size": 40,
                "max_position_embeddings": 64, "relative_attention": True, "position_buckets": 16,
                "norm_rel_ebd": "layer_norm", "share_att_key": True, "pos_att_type": "p2c|c2p",
                "max_relative_positions": -1, "position_biased_input": False, "type_vocab_size": 0,
            },
            "v2_xlarge": {
                "hidden_size": 30, "num_attention_heads": 3, "num_hidden_layers": 4, "intermediate_size": 23,
                "max_position_embeddings": 64, "relative_attention": True, "position_buckets": 8,
                "norm_rel_ebd": "layer_norm", "share_att_key": True, "pos_att_type": ["p2c", "c2p"],
                "max_relative_positions": -1, "position_biased_input": False, "type_vocab_size": 0,
                "conv_kernel_size": 3, "conv_act": "gelu", "attention_head_size": 10,
            },
            "own_projections": {
                "hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 32,
                "max_position_embeddings": 40, "relative_attention": True, "max_relative_positions": 12,
                "pos_att_type": ["c2p", "p2c"], "position_biased_input": True, "type_vocab_size": 2,
                "hidden_act": "gelu_new", "layer_norm_eps": 1e-5, "pooler_hidden_act": "tanh",
            },
            "c2p": {
                "hidden_size": 12, "num_attention_heads": 4, "num_hidden_layers": 2, "intermediate_size": 16,
                "max_position_embeddings": 31, "relative_attention": True, "position_buckets": 6,
                "pos_att_type": ["c2p"], "position_biased_input": False, "conv_kernel_size": 5, "conv_act": "tanh",
            },
            "p2c": {
                "hidden_size": 12, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 16,
                "max_position_embeddings": 23, "relative_attention": True, "share_att_key": True,
                "norm_rel_ebd": "layer_norm", "pos_att_type": "p2c", "position_biased_input": False,
            },
        },
    ),
    "nomic_bert": (
        "NomicBert",
        {
            "base": {
                "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 3, "intermediate_size": 40,
                "max_position_embeddings": 64,
            },
            "other": {
                "hidden_size": 30, "num_attention_heads": 5, "num_hidden_layers": 2, "intermediate_size": 23,
                "max_position_embeddings": 40, "layer_norm_eps": 1e-5, "hidden_act": "gelu", "type_vocab_size": 1,
                "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
            },
        },
    ),
}  # fmt: skip


def written(kind: str, config: Any, folder: Path) -> dict[str, list[int]]:
    """Write a new model; returns names and shapes of its tensors in the file, which may differ from the class's own."""
    getattr(transformers, kind)(config).save_pretrained(folder)
    with safe_open(folder / "model.safetensors", "np") as stream:
        return {name: list(stream.get_slice(name).get_shape()) for name in stream.keys()}  # noqa: SIM118


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="tests/data")
    parser.add_argument("families", nargs="*", default=list(MODELS))
    arguments = parser.parse_args()
    for family in arguments.families:
        prefix, settings = MODELS[family]
        kinds = {f"{prefix}For{task}Classification": output for task, output in OUTPUTS.items()}
        arrays, models = {}, {}
        for seed, (name, own) in enumerate(settings.items()):
            config = getattr(transformers, f"{prefix}Config")(**COMMON, **own)
            shapes: dict[str, list[int]] = {}
            found: dict[str, list[np.ndarray]] = {"sequence": [], "classify": [], "tag": []}
            for kind, output in kinds.items():
                with tempfile.TemporaryDirectory() as temporary:
                    folder = Path(temporary)
                    shapes |= (of_kind := written(kind, config, folder))
                    save_file(tensors(of_kind, seed), folder / "model.safetensors", {"format": "pt"})
                    models[name] = {"config": json.loads((folder / "config.json").read_text()), "seed": seed}
                    model = getattr(transformers, kind).from_pretrained(folder, attn_implementation="eager")
                model = model.double().eval()
                for ids in texts(config.vocab_size, config.max_position_embeddings, seed):
                    batch = {"input_ids": torch.tensor(ids[np.newaxis]).long()}
                    batch["attention_mask"] = torch.ones_like(batch["input_ids"])
                    if own.get("type_vocab_size", getattr(config, "type_vocab_size", 0)) > 1:
                        batch["token_type_ids"] = torch.tensor(types(ids, 2)[np.newaxis]).long()
                    with torch.no_grad():
                        found[output].append(model(**batch).logits[0].numpy().reshape(-1, LABELS))
                        if output == "classify":
                            found["sequence"].append(model.base_model(**batch).last_hidden_state[0].numpy())
            models[name]["shapes"] = shapes
            arrays |= {f"{name}.{key}": np.concatenate(value).astype(np.float32) for key, value in found.items()}
        arrays["models"] = np.array(json.dumps(models))
        np.savez_compressed(arguments.data / f"random_{family}.npz", **arrays)


if __name__ == "__main__":
    main()
