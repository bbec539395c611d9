"""The reference tokenizers of the graph, for queries about every code point.

Normalisation and pre-tokenisation of both kinds work code point by code point. In each kind, ``mark`` is a character
that stays unchanged, separates its neighbours, and is the result of no other character; ``orders`` states whether
combining marks are put in canonical order; ``decompose`` is normalisation up to that step.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from tokenizers.normalizers import NFD, BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from .spec import WordPieceSpec

#: Classes of a code point after normalisation: part of a word, a word of its own, a gap between words.
WORD, ISOLATED, SPACE = range(3)


def normalizer(spec: WordPieceSpec, **changes: Any) -> Any:
    """The Hugging Face normaliser of this tokenizer."""
    names = ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase")
    settings = {name: getattr(spec, name) for name in names}
    return BertNormalizer(**{**settings, **changes})


class BertBehaviour:
    """The Hugging Face BERT tokenizer."""

    mark = "#"

    def __init__(self, spec: WordPieceSpec) -> None:
        self.orders = spec.lowercase if spec.strip_accents is None else spec.strip_accents
        self._normalizer = normalizer(spec)
        self._clean_up = normalizer(spec, handle_chinese_chars=False, strip_accents=False, lowercase=False)
        self._nfd = NFD()

    def normalize(self, text: str) -> str:
        """Clean-up, spaces around Chinese characters, NFD without nonspacing marks, lower case."""
        return self._normalizer.normalize_str(text)

    def decompose(self, text: str) -> str:
        """Clean-up and NFD."""
        return self._nfd.normalize_str(self._clean_up.normalize_str(text))

    def order(self, text: str) -> str:
        """NFD."""
        return self._nfd.normalize_str(text)

    def classify(self, chars: Sequence[str]) -> np.ndarray:
        """Class of each normalised character, int32, by BertPreTokenizer."""
        # a?a?a...a: a word character stays joined with its neighbours.
        text = "a" + "".join(f"{char}a" for char in chars)
        at = np.full(len(text), SPACE, np.int32)
        for _, (start, stop) in BertPreTokenizer().pre_tokenize_str(text):
            at[start:stop] = ISOLATED if stop - start == 1 and start % 2 == 1 else WORD
        return at[1::2]


class TfTextBehaviour:
    """tensorflow-text's BasicTokenizer, in the steps of its ``tokenize_with_offsets``."""

    mark = "\ue000"  # private use

    def __init__(self, spec: WordPieceSpec) -> None:
        self.orders = spec.lowercase

    def normalize(self, text: str) -> str:
        """Case folding with compatibility forms, NFD without nonspacing marks, controls to spaces."""
        import tensorflow as tf

        value = tf.constant(text.encode())
        if self.orders:
            value = tf.strings.regex_replace(tf.constant(self.decompose(text).encode()), r"\p{Mn}", "")
        return tf.strings.regex_replace(value, r"\p{Cc}|\p{Cf}", " ").numpy().decode()

    def decompose(self, text: str) -> str:
        """Case folding and NFD."""
        import tensorflow_text as tf_text

        return self.order(tf_text.case_fold_utf8(text.encode()).numpy().decode())

    def order(self, text: str) -> str:
        """NFD."""
        import tensorflow_text as tf_text

        return tf_text.normalize_utf8(text.encode(), "NFD").numpy().decode()

    def classify(self, chars: Sequence[str]) -> np.ndarray:
        """Class of each normalised character, int32, by BasicTokenizer's regular expressions."""
        import tensorflow as tf
        from tensorflow_text.python.ops import bert_tokenizer

        encoded = tf.constant([char.encode() for char in chars])
        parts, kept = (
            tf.strings.regex_full_match(encoded, pattern).numpy()
            for pattern in (bert_tokenizer._DELIM_REGEX_PATTERN, bert_tokenizer._KEEP_DELIM_NO_WHITESPACE_PATTERN)
        )
        return np.where(kept, ISOLATED, np.where(parts, SPACE, WORD)).astype(np.int32)
