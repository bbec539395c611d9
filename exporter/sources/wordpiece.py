"""The rules of a WordPiece tokenizer, from its complete state as the tokenizers library writes it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UnsupportedModel, VocabularyError
from ..tokenizers.wordpiece.spec import WordPieceSpec
from .tokenizer_parts import common, parts

#: Parts of a tokenizer.json that can be exported.
PARTS = ("BertNormalizer", "Lowercase", "BertPreTokenizer", "WordPiece")


def parse(backend: Any, settings: Mapping[str, Any], where: Path) -> WordPieceSpec:
    """Rules of a tokenizer.

    Args:
        backend: the ``tokenizers.Tokenizer``.
        settings: contents of tokenizer_config.json.
        where: the source file, for errors.

    Raises:
        UnsupportedModel: not a BERT WordPiece tokenizer, or a setting that cannot be exported.
        VocabularyError: the vocabulary lacks a required token.
    """
    state = json.loads(backend.to_str())
    normalizer = _bert_normalizer(state.get("normalizer"), where)
    model = state["model"]
    if [step["type"] for step in parts(state.get("pre_tokenizer"))] != ["BertPreTokenizer"]:
        raise _other_kind(where, "pre-tokenizer", state.get("pre_tokenizer"), "BertPreTokenizer")
    if not model["continuing_subword_prefix"]:
        raise UnsupportedModel(f"{where}: the tokenizer's continuing_subword_prefix is empty; expected one, such as ##")

    # A blank line is not a word; ids at the end that belong only to blank lines do not count.
    words = {index: word for word, index in model["vocab"].items() if word}
    if model["unk_token"] not in words.values():
        raise VocabularyError(f"{where}: the vocabulary has no {model['unk_token']}, which BERT needs")
    fields = common(state, settings, backend, where, usual_pad="[PAD]")
    return WordPieceSpec(
        vocab=tuple(words.get(index) for index in range(max(words, default=-1) + 1)),
        unk_token=model["unk_token"],
        continuing_subword_prefix=model["continuing_subword_prefix"],
        max_input_chars_per_word=model["max_input_chars_per_word"],
        trim_offsets=_trims_offsets(state, normalizer, backend, where),
        **fields,
        **normalizer,
    )


def _bert_normalizer(state: dict[str, Any] | None, where: Path) -> dict[str, Any]:
    """The settings of a BertNormalizer that is equivalent to the file's normaliser."""
    steps = {step["type"]: step for step in parts(state)}
    if not set(steps) <= {"BertNormalizer", "Lowercase"} or len(steps) < len(parts(state)):
        raise _other_kind(where, "normalizer", state, "BertNormalizer")
    bert = steps.get("BertNormalizer", {})
    names = ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase")
    settings = {name: bert.get(name, False) for name in names}
    if "Lowercase" in steps:
        # An unset strip_accents follows the normaliser's own lowercase, not another step's.
        unset = settings["strip_accents"] is None
        settings |= {"strip_accents": settings["lowercase"] if unset else settings["strip_accents"], "lowercase": True}
    return settings


def _other_kind(where: Path, part: str, state: dict[str, Any] | None, kind: str) -> UnsupportedModel:
    found = " and ".join(step["type"] for step in parts(state)) or "none"
    return UnsupportedModel(
        f"{where}: the tokenizer's {part} is {found}, but only {kind} can be exported with WordPiece"
    )


def _trims_offsets(state: dict[str, Any], normalizer: Mapping[str, Any], backend: Any, where: Path) -> bool:
    """Whether offsets exclude white space, which here occurs only in added tokens with lstrip or rstrip."""
    processor = state.get("post_processor") or {}
    if not processor.get("trim_offsets"):
        return False
    normalize = backend.normalizer.normalize_str if backend.normalizer else str
    words = [normalize(each["content"]) if each["normalized"] else each["content"] for each in state["added_tokens"]]
    if not normalizer["lowercase"]:
        words += state["model"]["vocab"]
    # Byte-level tokenizers write this letter for a space; it counts as one.
    odd = [word for word in words if word != word.strip("\u0120").strip()]
    # The stripped length is counted in normalised text, and may be different in the text itself.
    odd += [
        each["content"] for each in state["added_tokens"] if each["normalized"] and (each["lstrip"] or each["rstrip"])
    ]
    if odd or processor.get("add_prefix_space"):
        raise UnsupportedModel(
            f"{where}: the tokenizer's {processor['type']} moves offsets (trim_offsets) "
            + (f"within {odd[0]!r}" if odd else "of the first token (add_prefix_space)")
            + ", which cannot be exported"
        )
    return True
