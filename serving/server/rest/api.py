"""TensorFlow Serving's REST API without the transport: from method, path and body to a status and a body.

Source of paths, their order and messages: ``http_rest_api_handler.cc``, ``http_rest_api_util.cc``, ``http_server.cc``.
"""

import logging
import re
import time
from collections.abc import Mapping
from typing import Any, TypeAlias
from urllib.parse import unquote_to_bytes

import grpc
from google.protobuf import json_format
from tensorflow_serving.apis import model_pb2

from ...contract import DEFAULT_SIGNATURE
from ..answers import model_status, name_version, signature_map
from ..batcher import Wanted
from ..examples import refuse_examples
from ..failure import Failure, invalid, unfit
from ..metrics import Metrics
from ..model import Model
from ..predict import predict
from ..registry import Registry
from . import writer
from .requests import read_examples, read_predict

_LOG = logging.getLogger(__name__)
_Code = grpc.StatusCode

#: Paths that are answered here; the web server answers all others with 404.
PATHS = re.compile(r"(?i)/v1/.*", re.DOTALL)
_SPEC = r"(?:(?:/versions/(?P<version>[0-9]+))|(?:/labels/(?P<label>[^/:]+)))?"
_POST = re.compile(rf"(?i)/v1/models/(?P<model>[^/:]+){_SPEC}:(?P<method>classify|regress|predict)")
_GET = re.compile(rf"(?i)/v1/models(?:/(?P<model>[^/:]+))?{_SPEC}(?:/(?P<method>metadata))?")

#: Name of a model, and the version or label if one is named.
_Spec: TypeAlias = tuple[str, int | None, str | None]

#: gRPC status -> HTTP status; 500 for all others.
_STATUSES = {
    _Code.OK: 200, _Code.INVALID_ARGUMENT: 400, _Code.FAILED_PRECONDITION: 400, _Code.OUT_OF_RANGE: 400,
    _Code.UNAUTHENTICATED: 401, _Code.PERMISSION_DENIED: 403, _Code.NOT_FOUND: 404, _Code.ALREADY_EXISTS: 409,
    _Code.ABORTED: 409, _Code.RESOURCE_EXHAUSTED: 429, _Code.CANCELLED: 499, _Code.UNIMPLEMENTED: 501,
    _Code.UNAVAILABLE: 503, _Code.DEADLINE_EXCEEDED: 504,
}  # fmt: skip


class Api:
    """Answers requests; may be called from several threads.

    Args:
        registry: the versions.
        metrics: metrics of the server.
        timeout: maximum seconds of the model's run; ``None`` for no limit.
    """

    def __init__(self, registry: Registry[Model], metrics: Metrics, timeout: float | None) -> None:
        self._registry, self._metrics, self._timeout = registry, metrics, timeout

    def answer(self, method: str, path: str, body: bytes, wanted: Wanted = lambda: True) -> tuple[int, bytes]:
        """The status and the JSON body of an answer.

        Args:
            method: HTTP method.
            path: path of the request, with its query, still percent-encoded.
            body: body of the request.
            wanted: whether a caller still waits for the answer.
        """
        pattern = {"POST": _POST, "GET": _GET}.get(method)
        found = pattern.fullmatch(path) if pattern else None
        model = _unquoted(found["model"]) if found else ""
        called = found["method"] if found and method == "POST" else ""
        try:
            with self._metrics.request(model, called, "REST"):
                if not found:
                    raise invalid(f"Malformed request: {method} {path}")
                return 200, self._answered(method, path, found, body, wanted)
        except Failure as failure:
            return _STATUSES.get(failure.code, 500), writer.error(str(failure))
        except Exception as error:
            _LOG.exception("a call failed with an unexpected error")
            return 500, writer.error(f"{type(error).__name__}: {error}")

    def preflight(self, origin: str) -> int:
        """The status of an OPTIONS request from a page of this origin."""
        try:
            with self._metrics.request("", "", "REST"):
                if not re.search("https?://", origin):
                    raise unfit("Origin header is missing in CORS preflight")
                return 200
        except Failure as failure:
            return _STATUSES[failure.code]

    def _answered(self, http_method: str, path: str, found: re.Match[str], body: bytes, wanted: Wanted) -> bytes:
        version, label, method = found["version"], found["label"], found["method"]
        number = (version or "").lstrip("0") or "0"
        if len(number) > 19 or int(number) >= 2**63:
            raise invalid(f"Failed to convert version: {version} to numeric.")
        spec = (_unquoted(found["model"]), int(number) if version else None, _unquoted(label) if label else None)
        if http_method == "GET":
            if not spec[0]:
                raise invalid("Missing model name in request.")
            if method == "metadata":
                return self._metadata(spec)
            return _printed(model_status(self._registry, *spec[:2])).encode()
        if method == "predict":
            return self._predict(spec, body, wanted)
        kinds = {"classify": "classification", "regress": "regression"}
        # The pattern ignores case, but the names of methods are lower case.
        if method not in kinds:
            raise invalid(f"Malformed request: {http_method} {path}")
        signature_name = read_examples(body)
        with self._registry.use(*spec) as servable:
            refuse_examples(servable, signature_name, kinds[method])

    def _predict(self, spec: _Spec, body: bytes, wanted: Wanted) -> bytes:
        def inputs_of(signature_name: str) -> Mapping[str, Any]:
            with self._registry.use(*spec) as servable:
                signature = servable.runnable.signatures.get(signature_name or DEFAULT_SIGNATURE)
            if signature is None:
                name = signature_name or DEFAULT_SIGNATURE
                raise invalid(f'Serving signature name: "{name}" not found in signature def')
            inputs: Mapping[str, Any] = signature.inputs
            return inputs

        request = read_predict(body, inputs_of)
        start = time.monotonic()

        def still_wanted() -> bool:
            return wanted() and (self._timeout is None or time.monotonic() < start + self._timeout)

        with self._registry.use(*spec) as servable:
            outputs = predict(servable, request.signature_name, request.inputs, (), still_wanted, self._timeout)
        if not outputs:
            raise invalid("Cannot convert empty tensor map to JSON")
        outputs = dict(sorted(outputs.items()))
        return writer.rows(outputs) if request.by_row else writer.columns(outputs)

    def _metadata(self, spec: _Spec) -> bytes:
        model_spec = model_pb2.ModelSpec()
        with self._registry.use(*spec) as servable:
            name_version(model_spec, servable)
            signatures = signature_map(servable)
        text = (
            f'{{\n"model_spec":{_printed(model_spec)},\n"metadata": {{"signature_def": {_printed(signatures)}}}\n}}\n'
        )
        return text.encode()


def _printed(message: Any) -> str:
    text: str = json_format.MessageToJson(
        message, indent=1, always_print_fields_with_no_presence=True, preserving_proto_field_name=True
    )
    return text + "\n"


def _unquoted(text: str | None) -> str:
    return unquote_to_bytes(text or "").decode("utf-8", "surrogateescape")
