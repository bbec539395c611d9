"""Errors as responses: one table of statuses, in the format of the called API.

OpenAI's format is ``{"error": {"message", "type", "param", "code"}}``, text-embeddings-inference's is
``{"error", "error_type"}``.
"""

import logging
import re
from enum import Enum
from typing import Any, Final

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from .. import errors

_LOG = logging.getLogger("rawbert.serving.gateway")


class Kind(Enum):
    """Kinds of errors. Each: status and error of OpenAI (type, code), status and error type of TEI."""

    INVALID = 400, "invalid_request_error", None, 422, "Validation"
    EMPTY = 400, "invalid_request_error", "empty_input", 400, "Empty"
    TOO_MANY = 400, "invalid_request_error", "too_many_inputs", 413, "Validation"
    TOO_LONG = 400, "invalid_request_error", "context_length_exceeded", 422, "Validation"
    TOO_LARGE = 413, "invalid_request_error", "request_too_large", 413, "Validation"
    NO_KEY = 401, "invalid_request_error", "invalid_api_key", 401, "Validation"
    NO_MODEL = 404, "invalid_request_error", "model_not_found", 404, "Validation"
    NO_TASK = 400, "invalid_request_error", "unsupported_model", 424, "Backend"
    LIMITED = 429, "requests", "rate_limit_exceeded", 429, "Overloaded"
    BUSY = 429, "requests", "overloaded", 429, "Overloaded"
    LATE = 504, "server_error", "timeout", 504, "Backend"
    AWAY = 503, "server_error", "unavailable", 503, "Unhealthy"
    FAULT = 502, "server_error", "model_server_error", 424, "Backend"
    BUG = 500, "server_error", "internal_error", 500, "Backend"


class Refused(Exception):
    """A call refused with an error.

    Args:
        kind: kind of the error.
        message: message for the caller.
        param: the field of the request at fault.
        retry_after: seconds until the call may be repeated.
    """

    def __init__(self, kind: Kind, message: str, param: str | None = None, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.kind, self.param, self.retry_after = kind, param, retry_after


#: Errors of the client; the first match counts. Those without a message return the server's.
_KINDS: Final[tuple[tuple[type[errors.ServingError], Kind, str], ...]] = (
    (errors.ModelNotFound, Kind.NO_MODEL, ""),
    (errors.SignatureNotFound, Kind.NO_TASK, ""),
    (errors.InvalidRequest, Kind.INVALID, ""),
    (
        errors.MessageTooLarge,
        Kind.TOO_LARGE,
        "the texts are larger than the model server's limit: send fewer or shorter texts",
    ),
    (
        errors.DeadlineExceeded,
        Kind.LATE,
        "the model server did not answer in time: send fewer texts, or try again later",
    ),
    (errors.ServerOverloaded, Kind.BUSY, "the model server is overloaded: try again"),
    (errors.ServerUnavailable, Kind.AWAY, "the model server cannot be reached: try again"),
    (errors.ModelVersionChanged, Kind.AWAY, "the model version changed during the call: try again"),
    (errors.CallCancelled, Kind.AWAY, "the call was cancelled: try again"),
    (errors.Unauthenticated, Kind.FAULT, "the model server refuses the gateway's credentials"),
    (errors.ServingError, Kind.FAULT, "the model server failed: see the log of the gateway"),
)


def refused(error: errors.ServingError) -> Refused:
    """The refusal for an error of the client. The gateway's log contains the full text of server errors."""
    kind, message = next((kind, message) for known, kind, message in _KINDS if isinstance(error, known))
    if message:
        _LOG.warning("%s", " ".join(str(error).split()))
    again = 1 if kind in (Kind.BUSY, Kind.AWAY) else None
    return Refused(kind, message or " ".join((error.details or str(error)).split()), retry_after=again)


def response(error: Refused, path: str) -> JSONResponse:
    """The response with an error, in the format of the path's API."""
    status, type_, code, tei_status, tei_type = error.kind.value
    headers = {} if error.retry_after is None else {"retry-after": str(error.retry_after)}
    if error.kind is Kind.NO_KEY:
        headers["www-authenticate"] = "Bearer"
    body: dict[str, Any] = {"error": str(error), "error_type": tei_type}
    if re.match("/v[12]/", path):
        tei_status = status
        body = {"error": {"message": str(error), "type": type_, "param": error.param, "code": code}}
    return JSONResponse(body, tei_status, headers)


def path_of(scope: Any) -> str:
    """The path of a request, without the path of the mounted app."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", "")) or "/"


async def on_refused(request: Request, error: Exception) -> JSONResponse:
    """Handler of :class:`Refused`, and of errors of the client."""
    found = refused(error) if isinstance(error, errors.ServingError) else error
    assert isinstance(found, Refused)
    return response(found, path_of(request.scope))


async def on_invalid(request: Request, error: Exception) -> JSONResponse:
    """Handler of invalid requests. The message does not repeat their texts."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(each) for each in first["loc"] if each != "body") or None
    message = re.sub("^Value error, ", "", first["msg"])
    if first["type"] == "json_invalid":
        where, message = None, f"the request is not JSON: {first.get('ctx', {}).get('error', message)}"
    elif first["type"] in ("model_attributes_type", "missing") and where is None:
        message = "send a JSON object, with the header Content-Type: application/json"
    return response(Refused(Kind.INVALID, f"{where}: {message}" if where else message, where), path_of(request.scope))


async def on_http(request: Request, error: Exception) -> JSONResponse:
    """Handler of unknown paths and methods."""
    assert isinstance(error, HTTPException)
    path = path_of(request.scope)
    answer = response(Refused(Kind.INVALID, f"{request.method} {path}: {error.detail}"), path)
    answer.status_code = error.status_code
    answer.headers.update(error.headers or {})
    return answer


async def on_bug(request: Request, error: Exception) -> JSONResponse:
    """Handler of all other exceptions; the server's log contains the traceback."""
    return response(Refused(Kind.BUG, "the gateway failed: see its log"), path_of(request.scope))
