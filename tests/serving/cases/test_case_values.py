"""Arguments and results of calls: plain arrays that belong to the caller; texts, but not other objects."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import toy_models
from rawbert.serving import AsyncClient, Client


def both(address: str, model: str, call: Callable[[Any], Any]) -> list[Any]:
    """The same call with the sync and with the asyncio client."""

    async def asked() -> Any:
        async with AsyncClient(address, model=model) as client:
            return await call(client)

    with Client(address, model=model) as client:
        return [call(client), asyncio.run(asked())]


def listed(stream: Any) -> Any:
    """All items of a stream, sync or asyncio."""

    async def awaited() -> list[Any]:
        return [each async for each in stream]

    return awaited() if isinstance(stream, AsyncIterator) else list(stream)


@pytest.mark.parametrize("count", [1, 64, 65, 200])
def test_vectors_are_plain_arrays_that_may_be_written_to(server: Any, count: int) -> None:
    texts = [str(at) for at in range(count)]
    for vectors in both(server.address, "m", lambda client: client.embed(texts)):
        assert type(vectors) is np.ndarray
        assert not hasattr(vectors, "__dict__")
        assert vectors.flags.owndata or vectors.base.flags.writeable
        assert json.loads(json.dumps(vectors.tolist())) == [[1, at] for at in range(count)]
        vectors += 1
        assert vectors[:, 1].tolist() == list(range(1, count + 1))
        for again in (copy.deepcopy(vectors), pickle.loads(pickle.dumps(vectors))):
            np.testing.assert_array_equal(again, vectors)
    for stream in both(server.address, "m", lambda client: listed(client.embed_iter(texts))):
        for vector in stream:
            assert type(vector) is np.ndarray
            vector += 1


def test_all_results_may_be_written_to(side: Any) -> None:
    texts = ["a", "", "a longer text"]
    for method in ("pooled", "embed"):
        for found in both(side.address, "text", lambda client, method=method: getattr(client, method)(texts)):
            assert type(found) is np.ndarray
            found[:] = 0
    for method in ("sequence", "tokenize"):
        for found in both(side.address, "text", lambda client, method=method: getattr(client, method)(texts)):
            for each in found:
                for array in vars(each).values() if hasattr(each, "__dict__") else ():
                    assert type(array) in (np.ndarray, int, type(None), bool)
                each.ids[:] = each.start_offsets[:] = 0
    for found in both(side.address, "text", lambda client: client.predict({"text": texts})):
        found["embedding"][:] = 0


def test_the_version_that_answered(side: Any) -> None:
    for texts in ([], ["a"], ["a"] * 200):
        for vectors, version in both(
            side.address, "text", lambda client, texts=texts: client.embed(texts, return_version=True)
        ):
            assert (len(vectors), version) == (len(texts), 3 if texts else None)
    for found in both(side.address, "text", lambda client: client.predict({"text": ["a"]})):
        assert found.model_version == 3
    for found in both(side.address, "text", lambda client: listed(client.embed_iter(["a"], return_version=True))):
        assert [version for _, version in found] == [3]


class Frame:
    """Like a data frame of pandas or polars, whose iteration yields column names."""

    columns, shape = ("text", "id"), (2, 2)

    def __iter__(self) -> Any:
        return iter(self.columns)


@pytest.mark.parametrize("method", ["embed", "pooled", "tokenize", "sequence", "embed_iter", "classify", "tag"])
@pytest.mark.parametrize(
    ("texts", "says"),
    [
        ({"text": "a"}, "texts is a dict: its keys would be sent; give list"),
        (Frame(), "texts is a Frame: its column names would be sent; give one column"),
        ("a", "texts is a single str"),
        (b"a", "texts is a single bytes"),
        (None, "texts is None; give a list of texts"),
        (7, "texts is a int; give a list of texts"),
        (["a", None], r"texts\[1\] is a NoneType"),
        (["a", 1.5], r"texts\[1\] is a float"),
        (["a", float("nan")], r"texts\[1\] is a float"),
        ([["a", "b"]], r"texts\[0\] is a list"),
    ],
)
def test_what_is_no_list_of_texts_is_refused(server: Any, method: str, texts: Any, says: str) -> None:
    def call(client: Any) -> Any:
        made = getattr(client, method)(texts)
        return listed(made) if method == "embed_iter" else made

    async def asked() -> None:
        async with AsyncClient(server.address, model="m") as client:
            with pytest.raises(TypeError, match=says):
                await call(client)

    with Client(server.address, model="m") as client, pytest.raises(TypeError, match=says):
        call(client)
    asyncio.run(asked())
    assert server.sizes == []


def test_a_table_of_arrow(server: Any) -> None:
    """A table is refused, one of its columns is accepted."""
    table = pa.table({"text": ["1", "2"], "id": [5, 6]})
    with Client(server.address, model="m") as client:
        for call in (client.embed, client.pooled, lambda texts: next(client.embed_iter(texts))):
            with pytest.raises(TypeError, match="give one column"):
                call(table)
        assert server.sizes == []
        assert client.embed(table["text"].to_pylist())[:, 1].tolist() == [1, 2]


@pytest.mark.parametrize(
    "texts",
    [
        np.array(["a", "é"]),
        np.array(["a", "é"], object),
        np.array(["a", "é"], np.dtypes.StringDType()),
        np.array([b"a", "é".encode()]),
        ("a", "é"),
        {"a": 1, "é": 2}.keys(),
    ],
    ids=lambda texts: f"{type(texts).__name__} {getattr(texts, 'dtype', '')}",
)
def test_collections_of_texts(side: Any, texts: Any) -> None:
    expected = [toy_models.embedding(text.encode()) for text in ("a", "é")]
    for found in both(side.address, "text", lambda client: client.embed(texts)):
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    for found in (
        both(side.address, "text", lambda client: client.predict({"text": texts}))
        if isinstance(texts, np.ndarray)
        else ()
    ):
        np.testing.assert_allclose(found["embedding"], expected, rtol=1e-6)
