"""Checks of tokenizer files for what their readers pass over in silence: a word that stands there twice.

Readers make a dict of the words. The second of two equal ones replaces the first, whose id no text can then have.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import CorruptSource, VocabularyError
from ...sources.jsonfile import read_json, read_object

__all__ = ["is_cased", "require_sound", "require_unique_lines"]


def require_sound(folder: Path) -> Path:
    """Hold a folder's tokenizer files to JSON, one id a word, and one word an id; the file of the vocabulary.

    Raises:
        VocabularyError: a word or an id is there twice.
        CorruptSource: a file cannot be read.
    """
    for name in ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"):
        if (folder / name).is_file():
            read_object(folder / name)
    if (folder / "vocab.txt").is_file():
        require_unique_lines(folder / "vocab.txt")
    path = folder / "tokenizer.json"
    if not path.is_file():
        return folder / "vocab.txt"

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key, value in pairs:
            if key in made:
                raise VocabularyError(
                    f"{path}: the key {key!r} is there twice: expected once, found {made[key]!r} and {value!r}"
                )
            made[key] = value
        return made

    state = read_json(path, unique)
    model = state.get("model") if isinstance(state, dict) else None
    vocab = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocab, dict):
        words: dict[Any, str] = {}
        for word, index in vocab.items():
            if index in words:
                raise VocabularyError(
                    f"{path}: the id {index} is there twice: expected one word, found {words[index]!r} and {word!r}"
                )
            words[index] = word
    return path


def require_unique_lines(path: Path) -> list[str]:
    """The words of a vocab.txt, each of which must be there once.

    Raises:
        as :func:`require_sound`.
    """
    try:
        # Not splitlines(), which knows many more line ends than the readers of this format.
        words = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except (OSError, ValueError) as error:
        raise CorruptSource(f"{path}: not readable as UTF-8 text: {error}") from error
    lines: dict[str, int] = {}
    for number, word in enumerate(words, 1):
        if word in lines:
            raise VocabularyError(
                f"{path}: the word {word!r} is there twice: expected once, found in the lines {lines[word]} "
                f"and {number}"
            )
        lines[word] = number
    return words


def is_cased(words: list[str]) -> bool:
    """Whether a vocabulary is of a model that tells capitals apart: one that does not can use no word with one."""
    return any(word != word.lower() for word in words if not (word.startswith("[") and word.endswith("]")))
