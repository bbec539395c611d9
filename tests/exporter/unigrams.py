"""Small Unigram tokenizers with every setting: the reference, and the exporter's rules.

The vocabulary contains most characters as single tokens, so that ids show the normalised text.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strings import CHARACTERS, MARKS

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
#: Pieces, and scores whose sums are exact.
WORDS = {
    "\u2581": -2.0, "\u2581the": -1.0, "\u2581cat": -1.5, "s": -2.0, "\u2581c": -3.0, "at": -3.0, "a": -4.0, "t": -4.0,
    "ab": -5.0, "bc": -5.0, "b": -2.5, "c": -2.5, "abc": -7.5, "h": -4.0, "e": -4.0, "<mask>": 0.0,
    "\u2581\u2581": -3.0,
    "\u2581th": -2.0, "\u4e2d\u56fd": -3.0, "\u4eba": -3.0, "\u2581dog": -40.0, "d": -3.0, "o": -3.0, "g": -3.0,
    "x y": -1.0, "\u304c\u304d": -2.0, "of": -2.0, "\u2581of": -2.5, "q" * 16: -1.0,
}  # fmt: skip
METASPACE = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}
SPACES = {"type": "WhitespaceSplit"}
BLANKS = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}
_LOWER, _STRIP = {"type": "Lowercase"}, {"type": "Strip", "strip_left": True, "strip_right": True}


def replace(text: str, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": text}, "content": content}


def runs(regex: str, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"Regex": regex}, "content": content}


def charsmap(texts: dict[str, str]) -> dict[str, Any]:
    """A Precompiled step: a Darts trie with one node per byte; the children of each node are in a separate block."""
    import struct

    import numpy as np

    nodes: list[dict[int, int]] = [{}]
    ends: dict[int, int] = {}
    flat = b""
    for key, text in texts.items():
        node = 0
        for byte in key.encode():
            if byte not in nodes[node]:
                nodes[node][byte] = len(nodes)
                nodes.append({})
            node = nodes[node][byte]
        ends[node] = len(flat)
        flat += text.encode() + b"\0"
    # The block of node n is 256 * (n + 1) ...: unit of a child is block ^ byte.
    units = np.zeros(256 * (len(nodes) + 2), "<u4")
    place = {0: 0}
    for node, children in enumerate(nodes):
        block = 256 * (node + 1)
        offset = block ^ place[node]
        wide = offset >= 1 << 21
        assert not wide
        units[place[node]] |= offset << 10 | (1 << 8 if node in ends else 0)
        if node in ends:
            units[block] = 1 << 31 | ends[node]
        for byte, child in children.items():
            place[child] = block ^ byte
            units[place[child]] |= byte
    blob = struct.pack("<I", units.nbytes) + units.tobytes() + flat
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(blob).decode()}


#: Replacements of every kind: empty, by several characters, of a prefix of a longer key, of short and long clusters.
MAP = charsmap(
    {
        "A": "a", "\u00a0": " ", "\u200b": "", "\ufb01": "fi", "\u2122": "TM", "\u0958": "\u0915\u093c",
        "e\u0301": "\u00e9",
        "o\u0302": "\u00f4", "o\u0302\u0301": "\u1ed1", "\u00ad": "", "\r\n": " ", "\n": " ", "\u304b\u3099": "\u304c",
        "\uff76": "\u30ab", "\u2026": "...", "\u00e5": "a", "\x07": "", "u\u0308\u0301": "\u01d8",
        "\ufdfa": "abcabcabcabcabc",
        "\u3000": "  ", "\ufe0f": "",
    }
)  # fmt: skip
XLMR: dict[str, Any] = {"normalizer": [MAP], "pre_tokenizer": [SPACES, METASPACE]}
SETTINGS: dict[str, dict[str, Any]] = {
    "XLM-R": XLMR,
    "E5": {"normalizer": [MAP, BLANKS], "pre_tokenizer": [METASPACE]},
    "blanks to marks": {"normalizer": [MAP, runs(" {2,}", "\u2581")], "pre_tokenizer": [METASPACE]},
    "ALBERT": {"normalizer": [
        replace("``", '"'), replace("''", '"'), {"type": "NFKD"}, {"type": "StripAccents"}, _LOWER, MAP,
        BLANKS], "pre_tokenizer": [SPACES, METASPACE]},
    "DeBERTa of transformers 4": {"normalizer": [_STRIP, MAP, BLANKS], "pre_tokenizer": [METASPACE]},
    "DeBERTa of transformers 5": {"normalizer": [
        runs(r"\s{2,}|[\n\r\t]", " "), {"type": "NFC"}, {**_STRIP, "strip_left": False}],
        "pre_tokenizer": [METASPACE]},
    "tokenizers' own": {"normalizer": [{"type": "Nmt"}, {"type": "NFKC"}, BLANKS], "pre_tokenizer": [METASPACE]},
    "first": {"normalizer": [{**_STRIP, "strip_right": False}, MAP], "pre_tokenizer": [
        {**METASPACE, "prepend_scheme": "first"}]},
    "first, words": {"normalizer": [], "pre_tokenizer": [SPACES, {**METASPACE, "prepend_scheme": "first"}]},
    "never": {"normalizer": [{"type": "NFD"}], "pre_tokenizer": [{**METASPACE, "prepend_scheme": "never"}]},
    "one word": {"normalizer": [runs(r"\s+", " ")], "pre_tokenizer": [{**METASPACE, "split": False}]},
    "prepended": {"normalizer": [
        {"type": "Prepend", "prepend": "\u2581a"}, replace(" ", "\u2581"), replace("ab", ""), replace("aaa", "bc")],
        "pre_tokenizer": []},
    "marks, then spaces": {"normalizer": [runs(" +", "")], "pre_tokenizer": [
        {**METASPACE, "replacement": "c"}, SPACES]},
    "bytes": {**XLMR, "byte_fallback": True},
    "inexact": {**XLMR, "scale": 1.1},
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A reference tokenizer and its rules."""

    reference: Any
    rules: Any


def state(settings: str = "XLM-R", added: dict[str, dict[str, bool]] | None = None) -> dict[str, Any]:
    """A tokenizer.json."""
    chosen = SETTINGS[settings]
    characters = [char for char in (*CHARACTERS, *MARKS, "\ufffd") if char not in WORDS and char != "\u2603"]
    scores = dict.fromkeys(SPECIAL, 0.0) | WORDS | dict.fromkeys(characters, -8.0)
    if chosen.get("byte_fallback"):
        scores |= {f"<0x{byte:02X}>": -9.0 for byte in range(256)}
    vocab = [[piece, score * chosen.get("scale", 1)] for piece, score in scores.items()]
    begin, end = ({"SpecialToken": {"id": name, "type_id": 0}} for name in ("<s>", "</s>"))
    one, other = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    tokens = {name: {"id": name, "ids": [at], "tokens": [name]} for name, at in (("<s>", 0), ("</s>", 2))}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    ids = {piece: at for at, (piece, _) in enumerate(vocab)}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": sorted(
            (
                {"id": ids.get(content, len(vocab) + at), "content": content, **flags, **own}
                for at, (content, own) in enumerate((added or {}).items())
            ),
            key=lambda token: token["id"],
        ),
        "normalizer": {"type": "Sequence", "normalizers": chosen["normalizer"]} if chosen["normalizer"] else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": chosen["pre_tokenizer"]}
        if chosen["pre_tokenizer"]
        else None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [begin, one, end],
            "pair": [begin, one, end, end, other, end],
            "special_tokens": tokens,
        },
        "decoder": None,
        "model": {
            "type": "Unigram",
            "unk_id": 3,
            "vocab": vocab,
            "byte_fallback": chosen.get("byte_fallback", False),
        },
    }


def case(made: dict[str, Any]) -> Case:
    """The reference and the rules of a tokenizer.json."""
    from rawbert.exporter.sources import unigram
    from tokenizers import Tokenizer

    reference = Tokenizer.from_str(json.dumps(made))
    return Case(reference, unigram.parse(reference, {}, Path("tokenizer.json")))
