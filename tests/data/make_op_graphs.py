"""Write op_graphs.tar.xz: SavedModels with the ops of common tools, and whether each TensorFlow release can run them.

    python make_op_graphs.py write FOLDER                 TensorFlow and tensorflow-text 2.20, tf-models-official,
                                                          keras-hub, sentencepiece
    python make_op_graphs.py judge FOLDER RELEASE         in the environment of each release: load and run each
    python make_op_graphs.py pack FOLDER                  saved_model.pb files and truth.json into op_graphs.tar.xz

The environment of a release has its TensorFlow, with tensorflow-text 2.12.1 for 2.12, 2.20.0 for 2.20, and the matching
release for those between. The matching releases have ops that TensorFlow Serving does not link: there a graph must
load, run, and use only ops of tensorflow-text 2.12.1, whose list ``judge FOLDER 2.12`` writes (so 2.12 comes first).
"""

from __future__ import annotations

import io
import json
import lzma
import os
import sys
import tarfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "cat", "##s", "sat", ".", "[MASK]"]


def write(folder: Path) -> None:
    os.environ["TF_USE_LEGACY_KERAS"] = "1"  # or tf-models' layers are built, and do not save
    import tensorflow as tf
    import tensorflow_text as text

    folder.mkdir(parents=True, exist_ok=True)
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
    # A variable with an attribute that only newer releases of TensorFlow have.
    module = tf.Module()
    module.weight = tf.Variable(2.0, name="weight")
    call = tf.function(lambda x: {"y": module.weight * tf.cast(tf.strings.length(x), tf.float32)})
    signature = call.get_concrete_function(tf.TensorSpec([None], tf.string, name="x"))
    tf.saved_model.save(module, str(folder / "variable_debug_name"), signatures=signature)
    preprocessing(folder, vocab, sentencepieces(folder))


def sentencepieces(folder: Path) -> Path:
    """A tiny SentencePiece model with ALBERT's special tokens."""
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the cats sat .", "a cat and the other cats sat there"] * 30),
        model_prefix=str(folder / "pieces"), vocab_size=40, hard_vocab_limit=False, normalization_rule_name="identity",
        pad_id=0, unk_id=1, bos_id=2, eos_id=3, pad_piece="<pad>", bos_piece="[CLS]", eos_piece="[SEP]",
        user_defined_symbols=["[MASK]"], minloglevel=2,
    )  # fmt: skip
    return folder / "pieces.model"


def preprocessing(folder: Path, vocab: Path, pieces: Path) -> None:
    """Models of other tools: tf-models' export_preprocessing in several layouts, keras-hub, SentencePiece."""
    import keras_hub
    import tensorflow as tf
    import tensorflow_text as text
    from official.nlp.modeling import layers
    from official.nlp.tools import export_tfhub_lib

    layouts = {
        "uncased_offsets": (vocab, {"do_lower_case": True, "tokenize_with_offsets": True, "default_seq_length": 128}),
        "cased": (vocab, {"do_lower_case": False, "tokenize_with_offsets": False, "default_seq_length": 16}),
        "sentencepiece": (pieces, {"do_lower_case": True, "tokenize_with_offsets": False, "default_seq_length": 128}),
        "no_assert": (vocab, {"do_lower_case": True, "tokenize_with_offsets": False, "default_seq_length": 16,
                              "experimental_disable_assert": True}),
    }  # fmt: skip
    for name, (tokens, settings) in layouts.items():
        copy = folder / f"copy-{tokens.name}"  # which the tool moves away
        copy.write_bytes(tokens.read_bytes())
        kind = "vocab_file" if tokens is vocab else "sp_model_file"
        export_tfhub_lib.export_preprocessing(str(folder / f"tf_models_{name}"), **{kind: str(copy)}, **settings)
    # Two segments, as the model cards on TF Hub pack them.
    sentences = [tf.keras.Input((), dtype=tf.string, name=name) for name in ("first", "second")]
    tokenize = layers.BertTokenizer(vocab_file=str(vocab), lower_case=True)
    for truncator in ("round_robin", "waterfall"):
        pack = layers.BertPackInputs(16, special_tokens_dict=tokenize.get_special_tokens_dict(), truncator=truncator)
        model = tf.keras.Model(sentences, pack([tokenize(each) for each in sentences]))
        model.save(str(folder / f"tf_models_pair_{truncator}"), include_optimizer=False, save_format="tf")

    data = pieces.read_bytes()
    sentencepiece, fast = text.SentencepieceTokenizer(data), text.FastSentencepieceTokenizer(data)
    multi = keras_hub.layers.MultiSegmentPacker(sequence_length=8, start_value=2, end_value=3)
    single = keras_hub.layers.StartEndPacker(sequence_length=8, start_value=2, end_value=3)
    wordpiece = keras_hub.tokenizers.WordPieceTokenizer(VOCAB, lowercase=True, oov_token="[UNK]")
    pair = text.BertTokenizer(str(vocab), token_out_type=tf.int32, lower_case=True)

    def ids(x):
        return pair.tokenize(x).merge_dims(1, -1)

    graphs = {
        "sentencepiece": lambda x: sentencepiece.tokenize(x).to_tensor(),
        "sentencepiece_offsets": lambda x: sentencepiece.tokenize_with_offsets(x)[1].to_tensor(),
        "sentencepiece_detokenize": lambda x: sentencepiece.detokenize(sentencepiece.tokenize(x)),
        "fast_sentencepiece": lambda x: fast.tokenize(x).to_tensor(),
        "keras_hub_pair": lambda x: multi((ids(x), ids(x)))[0],
        "keras_hub_single": lambda x: single(ids(x)),
        "keras_hub_wordpiece": lambda x: wordpiece(x).to_tensor(),
    }
    for name, body in graphs.items():
        module = tf.Module()
        module.kept = [pair, sentencepiece, fast]

        def call(x, body=body):
            return {"y": body(x)}

        signature = tf.function(call).get_concrete_function(tf.TensorSpec([None], tf.string, name="x"))
        tf.saved_model.save(module, str(folder / name), signatures=signature)


def judge(folder: Path, release: str) -> None:
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    before = _registered()
    import tensorflow_text

    registered = _registered() - before
    if release in ("2.12", "2.20"):
        (folder / f"text-{release}.json").write_text(json.dumps(sorted(registered)))
    linked = set(json.loads((folder / f"text-{'2.20' if release == '2.20' else '2.12'}.json").read_text()))
    print(release, tf.__version__, tensorflow_text.__version__, file=sys.stderr)
    truth = {}
    for path in sorted(each for each in folder.iterdir() if (each / "saved_model.pb").exists()):
        state = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
        try:
            # TensorFlow Serving imports the whole graph into a session; tf.saved_model.load does not.
            with tf.Graph().as_default(), tf.compat.v1.Session() as session:
                meta_graph = tf.compat.v1.saved_model.load(session, ["serve"], str(path))
                signature = meta_graph.signature_def["serving_default"]
                texts = {info.name: ["the cats sat."] for info in signature.inputs.values()}
                session.run([info.name for info in signature.outputs.values()], texts)
            unlinked = _run(state.meta_graphs[0].graph_def) & registered - linked
            truth[path.name] = not unlinked
            reason = f"not linked: {sorted(unlinked)}"
        except Exception as error:
            truth[path.name] = False
            reason = str(error)[:200].replace("\n", " ")
        if not truth[path.name]:
            print(path.name, reason)
    (folder / f"truth-{release}.json").write_text(json.dumps(truth))


def _run(graph) -> set[str]:
    """Ops of the main graph, and of all functions that it calls, directly or through other functions."""
    functions = {function.signature.name: function for function in graph.library.function}
    ops, waiting, seen = set(), [graph.node], set()
    while waiting:
        for node in waiting.pop():
            ops.add(node.op)
            named = {node.op, *(value.func.name for value in node.attr.values())}
            named |= {each.name for value in node.attr.values() for each in value.list.func}
            for name in (named & functions.keys()) - seen:
                seen.add(name)
                waiting.append(functions[name].node_def)
    return ops


def _registered() -> set[str]:
    from tensorflow.core.framework import op_def_pb2
    from tensorflow.python.client import pywrap_tf_session

    data = pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList())
    return {op.name for op in op_def_pb2.OpList.FromString(data).op}


def pack(folder: Path) -> None:
    truth = {path.stem.partition("-")[2]: json.loads(path.read_text()) for path in sorted(folder.glob("truth-*.json"))}
    with tarfile.open(Path(__file__).with_name("op_graphs.tar.xz"), "w:xz", preset=9 | lzma.PRESET_EXTREME) as archive:
        files = {f"{path.parent.name}.pb": path.read_bytes() for path in sorted(folder.glob("*/saved_model.pb"))}
        files["truth.json"] = json.dumps(truth, indent=1).encode()
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


if __name__ == "__main__":
    command, target, *rest = sys.argv[1:]
    {"write": write, "judge": judge, "pack": pack}[command](Path(target), *rest)
