"""What the client answers with, where an array is not enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

__all__ = ["ModelMetadata", "SignatureInfo", "TensorSpec", "TokenSequence", "Tokens", "VersionStatus"]

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Tokens:
    """The tokens of one text, without padding.

    Attributes:
        ids: vocabulary ids, int32 ``[tokens]``, with ``[CLS]`` and ``[SEP]``.
        start_offsets: first byte of each token in the UTF-8 text, int32 ``[tokens]``; -1 at ``[CLS]``, ``[SEP]``.
        limit_offsets: byte after its last, likewise.
        token_count: tokens that the whole text has; more than ``len(ids)`` where it was cut.
    """

    ids: Array
    start_offsets: Array
    limit_offsets: Array
    token_count: int

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

    vectors: Array


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
