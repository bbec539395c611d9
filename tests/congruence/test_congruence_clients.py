"""Third-party clients, each in a separate environment, because they need other releases of protobuf.

Give the interpreters of these environments in RAWBERT_OVMSCLIENT (``pip install ovmsclient``) and in
RAWBERT_MIN_TFS_CLIENT (``pip install min-tfs-client "protobuf<3.21"``).
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import row


def _ask(client: str, variable: str, address: str, texts: list[str]) -> Any:
    interpreter = os.environ.get(variable)
    if not interpreter:
        pytest.skip(f"{variable} is not set: the interpreter of an environment with {client}")
    result = subprocess.run(
        [interpreter, str(Path(__file__).with_name("foreign.py")), client, address],
        input=json.dumps(texts), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@row("Signatures", "Third-party clients")
def test_ovmsclient(plain: Any, golden: Any) -> None:
    texts, _, arrays = golden
    answer = _ask("ovmsclient", "RAWBERT_OVMSCLIENT", plain.address, texts)
    assert answer["half"] == [[[3]], [[4]]]
    np.testing.assert_allclose(answer["embeddings"], arrays["mean_dense_normalize"], atol=1e-5)
    assert answer["state"] == "AVAILABLE"
    assert answer["metadata"] == [1, "DT_FLOAT", [-1, 1]]
    assert "Servable not found for request: Specific(half, 9)" in answer["refusal"]


@row("Signatures", "Third-party clients")
def test_min_tfs_client(plain: Any, golden: Any) -> None:
    texts, _, arrays = golden
    answer = _ask("min-tfs-client", "RAWBERT_MIN_TFS_CLIENT", plain.address, texts)
    assert answer["half"] == [[[3]], [[4]], [[4]]]
    np.testing.assert_allclose(answer["embeddings"], arrays["mean_dense_normalize"], atol=1e-5)
    assert answer["refusal"] == "NOT_FOUND: Servable not found for request: Specific(half, 9)"
