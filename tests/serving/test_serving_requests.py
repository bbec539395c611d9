"""Arguments to requests and outputs to results, without a server."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rawbert.serving import (
    DecodeError,
    ModelMetadata,
    SignatureInfo,
    SignatureNotFound,
    TensorSpec,
    Tokens,
    TokenSequence,
)
from rawbert.serving.client import requests
from rawbert.serving.wire import messages
from rawbert.serving.wire.protos import GetModelMetadataResponse, GetModelStatusResponse, PredictRequest


def test_texts_may_be_str_and_bytes_of_any_iterable() -> None:
    assert requests.as_rows(["é", b"\xff\0"]) == [("é".encode(),), (b"\xff\0",)]
    assert requests.as_rows(text for text in ("a", "b")) == [(b"a",), (b"b",)]
    assert requests.as_rows(np.array(["a", "b"])) == [(b"a",), (b"b",)]
    assert requests.as_rows([]) == []


@pytest.mark.parametrize("single", ["text", b"text", bytearray(b"text")])
def test_a_single_text_is_refused(single: Any) -> None:
    with pytest.raises(TypeError, match=r"single .* give a list of texts"):
        requests.as_rows(single)


def test_what_is_no_text_is_refused_by_its_place() -> None:
    with pytest.raises(TypeError, match=r"texts\[1\] is a NoneType"):
        requests.as_rows(["a", None])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"texts\[2\]: .*'\\ud83d' at position 3: UTF-8 cannot encode it"):
        requests.as_rows(["a", b"\xed", "abc\ud83d"])


def test_pairs_go_with_their_texts() -> None:
    rows = requests.as_rows(["a", "b"], ["c", b"d"])
    assert rows == [(b"a", b"c"), (b"b", b"d")]
    request = PredictRequest.FromString(messages.text_request(messages.Target("m"), rows))
    assert {name: list(tensor.string_val) for name, tensor in request.inputs.items()} == {
        "text": [b"a", b"b"], "text_pair": [b"c", b"d"],
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"texts continues after the end of text_pair \(1 text\)"):
        requests.as_rows(["a", "b"], ["c"])


def test_what_is_asked() -> None:
    def spec(**target: Any) -> Any:
        return PredictRequest.FromString(messages.text_request(messages.Target("m", **target), [(b"a",)])).model_spec

    asked = spec(version=0, signature="s")
    assert (asked.name, asked.HasField("version"), asked.version.value, asked.signature_name) == ("m", True, 0, "s")
    assert spec(version_label="stable").WhichOneof("version_choice") == "version_label"
    assert spec().WhichOneof("version_choice") is None
    assert messages.Target("m", version_label="stable").at(3) == messages.Target("m", 3)


def outputs(**changes: Any) -> dict[str, Any]:
    """The answer of ``sequence`` for two texts with 3 and 2 tokens; a change to None leaves an output out."""
    made: dict[str, Any] = {
        "sequence_output": np.arange(12, dtype=np.float32).reshape(2, 3, 2),
        "input_word_ids": np.array([[1, 7, 2], [1, 2, 0]], np.int32),
        "input_mask": np.array([[1, 1, 1], [1, 1, 0]], np.int32),
        "start_offsets": np.array([[-1, 0, -1], [-1, -1, -1]], np.int32),
        "limit_offsets": np.array([[-1, 4, -1], [-1, -1, -1]], np.int32),
        "token_count": np.array([5, 2], np.int32),
        **changes,
    }
    return {name: array for name, array in made.items() if array is not None}


def sequences(answer: dict[str, Any]) -> list[TokenSequence]:
    return requests.per_text(TokenSequence, "sequence", answer, 2, 1)


def test_sequences_are_trimmed_to_their_tokens() -> None:
    long, short = sequences(outputs())
    assert long.ids.tolist() == [1, 7, 2]
    assert (long.start_offsets.tolist(), long.limit_offsets.tolist()) == ([-1, 0, -1], [-1, 4, -1])
    assert (len(long), long.token_count, long.truncated) == (3, 5, True)
    assert short.vectors.tolist() == [[6, 7], [8, 9]]
    assert (len(short), short.token_count, short.truncated) == (2, 2, False)
    assert [len(each) for each in requests.per_text(Tokens, "tokenize", outputs(), 2, 1)] == [3, 2]
    long.vectors[:] = long.ids[:] = 0  # They are the caller's own.
    assert short.vectors.tolist() == [[6, 7], [8, 9]]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sequence_output": None}, r"no output 'sequence_output' \(found: input_mask"),
        ({"token_count": None}, "no output 'token_count'"),
        ({"token_count": np.zeros((2, 1), np.int32)}, "token_count"),
        ({"input_mask": np.ones(2, np.int32)}, "input_mask"),
        ({"input_word_ids": np.zeros((3, 3), np.int32)}, "for 2 texts"),
        ({"start_offsets": np.zeros((2, 4), np.int32)}, "have different shapes"),
        ({"sequence_output": np.zeros((2, 3), np.float32)}, "sequence_output"),
    ],
)
def test_an_answer_that_breaks_the_contract_is_a_decode_error(change: dict[str, Any], says: str) -> None:
    with pytest.raises(DecodeError, match=says):
        sequences(outputs(**change))


def test_parts_of_unequal_width_are_not_joined() -> None:
    joined = requests.join_vectors([np.zeros((2, 3), np.float32), np.ones((1, 3), np.float32)], "embedding")
    assert joined.tolist() == [[0] * 3, [0] * 3, [1] * 3]
    with pytest.raises(DecodeError, match="3 and 4 dimensions: the server changed to another version"):
        requests.join_vectors([np.zeros((2, 3)), np.zeros((2, 4))], "embedding")


def model(shape: tuple[int, ...] | None) -> ModelMetadata:
    return ModelMetadata("m", 1, {"embed": SignatureInfo({}, {"embedding": TensorSpec("embedding", "float32", shape)})})


def test_static_width() -> None:
    assert requests.static_width(model((-1, 8)), "embed", "embedding") == 8
    assert requests.static_width(model((-1, -1)), "embed", "embedding") is None
    assert requests.static_width(model(None), "embed", "embedding") is None
    with pytest.raises(SignatureNotFound, match="no signature 'pooled'; choose from embed"):
        requests.static_width(model((-1, 8)), "pooled", "pooled_output")
    with pytest.raises(DecodeError, match="no output 'x'; choose from embedding"):
        requests.static_width(model((-1, 8)), "embed", "x")


def test_metadata_that_is_garbage_is_a_decode_error() -> None:
    response = GetModelMetadataResponse()
    response.metadata["signature_def"].value = b"\xff\xff\xff"
    with pytest.raises(DecodeError, match="SignatureDefMap"):
        messages.metadata_answer(response.SerializeToString())


def test_statuses_are_sorted_and_name_their_state() -> None:
    response = GetModelStatusResponse()
    for version, state in ((1, 50), (12, 30), (2, 20), (3, 99)):
        response.model_version_status.add(version=version).state = state  # type: ignore[assignment]
    response.model_version_status[0].status.error_code = 5  # type: ignore[assignment]
    response.model_version_status[0].status.error_message = "gone"
    found = [(each.version, each.state) for each in messages.status_answer(response.SerializeToString())]
    assert found == [(12, "AVAILABLE"), (3, "UNKNOWN"), (2, "LOADING"), (1, "END")]
    assert (
        messages.status_answer(response.SerializeToString())[-1].error_code,
        messages.status_answer(response.SerializeToString())[-1].error_message,
    ) == (
        5,
        "gone",
    )
