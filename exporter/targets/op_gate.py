"""Every op of a SavedModel, including its function library, compared with the ops of a TensorFlow Serving release.

A release refuses a graph if an op is not registered or is deprecated, or if the GraphDef version is out of its range
(tensorflow/core/framework/versions.cc). It fails calls of an op without a kernel for the node's dtypes. It ignores
unknown attributes, and then may compute something else (node_def_util.cc; attributes with a leading underscore are
TensorFlow's own annotations). Ops that call Python are registered in every release, but run only in the process that
made the graph.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from . import kernels, opsets
from .finding import Finding, error, warning
from .saved_model import MAIN, Graph

#: The origin of ops that users often have in their graphs, and what to use in their place.
_ROUND_ROBIN = (
    "tensorflow_text.RoundRobinTrimmer adds it from release 2.13 on; trim with ragged slices or "
    "tensorflow_text.WaterfallTrimmer, or export with `rawbert export`"
)
_HINTS = {
    "TFText>RoundRobinTrim": _ROUND_ROBIN,
    "TFText>RoundRobinGenerateMasks": _ROUND_ROBIN,
    "FastBertNormalize": "tensorflow_text.FastBertTokenizer adds it; use tensorflow_text.BertTokenizer",
}
_CALLS_PYTHON = "tf.py_function and tf.numpy_function call Python, which no server has; write that part with ops"
#: Maximum number of callers of a function in a finding.
_CALLERS = 20
#: Ops that are registered in every release, but call Python in the process that made the graph.
_PYTHON = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})


def check(graphs: Iterable[Graph], target: str) -> Iterator[Finding]:
    """Obstacles to running a SavedModel in TensorFlow Serving ``target``: count, first place and remedy.

    An error is an obstacle that the server refuses. A warning is an attribute that it ignores, or an op that runs only
    on a GPU. Functions that the main graph does not reach are skipped: they never run, and the loader ignores them.

    Args:
        graphs: the graphs of the SavedModel.
        target: one of :data:`.opsets.RELEASES`.
    """
    refused = f"TensorFlow Serving {target} cannot run it"
    known = opsets.load(target)
    for graph in graphs:
        versions = graph.meta_graph.graph_def.versions
        if fault := _version_fault(versions, known):
            yield error("op", f"{refused}: {fault}; export with a TensorFlow no newer than the server's")
        callers = graph.reached(graph.nodes)
        found: dict[tuple[str, str], list[tuple[Any, str]]] = {}
        for body in (MAIN, *callers):
            for node in graph.functions[body].node_def if body else graph.nodes:
                if node.op not in graph.functions:
                    for complaint in _complaints(node, known, versions.producer):
                        found.setdefault(complaint, []).append((node, body))
        for complaint, places in found.items():
            kind, reason = complaint
            node, body = places[0]
            times = f" ({len(places)} nodes)" if len(places) > 1 else ""
            advice = _advice(node, reason, versions.producer, target)
            problem = f"{reason}{times}: {_place(node.name, body, callers)}; {advice}"
            if kind == "attribute":
                yield warning(kind, f"TensorFlow Serving {target} ignores unknown attributes: {problem}")
            elif kind == "gpu":
                yield warning("kernel", f"TensorFlow Serving {target} runs it only on a GPU: {problem}")
            else:
                yield error(kind, f"{refused}: {problem}")


def _complaints(node: Any, known: opsets.OpSet, producer: int) -> Iterator[tuple[str, str]]:
    """The faults of a node: kind (``op``, ``attribute``, ``kernel`` or ``gpu``) and reason."""
    op = known.ops.get(node.op)
    if node.op in _PYTHON:
        yield "op", f"the op {node.op} calls Python"
    elif op is None:
        yield "op", f"the op {node.op} is not registered"
    else:
        if op.deprecated is not None and producer >= op.deprecated:
            yield "op", f"the op {node.op} is refused in graphs of version {op.deprecated} and later"
        for attr in sorted(node.attr):
            if attr not in op.attrs and not attr.startswith("_"):
                yield "attribute", f"the op {node.op} has no attribute {attr}"
        devices = kernels.devices(node, op)
        if "cpu" not in devices:
            of = f"for {dtypes}" if (dtypes := kernels.dtypes(node, op)) else "at all"
            yield "gpu" if devices else "kernel", f"the op {node.op} has no CPU kernel {of}"


def _version_fault(versions: Any, known: opsets.OpSet) -> str | None:
    own, asked = known.graph_def_version, versions.min_consumer
    if own < asked or own in versions.bad_consumers:
        return f"the graph needs a TensorFlow with GraphDef version {asked} or later, and this one has {own}"
    if versions.producer < known.min_producer:
        return f"the graph's GraphDef version {versions.producer} is older than {known.min_producer}, the minimum"
    return None


def _advice(node: Any, reason: str, producer: int, target: str) -> str:
    """The remedy: a release with the op and without a finding of the same kind, if there is one."""
    if node.op in _PYTHON:
        return _CALLS_PYTHON
    releases = [
        release
        for release in opsets.RELEASES
        if node.op in (known := opsets.load(release)).ops
        and reason not in [each for _, each in _complaints(node, known, producer)]
    ]
    later = [release for release in releases if opsets.order(release) > opsets.order(target)]
    if later:
        advice = f"TensorFlow Serving {later[0]} is the first that has it"
    elif releases:
        advice = f"TensorFlow Serving {releases[-1]} was the last that had it"
    else:
        advice = f"no TensorFlow Serving release from {opsets.RELEASES[0]} to {opsets.RELEASES[-1]} has it"
    return f"{advice}; {_HINTS[node.op]}" if node.op in _HINTS and "not registered" in reason else advice


def _place(node: str, function: str, callers: Mapping[str, tuple[str, str]]) -> str:
    """A node, its function ('' for the main graph) and the chain of callers, of which only the innermost are shown."""
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
