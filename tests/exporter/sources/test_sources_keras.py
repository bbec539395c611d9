"""Models that users fine-tuned with tf_keras around a Hub encoder: contents of their files, and refusals."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from folders import DATA
from keras_models import FORMS, HUB, TEXTS, Head, around, encoded, fitted, preprocessor, stacked, tokens_of, users_head
from rawbert.exporter import ConfigError, CorruptSource, ExportConfig, SourceNotFound, UnsupportedModel, sources
from rawbert.exporter.resolve import resolve
from rawbert.exporter.sources import keras_config, keras_head, keras_model

DENSE = ("Dense", {"units": 2, "activation": "softmax"})


def dense(units: int, activation: str | None = "softmax", **settings: Any) -> tuple[str, dict[str, Any]]:
    return "Dense", {"units": units, "activation": activation, **settings}


@pytest.fixture(scope="module")
def users_model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """The user's own example after a few steps, and the folder with its files in every form, named ``model*``."""
    folder = tmp_path_factory.mktemp("users")
    model = fitted(around(users_head), tokens_of(TEXTS))
    for form in FORMS:
        model.save(folder / f"model{form}")
    return model, folder


def saved(tmp_path: Path, head: Head, form: str = ".h5", **settings: Any) -> Path:
    path = tmp_path / f"model{form}"
    around(head, **settings).save(path)
    return path


@pytest.fixture(scope="module")
def loaded_forms(users_model: tuple[Any, Path]) -> dict[str, Any]:
    """The checkpoint from each form."""
    return {form: sources.load(users_model[1] / f"model{form}") for form in FORMS}


@pytest.fixture(scope="module")
def parts() -> tuple[Any, dict[str, Any], Any]:
    """One encoder for many heads: see :func:`.encoded`."""
    return encoded()


@pytest.mark.parametrize("form", FORMS)
def test_the_users_example_is_read_in_every_form(
    users_model: tuple[Any, Path], loaded_forms: dict[str, Any], form: str
) -> None:
    model, loaded = users_model[0], loaded_forms[form]
    assert (loaded.kind, loaded.max_seq_length, loaded.max_positions, loaded.hidden_size) == ("keras", 32, 32, 32)
    assert loaded.own_tokenizer == "reference"
    head = loaded.head
    assert (head.signature, head.takes, head.activation) == ("classify", "pooled", "softmax")
    assert head.labels == ("LABEL_0", "LABEL_1")
    assert "see --labels" in head.notes[0]
    # softmax over 0 and the one logit is the sigmoid of it
    (dense,) = head.layers
    kernel, bias = model.layers[-1].get_weights()
    np.testing.assert_array_equal(dense.kernel, np.hstack([np.zeros_like(kernel), kernel]))
    np.testing.assert_array_equal(dense.bias, [0, bias[0]])


@pytest.mark.parametrize("form", FORMS)
def test_the_encoders_weights_are_the_fine_tuned_ones(
    users_model: tuple[Any, Path], loaded_forms: dict[str, Any], form: str
) -> None:
    model, loaded = users_model[0], loaded_forms[form]
    assert loaded.encoder is not None
    trained = {each.name: each.numpy() for each in model.get_layer("encoder").weights}
    original = sources.load(HUB).weights
    for name, variable in {
        "embeddings/word": "word_embeddings/embeddings:0",
        "layer_2/output/kernel": "transformer/layer_2/output/kernel:0",
        "pooler/kernel": "pooler_transform/kernel:0",
    }.items():
        np.testing.assert_array_equal(loaded.weights[name], trained[variable].reshape(loaded.weights[name].shape))
        assert np.abs(loaded.weights[name] - original[name]).max() > 1e-4, name


def test_a_folder_needs_nothing_of_the_hub(tmp_path: Path) -> None:
    hub = shutil.copytree(HUB, tmp_path / "hub")
    folder = saved(tmp_path, users_head, "", hub_folder=hub)
    shutil.rmtree(hub)
    assert sources.load(folder).tokenizer == sources.load(HUB).tokenizer


@pytest.mark.parametrize("form", [".keras", ".h5"])
def test_a_file_needs_the_hub_folder_that_it_names(tmp_path: Path, form: str) -> None:
    hub = shutil.copytree(HUB, tmp_path / "hub")
    path = saved(tmp_path, users_head, form, hub_folder=hub)
    shutil.rmtree(hub)
    with pytest.raises(CorruptSource, match=rf"{path}: .*has only the weights .* from {hub}: .*save .* as a folder"):
        sources.load(path)


def test_files_are_described(loaded_forms: dict[str, Any]) -> None:
    assert {file.path for file in loaded_forms[".keras"].files} == {"model.keras"}
    assert {"keras_metadata.pb", "assets/vocab.txt"} <= {file.path for file in loaded_forms[""].files}


def test_an_archive_of_a_folder_is_read(users_model: tuple[Any, Path], tmp_path: Path) -> None:
    _, folder = users_model
    shutil.make_archive(str(tmp_path / "mine"), "zip", folder / "model")
    with sources.fetched(tmp_path / "mine.zip") as location:
        assert sources.load(location).kind == "keras"


ACTIVATED = (("Dropout", {"rate": 0.5}), ("Activation", {"activation": "softmax"}))
NORMAL = (("LayerNormalization", {}), ("BatchNormalization", {}))
#: The encoder's output and the layers after it -> the head's input, the activations of its layers, and the last one.
LAYERS = {
    "softmax": (("pooled_output", DENSE), "pooled", ["identity"], "softmax"),
    "default output": (("default", DENSE), "pooled", ["identity"], "softmax"),
    "several sigmoids": (("pooled_output", dense(3, "sigmoid")), "pooled", ["identity"], "sigmoid"),
    "an activation layer": (("pooled_output", dense(2, None), *ACTIVATED), "pooled", ["identity"], "softmax"),
    "a Softmax layer": (("pooled_output", dense(2, None), ("Softmax", {})), "pooled", ["identity"], "softmax"),
    "hidden layers": (
        ("pooled_output", dense(8, "relu"), dense(8, None), ("ReLU", {}), DENSE),
        "pooled", ["relu", "relu", "identity"], "softmax",
    ),
    "normalisation": (
        ("pooled_output", *NORMAL, dense(3, use_bias=False)), "pooled", [None, "identity", "identity"], "softmax",
    ),
    "an activation first": (
        ("pooled_output", ("Activation", {"activation": "tanh"}), DENSE), "pooled", ["tanh", "identity"], "softmax",
    ),
    "first token": (("sequence_output", ("first", {}), DENSE), "first", ["identity"], "softmax"),
    "mean of tokens": (("sequence_output", ("masked mean", {}), DENSE), "mean", ["identity"], "softmax"),
    "a tag a token": (("sequence_output", dense(5)), "tokens", ["identity"], "softmax"),
}  # fmt: skip


def head_of(parts: tuple[Any, dict[str, Any], Any], head: Head, loss: Any = None) -> Any:
    """The checkpoint of a model with this head, as from a file."""
    import tf_keras

    given, inputs, outputs = parts
    model = tf_keras.Model(given, head(outputs, inputs))
    stack = keras_head.read(model.outputs[0], model.get_layer("encoder"), HUB)
    return keras_model._head(stack, None if loss is None else tf_keras.losses.serialize(loss), HUB)


# Before it is saved, a slice is of another form; see the next test.
@pytest.mark.parametrize("name", [each for each in LAYERS if each != "first token"])
def test_heads_are_read(parts: tuple[Any, dict[str, Any], Any], name: str) -> None:
    (takes, *layers), taken, activations, activation = LAYERS[name]
    head = head_of(parts, stacked(takes, *layers))
    assert (head.takes, head.activation) == (taken, activation)
    assert [getattr(layer, "activation", None) for layer in head.layers] == activations
    assert head.signature == ("tag" if taken == "tokens" else "classify")
    assert head.activation_notes == ()


@pytest.mark.parametrize(
    ("form", "name"), [("", "mean of tokens"), (".keras", "first token"), (".h5", "mean of tokens")]
)
def test_pooling_is_read_in_every_form(tmp_path: Path, name: str, form: str) -> None:
    (takes, *layers), taken, _, _ = LAYERS[name]
    assert sources.load(saved(tmp_path, stacked(takes, *layers), form)).head.takes == taken


def losses() -> dict[str, tuple[Any, int, str, str, str]]:
    from tf_keras import losses

    return {
        "binary": (losses.BinaryCrossentropy(from_logits=True), 1, "classify", "softmax", "their sigmoid"),
        "sparse": (losses.SparseCategoricalCrossentropy(from_logits=True), 3, "classify", "softmax", "their softmax"),
        "several": (losses.BinaryCrossentropy(from_logits=True), 3, "classify", "sigmoid", "their sigmoid"),
        "squared error": (losses.MeanSquaredError(), 1, "score", "identity", "MeanSquaredError: scores are its values"),
        "squared errors": (losses.MeanSquaredError(), 3, "classify", "identity", "MeanSquaredError: scores"),
        "not of logits": (losses.BinaryCrossentropy(), 1, "score", "identity", "--activation sigmoid or softmax"),
        "none": (None, 1, "score", "identity", "--activation sigmoid or softmax"),
    }


@pytest.mark.parametrize(
    "name", ["binary", "sparse", "several", "squared error", "squared errors", "not of logits", "none"]
)
def test_the_loss_says_what_values_without_an_activation_are(parts: tuple[Any, dict[str, Any], Any], name: str) -> None:
    loss, units, signature, activation, note = losses()[name]
    head = head_of(parts, stacked("pooled_output", ("Dense", {"units": units})), loss)
    assert (head.signature, head.activation) == (signature, activation)
    assert head.problem == ("regression" if "squared" in name else None)
    assert note in head.activation_notes[0]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("loss", ["binary", "mean_squared_error"])
def test_the_loss_is_read_in_every_form(
    parts: tuple[Any, dict[str, Any], Any], tmp_path: Path, loss: str, form: str
) -> None:
    import tf_keras

    given, inputs, outputs = parts
    model = tf_keras.Model(given, stacked("pooled_output", ("Dense", {"units": 1}))(outputs, inputs))
    model.compile("adam", loss=losses()[loss][0] if loss == "binary" else loss)
    model.save(tmp_path / f"model{form}")
    from rawbert.exporter.proof import keras_model as reference

    for found in (keras_config.read(tmp_path / f"model{form}").loss, reference._loss_of(tmp_path / f"model{form}")):
        assert keras_model._loss(found) == (("BinaryCrossentropy", True) if loss == "binary" else (loss, False))


def test_a_preprocessing_layer_says_length_and_tokenizer(tmp_path: Path) -> None:
    path = saved(tmp_path, users_head, before=preprocessor(tmp_path / "preprocess"))
    loaded = sources.load(path)
    assert (loaded.own_tokenizer, loaded.max_seq_length) == ("tf-text", 32)


def test_inputs_may_have_any_names_and_lengths(tmp_path: Path) -> None:
    import tensorflow_hub as hub
    import tf_keras

    mask, types, ids = (tf_keras.layers.Input((None,), dtype="int32", name=name) for name in ("m", "t", "i"))
    outputs = hub.KerasLayer(str(HUB))({"input_word_ids": ids, "input_mask": mask, "input_type_ids": types})
    tf_keras.Model([mask, types, ids], users_head(outputs, {})).save(tmp_path / "model.h5")
    loaded = sources.load(tmp_path / "model.h5")
    assert (loaded.max_seq_length, loaded.max_positions) == (64, 64)


def two_outputs(outputs: Any, inputs: Any) -> Any:
    return [users_head(outputs, inputs), users_head(outputs, inputs)]


def inner(outputs: Any, inputs: Any) -> Any:
    import tf_keras

    return tf_keras.layers.Dense(2)(outputs["encoder_outputs"][0][:, 0, :])


def nested(outputs: Any, inputs: Any) -> Any:
    import tf_keras

    given = tf_keras.layers.Input((32,))
    return tf_keras.Model(given, tf_keras.layers.Dense(2)(given))(outputs["pooled_output"])


def by_an_op(outputs: Any, inputs: Any) -> Any:
    import tensorflow as tf

    return tf.squeeze(users_head(outputs, inputs), -1)


def code(outputs: Any, inputs: Any) -> Any:
    import tf_keras

    return tf_keras.layers.Lambda(lambda x: x * 2)(users_head(outputs, inputs))


def half(outputs: Any, inputs: Any) -> Any:
    import tf_keras

    return tf_keras.layers.Dense(2, dtype="mixed_float16")(outputs["pooled_output"])


LSTM = ("LSTM", {"units": 4})
MEAN = ("GlobalAveragePooling1D", {})
REFUSED: dict[str, tuple[Head, str]] = {
    "another layer": (stacked("sequence_output", LSTM, DENSE), r"lstm\w* \(LSTM\) is between the encoder"),
    "a mean over padding": (stacked("sequence_output", MEAN, DENSE), "also averages over padding"),
    "another activation": (stacked("pooled_output", dense(2, "elu")), "has the activation 'elu'"),
    "a clipped ReLU": (stacked("pooled_output", dense(2, None), ("ReLU", {"max_value": 6}), DENSE), "max_value"),
    "softmax inside": (stacked("pooled_output", DENSE, dense(2, None)), "layers after a softmax"),
    "softmax of one": (stacked("pooled_output", dense(1)), "is always 1"),
    "a dense layer": (stacked("pooled_output", ("Dropout", {"rate": 0.1})), "a dense layer"),
    "inner layers": (inner, "takes another output of the encoder"),
    "a model inside": (nested, r"\(Functional\) is between the encoder"),
    "an op": (by_an_op, r"\(TFOpLambda\) is between the encoder"),
    "half precision": (half, "computes in float16"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_exported_is_refused_by_name(parts: tuple[Any, dict[str, Any], Any], name: str) -> None:
    head, message = REFUSED[name]
    with pytest.raises(UnsupportedModel, match=message) as refused:
        head_of(parts, head)
    assert str(HUB) in str(refused.value)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (two_outputs, "has 2 outputs; expected one"),
        (code, "is a Lambda, which cannot be exported"),
        (stacked("sequence_output", LSTM, DENSE), r"lstm\w* is a LSTM, which cannot be exported"),
    ],
    ids=["two outputs", "code", "another layer"],
)
def test_a_file_of_such_a_model_is_refused(
    parts: tuple[Any, dict[str, Any], Any], tmp_path: Path, head: Head, message: str
) -> None:
    import tf_keras

    given, inputs, outputs = parts
    tf_keras.Model(given, head(outputs, inputs)).save(tmp_path / "model.h5")
    with pytest.raises(UnsupportedModel, match=message) as refused:
        sources.load(tmp_path / "model.h5")
    assert str(tmp_path / "model.h5") in str(refused.value)


def test_a_subclassed_model_is_refused(tmp_path: Path) -> None:
    import tensorflow_hub as hub
    import tf_keras

    class Mine(tf_keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.out = hub.KerasLayer(str(HUB)), tf_keras.layers.Dense(2)

        def call(self, inputs: Any) -> Any:
            return self.out(self.encoder(inputs)["pooled_output"])

    model = Mine()
    model.predict(tokens_of(TEXTS[:1]), verbose=0)
    for form in ("", ".keras"):
        model.save(tmp_path / f"model{form}")
        with pytest.raises(UnsupportedModel, match="class Mine, whose layers are connected by Python code"):
            sources.load(tmp_path / f"model{form}")


def test_inputs_that_are_computed_are_refused(tmp_path: Path) -> None:
    import tensorflow as tf
    import tensorflow_hub as hub
    import tf_keras

    ids = tf_keras.layers.Input((8,), dtype="int32", name="ids")
    mask = tf_keras.layers.Input((8,), dtype="int32", name="mask")
    outputs = hub.KerasLayer(str(HUB))({"input_word_ids": ids, "input_mask": mask, "input_type_ids": ids[:, ::-1]})
    tf_keras.Model([ids, mask], users_head(outputs, {})).save(tmp_path / "model.h5")
    with pytest.raises(UnsupportedModel, match="expected input layers, or one Hub preprocessing layer"):
        sources.load(tmp_path / "model.h5")
    assert tf.__version__


def test_a_model_without_an_encoder_is_refused(tmp_path: Path) -> None:
    import tf_keras

    given = tf_keras.layers.Input((4,))
    tf_keras.Model(given, tf_keras.layers.Dense(2)(given)).save(tmp_path / "model.keras")
    with pytest.raises(UnsupportedModel, match=r"expected one hub\.KerasLayer that takes input_word_ids"):
        sources.load(tmp_path / "model.keras")


def test_weights_alone_are_refused(tmp_path: Path) -> None:
    around(users_head).save_weights(tmp_path / "model.h5")
    with pytest.raises(UnsupportedModel, match="weights without their model"):
        sources.load(tmp_path / "model.h5")


def test_a_model_without_its_layers_is_refused(tmp_path: Path) -> None:
    import tensorflow as tf

    model = around(users_head)
    tf.saved_model.save(model, str(tmp_path / "model"))
    with pytest.raises(UnsupportedModel, match=r"without keras_metadata\.pb.* model\.save\(folder\)"):
        sources.load(tmp_path / "model")


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.txt").write_text("a model")
    with pytest.raises(SourceNotFound, match=r"a model of tf_keras \(\.keras, \.h5\)"):
        sources.load(tmp_path / "model.txt")


@pytest.mark.parametrize("form", [".keras", ".h5"])
@pytest.mark.parametrize("keep", [0, 100, 0.5])
def test_damaged_files_are_refused(users_model: tuple[Any, Path], tmp_path: Path, form: str, keep: float) -> None:
    content = (users_model[1] / f"model{form}").read_bytes()
    path = tmp_path / f"model{form}"
    path.write_bytes(content[: int(keep * len(content)) if keep < 1 else int(keep)])
    with pytest.raises(CorruptSource, match=str(path)):
        sources.load(path)


@pytest.mark.parametrize("file", ["keras_metadata.pb", "saved_model.pb", "variables/variables.index"])
def test_damaged_folders_are_refused(users_model: tuple[Any, Path], tmp_path: Path, file: str) -> None:
    folder = shutil.copytree(users_model[1] / "model", tmp_path / "model")
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(content[:-100] if file.startswith("keras") else content[:200])
    with pytest.raises(CorruptSource, match=str(folder)):
        sources.load(folder)


def replanted(source: Path, target: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """A .keras file with its configuration changed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                state = json.loads(content)
                change(state)
                content = json.dumps(state).encode()
            new.writestr(name, content)
    return target


CODE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a function of a module as an initializer": lambda s: s["config"]["layers"][-1]["config"].update(
        kernel_initializer={"module": "os", "class_name": "function", "config": "system", "registered_name": "system"}
    ),
    "a Lambda as an initializer": lambda s: s["config"]["layers"][-1]["config"].update(
        bias_initializer={
            "module": "keras.layers",
            "class_name": "Lambda",
            "config": {"name": "x"},
            "registered_name": None,
        }
    ),
    "a layer of another module": lambda s: s["config"]["layers"][-1].update(module="antigravity"),
    "Keras' own switch": lambda s: s["config"]["layers"][-1]["config"].update(
        bias_regularizer={"module": "keras.config", "class_name": "enable_unsafe_deserialization", "config": {}}
    ),
}


@pytest.mark.parametrize("name", CODE)
def test_a_file_that_says_how_to_run_code_is_refused_before_keras_reads_it(
    users_model: tuple[Any, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    import tf_keras
    from rawbert.exporter.proof import keras_model as reference

    monkeypatch.setattr(tf_keras.models, "load_model", lambda *_, **__: pytest.fail("Keras was asked"))
    path = replanted(users_model[1] / "model.keras", tmp_path / "model.keras", CODE[name])
    with pytest.raises(UnsupportedModel, match="it contains code to run"):
        sources.load(path)
    with pytest.raises(ValueError, match="it contains code to run"):
        reference._loss_of(path)


@pytest.fixture(scope="module")
def unsaid(parts: tuple[Any, dict[str, Any], Any], loaded_forms: dict[str, Any]) -> Any:
    """A checkpoint whose head has one output and no stated activation."""
    return replace(loaded_forms[".h5"], head=head_of(parts, stacked("pooled_output", dense(1, None))))


def asked(checkpoint: Any, **settings: Any) -> Any:
    return resolve(ExportConfig("m", "models/m", **settings), checkpoint)


def test_the_user_names_the_labels(loaded_forms: dict[str, Any]) -> None:
    _, plain = asked(loaded_forms[".h5"])
    recipe, named = asked(loaded_forms[".h5"], labels=["negative", "positive"])
    assert (recipe.labels, named.head.labels) == (("negative", "positive"),) * 2
    assert any("see --labels" in note for note in plain.notes)
    assert not any("see --labels" in note for note in named.notes)


def test_the_user_says_what_makes_probabilities(unsaid: Any) -> None:
    recipe, plain = asked(unsaid)
    assert (recipe.default, plain.head.labels) == ("score", ("LABEL_0",))
    assert any("--activation sigmoid or softmax" in note for note in plain.notes)
    recipe, two = asked(unsaid, activation="sigmoid", labels=("negative", "positive"))
    assert (recipe.default, recipe.activation) == ("classify", "sigmoid")
    assert (two.head.activation, two.head.labels) == ("softmax", ("negative", "positive"))
    assert not any("--activation" in note for note in two.notes)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"labels": ("a", "b", "c")}, "--labels has 3 names, and the head of .* has 2 labels"),
        ({"labels": ("a", "a")}, "'a' is empty or a duplicate"),
        ({"labels": ("a", " ")}, "' ' is empty or a duplicate"),
        ({"activation": "softmax"}, "states the activation itself"),
        ({"activation": "tanh"}, "'tanh' is unknown; choose from sigmoid, softmax"),
        ({"max_seq_length": 33}, "give at most 32, the positions"),
    ],
)
def test_what_the_user_asks_for_in_vain(loaded_forms: dict[str, Any], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        asked(loaded_forms[".h5"], **settings)


def test_a_score_has_no_labels_and_an_encoder_no_head(unsaid: Any) -> None:
    with pytest.raises(ConfigError, match=r"--labels has 1 name, and the head of .* has a score, and no label"):
        asked(unsaid, labels=("a",))
    with pytest.raises(ConfigError, match="a softmax of one output is always 1"):
        asked(unsaid, activation="softmax")
    for settings in ({"labels": ("a",)}, {"activation": "sigmoid"}):
        with pytest.raises(ConfigError, match="labels and activation need a fine-tuned head"):
            asked(sources.load(DATA / "tiny_bert"), **settings)


def test_labels_may_be_in_a_file(tmp_path: Path) -> None:
    from rawbert.exporter.cli.export import _labels

    (tmp_path / "labels.txt").write_text("not, that\n\ngood \n", encoding="utf-8")
    assert _labels(None, None, str(tmp_path / "labels.txt")) == ("not, that", "good")  # type: ignore[arg-type]
    assert _labels(None, None, "negative, positive") == ("negative", "positive")  # type: ignore[arg-type]
    (tmp_path / "labels.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(click.BadParameter, match="not readable as UTF-8"):
        _labels(None, None, str(tmp_path / "labels.txt"))  # type: ignore[arg-type]
