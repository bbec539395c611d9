"""Certificates for development: an authority, signed server and client certificates, and the server's
ssl_config_file.

The module needs ``cryptography``, which the extra ``server`` installs.
"""

import datetime
import ipaddress
import os
import re
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from google.protobuf import text_format

from .wire.protos import SSLConfig

#: Names under which a server of this machine is reached.
LOCAL = ("localhost", "127.0.0.1", "::1")
#: Minimum validity of the authority in days: it outlives the certificates that it signs.
_AUTHORITY_DAYS = 1825
_LABEL = "[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"(\*\.)?({_LABEL}\.)*{_LABEL}")


def make_certificates(
    folder: Path,
    names: Sequence[str] = LOCAL,
    days: int = 365,
    client_verify: bool = True,
    overwrite: bool = False,
) -> list[Path]:
    """Write keys and certificates for TLS, all or none of them.

    ``ca.pem``, ``server.pem`` and ``client.pem`` are certificates; the ``.key`` files are their private keys (P-256).
    ``ssl.config``: the SSLConfig text proto of the server, with its key. Keys and ``ssl.config`` have mode 0600.

    Args:
        folder: output folder; created if missing.
        names: host names and IP addresses of the server.
        days: validity of the server's and the client's certificate.
        client_verify: whether ``ssl.config`` requires a client certificate signed by this authority.
        overwrite: replace existing files.

    Returns:
        The files.

    Raises:
        ValueError: a name that no server can have, or no days.
        FileExistsError: a file exists, and ``overwrite`` is not set.
        OSError: a file cannot be written.
    """
    if not names:
        raise ValueError("give at least one name of the server")
    if not 1 <= days <= 36500:
        raise ValueError(f"{days} days: give 1 to 36500")
    alternatives = [_alternative(name) for name in names]
    authority = _Authority(max(days, _AUTHORITY_DAYS))
    server = authority.issue(names[0], alternatives, ExtendedKeyUsageOID.SERVER_AUTH, days)
    client = authority.issue("rawbert client", [], ExtendedKeyUsageOID.CLIENT_AUTH, days)
    config = SSLConfig(
        server_key=server[0].decode(),
        server_cert=server[1].decode(),
        custom_ca=authority.pem.decode(),
        client_verify=client_verify,
    )
    written = {
        "ca.pem": authority.pem, "ca.key": authority.key_pem, "server.pem": server[1], "server.key": server[0],
        "client.pem": client[1], "client.key": client[0], "ssl.config": text_format.MessageToString(config).encode(),
    }  # fmt: skip
    there = [name for name in written if (folder / name).exists()]
    if there and not overwrite:
        raise FileExistsError(f"{folder} has {', '.join(there)}")
    folder.mkdir(parents=True, exist_ok=True)
    made: list[Path] = []
    try:
        for name, data in written.items():
            made.append(folder / f".{name}.new")
            made[-1].unlink(missing_ok=True)
            mode = 0o644 if name.endswith(".pem") else 0o600
            with open(os.open(made[-1], os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(data)
        for path, name in zip(made, written, strict=True):
            path.replace(folder / name)
    finally:
        for path in made:
            path.unlink(missing_ok=True)
    return [folder / name for name in written]


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        if not _NAME.fullmatch(name) or len(name) > 253 or re.fullmatch(r"[0-9.]+", name):
            raise ValueError(
                f"{name!r} is neither a host name nor an IP address: give it without scheme and port, and in ASCII"
            ) from None
    return x509.DNSName(name)


class _Authority:
    """A certificate authority with its key."""

    def __init__(self, days: int) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("rawbert development CA")
        self.key_pem = _pem(self._key)
        usage = _usage(key_cert_sign=True, crl_sign=True)
        builder = self._builder(self._name, self._key.public_key(), days)
        self._certificate = (
            builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.pem = self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue(
        self, name: str, alternatives: Sequence[x509.GeneralName], purpose: x509.ObjectIdentifier, days: int
    ) -> tuple[bytes, bytes]:
        """A private key and its certificate in PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(_name(name[:64]), key.public_key(), days)
        builder = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        return _pem(key), builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def _builder(self, name: x509.Name, key: ec.EllipticCurvePublicKey, days: int) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            # An hour early, because the clocks of two machines may differ.
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        )


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _usage(**uses: bool) -> x509.KeyUsage:
    names = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: uses.get(name, False) for name in names})


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
