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

#: Seconds. Every call has a deadline unless it is switched off: without one, TensorFlow Serving continues to compute
#: for callers that have gone.
DEFAULT_TIMEOUT: Final = 30.0
#: Seconds; the maximum of gRPC's clock.
_LONGEST: Final = 1e9
#: Seconds; gRPC takes settings of channels as milliseconds, in 32 bits.
_MOST: Final = 2e6
#: gRPC call metadata, an authorization header for instance.
CallMetadata = Mapping[str, str | bytes] | Iterable[tuple[str, str | bytes]]
_KEY, _VALUE = "[0-9a-z_.-]+", "[ -~]*"


def whole_number(name: str, value: Any, least: int) -> int:
    """``value`` as a whole number of at least ``least``; otherwise raises a TypeError or a ValueError."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}: give a whole number") from None
    if number < least:
        raise ValueError(f"{name} is {number}: give {least} or more")
    return number


def _seconds(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise TypeError(f"{name} is {value!r}: give seconds")
    if not 0 <= value <= _MOST:
        raise ValueError(f"{name} is {value}: give seconds from 0 to {_MOST:g}")


class CallKeywords(TypedDict, total=False):
    """Keyword arguments of every call; see :class:`CallOptions`."""

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
    """Keyword arguments of calls with a complete collection of texts; ``text_pair`` is a second text for each."""

    text_pair: Iterable[str | bytes] | None


class StreamKeywords(PairKeywords, total=False):
    """Keyword arguments of streams."""

    follow_version: bool


@dataclass(frozen=True)
class CallOptions:
    """Options of one call, see :meth:`Client.embed`; the timeout ``...`` means the client's own.

    Raises:
        TypeError: an option of a wrong type.
        ValueError: invalid or contradictory options.
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
            if isinstance(self.version, bool) or not hasattr(self.version, "__index__"):
                raise TypeError(f"version is {self.version!r}: give a whole number, or version_label")
            object.__setattr__(self, "version", operator.index(self.version))
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
        """These options, completed by the client's own."""
        options = self
        if self.version is None and self.version_label is None:
            options = replace(options, version=own.version, version_label=own.version_label)
        credentials = self.call_credentials or own.call_credentials
        return replace(options, call_credentials=credentials, metadata=self.metadata or own.metadata)

    @property
    def which(self) -> str:
        """The requested version, for messages."""
        return self.version_label or ("newest" if self.version is None else str(self.version))


def _checked_metadata(metadata: Any) -> tuple[tuple[str, str | bytes], ...]:
    """Pairs that gRPC accepts; others raise an error here, because gRPC drops some of them silently."""
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
            raise ValueError(f"metadata key {key!r}: gRPC takes only a-z, 0-9, '_', '-' and '.'{hint}")
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
    """Settings of a channel.

    Args:
        max_message_bytes: largest message in either direction; -1, the default, means no limit. gRPC's own limit of
            4 MB is too small for one batch of token vectors.
        keepalive_time: seconds without data after which a connection with calls in flight is pinged, to detect a dead
            peer; 0 switches it off. A gRPC server with default settings, such as TensorFlow Serving, closes
            connections that are pinged more often than every 300 seconds, with all calls on them.
        keepalive_timeout: seconds to wait for the answer to a ping, and for TCP to acknowledge sent data. After this
            time the client gives up a connection that a load balancer or NAT dropped silently.
        connect_timeout: seconds for one attempt at a connection.
        idle_timeout: seconds without a call after which the next call opens a new connection; 0 switches it off. Load
            balancers and NAT silently drop connections that are idle for 4 minutes or more.
        lookup_interval: seconds after which a host name is looked up again while calls are made, to find servers that
            were added or moved; 0 switches it off. A failed connection always leads to a new lookup.
        http_proxy: whether to use ``grpc_proxy``, ``https_proxy``, ``http_proxy`` and ``no_proxy`` of the environment.
        wait_for_ready: whether calls wait, up to their deadline, for a server that does not listen yet, instead of
            failing after a few attempts.
        gzip: whether to compress requests; servers may then compress answers.
        options: further gRPC channel arguments, such as ``(("grpc.http2.write_buffer_size", 65536),)``, or a dict;
            they override the settings above.

    Raises:
        TypeError, ValueError: an invalid value.
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
    options: Mapping[str, Any] | tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        if whole_number("max_message_bytes", self.max_message_bytes, -1) == 0:
            raise ValueError("max_message_bytes is 0: give a positive size, or -1 for no limit")
        for name in ("keepalive_time", "keepalive_timeout", "connect_timeout", "idle_timeout", "lookup_interval"):
            _seconds(name, getattr(self, name))
        for name in ("keepalive_timeout", "connect_timeout"):
            if not getattr(self, name):
                raise ValueError(f"{name} is 0: give seconds above 0")
        pairs = tuple(self.options.items() if isinstance(self.options, Mapping) else self.options)
        for pair in pairs:
            if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not isinstance(pair[0], str):
                raise TypeError(f"options contains {pair!r}: give pairs of a name and a value, or a dict")
        object.__setattr__(self, "options", tuple((name, value) for name, value in pairs))


@dataclass(frozen=True)
class RetryPolicy:
    """Retries of failed calls; always within the deadline of the call.

    Args:
        max_attempts: number of attempts after which a lost connection or an absent server raises an error; 1 switches
            retries off; ``None``, the default, retries until the deadline. Calls that a full server refused without
            running them do not count: they are always retried until the deadline.
        initial_backoff: seconds before the second attempt; doubled before each further one, with jitter.
        max_backoff: maximum seconds between two attempts; a quarter of it if the server is only full.
        budget: number of retries, over all calls of the client, of calls that failed at a server, beyond the number
            of answered calls. Calls that reached no server do not count.

    Raises:
        TypeError, ValueError: an invalid value.
    """

    max_attempts: int | None = None
    initial_backoff: float = 0.02
    max_backoff: float = 1.0
    budget: int = 1000

    def __post_init__(self) -> None:
        if self.max_attempts is not None:
            whole_number("max_attempts", self.max_attempts, 1)  # The first attempt counts.
        for name in ("initial_backoff", "max_backoff"):
            _seconds(name, getattr(self, name))
        if not 0 < self.initial_backoff <= self.max_backoff:
            raise ValueError("initial_backoff must be above 0, and at most max_backoff")
        whole_number("budget", self.budget, 0)


_MARKERS = {"ca": b"CERTIFICATE", "certificate": b"CERTIFICATE", "key": b"PRIVATE KEY"}


@dataclass(frozen=True)
class TLS:
    """TLS, or mutual TLS with a client certificate. PEM, as bytes or as a file.

    Files are read when a channel is opened.

    Args:
        ca: certificates of the authorities that sign the server's certificate; gRPC's own list if left out.
        certificate: the client's own certificate chain, for servers that request one.
        key: the private key of ``certificate``.
        server_name: name to expect in the server's certificate, if it differs from the address.

    Raises:
        TypeError: neither bytes nor a path.
        ValueError: a file that is missing or contains no PEM, or a certificate without its key.
    """

    ca: bytes | str | os.PathLike[str] | None = field(default=None, repr=False)
    certificate: bytes | str | os.PathLike[str] | None = field(default=None, repr=False)
    key: bytes | str | os.PathLike[str] | None = field(default=None, repr=False)
    server_name: str | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("TLS: give certificate and key together; one of them is missing")
        for name in _MARKERS:
            self.read(name)

    def read(self, name: str) -> bytes | None:
        """The PEM of ``ca``, ``certificate`` or ``key``; a file is read each time, so that changes take effect."""
        value = getattr(self, name)
        if value is None:
            return None
        if not isinstance(value, (bytes, str, os.PathLike)):
            raise TypeError(f"TLS: {name} is a {type(value).__name__}: give PEM as bytes, or the path of a file")
        try:
            data = value if isinstance(value, bytes) else Path(value).read_bytes()
        except OSError as error:
            raise ValueError(f"TLS: {name} {os.fspath(value)!r} cannot be read: {error.strerror}") from error
        if b"-----BEGIN " not in data or _MARKERS[name] not in data:
            raise ValueError(
                f"TLS: {name} contains no PEM block of a {_MARKERS[name].decode().lower()}; give PEM, not DER"
            )
        return data
