"""What of a signature would run on the CPU between operations on the GPU: each such node costs two copies and a wait.

Tokenization runs on the CPU, before the first operation on the GPU; everything that leads to strings counts as it.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

from . import kernels, opsets
from .bodies import MAIN, Bodies, Kind
from .graph import DEEPEST, Call, Node, call_of, flatten, name_of, ordered, returns_of, value_of
from .kernels import Placement
from .memo import Memo

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
    function is gone through once for each set of arguments on the GPU, if anything can come back in it; if not, all its
    results are taken to lie there, as they mostly do. Constants, half of its nodes, are not looked at: what is not
    known to be on the GPU is not there.
    """

    def __init__(self, bodies: Bodies, release: str) -> None:
        self._bodies = bodies
        # The kinds of nodes that run on the GPU or on the CPU, and that pass on or call.
        self._device, self._cpu, self._passing = (set[Kind]() for _ in range(3))
        for kind in set().union(*map(bodies.kinds, bodies.run)):
            where = _place(kind, release)
            if where is Placement.DEVICE:
                self._device.add(kind)
            elif where in _ON_CPU:
                self._cpu.add(kind)
            elif where is None and kind.op not in _HOLDING:
                self._passing.add(kind)
        self._callers: dict[str, list[str]] = {}
        for name in bodies.run:
            for called in bodies.calls(name):
                self._callers.setdefault(called, []).append(name)
        #: Functions with nodes that run there, or that come to call such.
        self._on_device, self._on_cpu = map(self._reaching, (self._device, self._cpu))
        #: A function, and which of its arguments lie on the GPU -> which results do, and whether anything comes back.
        self._done: dict[tuple[str, tuple[int, ...]], tuple[list[bool], bool]] = {}
        self._depth = 0

    @functools.cached_property
    def comes_back(self) -> bool:
        """Whether it does anywhere in the graph."""
        return self._run(MAIN, set())[1]

    def _reaching(self, kinds: set[Kind]) -> set[str]:
        reaching = {name for name in self._bodies.run if not kinds.isdisjoint(self._bodies.kinds(name))}
        waiting = list(reaching)
        while waiting:
            new = [each for each in self._callers.get(waiting.pop(), ()) if each not in reaching]
            reaching.update(new)
            waiting += new
        return reaching

    def _run(self, body: str, on: set[str]) -> tuple[Callable[[str], bool], bool]:
        """Go through a body.

        Args:
            body: its name.
            on: its arguments that lie on the GPU; becomes all names in it that do.

        Returns:
            Whether a reference in it does, and whether anything comes back.
        """
        on.update(self._bodies.names(body, self._device))
        partly: dict[str, list[bool]] = {}  # calls of which some results lie there

        def lies(reference: str) -> bool:
            name = name_of(reference)
            return name in on or (name in partly and value_of(partly, reference, False))

        def each_lies(references: Sequence[str], names: list[str]) -> list[bool]:
            if not partly or partly.keys().isdisjoint(names):
                return list(map(on.__contains__, names))
            return list(map(lies, references))

        for name, kind, references, names in self._passing_of(body):
            inputs = each_lies(references, names)
            call = call_of(kind)
            if call is None:
                returned = [True in inputs]
            else:
                returned, comes_back = self._call(call, inputs)
                if comes_back:
                    return lies, True
            if returned and all(returned):
                on.add(name)
            elif True in returned:
                partly[name] = returned
        asked = self._bodies.inputs(body, self._cpu) if on or partly else []
        return lies, True in each_lies(asked, _names_of(asked))

    def _passing_of(self, body: str) -> list[tuple[str, Kind, Sequence[str], list[str]]]:
        """Nodes of a body that pass on or call, each after those that it reads.

        Returns:
            Of each its name, kind, what it reads, and the names of that.
        """
        nodes = self._bodies.of_kinds(body, self._passing)
        steps, waiting = [], {node.name for node, _ in nodes}
        for node, kind in nodes:
            name, references = node.name, node.input[:]
            names = _names_of(references)
            waiting.discard(name)
            if not waiting.isdisjoint(names):  # rarely: they are written in order
                by_name = {node.name: (node, kind) for node, kind in nodes}
                return [(name, by_name[name][1], read, _names_of(read)) for name, read in ordered(by_name, by_name)]
            steps.append((name, kind, references, names))
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
        lying = tuple(itertools.compress(itertools.count(), inputs))
        key = name, lying
        if key not in self._done:
            wanted = returns_of(function)
            if not lying and name not in self._on_device:
                self._done[key] = [False] * len(wanted), False
            elif name not in self._on_cpu:
                self._done[key] = [True] * len(wanted), False
            elif self._depth == DEEPEST:
                return [], True  # for flatten to say
            else:
                self._done[key] = [], True  # where it calls itself: for flatten to say, too
                self._depth += 1
                if not lying and (wrapped := self._wrapped(name)):
                    self._done[key] = [True] * len(wanted), self._function(wrapped, [])[1]
                else:
                    on = set(itertools.compress(self._bodies.arguments(name), inputs)) if lying else set()
                    lies, comes_back = self._run(name, on)
                    self._done[key] = list(map(lies, wanted)), comes_back
                self._depth -= 1
        return self._done[key]

    def _wrapped(self, name: str) -> str | None:
        """The function that a body calls, if nothing else in it runs anywhere, as in those of signatures."""
        kinds = self._bodies.kinds(name)
        if not (kinds.isdisjoint(self._device) and kinds.isdisjoint(self._cpu)):
            return None
        running = self._on_device | self._on_cpu
        calls = {kind: call for kind in kinds if (call := call_of(kind)) and not running.isdisjoint(call.functions)}
        if len(self._bodies.of_kinds(name, calls)) != 1:
            return None
        (call,) = calls.values()
        return None if call.branches else call.functions[0]


#: The same references are read again and again, above all where calls pass on all weights.
_name = Memo(name_of).__getitem__


def _names_of(references: Iterable[str]) -> list[str]:
    return list(map(_name, references))


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
