"""Vectors as JSON, and the parts of requests and answers that all routes share."""

import asyncio
import base64
import json
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

import numpy as np
from fastapi import Response
from pydantic import BaseModel, BeforeValidator, ConfigDict

from ..wire.codec import Array
from .errors import Kind, Refused
from .models import Answered

#: Vectors written before other requests get a turn.
_AT_ONCE: Final = 32
#: Tolerance of the length 1: the precision of float32.
_CLOSE: Final = 1e-5
_NO_TOKENS: Final = (
    "token ids are not taken: send texts, which the model's own tokenizer reads; in LangChain give "
    "OpenAIEmbeddings(check_embedding_ctx_length=False)"
)


class Body(BaseModel):
    """A request. As in the originals, ``"2"`` is not a number, and ``1`` is not a boolean."""

    model_config = ConfigDict(strict=True)


def _texts(value: Any) -> list[str]:
    """One text or a list of them."""
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list):
        raise ValueError("give a text, or a list of texts")
    for at, text in enumerate(found):
        if isinstance(text, (int, list)):
            raise ValueError(_NO_TOKENS)
        if not isinstance(text, str):
            raise ValueError(f"item {at} is not a text: give texts")
        check_text(text, f"item {at}")
    return found


def check_text(text: str, where: str) -> None:
    """Raise a ValueError for a text that UTF-8 cannot encode."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{where} contains half of a surrogate pair, which UTF-8 cannot encode: remove it") from None


def _list_of_texts(value: Any) -> list[str]:
    if isinstance(value, str):
        raise ValueError("give a list of texts")
    return _texts(value)


#: One text or a list of texts; always a list after validation.
Texts = Annotated[str | list[str], BeforeValidator(_texts)]
ListOfTexts = Annotated[list[str], BeforeValidator(_list_of_texts)]


def check_count(texts: Sequence[Any], most: int, param: str) -> None:
    """Check the number of texts."""
    if not texts:
        raise Refused(Kind.EMPTY, f"`{param}` is empty: give a text", param)
    if len(texts) > most:
        raise Refused(
            Kind.TOO_MANY, f"`{param}` has {len(texts)} texts, more than the limit of {most}: send fewer", param
        )


def check_finite(values: Array) -> None:
    """Check that all values are finite, since JSON has no NaN or infinity."""
    if not np.isfinite(values).all():
        raise Refused(
            Kind.FAULT,
            "the model returned NaN or infinity, values that are not finite: check its export with rawbert verify",
        )


def shortened(vectors: Array, dimensions: int | None, normalize: bool) -> Array:
    """The first dimensions of vectors, scaled to length 1 if any dimension was removed, or with ``normalize``.

    Vectors that already have length 1 are unchanged, bit for bit.

    Args:
        vectors: float32 ``[texts, dim]``.
        dimensions: from 1 to dim; ``None`` for all.
        normalize: whether vectors with all dimensions are also scaled to length 1.

    Raises:
        Refused: the vectors have fewer dimensions, or a value is not finite.
    """
    check_finite(vectors)
    width = vectors.shape[1]
    if dimensions is not None and dimensions > width:
        raise Refused(Kind.INVALID, f"dimensions is {dimensions}: give at most {width}, the model's", "dimensions")
    cut = dimensions is not None and dimensions < width
    if not (cut or normalize):
        return vectors
    found = vectors[:, :dimensions].astype(np.float64)
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    there = (lengths > 0) & (np.abs(lengths - 1) > _CLOSE)
    return np.where(there, found / np.where(there, lengths, 1), found).astype(np.float32)


async def vectors_json(vectors: Array, form: Literal["float", "base64"] | None = None) -> list[str]:
    """Each vector as JSON: floats with all their digits, the default, or base64 of little-endian float32."""
    written = []
    for at, vector in enumerate(vectors):
        if at % _AT_ONCE == 0:
            await asyncio.sleep(0)
        if form != "base64":
            written.append(json.dumps(vector.tolist(), separators=(",", ":")))
        else:
            written.append(f'"{base64.b64encode(vector.astype("<f4").tobytes()).decode()}"')
    return written


def json_answer(content: str, answered: Answered) -> Response:
    """An answer with the model version in a header."""
    headers = {} if answered.version is None else {"x-rawbert-model-version": str(answered.version)}
    return Response(content, media_type="application/json", headers=headers)
