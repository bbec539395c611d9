"""vocab.txt, and checks of tokenizer.json for faults that its readers ignore: a duplicate word or id.

Readers build a dict of the words: a duplicate replaces the first one, whose id no text can then have.
"""

from pathlib import Path
from typing import Any

from ..errors import CorruptSource, VocabularyError
from .jsonfile import read_object

#: Minimum share of capitals, among words that could have them, in the vocabulary of a cased model.
_CASED = 0.05


def require_sound(path: Path) -> dict[str, Any]:
    """A tokenizer.json without duplicate keys, and with one word per id.

    Raises:
        VocabularyError: a duplicate word or id.
        CorruptSource: the file cannot be read.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key, value in pairs:
            if key in made:
                raise VocabularyError(
                    f"{path}: the key {key!r} occurs twice: expected once, found {made[key]!r} and {value!r}"
                )
            made[key] = value
        return made

    state = read_object(path, unique)
    model = state.get("model")
    vocab = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocab, dict):
        words: dict[Any, str] = {}
        for word, index in vocab.items():
            if index in words:
                raise VocabularyError(
                    f"{path}: the id {index} occurs twice: expected one word, found {words[index]!r} and {word!r}"
                )
            words[index] = word
    return state


def read_lines(path: Path) -> tuple[list[str], list[str]]:
    """The words of a vocab.txt, one per line, and notes for the user about lines that no text can match.

    Raises:
        CorruptSource: it cannot be read.
    """
    try:
        # Not splitlines(), which has many more line ends than the readers of this format.
        words = path.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")
    except (OSError, ValueError) as error:
        raise CorruptSource(f"{path}: not readable as UTF-8 text: {error}") from error
    # The format's own library trims the ends of lines.
    words = [word.rstrip() for word in words]
    last = {word: number for number, word in enumerate(words)}
    lost = [number for number, word in enumerate(words) if not word or last[word] != number]
    if not lost:
        return words, []
    shown = ", ".join(f"{words[number]!r} in line {number + 1}" for number in lost[:3])
    more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
    return words, [f"{path.name} has lines that no text can match, blank ones or duplicates: {shown}{more}"]


def is_cased(words: list[str]) -> bool:
    """Whether a vocabulary belongs to a cased model."""
    words = [word for word in words if word and word[0] + word[-1] not in ("[]", "<>")]
    could = [word for word in words if word.lower() != word.upper()]
    return sum(word != word.lower() for word in could) > _CASED * len(could)
