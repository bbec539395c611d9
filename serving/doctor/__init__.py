"""Faults of a running server, from its answers: ``rawbert doctor`` as a function.

::

    from rawbert.serving.doctor import Probe, examine

    with Probe("localhost:8500", "minilm") as probe:
        faults = [finding for finding in examine(probe) if finding.is_fault]

A :class:`Check` is data and a function. All calls are ones that any client may make; the server's own flags are not
seen. TensorFlow is not needed.
"""

from collections.abc import Collection, Sequence

from . import calls, connection, models
from .finding import Check, Finding, Level
from .probe import Probe

__all__ = ["CHECKS", "TOGETHER", "Check", "Finding", "Level", "Probe", "compare", "examine"]

#: All checks of a server, in the order in which they are made and shown.
CHECKS: tuple[Check, ...] = (
    connection.reachable,
    connection.proxy,
    connection.plain_text,
    connection.certificate_dates,
    connection.certificate_name,
    connection.rest,
    connection.clock,
    connection.metrics,
    calls.health,
    models.model,
    models.failed_versions,
    models.extra_versions,
    models.labels,
    models.published,
    models.signatures,
    models.default_signature,
    models.warmup,
    models.answers,
    models.rows,
    calls.serialization,
    calls.batching,
    calls.batch_size,
    calls.batch_wait,
    calls.large_requests,
    calls.large_answers,
    calls.threads,
    calls.queue,
)
#: The check of several servers together.
TOGETHER: Check = models.same_versions


def examine(probe: Probe, ignore: Collection[str] = ()) -> list[Finding]:
    """Make all checks of one server, but for those whose names are in ``ignore``."""
    return [check.made(probe) for check in CHECKS if check.name not in ignore]


def compare(probes: Sequence[Probe]) -> Finding:
    """See whether several servers answer with the same model."""
    return TOGETHER.made(probes)
