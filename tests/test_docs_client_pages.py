"""The Python code on the pages of the client and of the tasks is run, in order, on a server."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"(?P<skip><!-- not run -->\n)?```python\n(?P<code>.*?)```", re.DOTALL)


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
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    blocks = list(BLOCK.finditer(text))
    assert any(not block["skip"] for block in blocks)
    namespace: dict[str, object] = {}
    for block in blocks:
        code = compile(block["code"].replace("localhost:8500", address), page, "exec")
        if not block["skip"]:
            exec(code, namespace)


@pytest.mark.parametrize(("page", "model"), [("classify", "sentiment"), ("tag", "ner"), ("rerank", "reranker")])
def test_code_of_tasks_runs(page: str, model: str, task_models: Path) -> None:
    from rawbert.serving.server import EmbeddedServer

    with EmbeddedServer(model, task_models / model) as server:
        run(f"how-to/{page}.md", server.address)


def test_every_method_is_on_the_page() -> None:
    from rawbert.serving import Client

    text = (ROOT / "docs" / "reference" / "client.md").read_text(encoding="utf-8")
    for name in vars(Client):
        if not name.startswith("_") and callable(getattr(Client, name)):
            assert re.search(rf"`{name}\(|\.{name}\(", text), name
