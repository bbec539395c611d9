"""What a command that answers texts tells people while it works and at its end, on standard error."""

import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from ..client.client import Client
from ..contract import TOKENIZE
from ..errors import ModelNotFound, ModelVersionChanged
from .files import BadFile
from .files.job import Job
from .files.source import Block, Source
from .output import counted

#: Rows that a message names.
_NAMED = 10
#: Seconds between two words that a server is being waited for.
_QUIET = 10.0


class Truncation:
    """Texts that are longer than the model takes, by the signature ``tokenize``.

    Args:
        client: asked for the tokens.
        found: the model's signatures.
        mode: fail, warn or ignore.

    Raises:
        BadFile: it is to fail, and the model does not tell.
    """

    def __init__(self, client: Client, found: Mapping[str, Any], mode: str) -> None:
        self.wanted = mode != "ignore" and TOKENIZE.name in found
        if mode == "fail" and not self.wanted:
            raise BadFile(f"the model has no signature {TOKENIZE.name!r}: it does not tell which texts are cut")
        self._client, self._fails = client, mode == "fail"
        self._count, self._named = 0, list[str]()

    def look(self, block: Block) -> None:
        """Count those of a block."""
        for at, tokens in enumerate(self._client.tokenize(block.texts) if self.wanted else ()):
            if tokens.truncated:
                self._count += 1
                self._named += [block.where(at)] if len(self._named) < _NAMED else []

    def check(self) -> None:
        """See that there are none, where they are not allowed.

        Raises:
            BadFile: there are; the message names their rows.
        """
        if self._count and self._fails:
            raise BadFile(f"{self._said()}; --on-truncation warn embeds what the model takes of them")

    def tell(self) -> None:
        """Say how many there were."""
        if self._count:
            click.echo(self._said(), err=True)

    def _said(self) -> str:
        more = f", and {self._count - _NAMED} more" if self._count > _NAMED else ""
        return f"{counted(self._count, 'text')} longer than the model takes, and cut: {'; '.join(self._named)}{more}"


def tell_skipped(skipped: list[dict[str, Any]], listed: Path | None = None) -> None:
    """Say what was left out, all of it if no file lists it."""
    if not skipped:
        return
    click.echo(f"skipped {counted(len(skipped), 'row')}{f'; listed in {listed}' if listed else ''}", err=True)
    for row in skipped[: _NAMED if listed else None]:
        click.echo(f"  {row['file']}, {row['line']}: {row['reason']}", err=True)


@contextmanager
def told_of_the_rest(job: Job, source: Source) -> Iterator[None]:
    """Where a job ends early, say what is there to go on from; without that, copies of the input go."""
    try:
        yield
    except BaseException:
        if job.done:
            click.echo(f"{job.done} texts are done; the same command goes on from there", err=True)
        else:
            source.inputs.discard()
        raise


def going_on(job: Job, settings: dict[str, Any]) -> dict[str, Any]:
    """Go on after the texts that matched, and say so: settings of a client for the version that answered them.

    Raises:
        BadFile: as :meth:`Job.keep_matched` does.
    """
    job.keep_matched()
    if job.done:
        click.echo(f"going on after {job.done} texts", err=True)
    return settings if job.version is None else {**settings, "version": job.version, "version_label": None}


@contextmanager
def of_version(job: Job) -> Iterator[None]:
    """Where the version that an earlier run had is gone, say what can be done."""
    try:
        yield
    except (ModelNotFound, ModelVersionChanged) as error:
        if job.version is None:
            raise
        raise BadFile(f"{error}; what is done is of version {job.version}: --restart begins anew") from error


class _Waiting(logging.Handler):
    _told = -_QUIET

    def emit(self, record: logging.LogRecord) -> None:
        if time.monotonic() - self._told >= _QUIET:
            self._told = time.monotonic()
            click.echo(record.getMessage(), err=True)


@contextmanager
def told_of_waiting() -> Iterator[None]:
    """The client's word that it waits for a server is passed on, now and then."""
    log, handler = logging.getLogger("rawbert.serving"), _Waiting(logging.WARNING)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


@contextmanager
def progress(what: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
    """A bar with a percentage, a rate and the time left at a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    shown = (TextColumn(what), BarColumn(), TaskProgressColumn(show_speed=True), MofNCompleteColumn())
    with Progress(*shown, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total, completed=done)
        yield lambda count: bar.advance(task, count)
