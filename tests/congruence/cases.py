"""Shared code of the cases: the source of an expectation, and comparisons of answers with it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

Code = grpc.StatusCode
INVALID = Code.INVALID_ARGUMENT

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "tensorflow-serving.md"

START, LOADING, AVAILABLE, UNLOADING, END = 10, 20, 30, 40, 50


def row(section: str, text: str) -> pytest.MarkDecorator:
    """The source of a case's expectation: words that must be in a section of the page."""
    return pytest.mark.row(section, text)


def sections() -> dict[str, str]:
    """Heading -> text of the section, with single spaces."""
    parts = PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
    return {part.partition("\n")[0]: " ".join(part.partition("\n")[2].split()) for part in parts}


def refusal(call: Callable[[], Any]) -> tuple[Code, str]:
    """Status and message of a call that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), caught.value.details()


def refused(call: Callable[[], Any], code: Code, message: str = "") -> None:
    """Check that the call ends with this status, and with a message that begins like this."""
    found = refusal(call)
    assert found[0] is code, found
    assert found[1].startswith(message), found


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for a condition: a server polls each second, and may load several versions."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
