"""The sets of texts; see data/make_texts.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np

__all__ = ["MAX_TOKENS", "SETS", "Texts", "load"]

#: All contestants cut texts at this many tokens, [CLS] and [SEP] included.
MAX_TOKENS = 128
SETS = ("mixed", "short", "full")


class Texts:
    """A set of texts with their numbers of tokens.

    Args:
        texts: the set.
        source: folder of the model whose ``tokenizer.json`` counts.
    """

    def __init__(self, texts: list[str], source: Path) -> None:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(MAX_TOKENS)
        self.texts = texts
        self.tokens = {text: len(each.ids) for text, each in zip(texts, tokenizer.encode_batch(texts), strict=True)}

    def calls(self, size: int, texts: int, seed: int) -> list[list[str]]:
        """Draw calls of ``size`` texts each, of at least ``texts`` together, without a text twice in a call.

        Each seed gives different calls, because a real server rarely gets the same batch twice: a contestant that
        prepares for a known shape gets no advantage that it does not have in practice.
        """
        random = np.random.default_rng(seed)
        draws = [random.choice(len(self.texts), size, replace=False) for _ in range(-(-texts // size))]
        return [[self.texts[at] for at in draw] for draw in draws]

    def lengths(self, calls: list[list[str]]) -> list[list[int]]:
        """Numbers of tokens of the texts of each call."""
        return [[self.tokens[text] for text in call] for call in calls]


def load(name: str, source: Path) -> Texts:
    """One of :data:`SETS`."""
    path = Path(__file__).parent / "data" / f"{name}.txt"
    return Texts(path.read_text("utf-8").splitlines(), source)
