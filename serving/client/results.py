"""What the client answers with, where an array is not enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "ModelMetadata",
    "Prediction",
    "SignatureInfo",
    "TensorSpec",
    "TokenSequence",
    "Tokens",
    "Vectors",
    "VersionStatus",
]

Array = npt.NDArray[Any]


class Vectors(np.ndarray[Any, np.dtype[Any]]):
    """Vectors, one a row: a numpy array that knows who made it.

    Rows, slices, copies and pickles keep :attr:`model_version`; what is computed from it is a plain array.

    Attributes:
        model_version: the version of the model that answered; ``None`` where the server does not say.
    """

    model_version: int | None

    def __new__(cls, array: Array, model_version: int | None = None) -> Vectors:
        """A view of an array."""
        made = np.asarray(array).view(cls)
        made.model_version = model_version
        return made

    def __array_finalize__(self, source: Any) -> None:
        self.model_version = getattr(source, "model_version", None)

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        plain = array.view(np.ndarray)
        return plain[()] if return_scalar else plain

    def __reduce__(self) -> Any:
        return Vectors, (np.asarray(self).view(np.ndarray), self.model_version)


class Prediction(dict[str, Array]):
    """Outputs by name.

    Attributes:
        model_version: the version of the model that answered; ``None`` where the server does not say.
    """

    def __init__(self, outputs: Mapping[str, Array], model_version: int | None = None) -> None:
        super().__init__(outputs)
        self.model_version = model_version


@dataclass(frozen=True, eq=False)
class Tokens:
    """The tokens of one text, without padding.

    Attributes:
        ids: vocabulary ids, int32 ``[tokens]``, with ``[CLS]`` and ``[SEP]``.
        start_offsets: first byte of each token in the UTF-8 text, int32 ``[tokens]``; -1 at ``[CLS]``, ``[SEP]``.
        limit_offsets: byte after its last, likewise.
        token_count: tokens that the whole text has; more than ``len(ids)`` where it was cut.
        type_ids: int32 ``[tokens]``, 0 for the text and 1 for its pair; ``None`` where the model takes no pairs.
        model_version: the version of the model that answered; ``None`` where the server does not say.
    """

    ids: Array
    start_offsets: Array
    limit_offsets: Array
    token_count: int
    type_ids: Array | None = None
    model_version: int | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def truncated(self) -> bool:
        """Whether the text was cut to the model's maximum length."""
        return self.token_count > len(self.ids)


@dataclass(frozen=True, eq=False)
class TokenSequence(Tokens):
    """The tokens of one text with their vectors.

    Attributes:
        vectors: float32 ``[tokens, hidden]``.
    """

    vectors: Array = field(kw_only=True)


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a signature; ``shape`` is ``None`` for an unknown rank, -1 stands for any size."""

    name: str
    dtype: str
    shape: tuple[int, ...] | None


@dataclass(frozen=True)
class SignatureInfo:
    """Inputs and outputs of a signature, by name."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]


@dataclass(frozen=True)
class ModelMetadata:
    """What a server says of a model: its name, the version that answered, its signatures by name."""

    name: str
    version: int
    signatures: Mapping[str, SignatureInfo]


@dataclass(frozen=True)
class VersionStatus:
    """State of one version of a model.

    Attributes:
        version: its number.
        state: START, LOADING, AVAILABLE, UNLOADING, END or UNKNOWN.
        error_code: 0, or the gRPC code of the reason why it is not available.
        error_message: that reason.
    """

    version: int
    state: str
    error_code: int = 0
    error_message: str = ""
