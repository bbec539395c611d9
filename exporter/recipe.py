"""What to export: as the user asks for it, and as it was resolved. Frozen, validated, and free of TensorFlow."""

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

#: Dtypes that an encoder's matrix products can be made in, and for each the largest absolute difference (times
#: max(1, largest reference value)) and the smallest cosine to the float32 reference that an export may show.
TOLERANCES = {"float32": (1e-5, 0.99999), "bfloat16": (0.1, 0.9995), "float16": (0.02, 0.9995)}
PRECISIONS = tuple(TOLERANCES)
#: The precision in which a graph is proven; what others cost is measured.
EXACT = "float32"

#: Whose tokens: those of the checkpoint's own tokenizer, or of tensorflow-text's BertTokenizer over its vocabulary.
TOKENIZERS = ("reference", "tf-text")
#: What can make scores of logits where a checkpoint does not say it.
HEAD_ACTIVATIONS = ("sigmoid", "softmax")
TRUNCATION_SIDES = ("right", "left")
#: transformers' names for the ways in which two texts share the maximum length.
TRUNCATION_STRATEGIES = ("longest_first", "only_first", "only_second")

#: [CLS], one token of text, [SEP].
SHORTEST_SEQUENCE = 3


def _one_of(what: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{what}: {value!r} is unknown; choose from {', '.join(allowed)}")


@dataclass(frozen=True)
class TokenizerOptions:
    """What a user chooses about tokenizing; the fields are described at :class:`ExportConfig`."""

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
    """A path to write to, absolute, with ``~`` expanded and without ``..``.

    Raises:
        ConfigError: it names a user who is not there.
    """
    try:
        return Path(os.path.abspath(Path(output).expanduser()))
    except RuntimeError as error:
        raise ConfigError(f"output is {os.fspath(output)!r}: {error}") from error


def in_words(pooling: tuple[str, ...], steps: tuple[str, ...]) -> str:
    """Pooling modes and what follows them, in words."""
    return ", then ".join([" and ".join(pooling), *steps])


@dataclass(frozen=True)
class ExportConfig:
    """What to export, to where, and how.

    Args:
        encoder: the checkpoint: a folder or archive, a URL, or a model of a hub (``owner/name`` of the Hugging
            Face Hub, ``owner/model/framework/variation`` of Kaggle).
        output: base path that TensorFlow Serving polls; versions appear in it as ``<output>/<version>``.
        version: version number, 0 or more; ``None`` takes the next free integer.
        max_seq_length: most tokens of one text, ``[CLS]`` and ``[SEP]`` included, at least 3;
            ``None`` takes the checkpoint's own limit.
        encoder_impl: ``native`` rebuilds the transformer from its weights, ``hub`` wraps the Hub layer as
            it is, ``auto`` takes native where the weights are understood.
        precision: dtype of the encoder's matrix products and of their weights, one of :data:`PRECISIONS`; whatever is
            not float32 needs the native encoder.
        signatures: subset of :data:`.contract.SIGNATURE_NAMES`; ``None`` takes all that the checkpoint can answer.
        name: model name that clients will use; ``None`` takes the last part of ``output``.
        pooling: how ``embed`` turns token vectors into one vector, one of :data:`POOLING_MODES`; ``None``
            takes the checkpoint's own recipe (and offers no ``embed`` where it has none).
        normalize: scale ``embed``'s vectors to length 1; ``None`` as the recipe says.
        target_serving: TensorFlow Serving release that must be able to run it, one of
            :data:`.opsets.RELEASES`.
        tokenizer: ``reference`` gives the tokens of the checkpoint's own tokenizer, ``tf-text`` those of
            tensorflow-text's BertTokenizer, which the Hub's preprocessing models use; ``None`` takes ``tf-text`` for a
            Keras model with such a preprocessing layer, else ``reference``.
        pair: signatures take two texts, ``text`` and ``text_pair``, and give ``input_type_ids``; ``None`` as the
            checkpoint says, and only cross-encoders do.
        logits: ``classify``, ``tag`` and ``score`` give logits in place of probabilities.
        labels: names of the labels, in their order; ``None`` takes the checkpoint's own.
        activation: what makes scores of the logits of a head that does not say it, one of :data:`HEAD_ACTIVATIONS`.
        truncation_side: where texts that are too long are cut, ``right`` or ``left``; ``None`` as the checkpoint
            says, and that is nearly always right.
        truncation_strategy: of which text of a pair that is too long: ``longest_first``, ``only_first`` or
            ``only_second``.
        plain_text_special_tokens: ``[SEP]`` and the like in a text are ordinary text, not the special tokens.
        force: replace ``version`` if it exists.
        models_config: add the model to models.config beside ``output``, if it is not there.
        served_from: the folder above ``output`` as the server sees it, absolute; it goes into models.config.
        revision: of a hub's model: branch, tag, commit or version; ``None`` takes the newest.
        tolerance: verification's largest absolute difference, times max(1, largest reference value); ``None`` as
            :data:`TOLERANCES` says.
        min_cosine: verification's smallest cosine between an output vector and its reference; ``None`` as
            :data:`TOLERANCES` says.

    Raises:
        ConfigError: a value that cannot work.
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
            raise ConfigError("output is empty: name the folder that is to hold the model's versions")
        if self.version is not None and not 0 <= self.version < 2**63:
            raise ConfigError(f"version is {self.version}: TensorFlow Serving counts from 0 to 2^63 - 1")
        if self.max_seq_length is not None and self.max_seq_length < SHORTEST_SEQUENCE:
            raise ConfigError(
                f"max_seq_length is {self.max_seq_length}: at least {SHORTEST_SEQUENCE} are needed, "
                "for [CLS], one token and [SEP]"
            )
        if self.revision is not None and not self.revision.strip():
            raise ConfigError("revision is empty: name a branch, tag, commit or version, or leave it out")
        if not self.served_from.startswith("/"):
            raise ConfigError(f"served_from is {self.served_from!r}: TensorFlow Serving takes absolute paths only")
        _one_of("encoder_impl", self.encoder_impl, ENCODER_IMPLS)
        _one_of("precision", self.precision, PRECISIONS)
        if self.precision != "float32" and self.encoder_impl == "hub":
            raise ConfigError(
                f"precision {self.precision} needs the native encoder: a Hub layer computes as it was saved; "
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
        self.tokenization_of(self.pair is not False)  # its own checks
        if self.labels is not None:
            object.__setattr__(self, "labels", tuple(self.labels))
            for label in self.labels:
                if not label.strip() or self.labels.count(label) > 1:
                    raise ConfigError(f"labels: {label!r} is empty, or there twice; give each label a name of its own")
        if self.activation is not None:
            _one_of("activation", self.activation, HEAD_ACTIVATIONS)
        if not self.model_name.strip():
            raise ConfigError("name is empty: give the model name that clients will use")
        for what, name in (("name", self.model_name), ("output", self.base_path.name)):
            if not name.isprintable() or set("\"'\\") & set(name):
                raise ConfigError(
                    f"{what} is {name!r}: what reads models.config and REST paths does not take quotes, backslashes "
                    "and control characters well; choose another"
                )
        tolerance, min_cosine = self.allowed
        if not tolerance > 0 or not 0 < min_cosine <= 1:
            raise ConfigError("tolerance must be above 0, and min_cosine above 0 and at most 1")

    def tokenization_of(self, pair: bool) -> TokenizerOptions:
        """What is chosen about tokenizing, of single texts or of pairs."""
        chosen = {each.name: getattr(self, each.name) for each in fields(TokenizerOptions)}
        return TokenizerOptions(**{**chosen, "tokenizer": self.tokenizer or "reference", "pair": pair})

    @property
    def allowed(self) -> tuple[float, float]:
        """``tolerance`` and ``min_cosine``, or what stands for them."""
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
        """Name that clients send in ``model_spec.name``."""
        return self.base_path.name if self.name is None else self.name


@dataclass(frozen=True)
class Recipe:
    """What an export makes, with nothing left to decide: it travels to the graph, the proof and the manifest.

    Args:
        signatures: those of the model, without its default.
        max_seq_length: tokens at which texts are cut.
        tokenization: about the tokenizer; ``truncation_side`` is set.
        encoder: ``native`` or ``hub`` (``auto`` until the graph is built).
        precision: of the encoder's matrix products.
        pooling: modes of ``embed``; empty where there is no such signature.
        steps: what follows the pooling, in words (``normalize``, ``dense tanh to 16``).
        chosen: of ``max_seq_length``, ``tokenizer``, ``truncation_side``, ``pooling`` and ``normalize`` those that the
            user set. The others are the checkpoint's own, and the reference finds them out for itself.
        tolerance: largest difference, times max(1, largest reference value).
        min_cosine: smallest cosine to a reference vector.
        target_serving: TensorFlow Serving release that must be able to run it.
        logits: whether a head gives logits in place of its scores.
        labels: names of the labels, where the user chose them.
        activation: what makes scores of logits, where the user chose it.
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
        """The signature that the default one is an alias of."""
        return contract.default_of(self.signatures)

    @property
    def pair(self) -> bool:
        """Whether signatures take two texts."""
        return self.tokenization.pair

    def to_json(self) -> dict[str, Any]:
        """As :meth:`from_json` reads it."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Recipe:
        """The recipe that :meth:`to_json` wrote.

        Raises:
            KeyError, TypeError: it is not of this release.
        """
        values: dict[str, Any] = {key: tuple(each) if isinstance(each, list) else each for key, each in state.items()}
        return cls(**{**values, "tokenization": TokenizerOptions(**values["tokenization"])})
