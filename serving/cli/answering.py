"""Answers to texts on standard output or in a file: the common part of classify, tag and rerank."""

import os
import sys
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import click

from ..client.client import Client
from ..plurals import counted
from .connection import client_settings, one_line
from .files import BadFile, jsonl
from .files.answers import Answer, AnswerFormat, AnswerJob, lines_of, numbered
from .files.inputs import FORMS
from .files.source import ROWS, Block, Source
from .output import printable
from .reading import Reading, block_size, look, streamed, unchanged, write_out
from .telling import going_on, of_version, progress, tell_skipped, told_of_the_rest, told_of_waiting


class Task(NamedTuple):
    """The differences between the commands.

    Attributes:
        made_from: settings on which the answers depend.
        fields: names of an answer's fields.
        own: pyarrow -> these fields as Arrow fields.
        answer: a client, a block and a version -> the client's result for each text.
        answered: a result -> the answer as JSON values.
        shown: a text and its answer -> the form for people.
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
        """The second texts, for models of pairs."""
        if self.pair is None:
            return None
        found = [row[self.pair] for row in jsonl.kept(block)]
        for at, text in enumerate(found):
            if not isinstance(text, str):
                raise BadFile(
                    f"{block.where(at)}: {self.pair!r} is not a text; correct the row, or give another --pair-column"
                )
        return found

    def keys(self, block: Block) -> list[str]:
        """The keys of the answers: the texts."""
        pairs = self.pairs(block)
        return block.texts if pairs is None else [f"{a}\0{b}" for a, b in zip(block.texts, pairs, strict=True)]


def run(
    task: Task,
    texts: tuple[str, ...],
    reading: Reading,
    output: Path | None,
    restart: bool,
    overwrite: bool,
    form: str,
    settings: dict[str, Any],
) -> None:
    """Write the answers to standard output or to a file."""
    also = () if task.pair is None else (task.pair,)
    with one_line(), told_of_waiting():
        # The arguments are checked before any call to a server.
        source = reading.source(texts, also=also, taken=("text", *task.fields))
        if output is None or str(output) == "-":
            if restart or overwrite:
                raise click.UsageError("--restart and --overwrite need --output")
            _to_standard_output(task, source, form, client_settings(settings))
            return
        if FORMS.get(output.suffix.lower()) not in ("jsonl", "parquet"):
            raise click.BadParameter(f"{output.name}: the name must end in .jsonl or .parquet", param_hint="--output")
        if not output.parent.is_dir():
            raise click.ClickException(f"there is no folder {output.parent}: create it first")
        output = Path(os.path.realpath(output))
        if output.exists() and not (overwrite and output.is_file()):
            raise click.ClickException(f"{output} exists; replace it with --overwrite")
        if source.inputs.contain(output):
            raise click.ClickException(f"{output} is in the input: write the output somewhere else")
        settings = client_settings(settings)
        made_from = {**task.made_from, **{key: settings[key] for key in ("model", "version", "version_label")}}
        with AnswerJob(output, made_from, restart, task.keys) as job:
            source.inputs.open(job.spool)
            with told_of_the_rest(job, source):
                _to_file(task, source, job, overwrite, settings)


def _to_standard_output(task: Task, source: Source, form: str, settings: dict[str, Any]) -> None:
    is_json = form == "json" or (form == "auto" and not sys.stdout.isatty())
    with streamed(source):
        if source.inputs.lasting:
            look(source, [AnswerFormat("jsonl")])
        with Client(**settings) as client:
            # Sorted answers are collected first.
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
                        click.echo(task.shown(printable(text), answer))


def _to_file(task: Task, source: Source, job: AnswerJob, overwrite: bool, settings: dict[str, Any]) -> None:
    """Write the answers to a file; continues an earlier run with the same texts."""
    form = AnswerFormat(FORMS[job.output.suffix.lower()], own=task.own, order=task.order)
    form.prepare(source)
    count = look(source, [form], lambda block: job.match(task.keys(block)))
    skipped = source.skipped
    with Client(**going_on(job, settings)) as client, of_version(job), unchanged(source):
        with progress("texts", count, job.done) as advance:
            rows = _answers(task, client, _after(source.blocks(), job.done), job.version)
            keyed = (zip(task.keys(block), *zip(*each, strict=True), strict=True) for block, each in rows)
            job.append(chain.from_iterable(keyed), advance)
        products: list[Any] = [(job.output, lambda file: form.write_answers(file, job.rows(source)))]
        job.publish(products, skipped, source.inputs, overwrite)
    click.echo(f"{job.output}: {counted(count, 'text')}", err=True)
    tell_skipped(skipped, job.listed)


def _answers(
    task: Task, client: Client, blocks: Iterator[Block], version: int | None = None
) -> Iterator[tuple[Block, list[tuple[Answer, int | None]]]]:
    """Each block with its answers and the version that gave them; all are of one version."""
    cut = 0
    for block in blocks:
        found = task.answer(client, block, version)
        version = found[0].model_version
        cut += sum(getattr(each, "truncated", False) for each in found)
        yield block, [(task.answered(each), each.model_version) for each in found]
    if cut:
        click.echo(f"cut {counted(cut, 'text')} to the model's maximum length; --stride covers the rest", err=True)


def _after(blocks: Iterator[Block], done: int) -> Iterator[Block]:
    """The blocks after the first ``done`` rows."""
    for block in blocks:
        if done < len(block.texts):
            yield _part(block, done, len(block.texts)) if done else block
        done = max(done - len(block.texts), 0)


def _part(block: Block, start: int, end: int) -> Block:
    kept = block.kept if block.kept is None else block.kept[start:end]
    return Block(block.file, block.places[start:end], block.texts[start:end], kept)


def _row(block: Block, at: int) -> Block:
    return _part(block, at, at + 1)
