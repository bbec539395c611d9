"""Growth of cost: throughput and memory by texts per call, text length, and size of the encoder.

The encoders have BERT's published shapes and random weights, because speed and memory do not depend on the values. ONNX
Runtime is measured too: the growth of its memory from loading to a batch is the size of the batch's activations.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .flops import BASE, LARGE, MINILM, Shape
from .peers import Setup
from .worker import Worker, prepare

__all__ = ["LENGTHS", "SHAPES", "SIZES", "grow", "random_checkpoint", "run_watched", "tensorflow_rss"]

SHAPES = {shape.name: shape for shape in (MINILM, BASE, LARGE)}
LENGTHS = (16, 32, 64, 128, 256, 512)
SIZES = (1, 8, 32, 128)
#: Calls with more operations than this are skipped: on a small machine they take minutes.
MOST_FLOPS = 2e12
_CONTESTANTS = ("rawbert", "onnxruntime")


@dataclass(frozen=True)
class Point:
    """One contestant at one length and size: seconds per call (median), and maximum resident memory in bytes."""

    contestant: str
    tokens: int
    size: int
    flops: int
    seconds: float
    peak_rss: int


def grow(shapes: Sequence[str], setup: Setup, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Measure the named shapes of :data:`SHAPES`.

    Returns:
        For each shape: ``weights`` (bytes), ``tensorflow_rss`` (bytes of a process that has imported TensorFlow and
        run one op), ``export`` (seconds, and largest memory of one process and of all), ``loaded``, and ``points``.

    Raises:
        Failed: a contestant failed.
    """
    return [_grow(SHAPES[name], setup, say) for name in shapes]


def _grow(shape: Shape, setup: Setup, say: Callable[[str], None]) -> dict[str, Any]:
    work = setup.work / shape.name
    work.mkdir(parents=True, exist_ok=True)
    source = random_checkpoint(shape, setup.source, work / "checkpoint")
    setup = replace(setup, source=source, work=work, max_tokens=max(LENGTHS), batch=max(SIZES))
    say(f"{shape.name}: exporting")
    exported = _export(setup)
    prepare("onnxruntime", setup)
    texts = {tokens: _text(tokens) for tokens in LENGTHS}
    workers, points = [], []
    try:
        for name in _CONTESTANTS:
            say(f"{shape.name}: loading {name}")
            workers.append(Worker(name, setup))
        # Sorted by tokens, so that memory kept by a library after a large batch does not count for a smaller one.
        cells = sorted(((tokens, size) for tokens in LENGTHS for size in SIZES), key=lambda each: each[0] * each[1])
        for tokens, size in cells:
            flops = shape.total([tokens] * size)
            if flops > MOST_FLOPS:
                continue
            say(f"{shape.name}: {size} x {tokens} tokens")
            for worker in workers:
                call = [texts[tokens]] * size
                measured = worker.measure([call] * (5 if flops < MOST_FLOPS / 20 else 2), [call])
                seconds = statistics.median(measured.seconds)
                points.append(Point(worker.title, tokens, size, flops, seconds, measured.peak_rss))
    finally:
        for worker in workers:
            worker.close()
    return {
        "shape": asdict(shape),
        "weights": (source / "model.safetensors").stat().st_size,
        "tensorflow_rss": tensorflow_rss(),
        "export": exported,
        "loaded": {each.title: asdict(each.loaded) for each in workers},
        "points": [asdict(point) for point in points],
    }


def random_checkpoint(shape: Shape, like: Path, folder: Path) -> Path:
    """A sentence-transformers folder of a shape: random weights, another folder's tokenizer, 512 positions."""
    if (folder / "model.safetensors").is_file():
        return folder
    from safetensors.numpy import save_file

    shutil.rmtree(folder, ignore_errors=True)
    (folder / "1_Pooling").mkdir(parents=True)
    for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "modules.json"):
        shutil.copyfile(like / name, folder / name)
    config = json.loads((like / "config.json").read_text()) | {
        "num_hidden_layers": shape.layers,
        "hidden_size": shape.hidden,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.intermediate,
        "max_position_embeddings": max(LENGTHS),
    }
    pooling = {"word_embedding_dimension": shape.hidden, "pooling_mode_mean_tokens": True}
    for name, content in (
        ("config.json", config),
        ("sentence_bert_config.json", {"max_seq_length": max(LENGTHS)}),
        ("1_Pooling/config.json", pooling),
    ):
        (folder / name).write_text(json.dumps(content))
    random, h, i = np.random.default_rng(0), shape.hidden, shape.intermediate
    tensors: dict[str, np.ndarray] = {}

    def add(name: str, *size: int) -> None:
        # Truncated normal of 0.02 in BERT; layer normalisation starts at 1 and 0.
        value = 0.02 * random.standard_normal(size, np.float32)
        tensors[name] = value + 1 if name.endswith("LayerNorm.weight") else value

    def linear(name: str, inputs: int, outputs: int) -> None:
        add(f"{name}.weight", outputs, inputs)
        add(f"{name}.bias", outputs)

    def norm(name: str) -> None:
        add(f"{name}.LayerNorm.weight", h)
        add(f"{name}.LayerNorm.bias", h)

    for table, size in (("word", config["vocab_size"]), ("position", max(LENGTHS)), ("token_type", 2)):
        add(f"embeddings.{table}_embeddings.weight", size, h)
    norm("embeddings")
    for index in range(shape.layers):
        layer = f"encoder.layer.{index}"
        for part in ("query", "key", "value"):
            linear(f"{layer}.attention.self.{part}", h, h)
        linear(f"{layer}.attention.output.dense", h, h)
        norm(f"{layer}.attention.output")
        linear(f"{layer}.intermediate.dense", h, i)
        linear(f"{layer}.output.dense", i, h)
        norm(f"{layer}.output")
    linear("pooler.dense", h, h)
    # Written last: a folder with weights is complete.
    partial = folder / "model.partial"
    save_file(tensors, partial)
    os.replace(partial, folder / "model.safetensors")
    return folder


def _text(tokens: int) -> str:
    """A text of ``tokens`` tokens, [CLS] and [SEP] included: one repeated word."""
    return " ".join(["word"] * (tokens - 2))


def _export(setup: Setup) -> dict[str, float]:
    """Run ``rawbert export``; see :func:`run_watched`."""
    base = setup.work / f"rawbert-{setup.precision}"
    shutil.rmtree(base, ignore_errors=True)
    command = [
        Path(sys.executable).with_name("rawbert"), "export", setup.source, f"--output={base}", "--version=1",
        "--signatures=embed", "--no-models-config",
    ]  # fmt: skip
    if setup.precision != "float32":
        command.append(f"--precision={setup.precision}")
    return run_watched(command, setup.work / "export.log")


def run_watched(command: Sequence[str | os.PathLike[str]], log: Path) -> dict[str, float]:
    """Run a command: seconds, and maximum resident memory in bytes of one of its processes and of all together.

    Raises:
        RuntimeError: the command failed.
    """
    began, one, together = time.perf_counter(), 0, 0
    with log.open("w") as stream, subprocess.Popen(command, stdout=stream, stderr=stream) as process:
        while process.poll() is None:
            sizes = [_rss(pid) for pid in _tree(process.pid)]
            one, together = max(one, *sizes, 0), max(together, sum(sizes))
            time.sleep(0.05)
    if process.returncode:
        raise RuntimeError(f"{command[0]} failed; see {log}")
    return {"seconds": time.perf_counter() - began, "peak_rss_of_one": one, "peak_rss_of_all": together}


def _tree(pid: int) -> list[int]:
    """A process and all its descendants."""
    try:
        children = [
            int(each) for path in Path(f"/proc/{pid}/task").glob("*/children") for each in path.read_text().split()
        ]
    except OSError:  # it has ended meanwhile
        return []
    return [pid, *(each for child in children for each in _tree(child))]


def _rss(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def tensorflow_rss() -> int:
    """Bytes of resident memory of a process that has imported TensorFlow and run one op."""
    code = "import tensorflow as tf; tf.add(tf.constant([1.0]), 1.0).numpy(); from benchmarks import machine; "
    command, root = [sys.executable, "-c", code + "print(machine.rss())"], Path(__file__).parents[1]
    return int(subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.split()[-1])
