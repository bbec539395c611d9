"""The profile tls of the compose stack: nginx with the container's command, in front of a real server."""

from __future__ import annotations

import datetime
import ipaddress
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rawbert.serving import TLS, Client, ServingError

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")


def write_certificates(folder: Path, names: tuple[str, ...] = ("server", "client")) -> None:
    """A certificate authority, and keys and certificates that it signed, as PEM files."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder.mkdir()
    authority = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)

    def write(name: str, key: Any, is_authority: bool) -> None:
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"{folder.name} {name}")])
        issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"{folder.name} ca")])
        address = x509.SubjectAlternativeName(
            [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        )
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(address, critical=False)
            .sign(authority, hashes.SHA256())
        )
        (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (folder / f"{name}.key").write_bytes(private)

    write("ca", authority, True)
    for name in names:
        write(name, ec.generate_private_key(ec.SECP256R1()), False)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def front(folder: Path, target: str, client_certificates: str) -> Iterator[int]:
    """Run nginx with the command of docker-compose.yml, and with files and ports of this machine; yields its port."""
    yaml = pytest.importorskip("yaml")
    service = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]["tls"]
    (text,) = service["command"]
    port = free_port()
    config = (ROOT / "deploy" / "tls" / "nginx.conf").read_text(encoding="utf-8")
    for old, new in (
        ("/tmp/", f"{folder}/"), ("/certs/", f"{folder}/certs/"), ("grpc://$serving:8500", f"grpc://{target}"),
        ("listen 8443", f"listen 127.0.0.1:{port}"), ("listen 8444", f"listen 127.0.0.1:{free_port()}"),
    ):  # fmt: skip
        assert old in config
        config = config.replace(old, new)
    (folder / "mounted").mkdir(exist_ok=True)
    (folder / "mounted" / "nginx.conf").write_text(config, encoding="utf-8")
    command = text.replace("$$", "$").replace("/tmp/", f"{folder}/").replace("/rawbert/", f"{folder}/mounted/")
    environment = {**os.environ, "CLIENT_CERTIFICATES": client_certificates}
    with subprocess.Popen([*service["entrypoint"], command], env=environment, stderr=subprocess.PIPE) as process:
        try:
            end = time.monotonic() + 30
            while True:
                assert process.poll() is None, process.stderr and process.stderr.read()
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    assert time.monotonic() < end
                    time.sleep(0.05)
            yield port
        finally:
            process.terminate()


@pytest.fixture
def called(text_server: Any) -> Callable[..., Any]:
    """Call nginx with some TLS settings, and compare with the server's own answer."""
    with Client(text_server.address, model="text") as client:
        expected = client.embed(["over TLS"])

    def call(port: int, tls: TLS | None) -> None:
        with Client(f"localhost:{port}", model="text", tls=tls, timeout=3) as client:
            np.testing.assert_array_equal(client.embed(["over TLS"]), expected)

    return call


def test_callers_need_tls_and_a_certificate_of_the_authority(
    called: Callable[..., Any], text_server: Any, tmp_path: Path
) -> None:
    certs, other = tmp_path / "certs", tmp_path / "other"
    write_certificates(certs)
    write_certificates(other)
    tmp_path.chmod(0o755)
    ours = {"certificate": certs / "client.pem", "key": certs / "client.key"}
    with front(tmp_path, text_server.address, "on") as port:
        called(port, TLS(ca=certs / "ca.pem", **ours))
        with pytest.raises(ServingError, match="client certificate is required"):
            called(port, TLS(ca=certs / "ca.pem"))
        with pytest.raises(ServingError):
            called(port, TLS(ca=certs / "ca.pem", certificate=other / "client.pem", key=other / "client.key"))
        with pytest.raises(ServingError):
            called(port, TLS(ca=other / "ca.pem", **ours))
        with pytest.raises(ServingError):
            called(port, None)
    with front(tmp_path, text_server.address, "off") as port:
        called(port, TLS(ca=certs / "ca.pem"))
        with pytest.raises(ServingError):
            called(port, None)
