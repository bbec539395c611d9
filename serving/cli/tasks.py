"""``rawbert classify``, ``tag`` and ``rerank``: labels, entities and ranking, to standard output or to a file.

Exit codes are those of :mod:`.query`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import numpy as np

from ..client.client import Client
from ..client.entities import AGGREGATIONS, Aggregation
from ..client.results import Classification, Ranked, TaggedText
from .answering import Task, run
from .connection import NEW_FILE, connection_options, job_options
from .files.answers import Answer
from .files.source import Block
from .output import printable
from .reading import Reading, reading_options

_Command = TypeVar("_Command", bound=Callable[..., Any])
#: Colours of labels, in order of appearance.
_COLORS: Final = ("cyan", "magenta", "green", "yellow", "blue", "red")

_OPTIONS = [
    click.option("--output", "-o", type=NEW_FILE,
                 help="File of answers: .jsonl, .parquet. It appears when it is complete."),
    click.option("--batch-size", "max_batch_size", type=click.IntRange(min=1), default=64, show_default=True,
                 help="Texts per call."),
]  # fmt: skip
_STRIDE = click.option(
    "--stride", type=click.IntRange(min=0), metavar="TOKENS",
    help="Divide texts that are too long for the model into windows that share N tokens.",
)  # fmt: skip


def _options(command: _Command) -> _Command:
    """The options of all three commands, besides those for reading."""
    command = job_options(command)
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.command()
@click.argument("texts", nargs=-1)
@connection_options
@reading_options
@_options
@click.option("--pair-column", metavar="COLUMN", help="Field or column of the second text, for models of pairs.")
@click.option(
    "--top-k", type=click.IntRange(min=1), metavar="N", help="Maximum number of labels of a text.  [default: all]"
)
@click.option("--threshold", type=float, help="Minimum score of a label.")
@_STRIDE
def classify(
    texts: tuple[str, ...],
    reading: Reading,
    output: Path | None,
    restart: bool,
    overwrite: bool,
    form: str,
    pair_column: str | None,
    top_k: int | None,
    threshold: float | None,
    stride: int | None,
    **settings: Any,
) -> None:
    """Classify TEXTS, a file, or standard input if neither is given.

    Output lines contain text, kept fields, label, score, and the scores of all labels, or of those that --top-k and
    --threshold leave.

    \b
    Examples:
      rawbert classify --model reviews "the screen is broken"
      rawbert classify --model topics --threshold 0.5 < lines.txt > labels.jsonl
      rawbert classify --model nli --input pairs.jsonl --column premise --pair-column hypothesis
    """
    made_from = {"top_k": top_k, "threshold": threshold, "stride": stride, "column": pair_column}

    def answer(client: Client, block: Block, version: int | None) -> list[Classification]:
        pairs = task.pairs(block)
        return client.classify(
            block.texts, text_pair=pairs, top_k=top_k, threshold=threshold, stride=stride, version=version
        )

    task = Task(made_from, _LABEL, _label_fields, answer, _labels, _labelled, pair=pair_column)
    run(task, texts, reading, output, restart, overwrite, form, settings)


@click.command()
@click.argument("texts", nargs=-1)
@connection_options
@reading_options
@_options
@click.option("--aggregation", type=click.Choice(AGGREGATIONS), default="simple", show_default=True,
              help="Rule for tokens to entities: simple joins neighbours with the same label; first, average and max "
              "first give each word one label; none returns each token.")  # fmt: skip
@_STRIDE
def tag(
    texts: tuple[str, ...],
    reading: Reading,
    output: Path | None,
    restart: bool,
    overwrite: bool,
    form: str,
    aggregation: Aggregation,
    stride: int | None,
    **settings: Any,
) -> None:
    """Tag the entities of TEXTS, of a file, or of standard input if neither is given.

    Output lines contain text, kept fields, entities with label, text, start and end (characters) and score, and
    truncated: whether the model saw only the beginning of the text.

    \b
    Examples:
      rawbert tag --model ner "Ada Lovelace was born in London"
      rawbert tag --model ner --stride 32 --input pages.jsonl --keep id > entities.jsonl
    """
    colors: dict[str, str] = {}

    def answer(client: Client, block: Block, version: int | None) -> list[TaggedText]:
        return client.tag(block.texts, aggregation=aggregation, stride=stride, version=version)

    made_from = {"aggregation": aggregation, "stride": stride}
    task = Task(made_from, _ENTITY, _entity_fields, answer, _entities, lambda text, found: _marked(text, found, colors))
    run(task, texts, reading, output, restart, overwrite, form, settings)


@click.command()
@click.argument("query")
@click.argument("documents", nargs=-1)
@connection_options
@reading_options
@_options
@click.option(
    "--top-k", type=click.IntRange(min=1), metavar="N", help="Maximum number of documents to return.  [default: all]"
)
def rerank(
    query: str,
    documents: tuple[str, ...],
    reading: Reading,
    output: Path | None,
    restart: bool,
    overwrite: bool,
    form: str,
    top_k: int | None,
    **settings: Any,
) -> None:
    """Sort DOCUMENTS, a file, or standard input by relevance to QUERY, best first.

    Output lines contain text, kept fields, index (position among the documents, from 0) and score.

    \b
    Examples:
      rawbert rerank --model reranker "capital of France" "Paris is a city." "Bread is food."
      rawbert rerank --model reranker --top-k 10 "capital of France" --input found.jsonl --keep id
    """

    def answer(client: Client, block: Block, version: int | None) -> list[Ranked]:
        pairs = [(query, text) for text in block.texts]
        scores, version = client.score(pairs, version=version, return_version=True)
        return [Ranked(at, score, block.texts[at], version) for at, score in enumerate(scores.tolist())]

    def order(answers: list[Answer]) -> list[int]:
        return sorted(range(len(answers)), key=lambda at: -answers[at]["score"])[:top_k]

    made_from = {"query": query}
    task = Task(made_from, _RANK, _rank_fields, answer, lambda each: {"score": shortest(each.score)}, _ranked, order)
    run(task, documents, reading, output, restart, overwrite, form, settings)


# --- Answers for JSON, Parquet and people ---

_LABEL, _ENTITY, _RANK = ("label", "score", "scores"), ("entities", "truncated"), ("index", "score")


def shortest(score: float) -> float:
    """The shortest decimal that gives the same float32."""
    return float(str(np.float32(score)))


def _labels(found: Classification) -> Answer:
    scores = {label: shortest(score) for label, score in found.scores.items()}
    return {"label": found.label, "score": shortest(found.score), "scores": scores}


def _label_fields(arrow: Any) -> list[Any]:
    scores = arrow.map_(arrow.string(), arrow.float32())
    return [arrow.field("label", arrow.string()), arrow.field("score", arrow.float32()), arrow.field("scores", scores)]


def _labelled(text: str, found: Answer) -> str:
    rest = "  ".join(f"{label} {score:.4f}" for label, score in found["scores"].items() if label != found["label"])
    return f"{text}\n  {click.style(printable(found['label']), bold=True)} {found['score']:.4f}  {rest}".rstrip()


def _entities(found: TaggedText) -> Answer:
    entities = [
        {"label": each.label, "text": each.text, "start": each.start, "end": each.end, "score": shortest(each.score)}
        for each in found.entities
    ]
    return {"entities": entities, "truncated": found.truncated}


def _entity_fields(arrow: Any) -> list[Any]:
    kinds = {"label": arrow.string(), "text": arrow.string(), "start": arrow.int32(), "end": arrow.int32()}
    entity = arrow.struct([*(arrow.field(*each) for each in kinds.items()), arrow.field("score", arrow.float32())])
    return [arrow.field("entities", arrow.list_(entity)), arrow.field("truncated", arrow.bool_())]


def _marked(text: str, found: Answer, colors: dict[str, str]) -> str:
    """The text with its entities in colour, each with its label; ``colors`` remembers the colours of labels."""
    shown, at = [], 0
    for each in found["entities"]:
        color = colors.setdefault(each["label"], _COLORS[len(colors) % len(_COLORS)])
        marked = click.style(text[each["start"] : each["end"]], fg=color, bold=True)
        shown += [text[at : each["start"]], marked, click.style(f" [{printable(each['label'])}]", fg=color)]
        at = each["end"]
    return "".join([*shown, text[at:]])


def _rank_fields(arrow: Any) -> list[Any]:
    return [arrow.field("index", arrow.int32()), arrow.field("score", arrow.float32())]


def _ranked(text: str, found: Answer) -> str:
    return f"{found['score']: .4f}  {click.style(text, bold=True)}  [{found['index']}]"
