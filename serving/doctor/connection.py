"""Checks of the connection: address, proxy, encryption, REST and metrics."""

import email.utils
import ipaddress
import socket
import ssl
import time
import urllib.parse
from collections.abc import Collection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .finding import NotKnown, Result, check, ok, problem, unknown, warning
from .link import IpAddress, ips_of
from .probe import Probe

#: Seconds by which clocks may differ; the header Date has a resolution of 1 s.
_CLOCKS = 30.0
_DAY = 86_400
#: Addresses for documentation (RFC 5737, RFC 3849). Python counts them as private; tests use them as public ones.
_DOCUMENTATION = [
    ipaddress.ip_network(each) for each in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
]
#: Days before its end at which a certificate should be renewed; for a short-lived one, a quarter of its validity.
_RENEWED = 14
#: OpenSSL's codes of failed verifications (X509_V_ERR_..., openssl/x509_vfy.h).
_DATES = _NOT_YET_VALID, _EXPIRED = 9, 10
_NAMES = 62, 64  # of a host, of an IP address


@check(
    "a GetModelStatus call, for at most 10 s",
    "Start the server, or correct the address, the gRPC port (usually 8500; 8501 is REST), the TLS options or the "
    "headers.",
)
def reachable(probe: Probe) -> Result:
    """A TensorFlow Serving API answers at the address."""
    return ok(f"answers in {1000 * probe.round_trip:.1f} ms") if not probe.unreached else problem(str(probe.unreached))


@check(
    "the same call through the proxy that the environment names (grpc_proxy, https_proxy, http_proxy, no_proxy), and "
    "without it",
    "Add the server's host to no_proxy, or use Client(..., config=ChannelConfig(http_proxy=False)).",
)
def proxy(probe: Probe) -> Result:
    """Calls do not fail because of a proxy."""
    if probe.proxy is None:
        return ok("none for this address")
    if probe.proxied is not None and probe.direct is None:
        return problem(f"calls fail with the proxy of {probe.proxy}, and succeed without it")
    if probe.proxied is None and probe.ips and not any(ip.is_global for ip in probe.ips):
        return warning(f"calls to a local address use the proxy of {probe.proxy}")
    if probe.proxied is None:
        return ok(f"calls use the proxy of {probe.proxy}")
    return unknown("the server was not reached")


@check(
    "plain text of gRPC or REST on a host with a public IP address is a problem",
    "Use TLS (--ssl_config_file, or a proxy that ends TLS), or bind the ports to 127.0.0.1 or a private network. "
    "Otherwise others can read the texts, and everyone who reaches the port can replace the models.",
)
def plain_text(probe: Probe) -> Result:
    """No plain text is sent over public networks."""
    if probe.tls is None and (public := _public(probe.ips)):
        return problem(f"plain text, and {public} is public")
    rest = urllib.parse.urlsplit(probe.http.url)
    if rest.scheme == "http" and probe.http.status and (public := _public(ips_of(rest.hostname or "", rest.port))):
        return problem(f"REST uses plain text, and {public} is public")
    if probe.tls is not None:
        return ok("TLS")
    if probe.host is None:
        return ok("no network") if probe.address.startswith("unix") else unknown("the address has no host")
    if not probe.ips:
        return unknown(f"the lookup of {probe.host} failed")
    return ok(f"plain text on {'this machine' if all(ip.is_loopback for ip in probe.ips) else 'private addresses'}")


def _public(ips: list[IpAddress]) -> str:
    """The public ones of some IP addresses, including those for documentation."""
    return ", ".join(
        sorted({str(ip) for ip in ips if ip.is_global or any(ip in network for network in _DOCUMENTATION)})
    )


@check(
    "the dates of the server's certificate: expired or not yet valid is a problem; less than 14 days left (or the "
    "last quarter of a shorter validity) is a warning",
    "Renew the certificate, and restart the server, which reads it at its start. If the certificate is not valid yet,"
    " correct the clocks.",
)
def certificate_dates(probe: Probe) -> Result:
    """The certificate is valid, now and in the next days."""
    if probe.tls is None:
        return ok("no TLS")
    shown = _certificate(probe, check_name=False, faults=_DATES)
    if shown == _EXPIRED:
        return problem("the certificate has expired")
    if shown == _NOT_YET_VALID:
        return problem("the certificate is not yet valid: the clock of this machine or of its issuer is wrong")
    begin, end = (ssl.cert_time_to_seconds(shown[name]) for name in ("notBefore", "notAfter"))
    left = end - time.time()
    said = f"valid for {left / _DAY:.0f} days" if left > 2 * _DAY else f"valid for {left / 3600:.0f} hours"
    return warning(said) if left < min(_RENEWED * _DAY, (end - begin) / 4) else ok(said)


@check(
    "the names in the server's certificate, compared with the host of the address (or --tls-server-name)",
    "Make a certificate whose subjectAltName contains the name or IP address that clients use, or let clients give "
    "--tls-server-name (TLS(server_name=...)).",
)
def certificate_name(probe: Probe) -> Result:
    """The certificate is for the name that clients use."""
    if probe.tls is None:
        return ok("no TLS")
    if _certificate(probe, check_name=True, faults=_NAMES) not in _NAMES:
        return ok(f"for {_expected(probe)}")
    shown = _certificate(probe, check_name=False, faults=_DATES)
    # Python returns the names only of a certificate that is valid otherwise.
    names = "another name" if shown in _DATES else ", ".join(value for _, value in shown.get("subjectAltName", ()))
    return problem(f"the certificate is for {names or 'no name'}, and not for {_expected(probe)}")


def _expected(probe: Probe) -> str:
    assert probe.tls is not None
    return probe.tls.server_name or probe.host or ""


def _certificate(probe: Probe, *, check_name: bool, faults: Collection[int]) -> Any:
    """The server's verified certificate, as a dictionary of ``ssl``; or the code of its fault, if in ``faults``.

    Raises:
        NotKnown: the certificate has another fault, or the server sends none.
    """
    if probe.host_port is None:
        raise NotKnown("the address has no host")
    assert probe.tls is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = check_name
    context.set_alpn_protocols(["h2"])
    try:
        if (ca := probe.tls.read("ca")) is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(cadata=ca.decode("latin-1"))
        if (certificate := probe.tls.read("certificate")) is not None:
            with TemporaryDirectory() as folder:  # ssl reads keys only from files
                pem = Path(folder) / "client.pem"
                pem.touch(mode=0o600)
                pem.write_bytes(certificate + b"\n" + (probe.tls.read("key") or b""))
                context.load_cert_chain(pem)
        with (
            socket.create_connection(probe.host_port, timeout=10.0) as plain,
            context.wrap_socket(plain, server_hostname=_expected(probe)) as secure,
        ):
            return secure.getpeercert()
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in faults:
            return error.verify_code
        raise NotKnown(f"the certificate is not trusted: {error.verify_message}") from error
    except (OSError, ValueError) as error:
        raise NotKnown(f"no certificate was received: {error}") from error


@check(
    "the REST API, at --rest or on the next port",
    "Start the server with --rest_api_port, or give its address with --rest. If another server uses that port, "
    "TensorFlow Serving continues without REST.",
)
def rest(probe: Probe) -> Result:
    """REST answers at the given address."""
    if probe.http.status is not None:
        return ok(f"answers at {probe.http.url}")
    if probe.http.named:
        return problem(f"no REST API of TensorFlow Serving answers at {probe.http.url}")
    return unknown("no REST API at the next port; --rest gives another address")


@check(
    "the header Date of REST, compared with this machine's clock: a difference of 30 s is a warning",
    "Synchronize the clocks with NTP: certificates, logs and traces depend on them.",
)
def clock(probe: Probe) -> Result:
    """Both clocks agree."""
    page = probe.http.status
    if page is None or not page.headers.get("Date"):
        raise NotKnown("there is no REST API, or it sends no date")
    now = time.time()
    try:
        apart = email.utils.parsedate_to_datetime(page.headers["Date"]).timestamp() - now
    except ValueError as error:
        raise NotKnown(f"the date that REST sends is invalid: {error}") from error
    said = f"the server's clock is {abs(apart):.0f} s {'fast' if apart > 0 else 'slow'}"
    return warning(said) if abs(apart) > _CLOCKS else ok("they agree within a few seconds")


@check(
    "/monitoring/prometheus/metrics, or /metrics, on the REST port",
    "Start the server with --monitoring_config_file and a file that contains prometheus_config { enable: true path: "
    '"/monitoring/prometheus/metrics" }.',
)
def metrics(probe: Probe) -> Result:
    """Prometheus can monitor the server."""
    if probe.http.status is None:
        raise NotKnown("there is no REST API, which serves the metrics")
    return warning("no metrics") if probe.http.metrics is None else ok("available")
