"""``rawbert versions``, ``promote``, ``rollback``, ``prune``: published versions and their labels.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted.
"""

from dataclasses import asdict
from pathlib import Path

import click

from ...serving.cli.connection import OldSpelling
from ...serving.cli.output import print_json, print_lines, print_table
from ..publish import models_config
from ..publish import versions as published
from ..publish.models import find, find_all, warnings
from .common import failing, json_option, user_path

_models = click.option(
    "--models", type=user_path, default=Path("models"), show_default=True, metavar="FOLDER",
    help="Folder of the models, for a MODEL given by name.",
)  # fmt: skip
_label = click.option(
    "--version-label", "--label", "label", cls=OldSpelling, default="stable", show_default=True,
    help="The label, such as stable or canary.",
)  # fmt: skip


@click.command(short_help="List versions and their labels.")
@click.argument("model", type=user_path, required=False)
@_models
@json_option
def versions(model: Path | None, models: Path, as_json: bool) -> None:
    """List the versions of MODEL (its folder, or its name), the newest first; without MODEL, of all models.

    "loaded" marks versions that servers load by models.config; `rawbert status` asks a server itself.

    \b
    Examples:
      rawbert versions
      rawbert versions models/minilm
    """
    with failing():
        meant = find_all(models) if model is None else [find(model, models)]
        listed = [published.listed(each) for each in meant]
        for line in warnings(meant[0].config):
            click.echo(f"warning: {line}", err=True)
    if as_json:
        made = [{"model": name, "versions": [asdict(each) for each in found]} for name, found in listed]
        print_json(made if model is None else made[0])
        return
    for each, (name, found) in zip(meant, listed, strict=True):
        _show_versions(name, found)
        if found and not any(version.loaded for version in found):
            print_lines([f"{each.config} does not list the model, so servers do not load it: see rawbert promote"])


@click.command(short_help="Point a label, such as stable, to a version.")
@click.argument("model", type=user_path)
@click.argument("version", type=click.IntRange(min=0))
@_label
@_models
@click.option(
    "--served-from", default=models_config.SERVED_FROM, show_default=True, metavar="PATH",
    help="The folder of the models as the server sees it, for a model that is not in models.config.",
)  # fmt: skip
@json_option
def promote(model: Path, version: int, label: str, models: Path, served_from: str, as_json: bool) -> None:
    """Point a label of MODEL (its folder, or its name) to VERSION, in models.config next to the model.

    The first label of a model without a version policy sets the policy to all: every version in the folder is loaded,
    and labels move between them at once. `rawbert prune` limits their number.

    \b
    Example:
      rawbert promote models/minilm 3 --version-label stable
    """
    with failing():
        change = published.promote(find(model, models), version, label, served_from)
    _show(change, as_json)


@click.command(short_help="Point a label to its previous version.")
@click.argument("model", type=user_path)
@_label
@_models
@json_option
def rollback(model: Path, label: str, models: Path, as_json: bool) -> None:
    """Point a label of MODEL (its folder, or its name) to its previous version. Each repetition goes back by one more.

    \b
    Example:
      rawbert rollback models/minilm --version-label stable
    """
    with failing():
        change = published.rollback(find(model, models), label)
    _show(change, as_json)


@click.command(short_help="Remove old versions.")
@click.argument("model", type=user_path)
@click.option(
    "--keep", type=click.IntRange(min=1), required=True, metavar="N", help="Number of newest versions to keep."
)
@click.option("--dry-run", is_flag=True, help="Only print the versions that would be removed.")
@_models
@json_option
def prune(model: Path, keep: int, dry_run: bool, models: Path, as_json: bool) -> None:
    """Remove all but the newest N versions of MODEL (its folder, or its name).

    Versions with a label stay, also the version that a rollback of a label would restore, and those listed in the
    model's version policy.

    \b
    Example:
      rawbert prune models/minilm --keep 3
    """
    with failing():
        pruned = published.prune(find(model, models), keep, dry_run)
    if as_json:
        print_json(asdict(pruned))
        return
    for number, reason in sorted(pruned.kept.items()):
        click.echo(f"kept     {number}: {reason}")
    click.echo(f"{'would go' if dry_run else 'removed '} {', '.join(map(str, pruned.removed)) or 'nothing'}")


def _show_versions(name: str, found: list[published.Version]) -> None:
    rows = []
    for each in found:
        labels = [*each.labels, *(f"(rollback of {label})" for label in each.rollback_of)]
        made = each.created[:16].replace("T", " ") if each.created else "?"
        source, size = each.source or "?", f"{each.size / 1e6:.1f} MB"
        parts = Path(source).parts
        if source.startswith("/") and len(parts) > 3:  # --json contains the full path
            source = str(Path("...", *parts[-2:]))
        loaded = "yes" if each.loaded else "no"
        rows.append((str(each.number), " ".join(labels), loaded, made, each.precision or "?", size, source))
    columns = ("version", "labels", "loaded", "made", "precision", "size", "source")
    print_table(name, columns, rows, ("labels", "source"))


def _show(change: published.Change, as_json: bool) -> None:
    if as_json:
        print_json(asdict(change))
    elif change.before == change.version:
        click.echo(f"{change.model}: {change.label} is at {change.version} already")
    else:
        was = f" (was {change.before})" if change.before is not None else ""
        click.echo(f"{change.model}: {change.label} is now {change.version}{was}")
