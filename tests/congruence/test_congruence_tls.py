"""TLS and mutual TLS with ``--ssl_config_file``: clients that are accepted, and clients that are refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import servers
from cases import Code, refusal, row
from rawbert.serving.certificates import make_certificates
from tensorflow_serving.apis import prediction_service_pb2_grpc


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates for 127.0.0.1, and in the folder ``others`` those of another authority."""
    folder = tmp_path_factory.mktemp("certs")
    make_certificates(folder, ["127.0.0.1", "bert.example"])
    make_certificates(folder / "others", ["127.0.0.1"])
    return folder


@pytest.fixture(scope="module")
def mutual(program: Any, paths: Path, certs: Path) -> Iterator[Any]:
    """A server that requires client certificates."""
    flags = ["--model_name=half", f"--model_base_path={paths}/half", f"--ssl_config_file={certs}/ssl.config"]
    with servers.running(program, *flags) as calls:
        yield calls


def _read(certs: Path, *names: str) -> list[bytes]:
    return [(certs / name).read_bytes() for name in names]


def _half(address: str, secret: grpc.ChannelCredentials | None, name: str = "") -> float:
    options = [("grpc.ssl_target_name_override", name)] if name else []
    channel = grpc.secure_channel(address, secret, options) if secret else grpc.insecure_channel(address)
    with channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        answer = stub.Predict(servers.request("half", "", {"x": np.float32([[4]])}), timeout=30)
        value: float = answer.outputs["y"].float_val[0]
        return value


@row("TLS", "A client that trusts the server's certificate, and has a certificate of `custom_ca`, is accepted")
@pytest.mark.parametrize("name", ["", "bert.example"])
def test_who_gets_in(mutual: Any, certs: Path, name: str) -> None:
    ca, key, certificate = _read(certs, "ca.pem", "client.key", "client.pem")
    assert _half(mutual.address, grpc.ssl_channel_credentials(ca, key, certificate), name) == 4


#: Mistake -> files of the CA, the key and the certificate, and the name that the client expects; no files: plain text.
REFUSED: dict[str, tuple[list[str], str]] = {
    "plain text": ([], ""),
    "no certificate": (["ca.pem"], ""),
    "another CA": (["others/ca.pem", "client.key", "client.pem"], ""),
    "certificate of another CA": (["ca.pem", "others/client.key", "others/client.pem"], ""),
    "certificate of a server": (["ca.pem", "server.key", "server.pem"], ""),
    "another name": (["ca.pem", "client.key", "client.pem"], "other.example"),
}


@pytest.mark.parametrize("mistake", [pytest.param(each, marks=row("TLS", f"{each}")) for each in REFUSED])
def test_who_does_not(mutual: Any, certs: Path, mistake: str) -> None:
    files, name = REFUSED[mistake]
    secret = grpc.ssl_channel_credentials(*_read(certs, *files)) if files else None
    code, _ = refusal(lambda: _half(mutual.address, secret, name))
    assert code is Code.UNAVAILABLE


@row("TLS", "A client with TLS is not accepted by a server with plain text")
def test_tls_to_plain_text(plain: Any, certs: Path) -> None:
    secret = grpc.ssl_channel_credentials(*_read(certs, "ca.pem"))
    assert refusal(lambda: _half(plain.address, secret))[0] is Code.UNAVAILABLE


@row("TLS", "REST stays in plain text")
def test_rest_is_in_plain_text(mutual: Any) -> None:
    assert mutual.post("half", '{"instances": [[4]]}').json == {"predictions": [[4.0]]}


#: Fault -> change of the file.
BROKEN: dict[str, Callable[[str, str], str]] = {
    "a file that does not parse": lambda text, other: "nonsense",
    "no key": lambda text, other: text[text.index("server_cert") :],
    "the key of another certificate": lambda text, other: (
        other[: other.index("server_cert")] + text[text.index("server_cert") :]
    ),
}


@pytest.mark.parametrize("name", [pytest.param(each, marks=row("TLS", each)) for each in BROKEN])
def test_a_start_that_fails(program: Any, paths: Path, certs: Path, tmp_path: Path, name: str) -> None:
    own, other = ((certs / each / "ssl.config").read_text() for each in ("", "others"))
    (tmp_path / "ssl.config").write_text(BROKEN[name](own, other))
    flags = ["--model_name=half", f"--model_base_path={paths}/half", f"--ssl_config_file={tmp_path}/ssl.config"]
    with servers.started(program, *flags) as server:
        assert server.wait() != 0
        assert not server.listens()
