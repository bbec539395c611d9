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
from typing import Any, NamedTuple

from . import protos

__all__ = ["COMPILE", "MAIN", "Bodies", "Kind", "parse"]

#: Name of the main graph.
MAIN = ""
#: From this size on, in bytes a node, what the attributes of a function hold is left out before it is compared.
_LARGE = 700
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
        functions: name -> its ``FunctionDef``, the nodes of which are bytes.
    """

    def __init__(self, meta_graph: Any) -> None:
        self.meta_graph = meta_graph
        main = meta_graph.graph_def
        self.functions: dict[str, Any] = {function.signature.name: function for function in main.library.function}
        main.ClearField("library")
        main.DiscardUnknownFields()  # constants, above all
        self._main = protos.Nodes.FromString(main.SerializeToString()).node
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
        nodes = map(protos.Node.FromString, self._select(name, kinds))
        return list(zip(nodes, filter(kinds.__contains__, self._each[name]), strict=True))

    def names(self, name: str, kinds: Collection[Kind]) -> list[str]:
        """The names of the nodes of a body that are of some kinds."""
        return list(protos.Names.FromString(b"".join(self._select(name, kinds))).name)

    def inputs(self, name: str, kinds: Collection[Kind]) -> list[str]:
        """All inputs of the nodes of a body that are of some kinds."""
        return list(protos.Node.FromString(b"".join(self._select(name, kinds))).input)

    def arguments(self, name: str) -> list[str]:
        """Names of the arguments of a function."""
        if name not in self._arguments:
            data = b"".join(self.functions[name].signature.input_arg)
            self._arguments[name] = list(protos.Names.FromString(data).name)
        return self._arguments[name]

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

    def _select(self, name: str, kinds: Collection[Kind]) -> Iterable[bytes]:
        nodes = self.functions[name].node_def if name else self._main
        wanted = itertools.compress(itertools.count(), map(kinds.__contains__, self._each[name]))
        return map(nodes.__getitem__, wanted)

    @functools.cached_property
    def _each(self) -> dict[str, list[Kind]]:
        """The kind of each node of each body."""
        main = protos.Nodes(node_def=self._main).SerializeToString()
        each = {MAIN: list(map(_kind, _bare(protos.KindsOfFunction, main)))}
        small = {}
        for name, function in self.functions.items():
            raw = function.SerializeToString()
            if len(raw) > _LARGE * len(function.node_def):
                each[name] = list(map(_kind, _bare(protos.KindsOfFunction, raw)))
            else:
                small[name] = raw
        # Functions that are written one after the other are read as one that has all their nodes.
        kinds = map(_kind, _bare(protos.KindsOfSmallFunction, b"".join(small.values())))
        each.update((name, list(itertools.islice(kinds, len(self.functions[name].node_def)))) for name in small)
        return each


def _bare(message: Any, data: bytes) -> Iterable[bytes]:
    """What stands for the kind of each node."""
    body = message.FromString(data)
    body.DiscardUnknownFields()
    return protos.Nodes.FromString(body.SerializeToString()).node_def


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


class _Memo(dict[bytes, Kind]):
    """Kinds by the bytes that stand for them. A dictionary, because ``lru_cache`` takes twice the time a node."""

    def __missing__(self, data: bytes) -> Kind:
        node = protos.SmallKind.FromString(data)
        if len(self) >= 10_000:
            self.clear()
        kind = self[data] = _kind_of(node.op, node.device, tuple(map(_attr, node.attr)))
        return kind


_kind = _Memo().__getitem__


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
