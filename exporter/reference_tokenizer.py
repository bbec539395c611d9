"""What tokens an exported model must give: an independent second opinion, from transformers or tensorflow-text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .config import DEFAULT_TOKENIZATION, TokenizerOptions

__all__ = ["ReferenceTokenizer", "ReferenceTokens"]


@dataclass(frozen=True)
class ReferenceTokens:
    """Tokens of one text or pair: int lists ``[tokens]``, special tokens included, and the count uncut.

    ``types`` is 1 in the second text of a pair, offsets are bytes in the text that it names.
    """

    ids: list[int]
    starts: list[int]
    limits: list[int]
    count: int
    types: list[int] = field(default_factory=list)


class ReferenceTokenizer:
    """The tokenizer that the user's own code loads; offsets in bytes.

    Args:
        tokenizer: a fast transformers tokenizer.
        max_seq_length: length to cut texts at.
        options: what the user chose.
    """

    def __init__(self, tokenizer: Any, max_seq_length: int, options: TokenizerOptions = DEFAULT_TOKENIZATION) -> None:
        self._tokenizer = tokenizer
        if options.truncation_side is not None:
            tokenizer.truncation_side = options.truncation_side
        self._always = {
            "padding": False,
            "split_special_tokens": options.plain_text_special_tokens,
        }
        self._cut = {"truncation": options.truncation_strategy, "max_length": max_seq_length}

    def __call__(self, *raw: str | bytes) -> ReferenceTokens | None:
        """Tokenize one text or pair; ``None`` where the tokenizer refuses to cut it.

        Of bytes that are no UTF-8 each bad sequence counts as U+FFFD; offsets are into the bytes as they are.
        """
        texts, byte_at = zip(
            *(_decode(each if isinstance(each, bytes) else each.encode()) for each in raw), strict=True
        )
        # As batches of one: an empty second text by itself would count as none.
        batch = [[text] for text in texts]
        whole = self._tokenizer(*batch, truncation=False, **self._always).encodings[0]
        try:
            cut = self._tokenizer(*batch, **self._cut, **self._always).encodings[0]
        # What comes out of tokenizers has no class of its own.
        except Exception as error:
            if "too short to respect" not in str(error):
                raise
            return None
        starts, limits = [], []
        for of, (start, stop) in zip(cut.sequence_ids, cut.offsets, strict=True):
            starts.append(-1 if of is None else byte_at[of][start])
            limits.append(-1 if of is None else byte_at[of][stop])
        return ReferenceTokens(cut.ids, starts, limits, len(whole.ids), cut.type_ids)


def _decode(raw: bytes) -> tuple[str, list[int]]:
    """``raw.decode("utf-8", "replace")``, and the byte at which each character begins, and the last one ends."""
    text, byte_at, at = "", [0], 0
    while at < len(raw):
        try:
            part, bad = raw[at:].decode(), 0
        except UnicodeDecodeError as error:
            part, bad = raw[at : at + error.start].decode(), error.end - error.start
        for char in part:
            byte_at.append(byte_at[-1] + len(char.encode()))
        text, at = text + part, at + len(part.encode()) + bad
        if bad:
            text += "\ufffd"
            byte_at.append(at)
    assert text == raw.decode("utf-8", "replace")
    return text, byte_at
