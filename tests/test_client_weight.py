"""The plain client is light: limits of its installed size, import time and decoding time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_plain_wheel_is_light() -> None:
    """It needs a package index."""
    command = [sys.executable, "-m", "benchmarks.client_weight"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["installed_mb"] <= 110, found
    assert found["import_ratio"] <= 1.5, found
    assert not found["imports_tensorflow"], found
    assert found["decode_ratio"] >= 25, found
