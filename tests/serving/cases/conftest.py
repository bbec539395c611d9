"""Servers of the numbers model on each of both sides, and the command with such a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from command import Done, rawbert


@pytest.fixture
def server(side: Any) -> Iterator[Any]:
    """A server that records its calls, and refuses them if a test wants it; see watched.py."""
    with side.numbers() as server:
        yield server


@pytest.fixture
def embed(server: Any) -> Callable[..., Done]:
    """``rawbert embed`` with this server, in this process."""

    def embed(*arguments: Any, at: Any = server, **settings: Any) -> Done:
        return rawbert("embed", "--address", at.address, "--model", "m", *arguments, **settings)

    return embed
