"""The choice of a model's vectors in commands, their notes about cut texts, and ``rawbert bench``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import click
import numpy as np
import official_models
import pytest
import toy_models
from command import rawbert
from official_server import Official
from rawbert.serving import Client
from rawbert.serving.cli.signature import signatures, vector_output
from rawbert.serving.contract import TensorSpec
from rawbert.serving.wire.messages import SignatureInfo

LONG = "x" * 40
BENCH = ["bench", "--callers", "1", "--seconds", "0.1", "--json"]


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
        (model(serving_default={"a": TOKENS}), None, None, "the model has no output with one float vector per text"),
        (model(embed={"embedding": VECTOR}), "embed", "nope", "signature 'embed' has no output 'nope'"),
        ({"embed": SignatureInfo({"x": TensorSpec("x", "float32", (-1,))}, model(a={"v": VECTOR})["a"].outputs)}, None,
         None, "for an input 'text'"),
    ],
)  # fmt: skip
def test_a_model_without_one_kind_of_vectors(found: Any, signature: Any, output: Any, says: str) -> None:
    with pytest.raises(click.UsageError) as raised:
        vector_output(found, signature, output)
    assert says in raised.value.message


def test_a_model_without_embed(side: Any, tmp_path: Path) -> None:
    """Like exports of Hub models, whose default is ``pooled``."""
    asked = ["--address", side.address, "--model", "hub"]
    texts = [f"text {at}" for at in range(150)]
    (tmp_path / "in.txt").write_text("\n".join(texts))
    (tmp_path / "no.txt").write_text("")
    expected = np.array([toy_models.pooled(text.encode()) for text in texts])
    result = rawbert("embed", *asked, "--input", tmp_path / "in.txt", "--output", tmp_path / "out.npy")
    assert result.returncode == 0, result.err
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), expected)
    result = rawbert("embed", *asked, "--input", tmp_path / "no.txt", "--output", tmp_path / "no.npy")
    assert result.returncode == 0, result.err
    assert np.load(tmp_path / "no.npy").shape == (0, 4)
    lines = rawbert("embed", *asked, "--signature", "pooled", *texts[:3]).stdout.splitlines()
    np.testing.assert_array_equal([json.loads(line)["embedding"] for line in lines], expected[:3])
    result = rawbert("embed", *asked, "--signature", "sequence", "a")
    assert (result.returncode, "has no output with one float vector per text" in result.err) == (2, True)
    result = rawbert("embed", *asked, "--on-truncation", "fail", "a")
    assert (result.returncode, "no signature 'tokenize'" in result.err) == (1, True)
    result = rawbert(*BENCH, *asked)
    assert result.returncode == 0, result.err
    assert json.loads(result.stdout)[0]["failed"] == 0
    with Client(side.address, model="hub") as client:
        choice = vector_output(signatures(client))
        np.testing.assert_array_equal(client.embed(texts, **choice), expected)
        np.testing.assert_array_equal(list(client.embed_iter(texts, **choice)), expected)
        assert client.embed([], **choice).shape == (0, 4)
        with pytest.raises(TypeError, match="output_name is for vectors"):
            client.sequence(texts, output_name="pooled_output")


@pytest.mark.parametrize(
    ("signatures", "given", "says"),
    [
        ({"encode": ("vector", (-1, 5))}, [], None),
        ({"encode": ("vector", (-1, 5))}, ["--signature", "encode"], None),
        ({"a": ("x", (-1, 2)), "b": ("y", (-1, 3))}, [], "choose one of --signature a --output-name x, --signature b"),
        ({"a": ("x", (-1, 2)), "b": ("y", (-1, 3))}, ["--signature", "b"], None),
        ({"serving_default": ("tokens", (-1, -1, 3))}, [], "has no output with one float vector per text"),
    ],
)
@pytest.mark.parametrize("words", [BENCH, ["embed", "a"]], ids=lambda words: words[0])
def test_models_that_others_made(words: list[str], signatures: Any, given: list[str], says: str | None) -> None:
    """Only with the official stubs: the choice depends on metadata, which have the same form on both servers."""
    with Official({"text": official_models.model(**signatures)}) as server:
        result = rawbert(*words, "-a", server.address, "-m", "text", *given)
    if says is None:
        assert result.returncode == 0, result.err
        found = json.loads(result.stdout)
        assert found[0]["failed"] == 0 if words == BENCH else len(found["embedding"]) in (3, 5)
    else:
        assert (result.returncode, says in result.err) == (2, True), result.err


def test_texts_that_are_cut(side: Any, tmp_path: Path) -> None:
    asked = ["embed", "--address", side.address, "--model", "text"]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in ("a", LONG, "b", LONG)))
    files = ["--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.npy"]
    result = rawbert(*asked, *files, "--on-truncation", "fail")
    said = "2 texts too long for the model, and cut: "
    assert (result.returncode, said in result.err) == (1, True)
    assert "in.jsonl, line 2; " in result.err
    assert "in.jsonl, line 4" in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]
    result = rawbert(*asked, *files)
    assert (result.returncode, said in result.err) == (0, True)
    result = rawbert(*asked, *files, "--overwrite", "--on-truncation", "ignore")
    assert (result.returncode, "longer" in result.err) == (0, False)
    result = rawbert(*asked, "a", LONG)
    assert (result.returncode, len(result.stdout.splitlines())) == (0, 2)
    assert "1 text too long for the model, and cut: text 2" in result.err
    result = rawbert(*asked, "a", LONG, "--on-truncation", "fail")
    assert (result.returncode, result.stdout) == (1, b"")
    (tmp_path / "many.txt").write_text(f"{LONG}\n" * 30)
    result = rawbert(*asked, "--input", tmp_path / "many.txt")
    assert "30 texts" in result.err
    assert "and 20 more" in result.err


def test_bench(side: Any, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("1\n2\n")
    command = ["bench", side.address, "--model", "m", "--input", tmp_path / "texts.txt", "--seconds", "0.2"]
    chart = tmp_path / "chart.svg"
    result = rawbert(*command, "--callers", "1,4", "--chart", chart)
    assert result.returncode == 0, result.err
    assert "texts/s" in result.out
    assert result.out.count("#") > 40
    root = ElementTree.parse(chart).getroot()
    name = "{http://www.w3.org/2000/svg}"
    assert len(root.findall(f".//{name}polyline")) == 4
    assert len(root.findall(f".//{name}circle")) == 4 * 2
    assert any("m at 127.0.0.1" in (text.text or "") for text in root.iter(f"{name}text"))
    results = json.loads(rawbert(*command, "--callers", "1,4", "--batch-size", "3", "--json").stdout)
    assert [each["callers"] for each in results] == [1, 4]
    for each in results:
        assert each["failed"] == 0
        assert 0 < each["p50"] <= each["p90"] <= each["p99"] <= each["longest"]
        assert each["texts_per_second"] == pytest.approx(3 * each["calls_per_second"])
    result = rawbert(*command, "--chart", "chart.png")
    assert (result.returncode, "must end in .svg" in result.err) == (2, True)


def test_a_chart_of_a_name_with_signs(tmp_path: Path) -> None:
    """Only with the official stubs, which allow any name for a model."""
    with Official({"a<b": official_models.NUMBERS}) as server:
        (tmp_path / "1").write_text("1\n")
        command = ["bench", server.address, "--model", "a<b", "--input", tmp_path / "1", "--seconds", "0.1"]
        assert rawbert(*command, "--callers", "1", "--chart", tmp_path / "chart.svg").returncode == 0
    text = ElementTree.parse(tmp_path / "chart.svg").getroot().itertext()
    assert any("a<b at 127.0.0.1" in each for each in text)
