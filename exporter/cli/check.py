"""``rawbert check`` and ``rawbert inspect``: the contents of a SavedModel, and whether TensorFlow Serving can run it.

Neither loads TensorFlow. Exit codes: 0 no error found, 1 errors found, 2 wrong usage, 130 interrupted.
"""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from ...serving.cli.output import print_json, print_lines, print_table, shape_of
from ...serving.contract import INPUT_SHAPE, Output, TensorSpec
from ...serving.plurals import counted
from ...serving.wire.messages import signature_infos
from ..publish import manifest as manifests
from ..publish import models
from ..publish.bundle import size_of
from ..targets import check as rules
from ..targets import saved_model
from ..targets.content_hash import content_hash
from ..targets.graph_hash import Unhashable
from ..targets.graph_rules import declared
from ..targets.opsets import NEWEST
from ..targets.tensor_bundle import CorruptIndex
from .common import Release, failing, json_option

_STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}
#: Maximum number of ops, and of rows of a table, in the output; the JSON contains all.
_SHOWN, _MOST_ROWS = 15, 200


@click.command(short_help="Check whether TensorFlow Serving can run a SavedModel.")
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--target-serving", type=Release(newer=True), default=NEWEST, show_default=True,
    help="TensorFlow Serving release to check against. A release newer than the known ones is checked as the newest "
    "known one.",
)  # fmt: skip
@json_option
def check(path: Path, target_serving: str, as_json: bool) -> None:
    """Check the SavedModel at PATH, from any tool, against a TensorFlow Serving release.

    PATH is a version folder, or a base path, whose newest version is checked. An error prevents loading or answering;
    a warning is a likely surprise; a note is information. Only errors lead to exit code 1.

    \b
    Example:
      rawbert check models/minilm --target-serving 2.16
    """
    with failing():
        folder = models.saved_model(path)
    findings = rules.check(folder, target_serving)
    errors = sum(finding.level == "error" for finding in findings)
    if as_json:
        state = {"path": str(folder), "target_serving": target_serving, "ok": not errors}
        print_json({**state, "findings": [asdict(finding) for finding in findings]})
    else:
        rows = [(Text(each.level, _STYLES[each.level]), each.kind, each.message) for each in findings]
        if rows:
            _show_rows(str(folder), ("level", "kind", "found"), rows, ("kind", "found"))
        verdict = counted(errors, "error") if errors else "no errors"
        print_lines([f"{folder}: {verdict} for TensorFlow Serving {target_serving}"])
    sys.exit(1 if errors else 0)


@click.command(short_help="Show the contents of a SavedModel.")
@click.argument("path", type=click.Path(path_type=Path))
@json_option
def inspect(path: Path, as_json: bool) -> None:
    """Show signatures, ops, size, content hash and manifest of the SavedModel at PATH.

    PATH is a version folder, or a base path, whose newest version is shown. The content hash is the same for the same
    graph, signatures, weights and assets, whenever and wherever they were written.

    \b
    Example:
      rawbert inspect models/minilm
    """
    with failing():
        folder = models.saved_model(path)
    try:
        model = saved_model.read(folder)
    except saved_model.Unreadable as error:
        raise click.ClickException(str(error)) from error
    if not model.meta_graphs:
        raise click.ClickException(f"{folder}: the SavedModel contains no graph; export it again")
    meta_graph = saved_model.serving(model) or model.meta_graphs[0]
    state = _describe(folder, meta_graph)
    if as_json:
        print_json(state)
    else:
        _show(state, meta_graph)


def _describe(folder: Path, meta_graph: Any) -> dict[str, Any]:
    graph = meta_graph.graph_def
    ops = Counter(node.op for nodes in (graph.node, *(f.node_def for f in graph.library.function)) for node in nodes)
    try:
        hashes: dict[str, str] | None = content_hash(folder, meta_graph)
    except (CorruptIndex, Unhashable, OSError) as error:
        hashes = None
        click.echo(f"no content hash: {error}", err=True)
    return {
        "path": str(folder),
        "size": size_of(folder),
        "tensorflow": meta_graph.meta_info_def.tensorflow_version,
        "tags": list(meta_graph.meta_info_def.tags),
        "signatures": {
            name: {"inputs": _tensors(each.inputs), "outputs": _tensors(each.outputs, declared(meta_graph, name))}
            for name, each in signature_infos(meta_graph.signature_def).items()
        },
        "ops": dict(ops.most_common()),
        "functions": len(graph.library.function),
        "content_hash": hashes,
        "manifest": manifests.read(folder),
    }


def _tensors(specs: Mapping[str, TensorSpec], declared: Sequence[Output] = ()) -> dict[str, Any]:
    """The inputs or the outputs of a signature: first those that the contract declares, in its order."""
    known = [output.name for output in declared if output.name in specs]
    return {
        name: {"dtype": specs[name].dtype, "shape": specs[name].shape}
        for name in (*known, *sorted(set(specs) - set(known)))
    }


def _show(state: dict[str, Any], meta_graph: Any) -> None:
    rows = []
    for name, signature in state["signatures"].items():
        outputs = {output.name: output.shape for output in declared(meta_graph, name)}
        label = name
        for side in ("inputs", "outputs"):
            for tensor, spec in signature[side].items():
                names = outputs.get(tensor, ()) if side == "outputs" else INPUT_SHAPE if outputs else ()
                shape = shape_of(spec["shape"], names)
                rows.append((label, side[:-1], tensor, spec["dtype"], shape))
                label = ""
    _show_rows(state["path"], ("signature", "side", "name", "dtype", "shape"), rows, ("name",))
    shown = [f"{op} {count}" for op, count in list(state["ops"].items())[:_SHOWN]]
    if len(state["ops"]) > _SHOWN:
        shown[-1] += f" and {len(state['ops']) - _SHOWN} more kinds"
    lines = [
        f"size      {state['size'] / 1e6:.1f} MB, written by TensorFlow "
        f"{state['tensorflow'] or 'of an unknown version'}",
        f"ops       {sum(state['ops'].values())} nodes in {state['functions']} functions: {', '.join(shown)}",
    ]
    if state["content_hash"]:
        lines += [f"{part:<9} {digest}" for part, digest in state["content_hash"].items()]
    manifest = state["manifest"]
    if manifest is not None:
        recipe = manifest.get("recipe")
        recipe = recipe if isinstance(recipe, dict) else {}
        lines.append(
            f"manifest  {manifest.get('name')}, made {manifest.get('created')}, for TensorFlow Serving "
            f"{recipe.get('target_serving')}, {recipe.get('precision')}; --json shows all of it"
        )
        if isinstance(head := manifest.get("head"), dict):
            labels = [str(each) for each in head.get("labels") or ()]
            more = f" and {len(labels) - _SHOWN} more" if len(labels) > _SHOWN else ""
            lines.append(f"labels    of {head.get('signature')}: {', '.join(labels[:_SHOWN])}{more}")
    print_lines(lines)


def _show_rows(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], fold: Sequence[str]) -> None:
    print_table(title, columns, rows[:_MOST_ROWS], fold)
    if len(rows) > _MOST_ROWS:
        print_lines([f"and {len(rows) - _MOST_ROWS} more; --json shows all of them"])
