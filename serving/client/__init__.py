"""The gRPC client, sync and asyncio, and the I/O-free core that both drive."""

from .aio import AsyncClient
from .client import Client

__all__ = ["AsyncClient", "Client"]
