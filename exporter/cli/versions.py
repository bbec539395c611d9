"""``rawbert versions``, ``promote``, ``rollback``, ``prune``: published versions and their labels.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from .. import manage, modelconfig
from ..errors import ExportError
from .common import fail, prepare

__all__ = ["promote", "prune", "rollback", "versions"]

_models = click.option(
    "--models", type=click.Path(path_type=Path), default=Path("models"), show_default=True, metavar="FOLDER",
    help="Folder of the models, for a MODEL that is given by its name.",
)  # fmt: skip
_label = click.option("--label", default="stable", show_default=True, help="The label, such as stable or canary.")


@click.command(short_help="List a model's versions and their labels.")
@click.argument("model")
@_models
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def versions(model: str, models: Path, as_json: bool) -> None:
    """List the versions of MODEL (its folder, or its name), the newest first.

    "loaded" is what models.config has servers load; `rawbert status` asks a server what it has.

    \b
    Example:
      rawbert versions models/minilm
    """
    with _failing():
        name, found = manage.versions(manage.find(model, models))
    if as_json:
        click.echo(json.dumps({"model": name, "versions": [asdict(each) for each in found]}, indent=2))
        return
    table = Table(title=name, title_justify="left", title_style="bold")
    for column in ("version", "labels", "loaded", "made", "precision", "size", "source"):
        table.add_column(column)
    for each in found:
        labels = [*each.labels, *(f"(rollback of {label})" for label in each.rollback_of)]
        table.add_row(
            str(each.number), " ".join(labels), "yes" if each.loaded else "no", each.created or "?",
            each.precision or "?", f"{each.size / 1e6:.1f} MB", each.source or "?",
        )  # fmt: skip
    Console().print(table)


@click.command(short_help="Point a label, such as stable, to a version.")
@click.argument("model")
@click.argument("version", type=click.IntRange(min=0))
@_label
@_models
@click.option(
    "--served-from", default=modelconfig.SERVED_FROM, show_default=True, metavar="PATH",
    help="The folder of the models as the server sees it, for a model that models.config lacks.",
)  # fmt: skip
def promote(model: str, version: int, label: str, models: Path, served_from: str) -> None:
    """Point a label of MODEL (its folder, or its name) to VERSION, in models.config beside the model.

    A model's first label sets its version policy to all, unless it has one: every version in the folder is loaded,
    and labels move between them at once. `rawbert prune` bounds how many there are.

    \b
    Example:
      rawbert promote models/minilm 3 --label stable
    """
    with _failing():
        change = manage.promote(manage.find(model, models), version, label, served_from)
    _show(change)


@click.command(short_help="Point a label to where it was before.")
@click.argument("model")
@_label
@_models
def rollback(model: str, label: str, models: Path) -> None:
    """Point a label of MODEL (its folder, or its name) to the version that it was at before; again, one further back.

    \b
    Example:
      rawbert rollback models/minilm --label stable
    """
    with _failing():
        change = manage.rollback(manage.find(model, models), label)
    _show(change)


@click.command(short_help="Remove old versions.")
@click.argument("model")
@click.option("--keep", type=click.IntRange(min=1), required=True, metavar="N", help="How many of the newest stay.")
@_models
def prune(model: str, keep: int, models: Path) -> None:
    """Remove all but the newest N versions of MODEL (its folder, or its name).

    A version that a label points to stays, and so does the one that a rollback of the label would bring back.

    \b
    Example:
      rawbert prune models/minilm --keep 3
    """
    with _failing():
        pruned = manage.prune(manage.find(model, models), keep)
    for number, reason in sorted(pruned.kept.items()):
        click.echo(f"kept     {number}: {reason}")
    click.echo(f"removed  {', '.join(map(str, pruned.removed)) or 'nothing'}")


def _show(change: manage.Change) -> None:
    if change.before == change.version:
        click.echo(f"{change.model}: {change.label} is at {change.version} already")
    else:
        was = f" (was {change.before})" if change.before is not None else ""
        click.echo(f"{change.model}: {change.label} is now {change.version}{was}")


@contextmanager
def _failing() -> Iterator[None]:
    prepare()
    console = Console(stderr=True)
    try:
        yield
    except ExportError as error:
        fail(console, error, 1)
    except OSError as error:
        fail(console, f"{error.filename}: {error.strerror}", 1)
    except KeyboardInterrupt:
        fail(console, "interrupted", 130)
