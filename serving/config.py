"""Settings of a client's channel: frozen, validated."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ChannelConfig"]


@dataclass(frozen=True)
class ChannelConfig:
    """How a channel is set up.

    Args:
        max_message_bytes: largest message either way; -1, the default, is unlimited. gRPC's own limit of
            4 MB already refuses one batch of token vectors.
        keepalive_time: seconds between pings on an idle connection, so that a dead peer or a forgetful load
            balancer is noticed; 0 turns them off.
        keepalive_timeout: seconds to wait for a ping's answer.

    Raises:
        ValueError: a value that cannot work.
    """

    max_message_bytes: int = -1
    keepalive_time: float = 60.0
    keepalive_timeout: float = 20.0

    def __post_init__(self) -> None:
        if self.max_message_bytes == 0 or self.max_message_bytes < -1:
            raise ValueError(f"max_message_bytes is {self.max_message_bytes}: give a positive size, or -1 for no limit")
        if self.keepalive_time < 0 or self.keepalive_timeout <= 0:
            raise ValueError("keepalive_time must not be negative, and keepalive_timeout must be above 0")
