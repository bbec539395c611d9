"""Tokenizer rules, read off the tokenizer that the user's own code would load.

transformers builds a fast tokenizer from whatever files a checkpoint has (tokenizer.json, vocab.txt,
tokenizer_config.json, in its own order of precedence) and can write its whole state down as JSON. Reading
that state, instead of the files, leaves no room for a second opinion on what the files mean.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import CorruptSource, UnsupportedModel, VocabularyError
from ..spec import AddedToken, Piece, Template
from .spec import WordPieceSpec

__all__ = ["fit", "read_folder", "read_vocab_file"]


def read_folder(folder: Path) -> tuple[WordPieceSpec, int | None]:
    """Rules of a Hugging Face folder, as ``transformers.AutoTokenizer`` reads them, and ``model_max_length``.

    Raises:
        CorruptSource: the tokenizer's files are missing or damaged.
        UnsupportedModel: it is no BERT WordPiece tokenizer.
        VocabularyError: ``[CLS]``, ``[SEP]``, ``[PAD]`` or ``[UNK]`` is not in the vocabulary.
    """
    if not (folder / "tokenizer.json").is_file() and not (folder / "vocab.txt").is_file():
        raise CorruptSource(
            f"{folder}: neither tokenizer.json nor vocab.txt is there; the tokenizer's files are needed"
        )
    from transformers import AutoTokenizer

    return _read(lambda: AutoTokenizer.from_pretrained(os.fspath(folder), local_files_only=True), folder)


def read_vocab_file(path: Path, *, lowercase: bool) -> WordPieceSpec:
    """Rules of a Hub encoder: ``transformers.BertTokenizer`` over its ``vocab_file`` and ``do_lower_case``."""
    if not path.is_file():
        raise CorruptSource(f"{path}: the vocabulary file is missing")
    from transformers import BertTokenizer

    rules, _ = _read(lambda: BertTokenizer(vocab=os.fspath(path), do_lower_case=lowercase), path)
    return rules


def _read(load: Any, where: Path) -> tuple[WordPieceSpec, int | None]:
    try:
        tokenizer = load()
    # The loader runs several libraries' parsers over the user's files; whatever they raise means the same.
    except Exception as error:
        raise CorruptSource(f"{where}: transformers cannot load the tokenizer: {error}") from error
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise UnsupportedModel(f"{where}: {type(tokenizer).__name__} is no fast tokenizer, so its rules cannot be read")
    limit = tokenizer.model_max_length
    if limit is not None and not isinstance(limit, int | float):
        raise CorruptSource(f"{where}: model_max_length is {limit!r}, not a number")
    rules = _parse(json.loads(backend.to_str()), tokenizer, where)
    # transformers' stand-in for "no limit" is 1e30.
    return rules, int(limit) if limit is not None and limit < 1_000_000 else None


def _parse(state: dict[str, Any], tokenizer: Any, where: Path) -> WordPieceSpec:
    normalizer, lowercase_first = _bert_normalizer(state.get("normalizer"), where)
    _expect(where, "pre-tokenizer", state.get("pre_tokenizer"), "BertPreTokenizer")
    model = state["model"]
    _expect(where, "model", model, "WordPiece")

    vocab = model["vocab"]
    tokens: list[str | None] = [None] * (max(vocab.values(), default=-1) + 1)
    for token, index in vocab.items():
        tokens[index] = token
    template = _template(state.get("post_processor"), tokenizer, vocab, where)
    for role in ("unk_token", "pad_token"):
        _require(getattr(tokenizer, role), vocab, where)
    strip_accents = normalizer.get("strip_accents")
    lowercase = normalizer["lowercase"]
    if lowercase_first:
        # An unset strip_accents follows the normaliser's own lowercase, not the step before it.
        strip_accents = lowercase if strip_accents is None else strip_accents
        lowercase = True
    return WordPieceSpec(
        vocab=tuple(tokens),
        pad_id=vocab[str(tokenizer.pad_token)],
        template=template,
        unk_token=model["unk_token"],
        continuing_subword_prefix=model["continuing_subword_prefix"],
        max_input_chars_per_word=model["max_input_chars_per_word"],
        lowercase=lowercase,
        strip_accents=strip_accents,
        handle_chinese_chars=normalizer["handle_chinese_chars"],
        clean_text=normalizer["clean_text"],
        added_tokens=tuple(_added_token(token, where) for token in state["added_tokens"]),
        truncation_side=tokenizer.truncation_side,
        trim_offsets=_trims_offsets(state, tokenizer, where),
    )


def _bert_normalizer(state: dict[str, Any] | None, where: Path) -> tuple[dict[str, Any], bool]:
    """The BertNormalizer's settings, and whether a plain Lowercase step comes before it."""
    lowercase_first = False
    if state is not None and state["type"] == "Sequence":
        steps = state["normalizers"]
        if [step["type"] for step in steps] == ["Lowercase", "BertNormalizer"]:
            state, lowercase_first = steps[1], True
    _expect(where, "normalizer", state, "BertNormalizer")
    assert state is not None
    return state, lowercase_first


def _expect(where: Path, part: str, state: dict[str, Any] | None, kind: str) -> None:
    found = "none" if state is None else state["type"]
    if found != kind:
        raise UnsupportedModel(
            f"{where}: the tokenizer's {part} is {found}, not {kind}; only BERT's WordPiece tokenizer can be exported"
        )


def _require(token: Any, vocab: dict[str, int], where: Path) -> int:
    if token is None or str(token) not in vocab:
        raise VocabularyError(f"{where}: the vocabulary has no {token}, which BERT needs")
    return vocab[str(token)]


def _template(state: dict[str, Any] | None, tokenizer: Any, vocab: dict[str, int], where: Path) -> Template:
    """What is put around texts: the tokenizer is asked, whatever its post-processor is called."""
    for role in ("cls_token", "sep_token"):
        _require(getattr(tokenizer, role), vocab, where)
    single, pair = _pieces(tokenizer, "a"), _pieces(tokenizer, "a", "b")
    wanted = (0,), (0, 1)
    found = tuple(tuple(piece.text for piece in pieces if piece.text is not None) for pieces in (single, pair))
    if found != wanted or single[0].special is None or any(piece.type for piece in single):
        kind = "none" if state is None else state["type"]
        shown = " ".join(
            "text" if piece.special is None else tokenizer.convert_ids_to_tokens(piece.special) for piece in single
        )
        raise UnsupportedModel(
            f"{where}: the tokenizer's post-processor is {kind} and makes {shown!r} of a text, "
            "where BERT's makes '[CLS] text [SEP]' of token type 0"
        )
    return Template(single, pair)


def _pieces(tokenizer: Any, *texts: str) -> tuple[Piece, ...]:
    encoding = tokenizer(*([text] for text in texts), padding=False, truncation=False).encodings[0]
    pieces: list[Piece] = []
    for token, kind, of in zip(encoding.ids, encoding.type_ids, encoding.sequence_ids, strict=True):
        piece = Piece(token if of is None else None, of, kind)
        if of is None or piece not in pieces[-1:]:  # a text may be of several tokens
            pieces.append(piece)
    return tuple(pieces)


def _trims_offsets(state: dict[str, Any], tokenizer: Any, where: Path) -> bool:
    """Whether offsets leave out white space, which only the added tokens that strip have here."""
    processor = state["post_processor"]
    if not processor.get("trim_offsets"):
        return False
    normalize = tokenizer.backend_tokenizer.normalizer.normalize_str
    words = [normalize(each["content"]) if each["normalized"] else each["content"] for each in state["added_tokens"]]
    if not state["normalizer"].get("lowercase"):
        words += state["model"]["vocab"]
    # That letter is what byte-level tokenizers write for a space, and counts as one.
    odd = [word for word in words if word != word.strip("\u0120").strip()]
    # What is stripped of normalised text is counted there, and may be more in the text itself.
    odd += [
        each["content"] for each in state["added_tokens"] if each["normalized"] and (each["lstrip"] or each["rstrip"])
    ]
    if odd or processor.get("add_prefix_space"):
        raise UnsupportedModel(
            f"{where}: the tokenizer's {processor['type']} moves offsets (trim_offsets) "
            + (f"inside of {odd[0]!r}" if odd else "of the first token (add_prefix_space)")
            + ", which cannot be exported"
        )
    return True


def _added_token(state: dict[str, Any], where: Path) -> AddedToken:
    if "\0" in state["content"] or "\ufffd" in state["content"]:
        raise UnsupportedModel(
            f"{where}: the added token {state['content']!r} holds U+0000 or U+FFFD, which cannot be looked for"
        )
    flags = {name: state[name] for name in ("special", "single_word", "lstrip", "rstrip", "normalized")}
    return AddedToken(state["content"], state["id"], **flags)


def fit(rules: WordPieceSpec, rows: int, where: Path) -> WordPieceSpec:
    """Hold the vocabulary to the embedding table's number of rows.

    transformers adds special tokens that a vocabulary lacks (a ``[MASK]``, say) behind its end, where the
    table has no row for them: those are dropped.

    Raises:
        VocabularyError: the sizes differ, so that ids would stand for other words than the model learned.
    """
    if rules.size != rows and len(rules.vocab) == rows:
        rules = replace(rules, added_tokens=tuple(token for token in rules.added_tokens if token.id < rows))
    if rules.size != rows:
        raise VocabularyError(
            f"{where}: the vocabulary has {rules.size} tokens, but the embedding table has {rows} rows; "
            "the tokenizer's files and the weights are not of the same model"
        )
    return rules
