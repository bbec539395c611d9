"""Fine-tuned models from the folder to the server: exported, described, served, and verified on the server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from exports import exported, once
from fine_tuned import GOLDEN, PAIRS, TEXTS, folder_of, logits_of, probabilities
from rawbert.serving import Client


def rawbert(*arguments: Any) -> str:
    from rawbert.serving.cli.app import rawbert as group

    result = CliRunner().invoke(group, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="session")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """tiny_bert with a tagger's head, with all signatures; the default is tag."""
    make = lambda scratch: exported(folder_of("bert.Token.9", scratch / "made"), scratch)  # noqa: E731
    return once(tmp_path_factory, "tagger", make)


@pytest.fixture(scope="module")
def client(tagger: Any) -> Iterator[Client]:
    from rawbert.serving.server import EmbeddedServer

    with EmbeddedServer("bert", tagger.base_path) as server, Client(server.address, model="bert") as client:
        yield client


def test_every_text_gets_transformers_tags_over_grpc(client: Client) -> None:
    answer = client.predict({"text": TEXTS}, signature_name="tag")
    logits = logits_of("bert.Token.9")[: len(TEXTS)]
    found, scores = [], []
    for row, wanted in enumerate(logits):
        length = answer["input_mask"][row].sum()
        assert length == len(wanted)
        got = answer["tag_scores"][row]
        np.testing.assert_allclose(got[:length], probabilities(wanted, "softmax"), rtol=0, atol=1e-5)
        assert not got[length:].any()
        tagged = answer["start_offsets"][row] >= 0
        assert [bool(tag) for tag in answer["tag"][row]] == tagged.tolist()
        found += answer["tag"][row][tagged].tolist()
        scores += got[tagged].max(-1).tolist()
        assert answer["tags"][row].tolist() == [f"L{at}".encode() for at in range(9)]
    assert [tag.decode() for tag in found] == GOLDEN["pipeline.tag.labels"].tolist()
    np.testing.assert_allclose(scores, GOLDEN["pipeline.tag"], rtol=0, atol=1e-5)


def test_the_default_is_tag_and_the_encoders_signatures_are_beside_it(client: Client, tagger: Any) -> None:
    assert list(tagger.manifest["recipe"]["signatures"]) == ["tag", "sequence", "tokenize"]
    default, tag = (client.predict({"text": TEXTS[:2]}, signature_name=name) for name in ("serving_default", "tag"))
    assert default.keys() == tag.keys()
    assert all(np.array_equal(default[name], tag[name]) for name in tag)
    tokens = client.tokenize(TEXTS)
    assert [each.ids.tolist() for each in tokens] == [each.ids.tolist() for each in client.sequence(TEXTS)]


def test_a_server_is_verified(client: Client, tagger: Any) -> None:
    report = json.loads(rawbert("verify", tagger.path, "--address", client.address, "--json"))
    assert report["mismatches"] == []
    assert report["outputs"]["tag.tag_scores"]["min_cosine"] is None
    shown = rawbert("verify", tagger.path, "--address", client.address)
    assert "equal     tokens, offsets, counts and labels" in shown
    assert "logits    tag.tag_scores is compared by its logits, within " in shown


def test_labels_are_in_the_manifest_the_card_and_what_inspect_shows(tagger: Any) -> None:
    labels = [f"L{at}" for at in range(9)]
    assert tagger.manifest["head"] == {"signature": "tag", "labels": labels, "activation": "softmax"}
    card = (tagger.path / "assets.extra" / "README.md").read_text(encoding="utf-8")
    assert "## Tag\n\nScores are probabilities by softmax" in card
    assert "|  | tag |\n| --- | --- |\n| 0 | L0 |\n" in card
    assert "| `tag.tag_scores` |" in card
    shown = rawbert("inspect", tagger.path)
    assert "labels    of tag: L0, L1, L2" in shown
    assert "tag_scores" in shown
    assert "no errors" in rawbert("check", tagger.path)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_cross_encoder_scores_pairs(tmp_path: Path, precision: str) -> None:
    import tensorflow as tf

    source = folder_of("electra.Sequence.1", tmp_path / "made", sentence_transformers={"version": "5.0"})
    bundle = exported(source, tmp_path, precision=precision)
    functions = tf.saved_model.load(str(bundle.path)).signatures
    first, second = (tf.constant([pair[at] for pair in PAIRS]) for at in (0, 1))
    got = functions["serving_default"](text=first, text_pair=second)["score"].numpy()
    wanted = [probabilities(value, "sigmoid")[0] for value in logits_of("electra.Sequence.1")[-len(PAIRS) :]]
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 if precision == "float32" else 0.05)
    card = (bundle.path / "assets.extra" / "README.md").read_text(encoding="utf-8")
    assert "## Score\n\nScores are probabilities by sigmoid" in card
    assert "signatures take pairs" in card


@pytest.mark.slow
@pytest.mark.parametrize("tokenizer", ["reference", "tf-text"])
@pytest.mark.parametrize("pair", [False, True])
def test_a_tagger_of_pairs_and_of_tensorflow_texts_tokens(tmp_path: Path, tokenizer: str, pair: bool) -> None:
    source = folder_of("bert.Token.9", tmp_path / "made")
    bundle = exported(source, tmp_path, signatures=("tag",), tokenizer=tokenizer, pair=pair)
    assert bundle.manifest["verification"]["outputs"]["tag.tag_scores"]["max_abs"] < 1e-4
