"""Versions that appear in and disappear from the base path of a server with one model."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import base_paths
import pytest
import servers
from cases import END, Code, refused, row, until


@pytest.fixture
def served(program: Any, paths: Path, tmp_path: Path) -> Iterator[tuple[Any, Path]]:
    """Calls to a server of version 1 of the model half, and its base path."""
    base = tmp_path / "half"
    base_paths.publish(paths / "half" / "1", base, "1")
    flags = [*base_paths.QUICK, "--model_name=half", f"--model_base_path={base}", "--enable_model_warmup=false"]
    with servers.running(program, *flags) as calls:
        yield calls, base


def walk_through_versions(calls: Any, paths: Path, base: Path) -> None:
    """The statements of the page about the versions of one model, in order."""
    two = paths / "half" / "2"
    assert calls.half() == 1
    # A new version takes over, and the old one goes.
    base_paths.publish(two, base, "2")
    until(lambda: calls.available("half") == [2])
    assert calls.half() == 2
    refused(lambda: calls.half(version=1), Code.NOT_FOUND, "Servable not found for request: Specific(half, 1)")
    # A broken version does not; its state stays when it is deleted.
    (base / "3").mkdir()
    until(lambda: (3, END, 5) in calls.status("half"))
    assert "does not appear to contain a SavedModel bundle" in calls.statuses("half", 3)[0].status.error_message
    assert str(base / "3") in calls.statuses("half", 3)[0].status.error_message
    assert calls.half() == 2
    (base / "3").rmdir()
    # The newest version is deleted: the one before is loaded again.
    shutil.rmtree(base / "2")
    until(lambda: calls.available("half") == [1])
    assert calls.half() == 1
    assert (3, END, 5) in calls.status("half")
    # The base path is deleted: nothing is unloaded.
    base.rename(base.with_name("aside"))
    time.sleep(2.2)
    assert calls.half() == 1
    base.with_name("aside").rename(base)
    # The only version is deleted: it is unloaded.
    shutil.rmtree(base / "1")
    until(lambda: not calls.available("half"))
    refused(calls.half, Code.NOT_FOUND, "Servable not found for request: Latest(half)")
    # All spellings of a version's name.
    calls.reload(base_paths.config(base.parent, "half", "all {}"))
    for name in ("001", "+4", " 5", "0", "-1", "v7", "8.0"):
        base_paths.publish(two, base, name)
    until(lambda: calls.available("half") == [5, 4, 1, 0, -1])
    assert {version for version, _, _ in calls.status("half")}.isdisjoint({7, 8})


@row("Versions", "A new version is loaded before the old one is unloaded")
def test_versions(served: tuple[Any, Path], paths: Path) -> None:
    calls, base = served
    walk_through_versions(calls, paths, base)
