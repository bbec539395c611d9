"""The neutral description of a checkpoint: the result of every kind of source, and the input of all later steps."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..families.config import EncoderConfig
from ..hashing import file_sha256
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
    """The recipe from token vectors to one embedding: concatenated pooling modes, then layers, then normalisation.

    ``steps`` contains :class:`Dense` layers and the string ``"normalize"``, in the order of the source.
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
    """The head of a fine-tuned model: layers from an encoder's outputs to logits, and the use of the logits.

    Attributes:
        signature: ``classify``, ``tag`` or ``score``.
        takes: input of the first layer: ``pooled`` (the pooler's output), ``first`` (the vector of the first token),
            ``mean`` (of the vectors of a text's tokens) or ``tokens`` (all vectors).
        layers: the layers in order; the outputs of the last one are the logits, one per label.
        labels: names of the labels.
        activation: function from logits to scores: ``softmax``, ``sigmoid`` or ``identity``.
        problem: ``problem_type`` of config.json, if it has one.
        pair: whether it was trained on pairs, if the checkpoint states it.
        notes, activation_notes: notes for the user, in general and about the activation.
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
    """An input file of the export."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Checkpoint:
    """The complete description of a source.

    ``encoder`` is ``None`` if the weights are not understood: such an encoder can only be wrapped as a whole.
    ``hub_layer`` returns the layer of a Hub encoder, a :class:`.hub.TextLayer`. ``own_tokenizer`` is the tokenizer of
    the model's training, one of :data:`..recipe.TOKENIZERS`. ``unknown_head`` is the class of a model with a
    fine-tuned head that cannot be exported. ``run`` is the record of ``rawbert finetune``, for a model that it made.
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
        """Whether the model has ``pooled_output``."""
        return self.encoder.has_pooler if self.encoder is not None else True


def describe_files(paths: Iterable[Path], root: Path) -> tuple[SourceFile, ...]:
    """Size and sha256 of the existing files among ``paths``, named by their path under ``root``."""
    found = []
    for path in dict.fromkeys(paths):
        if path.is_file():
            found.append(SourceFile(path.relative_to(root).as_posix(), path.stat().st_size, file_sha256(path)))
    return tuple(found)
