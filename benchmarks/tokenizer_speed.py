"""Speed of the tokenizer in the graph, compared with tokenizers.encode_batch and with a complete call of the model.

    python benchmarks/tokenizer_speed.py FOLDER [--rounds 200] [--profile]

FOLDER: a Hugging Face or sentence-transformers folder. All contestants get the same texts on the same cores; their
rounds alternate, so that a busy machine slows all of them, and the results are medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

ASCII = [
    "How do I reset my password? The link in the mail that you sent me yesterday does not work any more.",
    "The invoice was charged twice to my credit card; please send the second amount back as soon as possible.",
    "TensorFlow Serving answers over gRPC, and the client sends plain strings, short ones and longer ones.",
    "def tokenize(text): return [token for token in text.split() if token not in stop_words]  # a comment",
]
MIXED = [
    "Wie setze ich mein Kennwort zurück? Der Link, den Sie mir gestern geschickt haben, führt ins Leere…",
    "Съешь ещё этих мягких французских булок, да выпей же чаю; 中文字符和 English 混排，全角标点。",
    "The café’s naïve façade – “quoted”, 50 ½ € and ™, 日本語のテキスト、カタカナ。 한국어 텍스트",
    "नमस्ते दुनिया สวัสดี مرحبا שלום ΟΔΥΣΣΕΥΣ και σοφός 👩‍👩‍👧 emoji",
]


def median(contestants: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds per call of each contestant, in alternating rounds."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for count in range(rounds + 10):
        for name, call in contestants.items():
            began = time.perf_counter()
            call()
            if count >= 10:
                seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(each) for name, each in seconds.items()}


def session_call(signature: Any) -> Callable[[Any], Any]:
    """The signature as in a server: a graph in a session, not a function called from Python."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    graph = tf.Graph()
    frozen = convert_variables_to_constants_v2(signature)
    with graph.as_default():
        tf.import_graph_def(frozen.graph.as_graph_def(), name="")
    session = tf.compat.v1.Session(graph=graph)
    return session.make_callable([each.name for each in frozen.outputs], [frozen.inputs[0].name])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--profile", action="store_true", help="time by op, as TensorFlow's profiler counts it")
    arguments = parser.parse_args()

    import numpy as np
    import tensorflow as tf
    from rawbert.exporter import ExportConfig, sources
    from rawbert.exporter.graph import savedmodel
    from rawbert.exporter.resolve import resolve
    from tokenizers import Tokenizer

    checkpoint = sources.load(arguments.folder)
    recipe, checkpoint = resolve(ExportConfig(arguments.folder, arguments.folder / "models"), checkpoint)
    _, module = savedmodel.module(recipe, checkpoint)
    model = "embed" if checkpoint.pooling else "sequence"
    functions = module.functions((model, "tokenize"))
    graph, whole = session_call(functions["tokenize"]), session_call(functions[model])
    peer = Tokenizer.from_file(str(arguments.folder / "tokenizer.json"))
    peer.enable_truncation(checkpoint.max_seq_length)
    peer.enable_padding()

    print(f"{os.cpu_count()} cores, tensorflow {tf.__version__}; median of {arguments.rounds} calls, milliseconds")
    print(f"{'texts':<24}{'graph':>9}{'encode_batch':>14}{'ratio':>8}{model:>10}{'share':>8}")
    for name, texts in (("ASCII", ASCII), ("mixed scripts", MIXED), ("one in eight mixed", [*ASCII * 2, MIXED[0]][1:])):
        for count in (1, 32):
            batch = [texts[at % len(texts)] for at in range(count)]
            fed = np.array([text.encode() for text in batch], object)
            calls = {
                "graph": lambda fed=fed: graph(fed),
                "peer": lambda batch=batch: peer.encode_batch(batch),
                "model": lambda fed=fed: whole(fed),
            }
            took = median(calls, arguments.rounds if count == 1 else arguments.rounds // 2)
            print(
                f"{f'{name}, {count} per call':<24}{took['graph'] * 1e3:9.2f}{took['peer'] * 1e3:14.2f}"
                f"{took['graph'] / took['peer']:8.2f}{took['model'] * 1e3:10.2f}{took['graph'] / took['model']:8.1%}"
            )
            if arguments.profile:
                profile(functions["tokenize"], fed)


def profile(signature: Any, fed: Any) -> None:
    """Print the time of one call by op."""
    import tensorflow as tf
    from tensorflow.core.protobuf import config_pb2
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    frozen, graph = convert_variables_to_constants_v2(signature), tf.Graph()
    with graph.as_default():
        tf.import_graph_def(frozen.graph.as_graph_def(), name="")
    options = config_pb2.RunOptions(trace_level=config_pb2.RunOptions.FULL_TRACE)
    spent: dict[str, list[int]] = {}
    with tf.compat.v1.Session(graph=graph) as session:
        outputs, feed = [each.name for each in frozen.outputs], {frozen.inputs[0].name: fed}
        for _ in range(20):
            session.run(outputs, feed)
        rounds = 20
        for _ in range(rounds):
            metadata = config_pb2.RunMetadata()
            session.run(outputs, feed, options=options, run_metadata=metadata)
            for device in metadata.step_stats.dev_stats:
                for node in device.node_stats:
                    op = node.timeline_label.partition(" = ")[2].partition("(")[0] or node.node_name
                    each = spent.setdefault(op, [0, 0])
                    each[0] += 1
                    each[1] += node.op_end_rel_micros - node.op_start_rel_micros
    for op, (count, micros) in sorted(spent.items(), key=lambda each: -each[1][1])[:12]:
        print(f"      {op:<40}{count / rounds:6.1f} ops{micros / rounds:9.1f} us")


if __name__ == "__main__":
    main()
