"""gRPC channels to TensorFlow Serving: addresses, options, credentials, when a channel is opened anew, and which server
is called next."""

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
#: What gRPC says at a deadline, and we too where it does not in time.
DEADLINE = "Deadline Exceeded"
#: A name, not a number: one that can move.
_NAME = r"(?:dns:(?:///)?)?((?=[^:]*[a-zA-Z])[^\s:/\[\]]+):(\d{1,5})"
#: gRPC's largest number of milliseconds.
_NEVER = 2**31 - 1
#: Seconds that a channel is given before silence speaks against it.
_YOUNG = 1.0
#: Every address that a name has, in turn.
_ROUND_ROBIN = '{"loadBalancingConfig": [{"round_robin": {}}]}'
#: Seconds for which a server that failed is passed over, while others are there: after its first failure, and at most.
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
        if "://" in each and not re.match(_SCHEME, each):
            raise ValueError(f"address {each!r}: gRPC takes host:port, such as localhost:8500, without a scheme")
        found = re.fullmatch(_HOST_PORT, each)
        if not re.match(_SCHEME, each) and (found is None or int(found[2]) > 65535):
            raise ValueError(f"address {each!r}: give host:port, such as localhost:8500, dns:///host:port or unix:path")
    return given


def arguments(config: ChannelConfig, tls: TLS | None, address: str, fresh: int = 0) -> dict[str, Any]:
    """Keyword arguments of gRPC's functions that make channels, both kinds of them.

    Channels of equal arguments share their connections; another number ``fresh`` gives another connection.
    """
    compression = grpc.Compression.Gzip if config.gzip else None
    made: dict[str, Any] = {
        "grpc.max_send_message_length": config.max_message_bytes,
        "grpc.max_receive_message_length": config.max_message_bytes,
        # A server that comes back is found soon, and so is one whose name moves.
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
    """A channel of ``grpc`` or of ``grpc.aio``; files of ``tls`` are read now."""
    more |= arguments(config, tls, address, fresh)
    if tls is None:
        return library.insecure_channel(address, **more)
    secret = grpc.ssl_channel_credentials(tls.read("ca"), tls.read("key"), tls.read("certificate"))
    return library.secure_channel(address, secret, **more)


class Line:
    """A channel to one address, and what is known of it.

    Attributes:
        channel: gRPC's channel.
        methods: path -> what calls it.
        heard: when something last came by it.
        looked: when its name was last looked up.
        found: the addresses that the name had.
        stale: whether the next call opens a new one: the name has other addresses now, or a call got no sign of life.
        calls: calls that are on their way.
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
        """A call by the line has ended."""
        with self._lines.lock:
            self.calls -= 1
            if not self.calls and self not in self._lines.open:
                self._lines.close(self.channel)

    def silent(self, since: float, now: float) -> bool:
        """A call ran out of its time: was nothing heard since it began? Then the next call opens a new channel."""
        if self.heard >= since:
            return False
        self.stale = self.stale or now - self._opened >= _YOUNG
        return True


class Lines:
    """One :class:`Line` an address, opened by the first call, and anew where it is stale.

    Args:
        owner: the process or event loop that they belong to.
        addresses: of the servers.
        lookup: seconds after which a name is looked up again while calls are made; 0 for never.
        make: address, number of a fresh connection -> a channel.
        close: closes one that is no longer needed.
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
        """The line to a server, for one call; it is to :meth:`~Line.give` back."""
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
    """See whether a name has other addresses than before: gRPC looks only where a connection fails."""
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return  # What is connected goes on.
    found = frozenset(str(info[4][0]) for info in infos)
    if line.found is not None and found != line.found:
        line.stale = True
    line.found = found


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

    def failed(self, at: int, now: float, silent: bool = False) -> None:
        """A server did not answer, or its connection broke. ``silent``: that took the whole time of a call."""
        first, most = _ASIDE
        self._until[at] = now + (most if silent else min(most, first * 2.0 ** min(self._failures[at], 10)))
        self._failures[at] += 1

    def answered(self, at: int) -> None:
        """A server answered, if only with a refusal."""
        self._failures[at], self._until[at] = 0, 0.0
