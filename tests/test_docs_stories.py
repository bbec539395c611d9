"""Pages whose blocks build on each other: they run unchanged, in order, in one folder."""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from docs_pages import ROOT, Block, blocks

#: Page -> commands that come before it on other pages.
STORIES = {
    "../README.md": [],
    "explanation/proof.md": [
        "rawbert promote models/minilm 3 --version-label stable",
        "rawbert serve models --port 8500",
    ],
    "explanation/tokenizer.md": [],
    "how-to/batching.md": [],
    "how-to/classify.md": [],
    "how-to/doctor.md": ["rawbert serve models --port 8500"],
    "how-to/embed.md": ["rawbert serve models --port 8500"],
    "how-to/finetune.md": [],
    "how-to/from-sentence-transformers.md": [],
    "how-to/from-tei.md": [],
    "how-to/gateway.md": ["rawbert promote models/minilm 4 --version-label canary", "rawbert serve models --port 8500"],
    "how-to/other-languages.md": [],
    "how-to/rerank.md": [],
    "how-to/roll-out.md": [],
    "how-to/secure.md": [],
    "how-to/tag.md": [],
    "how-to/train-a-tagger.md": [],
    "reference/configuration.md": [],
    "reference/heads.md": [],
    "reference/server.md": [],
    "reference/targets.md": [],
    "tutorials/fastapi.md": [],
    "tutorials/first-bundle.md": [],
    "tutorials/keras-classifier.md": [],
    "tutorials/semantic-search.md": [],
}
#: Pages whose Python code another test runs, with packages that are not installed here.
SHELL_ONLY = {"how-to/gateway.md"}
#: Ports on the pages, which are replaced by free ones.
PORT = r"\b8[05]\d\d\b"
#: Commands that go on until they are stopped, what they print when they are ready, and their ports without --port.
SERVERS = {
    "rawbert serve": ("Running gRPC ModelServer at", "8500"),
    "rawbert gateway": ("Running the gateway at", "8080"),
    "uvicorn": ("Application startup complete", "8000"),
}


@pytest.fixture
def folder(tiny_bundle: Any, data: Path, tmp_path: Path) -> Path:
    """A working folder for the pages: a checkpoint, and a model with four versions."""
    shutil.copytree(data / "tiny_bert", tmp_path / "all-MiniLM-L6-v2")
    shutil.copytree(data / "tiny_pooling" / "mean_dense_normalize", tmp_path / "all-MiniLM-L6-v2", dirs_exist_ok=True)
    for version in range(1, 5):
        copied = tmp_path / "models" / "minilm" / str(version)
        shutil.copytree(tiny_bundle.path, copied)
        manifest = copied / "assets.extra" / "rawbert.json"
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "name": "minilm"}))
    return tmp_path


@pytest.fixture
def files(folder: Path, task_models: Path, data: Path) -> Path:
    """The same with the checkpoints and text files that the pages name."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    config = 'model_config_list { config { name: "minilm" base_path: "/models/minilm" model_platform: "tensorflow" } }'
    (folder / "models" / "models.config").write_text(config)
    sources = task_models.parent / "sources"
    for name, source in {"my-classifier": "sentiment", "my-tagger": "ner", "my-reranker": "reranker"}.items():
        shutil.copytree(sources / source, folder / name)
        shutil.copytree(sources / source, folder / source)
    rows = [{"id": at, "text": f"the cat sat {at}", "body": "the dog ran", "url": f"u{at}"} for at in range(4)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "pages.parquet")
    pq.write_table(pa.Table.from_pylist(rows), folder / "found.parquet")
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "pages.jsonl").write_text(lines)
    (folder / "found.jsonl").write_text(lines)
    (folder / "lines.txt").write_text("the cat sat\nthe dog ran\n")
    (folder / "questions.csv").write_text("id;text\n1;the cat\n2;the dog\n")
    (folder / "reviews.csv").write_text("id,body\n1,the cat\n2,the dog\n")
    (folder / "tickets.csv").write_text("text,label\n" + "the cat sat,animal\nhello world,other\n" * 20)
    (folder / "logs").mkdir()
    for name in ("examples", "docs"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "bert_en_uncased").symlink_to(data / "hub_bert")
    with gzip.open(folder / "logs" / "one.jsonl.gz", "wt") as stream:
        stream.write('{"request": {"query": "the cat"}}\n')
    conll = next(re.findall(r"```text\n(.*?)```", text, re.DOTALL)[0] for text in [tagger_page()])
    (folder / "news.conll").write_text("\n".join([conll] * 10), encoding="utf-8")
    return folder


def tagger_page() -> str:
    from docs_pages import text_of

    return text_of("how-to/train-a-tagger.md")


@contextmanager
def session(folder: Path) -> Iterator[Callable[[Block], str]]:
    """A terminal in a folder: runs blocks, with free ports for those of the pages. Servers end with it, or before the
    next server with the same port."""
    ports: dict[str, int] = {}
    running: dict[frozenset[str], subprocess.Popen[str]] = {}
    bin_folder = folder / ".bin"
    bin_folder.mkdir(exist_ok=True)
    command = bin_folder / "rawbert"
    main = "import sys; sys.argv[0] = 'rawbert'; from rawbert.serving.cli import main; main()"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(main)} "$@"\n')
    command.chmod(0o755)
    environment = {**os.environ, "PATH": f"{bin_folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"}
    names: dict[str, object] = {}

    def here(text: str) -> str:
        return re.sub(PORT, lambda port: str(ports.setdefault(port[0], free_port())), text)

    def stop(ports: set[str]) -> None:
        for used in [each for each in running if each & ports]:
            process = running.pop(used)
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)

    def start(line: str, ready: str, port: str) -> None:
        full = line if " --port" in line else f"{line} --port {port}"
        ports = frozenset(re.findall(rf"port[= ]({PORT})", full))
        stop(set(ports))
        process = subprocess.Popen(
            shlex.split(here(full), comments=True), stderr=subprocess.PIPE, text=True, cwd=folder, env=environment
        )
        running[ports] = process
        assert process.stderr is not None
        said = []
        for text in process.stderr:
            said.append(text)
            if ready in text:
                return
        raise AssertionError((line, said))

    def run(block: Block) -> str:
        if block.language == "python":
            with redirect_stdout(StringIO()) as printed:
                exec(compile(here(block.code), "block", "exec"), names)
            return printed.getvalue()
        script, said = "", ""
        for line in [*block.code.splitlines(), ""]:
            ready = next((SERVERS[name] for name in SERVERS if line.startswith(name)), None)
            if ready is None:
                script += f"{line}\n"
            if script.strip() and (ready is not None or not line):
                done = subprocess.run(
                    ["bash", "-euc", here(script)],
                    capture_output=True,
                    text=True,
                    check=False,
                    cwd=folder,
                    env=environment,
                )
                assert done.returncode == 0, (script, done.stdout, done.stderr)
                script, said = "", said + done.stdout
            if ready is not None:
                start(line, *ready)
        return said

    with ExitStack() as stack:
        stack.callback(lambda: stop({port for used in running for port in used}))
        environment["RAWBERT_ADDRESS"] = here("localhost:8500")
        yield run


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def test_labels(folder: Path) -> None:
    (block,) = (each for each in blocks("how-to/roll-out.md") if "rawbert versions" in each.code)
    with session(folder) as run:
        said = run(block)
    assert "stable is now 3 (was 4)" in said
    assert "removed  1" in said


@pytest.mark.slow
@pytest.mark.parametrize("page", STORIES)
def test_the_blocks_of_a_page_run_in_order(page: str, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    ran = [each for each in blocks(page) if each.is_run and (page not in SHELL_ONLY or each.language == "sh")]
    assert ran
    with session(files) as run:
        for line in STORIES[page]:
            run(Block("sh", line, ""))
        for block in ran:
            said = run(block)
            assert block.output in ("", said)
