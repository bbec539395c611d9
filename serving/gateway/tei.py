"""The routes of text-embeddings-inference 1.9, for its clients.

That server has one model. Here, a route without a name is for the only model with the required signature; each model
has its own routes under ``/models/NAME``.
"""

import json
from importlib import metadata
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, BeforeValidator, Field, model_validator

from ..client.results import Classification, Tokens
from ..contract import CLASSIFY, EMBED, POOLED, SCORE, TOKENIZE
from ..wire.codec import Array
from .answers import (
    Body,
    ListOfTexts,
    Texts,
    check_count,
    check_finite,
    check_text,
    json_answer,
    shortened,
    vectors_json,
)
from .errors import Kind, Refused
from .rerank import Query
from .state import State, state_of

router = APIRouter(tags=["text-embeddings-inference"])

Sequence = list[str]


def _checked(value: Any) -> Any:
    _sequences(value)
    return value


def _sequences(value: Any) -> list[Sequence]:
    """Texts, or pairs of texts, each as a list of one or two."""
    rows = value if isinstance(value, list) and value and all(isinstance(each, list) for each in value) else [value]
    rows = [[row] if isinstance(row, str) else row for row in rows]
    for row in rows:
        if not isinstance(row, list) or len(row) not in (1, 2) or not all(isinstance(text, str) for text in row):
            raise ValueError("give a text, a pair [text, text], or a list of such: [[text], [text, text]]")
        for text in row:
            check_text(text, "a text")
    if len({len(row) for row in rows}) > 1:
        raise ValueError("the request contains both texts and pairs of texts: send one kind")
    return rows


class Cut(Body):
    """The treatment of texts over the model's length limit."""

    truncate: bool | None = None
    truncation_direction: Literal["Left", "left", "Right", "right"] = "Right"

    @property
    def cuts(self) -> bool | None:
        """Whether they are cut; ``None`` for the gateway's default. The model cannot cut them on the left."""
        return False if self.truncation_direction.lower() == "left" else self.truncate


class EmbedRequest(Cut):
    """Texts to embed."""

    inputs: Texts
    normalize: bool = True
    prompt_name: str | None = None
    dimensions: int | None = Field(default=None, ge=1)


class PredictRequest(Cut):
    """A text, a pair of texts, or a list of them, to label."""

    inputs: Annotated[str | list[str] | list[Sequence], BeforeValidator(_checked)]
    raw_scores: bool = False


class RerankRequest(Cut):
    """Texts to sort by relevance to a query."""

    query: Query
    texts: ListOfTexts
    raw_scores: bool = False
    return_text: bool = False

    @model_validator(mode="before")
    @classmethod
    def _of_tei(cls, data: Any) -> Any:
        if isinstance(data, dict) and "documents" in data:
            raise ValueError("send texts to TEI's /rerank; use /v1/rerank for documents")
        return data


class TokenizeRequest(Body):
    """Texts to tokenize."""

    inputs: Texts
    add_special_tokens: bool = True
    prompt_name: str | None = None


class Prediction(BaseModel):
    """A label, and its score."""

    score: float
    label: str


class Rank(BaseModel):
    """A text: its index in the request, and its score."""

    index: int
    text: str | None = None
    score: float


class SimpleToken(BaseModel):
    """A token; ``start`` and ``stop`` are characters of the text."""

    id: int
    text: str
    special: bool
    start: int | None
    stop: int | None


class Info(BaseModel):
    """The model, and limits."""

    model_id: str
    model_sha: str | None
    model_dtype: str
    served_model_name: str
    model_type: dict[str, Any]
    max_concurrent_requests: int
    max_client_batch_size: int
    auto_truncate: bool
    version: str


def _named(request: Request) -> str | None:
    """The model in the path."""
    name: str | None = request.path_params.get("model")
    return name


def _no_prompt(name: str | None) -> None:
    if name is not None:
        raise Refused(
            Kind.INVALID,
            f"prompt_name is {name!r}: leave it out; prompts are part of the exported model",
            "prompt_name",
        )


@router.post("/embed", responses={200: {"model": list[list[float]]}}, response_class=Response)
@router.post("/", responses={200: {"model": list[list[float]]}}, response_class=Response, include_in_schema=False)
async def embed(body: EmbedRequest, request: Request) -> Response:
    """Embed texts."""
    state, texts = state_of(request), list(body.inputs)
    check_count(texts, state.limits.texts, "inputs")
    _no_prompt(body.prompt_name)
    served, task = await state.models.choose(_named(request), EMBED.name, POOLED.name)

    async def ask(client: Any, options: Any) -> Any:
        return await getattr(client, task)(texts, return_version=True, **options)

    answered = await state.models.answer(served, ask, texts, counted=False, truncate=body.cuts, param="inputs")
    written = await vectors_json(shortened(answered.value, body.dimensions, body.normalize))
    return json_answer(f"[{','.join(written)}]", answered)


@router.post("/rerank", responses={200: {"model": list[Rank]}}, response_class=Response)
async def rerank(body: RerankRequest, request: Request) -> Response:
    """Sort texts by relevance to a query."""
    state, texts = state_of(request), list(body.texts)
    check_count(texts, state.limits.texts, "texts")
    served, _ = await state.models.choose(_named(request), SCORE.name)

    async def ask(client: Any, options: Any) -> Any:
        return await client.score([(body.query, text) for text in texts], return_version=True, **options)

    queries = [body.query] * len(texts)
    answered = await state.models.answer(served, ask, queries, texts, counted=False, truncate=body.cuts, param="texts")
    scores = _activated(answered.value[:, np.newaxis], state, served.model, body.raw_scores)[:, 0]
    ranks = []
    for at in np.argsort(-scores, kind="stable").tolist():
        text = {"text": texts[at]} if body.return_text else {}
        ranks.append({"index": at, **text, "score": float(scores[at])})
    return json_answer(json.dumps(ranks, ensure_ascii=False), answered)


@router.post("/predict", responses={200: {"model": list[Prediction] | list[list[Prediction]]}}, response_class=Response)
async def predict(body: PredictRequest, request: Request) -> Response:
    """Label texts, or pairs of texts."""
    state, rows = state_of(request), _sequences(body.inputs)
    check_count(rows, state.limits.texts, "inputs")
    served, _ = await state.models.choose(_named(request), CLASSIFY.name)
    texts = [row[0] for row in rows]
    pairs = [row[1] for row in rows] if len(rows[0]) > 1 else None

    async def ask(client: Any, options: Any) -> Any:
        found: list[Classification] = await client.classify(texts, text_pair=pairs, **options)
        return found, found[0].model_version

    answered = await state.models.answer(served, ask, texts, pairs, counted=False, truncate=body.cuts, param="inputs")
    made = []
    for each in answered.value:
        scores = _activated(np.array([list(each.scores.values())]), state, served.model, body.raw_scores)[0]
        made.append([{"score": float(score), "label": name} for name, score in zip(each.scores, scores, strict=True)])
    # The answer to a list is a list.
    several = isinstance(body.inputs, list) and isinstance(body.inputs[0], list)
    return json_answer(json.dumps(made if several else made[0], ensure_ascii=False), answered)


def _activated(scores: Array, state: State, model: str, raw: bool) -> Array:
    """Scores in the requested form, from the model's scores ``[texts, labels]``.

    Most models return probabilities. Logits are converted as in TEI: with softmax for several labels, with sigmoid for
    one.
    """
    check_finite(scores)
    if model not in state.logits:
        if raw:
            why = "the gateway returns raw scores only for models in --logits"
            raise Refused(Kind.INVALID, f"leave raw_scores out: {why}", "raw_scores")
        return scores
    if raw:
        return scores
    wide = scores.astype(np.float64)
    if scores.shape[1] == 1:
        return np.asarray(1 / (1 + np.exp(-wide)))
    powers: Array = np.exp(wide - wide.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


@router.post("/tokenize", responses={200: {"model": list[list[SimpleToken]]}}, response_class=Response)
async def tokenize(body: TokenizeRequest, request: Request) -> Response:
    """Tokenize texts; tokens beyond the model's length limit are left out."""
    state, texts = state_of(request), list(body.inputs)
    check_count(texts, state.limits.texts, "inputs")
    _no_prompt(body.prompt_name)
    served, _ = await state.models.choose(_named(request), TOKENIZE.name)

    async def ask(client: Any, options: Any) -> Any:
        found = await client.tokenize(texts, **options)
        return found, found[0].model_version

    answered = await state.models.answer(served, ask, texts, counted=False, truncate=True, param="inputs")
    made = [_simple(text, each, body.add_special_tokens) for text, each in zip(texts, answered.value, strict=True)]
    return json_answer(json.dumps(made, ensure_ascii=False), answered)


def _simple(text: str, tokens: Tokens, specials: bool) -> list[dict[str, Any]]:
    """Tokens in TEI's form: offsets are characters, not bytes; the spelling of special tokens is unknown."""
    data, made = text.encode(), []
    begins = (np.frombuffer(data, np.uint8) & 0xC0) != 0x80  # [bytes], whether a byte begins a character
    characters = np.concatenate([[0], np.cumsum(begins)])  # [bytes + 1], before each byte
    for id_, start, limit in zip(tokens.ids, tokens.start_offsets, tokens.limit_offsets, strict=True):
        if start >= 0:
            word = data[start:limit].decode(errors="replace")
            place = {"start": int(characters[start]), "stop": int(characters[limit])}
            made.append({"id": int(id_), "text": word, "special": False, **place})
        elif specials:
            made.append({"id": int(id_), "text": "", "special": True, "start": None, "stop": None})
    return made


@router.get("/info")
async def info(request: Request) -> Info:
    """The model, and limits."""
    state, models = state_of(request), state_of(request).models
    served = models.find(_named(request) or next(iter(models.names)))
    found = await models.metadata(served)
    kinds = {CLASSIFY.name: "classifier", SCORE.name: "reranker"}
    kind = next((kind for name, kind in kinds.items() if name in found.signatures), "embedding")
    return Info(
        model_id=served.model,
        model_sha=None if found.version is None else str(found.version),
        model_dtype="float32",
        served_model_name=served.name,
        model_type={kind: {}},
        max_concurrent_requests=state.limits.concurrent_requests,
        max_client_batch_size=state.limits.texts,
        auto_truncate=models.truncate,
        version=metadata.version("rawbert"),
    )
