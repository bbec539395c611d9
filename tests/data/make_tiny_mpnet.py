"""Write a tiny random MPNet with its outputs by PyTorch in float64 and its embeddings by sentence-transformers.

Environment: sentence-transformers, transformers and PyTorch (CPU).

    python make_tiny_mpnet.py tests/data

writes ``tiny_mpnet/``, a sentence-transformers folder (3 layers, hidden size 32, 4 heads, 200 positions, so that the
farthest bucket of the relative bias is in use; mean pooling and normalisation), and ``tiny_mpnet_golden.npz``. For each
text of ``texts``, and then each pair of ``pairs``, alone, N-th of all:

* ``N.input_ids``, int32 ``[tokens]``; ``N.sequence``, float64 ``[tokens, 32]``; ``N.pooled``, float64 ``[32]``;
* of texts ``N.embedding``, float32 ``[32]``.

One text contains a literal ``<pad>``: PyTorch counts no position for that id, wherever it occurs.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from make_tiny_bert import VOCABULARY as BERT_VOCABULARY
from sentence_transformers import SentenceTransformer
from transformers import MPNetConfig, MPNetModel, MPNetTokenizer

#: In the order of microsoft/mpnet-base: BERT's words between MPNet's own special tokens.
VOCABULARY = ["<s>", "<pad>", "</s>", "<unk>", *BERT_VOCABULARY[:4], *BERT_VOCABULARY[5:], "<mask>"]
TEXTS = [
    "The cat sat on the mat.",
    "hello",
    "",
    "Café 中国 (12) … unwanted",
    "the <mask> sat  <mask>, and </s> ran <unk> [UNK] [SEP]",
    "the cat <pad> sat <pad><pad> on",
    "the dog and " * 80,  # longer than the 200 positions
]
PAIRS = [("the cat", "sat on the mat"), ("", "hello <pad> world"), ("the dog and " * 80, "the mat " * 20)]
MODULES = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))


def save(folder: Path) -> None:
    config = MPNetConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=202,
        layer_norm_eps=1e-5,
    )
    model = MPNetModel(config).eval()
    generator = torch.Generator().manual_seed(29)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if "LayerNorm.weight" in name:
                weight.copy_(1 + 0.2 * noise)
            elif "embeddings.weight" in name:
                weight.copy_(0.03 * noise)
            elif "relative_attention_bias" in name:
                weight.copy_(2 * noise)
            elif weight.ndim == 1:
                weight.copy_(0.1 * noise)
            elif ".q." in name or ".k." in name:
                weight.copy_(2 * noise / weight.shape[1] ** 0.5)
            else:
                weight.copy_(noise / weight.shape[1] ** 0.5)
    model.save_pretrained(folder)
    MPNetTokenizer(vocab={word: at for at, word in enumerate(VOCABULARY)}, model_max_length=200).save_pretrained(folder)
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in VOCABULARY), encoding="utf-8")
    kinds = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (path, kind) in enumerate(MODULES)
    ]
    (folder / "modules.json").write_text(json.dumps(kinds, indent=2))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 200, "do_lower_case": False}))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    pooling = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="tests/data")
    data = parser.parse_args().data
    folder = data / "tiny_mpnet"
    save(folder)
    tokenizer = MPNetTokenizer.from_pretrained(folder)
    model = MPNetModel.from_pretrained(folder, attn_implementation="eager").double().eval()
    sentences = SentenceTransformer(str(folder), device="cpu")
    arrays = {"texts": np.array(TEXTS), "pairs": np.array(PAIRS)}
    for number, texts in enumerate([*((text,) for text in TEXTS), *PAIRS]):
        batch = tokenizer(*([text] for text in texts), truncation=True, max_length=200, return_tensors="pt")
        with torch.no_grad():
            output = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        arrays[f"{number}.input_ids"] = batch["input_ids"][0].int().numpy()
        arrays[f"{number}.sequence"] = output.last_hidden_state[0].numpy()
        arrays[f"{number}.pooled"] = output.pooler_output[0].numpy()
        if len(texts) == 1:
            arrays[f"{number}.embedding"] = sentences.encode(texts[0], batch_size=1, show_progress_bar=False)
    np.savez_compressed(data / "tiny_mpnet_golden.npz", **arrays)


if __name__ == "__main__":
    main()
