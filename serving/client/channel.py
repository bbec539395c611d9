"""gRPC channels to TensorFlow Serving: addresses, options, credentials, reopening, choice of the next server."""

from __future__ import annotations

import itertools
import math
import re
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import grpc

from ..wire.messages import METHODS
from .settings import TLS, ChannelConfig

_SCHEME = r"(dns|unix|unix-abstract|ipv4|ipv6|xds|passthrough):"
_HOST_PORT = r"(\[[0-9a-fA-F:.%\w]+\]|[^\s:/\[\]]+):(\d{1,5})"
#: gRPC's message at a deadline; used here as well when gRPC reports it too late.
DEADLINE = "Deadline Exceeded"
#: A host name, not an IP address: its addresses may change.
_NAME = r"(?:dns:(?:///)?)?((?=[^:]*[a-zA-Z])[^\s:/\[\]]+):(\d{1,5})"
#: The largest number of milliseconds that gRPC accepts.
_NEVER = 2**31 - 1
#: Age in seconds from which silence counts as a sign of a dead channel.
_YOUNG = 1.0
#: All addresses of a name in turn.
_ROUND_ROBIN = '{"loadBalancingConfig": [{"round_robin": {}}]}'
#: Seconds for which a failed server is skipped while there are others: after its first failure, and at most.
_ASIDE = (0.1, 5.0)


def addresses(address: str | Sequence[str]) -> tuple[str, ...]:
    """The validated addresses of a client.

    Raises:
        TypeError: ``address`` is neither a str nor a collection of str.
        ValueError: not an address; the message shows the expected form.
    """
    given = (address,) if isinstance(address, str) or not isinstance(address, Iterable) else tuple(address)
    if not all(isinstance(each, str) for each in given):
        raise TypeError(f"address is {address!r}: give host:port, such as localhost:8500, or a list of addresses")
    if not given:
        raise ValueError("address is an empty list: give host:port, such as localhost:8500")
    for each in given:
        if "://" in each and not re.match(_SCHEME, each):
            raise ValueError(f"address {each!r}: gRPC takes host:port, such as localhost:8500, without a scheme")
        found = re.fullmatch(_HOST_PORT, each)
        if not re.match(_SCHEME, each) and (found is None or int(found[2]) > 65535):
            raise ValueError(f"address {each!r}: give host:port, such as localhost:8500, dns:///host:port or unix:path")
    return given


def arguments(config: ChannelConfig, tls: TLS | None, address: str, fresh: int = 0) -> dict[str, Any]:
    """Keyword arguments of gRPC's channel constructors, sync and asyncio.

    Channels with equal arguments share connections; a different ``fresh`` gives a new connection.
    """
    compression = grpc.Compression.Gzip if config.gzip else None
    made: dict[str, Any] = {
        "grpc.max_send_message_length": config.max_message_bytes,
        "grpc.max_receive_message_length": config.max_message_bytes,
        # Short, so that a server that returns, or moves to another address, is found soon.
        "grpc.initial_reconnect_backoff_ms": 100,
        "grpc.max_reconnect_backoff_ms": 2000,
        "grpc.min_reconnect_backoff_ms": int(config.connect_timeout * 1000),
        "grpc.dns_min_time_between_resolutions_ms": 1000,
        "grpc.client_idle_timeout_ms": int(config.idle_timeout * 1000) or _NEVER,
        "rawbert.fresh": fresh,
    }
    if config.keepalive_time:
        made["grpc.keepalive_time_ms"] = int(config.keepalive_time * 1000)
        made["grpc.keepalive_timeout_ms"] = int(config.keepalive_timeout * 1000)
    if not config.http_proxy:
        made["grpc.enable_http_proxy"] = 0
    if address.startswith("dns:"):
        made["grpc.service_config"] = _ROUND_ROBIN
    if tls is not None and tls.server_name:
        made["grpc.ssl_target_name_override"] = made["grpc.default_authority"] = tls.server_name
    return {"options": list((made | dict(config.options)).items()), "compression": compression}


def make(library: Any, config: ChannelConfig, tls: TLS | None, address: str, fresh: int, **more: Any) -> Any:
    """A channel of ``grpc`` or ``grpc.aio``; the files of ``tls`` are read here."""
    more |= arguments(config, tls, address, fresh)
    if tls is None:
        return library.insecure_channel(address, **more)
    secret = grpc.ssl_channel_credentials(tls.read("ca"), tls.read("key"), tls.read("certificate"))
    return library.secure_channel(address, secret, **more)


class Line:
    """A channel to one address and its state.

    Attributes:
        channel: gRPC's channel.
        methods: path -> callable.
        heard: time of the last message received.
        looked: time of the last lookup of the name.
        found: addresses of the name at that lookup.
        stale: whether the next call opens a new channel: the name has other addresses now, or a call got no response.
        calls: number of calls in flight.
    """

    def __init__(self, channel: Any, opened: float, lines: Lines) -> None:
        self.channel = channel
        # Answers stay bytes: the codec decodes them faster than the parser of the standard messages.
        self.methods = {path: channel.unary_unary(path) for path in METHODS}
        self.heard, self.looked = 0.0, -math.inf
        self.found: frozenset[str] | None = None
        self.stale, self.calls = False, 0
        self._opened, self._lines = opened, lines

    def give(self) -> None:
        """Return the line after a call."""
        with self._lines.lock:
            self.calls -= 1
            if not self.calls and self not in self._lines.open:
                self._lines.close(self.channel)

    def silent(self, since: float, now: float) -> bool:
        """Whether nothing was received since a call began that timed out. If so, the next call opens a new channel."""
        if self.heard >= since:
            return False
        self.stale = self.stale or now - self._opened >= _YOUNG
        return True


class Lines:
    """One :class:`Line` per address, opened by the first call and again when it is stale.

    Args:
        owner: the process or event loop that the channels belong to.
        addresses: addresses of the servers.
        lookup: seconds after which a name is looked up again while calls are made; 0 for never.
        make: function from an address and a connection number to a channel.
        close: function that closes a channel.
    """

    def __init__(
        self,
        owner: Any,
        addresses: Sequence[str],
        lookup: float,
        make: Callable[[str, int], Any],
        close: Callable[[Any], Any],
    ) -> None:
        self.owner = owner
        self._addresses, self._lookup, self._make, self.close = addresses, lookup, make, close
        self.open: list[Line | None] = [None] * len(addresses)
        self._fresh = 0
        self.lock = threading.Lock()

    def take(self, server: int, now: float) -> Line:
        """The line to a server, for one call; :meth:`~Line.give` returns it."""
        with self.lock:
            line = self.open[server]
            if line is None or line.stale:
                old, self._fresh = line, self._fresh + 1
                self.open[server] = line = Line(self._make(self._addresses[server], self._fresh), now, self)
                if old is not None and not old.calls:
                    self.close(old.channel)
            line.calls += 1
        name = re.fullmatch(_NAME, self._addresses[server])
        if name and self._lookup and now - line.looked >= self._lookup:
            line.looked = now
            threading.Thread(target=_look_up, args=(line, name[1], int(name[2])), daemon=True).start()
        return line


def _look_up(line: Line, host: str, port: int) -> None:
    """Look a name up again and compare its addresses: gRPC does so only after a failed connection."""
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return  # Existing connections stay in use.
    found = frozenset(str(info[4][0]) for info in infos)
    if line.found is not None and found != line.found:
        line.stale = True
    line.found = found


class Balancer:
    """Servers in turn; a failed server is skipped for a while, as long as there are others. No I/O."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._turn = itertools.count()
        self._failures = [0] * count
        self._until = [0.0] * count

    def pick(self, now: float, avoid: frozenset[int] = frozenset()) -> int:
        """The server for the next attempt; those in ``avoid`` only if there is no other."""
        turn = next(self._turn) % self.count
        order = [(turn + step) % self.count for step in range(self.count)]
        return min(order, key=lambda at: (at in avoid, max(self._until[at] - now, 0.0)))

    def failed(self, at: int, now: float, silent: bool = False) -> None:
        """Record that a server did not answer, or broke the connection; ``silent``: after the whole time of a call."""
        first, most = _ASIDE
        self._until[at] = now + (most if silent else min(most, first * 2.0 ** min(self._failures[at], 10)))
        self._failures[at] += 1

    def answered(self, at: int) -> None:
        """Record that a server answered, be it with an error."""
        self._failures[at], self._until[at] = 0, 0.0
