"""``rawbert up``: from a checkpoint to a ready server.

The command runs ``rawbert export``, and ``rawbert serve`` or docker compose, each in a separate process. Exit codes: 0
stopped, or with compose left running; 1 refused or failed; 2 wrong usage; 130 interrupted before the server answered.
"""

import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from ...serving import Client, ServingError
from ...serving.cli.compose import NoCompose, Stack, engine, find_docker, packaged
from ...serving.cli.output import print_error, print_lines
from ...serving.cli.stack_checks import missing
from ...serving.contract import TEXT, TEXT_PAIR
from ..errors import ExportError
from ..hashing import file_sha256
from ..publish import manifest, models_config
from ..publish.bundle import folders_by_version, version_folder
from ..recipe import PRECISIONS, Recipe
from .common import failing

_RAWBERT: Final = (sys.executable, "-c", "from rawbert.serving.cli import main; main()")
_SUFFIXES: Final = re.compile(r"(\.tar(\.\w+)?|\.tgz|\.zip|\.keras|\.h5)$")
#: Default signature -> an example call at the terminal, and in Python.
_ASK: Final = {
    "embed": ('embed "plain strings go in"', 'client.embed(["plain strings go in"])'),
    "classify": ('classify "plain strings go in"', 'client.classify(["plain strings go in"])'),
    "tag": ('tag "Ada Lovelace was born in London"', 'client.tag(["Ada Lovelace was born in London"])'),
    "score": (
        'rerank "a question" "one document" "another"',
        'client.rerank("a question", ["one document", "another"])',
    ),
    "pooled": (None, 'client.pooled(["plain strings go in"])'),
}


@click.command()
@click.argument("source")
@click.option("--models", default="models", show_default=True, type=click.Path(file_okay=False, path_type=Path),
              metavar="FOLDER", help="Folder of the models; the server serves all of them.")  # fmt: skip
@click.option("--name", help="Name of the model.  [default: the last part of SOURCE]")
@click.option("--revision", metavar="NAME", help="Branch, tag, commit or version of a hub's model.")
@click.option("--precision", type=click.Choice(PRECISIONS), help="See rawbert export.  [default: float32]")
@click.option("--max-seq-length", type=int, metavar="N", help="See rawbert export.")
@click.option("--by", type=click.Choice(["auto", "compose", "serve"]), default="auto", show_default=True,
              help="Server: TensorFlow Serving with docker compose, or `rawbert serve`; auto: compose if Docker "
              "runs.")  # fmt: skip
@click.option("--profile", "profiles", multiple=True, metavar="NAME",
              help="Profile of the compose stack; repeatable.  [default: COMPOSE_PROFILES of .env, cpu]")  # fmt: skip
@click.option("--port", type=click.IntRange(1, 65535), default=8500, show_default=True, help="TCP port for gRPC.")
@click.option("--rest-port", type=click.IntRange(1, 65535), default=8501, show_default=True, help="TCP port for REST.")
@click.option("--wait", type=click.FloatRange(min=0, min_open=True), default=600.0, show_default=True,
              metavar="SECONDS", help="Maximum time until the server answers.")  # fmt: skip
def up(
    source: str,
    models: Path,
    name: str | None,
    by: str,
    profiles: tuple[str, ...],
    port: int,
    rest_port: int,
    wait: float,
    **settings: Any,
) -> None:
    """Export SOURCE if needed, serve it, and print example calls.

    SOURCE is a source of `rawbert export`: a folder, an archive or a model of a hub. It is exported again if its files
    or the options differ from those of the newest version. A folder with a models.config is served unchanged.

    With docker compose the server keeps running until `rawbert stack down`; `rawbert serve` runs until Ctrl-C.

    \b
    Examples:
      rawbert up ./all-MiniLM-L6-v2
      rawbert up sentence-transformers/all-MiniLM-L6-v2 --by serve --port 8600
      rawbert up models
    """
    with failing():
        if (Path(source) / models_config.FILE).is_file():
            models, names = Path(source), [name] if name else []
        else:
            name = name or named(source)
            _exported(source, models / name, settings)
            names = [name]
        listed = {entry.name: entry for entry in models_config.read(models / models_config.FILE).entries()}
        names = names or list(listed)
        if unknown := [each for each in names if each not in listed]:
            raise ExportError(
                f"{models / models_config.FILE} has no model {unknown[0]}: choose from {', '.join(listed)}"
            )
        if not names:
            raise ExportError(f"{models / models_config.FILE} lists no model: run rawbert up SOURCE to export one")
        recipes = {each: _recipe(models / listed[each].folder_name) for each in names}
        say = _Told(recipes, port, rest_port)
        if _by_compose(by):
            _compose(models, profiles, say, wait)
        else:
            _serve(models, say, wait)


def named(source: str) -> str:
    """The model's name from a source: the last part of its path, handle or URL."""
    last = re.split(r"[/\\]", source.rstrip("/\\").split("?")[0])[-1]
    if last in (".", "..", "~"):
        last = Path(source).expanduser().resolve().name
    return re.sub(r"[^\w.-]+", "-", _SUFFIXES.sub("", last)).strip("-.") or "model"


def _exported(source: str, base_path: Path, settings: dict[str, Any]) -> None:
    """Export, unless the newest version has the same source and settings."""
    found = folders_by_version(base_path)
    if found:
        newest = found[max(found)]
        made = manifest.read(newest)
        if made is not None and is_of(made, source, settings):
            click.echo(f"- {newest} is of {source}: not exported again", err=True)
            return
    options = [f"--{option.replace('_', '-')}={value}" for option, value in settings.items() if value is not None]
    status = _child(["export", "--output", str(base_path), *options, "--", source])
    if status:
        sys.exit(status)  # the export has printed the reason


def is_of(made: dict[str, Any], source: str, settings: dict[str, Any]) -> bool:
    """Whether a version with this manifest is up to date with the source and the settings, as far as is known.

    Files of a folder, and archives, are compared by their sha256; a handle of a hub by its name and by the requested
    revision, if any.
    """
    try:
        of, recipe = made["source"], Recipe.from_json(made["recipe"])
        if recipe.precision != (settings["precision"] or "float32"):
            return False
        if settings["max_seq_length"] not in (None, recipe.max_seq_length):
            return False
        path = Path(source).expanduser()
        if path.is_file() and of["archive_sha256"]:
            return bool(file_sha256(path) == of["archive_sha256"])
        if path.exists():
            root = path if path.is_dir() else path.parent
            return of["origin"] == "local" and all(
                file_sha256(root / file["path"]) == file["sha256"] for file in of["files"]
            )
        return of["handle"] == source and settings["revision"] in (None, of["revision"])
    except (ExportError, KeyError, OSError, TypeError):
        return False


def _recipe(base_path: Path) -> Recipe | None:
    """The recipe of a model's newest version; ``None`` if rawbert did not export it."""
    made = manifest.read(version_folder(base_path))
    try:
        return None if made is None else Recipe.from_json(made["recipe"])
    except (ExportError, KeyError, TypeError):
        return None


def _by_compose(by: str) -> bool:
    if by == "serve":
        return False
    try:
        find_docker()
        engine()
    except NoCompose as error:
        if by == "compose":
            raise ExportError(str(error)) from error
        click.echo(f"- by rawbert serve: {error}", err=True)
        return False
    return True


def _compose(models: Path, profiles: tuple[str, ...], say: "_Told", wait: float) -> None:
    stack = Stack(None, profiles, models.absolute())
    stack.settings |= {"RAWBERT_GRPC_PORT": str(say.port), "RAWBERT_REST_PORT": str(say.rest_port)}
    problems = missing(stack)
    if not {"cpu", "gpu"} & set(stack.profiles):
        problems.append("no profile serves a model: give --profile cpu or --profile gpu")
    if problems:
        for problem in problems:
            print_error(problem)
        sys.exit(1)
    if status := stack.run("up", "--detach"):
        if status == 130:
            raise KeyboardInterrupt
        raise ExportError(f"docker compose up failed, with status {status}")
    try:
        answers = say.when_it_answers(wait, lambda: True)
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt("the stack was started and keeps running: rawbert stack down stops it") from interrupt
    if not answers:
        raise ExportError(f"no answer from {say.address} in {wait:g} seconds: see rawbert stack logs for the reason")
    print_lines(["", "rawbert stack down stops it."])


def _serve(models: Path, say: "_Told", wait: float) -> None:
    monitoring = packaged() / "deploy" / "serving" / "monitoring.config"
    flags = [f"--port={say.port}", f"--rest_api_port={say.rest_port}", f"--monitoring_config_file={monitoring}"]
    server = subprocess.Popen([*_RAWBERT, "serve", str(models), *flags], start_new_session=True)
    answered = False
    try:
        answered = say.when_it_answers(wait, lambda: server.poll() is None)
        if answered:
            print_lines(["", "Ctrl-C stops it."])
        elif server.poll() is None:
            server.terminate()
    except KeyboardInterrupt:
        server.send_signal(signal.SIGINT)
    status = _ended(server)
    if not answered and not status:
        sys.exit(130)
    if not answered:
        sys.exit(1)  # the server has printed the reason
    sys.exit(status)


def _child(arguments: list[str]) -> int:
    """Run a rawbert command; returns its exit status."""
    return _ended(subprocess.Popen([*_RAWBERT, *arguments], start_new_session=True))


def _ended(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process and pass signals on to it, each once: it runs in a separate session."""
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)


class _Told:
    """The output when the server answers.

    Args:
        recipes: recipes of all models, by name; ``None`` for models of other tools.
        port, rest_port: ports of the server.
    """

    def __init__(self, recipes: dict[str, Recipe | None], port: int, rest_port: int) -> None:
        self.port, self.rest_port, self.address = port, rest_port, f"localhost:{port}"
        self._recipes = recipes

    def when_it_answers(self, seconds: float, goes_on: Callable[[], bool]) -> bool:
        """Wait until every model answers a call, and print example calls; whether all answered in time."""
        end = time.monotonic() + seconds
        for name, recipe in self._recipes.items():
            inputs = {TEXT: ["ready?"]} | ({TEXT_PAIR: ["yes"]} if recipe and recipe.pair else {})
            with Client(self.address, model=name, timeout=min(10.0, seconds)) as client:
                while True:
                    try:
                        client.predict(inputs)
                        break
                    except ServingError:
                        if not goes_on() or time.monotonic() > end:
                            return False
                        time.sleep(0.5)
        for name, recipe in self._recipes.items():
            print_lines(self._how(name, recipe))
        return True

    def _how(self, name: str, recipe: Recipe | None) -> list[str]:
        command, call = _ASK.get(recipe.default if recipe else "", (None, "client.predict({'text': ['a text']})"))
        inputs = '{"inputs": {"text": ["a question"], "text_pair": ["a document"]}}' if recipe and recipe.pair else (
            '{"inputs": {"text": ["plain strings go in"]}}'
        )  # fmt: skip
        model = shlex.quote(name)
        lines = ["", f"{name} answers at {self.address} (gRPC) and localhost:{self.rest_port} (REST):", ""]
        if command is not None:
            verb, *texts = command.split(" ", 1)
            lines.append(f"  rawbert {verb} --address {self.address} --model {model} {''.join(texts)}")
        return [
            *lines,
            f"  curl http://localhost:{self.rest_port}/v1/models/{model}:predict -d '{inputs}'",
            "",
            "  from rawbert.serving import Client",
            "",
            f"  with Client({self.address!r}, model={name!r}) as client:",
            f"      print({call})",
        ]
