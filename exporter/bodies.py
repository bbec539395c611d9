"""The graphs of a SavedModel by their bodies, the main graph's and each function's: of what kinds the nodes are.

A graph repeats itself: ten thousand nodes are of a hundred kinds. To read them one by one takes Python several times
as long as it took to parse them. So protobuf itself does it: parsed as kinds.proto, which keeps what nodes have in
common, and written again, nodes of a kind are the same bytes, and only one of them is looked at.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from . import opsets, protos

__all__ = ["MAIN", "Bodies", "Kind", "parse"]

#: Name of the main graph.
MAIN = ""
#: From this size on, in bytes, what the attributes of a function hold is left out before it is compared.
_LARGE = 1 << 20


@dataclass(frozen=True, eq=False)
class Kind:
    """What nodes have in common.

    Attributes:
        op: the op, or the function.
        device: the device that they ask for.
        types: attribute -> its DataType number, 0 where it is none.
        functions: those of the attributes that may name functions.
    """

    op: str
    device: str
    types: Mapping[str, int]
    functions: tuple[str, ...]


class Bodies:
    """The main graph and the functions of a ``MetaGraphDef``; see :func:`parse`.

    Attributes:
        meta_graph: the message.
        functions: name -> its ``FunctionDef``.
    """

    def __init__(self, meta_graph: Any, raw: Any) -> None:
        self.meta_graph = meta_graph
        functions = meta_graph.graph_def.library.function
        self.functions: dict[str, Any] = {function.signature.name: function for function in functions}
        self._raw = dict(zip((each.signature.name for each in functions), raw.library.function, strict=True))
        raw.ClearField("library")
        self._main = raw
        self._each: dict[str, list[Kind]] = {}
        self._kinds: dict[str, set[Kind]] = {}
        self._named: dict[str, dict[str, tuple[Any, Kind]]] = {}
        self._calls: dict[str, dict[str, None]] = {}

    def kinds(self, name: str) -> set[Kind]:
        """The kinds of the nodes of a body."""
        if name not in self._kinds:
            self._kinds[name] = set(self._kind_of_each(name))
        return self._kinds[name]

    def of_kinds(self, name: str, kinds: Collection[Kind]) -> list[tuple[Any, Kind]]:
        """The nodes of a body, as messages, that are of some kinds."""
        if not kinds:
            return []
        nodes = self.functions[name].node_def if name else self.meta_graph.graph_def.node
        return [(nodes[at], kind) for at, kind in enumerate(self._kind_of_each(name)) if kind in kinds]

    def named(self, name: str) -> dict[str, tuple[Any, Kind]]:
        """All nodes of a body by their names."""
        if name not in self._named:
            self._named[name] = {node.name: (node, kind) for node, kind in self.of_kinds(name, self.kinds(name))}
        return self._named[name]

    def calling(self, name: str) -> list[tuple[Any, Kind]]:
        """The nodes of a body that may call functions, each with its kind."""
        kinds = {kind for kind in self.kinds(name) if kind.functions or kind.op in self.functions}
        return self.of_kinds(name, kinds)

    def calls(self, name: str) -> Collection[str]:
        """Functions that the nodes of a body call, each once."""
        if name not in self._calls:
            nodes = self.calling(name)
            self._calls[name] = dict.fromkeys(each for node, kind in nodes for each in self.called(node, kind))
        return self._calls[name]

    def called(self, node: Any, kind: Kind) -> Iterator[str]:
        """Functions that a node calls: by its op, or by its attributes."""
        if kind.op in self.functions:
            yield kind.op
        for attr in kind.functions:
            value = node.attr[attr]
            yield from (each.name for each in (value.func, *value.list.func) if each.name in self.functions)

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

    def _kind_of_each(self, name: str) -> list[Kind]:
        """The kind of each node of a body."""
        if name not in self._each:
            body = self._main
            if name:
                raw = self._raw[name]
                body = (protos.KindsOfFunction if len(raw) > _LARGE else protos.KindsOfSmallFunction).FromString(raw)
            body.DiscardUnknownFields()
            nodes = protos.KindNodes.FromString(body.SerializeToString())
            found = list(nodes.node_def if name else nodes.node)
            kinds = {data: _kind(data) for data in set(found)}
            self._each[name] = [kinds[data] for data in found]
        return self._each[name]


def parse(data: bytes) -> list[Bodies]:
    """The graphs of a saved_model.pb.

    Raises:
        DecodeError: it is no SavedModel.
    """
    graphs = protos.SavedModel.FromString(data).meta_graphs
    raws = protos.Kinds.FromString(data).meta_graphs
    return [Bodies(graph, raw.graph_def) for graph, raw in zip(graphs, raws, strict=True)]


@functools.lru_cache(maxsize=10_000)
def _kind(data: bytes) -> Kind:
    node = protos.KindOfNode.FromString(data)
    return _kind_of(node.op, node.device, tuple((attr.key, attr.value.type) for attr in node.attr))


@functools.lru_cache(maxsize=10_000)
def _kind_of(op: bytes, device: bytes, types: tuple[tuple[bytes, int], ...]) -> Kind:
    name, attrs = op.decode(), {key.decode(): number for key, number in types}
    return Kind(name, device.decode(), attrs, tuple(attr for attr in attrs if opsets.may_name_function(name, attr)))
