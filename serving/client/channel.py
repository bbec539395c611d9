"""gRPC channels to TensorFlow Serving: addresses, options, credentials, and which server is called next."""

from __future__ import annotations

import itertools
import json
import re
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import grpc

from .settings import TLS, ChannelConfig

_SCHEME = re.compile(r"(dns|unix|unix-abstract|ipv4|ipv6|xds|passthrough):")
_HOST_PORT = re.compile(r"(\[[0-9a-fA-F:.%\w]+\]|[^\s:/\[\]]+):(\d{1,5})")
#: What gRPC says at a deadline, and we too where it does not in time.
DEADLINE = "Deadline Exceeded"
#: Every address that a name has, in turn.
_ROUND_ROBIN = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})
#: Seconds for which a server that failed is passed over, while others are there.
_ASIDE = (0.1, 5.0)


def addresses(address: str | Sequence[str]) -> tuple[str, ...]:
    """The addresses that a client was given.

    Raises:
        TypeError: it is neither a str nor a collection of them.
        ValueError: one cannot be an address, and what it should look like.
    """
    given = (address,) if isinstance(address, str) or not isinstance(address, Iterable) else tuple(address)
    if not all(isinstance(each, str) for each in given):
        raise TypeError(f"address is {address!r}: give host:port, such as localhost:8500, or a list of such")
    if not given:
        raise ValueError("address is an empty list: give host:port, such as localhost:8500")
    for each in given:
        if "://" in each and not _SCHEME.match(each):
            raise ValueError(f"address {each!r}: gRPC takes host:port, such as localhost:8500, without a scheme")
        found = _HOST_PORT.fullmatch(each)
        if not _SCHEME.match(each) and (found is None or int(found[2]) > 65535):
            raise ValueError(f"address {each!r}: give host:port, such as localhost:8500, dns:///host:port or unix:path")
    return given


def options(config: ChannelConfig, tls: TLS | None = None, address: str = "") -> list[tuple[str, Any]]:
    """gRPC channel arguments for a configuration."""
    made: dict[str, Any] = {
        "grpc.max_send_message_length": config.max_message_bytes,
        "grpc.max_receive_message_length": config.max_message_bytes,
        # A server that comes back is found soon.
        "grpc.initial_reconnect_backoff_ms": 100,
        "grpc.max_reconnect_backoff_ms": 2000,
        "grpc.min_reconnect_backoff_ms": int(config.connect_timeout * 1000),
    }
    if config.keepalive_time:
        made["grpc.keepalive_time_ms"] = int(config.keepalive_time * 1000)
        made["grpc.keepalive_timeout_ms"] = int(config.keepalive_timeout * 1000)
    if address.startswith("dns:"):
        made["grpc.service_config"] = _ROUND_ROBIN
    if tls is not None and tls.server_name:
        made["grpc.ssl_target_name_override"] = made["grpc.default_authority"] = tls.server_name
    return list((made | dict(config.options)).items())


def credentials(tls: TLS) -> grpc.ChannelCredentials:
    """Channel credentials of a TLS configuration."""
    return grpc.ssl_channel_credentials(tls.ca, tls.key, tls.certificate)


def arguments(config: ChannelConfig, tls: TLS | None, address: str) -> dict[str, Any]:
    """Keyword arguments of gRPC's functions that make channels, both kinds of them."""
    compression = grpc.Compression.Gzip if config.gzip else None
    return {"options": options(config, tls, address), "compression": compression}


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C waits for what is done here: handing a call to gRPC.

    Where KeyboardInterrupt strikes in the middle of that, gRPC does not count a call that it has begun: its thread ends
    too soon, so that a later call is not answered, and closing the channel waits for ever.
    """
    handler = signal.getsignal(signal.SIGINT) if threading.current_thread() is threading.main_thread() else None
    if not callable(handler):
        yield
        return
    caught: list[tuple[int, FrameType | None]] = []
    try:
        signal.signal(signal.SIGINT, lambda number, frame: caught.append((number, frame)))
    except ValueError:  # In a sub-interpreter, which gets no signals.
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if caught:
            handler(*caught[0])


class Balancer:
    """Servers in turn; one that failed is passed over for a while, as long as others are there. Pure."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._turn = itertools.count()
        self._failures = [0] * count
        self._until = [0.0] * count

    def pick(self, now: float, avoid: frozenset[int] = frozenset()) -> int:
        """The server for the next attempt, preferably none of ``avoid``."""
        turn = next(self._turn) % self.count
        order = [(turn + step) % self.count for step in range(self.count)]
        return min(order, key=lambda at: (at in avoid, max(self._until[at] - now, 0.0)))

    def failed(self, at: int, now: float) -> None:
        """A server did not answer, or its connection broke."""
        self._until[at] = now + min(_ASIDE[1], _ASIDE[0] * 2.0 ** min(self._failures[at], 10))
        self._failures[at] += 1

    def answered(self, at: int) -> None:
        """A server answered, if only with a refusal."""
        self._failures[at], self._until[at] = 0, 0.0
