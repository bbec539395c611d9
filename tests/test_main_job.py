"""The main job: a checkpoint goes in, and a gRPC call with plain strings brings back the reference's embeddings.

Real weights throughout: all-MiniLM-L6-v2 as its sentence-transformers folder, and as a TF Hub encoder in the form
that tf-models-official writes.
"""

from __future__ import annotations

import importlib.util
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exports import exported
from rawbert.serving import Client

ATOL = 1e-5
LONG = "one two three four, five. " * 100


@pytest.fixture(scope="module")
def golden(data: Path) -> tuple[list[str], np.ndarray]:
    """48 texts, and sentence-transformers' embedding of each alone, float32 [48, 384]."""
    cases = json.loads((data / "minilm_golden.json").read_text(encoding="utf-8"))["cases"]
    with np.load(data / "minilm_golden.npz") as arrays:
        return [case["text"] for case in cases], arrays["embeddings"]


@pytest.fixture(scope="module")
def minilm(minilm_bundle: Any) -> Iterator[Client]:
    from rawbert.serving.server import EmbeddedServer

    with (
        EmbeddedServer("minilm", minilm_bundle.base_path) as server,
        Client(server.address, model="minilm", max_batch_size=128, timeout=300) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def hub_minilm(data: Path, minilm_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """all-MiniLM-L6-v2 as a TF Hub encoder."""
    spec = importlib.util.spec_from_file_location("hub_minilm", data / "hub_minilm.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.build(minilm_folder, tmp_path_factory.mktemp("hub") / "minilm")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 31, 32, 48, 64, 100, 127, 128])
def test_embed_equals_sentence_transformers_at_every_batch_size_in_any_order(
    minilm: Client, golden: tuple[list[str], np.ndarray], size: int
) -> None:
    texts, vectors = golden
    rows = random.Random(size).choices(range(len(texts)), k=size)
    answer = minilm.embed([texts[row] for row in rows])
    assert (answer.dtype, answer.shape) == (np.float32, (size, 384))
    np.testing.assert_allclose(answer, vectors[rows], atol=ATOL, rtol=0)


def test_every_golden_text_alone(minilm: Client, golden: tuple[list[str], np.ndarray]) -> None:
    texts, vectors = golden
    for text, vector in zip(texts, vectors, strict=True):
        np.testing.assert_allclose(minilm.embed([text]), [vector], atol=ATOL, rtol=0)


def test_serving_default_is_embed(minilm: Client, golden: tuple[list[str], np.ndarray]) -> None:
    texts, vectors = golden
    outputs = minilm.predict({"text": texts[:4]}, signature_name="serving_default")
    np.testing.assert_allclose(outputs["embedding"], vectors[:4], atol=ATOL, rtol=0)


def test_sequences_are_trimmed_to_their_tokens(minilm: Client) -> None:
    texts = ["A short one.", "", "A somewhat longer text, with a few more words in it.", LONG]
    alone = [minilm.sequence([text])[0] for text in texts]
    for together, single, tokens in zip(minilm.sequence(texts), alone, minilm.tokenize(texts), strict=True):
        np.testing.assert_array_equal(together.ids, single.ids)
        np.testing.assert_array_equal(together.ids, tokens.ids)
        np.testing.assert_allclose(together.vectors, single.vectors, atol=ATOL, rtol=0)
        assert together.vectors.shape == (len(together.ids), 384)
    assert [len(tokens) for tokens in alone] == [6, 2, 15, 256]
    assert [tokens.truncated for tokens in alone] == [False, False, False, True]
    words = [texts[0].encode()[start:limit] for start, limit in zip(*_spans(alone[0]), strict=True)]
    assert words == [b"A", b"short", b"one", b"."]


def _spans(tokens: Any) -> tuple[list[int], list[int]]:
    return tokens.start_offsets[1:-1].tolist(), tokens.limit_offsets[1:-1].tolist()


def test_an_empty_batch_gives_empty_outputs_on_every_signature(minilm: Client) -> None:
    for name, signature in minilm.metadata().signatures.items():
        outputs = minilm.predict({"text": np.array([], object)}, signature_name=name)
        assert set(outputs) == set(signature.outputs)
        for output in outputs.values():
            assert output.shape[0] == 0


# Slow, because the proof of small models in other tests also compares exports of Hub encoders with the layer itself.
@pytest.mark.slow
@pytest.mark.parametrize("impl", ["hub", "native"])
def test_a_hub_encoder_gives_the_layer_s_own_outputs(
    hub_minilm: Path, tmp_path: Path, golden: tuple[list[str], np.ndarray], impl: str
) -> None:
    import tensorflow as tf
    import tensorflow_hub as hub
    from rawbert.serving.server import EmbeddedServer
    from transformers import BertTokenizer

    bundle = exported(hub_minilm, tmp_path, encoder_impl=impl)
    assert bundle.manifest["recipe"]["encoder"] == impl
    texts = [*golden[0][:30], "", LONG]
    layer = hub.KerasLayer(str(hub_minilm))
    tokenizer = BertTokenizer(vocab=str(hub_minilm / "assets" / "vocab.txt"), do_lower_case=True)
    encoded = tokenizer(texts, padding=True, truncation=True, max_length=512, return_tensors="np")
    expected = layer(
        {
            "input_word_ids": tf.constant(encoded["input_ids"], tf.int32),
            "input_mask": tf.constant(encoded["attention_mask"], tf.int32),
            "input_type_ids": tf.constant(encoded["token_type_ids"], tf.int32),
        }
    )
    with EmbeddedServer("m", bundle.base_path) as server, Client(server.address, model="m", timeout=300) as client:
        pooled, sequences = client.pooled(texts), client.sequence(texts)
        for name in client.metadata().signatures:
            outputs = client.predict({"text": np.array([], object)}, signature_name=name)
            assert {len(output) for output in outputs.values()} == {0}
    np.testing.assert_allclose(pooled, expected["pooled_output"], atol=ATOL, rtol=0)
    for tokens, ids, mask, vectors in zip(
        sequences, encoded["input_ids"], encoded["attention_mask"], expected["sequence_output"].numpy(), strict=True
    ):
        count = mask.sum()
        np.testing.assert_array_equal(tokens.ids, ids[:count])
        np.testing.assert_allclose(tokens.vectors, vectors[:count], atol=ATOL, rtol=0)


def test_a_process_with_tensorflow_and_tensorflow_text_alone_runs_it(
    minilm_bundle: Any, tmp_path: Path, golden: tuple[list[str], np.ndarray]
) -> None:
    # Moved: nothing outside the folder is needed. (Its source is deleted by the fixture.)
    moved = shutil.copytree(minilm_bundle.path, tmp_path / "moved")
    code = f"""
import json, sys
for name in ("rawbert", "transformers", "tokenizers", "tensorflow_hub", "tf_keras", "huggingface_hub"):
    sys.modules[name] = None
import tensorflow as tf
import tensorflow_text
model = tf.saved_model.load({str(moved)!r})
texts = json.load(sys.stdin)
print(json.dumps(model.signatures["embed"](text=tf.constant(texts))["embedding"].numpy().tolist()))
"""
    texts, vectors = golden
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(texts[:8]), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(json.loads(done.stdout), vectors[:8], atol=ATOL, rtol=0)


def test_saved_model_cli_lists_the_signatures(minilm_bundle: Any) -> None:
    tool = Path(sys.executable).with_name("saved_model_cli")
    command = [sys.executable, str(tool), "show", "--dir", str(minilm_bundle.path), "--tag_set", "serve", "--all"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for name in ("embed", "pooled", "sequence", "tokenize", "serving_default"):
        assert f"signature_def['{name}']" in done.stdout
    assert "inputs['text'] tensor_info:\n        dtype: DT_STRING\n        shape: (-1)" in done.stdout
    assert "outputs['embedding'] tensor_info:\n        dtype: DT_FLOAT\n        shape: (-1, 384)" in done.stdout


def test_the_weights_are_held_once(minilm_bundle: Any, minilm_folder: Path) -> None:
    weights = (minilm_folder / "model.safetensors").stat().st_size
    assert len(minilm_bundle.signatures) == 5
    assert minilm_bundle.size < 1.1 * weights
