"""The gRPC connection to a server: its address, the environment's proxies, and single calls."""

import ipaddress
import os
import re
import socket
import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import grpc

from ..client import channel as channels
from ..client.settings import DEFAULT_TIMEOUT, TLS, ChannelConfig
from ..errors import ModelNotFound, ServerOverloaded, ServerUnavailable, ServingError, from_status
from ..wire import messages
from ..wire.messages import Target
from .finding import NotKnown

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
#: Seconds that the first call may take.
_CONNECT = 10.0
#: Environment variables in gRPC's order (grpc/doc/environment_variables.md).
_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")
_EXCEPTED = ("no_grpc_proxy", "no_proxy")
#: Attempts of a call that a server refuses because it is busy.
_ATTEMPTS = 5
#: A duration is that of the fastest of this number of calls.
REPEATED = 4


@dataclass(frozen=True)
class Link:
    """Connections to a server, opened at their first use.

    Attributes:
        address: ``host:port`` of its gRPC port, or ``unix:path``.
        model: the model's name on the server.
        timeout: deadline of each call, in seconds.
        tls: the TLS settings; ``None`` for plain text.
        metadata: gRPC metadata of each call.
    """

    address: str
    model: str = "default"
    timeout: float = DEFAULT_TIMEOUT
    tls: TLS | None = None
    metadata: tuple[tuple[str, str | bytes], ...] = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        for name in ("_through_environment", "_direct"):
            if name in self.__dict__:
                self.__dict__[name].close()

    def open(self, fresh: int = 0, *, http_proxy: bool = True) -> Any:
        """A new channel; channels with different numbers ``fresh`` use different connections."""
        config = ChannelConfig(http_proxy=http_proxy)
        return channels.make(grpc, config, self.tls, channels.addresses(self.address)[0], fresh)

    @cached_property
    def _through_environment(self) -> Any:
        return self.open()

    @cached_property
    def _direct(self) -> Any:
        return self.open(http_proxy=False)

    @cached_property
    def proxied(self) -> ServingError | None:
        """The error of a call with the environment's proxy, if it has one for this address; ``None`` for an answer."""
        return self._reached_by(self._through_environment)

    @cached_property
    def direct(self) -> ServingError | None:
        """The error of a call without a proxy; ``None`` for an answer."""
        return self._reached_by(self._direct)

    def _reached_by(self, channel: Any) -> ServingError | None:
        try:
            request = messages.status_request(Target(self.model))
            messages.status_answer(self._call(channel, messages.GET_MODEL_STATUS, request, min(self.timeout, _CONNECT)))
        except ModelNotFound as error:
            return error if error.code is grpc.StatusCode.UNIMPLEMENTED else None
        except ServingError as error:
            return error
        return None

    @cached_property
    def unreached(self) -> ServingError | None:
        """The reason for a failed connection; ``None`` if the server answers."""
        return self.proxied if self.proxied is None or self.proxy is None else self.direct

    @cached_property
    def proxy(self) -> str | None:
        """The environment variable whose proxy gRPC uses for this address; ``None`` without a proxy."""
        name = next((each for each in _PROXIES if os.environ.get(each)), None)
        if name is None or self.host is None:
            return None
        excepted = next((each for each in map(os.environ.get, _EXCEPTED) if each), "")
        return None if any(_covers(entry.strip(), self.host) for entry in excepted.split(",")) else name

    @cached_property
    def channel(self) -> Any:
        """The channel that all checks use; without a proxy if calls fail with it."""
        if self.unreached is not None:
            raise NotKnown("the server was not reached")
        return self._through_environment if self.proxied is None else self._direct

    @cached_property
    def host_port(self) -> tuple[str, int] | None:
        """Host and port of the address; ``None`` if it has none, such as ``unix:path``."""
        found = re.fullmatch(r"(?:dns:(?:///)?|ipv[46]:)?(?:\[([^\]]+)\]|([^/:\[\]]+)):(\d+)", self.address)
        return (found[1] or found[2], int(found[3])) if found else None

    @property
    def host(self) -> str | None:
        """Host of the address; ``None`` if it has none."""
        return self.host_port[0] if self.host_port else None

    @cached_property
    def ips(self) -> list[IpAddress]:
        """The IP addresses of the host; empty if the lookup fails or the address has no host."""
        return ips_of(*self.host_port) if self.host_port else []

    def call(self, path: str, request: bytes, channel: Any = None) -> bytes:
        """The serialized answer to one call. A call that a busy server refuses is repeated.

        Raises:
            NotKnown: the server cannot be reached.
            ServingError: the call failed.
        """
        for attempt in range(_ATTEMPTS):
            try:
                return self._call(channel or self.channel, path, request, self.timeout)
            except (ServerOverloaded, ServerUnavailable):
                if attempt == _ATTEMPTS - 1:
                    raise
                time.sleep(0.1 * 2**attempt)
        raise AssertionError

    def _call(self, channel: Any, path: str, request: bytes, timeout: float) -> bytes:
        try:
            answer: bytes = channel.unary_unary(path)(request, timeout=timeout, metadata=self.metadata)
        except grpc.RpcError as error:
            raise self.failure(error, path) from error
        return answer

    def failure(self, error: Any, path: str) -> ServingError:
        """The client's exception for a failed call."""
        connection = ["plain"] if self.tls is None else ["identified" if self.tls.certificate else "anonymous"]
        what = f"{path.rpartition('/')[2]} of model {self.model!r}"
        return from_status(error.code(), error.details() or "", what, self.address, connection=connection)

    @cached_property
    def round_trip(self) -> float:
        """Duration in seconds of a call that runs no model, the fastest of several."""
        request = messages.status_request(Target(self.model))
        taken = []
        for _ in range(REPEATED):
            begun = time.monotonic()
            self.call(messages.GET_MODEL_STATUS, request)
            taken.append(time.monotonic() - begun)
        return min(taken)


def ips_of(host: str, port: int | None) -> list[IpAddress]:
    """The IP addresses of a host; empty if the lookup fails."""
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [ipaddress.ip_address(str(info[4][0]).partition("%")[0]) for info in infos]


def _covers(entry: str, host: str) -> bool:
    """Whether an entry of no_proxy matches a host: a name, a suffix, a range of IP addresses, or ``*``."""
    if not entry:
        return False
    if entry == "*" or host.lower().endswith(entry.lower()):
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False
