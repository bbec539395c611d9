"""The methods of the server: how each one's requests and answers are written."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy.typing as npt

from ..wire import messages
from ..wire.messages import ModelMetadata, Row, Target, VersionStatus
from . import requests
from .results import Prediction, Tokens

T = TypeVar("T")
K = TypeVar("K", bound=Tokens)
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Operation(Generic[T]):
    """A method of the server, and how its requests and answers are written.

    Attributes:
        path: gRPC's name of the method.
        encode: rows, and a version in place of the one that the user asked for -> the request.
        decode: an answer, and the number of rows -> its value, and the version that answered where the server says it.
    """

    path: str
    encode: Callable[[Sequence[Row], int | None], bytes]
    decode: Callable[[bytes, int], tuple[T, int | None]]

    @property
    def name(self) -> str:
        """The method without its service."""
        return self.path.rpartition("/")[2]


def texts(target: Target, decode: Callable[[Mapping[str, Array], int, int | None], T]) -> Operation[T]:
    """Predict over texts; ``decode`` makes its value of outputs by name, the number of rows and the version."""

    def decoded(data: bytes, rows: int) -> tuple[T, int | None]:
        outputs, version = messages.predict_answer(data)
        return decode(outputs, rows, version), version

    return Operation(messages.PREDICT, lambda rows, version: messages.text_request(target.at(version), rows), decoded)


def vectors(target: Target, name: str, writable: bool = False) -> Operation[Array]:
    """The output ``name``, with one vector a text: ``[rows, dim]``, perhaps read-only."""
    return texts(target, lambda outputs, rows, _: requests.output(outputs, name, rows, 2, writable))


def tokens(target: Target, kind: type[K], signature: str) -> Operation[list[K]]:
    """One object a text, of the outputs that the contract declares for ``signature``."""
    return texts(target, lambda outputs, rows, version: requests.per_text(kind, signature, outputs, rows, version))


def predict(target: Target, inputs: Mapping[str, npt.ArrayLike], output_filter: Iterable[str]) -> Operation[Prediction]:
    """Predict over any inputs; raises as :func:`messages.predict_request` does."""

    def decode(data: bytes) -> Prediction:
        found, version = messages.predict_answer(data)
        return Prediction({name: requests.writable(array) for name, array in found.items()}, version)

    return _fixed(messages.PREDICT, messages.predict_request(target, inputs, output_filter), decode)


def metadata(target: Target) -> Operation[ModelMetadata]:
    """GetModelMetadata."""
    return _fixed(messages.GET_MODEL_METADATA, messages.metadata_request(target), messages.metadata_answer)


def status(target: Target) -> Operation[list[VersionStatus]]:
    """GetModelStatus."""
    return _fixed(messages.GET_MODEL_STATUS, messages.status_request(target), messages.status_answer)


def reload(config: str, address: str) -> Operation[None]:
    """HandleReloadConfigRequest; ``address`` is for the error of a server that refuses it."""
    request = messages.reload_request(config)
    return _fixed(messages.RELOAD_CONFIG, request, lambda data: messages.reload_answer(data, address))


def _fixed(path: str, request: bytes, decode: Callable[[bytes], T]) -> Operation[T]:
    """A method whose request does not depend on rows and version."""
    return Operation(path, lambda rows, version: request, lambda data, rows: (decode(data), None))
