"""The graphs of a SavedModel by their bodies, the main graph's and each function's: of what kinds the nodes are.

A graph repeats itself: ten thousand nodes are of a hundred kinds. To read them one by one takes Python several times
as long as it took to parse them. So protobuf itself does it: parsed as kinds.proto, which keeps what nodes have in
common, and written again, nodes of a kind are the same bytes, and only one of them is looked at.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from . import protos

__all__ = ["COMPILE", "MAIN", "Bodies", "Kind", "parse"]

#: Name of the main graph.
MAIN = ""
#: From this size on, in bytes a node, what the attributes of a function hold is left out before it is compared.
_LARGE = 700
#: What is shorter, in bytes, is remembered.
_SHORT = 500
#: Attribute of functions, and of the nodes that call them, that XLA must compile.
COMPILE = "_XlaMustCompile"


@dataclass(frozen=True, eq=False)
class Kind:
    """What nodes have in common.

    Attributes:
        op: the op, or the function.
        device: the device that they ask for.
        types: attribute -> its DataType number, 0 where it is none.
        calls: attribute -> the functions that it names.
        names: of all functions that they may call: the op, and those of the attributes.
        compiled: whether XLA must compile them.
    """

    op: str
    device: str
    types: Mapping[str, int]
    calls: Mapping[str, tuple[str, ...]]
    names: tuple[str, ...]
    compiled: bool


class Bodies:
    """The main graph and the functions of a ``MetaGraphDef``; see :func:`parse`.

    What is damaged shows when it is asked for: every method may raise ``DecodeError``.

    Attributes:
        meta_graph: the message, as :data:`.protos.Outline` has it.
        functions: name -> its ``FunctionDef``.
    """

    def __init__(self, meta_graph: Any) -> None:
        self.meta_graph = meta_graph
        self._main = meta_graph.graph_def
        raws = list(self._main.library.function)
        self._main.ClearField("library")
        functions = list(map(protos.FunctionOutline.FromString, raws))
        names = [function.signature.name for function in functions]
        self.functions: dict[str, Any] = dict(zip(names, functions, strict=True))
        self._raw = dict(zip(names, raws, strict=True))
        self._each: dict[str, tuple[list[bytes], dict[bytes, Kind]]] = {}
        self._kinds: dict[str, set[Kind]] = {}
        self._named: dict[str, dict[str, tuple[Any, Kind]]] = {}
        self._calls: dict[str, set[str]] = {}

    def kinds(self, name: str) -> set[Kind]:
        """The kinds of the nodes of a body."""
        if name not in self._kinds:
            self._kinds[name] = set(self._kind_of_each(name)[1].values())
        return self._kinds[name]

    def of_kinds(self, name: str, kinds: Collection[Kind]) -> list[tuple[Any, Kind]]:
        """The nodes of a body, as messages of their names and inputs, that are of some kinds."""
        if not kinds:
            return []
        nodes = self.functions[name].node_def if name else self._main.node
        each, kind_of = self._kind_of_each(name)
        wanted = {data: kind for data, kind in kind_of.items() if kind in kinds}
        return [(nodes[at], wanted[data]) for at, data in enumerate(each) if data in wanted]

    def named(self, name: str) -> dict[str, tuple[Any, Kind]]:
        """All nodes of a body by their names."""
        if name not in self._named:
            self._named[name] = {node.name: (node, kind) for node, kind in self.of_kinds(name, self.kinds(name))}
        return self._named[name]

    def calls(self, name: str) -> set[str]:
        """Functions that the nodes of a body call."""
        if name not in self._calls:
            names = {each for kind in self.kinds(name) for each in kind.names}
            self._calls[name] = names & self.functions.keys()
        return self._calls[name]

    def called(self, kind: Kind) -> list[str]:
        """Functions that nodes of a kind call: by their op, or by their attributes."""
        return [name for name in kind.names if name in self.functions]

    def reach(self, names: Iterable[str]) -> set[str]:
        """These functions, and all that they can come to call."""
        reached: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in reached:
                reached.add(name)
                waiting += self.calls(name)
        return reached

    def _kind_of_each(self, name: str) -> tuple[list[bytes], dict[bytes, Kind]]:
        """What stands for the kind of each node of a body, and the kind that it stands for."""
        if name not in self._each:
            if name:
                raw = self._raw[name]
                large = len(raw) > _LARGE * len(self.functions[name].node_def)
                body = (protos.KindsOfFunction if large else protos.KindsOfSmallFunction).FromString(raw)
            else:
                self._main.DiscardUnknownFields()  # constants, above all
                body = protos.KindsOfGraph.FromString(self._main.SerializeToString())
            body.DiscardUnknownFields()
            nodes = protos.Kinds.FromString(body.SerializeToString())
            each = list(nodes.node_def if name else nodes.node)
            self._each[name] = each, {data: _kind(data) for data in set(each)}
        return self._each[name]


def parse(data: bytes) -> list[Bodies]:
    """The graphs of a saved_model.pb.

    Raises:
        DecodeError: it is no SavedModel.
    """
    return list(map(Bodies, protos.Outline.FromString(data).meta_graphs))


class _Attr(NamedTuple):
    """An attribute, as far as kinds differ by it: name, DataType, functions that it names, whether it is true."""

    name: str
    type: int
    calls: tuple[str, ...]
    true: bool


_T = TypeVar("_T")


def _remembered(read: Callable[[bytes], _T]) -> Callable[[bytes], _T]:
    """The same function, quick where it is asked again; not for constants of any size, that would fill the memory."""
    known = functools.lru_cache(maxsize=10_000)(read)
    return lambda data: known(data) if len(data) < _SHORT else read(data)


@_remembered
def _kind(data: bytes) -> Kind:
    node = protos.WholeKind.FromString(data)
    return _kind_of(node.op, node.device, tuple(map(_attr, node.attr)))


@_remembered
def _attr(data: bytes) -> _Attr:
    attr = protos.Attr.FromString(data)
    value = attr.value
    functions = (*([value.func] if value.HasField("func") else []), *value.list.func)
    return _Attr(attr.key, value.type, tuple(function.name for function in functions), value.b)


@functools.lru_cache(maxsize=10_000)
def _kind_of(op: str, device: str, attrs: tuple[_Attr, ...]) -> Kind:
    # Those with an underscore first are notes to TensorFlow itself, which calls nothing that they name.
    named = [attr for attr in attrs if not attr.name.startswith("_")]
    calls = {attr.name: attr.calls for attr in named if attr.calls}
    return Kind(
        op=op,
        device=device,
        types={attr.name: attr.type for attr in named},
        calls=calls,
        names=(op, *itertools.chain(*calls.values())),
        compiled=any(attr.name == COMPILE and attr.true for attr in attrs),
    )
