"""``rawbert verify``: a published version, or a running server, against the reference of its export.

Exit codes: 0 equal, 1 different or not to be compared, 2 wrong usage, 130 interrupted.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console

from .. import reverify
from ..errors import ConfigError
from ..proof.comparison import Report
from ..publish import manifest
from ..publish.bundle import version_folder
from .common import failing, print_lines, table


@click.command(short_help="Compare a version, or a running server, with the reference of its export.")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--source", help="The checkpoint, to compute the reference anew.  [default: the answers kept in PATH]")
@click.option("--address", metavar="HOST:PORT", help="Compare the answers of the server there (gRPC).")
@click.option("--model", help="With --address: the model's name there.  [default: the export's]")
@click.option(
    "--version", type=click.IntRange(min=-1),
    help="With --address: the version to ask; -1 for the newest.  [default: PATH's own]",
)  # fmt: skip
@click.option("--label", help="With --address: ask the version of this label.")
@click.option(
    "--tolerance", type=click.FloatRange(min=0, min_open=True),
    help="Largest difference, times max(1, largest reference value).  [default: the export's]",
)  # fmt: skip
@click.option(
    "--min-cosine", type=click.FloatRange(-1, 1), help="Smallest cosine of a vector.  [default: the export's]"
)
@click.option(
    "--tf32", is_flag=True,
    help=f"Tolerances for a server on a GPU, {reverify.TF32[0]:g} and {reverify.TF32[1]:g}: TensorFlow multiplies in "
    "TF32 there, with 10 bits of mantissa, unless the server's environment has NVIDIA_TF32_OVERRIDE=0.",
)  # fmt: skip
@click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), default=60.0, show_default=True,
    help="With --address: seconds for a call.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def verify(
    path: Path, source: str | None, address: str | None, model: str | None, version: int | None, label: str | None,
    tolerance: float | None, min_cosine: float | None, tf32: bool, timeout: float, as_json: bool,
) -> None:  # fmt: skip
    """Compare the version in PATH with the reference that it was exported by.

    PATH is a version folder, or a model's folder for its newest version. Without --source it is compared with the
    answers that the reference gave at the export, which the version carries.

    \b
    Examples:
      rawbert verify models/minilm
      rawbert verify models/minilm/3 --source ./all-MiniLM-L6-v2
      rawbert verify models/minilm --address localhost:8500 --tf32
    """
    with failing():
        if address is None and (model or label or version is not None):
            raise ConfigError("--model, --version and --label are about a server: give --address too")
        if address is not None and source is not None:
            raise ConfigError("a server is compared with the answers kept at the export: leave --source out")
        if label and version is not None:
            raise ConfigError("give --version or --label, not both")
        folder = version_folder(path).absolute()
        if not (folder / "saved_model.pb").is_file():
            raise ConfigError(f"{path} is neither a version folder (with saved_model.pb) nor holds any")
        recipe = reverify.recipe_of(folder, tolerance, min_cosine, tf32)
        if address is None:
            report, what = reverify.verify_folder(folder, recipe, source), str(folder)
        else:
            from ...serving import Client

            made = manifest.read(folder) or {}
            if version is None and not label and folder.name.isdigit():
                version = int(folder.name)
            with Client(
                address, model=model or str(made.get("name")), version=None if version == -1 else version,
                version_label=label, timeout=timeout,
            ) as client:  # fmt: skip
                report, what = reverify.verify_server(folder, recipe, client), repr(client)
    if as_json:
        click.echo(json.dumps(asdict(report), indent=2))
    else:
        _show(report, what, source, Console())
    if report.mismatches:
        sys.exit(1)


def _show(report: Report, what: str, source: str | None, console: Console) -> None:
    shown = table(what)
    for column in ("output", "off by", "allowed", "cosine", "at least"):
        shown.add_column(column, no_wrap=True)
    lines = []
    for output, each in report.outputs.items():
        allowed = report.tolerance * max(1.0, each.largest_reference)
        if each.min_cosine is None:  # scores: what is allowed is said of their logits
            lines.append(f"logits    {output} is held to the logits of the reference, within {allowed:.2e}")
            row = ("", "", "")
        else:
            row = (f"{allowed:.2e}", f"{each.min_cosine:.7f}", f"{report.min_cosine:g}")
        shown.add_row(output, f"{each.max_abs:.2e}", *row)
    if report.outputs:
        console.print(shown)
    lines += [f"worst     {output} is furthest off on {each.worst_text}" for output, each in report.outputs.items()]
    lines += [f"differs   {line}" for line in report.mismatches[:20]]
    if len(report.mismatches) > 20:
        lines.append(f"differs   and in {len(report.mismatches) - 20} places more")
    if not report.mismatches:
        proven = f"{report.tokens} tokens of {report.texts} texts, alone and in batches: {report.calls} calls"
        lines.append(f"equal     tokens, offsets, counts and labels: {proven}")
    lines.append(f"reference {'computed from ' + source if source else 'the answers kept at the export'}")
    print_lines(console, lines)
