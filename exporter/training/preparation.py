"""From labelled files to rows for the loop: read, checked, split, and tokenized by the graph of the served model."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ...serving.plurals import counted
from .. import sources
from ..errors import DataError
from ..recipe import DEFAULT_TOKENIZATION
from . import data, labels, tagged, tags
from .answers import Answers, RowAnswers
from .config import FinetuneConfig

if TYPE_CHECKING:
    from .loop import Rows

#: More tokens than any text has.
_ENDLESS = 1 << 24


def read(config: FinetuneConfig) -> tuple[data.Table, data.Table, labels.Problem, list[str]]:
    """Training rows, validation rows, the problem, and notes.

    Raises:
        DataError: the rows cannot be used for training.
    """
    if config.task == "tag":
        return _read_tagged(config)
    train = data.read(config.train, config.columns, config.label, config.label_separator, config.form)
    problem, notes = labels.find(train, config.task)
    if config.validation is None:
        train, validation = labels.hold_back(train, problem, config.validation_share, config.seed)
    else:
        validation = data.read(config.validation, config.columns, config.label, config.label_separator, config.form)
        if validation.sha256 == train.sha256:
            raise DataError(f"{validation.path}: the same file as the training rows; give another one")
    targets = problem.targets(validation)
    if problem.kind == labels.RELEVANCE and len(np.unique(targets)) == 1:
        raise DataError(
            f"{validation.path}: every validation row has the label {targets[0, 0]:g}; add rows with the other one"
        )
    return train, validation, problem, notes + labels.overlap(train, validation)


def _read_tagged(config: FinetuneConfig) -> tuple[data.Table, data.Table, labels.Problem, list[str]]:
    """As :func:`read`, for rows with spans or tags."""
    train, scheme, notes = tagged.read(config.train, config)
    problem, more = tags.find(train, scheme)
    if config.validation is None:
        train, validation = tags.hold_back(train, config.validation_share, config.seed)
    else:
        validation, scheme, of_file = tagged.read(config.validation, config)
        more += of_file
        if validation.sha256 == train.sha256:
            raise DataError(f"{validation.path}: the same file as the training rows; give another one")
        tags.require_known(validation, scheme, problem)
    return train, validation, problem, [*notes, *more, *labels.overlap(train, validation)]


def tokenized(
    config: FinetuneConfig,
    checkpoint: sources.Checkpoint,
    length: int,
    problem: labels.Problem,
    train: data.Table,
    validation: data.Table,
) -> tuple["Rows", "Rows", Answers, list[str]]:
    """Rows in the form of the loop, with the tokens of the served graph.

    Args:
        config: settings of the run.
        checkpoint: source of the tokenizer.
        length: maximum tokens of a text or pair.
        problem: the problem.
        train, validation: the rows.

    Returns:
        Training rows, validation rows, the evaluation of the latter, and notes.

    Raises:
        DataError: see :func:`.spans.place`.
    """
    prepare = _tagged_rows if problem.kind == labels.TAGGING else _labelled_rows
    return prepare(config, checkpoint, length, problem, train, validation)


def _labelled_rows(
    config: FinetuneConfig,
    checkpoint: sources.Checkpoint,
    length: int,
    problem: labels.Problem,
    train: data.Table,
    validation: data.Table,
) -> tuple["Rows", "Rows", Answers, list[str]]:
    from . import batches
    from .loop import Rows

    graph = batches.graph_of(_tokenizer(config, checkpoint, length), len(config.columns))
    rows = []
    for table in (train, validation):
        tokens = batches.tokenize(graph, [row.texts for row in table.rows])
        targets = problem.targets(table)
        balanced = config.class_weights == "balanced" and table is train
        rows.append(Rows(tokens, targets, labels.weights_of(problem, targets, balanced)))
    notes = []
    if cut := int(rows[0].tokens.cut.sum()):
        notes.append(f"{cut} of {len(train.rows)} training texts have more than {length} tokens and are cut")
    return rows[0], rows[1], RowAnswers(problem, validation, rows[1].targets), notes


def _tagged_rows(
    config: FinetuneConfig,
    checkpoint: sources.Checkpoint,
    length: int,
    problem: labels.Problem,
    train: data.Table,
    validation: data.Table,
) -> tuple["Rows", "Rows", Answers, list[str]]:
    from . import batches, spans
    from .loop import Rows

    served = batches.graph_of(_tokenizer(config, checkpoint, length))

    def tokenize(texts: Sequence[bytes]) -> batches.Tokens:
        return batches.tokenize(served, [(text,) for text in texts], offsets=True)

    @cache  # computed only if needed, and once for both tables: a large vocabulary takes a while
    def endless() -> Any:
        return batches.graph_of(_tokenizer(config, checkpoint, _ENDLESS))

    def whole(texts: Sequence[bytes]) -> batches.Tokens:
        return batches.tokenize(endless(), [(text,) for text in texts], offsets=True)

    placed = [spans.place(table, problem, tokenize, whole, config.stride) for table in (train, validation)]
    notes = []
    for name, each in zip(("training", "validation"), placed, strict=True):
        if cut := int(each.tokens.cut.sum()):
            notes.append(
                f"{cut} of {counted(len(each.table.rows), f'{name} text')} cut to {length} tokens; --stride divides "
                "long texts into windows"
            )
        if each.unseen:
            effect = "not learned as a whole" if name == "training" else "counted as missed"
            notes.append(f"{counted(each.unseen, f'{name} span')} cut or without a token: {effect}")
    rows, held = (Rows(each.tokens, each.targets, each.weights) for each in placed)
    lengths = checkpoint.tokenizer.token_lengths
    return rows, held, spans.SpanAnswers(placed[1], problem, lengths, config.aggregation), notes


def _tokenizer(config: FinetuneConfig, checkpoint: sources.Checkpoint, length: int) -> Any:
    """The tokenizer's graph in the served model."""
    from ..tokenizers.tokenizer import Tokenizer

    side = checkpoint.tokenizer.truncation_side
    options = replace(DEFAULT_TOKENIZATION, pair=config.text_pair is not None, truncation_side=side)
    return Tokenizer(checkpoint.tokenizer, length, options)
