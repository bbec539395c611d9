"""TLS of the embedded server: certificates of `rawbert certs`, and the errors for mistakes of clients and servers."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from command import rawbert
from rawbert.serving import TLS, AsyncClient, Client, RetryPolicy, ServerUnavailable

pytest.importorskip("tensorflow_serving", reason="the embedded server needs the server extra")
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf import text_format
from rawbert.serving.certificates import make_certificates
from rawbert.serving.wire.protos import SSLConfig

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


def _issued(certs: Path, begins: datetime.datetime, ends: datetime.datetime, alone: bool = False) -> tuple[str, str]:
    """A key, and a certificate for servers and clients that is signed by the CA of a folder or by its own key."""
    authority = x509.load_pem_x509_certificate((certs / "ca.pem").read_bytes())
    key = ec.generate_private_key(ec.SECP256R1())
    signer = key if alone else serialization.load_pem_private_key((certs / "ca.key").read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]) if alone else authority.subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=True)
        .sign(signer, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return secret.decode(), certificate.public_bytes(pem).decode()


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certs")
    make_certificates(folder, ["127.0.0.1", "bert.example"])
    return folder


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificates of another authority."""
    folder = tmp_path_factory.mktemp("others")
    make_certificates(folder, ["127.0.0.1"])
    return folder


@pytest.fixture(scope="module")
def mutual(certs: Path, model_root: Path) -> Iterator[str]:
    """Address of a server that requires client certificates."""
    from rawbert.serving.server import EmbeddedServer

    with EmbeddedServer("m", model_root / "m", ssl_config_file=str(certs / "ssl.config")) as server:
        yield server.address


def _embed(address: str, tls: TLS | None, kind: Any = Client) -> list[float]:
    settings: dict[str, Any] = {"model": "m", "tls": tls, "retry": RetryPolicy(max_attempts=2)}

    async def asked() -> Any:
        async with AsyncClient(address, **settings) as client:
            return await client.embed(["5"], timeout=10)

    if kind is AsyncClient:
        return list(asyncio.run(asked())[0])
    with Client(address, **settings) as client:
        return list(client.embed(["5"], timeout=10)[0])


def _tls(certs: Path, own: Path | None = None, name: str = "client", **more: Any) -> TLS:
    pair = {"certificate": own / f"{name}.pem", "key": own / f"{name}.key"} if own else {}
    return TLS(ca=certs / "ca.pem", **pair, **more)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_who_has_the_right_certificates_gets_in(mutual: str, certs: Path, kind: Any) -> None:
    assert _embed(mutual, _tls(certs, certs), kind) == [4, 5]
    assert _embed(mutual, _tls(certs, certs, server_name="bert.example"), kind) == [4, 5]


#: Mistake of a client -> text of its error.
MISTAKES = {
    "plain text": "to a TLS port, connect with tls",
    "no CA": "TLS(ca=",
    "another CA": "TLS(ca=",
    "another name": "for another name",
    "no certificate": "if it requires a client certificate",
    "certificate of another CA": "is signed by another CA",
    "certificate that has expired": "has expired",
    "certificate that is not valid yet": "check the client certificate",
    "certificate of the server": "not for clients",
    "certificate that signs itself": "is signed by another CA",
    "key of another certificate": "belong together",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_of_clients(mutual: str, certs: Path, others: Path, tmp_path: Path, mistake: str) -> None:
    old, new, alone = tmp_path / "old", tmp_path / "new", tmp_path / "alone"
    for folder, begins in ((old, NOW - 5 * DAY), (new, NOW + DAY), (alone, NOW - DAY)):
        folder.mkdir()
        key, certificate = _issued(certs, begins, begins + 2 * DAY, alone=folder == alone)
        (folder / "client.key").write_text(key)
        (folder / "client.pem").write_text(certificate)
    mixed = TLS(ca=certs / "ca.pem", certificate=certs / "client.pem", key=others / "client.key")
    tls = {
        "plain text": None,
        "no CA": TLS(certificate=certs / "client.pem", key=certs / "client.key"),
        "another CA": _tls(others, certs),
        "another name": _tls(certs, certs, server_name="other.example"),
        "no certificate": _tls(certs),
        "certificate of another CA": _tls(certs, others),
        "certificate that has expired": _tls(certs, old),
        "certificate that is not valid yet": _tls(certs, new),
        "certificate of the server": _tls(certs, certs, "server"),
        "certificate that signs itself": _tls(certs, alone),
        "key of another certificate": mixed,
    }[mistake]
    with pytest.raises(ServerUnavailable) as caught:
        _embed(mutual, tls)
    assert MISTAKES[mistake] in str(caught.value)


def test_tls_to_a_port_in_plain_text(text_server: Any, certs: Path) -> None:
    with pytest.raises(ServerUnavailable, match="does not speak TLS"):
        _embed(text_server.address, _tls(certs, certs))


def _config(certs: Path, **changes: Any) -> SSLConfig:
    config = text_format.Parse((certs / "ssl.config").read_text(), SSLConfig())
    for name, value in changes.items():
        setattr(config, name, value)
    return config


def _encrypted(certs: Path) -> str:
    key = serialization.load_pem_private_key((certs / "server.key").read_bytes(), None)
    secret = serialization.BestAvailableEncryption(b"password")
    text = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret)
    return text.decode()


#: Mistake in the server's file -> text of the error at the start.
WRONG = {
    "no file": "No such file or directory",
    "nonsense": "not an SSLConfig text proto",
    "an unknown field": "not an SSLConfig text proto",
    "empty": "server_key is missing",
    "no certificate": "server_cert is missing",
    "paths": "server_key is not a private key: give PEM text, not the path of a file",
    "key and certificate exchanged": "server_key is not a private key: give PEM text, not a CERTIFICATE",
    "an encrypted key": "server_key is encrypted",
    "another key": "server_key does not belong to the first certificate",
    "half a certificate": "server_cert is not a certificate",
    "expired": "server_cert expired at ",
    "not valid yet": "server_cert is not valid before ",
    "clients without a CA": "client_verify is true, but custom_ca",
    "a CA that is none": "custom_ca is not a certificate",
    "a CA that has expired": "custom_ca expired at ",
}


@pytest.mark.parametrize("mistake", WRONG)
def test_mistakes_of_the_server(certs: Path, others: Path, model_root: Path, tmp_path: Path, mistake: str) -> None:
    from rawbert.serving.server import StartError
    from rawbert.serving.server.options import ServerOptions
    from rawbert.serving.server.start import Plan

    key, certificate, ca = ((certs / name).read_text() for name in ("server.key", "server.pem", "ca.pem"))
    old = dict(zip(("server_key", "server_cert"), _issued(certs, NOW - 3 * DAY, NOW - DAY), strict=True))
    new = dict(zip(("server_key", "server_cert"), _issued(certs, NOW + DAY, NOW + 3 * DAY), strict=True))
    config = {
        "nonsense": "nonsense",
        "an unknown field": 'server_secret: "x"',
        "empty": "",
        "no certificate": _config(certs, server_cert=""),
        "paths": _config(certs, server_key="/certs/server.key"),
        "key and certificate exchanged": _config(certs, server_key=certificate, server_cert=key),
        "an encrypted key": _config(certs, server_key=_encrypted(certs)),
        "another key": _config(certs, server_key=(others / "server.key").read_text()),
        "half a certificate": _config(certs, server_cert=certificate[:200]),
        "expired": _config(certs, **old),
        "not valid yet": _config(certs, **new),
        "clients without a CA": _config(certs, custom_ca=""),
        "a CA that is none": _config(certs, custom_ca=ca.replace("CERTIFICATE", "RUBBISH")),
        "a CA that has expired": _config(certs, custom_ca=old["server_cert"]),
    }.get(mistake)
    file = tmp_path / "ssl.config"
    if config is not None:
        file.write_text(config if isinstance(config, str) else text_format.MessageToString(config))
    with pytest.raises(StartError) as caught:
        Plan(ServerOptions(model_name="m", model_base_path=str(model_root / "m"), ssl_config_file=str(file)))
    assert WRONG[mistake] in str(caught.value)
    assert "PRIVATE" not in str(caught.value)


def test_a_server_that_asks_for_no_certificate(certs: Path, tmp_path: Path) -> None:
    """The parsed credentials work with any gRPC server; this one needs no model."""
    from rawbert.serving.server.tls import parse_credentials

    text = text_format.MessageToString(_config(certs, client_verify=False, custom_ca=""))
    server = grpc.server(None)
    port = server.add_secure_port("127.0.0.1:0", parse_credentials(text))
    server.start()
    try:
        for kind, found in (("ca.pem", True), ("client.pem", False)):
            secret = grpc.ssl_channel_credentials((certs / kind).read_bytes())
            with grpc.secure_channel(f"127.0.0.1:{port}", secret) as channel:
                ready = grpc.channel_ready_future(channel)
                if found:
                    ready.result(30)
                else:
                    with pytest.raises(grpc.FutureTimeoutError):
                        ready.result(1)
    finally:
        server.stop(None).wait()


def test_the_command(tmp_path: Path) -> None:
    out = tmp_path / "new" / "certs"
    made = rawbert("certs", out, "--name", "bert.internal", "--name", "10.0.0.7", "--days", "30", "--no-client-verify")
    assert made.returncode == 0, made.err
    assert f"rawbert serve models --port 8500 --ssl_config_file {out}/ssl.config" in made.out
    assert f'rawbert embed --address bert.internal:8500 --tls-ca {out}/ca.pem "hello"' in made.out
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()}
    assert set(modes) == {
        "ca.pem", "ca.key", "server.pem", "server.key", "client.pem", "client.key", "ssl.config",
    }  # fmt: skip
    assert {name for name, mode in modes.items() if mode == 0o600} == {
        "ca.key", "server.key", "client.key", "ssl.config",
    }  # fmt: skip
    certificate = x509.load_pem_x509_certificate((out / "server.pem").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["bert.internal"]
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.7"]
    assert datetime.timedelta(29) < certificate.not_valid_after_utc - NOW < datetime.timedelta(31)
    config = text_format.Parse((out / "ssl.config").read_text(), SSLConfig())
    assert (config.client_verify, config.server_cert.encode()) == (False, (out / "server.pem").read_bytes())
    before = (out / "ca.pem").read_bytes()
    again = rawbert("certs", out)
    assert again.returncode == 1
    assert "--overwrite replaces them" in again.err
    assert (out / "ca.pem").read_bytes() == before
    assert rawbert("certs", out, "--overwrite").returncode == 0
    assert (out / "ca.pem").read_bytes() != before
    assert sorted(path.name for path in out.iterdir()) == sorted(modes)


@pytest.mark.parametrize(
    "name", ["", "http://bert", "bert:8500", "bert name", "-bert", "1.2.3", "bücher.example", "a" * 64]
)
def test_names_that_no_server_has(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="neither a host name nor an IP address"):
        make_certificates(tmp_path / "certs", [name])
    assert not (tmp_path / "certs").exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    made = rawbert("certs", tmp_path / "file" / "certs")
    assert (made.returncode, "Traceback" in made.err) == (1, False)
    assert "cannot be written" in made.err


@pytest.mark.parametrize("name", ["ca", "server", "client"])
def test_openssl_accepts_them(certs: Path, tmp_path: Path, name: str) -> None:
    """OpenSSL also accepts the certificates, each for its purpose."""
    import shutil
    import subprocess

    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    purpose = {
        "ca": [],
        "server": ["-purpose", "sslserver", "-verify_ip", "127.0.0.1"],
        "client": ["-purpose", "sslclient"],
    }
    command = ["openssl", "verify", "-x509_strict", "-CAfile", certs / "ca.pem", *purpose[name], certs / f"{name}.pem"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
