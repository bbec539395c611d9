"""The proof: faults are planted in a SavedModel on disk, in its weights and in its graph, and each must be refused."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from proofs import Loaded, Planted, resolved
from rawbert.exporter import VerificationError
from rawbert.exporter.proof import verify
from rawbert.exporter.sources.checkpoint import PoolingRecipe

RECIPE = PoolingRecipe(("mean",), ("normalize",))


def task(folder: Path, data: Path, *signatures: str, **changes: Any) -> verify.Task:
    """Compare with tiny_bert; embed is the normalized mean."""
    recipe, _ = resolved(data / "tiny_bert", signatures=signatures, pooling="mean", normalize=True)
    return verify.Task(folder, dataclasses.replace(recipe, **changes), data / "tiny_bert")


@dataclasses.dataclass
class Parts:
    """The parts of a module; a fault changes one of them. The functions change the results of the true parts."""

    checkpoint: Any
    tokenizer: Any
    config: Any
    recipe: PoolingRecipe = RECIPE
    tokens: Callable = lambda encoding: encoding
    attention_mask: Callable = lambda mask: mask
    pooling_mask: Callable = lambda mask: mask
    zero_padding: bool = True

    def module(self):
        import tensorflow as tf
        from rawbert.exporter.graph.encoder import NativeEncoder
        from rawbert.exporter.graph.heads import HEADS
        from rawbert.exporter.graph.signatures import ServingModule

        parts = self

        class Encoder(tf.Module):
            def __init__(self):
                super().__init__()
                self.native = NativeEncoder(parts.config, parts.checkpoint.weights)

            def __call__(self, ids, mask, types=None):
                return self.native(ids, parts.attention_mask(mask), types)

        class Tokenizer(tf.Module):
            def __init__(self):
                super().__init__()
                self.graph = parts.tokenizer

            def __call__(self, text):
                return parts.tokens(self.graph(text))

        checkpoint = dataclasses.replace(self.checkpoint, pooling=self.recipe)
        heads = {name: HEADS[name](checkpoint) for name in ("embed", "pooled", "sequence", "tokenize")}
        embed = heads["embed"].embed
        heads["embed"] = lambda tokens, encoder: [embed(encoder(tokens)[0], parts.pooling_mask(tokens.input_mask))]
        if not self.zero_padding:
            heads["sequence"] = lambda tokens, encoder: [encoder(tokens)[0], *heads["tokenize"](tokens, encoder)]
        return ServingModule(Tokenizer(), Encoder(), heads)


@pytest.fixture(scope="module")
def parts(checkpoint, tiny_tokenizer) -> Parts:
    return Parts(checkpoint, tiny_tokenizer, checkpoint.encoder)


@pytest.fixture(scope="module")
def sound(parts: Parts, checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel without a fault, with the signature sequence."""
    from rawbert.exporter.graph import savedmodel

    folder = tmp_path_factory.mktemp("sound") / "1"
    savedmodel.write(parts.module(), ("sequence",), checkpoint, folder)
    return folder


def test_a_sound_model_is_accepted_on_every_signature(parts: Parts, checkpoint, data: Path, tmp_path: Path):
    from rawbert.exporter.graph import savedmodel

    names = ("embed", "pooled", "sequence", "tokenize")
    savedmodel.write(parts.module(), names, checkpoint, tmp_path / "1")
    report = verify.compare(task(tmp_path / "1", data, *names))
    assert report.mismatches == []
    verify.require(report)
    assert report.texts >= 20
    assert set(report.outputs) == {"embed.embedding", "pooled.pooled_output", "sequence.sequence_output"}
    for figures in report.outputs.values():
        assert 0 < figures.max_abs <= 1e-5 * max(1, figures.largest_reference)
        assert figures.min_cosine >= 0.99999


# Faults in the weights: the variables on disk are rewritten.


def plant(folder: Path, change: Callable[[dict[str, np.ndarray]], Any]) -> None:
    """Rewrite a SavedModel's variables; ``change`` gets them by the native encoder's names."""
    import tensorflow as tf

    prefix = folder / "variables" / "variables"
    reader = tf.train.load_checkpoint(str(prefix))
    tensors = {key: reader.get_tensor(key) for key in reader.get_variable_to_shape_map()}
    names = _names(folder)
    weights = {name: np.array(tensors[key]) for name, key in names.items()}
    change(weights)
    tensors.update({names[name]: value for name, value in weights.items()})
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=[tf.constant(value) for value in tensors.values()],
    )


def _names(folder: Path) -> dict[str, str]:
    """A SavedModel's variables: the native encoder's name of each -> its key on disk."""
    import tensorflow as tf

    keys = tf.train.load_checkpoint(str(folder / "variables" / "variables")).get_variable_to_shape_map()
    found = {key: re.search(r"_weights/(.+)/\.ATTRIBUTES", key) for key in keys}
    return {match[1].replace(".S", "/"): key for key, match in found.items() if match}


def plant_constants(folder: Path, *changes: tuple[np.ndarray, np.ndarray]) -> None:
    """Change constants of a SavedModel, which contain weights with one axis: pairs of the old and the new value."""
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    path = folder / "saved_model.pb"
    saved_model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    planted = set()
    for function in saved_model.meta_graphs[0].graph_def.library.function:
        for node in function.node_def:
            value = tf.make_ndarray(node.attr["value"].tensor) if node.op == "Const" else None
            for at, (was, now) in enumerate(changes):
                if value is not None and np.array_equal(value, was):
                    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(now))
                    planted.add(at)
    assert len(planted) == len(changes)
    path.write_bytes(saved_model.SerializeToString())


def swap(weights: dict, one: str, other: str) -> None:
    weights[one], weights[other] = weights[other], weights[one]


def two_layers_swapped(weights: dict) -> None:
    for name in list(weights):
        if name.startswith("layer_0/"):
            swap(weights, name, name.replace("layer_0", "layer_1"))


def query_and_key_swapped(weights: dict) -> None:
    query, key, value = np.split(weights["layer_1/attention/qkv/kernel"], 3, axis=1)
    weights["layer_1/attention/qkv/kernel"] = np.concatenate([key, query, value], axis=1)


def attention_scaled_twice(weights: dict) -> None:
    weights["layer_0/attention/qkv/kernel"][:, :32] /= 8**0.5


def kernel_transposed(weights: dict) -> None:
    weights["layer_1/attention/output/kernel"] = weights["layer_1/attention/output/kernel"].T


WEIGHT_FAULTS = {
    "one number changed": lambda w: w["layer_2/intermediate/kernel"].__setitem__((3, 5), 0.5),
    "one weight swapped for another layer's": lambda w: swap(w, "layer_0/output/kernel", "layer_2/output/kernel"),
    "two layers swapped": two_layers_swapped,
    "a kernel transposed": kernel_transposed,
    "query and key swapped": query_and_key_swapped,
    "attention scaled twice": attention_scaled_twice,
    "positions off by one": lambda w: w.update({"embeddings/position": np.roll(w["embeddings/position"], 1, axis=0)}),
    "two words swapped": lambda w: w["embeddings/word"].__setitem__([5, 6], w["embeddings/word"][[6, 5]]),
    "segment embedding left out": lambda w: w["embeddings/type"].fill(0),
    "NaN": lambda w: w["embeddings/word"].__setitem__(13, np.nan),
    "infinity": lambda w: w["layer_2/output/kernel"].__setitem__((0, 0), np.inf),
}  # fmt: skip


def gamma_and_beta_swapped(weights: dict) -> list[tuple[np.ndarray, np.ndarray]]:
    gamma, beta = (weights[f"embeddings/layer_norm/{leaf}"] for leaf in ("gamma", "beta"))
    return [(gamma, beta), (beta, gamma)]


def left_out(weight: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(weight, np.zeros_like(weight))]


CONSTANT_FAULTS = {
    "gamma and beta swapped": gamma_and_beta_swapped,
    "a bias left out": lambda w: left_out(w["layer_0/attention/output/bias"]),
}


@pytest.fixture(scope="module")
def loaded(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    folder = tmp_path_factory.mktemp("loaded") / "1"
    return Loaded(Planted(data / "tiny_bert", folder, signatures=("sequence",)))


@pytest.mark.parametrize("fault", WEIGHT_FAULTS)
def test_a_fault_in_the_weights_is_refused(loaded: Loaded, fault: str):
    report = loaded.report(WEIGHT_FAULTS[fault])
    assert report.mismatches
    assert all(line.startswith("sequence.sequence_output is off by") for line in report.mismatches)
    assert loaded.report(lambda weights: None).mismatches == []  # or that would say nothing


@pytest.mark.parametrize("fault", ["one number changed", "NaN"])
def test_a_fault_in_the_weights_on_disk_is_refused(sound: Path, data: Path, tmp_path: Path, fault: str):
    folder = shutil.copytree(sound, tmp_path / "1")
    plant(folder, WEIGHT_FAULTS[fault])
    report = verify.compare(task(folder, data, "sequence"))
    assert report.mismatches
    assert all(line.startswith("sequence.sequence_output is off by") for line in report.mismatches)


@pytest.mark.parametrize("fault", CONSTANT_FAULTS)
def test_a_fault_in_the_constants_is_refused(sound: Path, checkpoint, data: Path, tmp_path: Path, fault: str):
    folder = shutil.copytree(sound, tmp_path / "1")
    plant_constants(folder, *CONSTANT_FAULTS[fault](checkpoint.weights))
    report = verify.compare(task(folder, data, "sequence"))
    assert report.mismatches
    assert all(line.startswith("sequence.sequence_output is off by") for line in report.mismatches)


def test_a_graph_that_fails_is_refused(sound: Path, checkpoint, data: Path, tmp_path: Path):
    folder = shutil.copytree(sound, tmp_path / "1")
    bias = checkpoint.weights["layer_0/attention/output/bias"]
    plant_constants(folder, (bias, bias[:-1]))
    with pytest.raises(VerificationError, match=r"sequence fails for \d+ texts?"):
        verify.compare(task(folder, data, "sequence"))


def test_weights_written_anew_without_a_fault_are_accepted(sound: Path, data: Path, tmp_path: Path):
    """Without this, the test above would prove nothing."""
    folder = shutil.copytree(sound, tmp_path / "1")
    plant(folder, lambda weights: None)
    assert verify.compare(task(folder, data, "sequence")).mismatches == []


# Faults in the graph.


def all_ones(mask):
    import tensorflow as tf

    return tf.ones_like(mask)


def shifted(encoding):
    return encoding._replace(start_offsets=encoding.start_offsets + 1, limit_offsets=encoding.limit_offsets + 1)


def counted_after_the_cut(encoding):
    import tensorflow as tf

    return encoding._replace(token_count=tf.reduce_sum(encoding.input_mask, 1))


def without_sep(encoding):
    import tensorflow as tf

    return encoding._replace(input_word_ids=tf.where(encoding.input_word_ids == 3, 1, encoding.input_word_ids))


#: Signature, expected mismatch, and change of a part.
GRAPH_FAULTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "tanh for erf GELU": ("sequence", "sequence.sequence_output is off", {"config": {"activation": "gelu_tanh"}}),
    "a larger epsilon": ("sequence", "sequence.sequence_output is off", {"config": {"layer_norm_eps": 1e-3}}),
    "twice the heads": ("sequence", "sequence.sequence_output is off", {"config": {"num_heads": 8}}),
    "mask ignored in attention": ("sequence", "sequence.sequence_output is off", {"attention_mask": all_ones}),
    "padding not zeroed": ("sequence", "sequence.sequence_output is not zero in padding", {"zero_padding": False}),
    "wrong pooling": ("embed", "embed.embedding is off", {"recipe": PoolingRecipe(("cls",), ("normalize",))}),
    "mask ignored in pooling": ("embed", "embed.embedding is off", {"pooling_mask": all_ones}),
    "normalisation left out": ("embed", "embed.embedding is off", {"recipe": PoolingRecipe(("mean",))}),
    "offsets shifted": ("tokenize", "tokenize.start_offsets is", {"tokens": shifted}),
    "count of the cut text": ("tokenize", "tokenize.token_count is 64, but", {"tokens": counted_after_the_cut}),
    "[SEP] left out": ("tokenize", "tokenize.input_word_ids is", {"tokens": without_sep}),
    "lower case left out": ("tokenize", "tokenize.input_word_ids is", {"rules": {"lowercase": False}}),
    "a word's id changed": ("tokenize", "tokenize.input_word_ids is", {"rules": {"unk_token": "a"}}),
    "cut one token early": ("tokenize", "tokenize.input_word_ids is", {"max_seq_length": 63}),
}  # fmt: skip


@pytest.mark.parametrize("fault", GRAPH_FAULTS)
def test_a_fault_in_the_graph_is_refused(
    parts: Parts, checkpoint, tokenizer_of, data: Path, tmp_path: Path, fault: str
):
    from rawbert.exporter.graph import savedmodel

    signature, refused, changes = GRAPH_FAULTS[fault]
    changes = dict(changes)
    if "config" in changes:
        changes["config"] = dataclasses.replace(parts.config, **changes["config"])
    rules = dataclasses.replace(checkpoint.tokenizer, **changes.pop("rules", {}))
    changes["tokenizer"] = tokenizer_of(rules, changes.pop("max_seq_length", 64))
    savedmodel.write(dataclasses.replace(parts, **changes).module(), (signature,), checkpoint, tmp_path / "1")
    report = verify.compare(task(tmp_path / "1", data, signature))
    assert any(line.startswith(refused) for line in report.mismatches), report.mismatches


# Messages of the proof.


def test_a_mismatch_names_the_output_the_amount_and_the_text(sound: Path, checkpoint, data: Path, tmp_path: Path):
    folder = shutil.copytree(sound, tmp_path / "1")
    beta = checkpoint.weights["layer_2/output/layer_norm/beta"]
    plant_constants(folder, (beta, beta + np.float32(0.5)))
    report = verify.compare(task(folder, data, "sequence"))
    with pytest.raises(VerificationError, match="nothing was published") as caught:
        verify.require(report)
    assert len(caught.value.mismatches) == report.texts
    assert re.search(
        r"sequence\.sequence_output is off by 0\.5 \(allowed \S+\), cosine 0\.\d+ \(at least 0\.99999\), "
        r"on 'The quick brown fox",
        str(caught.value),
    )
    assert report.outputs["sequence.sequence_output"].max_abs == pytest.approx(0.5, abs=1e-3)


def test_the_tolerance_decides(sound: Path, checkpoint, data: Path, tmp_path: Path):
    folder = shutil.copytree(sound, tmp_path / "1")
    beta = checkpoint.weights["layer_2/output/layer_norm/beta"]
    plant_constants(folder, (beta, beta + np.float32(1e-3)))
    assert verify.compare(task(folder, data, "sequence")).mismatches
    assert not verify.compare(task(folder, data, "sequence", tolerance=1e-2)).mismatches


def test_missing_and_unexpected_signatures_are_refused(sound: Path, data: Path):
    (line,) = verify.compare(task(sound, data, "sequence", "tokenize")).mismatches
    assert line == "signatures are ['sequence', 'serving_default'], not ['sequence', 'serving_default', 'tokenize']"


def test_a_process_that_fails_is_no_approval(sound: Path, data: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(verify.sys, "executable", shutil.which("false"))
    with pytest.raises(VerificationError, match=r"failed to run \(exit status 1\)"):
        verify.prove(task(sound, data, "sequence"))
    monkeypatch.setattr(verify.sys, "executable", shutil.which("true"))
    with pytest.raises(VerificationError, match=r"failed to run \(exit status 0\)"):
        verify.prove(task(sound, data, "sequence"))
