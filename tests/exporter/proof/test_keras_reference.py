"""The proof of fine-tuned Keras models: exports answer like the user's own model, and faults are refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from keras_models import HUB, TEXTS, Head, around, preprocessor, shaken, stacked, users_head
from proofs import resolved
from rawbert.exporter import VerificationError, sources
from rawbert.exporter.proof import answers, keras_model, samples
from rawbert.exporter.proof.comparison import Comparison
from rawbert.exporter.sources.checkpoint import Checkpoint, Dense, LayerNorm
from rawbert.serving import contract

DENSE = ("Dense", {"units": 3, "activation": "softmax"})
HIDDEN = ("Dense", {"units": 8, "activation": "gelu"})
NORM, DROP = ("LayerNormalization", {}), ("Dropout", {"rate": 0.5})
SIGMOIDS, TANH = ("Dense", {"units": 4, "activation": "sigmoid"}), ("Activation", {"activation": "tanh"})
ONE = ("Dense", {"units": 1, "use_bias": False})
MODELS: dict[str, tuple[Head, dict[str, Any]]] = {
    "users": (users_head, {}),
    "stack": (stacked("sequence_output", ("first", {}), HIDDEN, NORM, DROP, DENSE), {}),
    "mean": (stacked("sequence_output", ("masked mean", {}), ("BatchNormalization", {}), SIGMOIDS), {}),
    "tags": (stacked("sequence_output", DROP, DENSE), {"length": None}),
    "score": (stacked("pooled_output", ONE, TANH), {}),
    "preprocessed": (users_head, {"before": "hub_preprocess"}),
}


class Made(NamedTuple):
    """A model, its checkpoint, its reference, and the tokenizer and encoder of its graph."""

    path: Path
    recipe: Any
    checkpoint: Checkpoint
    expected: list[answers.Expected]
    tokenizer: Any
    encoder: Any


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Made]]:
    """Each of :data:`MODELS`, built once, with a few samples. Tests of serving prove complete exports."""
    from rawbert.exporter.graph import savedmodel

    folder, known = tmp_path_factory.mktemp("keras"), {}
    every = samples.chosen

    def make(name: str) -> Made:
        if name not in known:
            head, settings = MODELS[name]
            if "before" in settings:
                settings = {"before": preprocessor(folder / settings["before"])}
            model = shaken(around(head, **settings))
            for layer in model.layers:
                if type(layer).__name__ == "BatchNormalization":
                    layer.moving_mean.assign_add(np.linspace(-1, 1, 32))
                    layer.moving_variance.assign_add(np.linspace(0, 3, 32))
            path = folder / f"{name}.h5"
            model.save(path)
            recipe, checkpoint = resolved(path)
            recipe = replace(recipe, signatures=(checkpoint.head.signature,))
            _, encoder = savedmodel.choose_encoder(checkpoint, "auto")
            parts = tokenizer_of(recipe, checkpoint), traced(encoder)
            known[name] = Made(path, recipe, checkpoint, answers.compute(recipe, path), *parts)
        return known[name]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samples, "chosen", lambda *args: [*every(*args)[:6], *every(*args)[-5:]])
        yield make


def traced(encoder: Any) -> Any:
    import tensorflow as tf

    return tf.function(encoder, input_signature=[tf.TensorSpec([None, None], tf.int32)] * 2)


def tokenizer_of(recipe: Any, checkpoint: Checkpoint) -> Any:
    import tensorflow as tf
    from rawbert.exporter.tokenizers.tokenizer import Tokenizer

    tokenizer = Tokenizer(checkpoint.tokenizer, recipe.max_seq_length, recipe.tokenization)
    return tf.function(tokenizer, input_signature=[tf.TensorSpec([None], tf.string)])


class InProcess:
    """The graph of an export, called without writing it."""

    is_shared = False
    signatures: Mapping[str, Any] = {}

    def __init__(self, signature: str, checkpoint: Checkpoint, tokenizer: Any, encoder: Any) -> None:
        from rawbert.exporter.graph.heads import HEADS

        self._outputs = [each.name for each in contract.signature(signature).outputs_for(False)]
        self._head, self._tokenizer, self._encoder = HEADS[signature](checkpoint), tokenizer, encoder

    def answer(self, signature: str, texts: Mapping[str, list[bytes]]) -> dict[str, np.ndarray]:
        import tensorflow as tf

        tokens = self._tokenizer(tf.constant(texts["text"]))
        values = self._head(tokens, lambda each: self._encoder(each.input_word_ids, each.input_mask))
        return dict(zip(self._outputs, (value.numpy() for value in values), strict=True))


def mismatches(of: Made, change: Callable[[Checkpoint], Checkpoint] = lambda c: c, tokenizer: Any = None) -> list[str]:
    """The proof's report on an export with a fault."""
    from rawbert.exporter.graph import savedmodel

    changed, encoder = change(of.checkpoint), of.encoder
    if changed.weights is not of.checkpoint.weights:
        encoder = traced(savedmodel.choose_encoder(changed, "auto")[1])
    model = InProcess(of.recipe.default, changed, tokenizer or of.tokenizer, encoder)
    comparison = Comparison(of.recipe, model)
    for rows in (of.expected, of.expected[:1], of.expected[-2:]):
        comparison.call(rows)
    return comparison.report.mismatches


@pytest.mark.parametrize("name", MODELS)
def test_a_sound_export_is_equal(made: Callable[[str], Made], name: str) -> None:
    assert mismatches(made(name)) == []


def test_the_reference_answers_as_the_users_own_model(made: Callable[[str], Made]) -> None:
    """model.predict on the user's own inputs, and scores from the reference's logits."""
    import tensorflow_hub as hub
    import tf_keras
    from keras_models import tokens_of

    of = made("users")
    reference = keras_model.KerasReference(of.path, of.recipe, of.recipe.tokenization)
    model = tf_keras.models.load_model(of.path, custom_objects={"KerasLayer": hub.KerasLayer})
    own = model.predict(tokens_of(TEXTS), verbose=0)
    for text, wanted in zip(TEXTS, own, strict=True):
        first, second = reference(reference.tokenize(text).ids)["scores"]
        assert first == 0
        np.testing.assert_allclose(1 / (1 + np.exp(-second)), wanted[0], rtol=0, atol=1e-6)


def head(**changes: Any) -> Callable[[Checkpoint], Checkpoint]:
    return lambda checkpoint: replace(checkpoint, head=replace(checkpoint.head, **changes))


def layer(at: int, change: Callable[[Any], Any]) -> Callable[[Checkpoint], Checkpoint]:
    """The head with one layer changed."""

    def changed(checkpoint: Checkpoint) -> Checkpoint:
        layers = list(checkpoint.head.layers)
        layers[at] = change(layers[at])
        return head(layers=tuple(each for each in layers if each is not None))(checkpoint)

    return changed


def originals_weights(checkpoint: Checkpoint) -> Checkpoint:
    hub = sources.load(HUB)
    return replace(checkpoint, weights=hub.weights, hub_layer=hub.hub_layer)


def swapped(dense: Dense) -> Dense:
    return replace(dense, kernel=dense.kernel[:, ::-1], bias=dense.bias[::-1])


FAULTS: dict[str, tuple[str, Callable[[Checkpoint], Checkpoint]]] = {
    "the Hub's own weights for the fine-tuned ones": ("users", originals_weights),
    "labels swapped": ("users", lambda c: head(labels=c.head.labels[::-1])(c)),
    "the columns of the two labels swapped": ("users", layer(0, swapped)),
    "sigmoid for softmax": ("users", head(activation="sigmoid")),
    "raw values for probabilities": ("users", head(activation="identity")),
    "the first token for the pooler": ("users", head(takes="first")),
    "a bias left out": ("users", layer(0, lambda each: replace(each, bias=0 * each.bias))),
    "a kernel a thousandth too large": ("users", layer(0, lambda each: replace(each, kernel=each.kernel * 1.001))),
    "a hidden activation left out": ("stack", layer(0, lambda each: replace(each, activation="identity"))),
    "the tanh approximation for GELU": ("stack", layer(0, lambda each: replace(each, activation="gelu_tanh"))),
    "a normalisation left out": ("stack", layer(1, lambda each: None)),
    "another epsilon": ("stack", layer(1, lambda each: replace(each, epsilon=1e-12))),
    "the pooler for the first token": ("stack", head(takes="pooled")),
    "softmax for sigmoid": ("mean", head(activation="softmax")),
    "the first token for the mean": ("mean", head(takes="first")),
    "statistics of training left out": ("mean", layer(0, lambda each: None)),
    "two tags swapped": ("tags", lambda c: head(labels=(c.head.labels[1], c.head.labels[0], c.head.labels[2]))(c)),
    "an activation of values left out": ("score", layer(0, lambda each: replace(each, activation="identity"))),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_refused(made: Callable[[str], Made], fault: str) -> None:
    name, change = FAULTS[fault]
    assert mismatches(made(name), change)


@pytest.mark.parametrize("name", ["users", "stack"])
def test_dropout_that_is_left_in_is_refused(
    made: Callable[[str], Made], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    import tensorflow as tf
    from rawbert.exporter.graph.heads import logits

    sound = logits.Scores.__call__

    def dropping(self: Any, tokens: Any, encoder: Any) -> Any:
        vectors, pooled = encoder(tokens)
        return sound(self, tokens, lambda _: (tf.nn.dropout(vectors, 0.1), tf.nn.dropout(pooled, 0.1)))

    monkeypatch.setattr(logits.Scores, "__call__", dropping)
    assert mismatches(made(name))


def test_tags_that_are_off_by_a_token_are_refused(made: Callable[[str], Made], monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf
    from rawbert.exporter.graph.heads import logits

    sound = logits.Scores.__call__
    monkeypatch.setattr(logits.Scores, "__call__", lambda *args: tf.roll(sound(*args), 1, 1))
    assert mismatches(made("tags"))


def test_tokens_of_another_tokenizer_than_the_preprocessing_layers_are_refused(made: Callable[[str], Made]) -> None:
    of = made("preprocessed")
    assert of.recipe.tokenization.tokenizer == "tf-text"
    own = replace(of.recipe.tokenization, tokenizer="reference")
    chosen = replace(of.recipe, tokenization=own, chosen=("tokenizer",))
    tokenizer = tokenizer_of(chosen, of.checkpoint)
    assert mismatches(of, tokenizer=tokenizer)
    # The user's choice is used.
    taken = of._replace(recipe=chosen, expected=answers.compute(chosen, of.path))
    assert mismatches(taken, tokenizer=tokenizer) == []


def test_texts_that_are_cut_elsewhere_than_the_model_cuts_them_are_refused(made: Callable[[str], Made]) -> None:
    for name in ("users", "preprocessed"):
        of = made(name)
        with pytest.raises(VerificationError, match=r"cut at 31 tokens, but the reference reads a limit of 32"):
            answers.compute(replace(of.recipe, max_seq_length=31), of.path)


def test_a_reference_whose_layers_are_not_its_model_is_no_proof(
    made: Callable[[str], Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    of = made("stack")
    sound = keras_model.logits
    monkeypatch.setattr(keras_model, "logits", lambda x, layers: sound(x * 1.001, layers))
    with pytest.raises(ValueError, match="differ from those of its encoder and head layers"):
        answers.compute(of.recipe, of.path)


def test_the_kinds_of_layers_are_all_there(made: Callable[[str], Made]) -> None:
    """Check that the faults above are in the layers that their names say."""
    kinds = {name: [type(each) for each in made(name).checkpoint.head.layers] for name in ("stack", "mean")}
    assert kinds == {"stack": [Dense, LayerNorm, Dense], "mean": [Dense, Dense]}
