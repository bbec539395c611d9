"""The ASGI app of the gateway."""

import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

from ..client.settings import DEFAULT_TIMEOUT
from ..errors import ServingError
from . import errors, openai, rerank, tei
from .guard import Guard
from .keys import Keys
from .metrics import Metrics
from .models import Models
from .settings import Limits, names
from .state import State, state_of

_DESCRIPTION: Final = "Embeddings, ranks and labels from models on TensorFlow Serving or `rawbert serve`."

router = APIRouter(tags=["Operation"])


def create_app(
    address: str | Sequence[str] = "localhost:8500",
    *,
    models: Sequence[str],
    aliases: Mapping[str, str] | None = None,
    logits: Collection[str] = (),
    api_keys: Collection[str] = (),
    api_key_file: Path | None = None,
    limits: Limits | None = None,
    truncate: bool = True,
    timeout: float | None = DEFAULT_TIMEOUT,
    **client: Any,
) -> FastAPI:
    """An app that answers the HTTP APIs of OpenAI, Cohere and text-embeddings-inference from a server of models.

    Any ASGI server can serve it, and another app can mount it: ``other.mount("/bert", create_app(...))``. The first
    call opens the connections, and the end of the app's lifespan closes them. The lifespan of a mounted app is not run:
    call ``await app.state.gateway.close()`` in the outer app's.

    Args:
        address: host and gRPC port of the server, or several that are called in turn.
        models: names of its models. A call without a name goes to the only model with the necessary signature.
        aliases: further name -> ``MODEL``, ``MODEL@LABEL`` or ``MODEL@VERSION``.
        logits: models whose scores are logits; the routes of text-embeddings-inference return probabilities.
        api_keys: keys, one of which callers must send; without keys, everyone who reaches the app may call it.
        api_key_file: file with further keys, one per line; it is read again when it changes.
        limits: of requests.
        truncate: whether texts that are too long for a model are cut; otherwise they are refused.
        timeout: maximum seconds for the answer to a request; ``None`` for no deadline.
        client: further arguments of :class:`rawbert.serving.AsyncClient`: ``version``, ``version_label``, ``tls``,
            ``metadata``, ``retry``, ``config``, ``max_batch_size``, ``concurrency`` and others.

    Raises:
        TypeError, ValueError: an invalid argument.
    """
    if isinstance(api_keys, str) or not all(api_keys):
        raise ValueError("api_keys has an empty key, or is a single str: give a list of keys")
    if unknown := set(logits) - set(models):
        raise ValueError(f"logits names {', '.join(sorted(unknown))}: give models of {', '.join(models)}")
    limits, metrics = limits or Limits(), Metrics()
    found = Models(address, names(models, aliases or {}), timeout, truncate, metrics, client)
    state = State(found, limits, frozenset(logits), metrics, int(time.time()))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await state.close()

    app = FastAPI(
        title="rawbert gateway", description=_DESCRIPTION, version=metadata.version("rawbert"), lifespan=lifespan
    )
    app.state.gateway = state
    app.add_middleware(Guard, keys=Keys(api_keys, api_key_file), limits=limits, metrics=metrics)
    for kind, handler in (
        (errors.Refused, errors.on_refused),
        (ServingError, errors.on_refused),
        (RequestValidationError, errors.on_invalid),
        (HTTPException, errors.on_http),
        (Exception, errors.on_bug),
    ):
        app.add_exception_handler(kind, handler)
    for each in (openai.router, rerank.router, tei.router, router):
        app.include_router(each)
    app.include_router(tei.router, prefix="/models/{model}", include_in_schema=False)
    return app


@router.get("/health", responses={503: {"description": "A model has no available version, or the gateway shuts down"}})
@router.get("/ping", include_in_schema=False)
@router.get("/", include_in_schema=False)
async def health(request: Request) -> JSONResponse:
    """Whether calls are answered: each model has an available version."""
    state = state_of(request)
    why = "the gateway is shutting down: try again" if state.draining else await state.models.unready()
    if why:
        return errors.response(errors.Refused(errors.Kind.AWAY, why), errors.path_of(request.scope))
    return JSONResponse({"status": "ok"})


@router.get("/live")
async def live() -> dict[str, str]:
    """Whether the gateway itself runs, independent of its server."""
    return {"status": "ok"}


@router.get("/metrics", response_class=Response)
async def metrics_page(request: Request) -> Response:
    """The gateway's metrics for Prometheus."""
    return Response(generate_latest(state_of(request).metrics.registry), media_type=CONTENT_TYPE_LATEST)
