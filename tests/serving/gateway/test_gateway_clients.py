"""Unmodified third-party clients, in a separate environment, get the same vectors and scores as the gRPC client.

The code of docs/how-to/gateway.md runs there too. scripts/environments.py creates the environment with the packages
that clients.txt pins (400 MB) in build/environments (or in the folder RAWBERT_ENVIRONMENTS), and keeps it there.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_gateway_command import gateway

sys.path.insert(0, str(Path(__file__).parents[3] / "scripts"))
import environments

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).parent
PAGE = (ROOT / "docs" / "how-to" / "gateway.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
#: The page's code for third-party clients.
THEIRS = [code for code in BLOCKS if "rawbert" not in code]
GIVEN = json.loads((HERE / "given.json").read_text(encoding="utf-8"))


def test_our_code_of_the_page_runs(backend: Any) -> None:
    from fastapi.testclient import TestClient

    (code,) = (code for code in BLOCKS if code not in THEIRS)
    names: dict[str, Any] = {}
    exec(code.replace("localhost:8500", backend.address).replace("minilm", "text"), names)
    answer = TestClient(names["app"]).post(
        "/bert/v1/embeddings", json={"input": "a", "model": "text-embedding-3-small"}
    )
    assert answer.status_code == 200


@pytest.fixture(scope="module")
def python() -> Path:
    folder = Path(os.environ.get("RAWBERT_ENVIRONMENTS") or environments.FOLDER)
    return environments.of_others("gateway-clients", HERE / "clients.txt", folder=folder)


@pytest.fixture(scope="module")
def address(minilm_bundle: Any, task_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of all-MiniLM-L6-v2, and of a small reranker."""
    from rawbert.serving.server import EmbeddedServer

    paths = {"minilm": minilm_bundle.base_path, "reranker": task_models / "reranker"}
    lines = [
        f'config {{ name: "{name}" base_path: "{path}" model_platform: "tensorflow" }}' for name, path in paths.items()
    ]
    file = tmp_path_factory.mktemp("served") / "models.config"
    file.write_text(f"model_config_list {{ {' '.join(lines)} }}", encoding="utf-8")
    with EmbeddedServer(model_config_file=str(file)) as server:
        yield server.address


def run(python: Path, *words: str) -> Any:
    """The last line of a program's output, parsed as JSON."""
    apart = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    silent = {"HAYSTACK_TELEMETRY_ENABLED": "false", "NO_PROXY": "127.0.0.1,localhost"}
    done = subprocess.run([python, *words], capture_output=True, text=True, check=False, env={**apart, **silent})
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def grpc_vectors(address: str, texts: list[str]) -> np.ndarray:
    from rawbert.serving import Client

    with Client(address, model="minilm") as client:
        return client.embed(texts)


def grpc_ranks(address: str) -> list[list[Any]]:
    from rawbert.serving import Client

    with Client(address, model="reranker") as client:
        return [[each.index, each.score] for each in client.rerank(GIVEN["query"], GIVEN["documents"])]


def assert_equal(found: Any, expected: np.ndarray, name: str) -> None:
    """All bits are equal, because these clients send all texts in one request, as our client did."""
    assert np.array_equal(np.array(found, np.float64), expected.astype(np.float64)), name


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_client_gets_the_vectors_of_the_grpc_client(python: Path, address: str) -> None:
    more = ["-m", "minilm", "-m", "reranker", "--alias", "alias=minilm", "--api-key", GIVEN["key"]]
    with gateway("-a", address, *more) as running:
        found = run(python, str(HERE / "clients.py"), running.url)
    expected = grpc_vectors(address, GIVEN["texts"])
    for name in ("openai_base64", "openai_floats", "langchain", "llama_index", "hugging_face", "llama_index_tei"):
        assert_equal(found[name], expected, name)
    assert_equal(found["haystack"], grpc_vectors(address, [text for text in GIVEN["texts"] if text]), "haystack")
    one_by_one = np.concatenate([grpc_vectors(address, [text]) for text in GIVEN["texts"]])
    assert_equal(found["openai_async"], one_by_one, "openai_async")
    cut = expected[:, :8].astype(np.float64)
    unit = cut / np.linalg.norm(cut, axis=1, keepdims=True)
    np.testing.assert_allclose(found["openai_dimensions"], unit, rtol=0, atol=1e-7)
    assert found["openai_models"] == ["minilm", "reranker", "alias"]
    errors = found["openai_errors"]
    assert [each[:3] for each in errors] == [
        ["AuthenticationError", "invalid_api_key", None],
        ["NotFoundError", "model_not_found", "model"],
        ["BadRequestError", None, "input"],
        ["BadRequestError", "empty_input", "input"],
        ["BadRequestError", "unsupported_model", "model"],
    ]
    assert "check_embedding_ctx_length=False" in errors[2][3]
    assert found["rerankers"] == grpc_ranks(address)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_code_of_the_page(python: Path, address: str, tmp_path: Path) -> None:
    texts = ["plain strings go in", "vectors come out"]
    expected = grpc_vectors(address, texts)
    assert len(THEIRS) == 8
    with gateway("-a", address, "-m", "minilm", "-m", "reranker") as running:
        for code in THEIRS:
            name = "vectors" if "vectors =" in code else "ranked"
            shown = f"import json\nprint(json.dumps({name}, default=lambda array: array.tolist()))\n"
            script = tmp_path / "page.py"
            script.write_text(f"{code.replace('http://localhost:8080', running.url)}\n{shown}", encoding="utf-8")
            found = run(python, str(script))
            if name == "vectors":
                assert_equal(found, expected, code)
            else:
                assert found == grpc_ranks(address)[:2], code
