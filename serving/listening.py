"""Addresses of servers and their sockets, for every server of this package."""

import socket


def joined(host: str, port: int) -> str:
    """``host:port``, as an address is written."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def bound(host: str, port: int) -> socket.socket:
    """A TCP socket with this address, 0 for a free port; nobody can connect before its server listens.

    Raises:
        OSError: the host is unknown, or the address is in use or not of this machine.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
    except OSError:
        made.close()
        raise
    return made
