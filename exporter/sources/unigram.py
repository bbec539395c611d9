"""The rules of a Unigram tokenizer, from its complete state as the tokenizers library writes it."""

import base64
import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import CorruptSource, UnsupportedModel, VocabularyError
from ..tokenizers.unigram import charsmap
from ..tokenizers.unigram.spec import Step, UnigramSpec
from .tokenizer_parts import common, parts

_NORMALIZERS = (
    "Precompiled", "Replace", "Nmt", "NFC", "NFD", "NFKC", "NFKD", "StripAccents", "Strip", "Lowercase", "Prepend",
)  # fmt: skip
_PRE_TOKENIZERS = ("Metaspace", "WhitespaceSplit")
#: Parts of a tokenizer.json that can be exported.
PARTS = ("Unigram", *_NORMALIZERS, *_PRE_TOKENIZERS)
#: Regular expressions of a Replace step: runs of characters (of some, a run of one is enough).
_RUNS = (" {2,}", " +", r"\s{2,}", r"\s+", r"\s{2,}|[\n\r\t]")


def parse(backend: Any, settings: Mapping[str, Any], where: Path) -> UnigramSpec:
    """Rules of a tokenizer.

    Args:
        backend: the ``tokenizers.Tokenizer``.
        settings: contents of tokenizer_config.json.
        where: the source file, for errors.

    Raises:
        UnsupportedModel: a setting that cannot be exported.
        VocabularyError: the vocabulary lacks a required token.
    """
    state = json.loads(backend.to_str())
    model = state["model"]
    normalizer = _steps(state.get("normalizer"), "normalizer", _NORMALIZERS, where)
    pre_tokenizer = _steps(state.get("pre_tokenizer"), "pre-tokenizer", _PRE_TOKENIZERS, where)
    for step in normalizer:
        _require_exact(step, where)
    if model["unk_id"] is None:
        raise VocabularyError(f"{where}: no unk_id; expected the token for unknown characters")
    for name in ("alpha", "nbest_size"):
        if model.get(name) is not None:
            raise UnsupportedModel(
                f"{where}: {name} is {model[name]!r}, so pieces are chosen at random, which cannot be exported"
            )
    scores = [score for _, score in model["vocab"]]
    if not all(map(math.isfinite, scores)):
        raise VocabularyError(f"{where}: the score of a piece is not a number")
    # Of equal pieces the last one counts.
    ids = {piece: at for at, (piece, _) in enumerate(model["vocab"])}
    bytes_left = {f"<0x{byte:02X}>" for byte in range(256)} - set(ids)
    if model["byte_fallback"] and bytes_left:
        raise UnsupportedModel(
            f"{where}: byte_fallback is set, but the vocabulary has no {min(bytes_left)}; this cannot be exported"
        )
    processor = state.get("post_processor") or {}
    if processor.get("trim_offsets"):
        raise UnsupportedModel(
            f"{where}: the tokenizer's {processor['type']} moves offsets (trim_offsets), which cannot be exported"
        )
    return UnigramSpec(
        vocab=tuple(piece if piece and ids[piece] == at else None for at, (piece, _) in enumerate(model["vocab"])),
        scores=tuple(scores),
        unk_id=model["unk_id"],
        byte_fallback=model["byte_fallback"],
        normalizer=normalizer,
        pre_tokenizer=pre_tokenizer,
        **common(state, settings, backend, where, usual_pad="<pad>"),
    )


def _steps(state: Any, part: str, known: tuple[str, ...], where: Path) -> tuple[Step, ...]:
    steps = parts(state)
    for step in steps:
        if step["type"] not in known:
            raise UnsupportedModel(
                f"{where}: the tokenizer's {part} has {step['type']}; with Unigram {', '.join(known)} can be exported"
            )
    return tuple(Step(step["type"], json.dumps(step)) for step in steps)


def _require_exact(step: Step, where: Path) -> None:
    """Refuse settings of a normaliser's step for which the graph would differ from the reference."""
    if step.type == "Replace":
        pattern = step["pattern"]
        text = pattern.get("String", "")
        if "Regex" in pattern and pattern["Regex"] not in _RUNS:
            raise UnsupportedModel(
                f"{where}: the normalizer replaces the regular expression {pattern['Regex']!r}; "
                f"only {', '.join(_RUNS)} can be exported"
            )
        if "String" in pattern and not text:
            raise UnsupportedModel(f"{where}: the normalizer replaces an empty text, which cannot be exported")
        if len(set(text)) > 1 and any(text.startswith(text[at:]) for at in range(1, len(text))):
            raise UnsupportedModel(
                f"{where}: the normalizer replaces {text!r}, which can overlap itself and cannot be exported"
            )
    if step.type == "Precompiled":
        try:
            texts = charsmap.reachable(charsmap.entries(base64.b64decode(step["precompiled_charsmap"])))
        except (ValueError, IndexError, struct.error) as error:
            raise CorruptSource(f"{where}: the normalizer's precompiled_charsmap cannot be read: {error}") from error
        odd = charsmap.joined(texts, step)
        if odd:
            raise UnsupportedModel(
                f"{where}: the normalizer's precompiled_charsmap replaces {odd!r}, which combines with the character "
                "before it and cannot be exported"
            )
