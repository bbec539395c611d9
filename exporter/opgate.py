"""Every op of a SavedModel, its function library included, against what a TensorFlow Serving release can run.

A release refuses a graph for an op that it does not register, for an op that it has deprecated, and for a GraphDef
version out of its range (tensorflow/core/framework/versions.cc). An attribute that it does not know it ignores, and
computes something else where that attribute matters (node_def_util.cc; names with an underscore first are notes to
TensorFlow itself). Ops that call back into Python are registered everywhere, and run nowhere but in that process.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from . import opsets

__all__ = ["OpProblem", "check", "explain"]

#: What to use in place of ops that people meet, and where they come from.
_HINTS = {
    "TFText>RoundRobinTrim": "tensorflow_text.RoundRobinTrimmer writes it from release 2.13 on; trim with ragged "
    "slices or tensorflow_text.WaterfallTrimmer, or export with `rawbert export`",
    "TFText>RoundRobinGenerateMasks": "tensorflow_text.RoundRobinTrimmer writes it from release 2.13 on; trim with "
    "ragged slices or tensorflow_text.WaterfallTrimmer, or export with `rawbert export`",
    "FastBertNormalize": "tensorflow_text.FastBertTokenizer brings it; use tensorflow_text.BertTokenizer",
}
_CALLS_PYTHON = "tf.py_function and tf.numpy_function call Python, which no server has; write that part with ops"
#: Registered in every release, but what they run lives in the process that made the graph.
_PYTHON = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})


@dataclass(frozen=True)
class Place:
    """A node: its name, the function that it is in ('' for the main graph), and who calls that, outermost first."""

    node: str
    function: str
    callers: tuple[str, ...]

    def __str__(self) -> str:
        where = f"node {self.node!r}"
        if self.function:
            where += f" of function {self.function}"
        return where + (f", reached by {' > '.join(self.callers)}" if self.callers else "")


@dataclass(frozen=True)
class OpProblem:
    """An op, or an attribute of it, that the target release does not run.

    Attributes:
        op: name of the op; '' for the graph as a whole.
        attr: the unknown attribute, '' where the op itself is the problem.
        reason: what is wrong, for people.
        place: the first node that has it.
        count: how many have it.
        advice: the first release that has it, and what to change.
    """

    op: str
    attr: str
    reason: str
    place: Place | None
    count: int
    advice: str

    @property
    def is_ignored(self) -> bool:
        """Whether the release loads the graph all the same, and leaves the unknown attribute out of account."""
        return bool(self.attr)

    def __str__(self) -> str:
        times = f" ({self.count} nodes)" if self.count > 1 else ""
        place = f": {self.place}" if self.place else ""
        return f"{self.reason}{times}{place}; {self.advice}"


def check(saved_model: Any, target: str) -> list[OpProblem]:
    """What keeps TensorFlow Serving ``target`` from running a SavedModel; empty where nothing does.

    Functions that the main graph does not reach never run, and the loader does not look into them: nor does this.

    Args:
        saved_model: a ``SavedModel`` message, of :mod:`.protos` or of TensorFlow.
        target: one of :data:`.opsets.RELEASES`.
    """
    known = opsets.load(target)
    problems: list[OpProblem] = []
    for meta_graph in saved_model.meta_graphs:
        graph = meta_graph.graph_def
        problems += _versions(graph.versions, known)
        functions = {function.signature.name for function in graph.library.function}
        run = _reached(graph)
        found: dict[tuple[str, str, str], list[Any]] = {}
        for node, function in _nodes(graph):
            if node.op in functions or (function and function not in run):
                continue
            for attr, reason in _complaints(node, known, graph.versions.producer):
                found.setdefault((node.op, attr, reason), []).append((node.name, function))
        if found:
            callers = _callers(meta_graph)
            for (op, attr, reason), places in found.items():
                name, function = places[0]
                place = Place(name, function, _chain(function, callers))
                problems.append(OpProblem(op, attr, reason, place, len(places), _advice(op, attr, target)))
    return problems


def explain(problems: list[OpProblem], target: str) -> str:
    """The problems in words, one a line, under a heading."""
    lines = "".join(f"\n  - {problem}" for problem in problems)
    return f"TensorFlow Serving {target} cannot run it:{lines}"


def _nodes(graph: Any) -> Iterator[tuple[Any, str]]:
    for node in graph.node:
        yield node, ""
    for function in graph.library.function:
        for node in function.node_def:
            yield node, function.signature.name


def _complaints(node: Any, known: opsets.OpSet, producer: int) -> Iterator[tuple[str, str]]:
    op = known.ops.get(node.op)
    if node.op in _PYTHON:
        yield "", f"the op {node.op} calls Python"
        return
    if op is None:
        yield "", f"the op {node.op} is not registered"
        return
    if op.deprecated is not None and producer >= op.deprecated:
        yield "", f"the op {node.op} is refused in graphs of version {op.deprecated} and later"
    for attr in node.attr:
        if attr not in op.attrs and not attr.startswith("_"):
            yield attr, f"the op {node.op} has no attribute {attr}"


def _versions(versions: Any, known: opsets.OpSet) -> Iterator[OpProblem]:
    reason = ""
    if known.graph_def_version < versions.min_consumer or known.graph_def_version in versions.bad_consumers:
        reason = (
            f"the graph asks for a TensorFlow of GraphDef version {versions.min_consumer} or later, "
            f"and this one has {known.graph_def_version}"
        )
    elif versions.producer < known.min_producer:
        reason = (
            f"the graph's GraphDef version {versions.producer} is older than {known.min_producer}, the oldest taken"
        )
    if reason:
        yield OpProblem("", "", reason, None, 1, "export with a TensorFlow no newer than the server's")


def _advice(op: str, attr: str, target: str) -> str:
    if op in _PYTHON:
        return _CALLS_PYTHON
    releases = opsets.releases_with(op, attr or None)
    later = [release for release in releases if opsets.RELEASES.index(release) > opsets.RELEASES.index(target)]
    if later:
        advice = f"TensorFlow Serving {later[0]} is the first that has it"
    elif releases:
        advice = f"TensorFlow Serving {releases[-1]} was the last that had it"
    else:
        advice = "no TensorFlow Serving release from 2.12 to 2.20 has it"
    return f"{advice}; {_HINTS[op]}" if op in _HINTS and not attr else advice


def _reached(graph: Any) -> set[str]:
    """Names of the functions that the main graph can come to call."""
    library = {function.signature.name: function.node_def for function in graph.library.function}
    run: set[str] = set()
    waiting = [graph.node]
    while waiting:
        for node in waiting.pop():
            for name in _called(node):
                if name in library and name not in run:
                    run.add(name)
                    waiting.append(library[name])
    return run


def _called(node: Any) -> Iterator[str]:
    """Functions that a node may call: by its op, or by its attributes."""
    yield node.op
    for value in node.attr.values():
        if value.HasField("func"):
            yield value.func.name
        else:
            for each in value.list.func:
                yield each.name


def _callers(meta_graph: Any) -> dict[str, tuple[str, str]]:
    """function -> (the node that calls it first, the function that this node is in)."""
    graph = meta_graph.graph_def
    callers: dict[str, tuple[str, str]] = {}
    for node, function in _nodes(graph):
        for name in _called(node):
            callers.setdefault(name, (node.name, function))
    return callers


def _chain(function: str, callers: dict[str, tuple[str, str]]) -> tuple[str, ...]:
    chain: list[str] = []
    seen = set()
    while function and function not in seen:
        seen.add(function)
        node, function = callers.get(function, ("", ""))
        if node:
            chain.append(f"{function}/{node}" if function else node)
    return tuple(reversed(chain))
