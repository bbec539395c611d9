"""Cohere's and Jina's ``/v1/rerank``, and Cohere's ``/v2/rerank``."""

import json
from typing import Annotated, Any
from uuid import uuid4

import numpy as np
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, BeforeValidator, Field

from ..contract import SCORE
from .answers import Body, check_count, check_finite, check_text, json_answer
from .openai import Usage
from .state import state_of

router = APIRouter(tags=["Cohere, Jina"])


def _query(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("give a text")
    check_text(value, "it")
    return value


def _documents(value: Any) -> list[str]:
    """Texts of documents, from texts or objects with a text."""
    if not isinstance(value, list):
        raise ValueError("give a list of texts")
    texts: list[Any] = [each.get("text") if isinstance(each, dict) else each for each in value]
    for at, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f'item {at} is neither a text nor an object with a "text": give one of them')
        check_text(text, f"item {at}")
    return texts


def _rank_fields(value: Any) -> Any:
    if value not in (None, ["text"]):
        raise ValueError("fields are not supported: send documents as texts")
    return value


Query = Annotated[str, BeforeValidator(_query)]


class RerankRequest(Body):
    """A query, and documents to sort by relevance."""

    query: Query
    documents: Annotated[list[str | dict[str, Any]], BeforeValidator(_documents)]
    model: str | None = None
    top_n: int | None = Field(default=None, ge=1)
    return_documents: bool | None = None
    rank_fields: Annotated[list[str] | None, BeforeValidator(_rank_fields)] = None


class Document(BaseModel):
    """A document."""

    text: str


class RerankResult(BaseModel):
    """One document: its index in the request, and its score."""

    index: int
    relevance_score: float
    document: Document | None = None


class RerankResponse(BaseModel):
    """The documents, best first."""

    id: str
    object: str
    model: str
    results: list[RerankResult]
    usage: Usage
    meta: dict[str, Any]


@router.post("/v1/rerank", responses={200: {"model": RerankResponse}}, response_class=Response)
@router.post("/v2/rerank", responses={200: {"model": RerankResponse}}, response_class=Response)
async def rerank(body: RerankRequest, request: Request) -> Response:
    """Sort documents by relevance to a query."""
    state = state_of(request)
    documents = [str(each) for each in body.documents]
    check_count(documents, state.limits.texts, "documents")
    served, _ = await state.models.choose(body.model, SCORE.name)

    async def ask(client: Any, options: Any) -> Any:
        found = await client.rerank(body.query, documents, top_k=body.top_n, **options)
        return found, found[0].model_version

    queries = [body.query] * len(documents)
    answered = await state.models.answer(served, ask, queries, documents, param="documents")
    check_finite(np.array([ranked.score for ranked in answered.value]))
    results: list[dict[str, Any]] = []
    for ranked in answered.value:
        results.append({"index": ranked.index, "relevance_score": ranked.score})
        if body.return_documents:
            results[-1]["document"] = {"text": ranked.document}
    count = answered.token_count
    found = {
        "id": str(uuid4()),
        "object": "list",
        "model": served.name,
        "results": results,
        "usage": {"prompt_tokens": count, "total_tokens": count},
        "meta": {"api_version": {"version": "1"}, "billed_units": {"search_units": 1}},
    }
    return json_answer(json.dumps(found, ensure_ascii=False), answered)
