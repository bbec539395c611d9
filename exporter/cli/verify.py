"""``rawbert verify``: a published version, or a running server, against the reference of its export.

Exit codes: 0 equal, 1 different or not comparable, 2 wrong usage, 130 interrupted.
"""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ...serving.cli.connection import OldSpelling, client_settings, one_line
from ...serving.cli.output import print_json, print_lines, print_table
from .. import reverify
from ..errors import ConfigError
from ..proof.comparison import Report
from ..publish import manifest, models
from .common import failing, json_option, security_options


@click.command(short_help="Compare a version, or a running server, with the reference of its export.")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--source", help="The checkpoint, to compute the reference again.  [default: the answers stored in PATH]")
@click.option("--address", "-a", metavar="HOST:PORT", help="Compare the answers of a gRPC server.")
@click.option("--model", "-m", help="With --address: model name on the server.  [default: the export's]")
@click.option(
    "--version", type=click.IntRange(min=-1),
    help="With --address: version on the server; -1 for the newest.  [default: PATH's own]",
)  # fmt: skip
@click.option("--version-label", "--label", cls=OldSpelling, help="With --address: version label on the server.")
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
    help="With --address: maximum seconds of a call.",
)  # fmt: skip
@security_options
@json_option
def verify(
    path: Path, source: str | None, tolerance: float | None, min_cosine: float | None, tf32: bool, as_json: bool,
    **connection: Any,
) -> None:  # fmt: skip
    """Compare the version in PATH with the reference of its export.

    PATH is a version folder, or a model's folder for its newest version. Without --source, the version is compared with
    the reference's answers at the export, which are stored in it.

    \b
    Examples:
      rawbert verify models/minilm
      rawbert verify models/minilm/3 --source ./all-MiniLM-L6-v2
      rawbert verify models/minilm --address localhost:8500 --tf32
    """
    with failing():
        address, version = connection["address"], connection["version"]
        given = [name for name, value in connection.items() if value not in (None, False, ()) and name != "timeout"]
        if address is None and given:
            listed = ", ".join(f"--{name.replace('metadata', 'header').replace('_', '-')}" for name in given)
            raise ConfigError(f"for {listed} of a server give --address too")
        if address is not None and source is not None:
            raise ConfigError("a server is compared with the answers stored at the export: leave --source out")
        folder = models.saved_model(path).absolute()
        if not (folder / "saved_model.pb").is_file():
            raise ConfigError(f"{path} is not a version folder (with saved_model.pb) and contains none: give one")
        recipe = reverify.recipe_of(folder, tolerance, min_cosine, tf32)
        if address is None:
            report, what = reverify.verify_folder(folder, recipe, source), str(folder)
        else:
            from ...serving import Client

            connection["model"] = connection["model"] or str((manifest.read(folder) or {}).get("name"))
            if version is None and not connection["version_label"] and folder.name.isdigit():
                connection["version"] = int(folder.name)
            elif version == -1:
                connection["version"] = None
            with one_line(), Client(**client_settings(connection)) as client:
                report, what = reverify.verify_server(folder, recipe, client), repr(client)
    if as_json:
        print_json(asdict(report))
    else:
        _show(report, what, source)
    if report.mismatches:
        sys.exit(1)


def _show(report: Report, what: str, source: str | None) -> None:
    rows, lines = [], []
    for output, each in report.outputs.items():
        allowed = report.tolerance * max(1.0, each.largest_reference)
        if each.min_cosine is None:  # scores: the tolerance applies to their logits
            lines.append(f"logits    {output} is compared by its logits, within {allowed:.2e}")
            row = ("", "", "")
        else:
            row = (f"{allowed:.2e}", f"{each.min_cosine:.7f}", f"{report.min_cosine:g}")
        rows.append((output, f"{each.max_abs:.2e}", *row))
    if rows:
        print_table(what, ("output", "off by", "allowed", "cosine", "at least"), rows)
    lines += [f"worst     {output}, for the text {each.worst_text}" for output, each in report.outputs.items()]
    lines += [f"differs   {line}" for line in report.mismatches[:20]]
    if len(report.mismatches) > 20:
        lines.append(f"differs   and in {len(report.mismatches) - 20} more places")
    if not report.mismatches:
        proven = f"{report.tokens} tokens of {report.texts} texts, alone and in batches: {report.calls} calls"
        lines.append(f"equal     tokens, offsets, counts and labels: {proven}")
    lines.append(f"reference {'computed from ' + source if source else 'the answers stored at the export'}")
    print_lines(lines)
