"""JSON of the REST API: compared with Python's parser, and cases that the congruence suite does not cover."""

from __future__ import annotations

import json
import math
import random
import struct
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow_serving", reason="the embedded server needs the server extra")


@pytest.fixture(scope="module")
def rest() -> SimpleNamespace:
    """The modules of the REST API; they import TensorFlow."""
    from rawbert.serving.server.failure import Failure
    from rawbert.serving.server.rest import parser, requests, writer

    return SimpleNamespace(parse=parser.parse, requests=requests, writer=writer, Failure=Failure)


def _random(rng: random.Random, depth: int) -> Any:
    kind = rng.randrange(8 if depth else 6)
    if kind == 0:
        return rng.choice([None, True, False])
    if kind in (1, 2):
        return rng.choice([0, -1, 7, 2**31, -(2**63), 2**64 - 1, rng.randrange(10**9)])
    if kind == 3:
        return rng.choice([0.5, -1.25e-7, 1e300, rng.random(), rng.random() * 1e20])
    if kind in (4, 5):
        return "".join(rng.choice('ab"\\/\b\n\t\0ü€😀 {}[],:') for _ in range(rng.randrange(9)))
    if kind == 6:
        return [_random(rng, depth - 1) for _ in range(rng.randrange(4))]
    return {f"k{at}": _random(rng, depth - 1) for at in range(rng.randrange(4))}


def _in_bytes(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, list):
        return [_in_bytes(each) for each in value]
    return {name.encode(): _in_bytes(each) for name, each in value.items()} if isinstance(value, dict) else value


def test_what_python_writes_is_read_as_python_reads_it(rest: Any) -> None:
    rng = random.Random(5)
    for number in range(3000):
        value = _random(rng, 4)
        text = json.dumps(value, ensure_ascii=bool(number % 2), indent=number % 3 or None)
        found = rest.parse(text.encode() + rng.choice([b"", b" ", b"]", b"garbage"]) * isinstance(value, list | dict))
        assert found == _in_bytes(value)
        if isinstance(value, int | float) and not isinstance(value, bool):
            assert type(found) is type(value)


def test_what_python_refuses_is_refused(rest: Any) -> None:
    """Texts that differ from a valid one by one byte: both parsers accept or refuse them, with known exceptions."""
    sound = b'{"a": [1.5e3, "x\\n", true], "b": {"c": null}}'
    rng = random.Random(3)
    for at in range(len(sound)):
        for _ in range(25):
            text = sound[:at] + bytes([rng.randrange(32, 127)]) + sound[at + 1 :]
            try:
                expected: Any = _in_bytes(json.loads(text))
            except ValueError as error:
                if "Extra data" in str(error):
                    continue
                expected = None
            try:
                found = rest.parse(text)
            except rest.Failure:
                found = None
            # The first of two equal names counts here.
            assert found == expected or text.count(b'"a"') == 2 or text.count(b'"b"') == 2, text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"[NaN, Inf, -Inf, Infinity, -Infinity]", [math.nan, math.inf, -math.inf, math.inf, -math.inf]),
        (b"18446744073709551616", 18446744073709551616.0),
        (b"-9223372036854775809", -9223372036854775809.0),
        (b"-0", 0),
        (b"0.00000000000000000001e20", 1.0),
        (b"1e-400", 0.0),
        (b"9" * 300, 1e300),
        (b"1e-" + b"9" * 5000, 0.0),
        (b'"\\udc00"', b"\xed\xb0\x80"),
        (b'"\\ud83d\\ude00"', "😀".encode()),
    ],
)
def test_values(rest: Any, text: bytes, value: Any) -> None:
    assert repr(rest.parse(text)) == repr(value)


@pytest.mark.parametrize("text", [b"9" * 400, b"9" * 5000, b"1e309", b"0e309", b"1e" + b"9" * 5000])
def test_numbers_that_are_too_big(rest: Any, text: bytes) -> None:
    with pytest.raises(rest.Failure, match=r"Number too big to be stored in double\. at offset: 0"):
        rest.parse(text)


def test_brackets_without_end(rest: Any) -> None:
    with pytest.raises(rest.Failure, match=r"Invalid value\. at offset: 300000"):
        rest.parse(b"[" * 300_000)
    assert rest.writer.excerpt(rest.parse(b"[" * 50_000 + b"]" * 50_000)) == "[" * 256


def test_an_excerpt_ends_with_the_token_that_passes_256_bytes(rest: Any) -> None:
    assert rest.writer.excerpt([b"x" * 300, 1]) == '["' + "x" * 300 + '"'
    numbers = list(range(1000))
    text = ", ".join(map(str, numbers))
    assert rest.writer.excerpt(numbers) == ("[" + text)[: 1 + text.index(", 67")]
    assert rest.writer.excerpt({b"a": {}, b"b": [1, {b"c": 0.001}]}) == (
        '{\n    "a": {},\n    "b": [1, {\n            "c": 0.001\n        }]\n}'
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e20, "100000000000000000000.0"), (1e21, "1e21"), (1.5e-7, "1.5e-7"), (0.000001, "0.000001"), (-0.0, "-0.0"),
     (123.456, "123.456"), (1.25e100, "1.25e100"), (math.nan, "")],
)  # fmt: skip
def test_numbers_in_an_excerpt(rest: Any, value: float, text: str) -> None:
    assert rest.writer.excerpt(value) == text


def test_every_float_comes_back(rest: Any) -> None:
    """A written number parses to the same number; it has at most six digits if these are enough, else all."""
    rng = np.random.default_rng(1)
    patterns = rng.integers(0, 2**32, 50_000, dtype=np.uint32)
    patterns[:4] = [1, 0x7F7FFFFF, 0x80000000, 0x00800000]
    for values in (patterns.view(np.float32), rng.integers(0, 2**63, 20_000).astype(np.uint64).view(np.float64)):
        values = values[np.isfinite(values)]
        code = "f" if values.dtype == np.float32 else "d"
        for value, text in zip(values.tolist(), rest.writer.decimals(values), strict=True):
            found = float(text)
            assert struct.pack(code, found) == struct.pack(code, value), text
            assert b"." in text or b"e" in text
            digits = len(text.partition(b"e")[0].strip(b"-").replace(b".", b"").strip(b"0"))
            assert digits <= 6 or struct.pack(code, float(f"{value:.5e}")) != struct.pack(code, value), text


@pytest.mark.parametrize(
    ("text", "data"),
    [("", b""), ("YQ==", b"a"), ("YQ", b"a"), ("YQ..", b"a"), (" Y Q\n==", b"a"), ("YWI=", b"ab"),
     ("/+8=", b"\xff\xef"), ("YWJj", b"abc"), ("Y", None), ("YQ=", None), ("YQ===", None),
     ("Y-_Q", None), ("=", None), ("YQ==YQ==", None)],
)  # fmt: skip
def test_base64(rest: Any, text: str, data: bytes | None) -> None:
    inputs = {"x": SimpleNamespace(dtype=7)}
    body = json.dumps({"instances": [{"b64": text}]}).encode()
    if data is None:
        with pytest.raises(rest.Failure, match="Unable to base64 decode"):
            rest.requests.read_predict(body, lambda _: inputs)
    else:
        assert rest.requests.read_predict(body, lambda _: inputs).inputs["x"].tolist() == [data]


@pytest.mark.parametrize(("dtype", "name"), [(4, "uint8"), (5, "int16"), (6, "int8")])
def test_small_integers_are_cut_to_size(rest: Any, dtype: int, name: str) -> None:
    inputs = {"x": SimpleNamespace(dtype=dtype)}
    array = rest.requests.read_predict(b'{"inputs": [300, -1]}', lambda _: inputs).inputs["x"]
    assert array.dtype == name
    assert array.tolist() == np.array([300, -1], np.int32).astype(name).tolist()


@pytest.mark.parametrize(("dtype", "name"), [(17, "uint16"), (19, "half"), (14, "bfloat16"), (8, "complex64")])
def test_dtypes_that_cannot_be_read(rest: Any, dtype: int, name: str) -> None:
    inputs = {"x": SimpleNamespace(dtype=dtype)}
    with pytest.raises(rest.Failure) as caught:
        rest.requests.read_predict(b'{"inputs": [1]}', lambda _: inputs)
    assert (caught.value.code.name, str(caught.value)) == (
        "UNIMPLEMENTED", f"Conversion of JSON Value: 1 to type: {name}",
    )  # fmt: skip


def test_more_dimensions_than_a_tensor_has(rest: Any) -> None:
    inputs = {"x": SimpleNamespace(dtype=1)}
    body = b'{"inputs": ' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    with pytest.raises(rest.Failure, match="tensor parsing error: x"):
        rest.requests.read_predict(body, lambda _: inputs)
