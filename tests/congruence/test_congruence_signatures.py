"""The signatures of a bundle, called with the official stubs and with rawbert's clients.

The expected answers were computed with transformers and sentence-transformers (tests/data/README.md).
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import servers
import toy_models
from cases import row


def _outputs(calls: Any, signature: str, texts: list[str]) -> dict[str, Any]:
    import tensorflow as tf

    inputs = {"text": np.array([text.encode() for text in texts], object)}
    answer = calls.predict(servers.request("bundle", signature, inputs))
    return {name: tf.make_ndarray(tensor) for name, tensor in answer.outputs.items()}


def _close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, atol=1e-5)


@row("Signatures", "`embed`, `pooled`, `sequence`, `tokenize` and `serving_default`")
@pytest.mark.parametrize("signature", ["embed", "serving_default"])
def test_embed(plain: Any, golden: Any, signature: str) -> None:
    texts, _, arrays = golden
    _close(_outputs(plain, signature, texts)["embedding"], arrays["mean_dense_normalize"])


@row("Signatures", "`embed`, `pooled`, `sequence`, `tokenize` and `serving_default`")
def test_pooled(plain: Any, golden: Any, data: Path) -> None:
    from safetensors.numpy import load_file

    texts, _, arrays = golden
    weights = load_file(data / "tiny_bert" / "model.safetensors")
    (kernel,) = (weights[name] for name in weights if name.endswith("pooler.dense.weight"))
    (bias,) = (weights[name] for name in weights if name.endswith("pooler.dense.bias"))
    _close(_outputs(plain, "pooled", texts)["pooled_output"], np.tanh(arrays["cls"] @ kernel.T + bias))


@row("Signatures", "`embed`, `pooled`, `sequence`, `tokenize` and `serving_default`")
def test_sequence(plain: Any, golden: Any) -> None:
    texts, ids, arrays = golden
    outputs = _outputs(plain, "sequence", texts)
    for at, (tokens, vectors) in enumerate(zip(ids, outputs["sequence_output"], strict=True)):
        assert outputs["input_word_ids"][at][outputs["input_mask"][at] == 1].tolist() == tokens
        _close(vectors[0], arrays["cls"][at])
        _close(vectors[: len(tokens)].mean(axis=0), arrays["mean"][at])
        _close(vectors[: len(tokens)].max(axis=0), arrays["max"][at])
        assert not vectors[len(tokens) :].any()


@row("Signatures", "`embed`, `pooled`, `sequence`, `tokenize` and `serving_default`")
def test_tokenize(plain: Any, golden: Any) -> None:
    texts, ids, _ = golden
    outputs = _outputs(plain, "tokenize", texts)
    assert "sequence_output" not in outputs
    for at, text in enumerate(texts[:1]):  # "The cat sat on the mat."
        assert outputs["input_word_ids"][at][outputs["input_mask"][at] == 1].tolist() == ids[at]
        kept = outputs["start_offsets"][at] >= 0
        spans = zip(outputs["start_offsets"][at][kept], outputs["limit_offsets"][at][kept], strict=True)
        words = [text.encode()[start:limit].decode() for start, limit in spans]
        assert words == ["The", "cat", "sat", "on", "the", "mat", "."]
    # The last text is longer than the model takes.
    assert outputs["token_count"][-1] > len(ids[-1])
    assert outputs["token_count"][:-1].tolist() == [len(each) for each in ids[:-1]]


@row("Signatures", "The `tokens` dimension is that of the longest text of the batch")
def test_padding(plain: Any) -> None:
    texts = np.array([b"abc", b"", b"a longer text than fits into it"], object)
    rows = plain.array("text", "sequence", "sequence_output", {"text": texts})
    assert rows.shape == (3, toy_models.MAX_TOKENS, toy_models.HIDDEN)
    for found, text in zip(rows, texts, strict=True):
        expected = toy_models.vectors(text)
        np.testing.assert_allclose(found[: len(expected)], expected, rtol=1e-6)
        assert not found[len(expected) :].any()
    assert plain.array("text", "sequence", "sequence_output", {"text": texts[:1]}).shape[1] == 5


@row("Signatures", "rawbert's own clients call them")
def test_our_client(plain: Any, golden: Any) -> None:
    from rawbert.serving import Client

    texts, ids, arrays = golden
    with Client(plain.address, model="bundle") as client:
        client.wait_until_ready(timeout=30)
        _close(client.embed(texts), arrays["mean_dense_normalize"])
        assert [list(tokens.ids) for tokens in client.tokenize(texts)] == ids
        for tokens, cls in zip(client.sequence(texts), arrays["cls"], strict=True):
            _close(tokens.vectors[0], cls)
        assert client.pooled(texts).shape == (len(texts), arrays["cls"].shape[1])
        assert {"embed", "pooled", "sequence", "tokenize"} <= set(client.metadata().signatures)
        assert [(each.version, each.state) for each in client.status()] == [(1, "AVAILABLE")]


@row("Signatures", "rawbert's own clients call them")
def test_our_async_client(plain: Any, golden: Any) -> None:
    from rawbert.serving import AsyncClient

    texts, ids, arrays = golden

    async def ask() -> None:
        async with AsyncClient(plain.address, model="bundle") as client:
            await client.wait_until_ready(timeout=30)
            embedded, tokens = await asyncio.gather(client.embed(texts), client.tokenize(texts))
            _close(embedded, arrays["mean_dense_normalize"])
            assert [list(each.ids) for each in tokens] == ids
            assert [each.version for each in await client.status()] == [1]

    asyncio.run(ask())


@row("Signatures", "they read strings in `tensor_content` too")
def test_our_client_reads_tensor_content(batched: Any) -> None:
    from rawbert.serving import Client

    texts = ["abc", "", "é"]
    with Client(batched.address, model="text") as client:
        np.testing.assert_allclose(client.embed(texts), [toy_models.embedding(text.encode()) for text in texts], 1e-5)
    with Client(batched.address, model="batchable") as client:
        found = client.predict({"x": [b"a\0", b"", b"\xff"]}, signature_name="same")
        assert found["y"].tolist() == [b"a\0", b"", b"\xff"]
