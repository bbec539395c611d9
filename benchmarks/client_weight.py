"""Size and speed of the plain client: ``python -m benchmarks.client_weight``. It prints one JSON object.

The wheel is built and installed, without extras, into an empty virtual environment: this needs a package index. The
time to decode an answer is compared with TensorFlow's own decoder, which this environment must have.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
_TIMED = "import time; begun = time.perf_counter(); {}; print(time.perf_counter() - begun)"
_ROUNDS = 9


def main() -> None:
    """Measure, and print."""
    with tempfile.TemporaryDirectory() as folder:
        python = install(Path(folder))
        print(json.dumps({**installed(python), **decoding()}, indent=2))


def install(folder: Path) -> Path:
    """The Python of an environment with only the plain wheel."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT)], check=True)
    (wheel,) = folder.glob("rawbert-*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    subprocess.run([*pip, "--python", str(python), "install", str(wheel)], check=True)
    return python


def installed(python: Path) -> dict[str, Any]:
    """Installed size, import time compared with that of the requirements, and whether TensorFlow is imported."""

    def run(code: str) -> str:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        done = subprocess.run(
            [python, "-c", code], capture_output=True, text=True, check=True, env=environment, cwd="/"
        )
        return done.stdout.strip()

    packages = Path(run("import sysconfig; print(sysconfig.get_path('purelib'))"))
    times: dict[str, list[float]] = {"import grpc, numpy": [], "import rawbert.serving": []}
    for _ in range(_ROUNDS):  # in turn, so that a busy machine slows both
        for statement, taken in times.items():
            taken.append(float(run(_TIMED.format(statement))))
    needed, own = (min(taken) for taken in times.values())
    heavy = run("import sys, rawbert.serving; print('tensorflow' in sys.modules)")
    return {
        "installed_mb": round(sum(path.stat().st_size for path in packages.rglob("*") if path.is_file()) / 1e6, 1),
        "import_seconds": round(own, 3),
        "import_ratio": round(own / needed, 2),
        "imports_tensorflow": heavy == "True",
    }


def decoding() -> dict[str, Any]:
    """Decoding time of a batch of token vectors, float32 [64, 128, 384], and that of ``tf.make_ndarray``."""
    import tensorflow as tf
    from rawbert.serving.wire.messages import predict_answer
    from tensorflow_serving.apis import predict_pb2

    values = np.random.default_rng(0).random((64, 128, 384), np.float32)
    response = predict_pb2.PredictResponse()
    response.outputs["sequence_output"].CopyFrom(tf.make_tensor_proto(values))
    response.outputs["sequence_output"].ClearField("tensor_content")
    response.outputs["sequence_output"].float_val.extend(values.ravel())  # as TensorFlow Serving writes it
    data = response.SerializeToString()

    def official() -> Any:
        return tf.make_ndarray(predict_pb2.PredictResponse.FromString(data).outputs["sequence_output"])

    def own() -> Any:
        return predict_answer(data)[0]["sequence_output"]

    np.testing.assert_array_equal(official(), own())
    slow, fast = _median(official), _median(own)
    return {
        "decode_official_ms": round(1000 * slow, 1),
        "decode_ms": round(1000 * fast, 2),
        "decode_ratio": round(slow / fast, 1),
    }


def _median(call: Callable[[], Any]) -> float:
    taken = []
    for _ in range(_ROUNDS):
        begun = time.perf_counter()
        call()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


if __name__ == "__main__":
    main()
