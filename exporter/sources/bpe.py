"""The rules of a byte-level BPE tokenizer, from its complete state as the tokenizers library writes it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import UnsupportedModel, VocabularyError
from ..tokenizers.bpe.spec import LETTERS, BpeSpec, out_of_order
from .tokenizer_parts import common, parts

#: Parts of a tokenizer.json that can be exported.
PARTS = ("NFC", "ByteLevel", "Split", "BPE")
#: ByteLevel's own pattern for splitting texts, which some tokenizers also state explicitly.
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
#: Bytes that never occur in UTF-8.
_NEVER = {0xC0, 0xC1, *range(0xF5, 0x100)}


def parse(backend: Any, settings: Mapping[str, Any], where: Path) -> BpeSpec:
    """Rules of a tokenizer.

    Args:
        backend: the ``tokenizers.Tokenizer``.
        settings: contents of tokenizer_config.json.
        where: the source file, for errors.

    Raises:
        UnsupportedModel: not a byte-level BPE tokenizer, or a setting that cannot be exported.
        VocabularyError: the vocabulary lacks bytes.
    """
    state = json.loads(backend.to_str())
    normalizers = [step["type"] for step in parts(state.get("normalizer"))]
    if normalizers not in ([], ["NFC"]):
        raise _other(where, "normalizer", normalizers, "NFC or none")
    model = state["model"]
    _require_plain(model, where)
    merges = tuple((one, other) for one, other in model["merges"])
    wrong = out_of_order(merges)
    if wrong is not None:
        raise UnsupportedModel(
            f"{where}: the merges create the token {wrong!r} after a merge that uses it; expected merges in the order "
            "of training"
        )
    words = {index: word for word, index in model["vocab"].items()}
    trims = _trims(state, where)
    return BpeSpec(
        vocab=tuple(words.get(index) for index in range(max(words, default=-1) + 1)),
        merges=merges,
        unknown_byte=model["unk_token"],
        ignore_merges=model.get("ignore_merges", False),
        nfc=bool(normalizers),
        **_pre_tokenizer(state, where),
        trim_offsets=trims is not None,
        keeps_prefix_space=bool(trims and trims["add_prefix_space"]),
        **common(state, settings, backend, where, usual_pad="<pad>"),
    )


def _require_plain(model: Mapping[str, Any], where: Path) -> None:
    """Refuse models that are not byte-level, or that have more steps than merges."""
    for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(key):
            raise UnsupportedModel(f"{where}: the tokenizer's {key} is {model[key]!r}; expected none")
    unknown = model["unk_token"]
    missing = [byte for byte, letter in enumerate(LETTERS) if byte not in _NEVER and letter not in model["vocab"]]
    if not missing:
        return
    lacks = f"{where}: the vocabulary has no token for {len(missing)} bytes (0x{missing[0]:02x} is one)"
    if unknown is None or unknown not in model["vocab"]:
        raise VocabularyError(f"{lacks}, and no unknown token; expected a token for each byte")
    for key in ("fuse_unk", "byte_fallback"):
        if model.get(key):
            raise UnsupportedModel(f"{lacks}, and {key} is {model[key]!r}, which cannot be exported with it")


def _pre_tokenizer(state: Mapping[str, Any], where: Path) -> dict[str, Any]:
    """The splitting of texts into words."""
    steps = parts(state.get("pre_tokenizer"))
    kinds = [step["type"] for step in steps]
    if kinds == ["ByteLevel"]:
        return {"add_prefix_space": steps[0]["add_prefix_space"], "splits": steps[0]["use_regex"]}
    if kinds != ["Split", "ByteLevel"]:
        raise _other(where, "pre-tokenizer", kinds, "ByteLevel")
    split, letters = steps
    how = (split["behavior"], split["invert"])
    if split["pattern"] != {"Regex": _GPT2} or how not in (("Isolated", False), ("Removed", True)):
        raise UnsupportedModel(
            f"{where}: texts are split by {json.dumps(split['pattern'])} ({how[0]}); only GPT-2's pattern can be "
            "exported"
        )
    if letters["use_regex"] or letters["add_prefix_space"]:
        raise UnsupportedModel(
            f"{where}: ByteLevel changes words after the split (use_regex or add_prefix_space), which cannot be "
            "exported"
        )
    return {"add_prefix_space": False, "splits": True}


def _trims(state: Mapping[str, Any], where: Path) -> dict[str, Any] | None:
    """The post-processor that trims offsets."""
    steps = parts(state.get("post_processor"))
    trimming = [step for step in steps if step.get("trim_offsets")]
    if trimming and (len(trimming) > 1 or trimming[0] is not steps[0]):
        raise UnsupportedModel(
            f"{where}: the post-processor {trimming[-1]['type']} trims offsets after another step; expected it to be "
            "the first step, and the only one that trims"
        )
    return trimming[0] if trimming else None


def _other(where: Path, part: str, found: list[str], expected: str) -> UnsupportedModel:
    return UnsupportedModel(
        f"{where}: the tokenizer's {part} is {' and '.join(found) or 'none'}, but only {expected} can be "
        "exported with BPE"
    )
