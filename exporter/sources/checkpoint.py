"""The neutral description that every kind of source is turned into, and that all later steps read."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..families.config import EncoderConfig
from ..tokenizers.spec import TokenizerSpec


@dataclass(frozen=True)
class Dense:
    """A dense layer of a head: ``activation(x @ kernel + bias)``, kernel ``[in, out]``."""

    kernel: np.ndarray
    bias: np.ndarray | None
    activation: str


@dataclass(frozen=True)
class LayerNorm:
    """Normalisation of a head's vectors: mean 0 and variance 1, then ``x * gamma + beta``; both ``[width]``."""

    gamma: np.ndarray
    beta: np.ndarray
    epsilon: float


@dataclass(frozen=True)
class PoolingRecipe:
    """How token vectors become one embedding: pooled modes side by side, then layers, then normalisation.

    ``steps`` holds :class:`Dense` layers and the string ``"normalize"``, in the order of the source.
    """

    modes: tuple[str, ...]
    steps: tuple[Dense | str, ...] = ()

    @property
    def described(self) -> tuple[str, ...]:
        """The steps in words."""
        return tuple(
            step if isinstance(step, str) else f"dense {step.activation} to {step.kernel.shape[1]}"
            for step in self.steps
        )


@dataclass(frozen=True)
class Head:
    """What a model was fine-tuned for: layers that make logits of an encoder's outputs, and what becomes of them.

    Attributes:
        signature: ``classify``, ``tag`` or ``score``.
        takes: what the first layer takes: ``pooled`` (the pooler's output), ``first`` (the vector of the first token),
            ``mean`` (of the vectors of a text's tokens) or ``tokens`` (all vectors).
        layers: one after the other; the last one's outputs are the logits, one a label.
        labels: their names.
        activation: what makes scores of logits: ``softmax``, ``sigmoid`` or ``identity``.
        problem: ``problem_type`` of config.json, where it says one.
        pair: whether it was trained on pairs, as far as the checkpoint says.
        notes, activation_notes: what a user should know, and that of the activation.
    """

    signature: str
    takes: str
    layers: tuple[Dense | LayerNorm, ...]
    labels: tuple[str, ...]
    activation: str
    problem: str | None = None
    pair: bool = False
    notes: tuple[str, ...] = ()
    activation_notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SourceFile:
    """A file that the export was made from."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Checkpoint:
    """Everything that the exporter knows of a source.

    ``encoder`` is ``None`` where the weights are not understood: such an encoder can only be wrapped whole.
    ``hub_layer`` gives the layer of a Hub encoder, a :class:`.hub.TextLayer`. ``own_tokenizer`` is whose tokens the
    model was trained on, one of :data:`..recipe.TOKENIZERS`. ``unknown_head`` is the class of a model that was
    fine-tuned for something that cannot be exported. ``run`` is what ``rawbert finetune`` says of the model that it
    made.
    """

    kind: str
    location: Path
    tokenizer: TokenizerSpec
    max_seq_length: int
    hidden_size: int
    encoder: EncoderConfig | None = None
    weights: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    pooling: PoolingRecipe | None = None
    head: Head | None = None
    unknown_head: str | None = None
    max_positions: int | None = None
    hub_layer: Callable[[], Any] | None = field(default=None, repr=False)
    own_tokenizer: str = "reference"
    files: tuple[SourceFile, ...] = ()
    run: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()

    @property
    def has_pooler(self) -> bool:
        """Whether ``pooled_output`` can be answered."""
        return self.encoder.has_pooler if self.encoder is not None else True


def describe_files(paths: Iterable[Path], root: Path) -> tuple[SourceFile, ...]:
    """Size and sha256 of those files that are there, named by their path under ``root``."""
    found = []
    for path in dict.fromkeys(paths):
        if path.is_file():
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            found.append(SourceFile(path.relative_to(root).as_posix(), path.stat().st_size, digest))
    return tuple(found)
