"""Which vectors ``rawbert embed`` asks a model for, and what it says of texts that a model cuts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import toy_models
from rawbert.serving import Client
from rawbert.serving.cli.signature import signatures, vector_output
from rawbert.serving.contract import TensorSpec
from rawbert.serving.wire.messages import SignatureInfo
from test_serving_cli import rawbert

LONG = "x" * 40


def model(**given: dict[str, tuple[str, tuple[int, ...] | None]]) -> dict[str, SignatureInfo]:
    text = {"text": TensorSpec("text", "string", (-1,))}
    return {
        name: SignatureInfo(text, {each: TensorSpec(each, *spec) for each, spec in outputs.items()})
        for name, outputs in given.items()
    }


VECTOR, TOKENS = ("float32", (-1, 4)), ("float32", (-1, -1, 4))


@pytest.mark.parametrize(
    ("found", "signature", "output", "choice"),
    [
        ({}, None, None, ("embed", "embedding")),
        ({}, "pooled", None, ("pooled", "pooled_output")),
        (model(embed={"embedding": VECTOR}, serving_default={"other": VECTOR}), None, None, ("embed", "embedding")),
        (model(embed={"embedding": VECTOR, "half": VECTOR}), None, None, ("embed", "embedding")),
        (model(embed={"embedding": VECTOR, "half": VECTOR}), None, "half", ("embed", "half")),
        (model(serving_default={"pooled_output": VECTOR}, pooled={"pooled_output": VECTOR}), None, None,
         ("serving_default", "pooled_output")),
        (model(serving_default={"a": VECTOR, "b": TOKENS}), None, None, ("serving_default", "a")),
        (model(serving_default={"a": ("float32", None)}), None, None, ("serving_default", "a")),
        (model(serving_default={"a": TOKENS}, other={"v": VECTOR, "n": ("int32", (-1,))}), None, None, ("other", "v")),
        (model(tokenize={"token_count": ("int32", (-1,))}, one={"v": VECTOR}), None, None, ("one", "v")),
        (model(one={"v": VECTOR}, two={"v": VECTOR}), "two", None, ("two", "v")),
        (model(one={"v": VECTOR}), "nope", None, ("nope", "embedding")),
    ],
)  # fmt: skip
def test_the_vectors_of_a_model(found: Any, signature: Any, output: Any, choice: tuple[str, str]) -> None:
    assert tuple(vector_output(found, signature, output).values()) == choice


@pytest.mark.parametrize(
    ("found", "signature", "output", "says"),
    [
        (model(serving_default={"a": VECTOR, "b": VECTOR}), None, None,
         "one of --signature serving_default --output-name a, --signature serving_default --output-name b"),
        (model(one={"v": VECTOR}, two={"v": VECTOR}), None, None, "--signature two --output-name v"),
        (model(serving_default={"a": TOKENS}), None, None, "the model has no output with one float vector a text"),
        (model(embed={"embedding": VECTOR}), "embed", "nope", "signature 'embed' has no output 'nope'"),
        ({"embed": SignatureInfo({"x": TensorSpec("x", "float32", (-1,))}, model(a={"v": VECTOR})["a"].outputs)}, None,
         None, "for an input 'text'"),
    ],
)  # fmt: skip
def test_a_model_without_one_kind_of_vectors(found: Any, signature: Any, output: Any, says: str) -> None:
    with pytest.raises(click.UsageError) as raised:
        vector_output(found, signature, output)
    assert says in raised.value.message


@pytest.fixture(scope="module")
def pooled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A model as one of the Hub becomes: without ``embed``."""
    from rawbert.serving.server import EmbeddedServer

    folder = tmp_path_factory.mktemp("pooled")
    toy_models.save_text_model(folder / "1", omit=("embed", "tokenize"))
    with EmbeddedServer("hub", folder) as server:
        yield server


def test_a_model_without_embed(pooled: Any, tmp_path: Path) -> None:
    asked = ["--address", pooled.address, "--model", "hub"]
    texts = [f"text {at}" for at in range(150)]
    (tmp_path / "in.txt").write_text("\n".join(texts))
    (tmp_path / "no.txt").write_text("")
    expected = np.array([toy_models.pooled(text.encode()) for text in texts])
    result = rawbert("embed", *asked, "--input", str(tmp_path / "in.txt"), "--output", str(tmp_path / "out.npy"))
    assert result.returncode == 0, result.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), expected)
    result = rawbert("embed", *asked, "--input", str(tmp_path / "no.txt"), "--output", str(tmp_path / "no.npy"))
    assert result.returncode == 0, result.stderr
    assert np.load(tmp_path / "no.npy").shape == (0, 4)
    lines = rawbert("embed", *asked, "--signature", "pooled", *texts[:3]).stdout.splitlines()
    np.testing.assert_array_equal([json.loads(line)["embedding"] for line in lines], expected[:3])
    result = rawbert("embed", *asked, "--signature", "sequence", "a")
    assert (result.returncode, b"has no output with one float vector a text" in result.stderr) == (2, True)
    result = rawbert("embed", *asked, "--on-truncation", "fail", "a")
    assert (result.returncode, b"no signature 'tokenize'" in result.stderr) == (1, True)
    with Client(pooled.address, model="hub") as client:
        choice = vector_output(signatures(client))
        np.testing.assert_array_equal(client.embed(texts, **choice), expected)
        np.testing.assert_array_equal(list(client.embed_iter(texts, **choice)), expected)
        assert client.embed([], **choice).shape == (0, 4)
        with pytest.raises(TypeError, match="output_name is for vectors"):
            client.sequence(texts, output_name="pooled_output")


def test_texts_that_are_cut(text_server: Any, tmp_path: Path) -> None:
    asked = ["embed", "--address", text_server.address, "--model", "text"]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in ("a", LONG, "b", LONG)))
    files = ["--input", str(tmp_path / "in.jsonl"), "--output", str(tmp_path / "out.npy")]
    result = rawbert(*asked, *files, "--on-truncation", "fail")
    said = b"2 texts are longer than the model takes, and are cut: "
    assert (result.returncode, said in result.stderr) == (1, True)
    assert b"in.jsonl, line 2; " in result.stderr
    assert b"in.jsonl, line 4" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]
    result = rawbert(*asked, *files)
    assert (result.returncode, said in result.stderr) == (0, True)
    result = rawbert(*asked, *files, "--overwrite", "--on-truncation", "ignore")
    assert (result.returncode, b"longer" in result.stderr) == (0, False)
    result = rawbert(*asked, "a", LONG)
    assert (result.returncode, len(result.stdout.splitlines())) == (0, 2)
    assert b"1 texts are longer than the model takes, and are cut: text 2" in result.stderr
    result = rawbert(*asked, "a", LONG, "--on-truncation", "fail")
    assert (result.returncode, result.stdout) == (1, b"")
    (tmp_path / "many.txt").write_text(f"{LONG}\n" * 30)
    result = rawbert(*asked, "--input", str(tmp_path / "many.txt"))
    assert b"30 texts" in result.stderr
    assert b"and 20 more" in result.stderr
