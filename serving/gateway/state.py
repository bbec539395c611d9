"""The shared state of a gateway's routes."""

from dataclasses import dataclass

from fastapi import Request

from .metrics import Metrics
from .models import Models
from .settings import Limits


@dataclass
class State:
    """The state of one gateway.

    Attributes:
        models: its models.
        limits: limits of requests.
        logits: models whose scores are logits.
        metrics: its metrics.
        begun: time of its start, in seconds since 1970.
        draining: whether it is shutting down.
    """

    models: Models
    limits: Limits
    logits: frozenset[str]
    metrics: Metrics
    begun: int
    draining: bool = False

    async def close(self) -> None:
        """End the connections to the servers; mounted apps, which get no lifespan events, must call it."""
        await self.models.close()


def state_of(request: Request) -> State:
    """The state of a request's gateway."""
    found = request.app.state.gateway
    assert isinstance(found, State)
    return found
