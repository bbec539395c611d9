"""The programs in examples/ run on models with known answers."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
CONFIG = 'model_config_list { config { name: "minilm" base_path: "/models/minilm" model_platform: "tensorflow" } }'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three versions: vectors of the second and third have the same directions, those of the first have others."""
    sys.path.insert(0, str(ROOT / "tests" / "serving"))
    import toy_models

    models = tmp_path_factory.mktemp("examples") / "models"
    toy_models.save_numbers_model(models / "minilm" / "1", 1)
    toy_models.save_text_model(models / "minilm" / "2", scale=2.0)
    toy_models.save_text_model(models / "minilm" / "3")
    (models / "models.config").write_text(CONFIG)
    for version, label in ((2, "stable"), (3, "canary")):
        rawbert("promote", str(models / "minilm"), str(version), "--version-label", label)
    return models


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    from rawbert.serving.server import EmbeddedServer

    with EmbeddedServer(
        model_config_file=folder / "models.config",
        model_config_file_poll_wait_seconds=1,
        allow_version_labels_for_unavailable_models=True,
    ) as server:
        yield server.address


def rawbert(*words: str) -> str:
    from click.testing import CliRunner
    from rawbert.serving.cli.app import rawbert

    done = CliRunner().invoke(rawbert, words)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def example(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    return importlib.import_module(request.param)


def run(example: ModuleType, monkeypatch: pytest.MonkeyPatch, *words: object) -> object:
    monkeypatch.setattr(sys, "argv", [f"{example.__name__}.py", *map(str, words)])
    return example.main()


@pytest.mark.parametrize("example", ["semantic_search"], indirect=True)
def test_semantic_search(example, address, tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "texts" / "more").mkdir(parents=True)
    (tmp_path / "texts" / "a.md").write_text("# Short\n\nzzzz zzzz zzzz zzzz\n\nthe cat sat on it\n")
    (tmp_path / "texts" / "more" / "b.txt").write_text("!!!! !!!! !!!! !!!!\n")
    words = ["--address", address]
    run(example, monkeypatch, *words, "index", tmp_path / "texts", "--output", tmp_path / "index.npz")
    run(example, monkeypatch, *words, "ask", tmp_path / "index.npz", "the cat sat on it", "--count", "2")
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith("3 paragraphs")
    assert second == "1.000  a.md: the cat sat on it"
    assert third.split()[1] in ("a.md:", "more/b.txt:")
    (tmp_path / "none").mkdir()
    with pytest.raises(SystemExit, match=r"no \.md or \.txt"):
        run(example, monkeypatch, *words, "index", tmp_path / "none", "--output", tmp_path / "index.npz")


@pytest.mark.parametrize("example", ["fastapi_service"], indirect=True)
def test_fastapi(example, address, monkeypatch) -> None:
    import toy_models
    from starlette.testclient import TestClient

    monkeypatch.setenv("RAWBERT_ADDRESS", address)
    with TestClient(example.app) as client:
        answer = client.post("/embed", json={"texts": ["the cat", ""]})
        assert answer.status_code == 200
        expected = [toy_models.embedding(b"the cat"), toy_models.embedding(b"")]
        assert answer.json()["version"] == 3
        np.testing.assert_allclose(answer.json()["embeddings"], expected, rtol=1e-6)
        assert client.get("/healthz").json()["versions"]
        assert client.post("/embed", json={"texts": ["x" * 10_001]}).status_code == 422
    monkeypatch.setenv("RAWBERT_MODEL", "nope")
    with TestClient(example.app) as client:
        answer = client.post("/embed", json={"texts": ["the cat"]})
        assert (answer.status_code, "nope" in answer.json()["detail"]) == (502, True)


@pytest.mark.parametrize("example", ["embed_parquet"], indirect=True)
def test_embed_parquet(example, address, tmp_path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    import toy_models
    from rawbert.serving import Client

    texts = ["the cat", None, "", "a dog", "hello"]
    pq.write_table(pa.table({"id": range(5), "body": texts}), tmp_path / "pages.parquet")
    with Client(address, model="minilm", version=3) as client:
        done = example.embed_file(client, tmp_path / "pages.parquet", tmp_path / "out.parquet", "body", rows=2)
        with pytest.raises(SystemExit, match="no column 'text', but id, body"):
            example.embed_file(client, tmp_path / "pages.parquet", tmp_path / "other.parquet", "text")
    assert done == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.parquet", "pages.parquet"]
    table = pq.read_table(tmp_path / "out.parquet").to_pydict()
    assert table["id"] == list(range(5))
    for text, vector in zip(texts, table["embedding"], strict=True):
        assert (vector is None) == (not text)
        if text:
            np.testing.assert_allclose(vector, toy_models.embedding(text.encode()), rtol=1e-6)


@pytest.mark.parametrize("example", ["canary"], indirect=True)
def test_canary(example, address, folder, tmp_path, monkeypatch, capfd) -> None:
    (tmp_path / "texts.txt").write_text("\n".join(f"{number}" for number in range(40)))
    words = [folder / "minilm", tmp_path / "texts.txt", "--address", address, "--max-slowdown", "1000"]
    assert run(example, monkeypatch, *words) == 0
    assert "version 3: smallest cosine 1.0" in capfd.readouterr().out
    rawbert("promote", str(folder / "minilm"), "1", "--version-label", "canary")
    from rawbert.serving import Client

    with Client(address, model="minilm", version_label="canary") as client:
        end = time.monotonic() + 60
        while client.embed(["1"], return_version=True)[1] != 1:  # the server reads models.config each second
            assert time.monotonic() < end
            time.sleep(0.1)
    assert run(example, monkeypatch, *words) == 1
    text = (folder / "models.config").read_text()
    assert dict(re.findall(r'key: "(\w+)"\s+value: (\d+)', text)) == {"stable": "3", "canary": "3"}


@pytest.mark.parametrize("example", ["rerank"], indirect=True)
def test_rerank(example, address, task_models, tmp_path, monkeypatch, capsys) -> None:
    from rawbert.serving import Client
    from rawbert.serving.server import EmbeddedServer

    documents = ["the cat sat", "the dog ran", "hello world", "zzzz"]
    with (
        EmbeddedServer("reranker", task_models / "reranker") as server,
        Client(address, model="minilm", version=3) as embedder,
        Client(server.address, model="reranker") as reranker,
    ):
        found = example.search(embedder, reranker, documents, "the cat", 3, 2)
        scores = {text: reranker.score([("the cat", text)])[0] for text in documents[:3]}
    assert [each.document for each in found] == sorted(scores, key=scores.get, reverse=True)[:2]


CLIENTS = ROOT / "examples" / "clients"
#: Folders of the libraries of Debian's golang-google-grpc-dev and libgrpc-java.
GO, JARS = Path("/usr/share/gocode"), Path("/usr/share/java")


def output_of(*command: object, **environment: str) -> str:
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def require_vectors(said: str, texts: list[str]) -> None:
    """Each line has the length of a vector and its first three numbers."""
    import toy_models

    lines = said.splitlines()
    assert len(lines) == len(texts)
    for line, text in zip(lines, texts, strict=True):
        length, *numbers = re.findall(r"[\d.]+", line)
        assert int(length) == toy_models.DIM
        np.testing.assert_allclose([float(each) for each in numbers], toy_models.embedding(text.encode()), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(
    not (shutil.which("go") and shutil.which("protoc-gen-go-grpc") and (GO / "src/google.golang.org/grpc").exists()),
    reason="Go, its plug-in of protoc or its gRPC module is not installed",
)
def test_the_go_client_compiles(tmp_path: Path) -> None:
    """The program is only compiled: Debian's packages of gRPC and of protobuf are not compatible at run time."""
    folder = tmp_path / "src" / "example.com" / "rawbert"
    folder.mkdir(parents=True)
    shutil.copy(CLIENTS / "go" / "main.go", folder)
    output_of("sh", CLIENTS / "go" / "generate.sh", folder)
    settings = {"GO111MODULE": "off", "GOPATH": f"{tmp_path}:{GO}", "GOCACHE": str(tmp_path / "cache")}
    output_of("go", "build", "-o", tmp_path / "client", "example.com/rawbert", **settings)
    assert (tmp_path / "client").stat().st_size > 1e6


@pytest.mark.slow
@pytest.mark.skipif(
    not (
        shutil.which("javac")
        and shutil.which("grpc_java_plugin")
        and all((JARS / each).exists() for each in ("grpc-netty.jar", "netty-transport.jar", "perfmark-api.jar"))
    ),
    reason="Java, its plug-in of protoc or its libraries of gRPC are not installed",
)
def test_the_java_client(address: str, tmp_path: Path) -> None:
    (tmp_path / "sources").mkdir()
    output_of("sh", CLIENTS / "java" / "generate.sh", tmp_path / "sources")
    sources = [*(tmp_path / "sources").rglob("*.java"), CLIENTS / "java" / "Embed.java"]
    output_of("javac", "-d", tmp_path / "classes", "-cp", f"{JARS}/*", *sources)
    said = output_of("java", "-cp", f"{tmp_path / 'classes'}:{JARS}/*", "Embed", address, "minilm", "the cat", "a")
    require_vectors(said, ["the cat", "a"])
