"""``rawbert classify``, ``tag`` and ``rerank``: labels, entities and order, on standard output or in a file.

Exit codes are those of :mod:`.query`.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import click
import numpy as np

from ..client.client import Client
from ..client.entities import AGGREGATIONS, Aggregation
from ..client.results import Classification, TaggedText
from .connection import NEW_FILE, client_settings, connection_options, one_line
from .files import BadFile, jsonl
from .files.answers import Answer, AnswerFormat, AnswerJob, lines_of, numbered
from .files.inputs import FORMS
from .files.source import ROWS, Block, Source
from .reading import Reading, block_size, look, reading_options, unchanged, write_out
from .telling import of_version, progress, tell_skipped, told_of_waiting

_Command = TypeVar("_Command", bound=Callable[..., Any])
#: Colours of labels, in the order in which they appear.
_COLORS: Final = ("cyan", "magenta", "green", "yellow", "blue", "red")

_OPTIONS = [
    click.option("--output", "-o", type=NEW_FILE,
                 help="File of answers: .jsonl, .parquet. It appears when it is whole."),
    click.option("--batch-size", "max_batch_size", type=click.IntRange(min=1), default=64, show_default=True,
                 help="Texts in a call."),
    click.option("--concurrency", type=click.IntRange(min=1), default=4, show_default=True, help="Calls at once."),
    click.option("--restart", is_flag=True, help="Begin anew where an earlier run was interrupted."),
    click.option("--overwrite", is_flag=True, help="Replace OUTPUT where it exists."),
    click.option("--format", "form", type=click.Choice(["auto", "json", "text"]), default="auto", show_default=True,
                 help="json: one object a line; text: for people; auto: text at a terminal, else json."),
    click.option("--json", "form", flag_value="json", help="The same as --format json."),
]  # fmt: skip
_STRIDE = click.option(
    "--stride", type=click.IntRange(min=0), metavar="TOKENS",
    help="Read texts that are too long for the model in windows, which share so many tokens.",
)  # fmt: skip


def _options(command: _Command) -> _Command:
    """Options of all three, beside those of what is read."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


class _Task(NamedTuple):
    """What differs between the commands.

    Attributes:
        made_from: what tells the answers from others.
        fields: names of an answer's fields.
        own: pyarrow -> these fields, as Arrow's.
        answer: a client, a block and a version -> what the client answers to each text.
        answered: the same for JSON.
        shown: a text and its answer for JSON, for people.
        order: see :class:`AnswerFormat`.
        pair: the column of the second text.
    """

    made_from: dict[str, Any]
    fields: tuple[str, ...]
    own: Callable[[Any], list[Any]]
    answer: Callable[[Client, Block, int | None], list[Any]]
    answered: Callable[[Any], Answer]
    shown: Callable[[str, Answer], str]
    order: Callable[[list[Answer]], list[int]] | None = None
    pair: str | None = None

    def pairs(self, block: Block) -> list[str] | None:
        """The second texts, of models of pairs."""
        if self.pair is None:
            return None
        found = [row[self.pair] for row in jsonl.kept(block)]
        for at, text in enumerate(found):
            if not isinstance(text, str):
                raise BadFile(f"{block.where(at)}: {self.pair!r} is no text")
        return found

    def keys(self, block: Block) -> list[str]:
        """What answers are known by: the texts."""
        pairs = self.pairs(block)
        return block.texts if pairs is None else [f"{a}\0{b}" for a, b in zip(block.texts, pairs, strict=True)]


def _run(
    task: _Task,
    texts: tuple[str, ...],
    reading: Reading,
    output: Path | None,
    restart: bool,
    overwrite: bool,
    form: str,
    settings: dict[str, Any],
) -> None:
    also = () if task.pair is None else (task.pair,)
    source_of = partial(reading.source, texts, also=also, taken=("text", *task.fields))
    with one_line(), told_of_waiting():
        settings = client_settings(settings)
        if output is None or str(output) == "-":
            if restart or overwrite:
                raise click.UsageError("--restart and --overwrite are for an --output")
            _to_standard_output(task, source_of, form, settings)
            return
        if FORMS.get(output.suffix.lower()) not in ("jsonl", "parquet"):
            raise click.BadParameter(f"{output.name}: the name must end in .jsonl or .parquet", param_hint="--output")
        if not output.parent.is_dir():
            raise click.ClickException(f"there is no folder {output.parent}: make it first")
        output = Path(os.path.realpath(output))
        if output.exists() and not (overwrite and output.is_file()):
            raise click.ClickException(f"{output} exists; replace it with --overwrite")
        made_from = {**task.made_from, **{key: settings[key] for key in ("model", "version", "version_label")}}
        with AnswerJob(output, made_from, restart, task.keys) as job:
            source = source_of(job.spool)
            try:
                _to_file(task, source, job, settings)
            except BaseException:
                if job.done:
                    click.echo(f"{job.done} texts are done; the same command goes on from there", err=True)
                else:
                    source.inputs.discard()
                raise


def _to_standard_output(task: _Task, source_of: Callable[..., Source], form: str, settings: dict[str, Any]) -> None:
    source = source_of(Path(tempfile.gettempdir(), f"rawbert-{os.getpid()}-input"), stream=True)
    is_json = form == "json" or (form == "auto" and not sys.stdout.isatty())
    try:
        if source.inputs.lasting:
            look(source, [AnswerFormat("jsonl")])
        with Client(**settings) as client:
            # What is put in order is answered as a whole.
            size = block_size(source) if task.order is None else ROWS
            rows, order = _answers(task, client, source.blocks(size)), task.order
            blocks = ((block, [answer for answer, _ in each]) for block, each in rows)
            if order is not None:
                every = [(block, at, answer) for block, each in numbered(blocks) for at, answer in enumerate(each)]
                chosen = [every[at] for at in order([answer for _, _, answer in every])]
                blocks = ((_row(block, at), [answer]) for block, at, answer in chosen)
            for block, answers in blocks:
                if is_json:
                    write_out(line for _, line in lines_of(block, answers))
                else:
                    for text, answer in zip(block.texts, answers, strict=True):
                        click.echo(task.shown(text, answer))
        source.inputs.check()
    finally:
        source.inputs.discard()
    tell_skipped(source.skipped)


def _to_file(task: _Task, source: Source, job: AnswerJob, settings: dict[str, Any]) -> None:
    """Answer into a file; it goes on where an earlier run with the same texts was."""
    if source.inputs.contain(job.output):
        raise click.ClickException(f"{job.output} is in the input: write the output somewhere else")
    form = AnswerFormat(FORMS[job.output.suffix.lower()], own=task.own, order=task.order)
    form.prepare(source)
    count = look(source, [form], lambda block: job.match(task.keys(block)))
    skipped = source.skipped
    job.keep_matched()
    if job.done:
        click.echo(f"going on after {job.done} texts", err=True)
    if job.version is not None:
        settings = {**settings, "version": job.version, "version_label": None}
    with Client(**settings) as client, of_version(job), unchanged(source):
        with progress("texts", count, job.done) as advance:
            rows = _answers(task, client, _after(source.blocks(), job.done), job.version)
            keyed = (zip(task.keys(block), *zip(*each, strict=True), strict=True) for block, each in rows)
            job.append(chain.from_iterable(keyed), advance)
        listed = job.beside("skipped.jsonl")
        products: list[Any] = [(job.output, lambda file: form.write_answers(file, job.rows(source)))]
        if skipped:
            products.insert(0, (listed, lambda file: file.writelines(map(jsonl.line, skipped))))
        job.publish(products, [] if skipped or not listed.exists() else [listed], source.inputs)
    click.echo(f"{job.output}: {count} texts", err=True)
    tell_skipped(skipped, listed)


def _answers(
    task: _Task, client: Client, blocks: Iterator[Block], version: int | None = None
) -> Iterator[tuple[Block, list[tuple[Answer, int | None]]]]:
    """Each block with its answers and the version that gave them; all are of one version."""
    cut = 0
    for block in blocks:
        found = task.answer(client, block, version)
        version = found[0].model_version
        cut += sum(getattr(each, "truncated", False) for each in found)
        yield block, [(task.answered(each), each.model_version) for each in found]
    if cut:
        click.echo(f"{cut} texts are longer than the model takes, and were cut; --stride reads them whole", err=True)


def _after(blocks: Iterator[Block], done: int) -> Iterator[Block]:
    """The rows after those that are done."""
    for block in blocks:
        if done < len(block.texts):
            yield _part(block, done, len(block.texts)) if done else block
        done = max(done - len(block.texts), 0)


def _part(block: Block, start: int, end: int) -> Block:
    kept = block.kept if block.kept is None else block.kept[start:end]
    return Block(block.file, block.places[start:end], block.texts[start:end], kept)


def _row(block: Block, at: int) -> Block:
    return _part(block, at, at + 1)


@click.command()
@click.argument("texts", nargs=-1)
@connection_options
@reading_options
@_options
@click.option("--pair-column", metavar="COLUMN", help="Field or column of the second text, for models of pairs.")
@click.option("--top-k", type=click.IntRange(min=1), metavar="N", help="Most labels of a text.  [default: all]")
@click.option("--threshold", type=float, help="Least score of a label.")
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
    """Classify TEXTS, a file, or standard input where there is neither.

    Output lines hold text, what is kept, label, score, and the scores of all labels, or of those that --top-k and
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

    task = _Task(made_from, _LABEL, _label_fields, answer, _labels, _labelled, pair=pair_column)
    _run(task, texts, reading, output, restart, overwrite, form, settings)


@click.command()
@click.argument("texts", nargs=-1)
@connection_options
@reading_options
@_options
@click.option("--aggregation", type=click.Choice(AGGREGATIONS), default="simple", show_default=True,
              help="How tokens become entities: simple joins neighbours of one label; first, average and max give a "
              "word one label first; none answers each token.")  # fmt: skip
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
    """Tag the entities of TEXTS, of a file, or of standard input where there is neither.

    Output lines hold text, what is kept, entities with label, text, start and end (characters) and score, and whether
    the model saw only the beginning of the text.

    \b
    Examples:
      rawbert tag --model ner "Ada Lovelace was born in London"
      rawbert tag --model ner --stride 32 --input pages.jsonl --keep id > entities.jsonl
    """
    colors: dict[str, str] = {}

    def answer(client: Client, block: Block, version: int | None) -> list[TaggedText]:
        return client.tag(block.texts, aggregation=aggregation, stride=stride, version=version)

    made_from = {"aggregation": aggregation, "stride": stride}
    task = _Task(
        made_from, _ENTITY, _entity_fields, answer, _entities, lambda text, found: _marked(text, found, colors)
    )
    _run(task, texts, reading, output, restart, overwrite, form, settings)


@click.command()
@click.argument("query")
@click.argument("documents", nargs=-1)
@connection_options
@reading_options
@_options
@click.option("--top-k", type=click.IntRange(min=1), metavar="N", help="Most documents to answer.  [default: all]")
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
    """Sort DOCUMENTS, a file, or standard input by how well they answer QUERY, best first.

    Output lines hold text, what is kept, index (the place among the documents, from 0) and score.

    \b
    Examples:
      rawbert rerank --model reranker "capital of France" "Paris is a city." "Bread is food."
      rawbert rerank --model reranker --top-k 10 "capital of France" --input found.jsonl --keep id
    """

    def answer(client: Client, block: Block, version: int | None) -> list[Any]:
        return sorted(client.rerank(query, block.texts, version=version), key=lambda each: each.index)

    def order(answers: list[Answer]) -> list[int]:
        return sorted(range(len(answers)), key=lambda at: -answers[at]["score"])[:top_k]

    made_from = {"query": query}
    task = _Task(made_from, _RANK, _rank_fields, answer, lambda each: {"score": shortest(each.score)}, _ranked, order)
    _run(task, documents, reading, output, restart, overwrite, form, settings)


# --- Answers for JSON, Parquet and people ---

_LABEL, _ENTITY, _RANK = ("label", "score", "scores"), ("entities", "truncated"), ("index", "score")


def shortest(score: float) -> float:
    """The shortest decimal that gives the same float32 back."""
    return float(str(np.float32(score)))


def _labels(found: Classification) -> Answer:
    scores = {label: shortest(score) for label, score in found.scores.items()}
    return {"label": found.label, "score": shortest(found.score), "scores": scores}


def _label_fields(arrow: Any) -> list[Any]:
    scores = arrow.map_(arrow.string(), arrow.float32())
    return [arrow.field("label", arrow.string()), arrow.field("score", arrow.float32()), arrow.field("scores", scores)]


def _labelled(text: str, found: Answer) -> str:
    rest = "  ".join(f"{label} {score:.4f}" for label, score in found["scores"].items() if label != found["label"])
    return f"{text}\n  {click.style(found['label'], bold=True)} {found['score']:.4f}  {rest}".rstrip()


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
    """The text with its entities in colours, each with its label; ``colors`` are those of labels seen before."""
    shown, at = [], 0
    for each in found["entities"]:
        color = colors.setdefault(each["label"], _COLORS[len(colors) % len(_COLORS)])
        marked = click.style(text[each["start"] : each["end"]], fg=color, bold=True)
        shown += [text[at : each["start"]], marked, click.style(f" [{each['label']}]", fg=color)]
        at = each["end"]
    return "".join([*shown, text[at:]])


def _rank_fields(arrow: Any) -> list[Any]:
    return [arrow.field("index", arrow.int32()), arrow.field("score", arrow.float32())]


def _ranked(text: str, found: Answer) -> str:
    return f"{found['score']: .4f}  {click.style(text, bold=True)}  [{found['index']}]"
