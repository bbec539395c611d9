"""``rawbert finetune``: flags to :class:`FinetuneConfig`, progress and results for people, exit codes.

Exit codes: 0 trained, 1 refused or failed, 2 wrong usage, 130 interrupted.
"""

import shlex
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ...serving.cli.output import print_json, print_lines, printable
from ..training.config import (
    AGGREGATIONS,
    CLASS_WEIGHTS,
    FEWEST_EPOCHS,
    HEAD_LEARNING_RATE,
    LABEL,
    MOST_EPOCHS,
    PRECISIONS,
    RATE_BY_WIDTH,
    STEPS,
    TASKS,
    TEXT,
    FinetuneConfig,
)
from ..training.data import FORMATS, TAGGED
from .common import delimiter_option, encoding_option, failing, json_option, quotes_option, user_path

#: Number of progress lines without a terminal.
_PARTS = 20


@click.command(short_help="Train a classifier, tagger or scorer on labelled texts.")
@click.argument("encoder")
@click.option(
    "--train", required=True, type=user_path, metavar="FILE",
    help="Labelled rows: .csv and .tsv with a line of column names, .jsonl, also with .gz, or .parquet; a file, a "
    "folder or glob of them, or - for standard input. For tag: .jsonl and .parquet of texts with spans or of words "
    "with tags; any other name is CoNLL.",
)  # fmt: skip
@click.option(
    "--validation", type=user_path, metavar="FILE",
    help="Labelled rows for validation, not for training.  [default: a part of --train]",
)  # fmt: skip
@click.option(
    "--validation-share", type=float, default=0.1, show_default=True, metavar="X",
    help="Part of --train to hold back for validation, by class.",
)  # fmt: skip
@click.option(
    "--input-format",
    type=click.Choice(tuple(dict.fromkeys((*FORMATS, *TAGGED)))),
    help="Format of both.  [default: by the name of the file]",
)
@encoding_option
@delimiter_option
@quotes_option
@click.option("--output", "-o", required=True, type=user_path, metavar="FOLDER", help="Folder of the run.")
@click.option(
    "--task", type=click.Choice(TASKS), default="classify", show_default=True,
    help="classify: two or more classes, or several labels per row. tag: spans (entities), or a tag per word. "
    "score: a number per row; a probability for labels 0 and 1.",
)  # fmt: skip
@click.option("--text", default=TEXT, show_default=True, metavar="COLUMN", help="Column of the text.")
@click.option("--text-pair", metavar="COLUMN", help="Column of a second text: rows are pairs.")
@click.option(
    "--label", default=LABEL, show_default=True, metavar="COLUMN",
    help="Column of the label. For tag, the usual names of --text and --label are found by default: spans, "
    "entities, label; tokens and tags, ner_tags.",
)  # fmt: skip
@click.option(
    "--word-column", type=int, default=1, show_default=True, metavar="N",
    help="Column of a CoNLL file, from 1; -1 is the last.",
)  # fmt: skip
@click.option("--tag-column", type=int, default=-1, show_default=True, metavar="N", help="Likewise.")
@click.option(
    "--tag-names", default="", metavar="A,B,...", callback=lambda context, option, value: _names(value),
    help="Names for numeric tags, from 0.  [default: those of the Parquet file]",
)  # fmt: skip
@click.option(
    "--label-separator", metavar="TEXT",
    help="Separator for rows with any number of labels. (Lists in JSONL and Parquet need no option.)",
)  # fmt: skip
@click.option(
    "--epochs", type=int, metavar="N",
    help=f"Maximum passes over the rows.  [default: for {STEPS} steps, from {FEWEST_EPOCHS} to {MOST_EPOCHS}]",
)  # fmt: skip
@click.option(
    "--patience", type=int, metavar="N",
    help="Stop after N epochs without a better validation metric.  [default: a third of the epochs]",
)  # fmt: skip
@click.option("--batch-size", type=int, default=32, show_default=True, help="Rows per step.")
@click.option(
    "--learning-rate", type=float, metavar="X",
    help=f"Highest learning rate.  [default: {RATE_BY_WIDTH:g} divided by the encoder's width, such as 1e-4 for 384; "
    f"{HEAD_LEARNING_RATE:g} with --freeze-encoder]",
)  # fmt: skip
@click.option(
    "--warmup", type=float, default=0.1, show_default=True, metavar="X",
    help="Part of the steps in which the learning rate rises; it falls in the rest.",
)  # fmt: skip
@click.option("--weight-decay", type=float, default=0.01, show_default=True, metavar="X", help="Weight decay of AdamW.")
@click.option("--clip", type=float, default=1.0, show_default=True, metavar="X", help="Largest norm of the gradient.")
@click.option(
    "--layer-decay", type=float, default=1.0, show_default=True, metavar="X",
    help="Factor of the learning rate from each layer to the one below; 0.9 preserves more of the encoder.",
)  # fmt: skip
@click.option(
    "--class-weights", type=click.Choice(CLASS_WEIGHTS), default="none", show_default=True,
    help="balanced: each class has the same weight, independent of its number of rows.",
)  # fmt: skip
@click.option(
    "--freeze-encoder", is_flag=True, help="Train only the head: seconds in place of minutes, but less accurate."
)
@click.option(
    "--precision", type=click.Choice(PRECISIONS), default="auto", show_default=True,
    help="Dtype of the encoder's matrix products in training: auto is bfloat16 if the hardware has it, else float32.",
)  # fmt: skip
@click.option(
    "--max-seq-length", type=int, metavar="N", help="Maximum tokens of a text or pair.  [default: the checkpoint's own]"
)
@click.option(
    "--stride", type=int, metavar="N",
    help="For tag: divide long texts into windows that share N tokens.  [default: cut them]",
)  # fmt: skip
@click.option(
    "--aggregation", type=click.Choice(AGGREGATIONS), default="simple", show_default=True,
    help="For tag: rule for tags to spans in the validation, as in rawbert tag --aggregation.",
)  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of all random numbers.")
@click.option("--revision", metavar="NAME", help="Branch, tag, commit or version of a hub's model.")
@click.option("--restart", is_flag=True, help="Start again if FOLDER contains a run.")
@json_option
def finetune(encoder: str, as_json: bool, **settings: Any) -> None:
    """Train ENCODER on labelled texts, and write a folder for rawbert export.

    ENCODER is a Hugging Face or sentence-transformers folder, an archive of one, or a model of a hub.

    The folder contains the best epoch's model in transformers' format, with report.html, run.json (settings, hashes of
    the data, metrics) and logs for TensorBoard. An interrupted or killed run continues when the same command is given
    again, and ends with the same weights.

    \b
    Examples:
      rawbert finetune ./all-MiniLM-L6-v2 --train tickets.csv --output runs/tickets
      rawbert finetune ./all-MiniLM-L6-v2 --train news.conll --task tag --output runs/news
      rawbert finetune ./all-MiniLM-L6-v2 --train pairs.jsonl --text-pair answer --task score --output runs/answers
      rawbert export runs/tickets --output models/tickets
    """
    with failing():
        config = FinetuneConfig(encoder=encoder, **settings)
        from ..training.finetune import finetune as run

        console = Console(stderr=True)
        with _Shown(console) as shown:
            result = run(config, shown.say, shown.step)
        if as_json:
            state = {
                "folder": str(result.folder),
                "labels": list(result.labels),
                "best_epoch": result.best_epoch,
                "metrics": result.metrics,
                "history": result.history,
                "notes": list(result.notes),
                "seconds": round(result.seconds, 1),
            }
            print_json(state)
            return
        figures = ", ".join(f"{name} {value:.4f}" for name, value in result.metrics.items() if isinstance(value, float))
        folder = shlex.quote(str(result.folder))
        lines = [
            f"trained   {len(result.history)} epochs in {result.seconds:.0f} s; the best is epoch {result.best_epoch}",
            f"metrics   {figures}  (validation rows)",
            *(f"note      {note}" for note in result.notes),
            f"written   {result.folder}  (report.html, run.json; tensorboard --logdir {folder}/logs)",
            f"export    rawbert export {folder} --output models/{shlex.quote(result.folder.name)}",
        ]
        print_lines(lines)


def _names(value: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in value.split(",")) if value else ()


class _Shown:
    """Progress: a bar at a terminal, else a few lines."""

    def __init__(self, console: Console) -> None:
        self._console = console
        columns = (
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
        )
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task: Any = None
        self._part = 0

    def __enter__(self) -> "_Shown":
        self._bar.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._bar.stop()

    def say(self, line: str) -> None:
        if self._console.is_terminal:  # above the bar
            self._console.print(f"• {printable(line)}", markup=False, highlight=False, soft_wrap=True)
        else:
            click.echo(f"- {printable(line)}", err=True)

    def step(self, at: Any) -> None:
        best = "" if at.best is None else f", best {at.best[0]} {at.best[1]:.4f}"
        left = "" if at.seconds_left is None else f", {at.seconds_left // 60:.0f} min {at.seconds_left % 60:.0f} s left"
        line = f"epoch {at.epoch} of {at.epochs}, loss {at.loss:.4f}{best}{left}"
        if self._console.is_terminal:
            if self._task is None:
                self._task = self._bar.add_task("", total=at.steps)
            self._bar.update(self._task, completed=at.step, description=line)
        elif at.step * _PARTS // at.steps > self._part or at.step == 1:
            self._part = at.step * _PARTS // at.steps
            self.say(f"step {at.step} of {at.steps}: {line}")
