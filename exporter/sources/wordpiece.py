"""A tokenizer's whole state, as the tokenizers library writes it, to the rules of a WordPiece tokenizer."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import UnsupportedModel, VocabularyError
from ..tokenizers.spec import AddedToken, Piece, Template
from ..tokenizers.wordpiece.spec import WordPieceSpec


def parse(backend: Any, settings: Mapping[str, Any], where: Path) -> WordPieceSpec:
    """Rules of a tokenizer.

    Args:
        backend: the ``tokenizers.Tokenizer``.
        settings: of tokenizer_config.json.
        where: the file that it was read from, for errors.

    Raises:
        UnsupportedModel: it is no BERT WordPiece tokenizer, or has a setting that cannot be exported.
        VocabularyError: a token that BERT needs is not in the vocabulary.
    """
    state = json.loads(backend.to_str())
    normalizer = _bert_normalizer(state.get("normalizer"), where)
    model = state["model"]
    for part, found, kind in (
        ("pre-tokenizer", state.get("pre_tokenizer"), "BertPreTokenizer"),
        ("model", model, "WordPiece"),
    ):
        if [step["type"] for step in parts(found)] != [kind]:
            raise _other_kind(where, part, found, kind)
    if not model["continuing_subword_prefix"]:
        raise UnsupportedModel(f"{where}: the tokenizer's continuing_subword_prefix is empty; expected one, such as ##")

    # A blank line is no word; ids at the end that only such lines have are none.
    words = {index: word for word, index in model["vocab"].items() if word}
    if model["unk_token"] not in words.values():
        raise VocabularyError(f"{where}: the vocabulary has no {model['unk_token']}, which BERT needs")
    sides = {part: (state.get(part) or {}).get("direction", "right").lower() for part in ("truncation", "padding")}
    if sides["padding"] == "left" and settings.get("padding_side") is None:
        raise UnsupportedModel(f"{where}: its padding is on the left, where a text's vector depends on others")
    pad = settings.get("pad_token") or (state.get("padding") or {}).get("pad_token")
    pad_id = backend.token_to_id(content(pad or "[PAD]"))
    if pad_id is None and (pad or where.name == "vocab.txt"):
        raise VocabularyError(f"{where}: the vocabulary has no {content(pad or '[PAD]')}, which BERT needs")
    for token in state["added_tokens"]:
        if "\0" in token["content"] or "\ufffd" in token["content"]:
            raise UnsupportedModel(
                f"{where}: the added token {token['content']!r} holds U+0000 or U+FFFD, which cannot be looked for"
            )
    backend.no_truncation()
    backend.no_padding()
    template = _template(state.get("post_processor"), backend, where)
    names = settings.get("model_input_names")
    if names and "token_type_ids" not in names:  # transformers then tells the model nothing of types, which is 0
        template = Template(template.single, tuple(replace(piece, type=0) for piece in template.pair))
    return WordPieceSpec(
        vocab=tuple(words.get(index) for index in range(max(words, default=-1) + 1)),
        pad_id=pad_id or 0,  # of a tokenizer that names none: padding does not count, whatever its id
        template=template,
        unk_token=model["unk_token"],
        continuing_subword_prefix=model["continuing_subword_prefix"],
        max_input_chars_per_word=model["max_input_chars_per_word"],
        added_tokens=tuple(AddedToken(**token) for token in state["added_tokens"]),
        truncation_side=settings.get("truncation_side") or sides["truncation"],
        trim_offsets=_trims_offsets(state, normalizer, backend, where),
        **normalizer,
    )


def _bert_normalizer(state: dict[str, Any] | None, where: Path) -> dict[str, Any]:
    """The settings of a BertNormalizer that does what the file's normaliser does."""
    steps = {step["type"]: step for step in parts(state)}
    if not set(steps) <= {"BertNormalizer", "Lowercase"} or len(steps) < len(parts(state)):
        raise _other_kind(where, "normalizer", state, "BertNormalizer")
    bert = steps.get("BertNormalizer", {})
    names = ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase")
    settings = {name: bert.get(name, False) for name in names}
    if "Lowercase" in steps:
        # An unset strip_accents follows the normaliser's own lowercase, not the step beside it.
        unset = settings["strip_accents"] is None
        settings |= {"strip_accents": settings["lowercase"] if unset else settings["strip_accents"], "lowercase": True}
    return settings


def _other_kind(where: Path, part: str, state: dict[str, Any] | None, kind: str) -> UnsupportedModel:
    found = " and ".join(step["type"] for step in parts(state)) or "none"
    return UnsupportedModel(
        f"{where}: the tokenizer's {part} is {found}, not {kind}; only BERT's WordPiece tokenizer can be exported"
    )


def _template(state: dict[str, Any] | None, backend: Any, where: Path) -> Template:
    """What is put around texts: the tokenizer is asked, whatever its post-processor is called."""
    single, pair = _pieces(backend, "a"), _pieces(backend, "a", "b")
    wanted = (0,), (0, 1)
    found = tuple(tuple(piece.text for piece in pieces if piece.text is not None) for pieces in (single, pair))
    if found != wanted or single[0].special is None or any(piece.type for piece in single):
        kind = "none" if state is None else state["type"]
        shown = " ".join("text" if piece.special is None else backend.id_to_token(piece.special) for piece in single)
        raise UnsupportedModel(
            f"{where}: the tokenizer's post-processor is {kind} and makes {shown!r} of a text, "
            "where BERT's makes '[CLS] text [SEP]' of token type 0"
        )
    return Template(single, pair)


def _pieces(backend: Any, *texts: str) -> tuple[Piece, ...]:
    encoding = backend.encode(*texts)
    pieces: list[Piece] = []
    for token, kind, of in zip(encoding.ids, encoding.type_ids, encoding.sequence_ids, strict=True):
        piece = Piece(token if of is None else None, of, kind)
        if of is None or piece not in pieces[-1:]:  # a text may be of several tokens
            pieces.append(piece)
    return tuple(pieces)


def _trims_offsets(state: dict[str, Any], normalizer: Mapping[str, Any], backend: Any, where: Path) -> bool:
    """Whether offsets leave out white space, which only the added tokens that strip have here."""
    processor = state.get("post_processor") or {}
    if not processor.get("trim_offsets"):
        return False
    normalize = backend.normalizer.normalize_str if backend.normalizer else str
    words = [normalize(each["content"]) if each["normalized"] else each["content"] for each in state["added_tokens"]]
    if not normalizer["lowercase"]:
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


def content(token: Any) -> str:
    """The text of a token, which settings name as such or as an object."""
    return str(token.get("content") if isinstance(token, dict) else token)


def parts(state: Any) -> list[dict[str, Any]]:
    """A part of a tokenizer.json, or the parts of a sequence of them."""
    if not isinstance(state, dict):
        return []
    steps = next((state[name] for name in ("normalizers", "pretokenizers", "processors") if name in state), None)
    return [step for each in steps for step in parts(each)] if isinstance(steps, list) else [state]
