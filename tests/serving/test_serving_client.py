"""The client with the embedded server, over real gRPC."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import rawbert.serving
import toy_models
from rawbert.serving import (
    AsyncClient,
    CallCancelled,
    ChannelConfig,
    Client,
    DeadlineExceeded,
    DecodeError,
    InvalidRequest,
    MessageTooLarge,
    ModelNotFound,
    ServerUnavailable,
    ServingError,
    SignatureNotFound,
)

TEXTS: list[str | bytes] = [
    "hello", b"raw \xff bytes\0", "", "grüße", "日本語", "a text of more than sixteen bytes", "\0", "\n",
]  # fmt: skip
BYTES = [text if isinstance(text, bytes) else text.encode() for text in TEXTS]


def test_embed_and_pooled(client: Client) -> None:
    vectors = client.embed(TEXTS)
    assert (vectors.dtype, vectors.shape) == (np.float32, (len(TEXTS), toy_models.DIM))
    np.testing.assert_allclose(vectors, [toy_models.embedding(text) for text in BYTES], rtol=1e-6)
    np.testing.assert_allclose(client.pooled(TEXTS), [toy_models.pooled(text) for text in BYTES], rtol=1e-6)


def test_sequence(client: Client) -> None:
    for text, result in zip(BYTES, client.sequence(TEXTS), strict=True):
        np.testing.assert_array_equal(result.vectors, toy_models.vectors(text))
        assert result.vectors.dtype == np.float32
        assert result.token_count == len(text) + 2


def test_tokenize(client: Client) -> None:
    for text, result in zip(BYTES, client.tokenize(TEXTS), strict=True):
        assert result.ids.tolist() == toy_models.ids(text)
        assert result.ids.dtype == result.start_offsets.dtype == result.limit_offsets.dtype == np.int32
        assert result.truncated == (len(text) > toy_models.MAX_TOKENS - 2)
        for at in range(1, len(result) - 1):
            piece = text[result.start_offsets[at] : result.limit_offsets[at]]
            assert piece[0] + toy_models.OFFSET == result.ids[at]
        assert result.start_offsets[[0, -1]].tolist() == result.limit_offsets[[0, -1]].tolist() == [-1, -1]


@pytest.mark.parametrize("size", [1, 3, 7, 8, 64])
def test_any_number_of_texts_in_order(text_server: Any, size: int) -> None:
    texts = [f"{at}" * (at % 5) for at in range(23)]
    with Client(text_server.address, model="text", max_batch_size=size) as client:
        vectors = client.embed(iter(texts))
        sequences = client.sequence(texts)
    np.testing.assert_allclose(vectors, [toy_models.embedding(text.encode()) for text in texts], rtol=1e-6)
    assert [each.ids.tolist() for each in sequences] == [toy_models.ids(text.encode()) for text in texts]


class Recorder(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]
    """An interceptor that records calls."""

    def __init__(self) -> None:
        self.methods: list[str] = []
        self.metadata: list[Any] = []
        self.timeouts: list[Any] = []

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        self.methods.append(details.method.rpartition("/")[2])
        self.metadata.append(details.metadata)
        self.timeouts.append(details.timeout)
        return continuation(details, request)


@pytest.fixture
def recorded(text_server: Any) -> Iterator[tuple[Client, Recorder]]:
    recorder = Recorder()
    inner = grpc.insecure_channel(text_server.address)
    with inner, Client(model="text", channel=grpc.intercept_channel(inner, recorder), timeout=7) as client:
        yield client, recorder


def test_no_texts_are_answered_without_predict(recorded: tuple[Client, Recorder]) -> None:
    client, recorder = recorded
    assert (client.embed([]).shape, client.embed([]).dtype) == ((0, toy_models.DIM), np.float32)
    assert client.pooled(()).shape == (0, toy_models.HIDDEN)
    assert client.sequence([]) == client.tokenize([]) == []
    # Once a signature and output: the width of a vector is remembered.
    assert recorder.methods == ["GetModelMetadata"] * 2
    with pytest.raises(SignatureNotFound, match="no signature 'nope'; choose from embed, pooled"):
        client.embed([], signature_name="nope")


def test_timeout_and_metadata_go_with_the_call(recorded: tuple[Client, Recorder]) -> None:
    client, recorder = recorded
    client.embed(["a"])
    client.embed(["a"], timeout=3, metadata=[("authorization", "Bearer x")])
    client.status(timeout=None)
    assert recorder.timeouts == [pytest.approx(7, abs=0.1), pytest.approx(3, abs=0.1), None]
    assert recorder.metadata == [None, (("authorization", "Bearer x"),), None]
    with pytest.raises(ValueError, match="timeout is -1"):
        client.embed(["a"], timeout=-1)


def test_an_injected_channel_stays_open(text_server: Any) -> None:
    with grpc.insecure_channel(text_server.address) as inner:
        with Client(model="text", channel=inner) as client:
            client.embed(["a"])
        with pytest.raises(ValueError, match="the client is closed"):
            client.embed(["a"])
        with Client(model="text", channel=inner) as client:
            client.embed(["a"])


def test_predict_any_signature(client: Client, arithmetic: Client) -> None:
    assert set(client.predict({"text": ["a\0"]})) == {"embedding"}
    answer = client.predict({"text": [b"a\0"]}, signature_name="tokenize", output_filter=["input_word_ids"])
    assert {name: array.tolist() for name, array in answer.items()} == {"input_word_ids": [toy_models.ids(b"a\0")]}
    both = arithmetic.predict({"x": np.float32([3, 4]), "q": np.float32([1, 1])}, signature_name="pair")
    assert {name: array.tolist() for name, array in both.items()} == {"sum": [4, 5], "difference": [2, 3]}
    assert arithmetic.predict({"x": np.float32(3)}, signature_name="scalar")["y"].shape == ()


@pytest.mark.parametrize(
    ("value", "signature", "name"),
    [(3, "scalar", "x"), (3.5, "scalar", "x"), ([1, 2], "serving_default", "x"), ([0.1, 2], "serving_default", "x")],
)
def test_python_numbers_take_the_dtype_of_the_signature(
    arithmetic: Client, value: Any, signature: str, name: str
) -> None:
    expected = np.asarray(value, np.float32) / 2 + 2
    np.testing.assert_array_equal(arithmetic.predict({name: value}, signature_name=signature)["y"], expected)


def test_python_numbers_of_every_dtype(arithmetic: Client) -> None:
    import ml_dtypes

    inputs: dict[str, Any] = {f"i{name}": [1, 0, 1] for name in toy_models.ECHOED if name != "string"}
    inputs |= {"istring": np.array(["a", "", "é"], np.dtypes.StringDType()), "ibool": [True, False, True]}
    inputs["ibfloat16"] = np.array([1, 0, 1]).astype(ml_dtypes.bfloat16)
    answer = arithmetic.predict(inputs, signature_name="types")
    for name in toy_models.ECHOED:
        assert answer[name].tolist() == ([b"a", b"", "é".encode()] if name == "string" else [1, 0, 1]), name
        answer[name][0] = answer[name][1]  # The caller's own.


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({"steps": 1.5}, r"input 'steps' is float32 \[\]; the signature takes int32 \[-1\]"),
        ({"steps": [2**40]}, r"input 'steps' is int64 \[1\]; the signature takes int32 \[-1\]"),
        ({"steps": np.float64([3])}, r"input 'steps' is float64 \[1\]"),
        ({"steps": ["3"]}, r"input 'steps' is string \[1\]"),
    ],
)
def test_the_input_that_does_not_fit_is_named(arithmetic: Client, inputs: Any, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        arithmetic.predict(inputs, signature_name="slow")


def test_every_dtype_there_and_back(arithmetic: Client) -> None:
    import ml_dtypes

    sent = {}
    for name in toy_models.ECHOED:
        dtype = ml_dtypes.bfloat16 if name == "bfloat16" else object if name == "string" else np.dtype(name)
        sent[name] = np.array([b"a\0", b"", b"\xff"], object) if name == "string" else np.array([1, 0, 1]).astype(dtype)
    answer = arithmetic.predict({f"i{name}": value for name, value in sent.items()}, signature_name="types")
    for name, value in sent.items():
        assert answer[name].dtype == (np.float32 if name == "bfloat16" else value.dtype), name
        assert answer[name].tolist() == value.astype(answer[name].dtype).tolist(), name


def test_metadata_and_status(client: Client) -> None:
    model = client.metadata()
    assert (model.name, model.version) == ("text", 3)
    assert set(model.signatures) == {"embed", "pooled", "sequence", "tokenize", "serving_default"}
    sequence = model.signatures["sequence"]
    assert (sequence.inputs["text"].dtype, sequence.inputs["text"].shape) == ("string", (-1,))
    assert sequence.outputs["sequence_output"].shape == (-1, -1, toy_models.HIDDEN)
    (status,) = client.status()
    assert (status.version, status.state, status.error_code) == (3, "AVAILABLE", 0)


def test_version(text_server: Any) -> None:
    with Client(text_server.address, model="text", version=3) as client:
        assert client.embed(["a"]).shape == (1, toy_models.DIM)
    with Client(text_server.address, model="text", version=4) as client:
        with pytest.raises(ModelNotFound, match=r"Specific\(text, 4\)"):
            client.embed(["a"])
        with pytest.raises(ModelNotFound, match="version 4 of model text"):
            client.status()
    with (
        Client(text_server.address, model="text", version_label="stable") as client,
        pytest.raises(InvalidRequest, match="label: stable"),
    ):
        client.embed(["a"])


def test_errors_say_what_was_asked_and_what_the_server_said(client: Client) -> None:
    with pytest.raises(SignatureNotFound, match='key "nope" not found') as caught:
        client.embed(["a"], signature_name="nope")
    assert client.address in str(caught.value)
    assert (caught.value.code, caught.value.address) == (grpc.StatusCode.FAILED_PRECONDITION, client.address)
    assert isinstance(caught.value.__cause__, grpc.RpcError)
    with pytest.raises(DecodeError, match=r"no output 'embedding' \(found: pooled_output\)"):
        client.embed(["a"], signature_name="pooled")
    with pytest.raises(InvalidRequest, match="Expects arg"):
        client.predict({"text": [1.0]})
    with pytest.raises(TypeError, match="give a list"):
        client.embed("a")


def test_nobody_there() -> None:
    with (
        Client("127.0.0.1:1", model="m") as client,
        pytest.raises(ServerUnavailable, match="start a server with rawbert serve"),
    ):
        client.embed(["a"], timeout=1)


def test_a_deadline(arithmetic: Client) -> None:
    with pytest.raises(DeadlineExceeded, match="longer timeout"):
        arithmetic.predict({"steps": np.int32([30_000])}, signature_name="slow", timeout=0.05)


def test_closing_cancels_a_call_in_flight(arithmetic_server: Any) -> None:
    client = Client(arithmetic_server.address, model="arithmetic")
    client.status()
    raised: list[BaseException] = []

    def call() -> None:
        try:
            client.predict({"steps": np.int32([30_000])}, signature_name="slow")
        except ServingError as error:
            raised.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    threading.Event().wait(0.2)
    client.close()
    thread.join()
    assert [type(error) for error in raised] == [CallCancelled]


def test_large_answers_arrive_unless_a_limit_is_set(arithmetic_server: Any) -> None:
    numbers = np.arange(2_000_000, dtype=np.float32)
    with Client(arithmetic_server.address, model="arithmetic") as client:
        np.testing.assert_array_equal(client.predict({"x": numbers})["y"], numbers / 2 + 2)
    config = ChannelConfig(max_message_bytes=1_000_000)
    with (
        Client(arithmetic_server.address, model="arithmetic", config=config) as client,
        pytest.raises(MessageTooLarge, match=r"larger than max \(\d+ vs\. 1000000\)"),
    ):
        client.predict({"x": numbers})


def test_threads_share_a_client(client: Client) -> None:
    texts = [[f"{thread}-{at}" for at in range(thread % 4 + 1)] for thread in range(40)]
    with ThreadPoolExecutor(8) as pool:
        for asked, vectors in zip(texts, pool.map(client.embed, texts), strict=True):
            np.testing.assert_allclose(vectors, [toy_models.embedding(text.encode()) for text in asked], rtol=1e-6)


class Puppet(grpc.GenericRpcHandler):  # type: ignore[misc]
    """A server that answers every method with given bytes or a given status."""

    def __init__(self) -> None:
        self.answer: bytes | grpc.StatusCode = b""

    def service(self, details: Any) -> Any:
        def handle(request: bytes, context: Any) -> bytes:
            if isinstance(self.answer, bytes):
                return self.answer
            context.abort(self.answer, "because")

        return grpc.unary_unary_rpc_method_handler(handle)


@pytest.fixture
def puppet() -> Iterator[tuple[Client, Puppet]]:
    handler = Puppet()
    server = grpc.server(ThreadPoolExecutor(1), handlers=[handler])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with Client(f"127.0.0.1:{port}", model="m") as client:
        yield client, handler
    server.stop(None).wait()


def test_garbage_is_a_decode_error(puppet: tuple[Client, Puppet]) -> None:
    client, handler = puppet
    handler.answer = b"\xff\xff\xff garbage"
    for call in (lambda: client.embed(["a"]), client.metadata, client.status):
        with pytest.raises(DecodeError, match="the answer is not a"):
            call()
    handler.answer = b""
    with pytest.raises(DecodeError, match=r"no output 'embedding' \(found: none\)"):
        client.embed(["a"])


@pytest.mark.parametrize(
    "code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK], ids=lambda code: code.name
)
def test_every_status_arrives_as_its_exception(puppet: tuple[Client, Puppet], code: grpc.StatusCode) -> None:
    from rawbert.serving.errors import STATUS

    client, handler = puppet
    handler.answer = code
    with pytest.raises(ServingError, match="because") as caught:
        client.embed(["a"], timeout=1)
    assert type(caught.value) is STATUS[code][0]
    assert (caught.value.code, caught.value.details) == (code, "because")


def test_a_reload_that_was_cancelled_is_not_sent_again(puppet: tuple[Client, Puppet]) -> None:
    client, handler = puppet
    handler.answer = grpc.StatusCode.CANCELLED
    begun = time.monotonic()
    with pytest.raises(CallCancelled, match="because"):
        client.reload_config("model_config_list {}", timeout=20)
    assert time.monotonic() - begun < 10
    with pytest.raises(CallCancelled, match="attempts"):
        client.status(timeout=0.3)


def test_a_dynamic_width_is_learnt_from_one_text(tmp_path: Path) -> None:
    import tensorflow as tf
    from rawbert.serving.server import EmbeddedServer

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def embed(text: Any) -> dict[str, Any]:
        width = tf.strings.to_number(tf.constant("5"), tf.int32) + 0 * tf.shape(text)[0]
        return {"embedding": tf.zeros([tf.shape(text)[0], width])}

    module = tf.Module()
    module.embed = embed
    tf.saved_model.save(module, str(tmp_path / "1"), signatures={"embed": embed})
    with EmbeddedServer("m", tmp_path) as server, Client(server.address, model="m") as client:
        assert client.metadata().signatures["embed"].outputs["embedding"].shape == (-1, -1)
        assert client.embed([]).shape == (0, 5)


TYPED = """
from typing import Iterator
import numpy as np
from numpy.typing import NDArray
from rawbert.serving import AsyncClient, Classification, Client, Ranked, TaggedText, Tokens
from typing import Any, AsyncIterator, assert_type

def typed(client: Client) -> None:
    assert_type(client.embed(["a"], timeout=3, version=1, sort_by_length=True), NDArray[Any])
    assert_type(client.embed(["a"], return_version=True, metadata=[("a", "b")]), tuple[NDArray[Any], int | None])
    assert_type(client.tokenize(["a"], text_pair=["b"], version_label="stable"), list[Tokens])
    assert_type(client.classify(["a"], text_pair=["b"], top_k=3, threshold=0.5, stride=8), list[Classification])
    assert_type(client.tag(["a", b"b"], aggregation="first", ignore_labels=["O"], stride=8)[0], TaggedText)
    assert_type(client.score([("a", "b"), ("a", b"b")], timeout=3), NDArray[Any])
    assert_type(client.score(["a"], return_version=True), tuple[NDArray[Any], int | None])
    assert_type(client.rerank("q", ["a"], top_k=3, sort_by_length=True, version_label="stable"), list[Ranked])
    assert_type(client.embed_iter(["a"]), Iterator[NDArray[Any]])
    assert_type(client.embed_iter(["a"], return_version=True), Iterator[tuple[NDArray[Any], int | None]])

async def awaited(client: AsyncClient) -> None:
    assert_type(await client.rerank("q", ["a"]), list[Ranked])
    assert_type(await client.pooled(["a"], return_version=True), tuple[NDArray[Any], int | None])
    assert_type(client.embed_iter(["a"], timeout=None), AsyncIterator[NDArray[Any]])

def wrong(client: Client) -> None:
    client.embed(["a"], tiemout=3)
    client.status(sort_by_length=True)
    client.embed(["a"], timeout="3")
    client.tag(["a"], aggregation="best")
    client.rerank("q", ["a"], text_pair=["b"])
"""


@pytest.mark.slow
def test_the_keyword_arguments_are_typed(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "typed.py").write_text(TYPED)
    # mypy does not follow the import hook of an editable installation.
    packages = tmp_path / "packages" / "rawbert"
    packages.mkdir(parents=True)
    (packages / "serving").symlink_to(Path(rawbert.serving.__file__).parent)
    environment = {**os.environ, "MYPYPATH": str(packages.parent)}
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), "typed.py"]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    found = {int(line.split(":")[1]) for line in result.stdout.splitlines() if "error" in line and "typed.py:" in line}
    wrong = TYPED.splitlines().index("def wrong(client: Client) -> None:") + 1
    assert found == {wrong + at for at in range(1, 6)}, result.stdout


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_an_unknown_keyword_is_a_type_error(kind: Any) -> None:
    client = kind("127.0.0.1:1", model="m")
    for call in (lambda: client.embed(["a"], tiemout=1), lambda: client.status(sort_by_length=True)):
        with pytest.raises(TypeError, match=r"unexpected keyword argument '(tiemout|sort_by_length)'; use"):
            asyncio.run(call())
