"""A stand-in for Docker, for tests without an engine: it answers as docker 28 and compose 2, and records its calls.

:class:`Docker` makes one in a folder, whose ``docker.json`` has its settings:

    compose: whether the plugin is installed        engine: what `docker info` says; a str is its error
    running: whether the project has containers     up: the exit status of `compose up`
    then: a command that `compose up` runs, as a container would
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

NO_ENGINE = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
DENIED = (
    "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: Get "
    '"http://%2Fvar%2Frun%2Fdocker.sock/v1.50/info": dial unix /var/run/docker.sock: connect: permission denied'
)
ENGINE = {"Architecture": "x86_64", "Runtimes": {"runc": {"path": "runc"}}, "ServerVersion": "28.2.2"}


class Docker:
    """The stand-in, in its own folder.

    Attributes:
        path: the environment variable PATH that includes it.
    """

    def __init__(self, folder: Path, name: str = "docker", **state: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {folder} {name} "$@"\n', encoding="utf-8")
        script.chmod(0o755)
        self.path = f"{folder}:/usr/bin:/bin"
        self.set(**state)

    def set(self, **state: Any) -> None:
        """Change the settings of ``docker.json``."""
        full = {"compose": True, "engine": ENGINE, "running": False, "up": 0, "then": None, **state}
        (self._folder / "docker.json").write_text(json.dumps(full), encoding="utf-8")

    @property
    def calls(self) -> list[dict[str, Any]]:
        """The calls of compose, except queries: the arguments, and the settings in the environment."""
        try:
            lines = (self._folder / "calls").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        """End the process that `compose up` started."""
        if (self._folder / "pid").exists():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(int((self._folder / "pid").read_text(encoding="utf-8")), signal.SIGKILL)

    def forget(self) -> None:
        """Delete the recorded calls."""
        (self._folder / "calls").unlink(missing_ok=True)


def main(folder: Path, name: str, arguments: list[str]) -> int:
    """Run the command; return its exit status."""
    state = json.loads((folder / "docker.json").read_text(encoding="utf-8"))
    if arguments[:1] == ["info"]:
        if isinstance(state["engine"], str):
            print("{}")
            print(state["engine"], file=sys.stderr)
            return 1
        print(json.dumps(state["engine"]))
        return 0
    if name == "docker":
        if arguments[0] != "compose" or not state["compose"]:
            print(
                f"docker: unknown command: docker {arguments[0]}\n\nRun 'docker --help' for more information",
                file=sys.stderr,
            )
            return 1
        arguments = arguments[1:]
    if arguments == ["version"]:
        print("Docker Compose version v2.39.1")
        return 0
    command = arguments[4:]
    if command == ["ps", "--quiet"]:
        print("0123456789ab" if state["running"] else "", end="")
        return 0
    settings = {key: os.environ[key] for key in os.environ if key.startswith(("RAWBERT_", "COMPOSE_"))}
    with (folder / "calls").open("a", encoding="utf-8") as calls:
        calls.write(json.dumps({"where": arguments[:4], "command": command, "settings": settings}) + "\n")
    if command[0] != "up":
        print(f"compose {' '.join(command)}")
        return 0
    if state["then"] and not state["up"]:
        nowhere = subprocess.DEVNULL
        process = subprocess.Popen(state["then"], start_new_session=True, stdout=nowhere, stderr=nowhere)
        (folder / "pid").write_text(str(process.pid), encoding="utf-8")
    return int(state["up"])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
