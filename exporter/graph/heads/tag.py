"""``tag``: a tag per token (entities, parts of speech), with the tokens."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from ...sources.checkpoint import Checkpoint, Head
from ...tokenizers.templates import Encoding
from .logits import Scores, every_row, head_of, highest
from .plain import Encoder, tokenize


def of(checkpoint: Checkpoint) -> TagHead:
    """The head of a tagger."""
    return TagHead(head_of(checkpoint), checkpoint.tokenizer.token_lengths)


class TagHead(tf.Module):
    """A tagger as a graph."""

    def __init__(self, head: Head, lengths: Sequence[int]) -> None:
        super().__init__(name="tag_head")
        self._scores, self._tags, self._lengths = Scores(head), head.labels, lengths

    def __call__(self, tokens: Encoding, encoder: Encoder) -> Sequence[tf.Tensor]:
        """``tag_scores``, zero in padding; ``tag``, empty there and at special tokens; ``tags``; ``token_lengths``; and
        the tokens.
        """
        # Not a product, because padding may contain inf, and 0 * inf is not 0.
        scores = tf.where(tokens.input_mask[:, :, tf.newaxis] == 1, self._scores(tokens, encoder), 0.0)
        names = tf.constant(self._tags)
        best = highest(scores, names)
        with tf.device("/CPU:0"):
            tag = tf.where(tokens.start_offsets >= 0, best, "")
            lengths = tf.gather(tf.constant(self._lengths, tf.int32), tokens.input_word_ids) * tokens.input_mask
        return [scores, tag, every_row(names, tokens), lengths, *tokenize(tokens, encoder)]
