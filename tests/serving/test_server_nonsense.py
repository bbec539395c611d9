"""Nonsensical requests: bytes, messages and tensors that no client sends. Slow; prints figures."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import wire
from served import asked, serving, strings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

Code = grpc.StatusCode
SIZES = [-1, 0, 1, 1, 2, 3, 7, 2**16, 2**31, 2**40, 2**62, -(2**63)]


def _mutated(draw: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.randint(1, 6)):
        at, kind = draw.randrange(len(changed) + 1), draw.randrange(5)
        if kind == 0 and changed:
            changed[at % len(changed)] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del changed[at : at + draw.randint(1, 8)]
        elif kind == 2:
            changed[at:at] = draw.randbytes(draw.randint(1, 8))
        elif kind == 3:
            del changed[at:]
        else:
            changed[at:at] = changed[at : at + draw.randint(1, 30)]
    return bytes(changed)


def _wrong_tensor(draw: random.Random) -> bytes:
    shape = tuple(draw.choices(SIZES, k=draw.randrange(5)))
    dtype = draw.choice([0, 1, 2, 3, 5, 7, 7, 7, 8, 9, 10, 14, 19, 20, 21, 23, 101, 107, 9999])
    fields = []
    for _ in range(draw.randrange(4)):
        number = draw.choice([4, 5, 6, 7, 8, 8, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17])
        data = draw.choice([b"", b"\0", b"a\0b", b"\xff\xfe", b"\xed\xa0\x80", draw.randbytes(8), b"text" * 100])
        fields.append(wire.field(number, wire.LENGTH, data))
    return wire.tensor(dtype, shape, *fields)


def _input(name: str, tensor: bytes) -> bytes:
    """An entry of the map ``inputs`` of a PredictRequest."""
    return wire.field(2, wire.LENGTH, wire.field(1, wire.LENGTH, name.encode()) + wire.field(2, wire.LENGTH, tensor))


def test_twenty_thousand_requests_of_nonsense(minilm_bundle: Any, model_root: Path, tmp_path: Path) -> None:
    config = tmp_path / "models.config"
    models = {"minilm": minilm_bundle.path.parent, "arithmetic": model_root / "arithmetic"}
    entries = [
        f'config {{ name: "{name}" base_path: "{base}" model_platform: "tensorflow" }}' for name, base in models.items()
    ]
    config.write_text(f"model_config_list {{ {' '.join(entries)} }}")
    draw = random.Random(11)
    good = [
        asked("minilm", name, {"text": strings(b"ab", "日本".encode())})
        for name in ("embed", "pooled", "sequence", "tokenize", "")
    ]
    floats = wire.tensor(1, (2,), wire.field(5, wire.LENGTH, np.float32([1, 2]).tobytes()))
    good += [asked("arithmetic", "", {"x": floats}), asked("arithmetic", "pair", {"x": floats, "q": floats})]
    service = "/tensorflow.serving.PredictionService/"
    methods = [f"{service}Predict"] * 20 + [
        f"{service}GetModelMetadata", f"{service}Classify", f"{service}Regress", f"{service}MultiInference",
        f"{service}Nonsense", "/tensorflow.serving.ModelService/GetModelStatus",
        "/tensorflow.serving.SessionService/SessionRun", "/no/such", "/grpc.health.v1.Health/Check",
    ]  # fmt: skip

    def one(at: int) -> tuple[str, bytes]:
        method, request = draw.choice(methods), draw.choice(good)
        kind = at % 4
        if kind == 0:
            return method, _mutated(draw, request.SerializeToString())
        if kind == 1:
            return method, draw.randbytes(draw.randrange(200))
        names = [*request.inputs, *draw.choices(["text", "x", "q", "", "\0", "é"], k=kind == 3)]
        spec = request.model_spec
        wrong = asked(spec.name, spec.signature_name, {})
        if draw.random() < 0.3:
            outputs = ["embedding", "y", "no", "", "\0", "input_mask"]
            wrong.output_filter.extend(draw.choices(outputs, k=draw.randrange(4)))
        if draw.random() < 0.1:
            wrong.model_spec.version.value = draw.choice([-1, 0, 1, 2**62])
        if draw.random() < 0.1:
            wrong.model_spec.version_label = draw.choice(["", "stable", "\0"])
        # Encoded by hand, because libraries only write valid TensorProtos.
        inputs = [_input(name, _wrong_tensor(draw)) for name in names]
        return method, wrong.SerializeToString() + b"".join(inputs)

    def huge(at: int) -> tuple[str, bytes]:
        text = [b"word " * 10_000_000, b"\xff" * 50_000_000, b"x" * 50_000_000, "日本".encode() * 8_000_000][at % 4]
        return methods[0], asked("minilm", "embed", {"text": strings(text)}).SerializeToString()

    codes: Counter[str] = Counter()
    with serving(f"--model_config_file={config}", "--enable_batching") as served:

        def send(method: str, data: bytes) -> None:
            try:
                served.channel.unary_unary(method)(data, timeout=300)
                codes["OK"] += 1
            except grpc.RpcError as error:
                code, details = error.code(), error.details()
                codes[code.name] += 1
                assert details, (code, method, data[:500])
                parse = code is Code.INTERNAL and details == "Exception deserializing request!"
                assert parse or code in {
                    Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION, Code.NOT_FOUND, Code.UNIMPLEMENTED,
                }, (code, details, method, data[:500])  # fmt: skip

        for at in range(8):
            send(*huge(at))
        busiest = served.megabytes()
        for at in range(2000):
            send(*one(at))
        memory = [served.megabytes()]
        for at in range(17_984):
            send(*one(at))
            if at % 2000 == 1999:
                memory.append(served.megabytes())
        for at in range(8):
            send(*huge(at))
        # TensorFlow keeps the memory of its peak for some time, and uses it again.
        busiest_again = served.megabytes()
        answer = served.predict(good[0], timeout=30)
        assert len(answer.outputs["embedding"].float_val) == 2 * 384
        assert list(served.predict(good[5], timeout=30).outputs["y"].float_val) == [2.5, 3]
    print(f"\n{dict(codes)}; MB {[round(each) for each in memory]}, {busiest:.0f} and {busiest_again:.0f}")
    assert memory[-1] < 1.05 * memory[0]
    assert busiest_again < 1.1 * busiest
