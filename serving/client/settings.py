"""Settings of a client: frozen, validated."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["TLS", "ChannelConfig", "RetryPolicy"]


@dataclass(frozen=True)
class ChannelConfig:
    """How a channel is set up.

    Args:
        max_message_bytes: largest message either way; -1, the default, is unlimited. gRPC's own limit of
            4 MB already refuses one batch of token vectors.
        keepalive_time: seconds without an answer after which a connection with a call on it is pinged, so that a dead
            peer is noticed; 0 turns it off. A gRPC server with default settings, as TensorFlow Serving's is, ends
            connections that are pinged more often than every 300 seconds, and the calls on them.
        keepalive_timeout: seconds to wait for the answer to a ping, and for the other side's TCP to acknowledge what
            was sent.
        connect_timeout: seconds that opening a connection may take before it is tried anew.
        wait_for_ready: whether calls wait, up to their deadline, for a server that does not listen yet, instead of
            failing after a few attempts.
        gzip: whether requests are compressed, and answers may be.

    Raises:
        ValueError: a value that cannot work.
    """

    max_message_bytes: int = -1
    keepalive_time: float = 310.0
    keepalive_timeout: float = 20.0
    connect_timeout: float = 5.0
    wait_for_ready: bool = False
    gzip: bool = False

    def __post_init__(self) -> None:
        if self.max_message_bytes == 0 or self.max_message_bytes < -1:
            raise ValueError(f"max_message_bytes is {self.max_message_bytes}: give a positive size, or -1 for no limit")
        if self.keepalive_time < 0 or self.keepalive_timeout <= 0:
            raise ValueError("keepalive_time must not be negative, and keepalive_timeout must be above 0")
        if self.connect_timeout <= 0:
            raise ValueError(f"connect_timeout is {self.connect_timeout}: give seconds above 0")


@dataclass(frozen=True)
class RetryPolicy:
    """How failed calls are sent again; always within the deadline of the call.

    Args:
        max_attempts: attempts after which a lost connection or a server that is not there is raised; 1 switches
            retries off. Calls that a busy server refused unrun do not count: those go on until the deadline.
        initial_backoff: seconds before the second attempt; doubled before each further one, with jitter.
        max_backoff: most seconds between two attempts; a quarter of it where the server is only busy.
        hedge_after: seconds after which a call of a single part that is not answered yet is made a second time, to
            another server where there is one; the first answer counts. It cuts the longest waits, and costs the
            server the whole price of the second call. ``None`` switches it off.
        budget: retries that all calls of the client may make beyond the number of calls that were answered.

    Raises:
        ValueError: a value that cannot work.
    """

    max_attempts: int = 8
    initial_backoff: float = 0.02
    max_backoff: float = 1.0
    budget: int = 1000
    hedge_after: float | None = None

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts is {self.max_attempts}: the first attempt counts")
        if not 0 < self.initial_backoff <= self.max_backoff:
            raise ValueError("initial_backoff must be above 0, and at most max_backoff")
        if self.hedge_after is not None and self.hedge_after <= 0:
            raise ValueError(f"hedge_after is {self.hedge_after}: give seconds above 0, or None")
        if self.budget < 0:
            raise ValueError(f"budget is {self.budget}: it must not be negative")


@dataclass(frozen=True)
class TLS:
    """TLS, and mutual TLS where a certificate of the client is given. PEM, as bytes or as a file.

    Args:
        ca: certificates that sign the server's; those that gRPC carries if left out.
        certificate: the client's own certificate chain, for servers that ask for one.
        key: its private key.
        server_name: name to expect in the server's certificate, where it is not that of the address.

    Raises:
        ValueError: a file that is not there or holds no PEM, or a certificate without its key.
    """

    ca: bytes | str | os.PathLike[str] | None = None
    certificate: bytes | str | os.PathLike[str] | None = None
    key: bytes | str | os.PathLike[str] | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("TLS: certificate and key go together; one of them is missing")
        for name, marker in (("ca", b"CERTIFICATE"), ("certificate", b"CERTIFICATE"), ("key", b"PRIVATE KEY")):
            value = getattr(self, name)
            if value is None:
                continue
            try:
                data = value if isinstance(value, bytes) else Path(value).read_bytes()
            except OSError as error:
                raise ValueError(f"TLS: {name} {os.fspath(value)!r} cannot be read: {error.strerror}") from error
            if b"-----BEGIN " not in data or marker not in data:
                raise ValueError(f"TLS: {name} holds no PEM block of a {marker.decode().lower()}")
            object.__setattr__(self, name, data)

    def __repr__(self) -> str:
        given = [name for name in ("ca", "certificate", "key") if getattr(self, name) is not None]
        return (
            f"TLS({', '.join(f'{name}=...' for name in given)}{', ' if given else ''}server_name={self.server_name!r})"
        )
