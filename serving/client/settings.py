"""Settings of a client and of a call: frozen, validated."""

from __future__ import annotations

import operator
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import EllipsisType
from typing import Any, Final, TypedDict

import grpc
import numpy as np

#: Seconds. A deadline is always sent unless it is switched off: without one, TensorFlow Serving computes on for
#: callers that have gone.
DEFAULT_TIMEOUT: Final = 30.0
#: Seconds; gRPC's clock has an end.
_LONGEST: Final = 1e9
#: gRPC call metadata, an authorization header for instance.
CallMetadata = Mapping[str, str | bytes] | Iterable[tuple[str, str | bytes]]
_KEY, _VALUE = "[0-9a-z_.-]+", "[ -~]*"


class CallKeywords(TypedDict, total=False):
    """Keyword arguments of every call; :class:`CallOptions` says what they mean."""

    version: int | None
    version_label: str | None
    timeout: float | None
    metadata: CallMetadata | None
    call_credentials: grpc.CallCredentials | None


class TextKeywords(CallKeywords, total=False):
    """Keyword arguments of calls with texts."""

    signature_name: str
    output_name: str
    sort_by_length: bool


class PairKeywords(TextKeywords, total=False):
    """Keyword arguments of calls with all of their texts at once; ``text_pair`` is a second text for each."""

    text_pair: Iterable[str | bytes] | None


class StreamKeywords(PairKeywords, total=False):
    """Keyword arguments of streams."""

    follow_version: bool


@dataclass(frozen=True)
class CallOptions:
    """How one call of a user is made, see :meth:`Client.embed`; ``...`` is the timeout of the client itself.

    Raises:
        TypeError: an option of another type.
        ValueError: options that cannot work, or contradict each other.
    """

    version: int | None = None
    version_label: str | None = None
    timeout: float | EllipsisType | None = ...
    metadata: CallMetadata | None = ()
    call_credentials: grpc.CallCredentials | None = None
    signature_name: str = ""
    output_name: str = ""
    sort_by_length: bool = False

    def __post_init__(self) -> None:
        if self.version is not None and self.version_label is not None:
            raise ValueError("give version or version_label, not both")
        if self.version is not None:
            try:
                object.__setattr__(self, "version", operator.index(self.version))
            except TypeError:
                raise TypeError(f"version is {self.version!r}: give a whole number, or version_label") from None
        for name in ("version_label", "signature_name", "output_name"):
            if not isinstance(getattr(self, name) or "", str):
                raise TypeError(f"{name} is {getattr(self, name)!r}: give a str")
        if self.version_label == "":
            raise ValueError("version_label is empty: give a label, such as stable, or leave it out")
        if self.timeout is not None and self.timeout is not ...:
            if isinstance(self.timeout, bool) or not isinstance(self.timeout, (int, float, np.number)):
                raise TypeError(f"timeout is {self.timeout!r}: give seconds, or None for no deadline")
            if not 0 < self.timeout <= _LONGEST:
                why = f"give seconds above 0, at most {_LONGEST:g}, or None for no deadline"
                raise ValueError(f"timeout is {self.timeout}: {why}")
            object.__setattr__(self, "timeout", float(self.timeout))
        if self.call_credentials is not None and not isinstance(self.call_credentials, grpc.CallCredentials):
            kind = type(self.call_credentials).__name__
            raise TypeError(f"call_credentials is a {kind}: make grpc.CallCredentials, or send metadata")
        object.__setattr__(self, "metadata", _checked_metadata(self.metadata))

    def over(self, own: CallOptions) -> CallOptions:
        """These options of a call, and the client's own where the call has none."""
        options = self
        if self.version is None and self.version_label is None:
            options = replace(options, version=own.version, version_label=own.version_label)
        credentials = self.call_credentials or own.call_credentials
        return replace(options, call_credentials=credentials, metadata=self.metadata or own.metadata)

    @property
    def which(self) -> str:
        """The version, for messages."""
        return self.version_label or ("newest" if self.version is None else str(self.version))


def _checked_metadata(metadata: Any) -> tuple[tuple[str, str | bytes], ...]:
    """Pairs that gRPC takes: what it would refuse, some of it without a word, is refused here."""
    if metadata is None:
        return ()
    pairs = []
    for pair in metadata.items() if isinstance(metadata, Mapping) else metadata:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not isinstance(pair[0], str):
            raise TypeError(f"metadata contains {pair!r}: give pairs of a key and a value, or a dict")
        key, value = pair
        if not isinstance(value, (str, bytes)):
            raise TypeError(f"metadata {key!r} has a {type(value).__name__} as its value: give a str or bytes")
        if not re.fullmatch(_KEY, key):
            hint = f"; write {key.lower()!r}" if re.fullmatch(_KEY, key.lower()) else ""
            raise ValueError(f"metadata key {key!r}: gRPC takes a-z, 0-9, '_', '-' and '.' alone{hint}")
        if key.endswith("-bin") and not isinstance(value, bytes):
            raise TypeError(f"metadata {key!r} has a str as its value: a key that ends in -bin takes bytes")
        text = value if isinstance(value, str) else value.decode("latin-1")
        if not key.endswith("-bin") and not re.fullmatch(_VALUE, text):
            # The value may be a secret.
            why = "the value has characters other than printable ASCII; a key that ends in -bin takes any bytes"
            raise ValueError(f"metadata {key!r}: {why}")
        pairs.append((key, value))
    return tuple(pairs)


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
            was sent: so soon is a connection given up that load balancers or NAT have dropped without a word.
        connect_timeout: seconds that opening a connection may take before it is tried anew.
        idle_timeout: seconds without a call after which the next call opens a new connection. Load balancers and NAT
            forget connections that are idle for 4 minutes and more, without a word; 0 turns it off.
        lookup_interval: seconds after which a host name is looked up again while calls are made, so that servers that
            were added or have moved are found; 0 turns it off. It is always looked up where a connection fails.
        http_proxy: whether ``grpc_proxy``, ``https_proxy``, ``http_proxy`` and ``no_proxy`` of the environment count.
        wait_for_ready: whether calls wait, up to their deadline, for a server that does not listen yet, instead of
            failing after a few attempts.
        gzip: whether requests are compressed, and answers may be.
        options: further gRPC channel arguments, such as ``(("grpc.http2.write_buffer_size", 65536),)``; they replace
            those that the settings above make.

    Raises:
        ValueError: a value that cannot work.
    """

    max_message_bytes: int = -1
    keepalive_time: float = 310.0
    keepalive_timeout: float = 3.0
    connect_timeout: float = 2.0
    idle_timeout: float = 220.0
    lookup_interval: float = 10.0
    http_proxy: bool = True
    wait_for_ready: bool = False
    gzip: bool = False
    options: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        if self.max_message_bytes == 0 or self.max_message_bytes < -1:
            raise ValueError(f"max_message_bytes is {self.max_message_bytes}: give a positive size, or -1 for no limit")
        if self.keepalive_time < 0 or self.keepalive_timeout <= 0:
            raise ValueError("keepalive_time must not be negative, and keepalive_timeout must be above 0")
        if self.connect_timeout <= 0:
            raise ValueError(f"connect_timeout is {self.connect_timeout}: give seconds above 0")
        if self.idle_timeout < 0 or self.lookup_interval < 0:
            raise ValueError("idle_timeout and lookup_interval must not be negative")


@dataclass(frozen=True)
class RetryPolicy:
    """How failed calls are sent again; always within the deadline of the call.

    Args:
        max_attempts: attempts after which a lost connection or a server that is not there is raised; 1 switches
            retries off; ``None``, the default, goes on until the deadline. Calls that a busy server refused unrun do
            not count: those always go on until the deadline.
        initial_backoff: seconds before the second attempt; doubled before each further one, with jitter.
        max_backoff: most seconds between two attempts; a quarter of it where the server is only busy.
        budget: calls that failed at a server and that all calls of the client may send again, beyond the number of
            calls that were answered. What reached no server does not count.

    Raises:
        ValueError: a value that cannot work.
    """

    max_attempts: int | None = None
    initial_backoff: float = 0.02
    max_backoff: float = 1.0
    budget: int = 1000

    def __post_init__(self) -> None:
        if self.max_attempts is not None and self.max_attempts < 1:
            raise ValueError(f"max_attempts is {self.max_attempts}: the first attempt counts")
        if not 0 < self.initial_backoff <= self.max_backoff:
            raise ValueError("initial_backoff must be above 0, and at most max_backoff")
        if self.budget < 0:
            raise ValueError(f"budget is {self.budget}: it must not be negative")


_MARKERS = {"ca": b"CERTIFICATE", "certificate": b"CERTIFICATE", "key": b"PRIVATE KEY"}


@dataclass(frozen=True)
class TLS:
    """TLS, and mutual TLS where a certificate of the client is given. PEM, as bytes or as a file.

    Files are read when a channel is opened.

    Args:
        ca: certificates that sign the server's; those that gRPC carries if left out.
        certificate: the client's own certificate chain, for servers that ask for one.
        key: its private key.
        server_name: name to expect in the server's certificate, where it is not that of the address.

    Raises:
        ValueError: a file that is not there or contains no PEM, or a certificate without its key.
    """

    ca: bytes | str | os.PathLike[str] | None = field(default=None, repr=False)
    certificate: bytes | str | os.PathLike[str] | None = field(default=None, repr=False)
    key: bytes | str | os.PathLike[str] | None = field(default=None, repr=False)
    server_name: str | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("TLS: certificate and key go together; one of them is missing")
        for name in _MARKERS:
            self.read(name)

    def read(self, name: str) -> bytes | None:
        """The PEM of ``ca``, ``certificate`` or ``key``; a file is read anew, so that one that changed counts."""
        value = getattr(self, name)
        if value is None:
            return None
        try:
            data = value if isinstance(value, bytes) else Path(value).read_bytes()
        except OSError as error:
            raise ValueError(f"TLS: {name} {os.fspath(value)!r} cannot be read: {error.strerror}") from error
        if b"-----BEGIN " not in data or _MARKERS[name] not in data:
            raise ValueError(f"TLS: {name} holds no PEM block of a {_MARKERS[name].decode().lower()}")
        return data
