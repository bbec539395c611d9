"""What the routes of a gateway share."""

from dataclasses import dataclass

from fastapi import Request

from .metrics import Metrics
from .models import Models
from .settings import Limits


@dataclass
class State:
    """Of one gateway.

    Attributes:
        models: the models that it offers.
        limits: of requests.
        logits: models whose scores are logits.
        metrics: what it counts.
        begun: seconds since 1970.
        draining: whether it is about to end.
    """

    models: Models
    limits: Limits
    logits: frozenset[str]
    metrics: Metrics
    begun: int
    draining: bool = False

    async def close(self) -> None:
        """End the connections to the servers; for apps that are mounted, which are not told of the end."""
        await self.models.close()


def state_of(request: Request) -> State:
    """The state of the gateway that a request came to."""
    found = request.app.state.gateway
    assert isinstance(found, State)
    return found
