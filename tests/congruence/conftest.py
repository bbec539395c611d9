"""Which server the cases are held to: ``--model-server PATH`` a program, ``--server-address`` one that runs already."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "serving"))  # toy_models, wire


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--model-server", metavar="PATH", help="a tensorflow_model_server program")
    parser.addoption("--server-address", metavar="HOST:PORT", help="a running server of the models of servers.py")


@pytest.fixture(scope="session")
def program(request: pytest.FixtureRequest) -> str | None:
    """The server program; ``None`` is rawbert serve."""
    if request.config.getoption("--server-address", None):
        pytest.skip("this case starts a server of its own")
    found: str | None = request.config.getoption("--model-server", None)
    return found


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import servers

    return servers.write_models(tmp_path_factory.mktemp("congruence"))


@pytest.fixture(scope="session")
def plain(request: pytest.FixtureRequest, models: Path) -> Iterator[Any]:
    """Calls to a server of all models, not batched; what it serves is not changed."""
    import servers

    address = request.config.getoption("--server-address", None)
    if address:
        yield servers.Calls(address)
        return
    with servers.running(request.config.getoption("--model-server", None), *servers.plain_flags(models)) as calls:
        yield calls


@pytest.fixture(scope="session")
def batched(program: str | None, models: Path) -> Iterator[Any]:
    """The same, batched: at most 4 rows, after 50 ms."""
    import servers

    flags = [*servers.plain_flags(models), *servers.batched_flags(models)]
    with servers.running(program, *flags) as calls:
        yield calls
