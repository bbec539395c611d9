"""``rawbert doctor``: faults of a running server, with their remedies.

Exit codes: 0 no fault, 1 a warning or a problem, 2 wrong usage, 130 interrupted.
"""

import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click

from ..doctor import CHECKS, TOGETHER, Finding, Level, Probe, compare, examine
from ..errors import ServingError
from ..plurals import counted
from .connection import MODELS_CONFIG, UNNAMED, client_settings, connection_options, json_option, one_line, only_model
from .output import print_json, print_lines, print_table

_STYLES: Final = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "bold red", Level.UNKNOWN: "dim"}
_FOLDER: Final = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.argument("servers", metavar="[ADDRESS]...", nargs=-1)
@connection_options
@click.option("--rest", metavar="HOST:PORT",
              help="REST API of the server, or a URL.  [default: the next port, if it answers there]")  # fmt: skip
@click.option("--models", type=_FOLDER,
              help="Folder with models.config that it polls.  [default: models, on this machine]")  # fmt: skip
@click.option("--callers", type=click.IntRange(min=0), default=8, show_default=True,
              help="Number of concurrent calls that it must handle; 0 for none.")  # fmt: skip
@click.option("--ignore", multiple=True, type=click.Choice([check.name for check in (*CHECKS, TOGETHER)]),
              metavar="CHECK", help="Leave a check out; repeatable.")  # fmt: skip
@json_option
def doctor(
    servers: tuple[str, ...],
    rest: str | None,
    models: Path | None,
    callers: int,
    ignore: tuple[str, ...],
    as_json: bool,
    **settings: Any,
) -> None:
    """Examine the servers at ADDRESS, or --address: TensorFlow Serving or rawbert serve.

    The checks only make calls that any client may make: some seconds of work for the model, more if it is slow. Several
    addresses must belong to one service, whose servers answer equally. docs/how-to/doctor.md lists the checks.

    The exit code is 0 without a warning or a problem, and 1 with one.

    \b
    Examples:
      rawbert doctor localhost:8500 --model minilm
      rawbert doctor bert-0:8500 bert-1:8500 --callers 32 --ignore metrics
    """
    addresses = servers or (settings["address"],)
    if rest is not None and len(addresses) > 1:
        raise click.UsageError("--rest is for a single server: give one ADDRESS")
    with one_line(), ExitStack() as stack:
        given = client_settings({**settings, "model": settings["model"] or UNNAMED})
        probes = []
        for address in addresses:
            given["address"] = address
            if settings["model"] is None:
                given["model"] = _found(given)
            probe = Probe(**given, rest=rest, callers=callers, models=models or _own(address))
            probes.append(stack.enter_context(probe))
        examined = [(probe, examine(probe, ignore)) for probe in probes]
        together = [compare(probes)] if len(probes) > 1 and TOGETHER.name not in ignore else []
    findings = [finding for _, found in examined for finding in found] + together
    if as_json:
        print_json({
            "sound": not any(finding.is_fault for finding in findings),
            "servers": [{"address": probe.address, "model": probe.model, "checks": list(map(_plain, found))}
                        for probe, found in examined],
            "together": list(map(_plain, together)),
        })  # fmt: skip
    else:
        for probe, found in examined:
            _show(f"{probe.model} at {probe.address}", found)
        if together:
            _show("the servers together", together)
        said = [counted(sum(finding.level is level for finding in findings), level.value)
                for level in (Level.PROBLEM, Level.WARNING)]  # fmt: skip
        print_lines([", ".join(said)])
    sys.exit(any(finding.is_fault for finding in findings))


def _found(settings: dict[str, Any]) -> str:
    """The model of a server, if the user named none."""
    with Probe(**{**settings, "model": UNNAMED}) as probe:
        reached = probe.unreached is None
    try:
        return only_model(settings) if reached else UNNAMED
    except ServingError:
        return UNNAMED  # the checks report the fault


def _own(address: str) -> Path | None:
    """The folder of models in the working folder, for a server on this machine."""
    ips = Probe(address).ips
    return MODELS_CONFIG.parent if MODELS_CONFIG.is_file() and ips and all(ip.is_loopback for ip in ips) else None


def _plain(finding: Finding) -> dict[str, str]:
    return {**asdict(finding), "level": finding.level.value}


def _show(title: str, findings: list[Finding]) -> None:
    from rich.text import Text

    rows: list[list[str | Text]] = [
        [finding.check, Text(finding.level.value, _STYLES[finding.level]), " ".join(finding.found.split())]
        for finding in findings
    ]
    print_table(title, ("check", "result", "found"), rows, fold=("found",))
    for finding in findings:
        if finding.advice:
            print_lines([f"{finding.check}: {finding.advice}"])
    print_lines([""])
