"""A checkpoint's tokenizer as a graph, from a :class:`.TokenizerSpec`: strings in, token ids and byte offsets out.

Each kind of tokenizer (such as :mod:`.wordpiece`) turns texts into tokens; truncation and templates are common to all
kinds (:mod:`.templates`). A new kind needs a folder here with a spec and a :class:`TextTokenizer`, and a line in
:data:`TOKENIZERS`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from ..errors import ConfigError
from ..recipe import DEFAULT_TOKENIZATION, TokenizerOptions
from . import templates
from .bpe.tokenizer import Bpe
from .ragged import Rows
from .sentencepiece.spec import SentencePieceSpec
from .sentencepiece.tokenizer import SentencePiece
from .spec import TokenizerSpec, bert_template
from .templates import Encoding
from .unigram.tokenizer import Unigram
from .wordpiece.spec import WordPieceSpec
from .wordpiece.tokenizer import WordPiece

#: Tokenizes strings ``[B]`` separately, without special tokens.
TextTokenizer = Callable[[tf.Tensor], Rows]
#: Kind of tokenizer -> its graph, from its spec and the added tokens that count as plain text.
TOKENIZERS: Mapping[str, Callable[[Any, frozenset[str]], TextTokenizer]] = {
    "wordpiece": WordPiece,
    "unigram": Unigram,
    "bpe": Bpe,
    "sentencepiece": SentencePiece,
}


class Tokenizer(tf.Module):
    """The tokenizer of a checkpoint.

    Args:
        spec: vocabulary and settings.
        max_seq_length: maximum tokens of a text or a pair, special tokens included.
        options: the user's options.

    Raises:
        ConfigError: options that this tokenizer does not support.
    """

    def __init__(
        self, spec: TokenizerSpec, max_seq_length: int, options: TokenizerOptions = DEFAULT_TOKENIZATION
    ) -> None:
        super().__init__(name="tokenizer")
        specials = spec.template.specials(options.pair)
        if max_seq_length < specials:
            raise ConfigError(f"max_seq_length is {max_seq_length}: give more than the {specials} special tokens")
        self._length, self._strategy = max_seq_length, options.truncation_strategy
        is_tf_text, is_sentencepiece = options.tokenizer == "tf-text", isinstance(spec, SentencePieceSpec)
        if is_tf_text and not is_sentencepiece:
            first, *_, last = (piece.special or 0 for piece in spec.template.single)
            if not isinstance(spec, WordPieceSpec) or spec.template != bert_template(first, last):
                raise ConfigError(
                    "tokenizer tf-text is tensorflow-text's BertTokenizer, but the checkpoint's tokenizer is not "
                    "BERT's ('[CLS] text [SEP]'); use tokenizer reference"
                )
            spec = spec.as_tf_text()
        # tensorflow-text cuts both texts in turn.
        if self._strategy == "longest_first" and (is_tf_text or is_sentencepiece):
            self._strategy = templates.ROUND_ROBIN
        self._spec = spec
        self._side = options.truncation_side or spec.truncation_side
        plain = options.plain_text_special_tokens
        ignored = frozenset(token.content for token in spec.added_tokens if token.special and plain)
        self._rows = TOKENIZERS[spec.kind](spec, ignored)

    def __call__(self, text: tf.Tensor, text_pair: tf.Tensor | None = None) -> Encoding:
        """Tokenize strings ``[B]``, or pairs of them."""
        if text_pair is None:
            return templates.encode(self._rows(text), self._spec, self._length, self._side)
        same = tf.size(text) == tf.size(text_pair)
        message = "text and text_pair must have the same number of strings"
        with tf.control_dependencies([tf.debugging.Assert(same, [message])]):
            rows = self._rows(tf.concat([text, text_pair], 0))
        return templates.encode(rows, self._spec, self._length, self._side, self._strategy)
