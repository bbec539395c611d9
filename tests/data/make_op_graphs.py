"""Make op_graphs.tar.xz: SavedModels with the ops that people meet, and what TensorFlow itself says of each.

    python make_op_graphs.py write FOLDER                 in an environment with TensorFlow and tensorflow-text 2.20
    python make_op_graphs.py judge FOLDER RELEASE         in the environment of each release: load and run each
    python make_op_graphs.py pack FOLDER                  saved_model.pb files and truth.json into op_graphs.tar.xz

``judge`` loads tensorflow_text where it is installed. For releases between 2.12 and 2.20 it is not (their own wheels
have ops that TensorFlow Serving does not link): what needs it is then judged by the op list of tensorflow-text 2.12.1,
which ``judge FOLDER 2.12`` leaves behind, and the rest by loading.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "cat", "##s", "sat", "."]


def write(folder: Path) -> None:
    import tensorflow as tf
    import tensorflow_text as text

    vocab = folder / "vocab.txt"
    vocab.write_text("".join(f"{token}\n" for token in VOCAB), encoding="utf-8")
    table = tf.lookup.StaticVocabularyTable(
        tf.lookup.KeyValueTensorInitializer(VOCAB, tf.range(len(VOCAB), dtype=tf.int64)), 1
    )
    bert = text.BertTokenizer(table, token_out_type=tf.int32, lower_case=True)
    fast_bert = text.FastBertTokenizer(VOCAB, token_out_type=tf.int32, lower_case_nfd_strip_accents=True)
    wordpiece = text.FastWordpieceTokenizer(VOCAB, token_out_type=tf.int32)

    def flat(tokens):
        return tokens.merge_dims(-2, -1) if tokens.ragged_rank > 1 else tokens

    def trimmed(trimmer, tokens):
        return trimmer.trim([tokens, tokens])[0].to_tensor()

    def packed(tokens):
        combined, types = text.combine_segments([tokens], start_of_sequence_id=2, end_of_segment_id=3)
        ids, mask = text.pad_model_inputs(combined, 8)
        return ids + mask + text.pad_model_inputs(types, 8)[0]

    def deep(x):
        @tf.function
        def third(y):
            return trimmed(text.RoundRobinTrimmer(4), flat(wordpiece.tokenize(y)))

        @tf.function
        def second(y):
            return tf.cond(tf.size(y) > 0, lambda: third(y), lambda: third(tf.constant(["cat"])))

        @tf.function
        def first(y):
            return second(y) + 1

        return first(x)

    graphs = {
        "round_robin_trim": lambda x: trimmed(text.RoundRobinTrimmer(4), flat(wordpiece.tokenize(x))),
        "round_robin_masks": lambda x: tf.cast(
            text.RoundRobinTrimmer(4).generate_mask([flat(wordpiece.tokenize(x))])[0].to_tensor(), tf.int32
        ),
        "three_functions_deep": deep,
        "fast_bert_normalize": lambda x: flat(fast_bert.tokenize(x)).to_tensor(),
        "bert_tokenizer": lambda x: flat(bert.tokenize(x)).to_tensor(),
        "bert_packed": lambda x: packed(flat(bert.tokenize(x))),
        "fast_wordpiece": lambda x: flat(wordpiece.tokenize(x)).to_tensor(),
        "waterfall_trim": lambda x: trimmed(text.WaterfallTrimmer(4), flat(wordpiece.tokenize(x))),
        "whitespace": lambda x: text.WhitespaceTokenizer().tokenize(x).to_tensor(),
        "unicode_script": lambda x: text.UnicodeScriptTokenizer().tokenize(x).to_tensor(),
        "regex_split": lambda x: text.regex_split(x, r"\s").to_tensor(),
        "normalize_utf8": lambda x: text.normalize_utf8(text.case_fold_utf8(x), "NFKC"),
        "sentence_breaker": lambda x: text.StateBasedSentenceBreaker().break_sentences(x).to_tensor(),
        "ngrams": lambda x: text.ngrams(
            text.WhitespaceTokenizer().tokenize(x), 2, reduction_type=text.Reduction.STRING_JOIN
        ).to_tensor(),
        "hash": lambda x: tf.strings.to_hash_bucket_fast(x, 7),
        "py_function": lambda x: tf.py_function(lambda y: y, [x], tf.string),
        "xla_compiled": lambda x: tf.function(lambda y: y * 2, jit_compile=True)(
            tf.cast(tf.strings.length(x), tf.float32)
        ),
        "half_plus_two": lambda x: 0.5 * tf.cast(tf.strings.length(x), tf.float32) + 2.0,
    }
    for name, body in graphs.items():
        module = tf.Module()
        module.table = table

        def call(x, body=body):
            return {"y": body(x)}

        signature = tf.function(call).get_concrete_function(tf.TensorSpec([None], tf.string, name="x"))
        tf.saved_model.save(module, str(folder / name), signatures=signature)
    # A variable, written by a TensorFlow that gives it an attribute that older ones lack.
    module = tf.Module()
    module.weight = tf.Variable(2.0, name="weight")
    call = tf.function(lambda x: {"y": module.weight * tf.cast(tf.strings.length(x), tf.float32)})
    signature = call.get_concrete_function(tf.TensorSpec([None], tf.string, name="x"))
    tf.saved_model.save(module, str(folder / "variable_debug_name"), signatures=signature)


def judge(folder: Path, release: str) -> None:
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    before = _registered()
    try:
        import tensorflow_text  # noqa: F401

        text_ops = sorted(_registered() - before)
        (folder / f"text-{release}.json").write_text(json.dumps(text_ops))
    except ImportError:
        text_ops = None
    all_text = set(json.loads((folder / "text-2.20.json").read_text())) if release != "2.20" else set(text_ops)
    linked = set(text_ops if text_ops is not None else json.loads((folder / "text-2.12.json").read_text()))
    truth = {}
    for path in sorted(each for each in folder.iterdir() if (each / "saved_model.pb").exists()):
        state = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
        graph = state.meta_graphs[0].graph_def
        ops = {node.op for nodes in (graph.node, *(f.node_def for f in graph.library.function)) for node in nodes}
        if text_ops is None and ops & all_text:
            truth[path.name] = ops & all_text <= linked
            continue
        try:
            # A session, which imports the whole graph, is how TensorFlow Serving loads; tf.saved_model.load is not.
            with tf.Graph().as_default(), tf.compat.v1.Session() as session:
                meta_graph = tf.compat.v1.saved_model.load(session, ["serve"], str(path))
                signature = meta_graph.signature_def["serving_default"]
                session.run(signature.outputs["y"].name, {signature.inputs["x"].name: ["the cats sat."]})
            truth[path.name] = True
        except Exception as error:
            print(path.name, str(error)[:200].replace("\n", " "))
            truth[path.name] = False
    (folder / f"truth-{release}.json").write_text(json.dumps(truth))


def _registered() -> set[str]:
    from tensorflow.core.framework import op_def_pb2
    from tensorflow.python.client import pywrap_tf_session

    data = pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList())
    return {op.name for op in op_def_pb2.OpList.FromString(data).op}


def pack(folder: Path) -> None:
    truth = {path.stem.partition("-")[2]: json.loads(path.read_text()) for path in sorted(folder.glob("truth-*.json"))}
    with tarfile.open(Path(__file__).with_name("op_graphs.tar.xz"), "w:xz") as archive:
        files = {f"{path.parent.name}.pb": path.read_bytes() for path in sorted(folder.glob("*/saved_model.pb"))}
        files["truth.json"] = json.dumps(truth, indent=1).encode()
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


if __name__ == "__main__":
    command, target, *rest = sys.argv[1:]
    {"write": write, "judge": judge, "pack": pack}[command](Path(target), *rest)
