"""Every op of a SavedModel, its function library included, against what a TensorFlow Serving release can run.

A release refuses a graph for an op that it does not register, for an op that it has deprecated, and for a GraphDef
version out of its range (tensorflow/core/framework/versions.cc). An attribute that it does not know it ignores, and
computes something else where that attribute matters (node_def_util.cc; names with an underscore first are notes to
TensorFlow itself). Ops that call back into Python are registered everywhere, and run nowhere but in that process.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from . import opsets
from .finding import Finding, error, warning
from .saved_model import MAIN, Graph

#: What to use in place of ops that people meet, and where they come from.
_ROUND_ROBIN = (
    "tensorflow_text.RoundRobinTrimmer writes it from release 2.13 on; trim with ragged slices or "
    "tensorflow_text.WaterfallTrimmer, or export with `rawbert export`"
)
_HINTS = {
    "TFText>RoundRobinTrim": _ROUND_ROBIN,
    "TFText>RoundRobinGenerateMasks": _ROUND_ROBIN,
    "FastBertNormalize": "tensorflow_text.FastBertTokenizer brings it; use tensorflow_text.BertTokenizer",
}
_CALLS_PYTHON = "tf.py_function and tf.numpy_function call Python, which no server has; write that part with ops"
#: Callers of a function that are named.
_CALLERS = 20
#: Registered in every release, but what they run lives in the process that made the graph.
_PYTHON = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})


def check(graphs: Iterable[Graph], target: str) -> Iterator[Finding]:
    """What keeps TensorFlow Serving ``target`` from running a SavedModel: how often, where first, and what to change.

    An error is what it refuses, a warning an attribute that it leaves out of account. Functions that the main graph
    does not reach never run, and the loader does not look into them: nor does this.

    Args:
        graphs: those of the SavedModel.
        target: one of :data:`.opsets.RELEASES`.
    """
    refused = f"TensorFlow Serving {target} cannot run it"
    known = opsets.load(target)
    for graph in graphs:
        versions = graph.meta_graph.graph_def.versions
        if fault := _version_fault(versions, known):
            yield error("op", f"{refused}: {fault}; export with a TensorFlow no newer than the server's")
        callers = graph.reached(graph.nodes)
        found: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
        for body in (MAIN, *callers):
            for node in graph.functions[body].node_def if body else graph.nodes:
                if node.op not in graph.functions:
                    for attr, reason in _complaints(node, known, versions.producer):
                        found.setdefault((node.op, attr, reason), []).append((node.name, body))
        for (op, attr, reason), places in found.items():
            times = f" ({len(places)} nodes)" if len(places) > 1 else ""
            problem = f"{reason}{times}: {_place(*places[0], callers)}; {_advice(op, attr, target)}"
            if attr:
                yield warning("attribute", f"TensorFlow Serving {target} ignores what it does not know: {problem}")
            else:
                yield error("op", f"{refused}: {problem}")


def _complaints(node: Any, known: opsets.OpSet, producer: int) -> Iterator[tuple[str, str]]:
    """What is wrong with a node: the unknown attribute, or '' for the op itself, and the reason."""
    op = known.ops.get(node.op)
    if node.op in _PYTHON:
        yield "", f"the op {node.op} calls Python"
    elif op is None:
        yield "", f"the op {node.op} is not registered"
    else:
        if op.deprecated is not None and producer >= op.deprecated:
            yield "", f"the op {node.op} is refused in graphs of version {op.deprecated} and later"
        for attr in node.attr:
            if attr not in op.attrs and not attr.startswith("_"):
                yield attr, f"the op {node.op} has no attribute {attr}"


def _version_fault(versions: Any, known: opsets.OpSet) -> str | None:
    own, asked = known.graph_def_version, versions.min_consumer
    if own < asked or own in versions.bad_consumers:
        return f"the graph asks for a TensorFlow of GraphDef version {asked} or later, and this one has {own}"
    if versions.producer < known.min_producer:
        return f"the graph's GraphDef version {versions.producer} is older than {known.min_producer}, the oldest taken"
    return None


def _advice(op: str, attr: str, target: str) -> str:
    if op in _PYTHON:
        return _CALLS_PYTHON
    releases = opsets.releases_with(op, attr)
    later = [release for release in releases if opsets.RELEASES.index(release) > opsets.RELEASES.index(target)]
    if later:
        advice = f"TensorFlow Serving {later[0]} is the first that has it"
    elif releases:
        advice = f"TensorFlow Serving {releases[-1]} was the last that had it"
    else:
        advice = "no TensorFlow Serving release from 2.12 to 2.20 has it"
    return f"{advice}; {_HINTS[op]}" if op in _HINTS and not attr else advice


def _place(node: str, function: str, callers: Mapping[str, tuple[str, str]]) -> str:
    """A node, its function ('' for the main graph), and the nodes that lead there: of many, the innermost."""
    if not function:
        return f"node {node!r}"
    chain: list[str] = []
    caller = function
    while caller and len(chain) < _CALLERS:
        name, caller = callers[caller]
        chain.append(f"{caller}/{name}" if caller else name)
    if caller:
        chain.append("...")
    return f"node {node!r} of function {function}, reached by {' > '.join(reversed(chain))}"
