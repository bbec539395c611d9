"""OpenAI's ``/v1/embeddings`` and ``/v1/models``."""

import json
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from ..contract import EMBED, POOLED
from .answers import Body, Texts, check_count, json_answer, shortened, vectors_json
from .state import state_of

router = APIRouter(tags=["OpenAI"])


class EmbeddingRequest(Body):
    """Texts to embed."""

    input: Texts
    model: str | None = None
    dimensions: int | None = Field(default=None, ge=1)
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = None


class Embedding(BaseModel):
    """The vector of one text; base64 contains its float32 bytes."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """Tokens in the model's input; 0 if the model does not count them."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingResponse(BaseModel):
    """The vectors, in the order of the texts."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: Usage


class Model(BaseModel):
    """An available model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "rawbert"


class ModelList(BaseModel):
    """All available models."""

    object: Literal["list"] = "list"
    data: list[Model]


@router.post("/v1/embeddings", responses={200: {"model": EmbeddingResponse}}, response_class=Response)
async def embeddings(body: EmbeddingRequest, request: Request) -> Response:
    """Embed texts."""
    state = state_of(request)
    texts = list(body.input)
    check_count(texts, state.limits.texts, "input")
    served, task = await state.models.choose(body.model, EMBED.name, POOLED.name)

    async def ask(client: Any, options: Any) -> Any:
        return await getattr(client, task)(texts, return_version=True, **options)

    answered = await state.models.answer(served, ask, texts)
    vectors = shortened(answered.value, body.dimensions, normalize=False)
    written = await vectors_json(vectors, body.encoding_format)
    data = ",".join(f'{{"object":"embedding","index":{at},"embedding":{each}}}' for at, each in enumerate(written))
    count = answered.token_count
    usage = json.dumps({"prompt_tokens": count, "total_tokens": count})
    model = json.dumps(served.name)
    return json_answer(f'{{"object":"list","data":[{data}],"model":{model},"usage":{usage}}}', answered)


@router.get("/v1/models")
async def models(request: Request) -> ModelList:
    """The available models and aliases."""
    state = state_of(request)
    return ModelList(data=[Model(id=name, created=state.begun) for name in state.models.names])


@router.get("/v1/models/{name:path}")
async def model(name: str, request: Request) -> Model:
    """One model."""
    state = state_of(request)
    return Model(id=state.models.find(name).name, created=state.begun)
