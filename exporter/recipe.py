"""The settings of an export: the user's configuration, and the resolved recipe. Frozen, validated, no TensorFlow."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ..serving import contract
from .errors import ConfigError
from .targets import opsets

ENCODER_IMPLS = ("auto", "native", "hub")
#: sentence-transformers' names for the ways to turn token vectors into one vector.
POOLING_MODES = ("cls", "lasttoken", "max", "mean", "mean_sqrt_len_tokens", "weightedmean")

#: Dtype of an encoder's matrix products -> tolerance of an export: the largest absolute difference (times
#: max(1, largest reference value)) and the smallest cosine to the float32 reference.
TOLERANCES = {"float32": (1e-5, 0.99999), "bfloat16": (0.1, 0.9995), "float16": (0.02, 0.9995)}
PRECISIONS = tuple(TOLERANCES)
#: The precision of the proof. For other precisions, the proof reports the loss.
EXACT = "float32"

#: The checkpoint's own tokenizer, or tensorflow-text's BertTokenizer with the checkpoint's vocabulary.
TOKENIZERS = ("reference", "tf-text")
#: Functions from logits to scores, for checkpoints that do not state one.
HEAD_ACTIVATIONS = ("sigmoid", "softmax")
TRUNCATION_SIDES = ("right", "left")
#: transformers' strategies for cutting a pair to the maximum length.
TRUNCATION_STRATEGIES = ("longest_first", "only_first", "only_second")

#: [CLS], one token of text, [SEP].
SHORTEST_SEQUENCE = 3


def _one_of(what: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{what}: {value!r} is unknown; choose from {', '.join(allowed)}")


@dataclass(frozen=True)
class TokenizerOptions:
    """The user's options for tokenization; the fields are described at :class:`ExportConfig`."""

    tokenizer: str = "reference"
    pair: bool = False
    truncation_side: str | None = None
    truncation_strategy: str = "longest_first"
    plain_text_special_tokens: bool = False

    def __post_init__(self) -> None:
        _one_of("tokenizer", self.tokenizer, TOKENIZERS)
        if self.truncation_side is not None:
            _one_of("truncation_side", self.truncation_side, TRUNCATION_SIDES)
        _one_of("truncation_strategy", self.truncation_strategy, TRUNCATION_STRATEGIES)
        if self.truncation_strategy != "longest_first" and not self.pair:
            raise ConfigError(f"truncation_strategy {self.truncation_strategy} is for pairs of texts; set pair too")


DEFAULT_TOKENIZATION = TokenizerOptions()


def absolute(output: str | os.PathLike[str]) -> Path:
    """An output path as an absolute path, with ``~`` expanded and without ``..``.

    Raises:
        ConfigError: it names an unknown user.
    """
    try:
        return Path(os.path.abspath(Path(output).expanduser()))
    except RuntimeError as error:
        raise ConfigError(f"output is {os.fspath(output)!r}: {error}") from error


def in_words(pooling: tuple[str, ...], steps: tuple[str, ...]) -> str:
    """Pooling modes and the steps after them, in words."""
    return ", then ".join([" and ".join(pooling), *steps])


@dataclass(frozen=True)
class ExportConfig:
    """Source, destination and options of an export.

    Args:
        encoder: the checkpoint: a folder or archive, a URL, or a model of a hub (``owner/name`` of the Hugging
            Face Hub, ``owner/model/framework/variation`` of Kaggle).
        output: base path that TensorFlow Serving polls; versions appear in it as ``<output>/<version>``.
        version: version number, 0 or more; ``None`` takes the next free integer.
        max_seq_length: maximum tokens of one text, ``[CLS]`` and ``[SEP]`` included, at least 3;
            ``None`` takes the checkpoint's own limit.
        encoder_impl: ``native`` rebuilds the transformer from its weights, ``hub`` wraps the Hub layer
            unchanged, ``auto`` takes native if the weights are understood.
        precision: dtype of the encoder's matrix products and of their weights, one of :data:`PRECISIONS`; all but
            float32 need the native encoder.
        signatures: subset of :data:`.contract.SIGNATURE_NAMES`; ``None`` takes all that the checkpoint supports.
        name: model name that clients will use; ``None`` takes the last part of ``output``.
        pooling: rule of ``embed`` for token vectors to one vector, one of :data:`POOLING_MODES`; ``None``
            takes the checkpoint's own recipe (without a recipe there is no ``embed``).
        normalize: scale ``embed``'s vectors to length 1; ``None`` follows the recipe.
        target_serving: TensorFlow Serving release that must be able to run the model, one of
            :data:`.opsets.RELEASES`.
        tokenizer: ``reference`` gives the tokens of the checkpoint's own tokenizer, ``tf-text`` those of
            tensorflow-text's BertTokenizer, which the Hub's preprocessing models use; ``None`` takes ``tf-text`` for a
            Keras model with such a preprocessing layer, else ``reference``.
        pair: signatures take two texts, ``text`` and ``text_pair``, and return ``input_type_ids``; ``None`` follows the
            checkpoint: pairs for cross-encoders only.
        logits: ``classify``, ``tag`` and ``score`` return logits in place of probabilities.
        labels: names of the labels, in their order; ``None`` takes the checkpoint's own.
        activation: function from logits to scores for a head that does not state it, one of :data:`HEAD_ACTIVATIONS`.
        truncation_side: side on which long texts are cut, ``right`` or ``left``; ``None`` takes the checkpoint's own
            side, nearly always right.
        truncation_strategy: the text of a long pair that is cut: ``longest_first``, ``only_first`` or
            ``only_second``.
        plain_text_special_tokens: treat special tokens such as ``[SEP]`` in a text as ordinary text.
        force: replace ``version`` if it exists.
        models_config: add the model to models.config next to ``output``, if it is not listed.
        served_from: the folder above ``output`` as the server sees it, absolute; written to models.config.
        revision: branch, tag, commit or version of a hub's model; ``None`` takes the newest.
        tolerance: the largest absolute difference in the proof, times max(1, largest reference value); ``None`` takes
            the value in :data:`TOLERANCES`.
        min_cosine: the smallest cosine in the proof between an output vector and its reference; ``None`` takes
            the value in :data:`TOLERANCES`.

    Raises:
        ConfigError: an invalid value.
    """

    encoder: str | os.PathLike[str]
    output: str | os.PathLike[str]
    version: int | None = None
    max_seq_length: int | None = None
    encoder_impl: str = "auto"
    precision: str = "float32"
    signatures: tuple[str, ...] | None = None
    name: str | None = None
    pooling: str | None = None
    normalize: bool | None = None
    target_serving: str = opsets.NEWEST
    tokenizer: str | None = None
    pair: bool | None = None
    logits: bool = False
    labels: tuple[str, ...] | None = None
    activation: str | None = None
    truncation_side: str | None = None
    truncation_strategy: str = "longest_first"
    plain_text_special_tokens: bool = False
    force: bool = False
    models_config: bool = True
    served_from: str = "/models"
    revision: str | None = None
    tolerance: float | None = None
    min_cosine: float | None = None

    def __post_init__(self) -> None:
        if not os.fspath(self.encoder):
            raise ConfigError("encoder is empty: name the folder of a checkpoint")
        if not os.fspath(self.output):
            raise ConfigError("output is empty: name the folder for the model's versions")
        if self.version is not None and not 0 <= self.version < 2**63:
            raise ConfigError(f"version is {self.version}: give a number from 0 to 2^63 - 1")
        if self.max_seq_length is not None and self.max_seq_length < SHORTEST_SEQUENCE:
            raise ConfigError(
                f"max_seq_length is {self.max_seq_length}: give at least {SHORTEST_SEQUENCE}, "
                "for [CLS], one token and [SEP]"
            )
        if self.revision is not None and not self.revision.strip():
            raise ConfigError("revision is empty: name a branch, tag, commit or version, or leave it out")
        if not self.served_from.startswith("/"):
            raise ConfigError(f"served_from is {self.served_from!r}: give an absolute path, for TensorFlow Serving")
        _one_of("encoder_impl", self.encoder_impl, ENCODER_IMPLS)
        _one_of("precision", self.precision, PRECISIONS)
        if self.precision != "float32" and self.encoder_impl == "hub":
            raise ConfigError(
                f"precision {self.precision} needs the native encoder: a Hub layer keeps its own; "
                "use encoder_impl native or auto"
            )
        _one_of("target_serving", self.target_serving, opsets.RELEASES)
        if self.pooling is not None:
            _one_of("pooling", self.pooling, POOLING_MODES)
        if self.signatures is not None:
            object.__setattr__(self, "signatures", tuple(self.signatures))
            if not self.signatures:
                raise ConfigError(f"signatures is empty: choose from {', '.join(contract.SIGNATURE_NAMES)}")
            for signature in self.signatures:
                _one_of("signatures", signature, contract.SIGNATURE_NAMES)
        self.tokenization_of(self.pair is not False)  # runs the checks of TokenizerOptions
        if self.labels is not None:
            object.__setattr__(self, "labels", tuple(self.labels))
            for label in self.labels:
                if not label.strip() or self.labels.count(label) > 1:
                    raise ConfigError(f"labels: {label!r} is empty or a duplicate; give each label its own name")
        if self.activation is not None:
            _one_of("activation", self.activation, HEAD_ACTIVATIONS)
        if not self.model_name.strip():
            raise ConfigError("name is empty: give the model name that clients will use")
        for what, name in (("name", self.model_name), ("output", self.base_path.name)):
            if not name.isprintable() or set("\"'\\") & set(name):
                raise ConfigError(
                    f"{what} is {name!r}: quotes, backslashes and control characters cause problems in models.config "
                    "and in REST paths; choose another"
                )
        tolerance, min_cosine = self.allowed
        if not tolerance > 0 or not 0 < min_cosine <= 1:
            raise ConfigError("give a tolerance above 0, and a min_cosine above 0 and at most 1")

    def tokenization_of(self, pair: bool) -> TokenizerOptions:
        """The options for tokenization of single texts or of pairs."""
        chosen = {each.name: getattr(self, each.name) for each in fields(TokenizerOptions)}
        return TokenizerOptions(**{**chosen, "tokenizer": self.tokenizer or "reference", "pair": pair})

    @property
    def allowed(self) -> tuple[float, float]:
        """``tolerance`` and ``min_cosine``, or their defaults."""
        tolerance, min_cosine = TOLERANCES[self.precision]
        return (
            tolerance if self.tolerance is None else self.tolerance,
            min_cosine if self.min_cosine is None else self.min_cosine,
        )

    @property
    def base_path(self) -> Path:
        """``output`` as :func:`absolute` gives it."""
        return absolute(self.output)

    @property
    def model_name(self) -> str:
        """Model name for clients, in ``model_spec.name``."""
        return self.base_path.name if self.name is None else self.name


@dataclass(frozen=True)
class Recipe:
    """The resolved settings of an export, with nothing left to decide; used by the graph, the proof and the manifest.

    Args:
        signatures: signatures of the model, without the default alias.
        max_seq_length: maximum tokens of a text.
        tokenization: options for the tokenizer; ``truncation_side`` is set.
        encoder: ``native`` or ``hub`` (``auto`` until the graph is built).
        precision: dtype of the encoder's matrix products.
        pooling: modes of ``embed``; empty without that signature.
        steps: steps after the pooling, in words (``normalize``, ``dense tanh to 16``).
        chosen: those of ``max_seq_length``, ``tokenizer``, ``truncation_side``, ``pooling`` and ``normalize`` that the
            user set. The others are the checkpoint's own; the reference reads them itself.
        tolerance: largest difference, times max(1, largest reference value).
        min_cosine: smallest cosine to a reference vector.
        target_serving: TensorFlow Serving release that must be able to run it.
        logits: whether a head returns logits in place of scores.
        labels: names of the labels, if the user set them.
        activation: function from logits to scores, if the user set it.
    """

    signatures: tuple[str, ...]
    max_seq_length: int
    tokenization: TokenizerOptions
    encoder: str
    precision: str
    pooling: tuple[str, ...]
    steps: tuple[str, ...]
    chosen: tuple[str, ...]
    tolerance: float
    min_cosine: float
    target_serving: str
    logits: bool = False
    labels: tuple[str, ...] = ()
    activation: str | None = None

    @property
    def default(self) -> str:
        """The signature that ``serving_default`` is an alias of."""
        return contract.default_of(self.signatures)

    @property
    def pair(self) -> bool:
        """Whether signatures take two texts."""
        return self.tokenization.pair

    def to_json(self) -> dict[str, Any]:
        """The JSON form for :meth:`from_json`."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Recipe:
        """The recipe that :meth:`to_json` wrote.

        Raises:
            KeyError, TypeError: the JSON is of another release.
        """
        values: dict[str, Any] = {key: tuple(each) if isinstance(each, list) else each for key, each in state.items()}
        return cls(**{**values, "tokenization": TokenizerOptions(**values["tokenization"])})
