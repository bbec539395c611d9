"""The graphs of a SavedModel by their bodies, the main graph's and each function's: of what kinds the nodes are.

A graph repeats itself: ten thousand nodes are of a hundred kinds. To read them one by one takes Python several times
as long as it took to parse them. So protobuf itself does it: parsed as kinds.proto, which keeps what nodes have in
common, and written again, nodes of a kind are the same bytes, and only one of them is looked at.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

from google.protobuf.message import DecodeError

from .. import protos
from . import wire
from .memo import Memo

__all__ = ["COMPILE", "MAIN", "Bodies", "Kind", "read"]

#: Name of the main graph.
MAIN = ""
#: What the attributes of a body hold is left out before it is compared where it has so many bytes more than so many for
#: each node.
_LARGE, _NODE_SIZE = 60_000, 400
#: Numbers of fields: of a SavedModel, a MetaGraphDef, a GraphDef, and a FunctionDefLibrary.
_META_GRAPHS = 2
_GRAPH_DEF, _OBJECTS = 2, 7
_NODE, _LIBRARY = 1, 2
_FUNCTION = 1
#: Of a node, attr.value.tensor.
_TENSOR: wire.Taken = {5: {2: {8: None}}}
#: Bytes of the longest message that protobuf reads.
_MOST = 2**31 - 1
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
    """The main graph and the functions of a ``MetaGraphDef``; see :func:`read`.

    What is damaged shows when it is asked for: every method may raise ``DecodeError``.

    Attributes:
        meta_graph: the message, as :data:`.protos.MetaGraph` has it.
        functions: name -> its ``FunctionDef``, the nodes of which are bytes.
    """

    def __init__(self, meta_graph: Any, functions: Iterable[bytes]) -> None:
        self.meta_graph = meta_graph
        main = meta_graph.graph_def
        self.functions: dict[str, Any] = {}
        # Of each body its nodes, as bytes, and these bytes in the place where a FunctionDef has them.
        self._nodes: dict[str, Any] = {}
        self._written: dict[str, bytes] = {}
        for data in functions:
            function = protos.FunctionDef.FromString(data)
            name = function.signature.name
            self.functions[name], self._nodes[name], self._written[name] = function, function.node_def, data
        self._nodes[MAIN], self._written[MAIN] = main.node, protos.Nodes(node_def=main.node).SerializeToString()
        self._kinds: dict[str, set[Kind]] = {}
        self._named: dict[str, dict[str, tuple[Any, Kind]]] = {}
        self._calls: dict[str, set[str]] = {}
        self._arguments: dict[str, list[str]] = {}

    def kinds(self, name: str) -> set[Kind]:
        """The kinds of the nodes of a body."""
        if name not in self._kinds:
            self._kinds[name] = set(self._each[name])
        return self._kinds[name]

    def of_kinds(self, name: str, kinds: Collection[Kind]) -> list[tuple[Any, Kind]]:
        """The nodes of a body, as messages of their names and inputs, that are of some kinds."""
        nodes, each = self._nodes[name], self._each[name]
        return [(protos.Node.FromString(nodes[at]), each[at]) for at in self._which(name, kinds)]

    def names(self, name: str, kinds: Collection[Kind]) -> list[str]:
        """The names of the nodes of a body that are of some kinds."""
        return protos.Names.FromString(self._written_of(name, kinds)).name[:]

    def inputs(self, name: str, kinds: Collection[Kind]) -> list[str]:
        """All inputs of the nodes of a body that are of some kinds."""
        return protos.Node.FromString(self._written_of(name, kinds)).input[:]

    def arguments(self, name: str) -> list[str]:
        """Names of the arguments of a function."""
        if name not in self._arguments:
            data = b"".join(self.functions[name].signature.input_arg)
            self._arguments[name] = protos.Names.FromString(data).name[:]
        return self._arguments[name]

    def named(self, name: str) -> dict[str, tuple[Any, Kind]]:
        """All nodes of a body by their names."""
        if name not in self._named:
            self._named[name] = {node.name: (node, kind) for node, kind in self.of_kinds(name, self.kinds(name))}
        return self._named[name]

    def calls(self, name: str) -> set[str]:
        """Functions that the nodes of a body call."""
        if name not in self._calls:
            calling = self._calling.keys() & self.kinds(name)
            self._calls[name] = {each for kind in calling for each in self._calling[kind]}
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

    @functools.cached_property
    def _calling(self) -> dict[Kind, list[str]]:
        """The kinds of nodes that call functions, and which."""
        kinds, functions = set().union(*map(self.kinds, self._nodes)), self.functions
        return {kind: self.called(kind) for kind in kinds if kind.calls or kind.op in functions}

    @functools.cached_property
    def run(self) -> list[str]:
        """The bodies that ever run: the main graph, and the functions that it can come to call."""
        reached = self.reach(self.calls(MAIN))
        return [MAIN, *(name for name in self.functions if name in reached)]

    def _which(self, name: str, kinds: Collection[Kind]) -> Iterable[int]:
        """Positions of the nodes of a body that are of some kinds."""
        if self.kinds(name).isdisjoint(kinds):
            return ()
        return itertools.compress(itertools.count(), map(kinds.__contains__, self._each[name]))

    def _written_of(self, name: str, kinds: Collection[Kind]) -> bytes:
        """The nodes of a body that are of some kinds, written one after the other."""
        return b"".join(map(self._nodes[name].__getitem__, self._which(name, kinds)))

    @functools.cached_property
    def _each(self) -> dict[str, list[Kind]]:
        """The kind of each node of each body."""
        each, small = {}, {}
        for name, data in self._written.items():
            if len(data) > _LARGE + _NODE_SIZE * len(self._nodes[name]):
                each[name] = list(map(_kind, _bare(protos.KindsOfFunction, data)))
            else:
                small[name] = data
        # Bodies that are written one after the other are read as one that has all their nodes.
        kinds = map(_kind, _bare(protos.KindsOfSmallFunction, b"".join(small.values())))
        each.update((name, list(itertools.islice(kinds, len(self._nodes[name])))) for name in small)
        return each


def _bare(message: Any, data: bytes) -> Iterable[bytes]:
    """What stands for the kind of each node."""
    body = message.FromString(data)
    body.DiscardUnknownFields()
    return protos.Nodes.FromString(body.SerializeToString()).node_def[:]


def read(file: BinaryIO) -> list[Bodies]:
    """The graphs of a saved_model.pb. Of large constants in a main graph, what they hold is passed over.

    Raises:
        DecodeError: it is no SavedModel.
        OSError: it cannot be read.
    """
    source = wire.File(file)
    if source.size > _MOST:
        raise DecodeError(f"it has {source.size} bytes, and no message has more than {_MOST}")
    places: list[wire.Range] = []
    outline = protos.Outline.FromString(source.without((0, source.size), {_META_GRAPHS: places}))
    # Those that lie behind what the walk does not know are kept where they are.
    kept = [Bodies(each, each.graph_def.library.function) for each in outline.meta_graphs]
    return [*(_graph(source, place) for place in places), *kept]


def _graph(source: wire.File, place: wire.Range) -> Bodies:
    functions: list[wire.Range] = []
    taken: wire.Taken = {_GRAPH_DEF: {_NODE: _TENSOR, _LIBRARY: {_FUNCTION: functions}}, _OBJECTS: None}
    meta_graph = protos.MetaGraph.FromString(source.without(place, taken))
    # A small library is kept where it is.
    return Bodies(meta_graph, [*map(source.read, functions), *meta_graph.graph_def.library.function])


class _Attr(NamedTuple):
    """An attribute, as far as kinds differ by it: name, DataType, functions that it names, whether it is true."""

    name: str
    type: int
    calls: tuple[str, ...]
    true: bool


def _read_kind(data: bytes) -> Kind:
    node = protos.SmallKind.FromString(data)
    return _kind_of(node.op, node.device, tuple(map(_attr, node.attr)))


#: Kinds by the bytes that stand for them.
_kind = Memo(_read_kind).__getitem__


@functools.lru_cache(maxsize=10_000)
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
