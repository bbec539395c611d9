"""The independent reference for the tokens of a Hub encoder with a SentencePiece model (ALBERT).

The steps are those of ``SentencepieceTokenizer`` and ``BertPackInputs`` of tf-models-official
(official/nlp/modeling/layers/text_layers.py), which the Hub's preprocessing models contain.
"""

from typing import Any

from ..recipe import TokenizerOptions
from .tokens import TfTextReferenceTokenizer


class SentencePieceReferenceTokenizer(TfTextReferenceTokenizer):
    """tensorflow-text's SentencepieceTokenizer and RoundRobinTrimmer.

    Args:
        model: the SentencePiece model.
        lowercase: whether texts are case-folded.
        max_seq_length: maximum length of texts.
        options: the user's options.
    """

    def __init__(self, model: bytes, lowercase: bool, max_seq_length: int, options: TokenizerOptions) -> None:
        import tensorflow_text as tf_text

        self._op, self._lowercase = tf_text.SentencepieceTokenizer(model), lowercase
        self._cls, self._sep, self._unknown = (self._id(token) for token in ("[CLS]", "[SEP]", "\ufffe"))
        self._max, self._strategy = max_seq_length, options.truncation_strategy
        self._from_left = options.truncation_side == "left"

    def _id(self, token: str) -> int:
        return int(self._op.string_to_id(token))

    def _tokens(self, text: bytes) -> list[tuple[int, tuple[int, int]]]:
        import tensorflow as tf
        import tensorflow_text as tf_text

        given: Any = tf.strings.regex_replace(tf_text.normalize_utf8([text], "NFD"), r"\p{Mn}", "")
        if self._lowercase:
            given = tf_text.case_fold_utf8(given)
        ids, starts, limits = (each[0].numpy().tolist() for each in self._op.tokenize_with_offsets(given))
        return list(zip(ids, zip(starts, limits, strict=True), strict=True))

    def _lengths(self, ids: list[int]) -> list[int]:
        """0 for the unknown token, -1 for all others: no prefix marks parts of words."""
        return [0 if each == self._unknown else -1 for each in ids]
