"""A byte-level BPE tokenizer as a graph: strings in, token ids and byte offsets out, without special tokens.

Texts are decoded, added tokens are cut out, and the rest is normalised and split into words (:mod:`.words`). Each
distinct word of a batch is looked up among the words of one token; the others are merged (:mod:`.merges`). Only core
TensorFlow ops are used, except in the search for added tokens.

Shape letters: B texts, C code points, W words, U distinct words, L tokens.
"""

import tensorflow as tf

from .. import added
from ..characters import Characters, cut_out, decode, piece_starts, pieces_between, splits_at
from ..distinct import DistinctWords
from ..forms import Form
from ..ragged import Rows, flags_at, last_at_most, lengths_of, spread, starts_of
from . import behaviour
from .merges import Merges
from .offsets import Trim
from .spec import BpeSpec
from .words import WordStarts, with_blanks


class Bpe:
    """A byte-level BPE tokenizer; see :class:`..tokenizer.TextTokenizer`."""

    def __init__(self, spec: BpeSpec, ignored: frozenset[str]) -> None:
        normalize = behaviour.normalizer(spec)
        self._raw, self._normalized = added.finders(spec.added_tokens, ignored, normalize)
        self._may_hold_raw, self._may_hold_normalized = (
            added.anywhere([token for token in spec.added_tokens if token.normalized == each], ignored, normalize)
            for each in (False, True)
        )
        # A character that occurs in no added token, as their placeholder.
        used = "".join(token.content for token in spec.added_tokens)
        self._filler = next(code for code in range(1, 0x80) if chr(code) not in used)
        self._adds_blanks = spec.add_prefix_space
        self._nfc = Form("NFC") if spec.nfc else None
        self._starts = WordStarts() if spec.splits else None
        self._trim = Trim(spec, normalize) if spec.trim_offsets else None
        self._words = DistinctWords(behaviour.whole_words(spec), Merges(spec), "BYTE")

    def __call__(self, text: tf.Tensor) -> Rows:
        """Tokenize strings ``[B]``."""
        source, text_splits = decode(text)
        # Positions are counted in characters of all texts end to end, as in the reference.
        index = tf.range(tf.size(source.codes))
        characters = source._replace(begins=index, limits=index + 1)
        around = tf.zeros([tf.size(index), 2], tf.int32)  # of added tokens, see Trim
        if self._raw is not None:
            holds_raw = tf.reduce_any(tf.strings.regex_full_match(text, self._may_hold_raw))
            characters, around = self._cut_out(holds_raw, self._raw, characters, around, text_splits)
        changes = tf.constant(False)
        if self._nfc is not None:
            starts = piece_starts(characters)
            changes = self._nfc.concerns(characters.codes, starts)
            characters, around = self._in_nfc(changes, characters, around, starts)
        if self._normalized is not None:
            # What normalisation leaves as it is has such a token only where the text has it.
            holds_normalized = changes | tf.reduce_any(tf.strings.regex_full_match(text, self._may_hold_normalized))
            splits = pieces_between(characters)
            characters, around = self._cut_out(holds_normalized, self._normalized, characters, around, splits)

        splits = pieces_between(characters)
        if self._adds_blanks:
            characters, splits, kept = with_blanks(characters, splits)
            around = tf.gather(around, kept)
        is_start = flags_at(splits, tf.size(characters.codes))
        if self._starts is not None:
            is_start = self._starts(characters.codes, is_start)
        word_splits = splits_at(is_start)  # [W + 1]
        tokens = self._words(
            tf.strings.unicode_encode(
                tf.RaggedTensor.from_row_splits(characters.codes, word_splits, validate=False), "UTF-8"
            )
        )

        # From bytes in the word to characters, of which a token may have a part only.
        word, _ = spread(tokens.counts)
        position = starts_of(added.utf8_length(characters.codes))  # [C + 1], in bytes of all words end to end
        begin = tf.gather(position, tf.gather(word_splits, word))
        first_code = last_at_most(position, begin + tokens.begins)
        last_code = last_at_most(position, begin + tokens.limits - 1)
        token_added, row = (tf.gather(each, first_code) for each in (characters.added, characters.text))
        start, stop = tf.gather(characters.begins, first_code), tf.gather(characters.limits, last_code)
        row_splits = tf.searchsorted(row, tf.range(tf.size(text) + 1))
        places = [(start, stop)]
        if self._trim is not None:
            around = tf.where(
                token_added[:, tf.newaxis] >= 0, tf.gather(around, first_code), self._trim.of_tokens(tokens.ids)
            )
            zero = tf.gather(text_splits, row)
            is_first = flags_at(row_splits, tf.size(tokens.ids))
            places = [self._trim(start, stop, around, each, zero) for each in (is_first, tf.ones_like(is_first))]

        byte_at = tf.concat([[0], source.limits], 0)

        def in_bytes(place: tf.Tensor) -> tf.Tensor:
            return tf.where(place == tf.gather(text_splits, row), 0, tf.gather(byte_at, place))

        offsets = [(in_bytes(start), in_bytes(stop)) for start, stop in places]
        return Rows(
            tf.where(token_added >= 0, token_added, tokens.ids),
            *offsets[0],
            row_splits[:-1],
            lengths_of(row_splits),
            *(offsets[1] if len(offsets) > 1 else ()),
        )

    def _cut_out(
        self, may_hold: tf.Tensor, finder: added.Finder, characters: Characters, around: tf.Tensor, splits: tf.Tensor
    ) -> tuple[Characters, tf.Tensor]:
        """Replace every added token, and the white space of its match, by one character."""

        def left() -> tuple[Characters, tf.Tensor]:
            left, kept, found = cut_out(finder, characters, splits, self._filler)
            if self._trim is None:
                return left, tf.gather(around, kept)
            marked = tf.tensor_scatter_nd_update(around, found.marker[:, tf.newaxis], self._trim.of_added(found))
            return left, tf.gather(marked, kept)

        return tf.cond(may_hold, left, lambda: (characters, around))

    def _in_nfc(
        self, changes: tf.Tensor, characters: Characters, around: tf.Tensor, starts: tf.Tensor
    ) -> tuple[Characters, tf.Tensor]:
        """Put pieces of text into normal form C, where that may change something."""
        form = self._nfc
        assert form is not None

        def changed() -> tuple[Characters, tf.Tensor]:
            codes, kept = form(characters.codes, tf.cumsum(tf.cast(starts, tf.int32)), characters.added >= 0)
            return characters.at(kept)._replace(codes=codes), tf.gather(around, kept)

        return tf.cond(changes, changed, lambda: (characters, around))
