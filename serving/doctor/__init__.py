"""Find faults of a running server by calls: the functions of ``rawbert doctor``.

::

    from rawbert.serving.doctor import Probe, examine

    with Probe("localhost:8500", "minilm") as probe:
        faults = [finding for finding in examine(probe) if finding.is_fault]

A :class:`Check` consists of texts and a function. It only makes calls that any client may make, and does not read the
server's flags. TensorFlow is not needed.
"""

from collections.abc import Collection, Sequence

from . import calls, connection, models
from .finding import Check, Finding, Level
from .probe import Probe

__all__ = ["CHECKS", "TOGETHER", "Check", "Finding", "Level", "Probe", "compare", "examine"]

#: All checks of a server, in the order of their execution and output.
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
#: The check that compares several servers.
TOGETHER: Check = models.same_versions


def examine(probe: Probe, ignore: Collection[str] = ()) -> list[Finding]:
    """Run all checks of one server, except those named in ``ignore``."""
    return [check.made(probe) for check in CHECKS if check.name not in ignore]


def compare(probes: Sequence[Probe]) -> Finding:
    """Check whether several servers answer with the same model."""
    return TOGETHER.made(probes)
