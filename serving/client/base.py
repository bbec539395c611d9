"""The methods of both clients as plans (see :mod:`.calls`): everything except the waiting."""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, repeat
from typing import Any, Final, TypeVar

import grpc
import numpy as np
import numpy.typing as npt

from ..contract import TensorSpec
from ..errors import (
    DeadlineExceeded,
    InvalidRequest,
    ModelNotFound,
    ModelVersionChanged,
    ServerUnavailable,
    ServingError,
    served_models,
)
from ..wire import messages
from ..wire.codec import Array
from ..wire.messages import ModelMetadata, Row, Target, VersionStatus
from . import requests
from .calls import C, Calls, Plan, Wait
from .exchange import Answer, Exchange, Operation
from .parts import Batcher, by_length
from .results import Prediction, Tokens
from .settings import CallKeywords, CallOptions, TextKeywords

T = TypeVar("T")
K = TypeVar("K", bound=Tokens)
Texts = Iterable[str | bytes]
#: Function from the outputs by name, the number of rows and the model version to a result.
Decode = Callable[[Mapping[str, Array], int, int | None], T]

#: Time limit in seconds for listing the existing signatures or versions in an error message.
_EXPLAIN: Final = 2.0
#: Times that a call starts again because the version that answered its first texts was unloaded.
_RESTARTS: Final = 5
#: Seconds: time limit of one readiness check, and pause between two checks.
_LOOK, _PAUSE = 5.0, 0.2


class BaseClient(Calls[C]):
    """See the module."""

    # --- The methods ---

    def _vectors(self, signature: str, texts: Texts, return_version: bool, keywords: Mapping[str, Any]) -> Plan[Any]:
        options, rows = self._asked(signature, texts, keywords)
        name = options.output_name or requests.vector_output(signature)
        target, version = (self._target(options), name), None
        if rows:
            answers, places = yield from self._collect(self._vector_parts(options, name), rows, options)
            found, version = requests.join_vectors([each.value for each in answers], name), answers[0].version
            self._widths[target] = found.shape[1]
            found = found if places is None else found[places]
        else:
            if target not in self._widths:
                self._widths[target] = yield from self._width(name, options)
            found = np.zeros((0, self._widths[target]), np.float32)
        return (found, version) if return_version else found

    def _width(self, name: str, options: CallOptions) -> Plan[int]:
        """Vector size for a call without texts: TensorFlow Serving with batching does not answer an empty Predict."""
        model = yield from self._model(options)
        width = requests.static_width(model, options.signature_name, name)
        if width is None:
            answers, _ = yield from self._collect(self._vector_parts(options, name), [(b"",)], options)
            width = answers[0].value.shape[1]
        return width

    def _objects(self, kind: type[K], signature: str, texts: Texts, keywords: Mapping[str, Any]) -> Plan[list[K]]:
        options, rows = self._asked(signature, texts, keywords)
        return (yield from self._each(partial(requests.per_text, kind, signature), rows, options))

    def _predict(
        self, inputs: Mapping[str, npt.ArrayLike], signature: str, wanted: Iterable[str], keywords: Mapping[str, Any]
    ) -> Plan[Prediction]:
        options = self._options(keywords, signature=signature)
        numbers = requests.python_numbers(inputs)
        specs = (yield from self._inputs(options)) if numbers else {}
        sent = {**inputs, **{name: requests.fitted(array, specs.get(name)) for name, array in numbers.items()}}
        request = messages.predict_request(self._target(options), sent, wanted)
        try:
            answer = yield from self._one(messages.PREDICT, request, options)
        except InvalidRequest as error:
            if error.code is not grpc.StatusCode.INVALID_ARGUMENT:
                raise
            found = requests.misfits(sent, specs or (yield from self._inputs(options)))
            raise _because(error, f"input {'; input '.join(found)}") if found else error from error.__cause__
        outputs, version = messages.predict_answer(answer)
        return Prediction({name: requests.writable(array) for name, array in outputs.items()}, version)

    def _inputs(self, options: CallOptions) -> Plan[Mapping[str, TensorSpec]]:
        """Inputs of a signature, cached; empty if the server does not report them."""
        key = self._target(options)
        if key not in self._specs:
            try:
                model = yield from self._model(options)
            except ServingError:
                return {}  # The call itself reports the fault.
            signature = model.signatures.get(options.signature_name)
            self._specs[key] = {} if signature is None else signature.inputs
        return self._specs[key]

    def _metadata(self, keywords: Mapping[str, Any]) -> Plan[ModelMetadata]:
        return (yield from self._model(self._options(keywords)))

    def _status(self, keywords: Mapping[str, Any]) -> Plan[list[VersionStatus]]:
        options = self._options(keywords)
        if options.version_label is not None:
            # TensorFlow Serving's GetModelStatus ignores labels; GetModelMetadata resolves a label to a version.
            model = yield from self._model(options)
            options = replace(options, version=model.version, version_label=None)
        return (yield from self._statuses(options))

    def _ready(self, keywords: Mapping[str, Any]) -> Plan[list[VersionStatus]]:
        timeout = self._options({"timeout": 60.0, **keywords}).timeout
        until = math.inf if not isinstance(timeout, (int, float)) else time.monotonic() + timeout
        while True:
            look = {**keywords, "timeout": min(_LOOK, max(until - time.monotonic(), 0.001))}
            try:
                statuses = yield from self._status(look)
                if any(status.state == "AVAILABLE" for status in statuses):
                    return statuses
                seen = "; ".join(f"version {each.version} {each.state} {each.error_message}" for each in statuses)
            except (ServerUnavailable, ModelNotFound, DeadlineExceeded) as error:
                seen = str(error)
            except InvalidRequest as error:
                if "label" not in error.details:
                    raise
                seen = str(error)  # The label does not exist yet.
            if time.monotonic() >= until:
                late = f"model {self.model!r} at {self.address} was not ready within {timeout:g} s: {seen}"
                raise ServerUnavailable(late, address=self.address)
            yield Wait(self._inbox(), _PAUSE)

    def _reload(self, config: str, keywords: Mapping[str, Any]) -> Plan[None]:
        options, request = self._options(keywords), messages.reload_request(config)
        for server, address in enumerate(self.addresses):
            answer = yield from self._one(messages.RELOAD_CONFIG, request, options, server)
            messages.reload_answer(answer, address)

    def _stream(
        self,
        texts: Any,
        return_version: bool,
        keywords: Mapping[str, Any],
        parts: Callable[[Any, Any, Batcher[Any]], Any],
    ) -> tuple[Plan[None], Batcher[Any]]:
        """The run of ``embed_iter``, and the batcher that orders its results; ``timeout`` applies to each part.

        ``parts`` reads the texts and divides them into parts; the two clients differ in it.
        """
        rest = dict(keywords)
        text_pair, follow = rest.pop("text_pair", None), rest.pop("follow_version", False)
        requests.check_texts(texts)
        if text_pair is not None:
            requests.check_texts(text_pair, "text_pair")
        if follow and not return_version:
            raise ValueError("follow_version=True needs return_version=True: vectors of two versions do not compare")
        options = self._options(rest, TextKeywords, "embed")
        name = options.output_name or requests.vector_output("embed")

        def decode(outputs: Mapping[str, Array], rows: int, version: int | None) -> list[Any]:
            found = requests.output(outputs, name, rows, 2, own=True)
            return list(zip(found, repeat(version))) if return_version else list(found)

        batcher = Batcher[Any](self._shared.limits, options.sort_by_length)
        source = parts(texts, text_pair, batcher)
        exchange = Exchange(self._predicted(options, decode), options, self._shared, source, None, follow)
        return self._run(exchange), batcher

    # --- Building blocks of the methods ---

    def _vector_parts(self, options: CallOptions, name: str) -> Operation[Array]:
        """Predict of the output ``name``, one vector per text: ``[rows, dim]``, possibly read-only."""
        return self._predicted(options, lambda outputs, rows, _: requests.output(outputs, name, rows, 2))

    def _predicted(self, options: CallOptions, decode: Decode[T]) -> Operation[T]:
        """Predict over texts; ``decode`` turns the outputs into a value."""
        target = self._target(options)

        def decoded(data: bytes, rows: int) -> tuple[T, int | None]:
            outputs, version = messages.predict_answer(data)
            return decode(outputs, rows, version), version

        return Operation(
            messages.PREDICT, lambda rows, version: messages.text_request(target.at(version), rows), decoded
        )

    def _collect(
        self, operation: Operation[T], rows: Sequence[Row], options: CallOptions
    ) -> Plan[tuple[list[Answer[T]], Array | None]]:
        """Answers to the parts of a call, all by one version; if that version is unloaded, the call starts again.

        Also the index of each row in the answers, if the rows were sorted by length.
        """
        deadline, places = deadline_of(options), None
        if options.sort_by_length:
            order = by_length(rows)
            rows, places = [rows[at] for at in order], np.argsort(order)
        for left in reversed(range(_RESTARTS)):
            try:
                parts = Batcher[Any](self._shared.limits).parts(rows)
                exchange = Exchange(operation, options, self._shared, parts, deadline)
                return (yield from self._answers(exchange)), places
            except ModelVersionChanged:
                if not left:
                    raise
        raise AssertionError("unreachable")

    def _each(self, decode: Decode[list[T]], rows: Sequence[Row], options: CallOptions) -> Plan[list[T]]:
        """Decoded result of each row, in the order of the rows."""
        if options.output_name:
            signature = options.signature_name
            raise TypeError(
                f"output_name is for vectors of texts; {signature!r} answers all of its outputs: leave it out"
            )
        answers, places = yield from self._collect(self._predicted(options, decode), rows, options)
        values = list(chain.from_iterable(answer.value for answer in answers))
        return values if places is None else [values[at] for at in places]

    def _one(self, path: str, request: bytes, options: CallOptions, server: int | None = None) -> Plan[bytes]:
        """The answer to a request without texts; a call to a given ``server`` is made only once."""
        operation = Operation(path, lambda rows, version: request, lambda data, rows: (data, None))
        exchange = Exchange(operation, options, self._shared, iter([()]), deadline_of(options), server=server)
        (answer,) = yield from self._answers(exchange)
        return answer.value

    def _model(self, options: CallOptions) -> Plan[ModelMetadata]:
        request = messages.metadata_request(self._target(options))
        return messages.metadata_answer((yield from self._one(messages.GET_MODEL_METADATA, request, options)))

    def _statuses(self, options: CallOptions) -> Plan[list[VersionStatus]]:
        request = messages.status_request(self._target(options))
        return messages.status_answer((yield from self._one(messages.GET_MODEL_STATUS, request, options)))

    def _asked(self, signature: str, texts: Texts, keywords: Mapping[str, Any]) -> tuple[CallOptions, list[Row]]:
        rest = dict(keywords)
        text_pair = rest.pop("text_pair", None)
        return self._options(rest, TextKeywords, signature), requests.as_rows(texts, text_pair)

    def _options(self, keywords: Mapping[str, Any], known: Any = CallKeywords, signature: str = "") -> CallOptions:
        for name in keywords:
            if name not in known.__optional_keys__:
                raise TypeError(f"unexpected keyword argument {name!r}; use {', '.join(known.__optional_keys__)}")
        options = CallOptions(**{"signature_name": signature, **keywords})
        self._check_credentials(options)
        return options.over(self._own)

    def _target(self, options: CallOptions) -> Target:
        return Target(self.model, options.version, options.version_label, options.signature_name)

    def _explained(self, error: ServingError, exchange: Exchange[Any]) -> Plan[ServingError]:
        """Add the existing signatures or versions to the error about an unknown one, within the time left."""
        left = math.inf if exchange.deadline is None else exchange.deadline - time.monotonic()
        options = replace(exchange.options, timeout=max(min(_EXPLAIN, left), 0.001))
        try:
            if error.code is grpc.StatusCode.FAILED_PRECONDITION and error.details.startswith("Serving signature"):
                model = yield from self._model(options)
                return _because(error, f"the model has the signatures {_listed(model.signatures)}")
            if error.code is grpc.StatusCode.NOT_FOUND and error.details.startswith(
                "Servable not found for request: Spec"
            ):
                statuses = yield from self._statuses(replace(options, version=None, version_label=None))
                found = _listed(f"{each.version} ({each.state})" for each in statuses)
                return _because(error, f"the model has the versions {found}")
            if isinstance(error, ModelNotFound) and (models := served_models(error)):
                return _because(error, f"the server has the models {_listed(models)}")
        except ServingError:
            pass  # The first error is the more helpful one.
        return error


def deadline_of(options: CallOptions) -> float | None:
    """The deadline of a call with its own timeout; ``None`` without one."""
    return time.monotonic() + options.timeout if isinstance(options.timeout, float) else None


def _because(error: ServingError, why: str) -> ServingError:
    """The same error with an addition to its message."""
    return type(error)(f"{error}; {why}", code=error.code, details=error.details, address=error.address)


def _listed(found: Iterable[Any]) -> str:
    return ", ".join(map(str, found)) or "none"
