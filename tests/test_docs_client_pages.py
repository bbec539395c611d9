"""The Python code on the pages of the client and of the tasks runs in order, with a server."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from docs_pages import ROOT, blocks, text_of


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    sys.path.insert(0, str(ROOT / "tests" / "serving"))
    import toy_models
    from rawbert.serving.server import EmbeddedServer

    folder = tmp_path_factory.mktemp("docs")
    toy_models.save_text_model(folder / "minilm" / "1")
    with EmbeddedServer("minilm", folder / "minilm") as server:
        yield server.address


@pytest.mark.parametrize("page", ["reference/client.md", "reference/deadlines.md"])
def test_code_runs(page: str, address: str) -> None:
    run(page, address)


def run(page: str, address: str) -> None:
    namespace: dict[str, object] = {}
    ran = [each for each in blocks(page) if each.language == "python" and each.is_run]
    assert ran
    for block in ran:
        exec(compile(block.code.replace("localhost:8500", address), page, "exec"), namespace)


@pytest.mark.parametrize(("page", "model"), [("classify", "sentiment"), ("tag", "ner"), ("rerank", "reranker")])
def test_code_of_tasks_runs(page: str, model: str, task_models: Path) -> None:
    from rawbert.serving.server import EmbeddedServer

    with EmbeddedServer(model, task_models / model) as server:
        run(f"how-to/{page}.md", server.address)


def test_every_method_is_on_the_page() -> None:
    from rawbert.serving import Client

    text = text_of("reference/client.md")
    for name in vars(Client):
        if not name.startswith("_") and callable(getattr(Client, name)):
            assert re.search(rf"`{name}\(|\.{name}\(", text), name
