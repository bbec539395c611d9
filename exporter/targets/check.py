"""A check, without TensorFlow, of a SavedModel against a TensorFlow Serving release: ``rawbert check``.

It accepts any SavedModel from any tool. Findings have one of three levels:

``error``    the server refuses the version, crashes, or fails calls
``warning``  the version works, but not as its users expect
``note``     useful to know; many models with such a note are served without problems
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import file_rules, graph_rules, op_gate, opsets, saved_model
from .finding import LEVELS, Finding, error, warning
from .saved_model import Graph, serving


def check(folder: Path, target: str) -> list[Finding]:
    """The findings in a version folder, the most severe ones first.

    Args:
        folder: folder with saved_model.pb.
        target: one of :data:`.opsets.RELEASES`, or a newer release, which is judged by the newest of them.

    Raises:
        ValueError: the release is older than all of them.
    """
    try:
        model = saved_model.read(folder)
    except saved_model.Unreadable as fault:
        return [error(fault.kind, str(fault))]
    return sorted(_check(folder, model, target), key=lambda finding: LEVELS.index(finding.level))


def _check(folder: Path, model: Any, target: str) -> Iterator[Finding]:
    meta_graph = serving(model)
    if meta_graph is None:
        tags = ", ".join(str(list(each.meta_info_def.tags)) for each in model.meta_graphs) or "none"
        yield error("no-graph", f"the server requires a graph with only the tag 'serve'; found: {tags}")
        return
    graph = Graph(meta_graph)
    known = opsets.nearest(target)
    if not opsets.is_known(target):
        unknown = (
            f"TensorFlow Serving {target} is unknown here; the findings apply to {known}, the newest known release"
        )
        yield warning("release", f"{unknown}. Releases rarely drop ops: an op that only {target} has is refused here")
    yield from op_gate.check(map(Graph, model.meta_graphs), known)
    yield from graph_rules.xla(graph)
    yield from file_rules.assets(folder, meta_graph)
    yield from file_rules.variables(folder, graph)
    yield from graph_rules.signatures(folder, graph)
    yield from graph_rules.contract_outputs(folder, meta_graph)
    yield from file_rules.warmup_records(folder, meta_graph)
    yield from file_rules.batching(folder, meta_graph)
