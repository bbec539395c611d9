"""Search for added tokens in flat code points: leftmost, then longest match, like the reference's matcher.

A match of a ``single_word`` token next to a word character is skipped, together with its text. With ``lstrip`` and
``rstrip`` a match includes the adjacent white space, except white space of the match before it.

Shape letters: C code points, P pieces of text, M matches.
"""

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow_text.python.ops.regex_split_ops import gen_regex_split_ops

from .lookup import Strings
from .ragged import rows_of, starts_of
from .spec import AddedToken
from .tables import CODE_POINTS, scalars


class Matches(NamedTuple):
    """Added tokens in a sequence of code points, in order."""

    id: tf.Tensor  # int32 [M]
    start: tf.Tensor  # int32 [M], first code point, white space of the match included
    marker: tf.Tensor  # int32 [M], first code point of the token itself
    end: tf.Tensor  # int32 [M], code point after the token itself
    stop: tf.Tensor  # int32 [M], code point after the last, white space of the match included


class Finder:
    """Finds added tokens.

    Args:
        tokens: search text and token; of equal texts the first counts.
        ignored: tokens that are skipped when found, together with their text.
    """

    def __init__(self, tokens: Sequence[tuple[str, AddedToken]], ignored: frozenset[str] = frozenset()) -> None:
        first = dict(reversed(tokens))
        # RE2 takes the first alternative that matches; sorted by length, this is the longest match.
        texts = sorted(first, key=len, reverse=True)
        self._pattern = f"({'|'.join(map(re.escape, texts))})"  # the op requires a group
        self._texts = Strings({text: at for at, text in enumerate(first)})
        self._ids = tf.constant([token.id for token in first.values()], tf.int32)
        self._ignored = _flags(token.content in ignored for token in first.values())
        self._single_word, self._lstrip, self._rstrip = (
            _flags(getattr(token, flag) for token in first.values()) for flag in ("single_word", "lstrip", "rstrip")
        )
        strips = self._lstrip is not None or self._rstrip is not None
        self._word_spans = None if self._single_word is None else tf.constant(_spans("single_word"))
        self._space_spans = tf.constant(_spans("lstrip")) if strips else None

    def __call__(self, codes: tf.Tensor, splits: tf.Tensor, filler: int) -> Matches:
        """Find all matches.

        Args:
            codes: int32 ``[C]``.
            splits: int32 ``[P + 1]``, start of each piece of text; each piece is searched separately.
            filler: a code point that occurs in no token.
        """
        # The op ends a text at a NUL.
        visible = tf.where(codes == 0, filler, codes)
        pieces = tf.strings.unicode_encode(tf.RaggedTensor.from_row_splits(visible, splits, validate=False), "UTF-8")
        # tf_text.regex_split_with_offsets would add three assertions on the splits, with six functions each.
        parts, begins, _, part_splits = gen_regex_split_ops.regex_split_with_offsets(
            pieces, self._pattern, self._pattern
        )
        token = self._texts(parts)
        at = tf.reshape(tf.where(token >= 0), [-1])  # [M]
        token = tf.gather(token, at)
        piece = tf.gather(rows_of(tf.cast(part_splits, tf.int32), tf.size(parts)), at)
        # From bytes of all pieces end to end back to code points.
        position = starts_of(utf8_length(visible))  # [C + 1]
        byte = tf.gather(position, tf.gather(splits, piece)) + tf.cast(tf.gather(begins, at), tf.int32)
        marker = tf.searchsorted(position, byte)
        stop = tf.searchsorted(position, byte + tf.strings.length(tf.gather(parts, at)))
        begin_of_piece, end_of_piece = tf.gather(splits, piece), tf.gather(splits, piece + 1)

        dropped = []
        if self._ignored is not None:
            dropped.append(tf.gather(self._ignored, token))
        if self._word_spans is not None:
            around = tf.concat([[filler], codes, [filler]], 0)
            beside = (_within(self._word_spans, tf.gather(around, marker)) & (marker > begin_of_piece)) | (
                _within(self._word_spans, tf.gather(around, stop + 1)) & (stop < end_of_piece)
            )
            dropped.append(beside & tf.gather(self._single_word, token))
        if dropped:
            kept = tf.where(~tf.reduce_any(dropped, 0))[:, 0]
            token, marker, stop, piece, begin_of_piece, end_of_piece = (
                tf.gather(each, kept) for each in (token, marker, stop, piece, begin_of_piece, end_of_piece)
            )

        start, end = marker, stop
        if self._space_spans is not None:
            other = tf.cast(tf.reshape(tf.where(~_within(self._space_spans, codes)), [-1]), tf.int32)
            if self._rstrip is not None:
                # The next code point that is not a space.
                after = tf.gather(tf.concat([other, tf.shape(codes)], 0), tf.searchsorted(other, stop))
                stop = tf.where(tf.gather(self._rstrip, token), tf.minimum(after, end_of_piece), stop)
            if self._lstrip is not None:
                before = tf.gather(tf.concat([[-1], other], 0), tf.searchsorted(other, marker))
                follows = tf.concat([[False], piece[1:] == piece[:-1]], 0)
                free = tf.where(follows, tf.concat([[0], stop[:-1]], 0), begin_of_piece)
                start = tf.where(tf.gather(self._lstrip, token), tf.maximum(before + 1, free), marker)
        return Matches(tf.gather(self._ids, token), start, marker, end, stop)


def utf8_length(codes: tf.Tensor) -> tf.Tensor:
    """UTF-8 length of each code point."""
    return 1 + sum(tf.cast(codes >= limit, tf.int32) for limit in (0x80, 0x800, 0x10000))


def utf8_byte(codes: tf.Tensor, lengths: tf.Tensor, at: tf.Tensor) -> tf.Tensor:
    """Byte number ``at`` of each code point, whose UTF-8 lengths are ``lengths``."""
    bits = tf.bitwise.right_shift(codes, 6 * (lengths - 1 - at))
    return tf.where(at == 0, tf.gather([0, 0, 0xC0, 0xE0, 0xF0], lengths) + bits, 0x80 + bits % 64)


def finders(
    tokens: Sequence[AddedToken], ignored: frozenset[str], normalize: Callable[[str], str]
) -> tuple[Finder | None, Finder | None]:
    """The finders for tokens in the raw text, and for tokens in the normalised text."""
    raw, normalized = (
        _finder([token for token in tokens if token.normalized == each], ignored, normalize) for each in (False, True)
    )
    return raw, normalized


def _finder(tokens: Sequence[AddedToken], ignored: frozenset[str], normalize: Callable[[str], str]) -> Finder | None:
    """The finder for these tokens; ``None`` if all of them are ignored."""
    if all(token.content in ignored for token in tokens):
        return None
    # Among tokens that are equal after normalisation, the reference's choice depends on the order of a hash map. Here
    # it is a special token, or the one with the lowest id.
    ordered = sorted(tokens, key=lambda token: (not token.special, token.id))
    return Finder([(sought(token, normalize), token) for token in ordered], ignored)


def anywhere(tokens: Sequence[AddedToken], ignored: frozenset[str], normalize: Callable[[str], str]) -> str | None:
    """A regular expression that matches all texts with one of the tokens, and some more; ``None`` if all are
    ignored."""
    searched = [sought(token, normalize) for token in tokens if token.content not in ignored]
    if not searched:
        return None
    texts = {re.sub(r"\\?[ \t\n\r]", r"[\\t\\n\\r ]", re.escape(token)) for token in searched}
    # Any byte, because text before a token may not be UTF-8; any case, because normalisation may change it.
    return f"\\C*(?i:{'|'.join(sorted(texts))})\\C*"


def sought(token: AddedToken, normalize: Callable[[str], str]) -> str:
    """The spelling of a token in the searched text."""
    return normalize(token.content) if token.normalized else token.content


def _flags(values: Any) -> tf.Tensor | None:
    flags = np.array(list(values), bool)
    return tf.constant(flags) if flags.any() else None


def _within(spans: tf.Tensor, codes: tf.Tensor) -> tf.Tensor:
    return tf.searchsorted(spans, codes, side="right") % 2 == 1


@functools.cache
def _spans(flag: str) -> np.ndarray:
    """Characters that change the match of a token with this flag before them; the reference is queried for each.

    For ``single_word`` these are word characters; for ``lstrip`` (and ``rstrip``) white space.

    Returns:
        Starts and ends of their ranges among all code points, int32 ``[2 * spans]``, ascending.
    """
    from tokenizers import AddedToken as Added
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    tokenizer = Tokenizer(WordLevel({"other": 0}, unk_token="other"))
    tokenizer.add_tokens([Added("<>", normalized=False, **{flag: True})])
    chars = [chr(code) for code in scalars().tolist()]
    member = np.zeros(CODE_POINTS + 1, np.int8)
    together = 64  # few, because the matcher restarts at the beginning for every token
    for start in range(0, len(chars), together):
        some = chars[start : start + together]
        encoding = tokenizer.encode("".join(f"{char}<>|" for char in some))
        found = {span for span, id in zip(encoding.offsets, encoding.ids, strict=True) if id == 1}
        for at, char in enumerate(some):
            member[ord(char)] = (at * 4 + 1, at * 4 + 3) not in found
    return np.flatnonzero(np.diff(member, prepend=0)).astype(np.int32)
