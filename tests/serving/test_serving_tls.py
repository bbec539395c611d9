"""TLS and mutual TLS with generated certificates; no silent fallback to plain text."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from command import rawbert
from official_server import number_server
from rawbert.serving import TLS, AsyncClient, Client, RetryPolicy, ServerUnavailable, ServingError

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


TWINS = pytest.mark.parametrize("kind", [Client, AsyncClient])
LOCAL = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@contextmanager
def serving(pair: tuple[bytes, bytes], clients: bytes | None = None) -> Iterator[str]:
    secret = grpc.ssl_server_credentials([pair], clients, clients is not None)
    with number_server(credentials=secret) as server:
        yield server.address


def embed(address: str, tls: TLS | None, kind: Any, **settings: Any) -> Any:
    settings |= {"model": "m", "tls": tls, "retry": RetryPolicy(max_attempts=2)}

    async def asked() -> Any:
        async with AsyncClient(address, **settings) as client:
            return await client.embed(["5"], timeout=5)

    if kind is AsyncClient:
        return asyncio.run(asked())
    with Client(address, **settings) as client:
        return client.embed(["5"], timeout=5)


@TWINS
def test_right_certificates_work(authority: Authority, tmp_path: Path, kind: Any) -> None:
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    with serving(authority.issue(LOCAL)) as address:
        assert embed(address, TLS(ca=tmp_path / "ca.pem"), kind)[0, 1] == 5
    key, certificate = authority.issue(LOCAL)
    with serving(authority.issue(LOCAL), authority.pem) as address:
        assert embed(address, TLS(ca=authority.pem, certificate=certificate, key=key), kind)[0, 1] == 5
    with serving(authority.issue([x509.DNSName("bert.example")])) as address:
        assert embed(address, TLS(ca=authority.pem, server_name="bert.example"), kind)[0, 1] == 5


@TWINS
def test_wrong_certificates_say_what_is_wrong(authority: Authority, kind: Any) -> None:
    tls = TLS(ca=authority.pem)
    with serving(authority.issue(LOCAL)) as address, pytest.raises(ServerUnavailable, match=r"TLS\(ca="):
        embed(address, TLS(ca=Authority().pem), kind)
    with (
        serving(authority.issue([x509.DNSName("other.example")])) as address,
        pytest.raises(ServerUnavailable, match="for another name"),
    ):
        embed(address, tls, kind)
    expired = authority.issue(LOCAL, NOW - datetime.timedelta(days=1))
    with serving(expired) as address, pytest.raises(ServerUnavailable, match="has expired"):
        embed(address, tls, kind)
    with (
        serving(authority.issue(LOCAL), authority.pem) as address,
        pytest.raises(ServerUnavailable, match="client certificate"),
    ):
        embed(address, tls, kind)
    key, certificate = Authority().issue(LOCAL)
    with serving(authority.issue(LOCAL), authority.pem) as address, pytest.raises(ServerUnavailable):
        embed(address, TLS(ca=authority.pem, certificate=certificate, key=key), kind)


@TWINS
def test_tls_and_plain_text_do_not_meet(authority: Authority, kind: Any) -> None:
    with number_server() as server, pytest.raises(ServerUnavailable, match="does not speak TLS"):
        embed(server.address, TLS(ca=authority.pem), kind)
    with (
        serving(authority.issue(LOCAL)) as address,
        pytest.raises(ServerUnavailable, match=r"to a TLS port, connect with tls=TLS"),
    ):
        embed(address, None, kind)


@TWINS
def test_files_that_have_changed_are_read_anew(authority: Authority, tmp_path: Path, kind: Any) -> None:
    """A settings object whose files are replaced meanwhile: the CA, and the client's own certificate."""
    paths = {name: tmp_path / f"{name}.pem" for name in ("ca", "certificate", "key")}

    def written(signs_servers: Authority, signs_clients: Authority) -> None:
        key, certificate = signs_clients.issue(LOCAL)
        for name, data in (("ca", signs_servers.pem), ("certificate", certificate), ("key", key)):
            paths[name].write_bytes(data)

    written(Authority(), authority)
    tls = TLS(**paths)  # type: ignore[arg-type]
    with serving(authority.issue(LOCAL), authority.pem) as address:
        with pytest.raises(ServerUnavailable, match=r"TLS\(ca="):
            embed(address, tls, kind)
        written(authority, authority)
        assert embed(address, tls, kind)[0, 1] == 5
        written(authority, Authority())
        with pytest.raises(ServerUnavailable):
            embed(address, tls, kind)
        paths["ca"].write_bytes(b"half a file")
        with pytest.raises(ValueError, match="ca contains no PEM"):
            embed(address, tls, kind)
        paths["ca"].unlink()
        with pytest.raises(ValueError, match=r"ca .* cannot be read"):
            embed(address, tls, kind)


class Token(grpc.AuthMetadataPlugin):  # type: ignore[misc]
    """Credentials with a new token for each call."""

    def __init__(self, name: str) -> None:
        self.name, self.made = name, 0

    def __call__(self, context: Any, callback: Any) -> None:
        self.made += 1
        callback((("authorization", f"Bearer {self.name}{self.made}"),), None)


def test_call_credentials_of_the_client_and_of_a_call(authority: Authority) -> None:
    def mine(name: str) -> grpc.CallCredentials:
        return grpc.metadata_call_credentials(Token(name))

    settings: dict[str, Any] = {"model": "m", "tls": TLS(ca=authority.pem), "call_credentials": mine("client")}

    async def asked(address: str) -> None:
        async with AsyncClient(address, **settings) as client:
            await client.embed(["1"])
            await client.embed(["1"], call_credentials=mine("call"))
            assert [vector[1] async for vector in client.embed_iter(["1"], call_credentials=mine("stream"))] == [1]

    secret = grpc.ssl_server_credentials([authority.issue(LOCAL)])
    with number_server(credentials=secret) as server:
        with Client(server.address, **settings) as client:
            client.embed(["1"])
            client.embed(["1"])
            client.embed(["1"], call_credentials=mine("call"))
            client.predict({"text": ["1"]}, call_credentials=mine("predict"))
            assert len(list(client.embed_iter(["1"], call_credentials=mine("stream")))) == 1
        assert server.tokens == [f"Bearer {name}" for name in ("client1", "client2", "call1", "predict1", "stream1")]
        server.headers.clear()
        asyncio.run(asked(server.address))
        assert server.tokens == [f"Bearer {name}" for name in ("client3", "call1", "stream1")]


@TWINS
def test_call_credentials_that_fail_say_so(authority: Authority, kind: Any) -> None:
    class Broken(grpc.AuthMetadataPlugin):  # type: ignore[misc]
        def __call__(self, context: Any, callback: Any) -> None:
            raise OSError("no token to be had")

    credentials = grpc.metadata_call_credentials(Broken())
    with serving(authority.issue(LOCAL)) as address, pytest.raises(ServingError, match="no token to be had"):
        embed(address, TLS(ca=authority.pem), kind, call_credentials=credentials)


def test_call_credentials_never_go_out_in_plain_text() -> None:
    token = grpc.access_token_call_credentials("secret")
    with number_server() as server:
        for kind in (Client, AsyncClient):
            with pytest.raises(ValueError, match="only over TLS"):
                kind(server.address, model="m", call_credentials=token)
        with Client(server.address, model="m") as client, pytest.raises(ValueError, match="only over TLS"):
            client.embed(["1"], call_credentials=token)
        with (
            grpc.insecure_channel(server.address) as channel,
            Client(server.address, model="m", channel=channel) as client,
            pytest.raises(ServingError),
        ):
            client.embed(["1"], call_credentials=token)
        assert server.tokens == []


def test_settings_that_cannot_work(authority: Authority) -> None:
    with pytest.raises(ValueError, match="together"):
        TLS(certificate=authority.pem)
    with pytest.raises(ValueError, match="cannot be read"):
        TLS(ca="/nowhere/ca.pem")
    with pytest.raises(ValueError, match="no PEM"):
        TLS(ca=b"nothing")
    assert "PRIVATE" not in repr(TLS(ca=authority.pem))


def test_at_the_terminal(authority: Authority, tmp_path: Path) -> None:
    def asked(command: str, *options: Any) -> tuple[int, str]:
        result = rawbert(command, "--address", address, "--model", "m", *options)
        return result.returncode, result.out + result.err

    key, certificate = authority.issue(LOCAL)
    for name, data in (("ca", authority.pem), ("cert", certificate), ("key", key), ("text", b"no PEM"), ("5", b"5\n")):
        (tmp_path / name).write_bytes(data)
    ca, pair = ["--tls-ca", tmp_path / "ca"], ["--tls-cert", tmp_path / "cert", "--tls-key", tmp_path / "key"]
    with serving(authority.issue(LOCAL), authority.pem) as address:
        code, said = asked("embed", *ca, *pair, "5")
        assert (code, json.loads(said)["embedding"]) == (0, [1, 5])
        short = ["--input", tmp_path / "5", "--callers", "1", "--seconds", "0.1"]
        assert asked("bench", *ca, *pair, *short)[0] == 0
        for options, says in (
            ([*ca], "client certificate"),
            ([*pair], "TLS(ca="),
            ([*ca, *pair[:2]], "together"),
            (["--tls-ca", tmp_path / "text"], "contains no PEM"),
        ):
            code, said = asked("embed", *options, "--timeout", "3", "5")
            assert (code, says in said) == (1, True), said
