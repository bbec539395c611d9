"""TLS and mutual TLS, with certificates made here; never a silent way back to plain text."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from fake_server import Fake
from rawbert.serving import TLS, Client, RetryPolicy, ServerUnavailable

pytest.importorskip("cryptography", reason="it makes the certificates")
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NOW = datetime.datetime.now(datetime.UTC)


class Authority:
    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test CA")])
        self.pem = self._signed(self.name, self.key, [], NOW + datetime.timedelta(days=1), ca=True)

    def issue(self, names: list[Any], expires: datetime.datetime | None = None) -> tuple[bytes, bytes]:
        """A private key and its certificate, PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "leaf")])
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return secret, self._signed(subject, key, names, expires or NOW + datetime.timedelta(days=1))

    def _signed(self, subject: Any, key: Any, names: list[Any], expires: datetime.datetime, ca: bool = False) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - datetime.timedelta(days=9))
            .not_valid_after(expires)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


LOCAL = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@contextmanager
def serving(pair: tuple[bytes, bytes], clients: bytes | None = None) -> Iterator[str]:
    secret = grpc.ssl_server_credentials([pair], clients, clients is not None)
    with Fake(credentials=secret) as server:
        yield server.address


def embed(address: str, tls: TLS | None) -> Any:
    with Client(address, model="m", tls=tls, retry=RetryPolicy(max_attempts=2)) as client:
        return client.embed(["5"], timeout=5)


def test_right_certificates_work(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    with serving(authority.issue(LOCAL)) as address:
        assert embed(address, TLS(ca=tmp_path / "ca.pem"))[0, 1] == 5
    key, certificate = authority.issue(LOCAL)
    with serving(authority.issue(LOCAL), authority.pem) as address:
        assert embed(address, TLS(ca=authority.pem, certificate=certificate, key=key))[0, 1] == 5
    with serving(authority.issue([x509.DNSName("bert.example")])) as address:
        assert embed(address, TLS(ca=authority.pem, server_name="bert.example"))[0, 1] == 5


def test_wrong_certificates_say_what_is_wrong(authority: Authority) -> None:
    tls = TLS(ca=authority.pem)
    with serving(authority.issue(LOCAL)) as address, pytest.raises(ServerUnavailable, match=r"TLS\(ca="):
        embed(address, TLS(ca=Authority().pem))
    with (
        serving(authority.issue([x509.DNSName("other.example")])) as address,
        pytest.raises(ServerUnavailable, match="for another name"),
    ):
        embed(address, tls)
    expired = authority.issue(LOCAL, NOW - datetime.timedelta(days=1))
    with serving(expired) as address, pytest.raises(ServerUnavailable, match="has expired"):
        embed(address, tls)
    with (
        serving(authority.issue(LOCAL), authority.pem) as address,
        pytest.raises(ServerUnavailable, match="client certificate"),
    ):
        embed(address, tls)


def test_tls_and_plain_text_do_not_meet(authority: Authority) -> None:
    with Fake() as server, pytest.raises(ServerUnavailable, match="speaks no TLS"):
        embed(server.address, TLS(ca=authority.pem))
    with serving(authority.issue(LOCAL)) as address, pytest.raises(ServerUnavailable):
        embed(address, None)


def test_settings_that_cannot_work(authority: Authority) -> None:
    with pytest.raises(ValueError, match="go together"):
        TLS(certificate=authority.pem)
    with pytest.raises(ValueError, match="cannot be read"):
        TLS(ca="/nowhere/ca.pem")
    with pytest.raises(ValueError, match="no PEM"):
        TLS(ca=b"nothing")
    with pytest.raises(ValueError, match="only over TLS"):
        Client("h:1", model="m", call_credentials=grpc.access_token_call_credentials("x"))
    assert "PRIVATE" not in repr(TLS(ca=authority.pem))
