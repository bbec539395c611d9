"""Vectors as JSON, and what all routes share of requests and answers."""

import asyncio
import base64
import json
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

import numpy as np
from fastapi import Response
from pydantic import BeforeValidator

from ..wire.codec import Array
from .errors import Kind, Refused
from .models import Answered

#: Vectors that are written between two turns of other requests.
_AT_ONCE: Final = 32
#: Lengths of vectors this close to 1 are 1: float32 is no closer.
_CLOSE: Final = 1e-5
_NO_TOKENS: Final = (
    "token ids are not taken: send texts, which the model's own tokenizer reads; in LangChain give "
    "OpenAIEmbeddings(check_embedding_ctx_length=False)"
)


def _texts(value: Any) -> list[str]:
    """One text or a list of them."""
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list):
        raise ValueError("give a text, or a list of texts")
    for at, text in enumerate(found):
        if isinstance(text, (int, list)):
            raise ValueError(_NO_TOKENS)
        if not isinstance(text, str):
            raise ValueError(f"item {at} is no text")
        check_text(text, f"item {at}")
    return found


def check_text(text: str, where: str) -> None:
    """See that a text can be sent; a ValueError where it cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{where} has half of a surrogate pair, which is no text in UTF-8") from None


#: One text or a list of them; a list always.
Texts = Annotated[str | list[str], BeforeValidator(_texts)]


def check_count(texts: Sequence[Any], most: int, param: str) -> None:
    """See that there are texts, and not too many."""
    if not texts:
        raise Refused(Kind.EMPTY, f"`{param}` cannot be empty", param)
    if len(texts) > most:
        raise Refused(Kind.TOO_MANY, f"`{param}` has {len(texts)} texts, and {most} is the most", param)


def check_finite(values: Array) -> None:
    """See that a model answered numbers: JSON has no others."""
    if not np.isfinite(values).all():
        raise Refused(Kind.FAULT, "the model answered values that are not finite")


def shortened(vectors: Array, dimensions: int | None, normalize: bool) -> Array:
    """Vectors of so many dimensions, their first ones, of length 1 where anything was left out or it is asked for.

    Vectors that have the length 1 already stay as they are, to the bit.

    Args:
        vectors: float32 ``[texts, dim]``.
        dimensions: from 1 to dim; ``None`` for all.
        normalize: whether vectors of all dimensions are made to be of length 1 too.

    Raises:
        Refused: there are fewer dimensions, or a value that is no number.
    """
    check_finite(vectors)
    width = vectors.shape[1]
    if dimensions is not None and dimensions > width:
        raise Refused(Kind.INVALID, f"dimensions is {dimensions}, and the model's vectors have {width}", "dimensions")
    cut = dimensions is not None and dimensions < width
    if not (cut or normalize):
        return vectors
    found = vectors[:, :dimensions].astype(np.float64)
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    there = (lengths > 0) & (np.abs(lengths - 1) > _CLOSE)
    return np.where(there, found / np.where(there, lengths, 1), found).astype(np.float32)


async def vectors_json(vectors: Array, form: Literal["float", "base64"] = "float") -> list[str]:
    """JSON of each vector: its floats, with all their digits, or base64 of its float32 in little-endian order."""
    written = []
    for at, vector in enumerate(vectors):
        if at % _AT_ONCE == 0:
            await asyncio.sleep(0)
        if form == "float":
            written.append(json.dumps(vector.tolist(), separators=(",", ":")))
        else:
            written.append(f'"{base64.b64encode(vector.astype("<f4").tobytes()).decode()}"')
    return written


def json_answer(content: str, answered: Answered) -> Response:
    """An answer, with the version of the model in a header."""
    headers = {} if answered.version is None else {"x-rawbert-model-version": str(answered.version)}
    return Response(content, media_type="application/json", headers=headers)
