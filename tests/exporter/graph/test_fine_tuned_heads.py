"""The heads of fine-tuned models in the graph: PyTorch's logits in every family, alone and in batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fine_tuned import MODELS, ROWS, folder_of, ids_of, logits_of, probabilities
from rawbert.exporter import sources

BATCHES = [*([row] for row in range(len(ROWS))), [0, 4], [8, 2, 5], [*range(len(ROWS))], [*range(len(ROWS))] * 8]


def encoding(family: str, rows: list[int]) -> Any:
    """Tokens of some of :data:`ROWS` in the graph's form."""
    import tensorflow as tf
    from rawbert.exporter.tokenizers.templates import Encoding

    pad, sep = (1, 2) if family == "mpnet" else (0, 3)
    each = [ids_of(family)[row] for row in rows]
    width = max(map(len, each))
    ids, mask, types, starts = (np.full((len(rows), width), value, np.int32) for value in (pad, 0, 0, -1))
    for at, (row, tokens) in enumerate(zip(rows, each, strict=True)):
        ids[at, : len(tokens)], mask[at, : len(tokens)] = tokens, 1
        # Here, offsets are only used to recognise special tokens.
        starts[at, : len(tokens)] = [-1 if token in (ids[at, 0], sep) else 0 for token in tokens]
        if len(ROWS[row]) == 2 and family in ("bert", "electra"):
            types[at, tokens.index(sep) + 1 : len(tokens)] = 1
    tensors = [tf.constant(value) for value in (ids, mask, starts, starts, mask.sum(1), types)]
    return Encoding(*tensors)


@pytest.mark.parametrize("model", MODELS)
def test_scores_labels_and_tags(tmp_path: Path, model: str):
    from rawbert.exporter.graph.encoder import NativeEncoder
    from rawbert.exporter.graph.heads import HEADS

    family, task, count = model.split(".")
    checkpoint = sources.load(folder_of(model, tmp_path / "model"))
    head = checkpoint.head
    names = [f"L{at}".encode() for at in range(int(count))]
    assert head.labels == tuple(name.decode() for name in names)
    encoder = NativeEncoder(checkpoint.encoder, checkpoint.weights, True)
    answer = HEADS[head.signature](checkpoint)
    vocabulary = (tmp_path / "model" / "vocab.txt").read_text(encoding="utf-8").splitlines()
    for rows in BATCHES:
        tokens = encoding(family, rows)
        scores, *others = (
            value.numpy()
            for value in answer(tokens, lambda t: encoder(t.input_word_ids, t.input_mask, t.input_type_ids))
        )
        for at, row in enumerate(rows):
            logits = logits_of(model)[row]
            wanted = probabilities(logits, head.activation)
            if task == "Sequence":
                np.testing.assert_allclose(scores[at], wanted.reshape(scores[at].shape), rtol=0, atol=1e-5)
                if count != "1":
                    assert others[0][at] == names[scores[at].argmax()]
                    assert others[1][at].tolist() == names
                continue
            length = len(logits)
            np.testing.assert_allclose(scores[at, :length], wanted, rtol=0, atol=1e-5)
            assert not scores[at, length:].any()
            special = tokens.start_offsets[at].numpy() < 0
            best = [names[each] for each in scores[at].argmax(-1)]
            assert others[0][at].tolist() == [b"" if no else name for no, name in zip(special, best, strict=True)]
            assert others[1][at].tolist() == names
            spelled = [vocabulary[token] for token in ids_of(family)[row]]
            lengths = [0 if token == checkpoint.tokenizer.unk_token else len(token) for token in spelled]
            assert others[2][at].tolist() == lengths + [0] * (len(special) - length)
