"""The server under test: ``--model-server PATH`` names a program, ``--server-address`` a running server."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "serving"))  # toy_models, wire


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--model-server", metavar="PATH", help="a tensorflow_model_server program")
    parser.addoption("--server-address", metavar="HOST:PORT", help="a server of the models that servers.py writes")
    parser.addoption("--rest-address", metavar="HOST:PORT", help="where the same server answers HTTP")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "row(section, text): words of tensorflow-serving.md that a case checks")
    config.addinivalue_line("markers", "unsourced: no case itself")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Check that every case states the source of its expectation, and that the page contains it."""
    import cases

    sections = cases.sections()
    for item in items:
        if item.path.parent != Path(__file__).parent or item.get_closest_marker("unsourced"):
            continue
        mark = item.get_closest_marker("row")
        if mark is None or mark.args[1] not in sections.get(mark.args[0], ""):
            found = f"{mark.args} is not in docs/explanation/tensorflow-serving.md" if mark else "it names no row"
            raise pytest.UsageError(f"{item.nodeid}: {found}")


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest) -> Any:
    import servers

    option = request.config.getoption
    return servers.Target.of(option("--model-server", None), option("--server-address", None))


@pytest.fixture(scope="session")
def program(target: Any) -> Any:
    """The same for cases that start their own servers."""
    if target.address:
        pytest.skip("this case starts its own server")
    return target


@pytest.fixture(scope="session")
def paths(tiny_bundle: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base paths of base_paths.py."""
    import base_paths

    return base_paths.write(tmp_path_factory.mktemp("congruence"), tiny_bundle.path)


@pytest.fixture(scope="session")
def plain(target: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Calls to a server of all models, without batching; cases must not change its models."""
    import base_paths
    import servers

    if target.address:
        with servers.Calls(target.address, target.rawbert, rest=request.config.getoption("--rest-address")) as calls:
            yield calls
        return
    with servers.running(target, *base_paths.plain_flags(request.getfixturevalue("paths"))) as calls:
        yield calls


@pytest.fixture
def rest(plain: Any) -> Any:
    """The same calls over HTTP; skips if the server has no REST API."""
    if not plain.rest:
        pytest.skip("the server's REST API is unknown: give --rest-address")
    return plain


@pytest.fixture(scope="session")
def batched(program: Any, paths: Path) -> Iterator[Any]:
    """The same with batching by a parameters file: at most 4 rows, after 50 ms. Answers are in tensor_content."""
    import base_paths
    import servers

    with servers.running(program, *base_paths.batched_flags(paths)) as calls:
        yield calls


@pytest.fixture(scope="session")
def golden(data: Path) -> tuple[list[str], list[list[int]], dict[str, Any]]:
    """Texts, their token ids, and their vectors by pooling mode, computed by the model that the bundle exports."""
    import numpy as np

    cases = json.loads((data / "tiny_pooling_golden.json").read_text())["cases"]
    arrays = np.load(data / "tiny_pooling_golden.npz")
    return [case["text"] for case in cases], [case["input_ids"] for case in cases], dict(arrays)
