"""The parts of a Unigram tokenizer in the tokenizers library, for queries."""

import functools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..tables import CODE_POINTS, scalars
from .spec import Step, UnigramSpec


def normalizer(steps: Sequence[Step]) -> Any:
    """A normaliser of some steps; ``None`` if there are none."""
    state = {"type": "Sequence", "normalizers": [json.loads(step.state) for step in steps]}
    return _tokenizer(normalizer=state).normalizer if steps else None


def filler(spec: UnigramSpec) -> int:
    """A code point as placeholder of an added token: it occurs in no token, and normalisation keeps it."""
    used = {char for token in (*spec.vocab, *(token.content for token in spec.added_tokens)) if token for char in token}
    made = normalizer(spec.normalizer)
    candidates = map(chr, (0xFDD0, 0xFDD1, 0x10FFFF, 0xFFFF, 0xE000, 0x1, 0x2))
    return next(
        ord(char) for char in candidates if char not in used and (made is None or char in made.normalize_str(char))
    )


def whole_words(spec: UnigramSpec) -> dict[bytes, int]:
    """Words that become one piece, UTF-8 -> its id.

    A path of other pieces may be better than a piece of the vocabulary.
    """
    vocab = [[token or "", score] for token, score in zip(spec.vocab, spec.scores, strict=True)]
    state = {"type": "Unigram", "unk_id": spec.unk_id, "vocab": vocab, "byte_fallback": spec.byte_fallback}
    tokenize = _tokenizer(model=state).model.tokenize
    return {
        token.encode(): at
        for at, token in enumerate(spec.vocab)
        if token and [each.id for each in tokenize(token)] == [at]
    }


@functools.cache
def spaces() -> np.ndarray:
    """White space by Rust's definition, bool, by code point."""
    from tokenizers.pre_tokenizers import WhitespaceSplit

    member = np.zeros(CODE_POINTS, bool)
    codes = scalars()
    text = "".join(f"a{chr(code)}" for code in codes.tolist()) + "a"
    kept = np.zeros(len(text), bool)
    for _, (start, stop) in WhitespaceSplit().pre_tokenize_str(text):
        kept[start:stop] = True
    member[codes] = ~kept[1::2]
    return member


def _tokenizer(**parts: Any) -> Any:
    # Commands of the extra cli, which read no tokenizer, import this module, so this import is here.
    from tokenizers import Tokenizer

    model = {"type": "Unigram", "unk_id": 0, "vocab": [["?", 0.0]], "byte_fallback": False}
    names = ("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder")
    state = {"version": "1.0", **dict.fromkeys(names), "added_tokens": [], "model": model, **parts}
    return Tokenizer.from_str(json.dumps(state))
