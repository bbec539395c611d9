"""The parts of a tokenizer.json that all kinds of tokenizers share: added tokens, templates, padding, sides."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import UnsupportedModel, VocabularyError
from ..tokenizers.spec import AddedToken, Piece, Template


def common(
    state: Mapping[str, Any], settings: Mapping[str, Any], backend: Any, where: Path, usual_pad: str
) -> dict[str, Any]:
    """The fields of every :class:`..tokenizers.spec.TokenizerSpec`, except its vocabulary and ``trim_offsets``.

    Args:
        state: complete state of the tokenizer, as the tokenizers library writes it.
        settings: contents of tokenizer_config.json.
        backend: the ``tokenizers.Tokenizer``; its truncation and padding are switched off.
        where: the source file, for errors.
        usual_pad: the default padding token.

    Raises:
        UnsupportedModel: a part that cannot be exported.
        VocabularyError: the padding token is not in the vocabulary.
    """
    sides = {part: (state.get(part) or {}).get("direction", "right").lower() for part in ("truncation", "padding")}
    if sides["padding"] == "left" and settings.get("padding_side") is None:
        raise UnsupportedModel(
            f"{where}: padding on the left, where a text's vector depends on other texts, cannot be exported"
        )
    pad = settings.get("pad_token") or (state.get("padding") or {}).get("pad_token")
    pad_id = backend.token_to_id(content(pad or usual_pad))
    if pad_id is None and (pad or where.name == "vocab.txt"):
        raise VocabularyError(f"{where}: the vocabulary has no {content(pad or usual_pad)}, which BERT needs")
    for token in state["added_tokens"]:
        if "\0" in token["content"] or "\ufffd" in token["content"]:
            raise UnsupportedModel(
                f"{where}: the added token {token['content']!r} contains U+0000 or U+FFFD, which cannot be exported"
            )
    backend.no_truncation()
    backend.no_padding()
    template = _template(state.get("post_processor"), backend, where)
    names = settings.get("model_input_names")
    if names and "token_type_ids" not in names:  # transformers then gives the model no types: type 0
        template = Template(template.single, tuple(replace(piece, type=0) for piece in template.pair))
    return {
        "pad_id": pad_id or 0,  # a tokenizer without a padding token: the id in padding has no effect
        "template": template,
        "added_tokens": tuple(AddedToken(**token) for token in state["added_tokens"]),
        "truncation_side": settings.get("truncation_side") or sides["truncation"],
    }


def _template(state: dict[str, Any] | None, backend: Any, where: Path) -> Template:
    """The special tokens around texts, found by running the tokenizer: independent of its post-processor's kind."""
    single, pair = _pieces(backend, "a"), _pieces(backend, "a", "b")
    wanted = (0,), (0, 1)
    found = tuple(tuple(piece.text for piece in pieces if piece.text is not None) for pieces in (single, pair))
    if found != wanted or single[0].special is None or any(piece.type for piece in single):
        kind = "none" if state is None else state["type"]
        shown = " ".join("text" if piece.special is None else backend.id_to_token(piece.special) for piece in single)
        raise UnsupportedModel(
            f"{where}: the tokenizer's post-processor is {kind} and gives {shown!r} for a text; "
            "expected '[CLS] text [SEP]' of token type 0, as in BERT"
        )
    return Template(single, pair)


def _pieces(backend: Any, *texts: str) -> tuple[Piece, ...]:
    encoding = backend.encode(*texts)
    pieces: list[Piece] = []
    for token, kind, of in zip(encoding.ids, encoding.type_ids, encoding.sequence_ids, strict=True):
        piece = Piece(token if of is None else None, of, kind)
        if of is None or piece not in pieces[-1:]:  # a text may have several tokens
            pieces.append(piece)
    return tuple(pieces)


def content(token: Any) -> str:
    """The text of a token, which settings contain as a string or as an object."""
    return str(token.get("content") if isinstance(token, dict) else token)


def parts(state: Any) -> list[dict[str, Any]]:
    """The parts of a sequence in a tokenizer.json, or a single part as a list."""
    if not isinstance(state, dict):
        return []
    steps = next((state[name] for name in ("normalizers", "pretokenizers", "processors") if name in state), None)
    return [step for each in steps for step in parts(each)] if isinstance(steps, list) else [state]
