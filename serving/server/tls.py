"""TLS of the gRPC port from an SSLConfig text proto, with checks before the server listens.

For most mistakes gRPC itself only reports that it cannot listen, or lets the server start and every call fail.
"""

import datetime
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from google.protobuf import text_format

from ..wire.protos import SSLConfig
from .failure import invalid

_PUBLIC = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def parse_credentials(text: str) -> grpc.ServerCredentials:
    """The credentials of an SSLConfig text proto.

    Raises:
        Failure: INVALID_ARGUMENT; it does not parse, or no client could connect with it.
    """
    config = SSLConfig()
    try:
        text_format.Parse(text, config)
    except Exception as error:  # for garbage, protobuf raises more than its own ParseError
        raise invalid(f"it is not an SSLConfig text proto; correct it: {error}") from error
    key = _private_key(config.server_key)
    chain = _certificates("server_cert", config.server_cert)
    if chain[0].public_key().public_bytes(*_PUBLIC) != key.public_key().public_bytes(*_PUBLIC):
        raise invalid("server_key does not belong to the first certificate in server_cert: give its key")
    _check_dates("server_cert", chain[:1])
    if config.custom_ca:
        _check_dates("custom_ca", _certificates("custom_ca", config.custom_ca))
    elif config.client_verify:
        raise invalid("client_verify is true, but custom_ca is missing: add the CA of the clients' certificates")
    return grpc.ssl_server_credentials(
        [(config.server_key.encode(), config.server_cert.encode())],
        config.custom_ca.encode() or None,
        config.client_verify,
    )


def _private_key(pem: str) -> Any:
    if not pem:
        raise invalid("server_key is missing: add it")
    try:
        return serialization.load_pem_private_key(pem.encode(), None)
    except TypeError as error:
        raise invalid("server_key is encrypted: give it without a password") from error
    except Exception as error:
        raise invalid(f"server_key is not a private key: give PEM text{_hint(pem)}") from error


def _certificates(field: str, pem: str) -> list[x509.Certificate]:
    if not pem:
        raise invalid(f"{field} is missing: add it")
    try:
        return x509.load_pem_x509_certificates(pem.encode())
    except Exception as error:
        raise invalid(f"{field} is not a certificate: give PEM text{_hint(pem)}") from error


def _hint(pem: str) -> str:
    if "-----BEGIN" in pem:
        kind = pem.partition("-----BEGIN ")[2].partition("-----")[0]
        return f", not a {kind}" if kind else ""
    return ", not the path of a file" if len(pem) < 1000 else ""


def _check_dates(field: str, certificates: list[x509.Certificate]) -> None:
    """Raise if none of the certificates is valid now."""
    now = datetime.datetime.now(datetime.UTC)
    if any(each.not_valid_before_utc <= now <= each.not_valid_after_utc for each in certificates):
        return
    first = certificates[0]
    if first.not_valid_after_utc < now:
        raise invalid(f"{field} expired at {first.not_valid_after_utc:%Y-%m-%d %H:%M} UTC: renew it")
    raise invalid(f"{field} is not valid before {first.not_valid_before_utc:%Y-%m-%d %H:%M} UTC: check the clock")
