"""Run the graph's tokenizer, and compare it with transformers'."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAD, UNK, CLS, SEP, MASK = range(5)


def run(tokenizer, texts: list[str | bytes]) -> list[tuple[list[int], list[int], list[int], int]]:
    """Ids, starts and limits without padding, and the token count, of each text, all in one call."""
    import tensorflow as tf

    raw = [text if isinstance(text, bytes) else text.encode() for text in texts]
    out = tokenizer(tf.constant(raw, tf.string, [len(raw)]))
    ids, mask, starts, limits, counts = (value.numpy() for value in out[:5])
    kept = mask.sum(1)
    assert ids.shape == mask.shape == starts.shape == limits.shape == (len(texts), max([*kept, 2]))
    assert counts.shape == (len(texts),)
    for row, count in enumerate(kept):
        assert mask[row].tolist() == [1] * count + [0] * (mask.shape[1] - count)
        assert (ids[row, count:] == PAD).all()
        assert (starts[row, count:] == -1).all()
        assert (limits[row, count:] == -1).all()
    return [
        (ids[row, :count].tolist(), starts[row, :count].tolist(), limits[row, :count].tolist(), int(counts[row]))
        for row, count in enumerate(kept)
    ]


def reference_of(folder: Path, max_seq_length: int = 10**6) -> Any:
    from rawbert.exporter.proof.reference import FolderReference

    return FolderReference(folder, max_seq_length).tokenize


@dataclass(frozen=True)
class Pair:
    """The graph's tokenizer and transformers', over the same folder."""

    graph: Any
    reference: Any

    def check(self, texts: list[str]) -> None:
        wrong = []
        for start in range(0, len(texts), 500):
            batch = texts[start : start + 500]
            for text, got in zip(batch, run(self.graph, batch), strict=True):
                wanted = self.reference(text)
                if got != (wanted.ids, wanted.starts, wanted.limits, wanted.count):
                    wrong.append(f"{text!a}: {got}, not {wanted}")
        assert not wrong, f"{len(wrong)} of {len(texts)} differ, so {wrong[:5]}"
