"""Write a tiny random DistilBERT and ELECTRA with their outputs by PyTorch in float64.

Environment: transformers and PyTorch (CPU). After ``make_tiny_bert.py``, whose vocabulary and batch they share.

    python make_tiny_relatives.py tests/data

writes ``tiny_distilbert/`` and ``tiny_electra/`` (config.json and model.safetensors; their tokenizer is
``tiny_bert/vocab.txt``), and ``tiny_relatives_golden.npz``: ``<family>.<variant>.last_hidden_state``, float64
``[6, 24, 32]``, for the ``input_ids``, ``attention_mask`` and (ELECTRA) ``token_type_ids`` of
``tiny_bert_golden.npz``, under each configuration of VARIANTS. ELECTRA's embeddings are 16 wide, its layers 32.
The names in the files have the prefix of a model with a head, as in published checkpoints.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from transformers import (
    DistilBertConfig,
    DistilBertForMaskedLM,
    DistilBertModel,
    ElectraConfig,
    ElectraForPreTraining,
    ElectraModel,
)

MODELS = {
    "distilbert": (
        DistilBertConfig(vocab_size=99, max_position_embeddings=64, n_layers=2, n_heads=4, dim=32, hidden_dim=64),
        DistilBertForMaskedLM,
        DistilBertModel,
    ),
    "electra": (
        ElectraConfig(
            vocab_size=99,
            embedding_size=16,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=64,
        ),
        ElectraForPreTraining,
        ElectraModel,
    ),
}
VARIANTS = {
    "distilbert": {"gelu": {}, "relu": {"activation": "relu"}},
    "electra": {"gelu": {}, "gelu_new": {"hidden_act": "gelu_new"}, "gelu_eps1e-5": {"layer_norm_eps": 1e-5}},
}


def randomize(model: torch.nn.Module) -> None:
    """Give every weight an effect: no zero bias, no LayerNorm that is the identity."""
    generator = torch.Generator().manual_seed(23)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if "norm.weight" in name.lower():
                weight.copy_(1 + 0.2 * noise)
            elif "embeddings.weight" in name:
                weight.copy_(0.03 * noise)
            elif weight.ndim == 1:
                weight.copy_(0.1 * noise)
            elif any(part in name for part in ("query", "key", "q_lin", "k_lin")):
                weight.copy_(2 * noise / weight.shape[1] ** 0.5)
            else:
                weight.copy_(noise / weight.shape[1] ** 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="tests/data")
    data = parser.parse_args().data
    batch = np.load(data / "tiny_bert_golden.npz")
    arrays = {}
    for family, (config, with_head, bare) in MODELS.items():
        folder = data / f"tiny_{family}"
        model = with_head(config)
        randomize(model)
        model.save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        names = ["input_ids", "attention_mask"] + ["token_type_ids"] * (family == "electra")
        inputs = {name: torch.tensor(batch[name]).long() for name in names}
        for variant, changes in VARIANTS[family].items():
            changed = type(config).from_pretrained(folder, **changes)
            model = bare.from_pretrained(folder, config=changed, attn_implementation="eager").double().eval()
            with torch.no_grad():
                arrays[f"{family}.{variant}.last_hidden_state"] = model(**inputs).last_hidden_state.numpy()
    np.savez_compressed(data / "tiny_relatives_golden.npz", **arrays)


if __name__ == "__main__":
    main()
