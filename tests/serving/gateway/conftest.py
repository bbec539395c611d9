"""A gateway in this process, and its server, whose answers can be computed by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def backend() -> Iterator[Any]:
    """A server of the official stubs with the models ``text`` (version 3, label stable), ``tasks`` and ``hub``."""
    from official_models import HUB, TASKS, TOY
    from official_server import Official

    with Official({"text": TOY, "tasks": TASKS, "hub": HUB}) as server:
        yield server


@pytest.fixture(scope="session")
def http(backend: Any) -> Iterator[Any]:
    """A client of a gateway with the models ``text`` and ``tasks`` and the given aliases."""
    from fastapi.testclient import TestClient
    from rawbert.serving.gateway import create_app

    aliases = {"text-embedding-3-small": "text", "stable": "text@stable", "BAAI/three": "text@3", "gone": "text@9"}
    with TestClient(create_app(backend.address, models=["text", "tasks"], aliases=aliases)) as client:
        yield client
