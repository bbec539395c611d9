"""The heads of fine-tuned folders: layers, names and settings, and messages of refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fine_tuned import CLASSES, MODELS, folder_of, tensors_of
from folders import edit, retensor, tiny
from formats import unpack
from proofs import resolved
from rawbert.exporter import ConfigError, CorruptSource, UnsupportedModel, sources
from rawbert.exporter.proof.reference import FolderReference

Change = Callable[[Path], Any]


def config(**changes: Any) -> Change:
    return lambda folder: edit(folder / "config.json", **changes)


def tensors(change: Callable[[dict[str, np.ndarray]], Any]) -> Change:
    return lambda folder: retensor(folder, change)


def renamed(old: str, new: str) -> Change:
    return tensors(lambda t: {name.replace(old, new) if name.startswith(old) else name: v for name, v in t.items()})


def names(*labels: Any) -> dict[str, Any]:
    return {str(at): label for at, label in enumerate(labels)}


@pytest.mark.parametrize("model", MODELS)
def test_the_layers_are_those_of_the_class(tmp_path: Path, model: str):
    family, task, count = model.split(".")
    head = sources.load(folder_of(model, tmp_path / "model")).head
    stored = tensors_of(model)
    takes = "tokens" if task == "Token" else "pooled" if family == "bert" else "first"
    own = {"distilbert": "relu", "electra": "gelu", "mpnet": "tanh"}
    activations = ["identity"] if takes != "first" else [own[family], "identity"]
    assert (head.takes, [layer.activation for layer in head.layers]) == (takes, activations)
    first = {"distilbert": "pre_classifier", "electra": "classifier.dense", "mpnet": "classifier.dense"}
    last = "classifier" if task == "Token" or family in ("bert", "distilbert") else "classifier.out_proj"
    for layer, name in zip(head.layers, [*([first[family]] if takes == "first" else []), last], strict=True):
        np.testing.assert_array_equal(layer.kernel, stored[f"{name}.weight"].T)
        np.testing.assert_array_equal(layer.bias, stored[f"{name}.bias"])
    assert head.labels == tuple(f"L{at}" for at in range(int(count)))
    assert not head.pair


PROBLEMS = {
    (1, None): ("score", "sigmoid"),
    (1, "regression"): ("score", "identity"),
    (1, "multi_label_classification"): ("classify", "sigmoid"),
    (2, None): ("classify", "softmax"),
    (2, "single_label_classification"): ("classify", "softmax"),
    (2, "multi_label_classification"): ("classify", "sigmoid"),
    (2, "regression"): ("classify", "identity"),
}


@pytest.mark.parametrize(("count", "problem"), PROBLEMS)
def test_signature_and_activation_go_by_the_problem(tmp_path: Path, count: int, problem: str | None):
    folder = folder_of(f"bert.Sequence.{count}", tmp_path / "model", problem_type=problem)
    head = sources.load(folder).head
    assert (head.signature, head.activation) == PROBLEMS[count, problem]
    reference = FolderReference(folder, 64).labels  # the reference has its own code
    output = "score" if head.signature == "score" else "scores"
    assert (reference.output, reference.activation, reference.names) == (output, head.activation, head.labels)


def test_labels_that_are_not_named_are_numbered_and_that_is_said(tmp_path: Path):
    folder = folder_of("bert.Sequence.77", tmp_path / "model")
    edit(folder / "config.json", id2label=...)
    _, checkpoint = resolved(folder)
    assert checkpoint.head.labels == tuple(f"LABEL_{at}" for at in range(77))
    assert any(
        "has no names of labels (id2label): they are numbered, LABEL_0 to LABEL_76" in each for each in checkpoint.notes
    )
    assert FolderReference(folder, 64).labels.names == checkpoint.head.labels
    _, checkpoint = resolved(folder, signatures=("pooled",))
    assert not any("LABEL" in note for note in checkpoint.notes)


def test_labels_may_come_in_any_order_and_be_numbers(tmp_path: Path):
    folder = folder_of("bert.Sequence.2", tmp_path / "model")
    edit(folder / "config.json", id2label={"1": "yes | no\n", "0": 7}, label2id={"7": 1, "yes | no\n": 0})
    head = sources.load(folder).head
    assert head.labels == ("7", "yes | no\n") == FolderReference(folder, 64).labels.names
    assert any("label2id of config.json contradicts id2label" in note for note in head.notes)
    edit(folder / "config.json", id2label=names("x", "x"), label2id=...)
    assert any("several labels the same name: x" in note for note in sources.load(folder).head.notes)


PREFIXES: dict[str, Change] = {
    "none": tensors(lambda t: {name.removeprefix("bert."): value for name, value in t.items()}),
    "of a training loop": tensors(lambda t: {f"model.{name}": value for name, value in t.items()}),
    "and copies": tensors(lambda t: {**t, **{f"ema.{name}": value * 2 for name, value in t.items()}}),
}


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("model", ["bert.Sequence.2", "bert.Token.9"])
def test_whatever_the_prefix(tmp_path: Path, prefix: str, model: str):
    folder = folder_of(model, tmp_path / "model")
    PREFIXES[prefix](folder)
    wanted = tensors_of(model)["classifier.weight"]
    np.testing.assert_array_equal(sources.load(folder).head.layers[-1].kernel, wanted.T)
    np.testing.assert_array_equal(FolderReference(folder, 64).tensors["classifier.weight"], wanted)


@pytest.mark.parametrize("family", ["bert", "distilbert", "electra"])
def test_heads_of_tensorflow_models_are_read(tmp_path: Path, family: str):
    import h5py

    folder = unpack(tmp_path) / ("h5" if family == "bert" else f"{family}-h5")
    model = f"{family}.Sequence.2"
    edit(
        folder / "config.json", architectures=[f"{CLASSES[family]}ForSequenceClassification"], id2label=names("a", "b")
    )
    with h5py.File(folder / "tf_model.h5", "a") as stream:
        for name, value in tensors_of(model).items():
            layer, leaf = name.replace(".", "/").rsplit("/", 1)
            path = f"{layer.partition('/')[0]}/tf_{family}_for_sequence_classification/{layer}"
            stream[f"{path}/{'kernel' if leaf == 'weight' else 'bias'}:0"] = value.T
    head, reference = sources.load(folder).head, FolderReference(folder, 64)
    assert reference.labels.names == head.labels == ("a", "b")
    output = "classifier.out_proj" if family == "electra" else "classifier"
    for leaf, value in (("weight", head.layers[-1].kernel.T), ("bias", head.layers[-1].bias)):
        np.testing.assert_array_equal(value, tensors_of(model)[f"{output}.{leaf}"])
        np.testing.assert_array_equal(reference.tensors[f"{output}.{leaf}"], value)
    assert reference([2, 76, 3])["scores"].shape == (2,)


REFUSED: dict[str, tuple[str, Change, type[Exception], str]] = {
    "no weights": (
        "bert.Sequence.2", renamed("classifier.weight", "other"), CorruptSource,
        "model.safetensors: the tensor classifier.weight is missing; BertForSequenceClassification needs it"),
    "no bias": (
        "bert.Token.9", renamed("classifier.bias", "other"), CorruptSource,
        "the tensor classifier.bias is missing; BertForTokenClassification needs it"),
    "no layer of its own": (
        "distilbert.Sequence.2", renamed("pre_classifier.", "x."), CorruptSource, "pre_classifier.weight is missing"),
    "no pooler": (
        "bert.Sequence.2", renamed("bert.pooler.", "other."), CorruptSource,
        "the pooler's tensors are missing; BertForSequenceClassification needs them"),
    "another width": (
        "bert.Sequence.2", tensors(lambda t: {**t, "classifier.weight": np.ones((2, 31), np.float32)}), CorruptSource,
        r"classifier.weight has shape \[2, 31\] and its bias \[2\], which does not fit vectors of 32"),
    "another bias": (
        "bert.Sequence.2", tensors(lambda t: {**t, "classifier.bias": np.ones(3, np.float32)}), CorruptSource,
        r"which does not fit vectors of 32"),
    "NaN": (
        "electra.Sequence.2",
        tensors(lambda t: {**t, "classifier.out_proj.bias": np.array([0, np.nan], np.float32)}), CorruptSource,
        r"classifier.out_proj.bias contains values that are not finite"),
    "whole numbers": (
        "bert.Sequence.2", tensors(lambda t: {**t, "classifier.weight": np.ones((2, 32), np.int8)}), UnsupportedModel,
        "classifier.weight is I8; floating-point weights can be exported"),
    "too many labels": (
        "bert.Sequence.2", config(id2label=names("a", "b", "c")), CorruptSource,
        "id2label names 3 labels, but the head's weights are for 2"),
    "too few labels": (
        "bert.Token.9", config(id2label=names("a")), CorruptSource,
        "id2label names 1 labels, but the head's weights are for 9"),
    "a number that does not fit": (
        "bert.Sequence.2", config(id2label=..., num_labels=3), CorruptSource,
        "num_labels is 3, but the head's weights are for 2"),
    "a gap": (
        "bert.Sequence.2", config(id2label={"0": "a", "2": "b"}), CorruptSource, "not an object with the keys 0, 1, 2"),
    "a list": ("bert.Sequence.2", config(id2label=["a", "b"]), CorruptSource, "id2label is .*, not an object"),
    "no name": ("bert.Sequence.2", config(id2label=names("a", "")), CorruptSource, "id2label 1 is '', not the name"),
    "no text": ("bert.Sequence.2", config(id2label=names("a", None)), CorruptSource, "id2label 1 is None, not the"),
    "no Unicode": (
        "bert.Sequence.2", config(id2label=names("a", "\ud800")), CorruptSource, r"id2label 1 is '\\ud800', not the"),
    "another problem": (
        "bert.Sequence.2", config(problem_type="ranking"), UnsupportedModel,
        "problem_type is 'ranking'; set it to regression, single_label_classification"),
    "one label of one": (
        "bert.Sequence.1", config(problem_type="single_label_classification"), CorruptSource,
        "single_label_classification, but there is one label"),
    "another activation": (
        "bert.Sequence.1", config(sentence_transformers={"activation_fn": "torch.nn.modules.activation.Tanh"}),
        UnsupportedModel, "activation_fn is torch.nn.modules.activation.Tanh; torch's Identity, Sigmoid, Softmax can"),
    "an activation that is no name": (
        "bert.Sequence.1", config(sbert_ce_default_activation_function=3), CorruptSource, "is 3, not the name of"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_broken_is_refused_by_name(tmp_path: Path, case: str):
    model, change, error, message = REFUSED[case]
    folder = folder_of(model, tmp_path / "model")
    change(folder)
    with pytest.raises(error, match=message) as caught:
        sources.load(folder)
    assert str(tmp_path) in str(caught.value)


# Other tasks.


@pytest.mark.parametrize("task", ["QuestionAnswering", "MultipleChoice", "NextSentencePrediction", "Contrast"])
def test_a_head_of_an_unknown_task_is_named_and_its_encoder_can_be_had(tmp_path: Path, task: str):
    folder = tiny(tmp_path / "model", architectures=[f"BertFor{task}"])
    with pytest.raises(UnsupportedModel, match=rf"a BertFor{task}, .* --signatures pooled,sequence,tokenize"):
        resolved(folder)
    with pytest.raises(ConfigError, match=f"signature classify cannot be exported from .*: it is a BertFor{task}"):
        resolved(folder, signatures=("classify",))
    recipe, checkpoint = resolved(folder, signatures=("pooled",))
    assert (recipe.signatures, checkpoint.head) == (("pooled",), None)


@pytest.mark.parametrize("name", ["BertForMaskedLM", "BertForPreTraining", "ElectraForPreTraining", "BertLMHeadModel"])
def test_a_head_of_pretraining_leaves_the_encoder(tmp_path: Path, name: str):
    recipe, checkpoint = resolved(tiny(tmp_path / "model", architectures=[name]))
    assert recipe.signatures == ("pooled", "sequence", "tokenize")
    assert checkpoint.head is None
    assert f"only the encoder of the model ({name}) is exported" in checkpoint.notes


def test_an_embedding_model_keeps_the_class_of_what_it_was_made_of(tmp_path: Path):
    folder = tiny(tmp_path / "model", "mean_dense_normalize", architectures=["BertForSequenceClassification"])
    recipe, checkpoint = resolved(folder)
    assert recipe.default == "embed"
    assert checkpoint.head is None


WRONG = {
    "bert.Sequence.1": ("classify", {"problem_type": "regression"}, "a regression of one output: choose score"),
    "bert.Sequence.2": ("score", {}, "a classifier of 2 labels: choose classify"),
    "bert.Token.9": ("classify", {}, "a tagger of 9 labels: choose tag"),
    "mpnet.Sequence.1": ("tag", {}, "a head of one output: choose score"),
}


@pytest.mark.parametrize("model", WRONG)
def test_another_signature_than_the_heads_is_refused(tmp_path: Path, model: str):
    name, settings, reason = WRONG[model]
    folder = folder_of(model, tmp_path / "model", **settings)
    with pytest.raises(ConfigError, match=f"the signature {name} cannot be exported from .*: its head is {reason}"):
        resolved(folder, signatures=(name,))
    with pytest.raises(ConfigError, match="--logits is for classify, tag, score, but none of them is exported"):
        resolved(folder, signatures=("sequence",), logits=True)


def test_what_a_checkpoint_was_trained_for_is_the_default(tmp_path: Path):
    for model, default in (("bert.Sequence.1", "score"), ("bert.Sequence.2", "classify"), ("bert.Token.9", "tag")):
        recipe, _ = resolved(folder_of(model, tmp_path / model))
        assert recipe.default == default
        assert recipe.signatures == (default, *(["pooled"] if default != "tag" else []), "sequence", "tokenize")
    recipe, _ = resolved(tmp_path / "bert.Sequence.2", pooling="mean")
    assert recipe.signatures == ("classify", "embed", "pooled", "sequence", "tokenize")


def test_logits_on_request(tmp_path: Path):
    folder = folder_of("bert.Sequence.1", tmp_path / "model")
    recipe, checkpoint = resolved(folder)
    assert any("the score is the sigmoid of the logit" in note for note in checkpoint.notes)
    recipe, checkpoint = resolved(folder, logits=True)
    assert (recipe.logits, checkpoint.head.activation) == (True, "identity")
    assert checkpoint.notes == ("scores are logits, as requested",)


# Cross-encoders.


def cross_encoder(folder: Path, **settings: Any) -> None:
    """Files that sentence-transformers 6 writes in addition to those of transformers."""
    module = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"}
    (folder / "modules.json").write_text(json.dumps([module]))
    model = {"__version__": {}, "activation_fn": "torch.nn.modules.activation.Sigmoid", "default_prompt_name": None,
             "model_type": "CrossEncoder", "prompts": {}}  # fmt: skip
    (folder / "config_sentence_transformers.json").write_text(json.dumps({**model, **settings}))
    transformer = {
        "transformer_task": "sequence-classification",
        "modality_config": {"text": {"method": "forward", "method_output_name": "logits"}},
        "module_output_name": "scores",
    }
    (folder / "sentence_bert_config.json").write_text(json.dumps(transformer))


IDENTITY = "torch.nn.modules.linear.Identity"


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("stated", [None, IDENTITY, "torch.nn.Sigmoid", "torch.nn.Softmax", "mine.Scale"])
@pytest.mark.parametrize("release", [2, 4, 6])
def test_a_cross_encoder_of_each_release_takes_pairs_and_has_its_activation(
    tmp_path: Path, release: int, stated: str | None, count: int
):
    folder = folder_of(f"bert.Sequence.{count}", tmp_path / "model")
    if release == 2:
        edit(folder / "config.json", sbert_ce_default_activation_function=stated)
    elif release == 4:
        edit(folder / "config.json", sentence_transformers={"activation_fn": stated, "version": "4.1.0"})
    else:
        cross_encoder(folder, activation_fn=stated)
    recipe, checkpoint = resolved(folder)
    head = checkpoint.head
    usual = "sigmoid" if count == 1 else "identity"
    known = {IDENTITY: "identity", "torch.nn.Sigmoid": "sigmoid", "torch.nn.Softmax": "softmax"}
    assert head.activation == known.get(stated, usual)
    assert FolderReference(folder, 64).labels.activation == head.activation
    assert (recipe.default, recipe.pair) == ("score" if count == 1 else "classify", True)
    assert any("signatures take pairs" in note for note in checkpoint.notes)
    assert any("which is not run: the default activation is used" in note for note in checkpoint.notes) == (
        stated == "mine.Scale"
    )
    assert checkpoint.kind == ("sentence-transformers" if release == 6 else "huggingface")
    for pair in (True, False):
        recipe, checkpoint = resolved(folder, pair=pair)
        assert recipe.pair is pair
        assert not any("signatures take pairs" in note for note in checkpoint.notes)
    assert not resolved(folder, signatures=("sequence",))[0].pair


def test_the_newest_settings_win(tmp_path: Path):
    folder = folder_of("bert.Sequence.1", tmp_path / "model", sbert_ce_default_activation_function="torch.nn.Softmax")
    edit(folder / "config.json", sentence_transformers={"activation_fn": IDENTITY})
    assert sources.load(folder).head.activation == FolderReference(folder, 64).labels.activation == "identity"
    cross_encoder(folder)
    assert sources.load(folder).head.activation == FolderReference(folder, 64).labels.activation == "sigmoid"


def test_settings_of_a_cross_encoder_are_followed_or_refused(tmp_path: Path):
    folder = folder_of("bert.Sequence.1", tmp_path / "model")
    cross_encoder(folder, prompts={"query": "q: "}, default_prompt_name="query")
    edit(folder / "sentence_bert_config.json", max_seq_length=20)
    checkpoint = sources.load(folder)
    assert checkpoint.max_seq_length == FolderReference(folder, 64).max_seq_length == 20
    assert any("puts the prompt 'q: ' before every text" in note for note in checkpoint.notes)
    edit(folder / "sentence_bert_config.json", module_output_name="token_embeddings")
    with pytest.raises(UnsupportedModel, match="module_output_name is 'token_embeddings': only scores can be exported"):
        sources.load(folder)
    with pytest.raises(ValueError, match="module_output_name"):
        FolderReference(folder, 64)
    cross_encoder(folder, truncate_dim=3)
    with pytest.raises(UnsupportedModel, match="truncate_dim is unknown"):
        sources.load(folder)
    cross_encoder(folder)
    edit(folder / "config.json", architectures=["BertForCausalLM"])
    with pytest.raises(UnsupportedModel, match=r"a cross-encoder of sentence-transformers, but architectures is"):
        sources.load(folder)
    modules = json.loads((folder / "modules.json").read_text())
    more = {"idx": 1, "name": "1", "path": "1", "type": "sentence_transformers.base.modules.dense.Dense"}
    (folder / "modules.json").write_text(json.dumps([*modules, more]))
    with pytest.raises(
        UnsupportedModel, match="modules of the cross-encoder are Transformer, Dense; only a Transformer with"
    ):
        sources.load(folder)


def test_a_strategy_for_pairs_needs_pairs(tmp_path: Path):
    folder = folder_of("bert.Sequence.1", tmp_path / "model")
    with pytest.raises(ConfigError, match="truncation_strategy only_second is for pairs of texts"):
        resolved(folder, truncation_strategy="only_second")
    edit(folder / "config.json", sbert_ce_default_activation_function=None)
    recipe, _ = resolved(folder, truncation_strategy="only_second")
    assert recipe.tokenization.pair
