"""The settings of a training run. Frozen, validated, no TensorFlow."""

from __future__ import annotations

import codecs
import math
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..recipe import SHORTEST_SEQUENCE, absolute
from .data import FORMATS, TAGGED, Form

TASKS = ("classify", "tag", "score")
CLASS_WEIGHTS = ("none", "balanced")
PRECISIONS = ("auto", "float32", "bfloat16")
#: Rules for token tags to spans, see the client's ``tag``.
AGGREGATIONS = ("simple", "first", "average", "max")
#: Default columns.
TEXT, LABEL = "text", "label"

#: The default learning rate is this divided by the encoder's width: with Adam, the best rate falls with the width (Yang
#: et al., 2022, https://arxiv.org/abs/2203.03466, table 3). 1e-4 for width 384 was as good as any other on the
#: validation rows of docs/how-to/finetune.md; for 768 it is BERT's own 5e-5 (Devlin et al., 2019, appendix A.3).
RATE_BY_WIDTH = 0.04
#: A head alone takes large steps.
HEAD_LEARNING_RATE = 1e-3
#: Few rows need more epochs (Mosbach et al., 2021, https://arxiv.org/abs/2006.04884): with the data above, 320
#: rows gave a macro F1 of 0.47 after 6 epochs and 0.55 or more after 20. Epochs for this many steps; least and most.
STEPS, FEWEST_EPOCHS, MOST_EPOCHS = 400, 6, 20


@dataclass(frozen=True)
class FinetuneConfig:
    """Settings of a fine-tuning run.

    Args:
        encoder: as :class:`..recipe.ExportConfig` takes it: a folder, an archive, or a model of a hub.
        train: labelled rows: ``.csv``, ``.tsv``, ``.jsonl`` (also with ``.gz``) or ``.parquet``; a file, a folder or
            a glob of files of one format, or ``-``.
        output: folder of the run. A run there that was interrupted is continued.
        task: ``classify`` (classes, or several labels per text), ``tag`` (spans of a text) or ``score`` (one number per
            text or pair).
        validation: labelled rows for validation only; ``None`` holds back a part of ``train``.
        validation_share: size of that part, by class.
        input_format, encoding, delimiter, no_quotes: file format of both; see :class:`.data.Form`.
        text: column of the text.
        text_pair: column of the second text; ``None`` for single texts.
        label: column of the label. For ``tag``, ``text`` and ``label`` are the columns of texts and spans, or of words
            and tags; with the default names, other usual names are tried too.
        word_column, tag_column: columns of a CoNLL file, from 1; negative numbers count from the last.
        tag_names: names of numeric tags.
        stride: divide long texts into windows that share this number of tokens; ``None`` cuts them.
        aggregation: rule for token tags to spans in the validation; use the same rule with the served model.
        label_separator: separator of the labels in a cell, for rows with any number of labels. Lists in JSONL and
            Parquet need none.
        epochs: maximum passes over the rows; ``None`` for 400 steps, from 6 to 20 epochs.
        patience: end of training after this many epochs without a better metric; ``None`` for a third of the epochs.
        batch_size: rows per step.
        learning_rate: highest learning rate; ``None`` is 0.04 divided by the encoder's width (1e-4 for 384, 5e-5 for
            768), and 1e-3 with ``freeze_encoder``.
        warmup: part of the steps in which the learning rate rises from 0; it falls to 0 in the rest.
        weight_decay: weight decay of AdamW; biases and normalisation have none.
        clip: largest norm of the gradient of all weights.
        layer_decay: factor of the learning rate from each layer to the one below it.
        class_weights: ``balanced`` gives every class the same total weight, ``none`` every row.
        freeze_encoder: train only the head. The encoder runs once over every text.
        precision: dtype of the encoder's matrix products in training. ``auto`` is bfloat16 on hardware that has it,
            else float32. Weights, gradients, loss and metrics are float32 in both cases.
        max_seq_length: maximum tokens of a text or pair; ``None`` takes the checkpoint's own limit.
        seed: seed of the split, the order of the rows, dropout and the head's initial weights.
        revision: revision of a hub's model.
        restart: start again if the folder has a run.

    Raises:
        ConfigError: an invalid value.
    """

    encoder: str | os.PathLike[str]
    train: str | os.PathLike[str]
    output: str | os.PathLike[str]
    task: str = "classify"
    validation: str | os.PathLike[str] | None = None
    validation_share: float = 0.1
    input_format: str | None = None
    encoding: str | None = None
    delimiter: str = ""
    no_quotes: bool = False
    text: str = TEXT
    text_pair: str | None = None
    label: str = LABEL
    word_column: int = 1
    tag_column: int = -1
    tag_names: tuple[str, ...] = ()
    stride: int | None = None
    aggregation: str = "simple"
    label_separator: str | None = None
    epochs: int | None = None
    patience: int | None = None
    batch_size: int = 32
    learning_rate: float | None = None
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip: float = 1.0
    layer_decay: float = 1.0
    class_weights: str = "none"
    freeze_encoder: bool = False
    precision: str = "auto"
    max_seq_length: int | None = None
    seed: int = 0
    revision: str | None = None
    restart: bool = False

    def __post_init__(self) -> None:
        for what in ("encoder", "train", "output"):
            if not os.fspath(getattr(self, what)):
                raise ConfigError(f"{what} is empty: give a value")
        if self.validation is not None and os.fspath(self.train) == os.fspath(self.validation) == "-":
            raise ConfigError("train and validation are both standard input: give one of them as a file")
        named = (
            ("task", TASKS),
            ("class_weights", CLASS_WEIGHTS),
            ("precision", PRECISIONS),
            ("aggregation", AGGREGATIONS),
        )
        for what, allowed in named:
            if getattr(self, what) not in allowed:
                raise ConfigError(f"{what}: {getattr(self, what)!r} is unknown; choose from {', '.join(allowed)}")
        formats = TAGGED if self.task == "tag" else FORMATS
        if self.input_format is not None and self.input_format not in formats:
            raise ConfigError(f"input_format: {self.input_format!r} is unknown; choose from {', '.join(formats)}")
        try:
            codecs.lookup(self.encoding or "utf-8")
        except LookupError as error:
            raise ConfigError(f"encoding: {error}") from error
        if len(self.delimiter) > 1:
            raise ConfigError(f"delimiter is {self.delimiter!r}: give one character")
        for what, least in (("epochs", 1), ("patience", 1), ("batch_size", 1), ("seed", 0)):
            if getattr(self, what) is not None and getattr(self, what) < least:
                raise ConfigError(f"{what} is {getattr(self, what)}: give {least} or more")
        if self.seed >= 2**31:
            raise ConfigError(f"seed is {self.seed}: give less than 2^31")
        if self.max_seq_length is not None and self.max_seq_length < SHORTEST_SEQUENCE:
            raise ConfigError(f"max_seq_length is {self.max_seq_length}: give {SHORTEST_SEQUENCE} or more")
        for what in ("validation_share", "layer_decay"):
            if not 0 < getattr(self, what) <= 1:
                raise ConfigError(f"{what} is {getattr(self, what)}: give more than 0, and at most 1")
        if self.validation_share > 0.5:
            raise ConfigError(f"validation_share is {self.validation_share}: give at most 0.5")
        if not 0 <= self.warmup < 1:
            raise ConfigError(f"warmup is {self.warmup}: give a part of the steps, from 0 to below 1")
        if self.learning_rate is not None and not 0 < self.learning_rate < 1:
            raise ConfigError(f"learning_rate is {self.learning_rate}: give more than 0, and less than 1")
        if not 0 <= self.weight_decay < 1 or not self.clip > 0:
            raise ConfigError("give a weight_decay from 0 to below 1, and a clip above 0")
        if self.label_separator == "":
            raise ConfigError("label_separator is empty: give one, such as a comma")
        if self.task != "classify" and (self.label_separator or self.class_weights != "none"):
            raise ConfigError("label_separator and class_weights are for task classify: leave them out")
        self._check_tagging()
        columns = [self.text, self.label, *([self.text_pair] if self.text_pair is not None else [])]
        if len(set(columns)) < len(columns):
            raise ConfigError(f"name different columns for text, text_pair and label; they are {', '.join(columns)}")

    def _check_tagging(self) -> None:
        object.__setattr__(self, "tag_names", tuple(self.tag_names))
        if self.task == "tag" and self.text_pair is not None:
            raise ConfigError("text_pair is for tasks classify and score: leave it out")
        tagging = (self.word_column, self.tag_column, self.tag_names, self.stride, self.aggregation)
        if self.task != "tag" and tagging != (1, -1, (), None, "simple"):
            raise ConfigError(
                "word_column, tag_column, tag_names, stride and aggregation are for task tag: leave them out"
            )
        if 0 in (self.word_column, self.tag_column) or self.word_column == self.tag_column:
            raise ConfigError(
                f"word_column and tag_column are {self.word_column} and {self.tag_column}: give two columns, "
                "counted from 1, or from the last with -1"
            )
        if len(set(self.tag_names)) < len(self.tag_names) or not all(name.strip() for name in self.tag_names):
            raise ConfigError(f"tag_names are {', '.join(map(repr, self.tag_names))}: give different names")
        if self.stride is not None and self.stride < 0:
            raise ConfigError(f"stride is {self.stride}: give 0 or more")

    def filled(self, rows: int, width: int) -> FinetuneConfig:
        """The settings with defaults filled in for this number of training rows and this width of the encoder."""
        enough = math.ceil(STEPS / math.ceil(rows / self.batch_size))
        epochs = self.epochs or min(max(enough, FEWEST_EPOCHS), MOST_EPOCHS)
        rate = self.learning_rate or (HEAD_LEARNING_RATE if self.freeze_encoder else RATE_BY_WIDTH / width)
        return replace(self, epochs=epochs, patience=self.patience or math.ceil(epochs / 3), learning_rate=rate)

    @property
    def folder(self) -> Path:
        """``output`` as an absolute path, with ``~`` expanded."""
        return absolute(self.output)

    @property
    def form(self) -> Form:
        """Format of the files of rows."""
        return Form(self.input_format, self.encoding, self.delimiter, self.no_quotes)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of texts."""
        return (self.text,) if self.text_pair is None else (self.text, self.text_pair)

    def settings(self) -> dict[str, Any]:
        """All settings that affect the result, without the data, as JSON values."""
        state = {**asdict(self), "encoder": os.fspath(self.encoder)}
        state["tag_names"] = list(self.tag_names)  # as JSON has it
        for what in ("train", "validation", "output", "restart"):
            del state[what]
        return state
