"""Messages for people on standard error, during and after a command that answers texts."""

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
from ..plurals import counted
from .files import BadFile
from .files.job import Job
from .files.source import Block, Source

#: Maximum number of rows in a message.
_NAMED = 10
#: Seconds between two messages about waiting for a server.
_QUIET = 10.0


class Truncation:
    """Texts that are too long for the model, found with the signature ``tokenize``.

    Args:
        client: client for the tokens.
        found: the model's signatures.
        mode: fail, warn or ignore.

    Raises:
        BadFile: the mode is ``fail``, and the model has no such signature.
    """

    def __init__(self, client: Client, found: Mapping[str, Any], mode: str) -> None:
        self.wanted = mode != "ignore" and TOKENIZE.name in found
        if mode == "fail" and not self.wanted:
            raise BadFile(
                f"the model has no signature {TOKENIZE.name!r}, which shows cut texts; give --on-truncation ignore"
            )
        self._client, self._fails = client, mode == "fail"
        self._count, self._named = 0, list[str]()

    def look(self, block: Block) -> None:
        """Count the long texts of a block."""
        for at, tokens in enumerate(self._client.tokenize(block.texts) if self.wanted else ()):
            if tokens.truncated:
                self._count += 1
                self._named += [block.where(at)] if len(self._named) < _NAMED else []

    def check(self) -> None:
        """Check that there are no long texts, if the mode is ``fail``.

        Raises:
            BadFile: there are long texts; the message contains their rows.
        """
        if self._count and self._fails:
            raise BadFile(f"{self._said()}; --on-truncation warn embeds their beginning")

    def tell(self) -> None:
        """Report the number of long texts."""
        if self._count:
            click.echo(self._said(), err=True)

    def _said(self) -> str:
        more = f", and {self._count - _NAMED} more" if self._count > _NAMED else ""
        return f"{counted(self._count, 'text')} too long for the model, and cut: {'; '.join(self._named)}{more}"


def tell_skipped(skipped: list[dict[str, Any]], listed: Path | None = None) -> None:
    """Report skipped rows; each of them if no file lists them."""
    if not skipped:
        return
    click.echo(f"skipped {counted(len(skipped), 'row')}{f'; listed in {listed}' if listed else ''}", err=True)
    for row in skipped[: _NAMED if listed else None]:
        click.echo(f"  {row['file']}, {row['line']}: {row['reason']}", err=True)


@contextmanager
def told_of_the_rest(job: Job, source: Source) -> Iterator[None]:
    """When a job ends early, report the number of finished texts; if there are none, remove copies of the input."""
    try:
        yield
    except BaseException:
        if job.done:
            click.echo(f"finished {counted(job.done, 'text')}; the same command continues from there", err=True)
        else:
            source.inputs.discard()
        raise


def going_on(job: Job, settings: dict[str, Any]) -> dict[str, Any]:
    """Continue after the texts that matched, and report it: the client settings for the version that answered them.

    Raises:
        BadFile: as :meth:`Job.keep_matched` does.
    """
    job.keep_matched()
    if job.done:
        click.echo(f"continuing after {counted(job.done, 'text')}", err=True)
    return settings if job.version is None else {**settings, "version": job.version, "version_label": None}


@contextmanager
def of_version(job: Job) -> Iterator[None]:
    """If the version of an earlier run is gone, add the remedy to the error."""
    try:
        yield
    except (ModelNotFound, ModelVersionChanged) as error:
        if job.version is None:
            raise
        raise BadFile(f"{error}; the finished texts are from version {job.version}: --restart starts again") from error


class _Waiting(logging.Handler):
    _told = -_QUIET

    def emit(self, record: logging.LogRecord) -> None:
        if time.monotonic() - self._told >= _QUIET:
            self._told = time.monotonic()
            click.echo(record.getMessage(), err=True)


@contextmanager
def told_of_waiting() -> Iterator[None]:
    """Pass on the client's log messages about waiting for a server, at intervals."""
    log, handler = logging.getLogger("rawbert.serving"), _Waiting(logging.WARNING)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


@contextmanager
def progress(what: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
    """At a terminal, a bar with percentage, rate and time left; nothing elsewhere."""
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
