"""A FastAPI service that embeds texts with AsyncClient: one client for the process, and errors as HTTP statuses.

    pip install fastapi uvicorn
    uvicorn --app-dir examples fastapi_service:app --port 8000
    curl localhost:8000/embed -H 'content-type: application/json' -d '{"texts": ["hello"]}'

``RAWBERT_ADDRESS`` and ``RAWBERT_MODEL`` name the server and the model.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from rawbert.serving import AsyncClient, DeadlineExceeded, ServerOverloaded, ServerUnavailable, ServingError

#: Errors that a caller can repeat -> HTTP status. Any other one is 502.
STATUSES = {DeadlineExceeded: 504, ServerOverloaded: 503, ServerUnavailable: 503}


class Texts(BaseModel):
    """The body of a request."""

    texts: Annotated[list[Annotated[str, Field(max_length=10_000)]], Field(max_length=256)]


class Vectors(BaseModel):
    """The body of an answer: ``[texts, dim]``, and the version of the model that answered."""

    embeddings: list[list[float]]
    version: int | None


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open one client for the process. It connects at the first call, so the service also starts without the server."""
    address, model = os.environ.get("RAWBERT_ADDRESS", "localhost:8500"), os.environ.get("RAWBERT_MODEL", "minilm")
    async with AsyncClient(address, model=model, timeout=5) as app.state.client:
        yield


app = FastAPI(title="Embeddings", lifespan=lifespan)


@app.exception_handler(ServingError)
async def failed(request: Request, error: ServingError) -> JSONResponse:
    """Answer a failed call with its status and the reason."""
    return JSONResponse({"detail": str(error)}, STATUSES.get(type(error), 502))


@app.post("/embed")
async def embed(body: Texts, request: Request) -> Vectors:
    """One vector for each text."""
    client: AsyncClient = request.app.state.client
    vectors, version = await client.embed(body.texts, return_version=True)
    return Vectors(embeddings=vectors.tolist(), version=version)


@app.get("/healthz")
async def healthy(request: Request) -> dict[str, Any]:
    """Whether a version of the model is available."""
    client: AsyncClient = request.app.state.client
    versions = [each.version for each in await client.status(timeout=1) if each.state == "AVAILABLE"]
    if not versions:
        raise HTTPException(503, "no version is available")
    return {"versions": versions}
