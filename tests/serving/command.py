"""The ``rawbert`` command, in this process or in a separate one."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from rawbert.serving import cli

#: For cases that take seconds: on the second server they are slow tests, so that the default run has one server only.
SLOW_ON_THE_SECOND = pytest.mark.parametrize(
    "side", ["rawbert serve", pytest.param("official stubs", marks=pytest.mark.slow)], indirect=True
)
#: The command as a process.
RAWBERT = [sys.executable, "-c", "from rawbert.serving.cli import main; main()"]


class Done:
    """The result of a command: exit code and output."""

    def __init__(self, returncode: int, stdout: bytes, stderr: bytes) -> None:
        self.returncode, self.stdout, self.stderr = returncode, stdout, stderr

    @property
    def out(self) -> str:
        """Standard output as text."""
        return self.stdout.decode()

    @property
    def err(self) -> str:
        """Standard error as text."""
        return self.stderr.decode()

    @property
    def said(self) -> str:
        """Standard error with its lines joined."""
        return " ".join(self.err.split())


def rawbert(
    *arguments: Any, input: bytes = b"", cwd: Path | str = ".", env: Mapping[str, str] | None = None
) -> Done:  # fmt: skip
    """Run the command in this process, which saves the start of another; not for tests of signals or descriptors."""
    streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2)]
    given = io.TextIOWrapper(io.BufferedReader(io.BytesIO(input)), "utf-8")  # type: ignore[arg-type]
    with (
        mock.patch.object(sys, "argv", ["rawbert", *map(str, arguments)]),
        mock.patch.object(sys, "stdin", given),
        mock.patch.dict(os.environ, dict(env or {})),
        chdir(cwd),
        redirect_stdout(streams[0]),
        redirect_stderr(streams[1]),
    ):
        try:
            code: Any = cli._run()
        except SystemExit as end:
            code = end.code
    out, err = (stream.buffer.getvalue() for stream in streams)  # type: ignore[attr-defined]
    return Done(code, out, err)


def process(*arguments: Any, **settings: Any) -> subprocess.CompletedProcess[bytes]:
    """Run the command in a separate process."""
    return subprocess.run([*RAWBERT, *map(os.fspath, arguments)], capture_output=True, check=False, **settings)


def limited(command: list[str], size: int | None) -> list[str]:
    """The command, with a maximum size of files in bytes.

    A separate process sets the limit, because ``preexec_fn`` would fork this process, in which gRPC has threads.
    """
    if size is None:
        return command
    limit = "import os, resource as r, sys; r.setrlimit(r.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2); "
    return [sys.executable, "-c", f"{limit}os.execv(sys.argv[2], sys.argv[2:])", str(size), *command]


def free_ports(count: int) -> list[int]:
    """Different ports on which nothing listens."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports
