"""The gRPC client, sync and asyncio, and the I/O-free core that both drive."""
