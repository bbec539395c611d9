"""The steps of a Unigram tokenizer's normaliser. Each maps code points to code points with their origins.

If a step replaces, adds or removes code points, the tokenizers library has its own rules for the positions of the
results (``NormalizedString.transform``); each step here follows them.

Shape letters: C code points before a step, E after it.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from ..forms import Form
from ..lookup import Lookup
from ..ragged import last_true, shifted, spread
from ..replacements import Replacements
from ..tables import CODE_POINTS, each, paged, scalars
from . import reference
from .precompiled import Precompiled
from .spec import Step

_BESIDE = "a"  # a character of no run


class Stage(Protocol):
    """A step of a normaliser."""

    def concerns(self, codes: tf.Tensor, starts: tf.Tensor) -> tf.Tensor:
        """Whether the step may change something, bool. If not, it is skipped.

        Args:
            codes: int32 ``[C]``.
            starts: bool ``[C]``, whether a code point begins a piece of text.
        """

    def __call__(self, codes: tf.Tensor, piece: tf.Tensor, fixed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Normalise.

        Args:
            codes: int32 ``[C]``.
            piece: int32 ``[C]``, index of the piece of text, ascending from 0.
            fixed: bool ``[C]``, whether a code point is the placeholder of an added token, which is a piece.

        Returns:
            Code points, and the index of the origin of each, int32 ``[E]``.
        """


def stage(step: Step) -> Stage:
    """A step of a normaliser."""
    made: Stage = _KINDS[step.type](step)
    return made


class Single:
    """Replaces code points one by one."""

    def __init__(self, step: Step) -> None:
        codes, splits, mapped = each(reference.normalizer([step]).normalize_str, "\ue000")
        texts = {}
        for code, start, stop in zip(codes.tolist(), splits[:-1].tolist(), splits[1:].tolist(), strict=True):
            if stop - start != 1 or mapped[start] != code:
                texts[code] = mapped[start:stop].tolist()
        self._replacements = Replacements(texts)

    def concerns(self, codes: tf.Tensor, starts: tf.Tensor) -> tf.Tensor:
        """Whether something is replaced."""
        return tf.reduce_any(self._replacements.look_up(codes) != 0)

    def __call__(self, codes: tf.Tensor, piece: tf.Tensor, fixed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Replace."""
        mapped, source, _ = self._replacements(codes, self._replacements.look_up(codes))
        return mapped, source


class Strip:
    """Removes white space at both ends of pieces."""

    def __init__(self, step: Step) -> None:
        self._is_space = Lookup(paged(reference.spaces()))
        self._left, self._right = step["strip_left"], step["strip_right"]

    def concerns(self, codes: tf.Tensor, starts: tf.Tensor) -> tf.Tensor:
        """Whether there is white space at the end of a piece."""
        ends = tf.concat([starts, [True]], 0)[1:]
        return tf.reduce_any((self._is_space(codes) > 0) & (starts | ends))

    def __call__(self, codes: tf.Tensor, piece: tf.Tensor, fixed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Strip."""
        text = self._is_space(codes) == 0
        kept = tf.ones_like(text)
        for strips, reverse in ((self._left, False), (self._right, True)):
            if strips:
                kept &= _seen(text, piece, reverse)
        source = tf.cast(tf.reshape(tf.where(kept), [-1]), tf.int32)
        return tf.gather(codes, source), source


def _seen(flags: tf.Tensor, piece: tf.Tensor, reverse: bool) -> tf.Tensor:
    """Whether there is a flag in the same piece, at or before each place; after it if ``reverse``."""
    if reverse:
        backwards = tf.reduce_max(piece) - tf.reverse(piece, [0])  # from 0 on again
        return tf.reverse(_seen(tf.reverse(flags, [0]), backwards, False), [0])
    first = last_true(piece != shifted(piece, -1))
    return last_true(flags) >= first


class Prepend:
    """Adds a text at the start of pieces."""

    def __init__(self, step: Step) -> None:
        self._text = tf.constant([*map(ord, step["prepend"])], tf.int32)

    def concerns(self, codes: tf.Tensor, starts: tf.Tensor) -> tf.Tensor:
        """Always."""
        return tf.constant(True)

    def __call__(self, codes: tf.Tensor, piece: tf.Tensor, fixed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Prepend; the new text has the position of the piece's first code point."""
        more = tf.where((piece != shifted(piece, -1)) & ~fixed, tf.size(self._text), 0)
        source, within = spread(1 + more)
        more = tf.gather(more, source)
        return tf.where(
            within < more, tf.gather(self._text, tf.where(within < more, within, 0)), tf.gather(codes, source)
        ), source


def replace(step: Step) -> Stage:
    """A Replace step: of a text, or of runs of characters."""
    return ReplaceText(step) if "String" in step["pattern"] else ReplaceRuns(step)


class _Replace:
    """Replaces matches; the replacement has the position of the last code point of the match."""

    def __init__(self, content: str) -> None:
        self._content = tf.constant([*map(ord, content)], tf.int32)

    def _replaced(self, codes: tf.Tensor, match: tf.Tensor, last: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Replace code points: ``match`` marks those in a match, ``last`` the last one of each match."""
        source, within = spread(tf.where(match, tf.where(last, tf.size(self._content), 0), 1))
        new = tf.gather(match, source)
        content = tf.concat([self._content, [0]], 0)
        return tf.where(new, tf.gather(content, within), tf.gather(codes, source)), source


class ReplaceRuns(_Replace):
    """Replaces runs of characters. The reference tells which characters, and which ones are replaced alone too."""

    def __init__(self, step: Step) -> None:
        super().__init__(step["content"])
        found = "\ue000"
        asked = reference.normalizer([Step(step.type, json.dumps({**json.loads(step.state), "content": found}))])
        codes = scalars()
        codes = codes[(codes != ord(_BESIDE)) & (codes != ord(found))]
        table = np.zeros(CODE_POINTS, np.int32)
        for times in (2, 1):
            texts = asked.normalize_str(_BESIDE.join(chr(code) * times for code in codes.tolist())).split(_BESIDE)
            table[codes[[text == found for text in texts]]] = 3 - times
        self._member = Lookup(paged(table))  # 1: only in a run, 2: also alone

    def concerns(self, codes: tf.Tensor, starts: tf.Tensor) -> tf.Tensor:
        """Whether there is a run."""
        kind = self._member(codes)
        return tf.reduce_any((kind > 1) | (kind > 0) & (shifted(kind, 0) > 0))

    def __call__(self, codes: tf.Tensor, piece: tf.Tensor, fixed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Replace."""
        kind = tf.where(fixed, 0, self._member(codes))
        runs_on = (kind > 0) & (shifted(kind, 0) > 0) & (piece == shifted(piece, -1))  # from the one before
        goes_on = tf.concat([runs_on, [False]], 0)[1:]
        return self._replaced(codes, (kind > 1) | runs_on | goes_on, ~goes_on)


class ReplaceText(_Replace):
    """Replaces a text. A text that can overlap itself must consist of one character."""

    def __init__(self, step: Step) -> None:
        super().__init__(step["content"])
        self._text = [*map(ord, step["pattern"]["String"])]

    def concerns(self, codes: tf.Tensor, starts: tf.Tensor) -> tf.Tensor:
        """Whether the text's first character is there."""
        return tf.reduce_any(codes == self._text[0])

    def __call__(self, codes: tf.Tensor, piece: tf.Tensor, fixed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Replace."""
        count, size = tf.size(codes), len(self._text)
        padded, of = tf.concat([codes, [-1] * size], 0), tf.concat([piece, [-1] * size], 0)
        begins = tf.ones_like(fixed)
        for at, code in enumerate(self._text):
            begins &= (padded[at : count + at] == code) & (of[at : count + at] == piece)
        # Of overlapping matches the leftmost counts. In a run of one character, matches begin after whole texts.
        run = last_true(~(begins & shifted(begins, False)) if size > 1 else begins)
        begins &= (tf.range(count) - run) % size == 0
        last = shifted_by(begins, size - 1)
        covered = tf.cumsum(tf.cast(begins, tf.int32) - tf.cast(shifted_by(begins, size), tf.int32)) > 0
        return self._replaced(codes, covered, last)


def shifted_by(flags: tf.Tensor, places: int) -> tf.Tensor:
    """Flags a number of places later."""
    return tf.concat([[False] * places, flags], 0)[: tf.size(flags)]


_KINDS: Mapping[str, Callable[[Step], Any]] = {
    "Lowercase": Single,
    "Nmt": Single,
    "StripAccents": Single,
    "Strip": Strip,
    "Prepend": Prepend,
    "Replace": replace,
    "Precompiled": Precompiled,
    **dict.fromkeys(("NFC", "NFD", "NFKC", "NFKD"), lambda step: Form(step.type)),
}
