"""What of a signature would run on the CPU between operations on the GPU: each such node costs two copies and a wait.

Tokenization runs on the CPU, before the first operation on the GPU; everything that leads to strings counts as it.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from . import kernels, opsets
from .bodies import MAIN, Bodies, Kind
from .graph import DEEPEST, Call, Node, call_of, flatten, name_of, ordered, returns_of, value_of
from .kernels import Placement

__all__ = ["Places"]

#: What they give is wherever it came from, or wherever it is needed.
_PASSING = frozenset({"Identity", "IdentityN", "StopGradient", "PreventGradient", "Snapshot", "NoOp"})
_HOLDING = frozenset({"Const", "Placeholder", "VarHandleOp", "ReadVariableOp"})
_SOURCES = _HOLDING | {"PlaceholderWithDefault"}

_ON_CPU = (Placement.NONE, Placement.HOST)
_STRING = 7
_DTYPES = {"DT_FLOAT": 1, "DT_DOUBLE": 2, "DT_INT32": 3, "DT_STRING": 7, "DT_INT64": 9, "DT_BOOL": 10}


class Places:
    """Where the nodes of a graph run on a machine with a GPU.

    Args:
        bodies: those of the graph.
        release: TensorFlow Serving release.
    """

    def __init__(self, bodies: Bodies, release: str) -> None:
        self._bodies = bodies
        self._release = release
        self._forward = _Forward(bodies, release)

    def between(self, signature: Any) -> list[Node]:
        """Nodes that run on the CPU on what a node on the GPU made, and that a later node on the GPU waits for.

        Args:
            signature: a ``SignatureDef`` message of the graph.

        Raises:
            TooLarge: the graph cannot be laid open.
        """
        if not self._forward.comes_back:
            return []
        nodes = flatten(self._bodies, signature)
        places = [_place(node.kind, self._release) for node in nodes]
        # From the end: which nodes lead to the GPU, which to strings.
        leads_to_device, leads_to_strings = [False] * len(nodes), [False] * len(nodes)
        for at in reversed(range(len(nodes))):
            leads_to_strings[at] |= _STRING in nodes[at].kind.types.values()
            for source in nodes[at].inputs:
                leads_to_device[source] |= leads_to_device[at] or places[at] is Placement.DEVICE
                leads_to_strings[source] |= leads_to_strings[at]
        # From the beginning: which values lie in the GPU's memory.
        on_device: list[bool] = []
        found = []
        for at, node in enumerate(nodes):
            reads_device = any(on_device[source] for source in node.inputs)
            on_device.append(places[at] is Placement.DEVICE or (places[at] is None and reads_device))
            if places[at] in _ON_CPU and reads_device and leads_to_device[at] and not leads_to_strings[at]:
                found.append(node)
        return found


class _Forward:
    """Whether anything that a node on the GPU made may come back to one on the CPU.

    What :meth:`Places.between` finds is among that, and most graphs have none: only one that has it is laid open. A
    function is gone through once for each set of arguments on the GPU. Constants, half of its nodes, are not looked at:
    what is not known to be on the GPU is not there.
    """

    def __init__(self, bodies: Bodies, release: str) -> None:
        self._bodies = bodies
        names = [MAIN, *bodies.reach(bodies.calls(MAIN))]
        # The kinds of nodes that run on the GPU or on the CPU, and that pass on or call.
        self._device, self._cpu, self._passing = (set[Kind]() for _ in range(3))
        for kind in set().union(*map(bodies.kinds, names)):
            where = _place(kind, release)
            if where is Placement.DEVICE:
                self._device.add(kind)
            elif where in _ON_CPU:
                self._cpu.add(kind)
            elif where is None and kind.op not in _HOLDING:
                self._passing.add(kind)
        #: Functions with nodes that run on the GPU, or that come to call such.
        self._on_device = {name for name in names if not self._device.isdisjoint(bodies.kinds(name))}
        callers: dict[str, list[str]] = {}
        for name in names:
            for called in bodies.calls(name):
                callers.setdefault(called, []).append(name)
        waiting = list(self._on_device)
        while waiting:
            new = [each for each in callers.get(waiting.pop(), ()) if each not in self._on_device]
            self._on_device.update(new)
            waiting += new
        #: A function, and which of its arguments lie on the GPU -> which results do, and whether anything comes back.
        self._done: dict[tuple[str, tuple[bool, ...]], tuple[list[bool], bool]] = {}
        self._depth = 0

    @functools.cached_property
    def comes_back(self) -> bool:
        """Whether it does anywhere in the graph."""
        return self._run(MAIN, set())[1]

    def _run(self, body: str, on: set[str]) -> tuple[Callable[[str], bool], bool]:
        """Go through a body.

        Args:
            body: its name.
            on: its arguments that lie on the GPU; becomes all names in it that do.

        Returns:
            Whether a reference in it does, and whether anything comes back.
        """
        on.update(self._bodies.names(body, self._device))
        results: dict[str, list[bool]] = {}  # of calls

        def lies(reference: str) -> bool:
            name = name_of(reference)
            return name in on or (name in results and value_of(results, reference, False))

        def any_lies(names: list[str]) -> bool:
            return not (on.isdisjoint(names) and results.keys().isdisjoint(names))

        for name, kind, references, names in self._passing_of(body):
            inputs = list(map(lies, references)) if any_lies(names) else [False] * len(names)
            call = call_of(kind)
            if call is None:
                if True in inputs:
                    on.add(name)
                continue
            returned, comes_back = self._call(call, inputs)
            if comes_back:
                return lies, True
            if True in returned:
                results[name] = returned
        asked = self._bodies.inputs(body, self._cpu) if on or results else []
        return lies, any_lies(list(map(name_of, asked))) and any(map(lies, asked))

    def _passing_of(self, body: str) -> list[tuple[str, Kind, Sequence[str], list[str]]]:
        """Nodes of a body that pass on or call, each after those that it reads.

        Returns:
            Of each its name, kind, what it reads, and the names of that.
        """
        nodes = self._bodies.of_kinds(body, self._passing)
        steps, waiting = [], {node.name for node, _ in nodes}
        for node, kind in nodes:
            names = list(map(name_of, node.input))
            waiting.discard(node.name)
            if not waiting.isdisjoint(names):  # rarely: they are written in order
                by_name = {node.name: (node, kind) for node, kind in nodes}
                return [
                    (name, by_name[name][1], read, list(map(name_of, read))) for name, read in ordered(by_name, by_name)
                ]
            steps.append((node.name, kind, node.input, names))
        return steps

    def _call(self, call: Call, inputs: list[bool]) -> tuple[list[bool], bool]:
        if not call.branches:
            return self._function(call.functions[0], inputs)
        branches = [self._function(each, inputs[1:]) for each in call.functions]
        results = zip_longest(*(each for each, _ in branches), fillvalue=False)
        return [any(inputs[:1]) or any(each) for each in results], any(comes_back for _, comes_back in branches)

    def _function(self, name: str, inputs: list[bool]) -> tuple[list[bool], bool]:
        function = self._bodies.functions.get(name)
        if function is None:
            return [], False
        key = name, tuple(inputs)
        if key not in self._done:
            wanted = returns_of(function)
            if True not in inputs and name not in self._on_device:
                self._done[key] = [False] * len(wanted), False
            elif self._depth == DEEPEST:
                return [], True  # for flatten to say
            else:
                self._done[key] = [], True  # where it calls itself: for flatten to say, too
                self._depth += 1
                on = set(itertools.compress(self._bodies.arguments(name), inputs)) if True in inputs else set()
                lies, comes_back = self._run(name, on)
                self._done[key] = list(map(lies, wanted)), comes_back
                self._depth -= 1
        return self._done[key]


@functools.lru_cache(maxsize=10_000)
def _place(kind: Kind, release: str) -> Placement | None:
    """Where nodes of a kind run; ``None`` for those that only pass on or hold, and for calls."""
    if call_of(kind) or kind.op in _PASSING or kind.op in _SOURCES:
        return None
    if "CPU:" in kind.device:
        return Placement.NONE
    return kernels.placement(kind.op, {**_defaults(kind.op, release), **_given(kind)}, release)


def _given(kind: Kind) -> dict[str, int]:
    return {name: dtype for name, dtype in kind.types.items() if dtype}


@functools.cache
def _defaults(op: str, release: str) -> Mapping[str, int]:
    """Dtypes that an op's attributes have where the graph leaves them out."""
    known = opsets.load(release).ops.get(op)
    texts = {name: text.removeprefix("type: ") for name, text in known.attrs.items() if text} if known else {}
    return {name: _DTYPES[text] for name, text in texts.items() if text in _DTYPES}
