"""saved_model.pb without TensorFlow: the message, and the functions that the nodes of a graph call."""

import stat
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from ..protos import SavedModel

#: The main graph's name among those of functions.
MAIN = ""
#: The tag of the graph that a server loads.
_SERVE = "serve"
#: Maximum size in bytes of a message in protobuf.
_MOST = 2**31 - 1


class Unreadable(Exception):
    """A folder has no readable SavedModel; the message contains place and reason.

    Attributes:
        kind: ``no-saved-model``, ``unreadable`` or ``damaged``.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def read(folder: Path) -> Any:
    """The ``SavedModel`` message of a folder. While it is parsed, it takes twice the file's size in memory.

    Raises:
        Unreadable: there is none, or it is damaged.
    """
    path = folder / "saved_model.pb"
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            raise Unreadable("unreadable", f"{path}: it is not a regular file; give a file")
        if state.st_size > _MOST:
            raise Unreadable("damaged", f"{path}: it has {state.st_size} bytes, but a SavedModel has at most {_MOST}")
        return SavedModel.FromString(path.read_bytes())
    except FileNotFoundError:
        text = " (saved_model.pbtxt, the text form, cannot be checked)" if path.with_suffix(".pbtxt").exists() else ""
        raise Unreadable(
            "no-saved-model",
            f"{folder}: no saved_model.pb in it{text}; give a version folder, or the folder of a model",
        ) from None
    except NotADirectoryError:
        raise Unreadable("no-saved-model", f"{folder}: it is a file; give the folder of a SavedModel") from None
    except OSError as error:
        raise Unreadable("unreadable", f"{path}: cannot be read: {error.strerror or error}") from error
    except DecodeError as error:
        raise Unreadable("damaged", f"{path}: not a SavedModel, or cut short: {error}") from error


def serving(model: Any) -> Any | None:
    """The ``MetaGraphDef`` that a server loads from a SavedModel; ``None`` if it has none."""
    return next((each for each in model.meta_graphs if set(each.meta_info_def.tags) == {_SERVE}), None)


class Graph:
    """The main graph of a ``MetaGraphDef`` and its functions.

    Attributes:
        meta_graph: the message.
        nodes: nodes of the main graph.
        functions: name -> ``FunctionDef``.
    """

    def __init__(self, meta_graph: Any) -> None:
        self.meta_graph = meta_graph
        self.nodes = meta_graph.graph_def.node
        library = meta_graph.graph_def.library.function
        self.functions = {each.signature.name: each for each in library if each.signature.name != MAIN}

    def called(self, node: Any) -> list[str]:
        """Functions that a node calls by its op or names in its attributes."""
        return [name for name in (node.op, *_named(node.attr)) if name in self.functions]

    def reached(self, nodes: Iterable[Any]) -> dict[str, tuple[str, str]]:
        """Functions that nodes of the main graph call, directly or through other functions, in breadth-first order.

        Returns:
            Function -> the first node that calls it, and the function of that node.
        """
        callers: dict[str, tuple[str, str]] = {}
        waiting = deque([(MAIN, nodes)])
        while waiting:
            body, nodes = waiting.popleft()
            for node in nodes:
                for name in self.called(node):
                    if name not in callers:
                        callers[name] = node.name, body
                        waiting.append((name, self.functions[name].node_def))
        return callers


def _named(attrs: Any) -> Iterator[str]:
    """Functions in attributes, and in the attributes of these functions.

    Attributes with a leading underscore are TensorFlow's own annotations; functions in them are not called.
    """
    for key in sorted(attrs):  # protobuf's own order changes from run to run
        value = attrs[key]
        if value.WhichOneof("value") in ("func", "list") and not key.startswith("_"):
            for function in (value.func,) if value.HasField("func") else value.list.func:
                yield function.name
                yield from _named(function.attr)


def node_of(reference: str) -> str:
    """The node that an input or a tensor's name refers to: ``node``, ``node:1``, ``node:output:1`` or ``^node``."""
    return reference.partition(":")[0].removeprefix("^")


def tensors_of(info: Any) -> list[str]:
    """Names of the tensors of a ``TensorInfo``: one name, or several for sparse and composite tensors."""
    sparse = info.coo_sparse
    names = [info.name, sparse.values_tensor_name, sparse.indices_tensor_name, sparse.dense_shape_tensor_name]
    inner = [name for component in info.composite_tensor.components for name in tensors_of(component)]
    return [name for name in names if name] + inner
