"""The compose project: docker-compose.yml, its settings in .env, and the Docker that runs it."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Final

#: Files and folders of the stack, relative to the root of a clone.
FILES: Final = (".dockerignore", ".env", "Dockerfile", "docker-compose.yml", "deploy")
#: All profiles of docker-compose.yml.
PROFILES: Final = ("cpu", "gpu", "gateway", "observability", "gpu-metrics", "tls")


class NoCompose(Exception):
    """Docker, or a part of it that the stack needs, is missing. The message contains the remedy."""


def packaged() -> Path:
    """The folder of the files in rawbert's distribution: the root of a clone, or the package ``stack``."""
    top = Path(__file__).resolve().parents[2]
    return top / "stack" if (top / "stack").is_dir() else top


def is_stack(folder: Path) -> bool:
    """Whether a folder has the files of the stack, as a clone or `rawbert stack init` has them."""
    return (folder / "docker-compose.yml").is_file() and (folder / "deploy" / "serving").is_dir()


def find_docker() -> list[str]:
    """The command for docker compose: the plugin, or the older docker-compose.

    Raises:
        NoCompose: it is not installed, or its engine does not answer.
    """
    if shutil.which("docker") is None:
        raise NoCompose("Docker is not installed: there is no docker on PATH. `rawbert serve models` needs none.")
    if _said(["docker", "compose", "version"]).returncode == 0:
        return ["docker", "compose"]
    if shutil.which("docker-compose") is not None:
        return ["docker-compose"]
    raise NoCompose("Docker has no compose: install its plugin, such as the package docker-compose-plugin")


def engine() -> dict[str, Any]:
    """The engine's description of itself, from `docker info`.

    Raises:
        NoCompose: the engine does not run, or this user has no permission.
    """
    done = _said(["docker", "info", "--format", "{{json .}}"])
    if done.returncode == 0:
        try:
            return dict(json.loads(done.stdout))
        except ValueError:
            pass
    said = (done.stderr.strip().splitlines() or ["docker info prints no reason"])[-1]
    if "permission denied" in done.stderr.lower():
        raise NoCompose(f"this user may not use Docker: join the group docker, and log in again ({said})")
    raise NoCompose(f"the Docker engine does not answer: start it ({said})")


def _said(command: Sequence[str], **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, **more)


class Stack:
    """The compose project of a folder.

    Args:
        folder: folder with docker-compose.yml; ``None`` takes the working folder if it has one, else :func:`packaged`.
        profiles: profiles to run; if empty, those of the settings.
        models: folder with models.config; ``None``: that of the settings.

    Attributes:
        settings: settings of .env, overridden by the environment and by the arguments. Paths are absolute.
    """

    def __init__(self, folder: Path | None = None, profiles: Iterable[str] = (), models: Path | None = None) -> None:
        here = Path.cwd()
        self.folder = (folder or (here if is_stack(here) else packaged())).absolute()
        written = _read(self.folder / ".env")
        self.settings = written | {name: os.environ[name] for name in written if name in os.environ}
        if models is not None:
            self.settings["RAWBERT_MODELS"] = str(models)
        # Paths in .env are relative to its folder; those in the distribution's .env to the working folder.
        at = here if self.folder == packaged() else self.folder
        for name in ("RAWBERT_MODELS", "RAWBERT_CERTS"):
            is_written = self.settings[name] == written[name] and name not in os.environ
            self.settings[name] = str(((at if is_written else here) / self.settings[name]).absolute())
        if profiles := tuple(profiles):
            self.settings["COMPOSE_PROFILES"] = ",".join(profiles)
        if not (self.folder / "pyproject.toml").is_file() and self.settings["RAWBERT_PACKAGE"].startswith("."):
            self.settings["RAWBERT_PACKAGE"] = f"rawbert[gateway]=={metadata.version('rawbert')}"

    @property
    def profiles(self) -> tuple[str, ...]:
        """Names of the profiles to run."""
        return tuple(name.strip() for name in self.settings["COMPOSE_PROFILES"].split(",") if name.strip())

    def run(self, *arguments: str, everything: bool = False) -> int:
        """Run a compose command with this process' standard output; returns its exit status.

        Args:
            arguments: the command, such as ``up --detach``.
            everything: apply it to the services of all profiles.

        Raises:
            NoCompose: docker compose is not installed.
        """
        command = [*find_docker(), *self._where(), *arguments]
        interrupted = False
        with subprocess.Popen(command, env=self._environment(everything)) as process:
            while process.poll() is None:
                try:
                    process.wait()
                except KeyboardInterrupt:
                    interrupted = True  # Compose also gets the terminal's signal, and ends by itself.
        return 130 if interrupted else process.returncode

    def is_running(self) -> bool:
        """Whether the project has containers."""
        command = [*find_docker(), *self._where(), "ps", "--quiet"]
        done = _said(command, env=self._environment(everything=True))
        return done.returncode == 0 and bool(done.stdout.strip())

    def _where(self) -> list[str]:
        return ["--project-directory", str(self.folder), "--file", str(self.folder / "docker-compose.yml")]

    def _environment(self, everything: bool) -> dict[str, str]:
        profiles = {"COMPOSE_PROFILES": ",".join(PROFILES)} if everything else {}
        return {**os.environ, **self.settings, **profiles}


def _read(file: Path) -> dict[str, str]:
    """The settings of a .env file: a name and a value per line, without quotes."""
    found = re.findall(r"^([A-Za-z_]\w*)=(.*?)\s*$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return dict(found)


def write(folder: Path, overwrite: bool = False) -> list[Path]:
    """Copy the files of the stack into a folder.

    Returns:
        The written files.

    Raises:
        FileExistsError: a file exists with other content, and ``overwrite`` is not set; nothing was written.
    """
    source = packaged()
    tops = [source / name for name in FILES]
    files = [file for top in tops for file in ([top] if top.is_file() else sorted(top.rglob("*"))) if file.is_file()]
    contents = {folder / file.relative_to(source): file.read_bytes() for file in files}
    package = f"rawbert[gateway]=={metadata.version('rawbert')}".encode()
    contents[folder / ".env"] = contents[folder / ".env"].replace(
        b"RAWBERT_PACKAGE=.[gateway]", b"RAWBERT_PACKAGE=" + package
    )
    contents = {
        path: content for path, content in contents.items() if not path.is_file() or path.read_bytes() != content
    }
    there = [path for path in contents if path.exists()]
    if there and not overwrite:
        raise FileExistsError(f"{there[0]} exists, and differs")
    for path, content in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return sorted(contents)
