"""A checkpoint's configuration and weights, read a second time for :mod:`.reference`.

No code here comes from :mod:`rawbert.exporter.sources`. Files are read by the libraries of their formats (pickles of
PyTorch by the standard library's zipfile and pickle), completely and as copies; names are turned into those of PyTorch
by substitution, while the exporter searches for expected names.
"""

import io
import json
import math
import os
import pickle
import re
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

#: tf-models' names for BERT -> those of transformers, one after the other.
_FROM_TF_MODELS = (
    (r"^(word|position)_embeddings?\.embeddings$", r"embeddings.\1_embeddings.weight"),
    (r"^type_embeddings\.embeddings$", "embeddings.token_type_embeddings.weight"),
    (r"^embeddings\.layer_norm", "embeddings.LayerNorm"),
    (r"^transformer\.layer", "encoder.layer"),
    (r"self_attention\.(query|key|value)", r"attention.self.\1"),
    (r"self_attention\.attention_output", "attention.output.dense"),
    (r"self_attention_layer_norm", "attention.output.LayerNorm"),
    (r"(\d)\.(intermediate|output)\.", r"\1.\2.dense."),
    (r"\boutput_layer_norm", "output.LayerNorm"),
    (r"^pooler_transform", "pooler.dense"),
)
_HEAD = re.compile(
    r"(?:(?:^|\.)(?=(?:pre_)?classifier|head\.)|^(?=pooler))"
    r"((?:(?:pre_)?classifier(?:\.dense|\.out_proj)?|pooler\.dense|head\.(?:dense|norm))\.(?:weight|bias))$"
)
_TABLE = re.compile(r"(|.*\.)embeddings\.(word|tok)_embeddings\.weight")


def load(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Configuration and weights of a transformer's folder, with the names of transformers' PyTorch models.

    Returns:
        Contents of config.json, and tensors by name without prefix; dense weights are ``[out, in]``. Tensors of a
        classifier next to the encoder are included.
    """
    original = not (folder / "config.json").is_file()
    config = json.loads((folder / ("bert_config.json" if original else "config.json")).read_text("utf-8-sig"))
    tensors = _stored(folder)
    first = "transformer/layer_0/self_attention/query/kernel"
    prefixes = sorted((name.removesuffix(first) for name in tensors if name.endswith(first)), key=len)
    if prefixes:
        tensors = {name.removeprefix(prefixes[0]): value for name, value in tensors.items()}
        # tf-models' gelu is the tanh approximation. Files of transformers have model_type.
        if original and config["hidden_act"] == "gelu" and "model_type" not in config:
            config["hidden_act"] = "gelu_new"
        tensors = {name: _joined(name, value) for name, value in tensors.items()}
    named = {}
    for name, value in tensors.items():
        name = re.sub(r"_\._(?=\d)|(?<=layer)_(?=\d)", ".", name.removesuffix(":0")).replace("/", ".")
        if prefixes:
            for pattern, replacement in _FROM_TF_MODELS:
                name = re.sub(pattern, replacement, name)
        if name.endswith(".kernel"):
            name, value = name.removesuffix("kernel") + "weight", value.T
        named[re.sub(r"(?<=_embeddings)(\.embeddings)?$", ".weight", name)] = value
    # The prefix of the embedding tables is the prefix of all tensors: "bert.", "model.bert." or empty. A head may also
    # list the tables, and an optimizer's copies have longer prefixes.
    starts = sorted({found[1] for name in named if (found := _TABLE.match(name))}, key=len)
    prefix = max(starts, key=lambda each: sum(name.startswith(each) for name in named), default="")
    encoder = {name.removeprefix(prefix): value for name, value in named.items() if name.startswith(prefix)}
    head = {}
    for name in sorted(named, key=len, reverse=True):  # the shortest last, because copies have longer prefixes
        if found := _HEAD.search(name):
            head[found[1]] = named[name]
    return config, {**head, **encoder}


def _joined(name: str, value: np.ndarray) -> np.ndarray:
    """tf-models' attention weights, with the heads merged."""
    if value.ndim == 3:  # [hidden, heads, size], or [heads, size, hidden]
        outwards = "attention_output" in name
        return value.reshape(-1, value.shape[2]) if outwards else value.reshape(value.shape[0], -1)
    return value.reshape(-1) if value.ndim == 2 and name.endswith("bias") else value


def tensors_of(folder: Path) -> dict[str, np.ndarray]:
    """All floating-point tensors of a folder's weights by their names in the files."""
    return {name: value for name, value in _stored(folder).items() if value.dtype.kind not in "iub"}


def _stored(folder: Path) -> dict[str, np.ndarray]:
    import ml_dtypes  # noqa: F401  registers bfloat16 with numpy, and so with safetensors

    tensors: dict[str, np.ndarray] = {}
    if paths := _paths(folder, "model", "safetensors"):
        from safetensors.numpy import load_file

        for path in paths:
            tensors.update(load_file(path))
    elif paths := _paths(folder, "pytorch_model", "bin"):
        for path in paths:
            tensors.update(_unpickle(path))
    elif paths := _paths(folder, "tf_model", "h5"):
        import h5py

        for path in paths:
            with h5py.File(path) as stream:
                names: list[str] = []
                stream.visit(names.append)
                sets = {name: stream[name] for name in names if isinstance(stream[name], h5py.Dataset)}
                for name, each in sets.items():
                    if each.external or each.is_virtual or each.nbytes > 100 * each.id.get_storage_size() + 2**20:
                        raise ValueError(f"{path}: the values of {name} are missing")
                    tensors[name] = each[()]
    else:
        tensors = _tensorflow(folder)
    return tensors


def _paths(folder: Path, stem: str, suffix: str) -> list[Path]:
    """The file, or its shards."""
    return sorted(folder.glob(f"{stem}.{suffix}")) or sorted(folder.glob(f"{stem}-*-of-*.{suffix}"))


def _tensorflow(folder: Path) -> dict[str, np.ndarray]:
    import tensorflow as tf
    from tensorflow.core.protobuf import trackable_object_graph_pb2

    indices = sorted(folder.glob("*.index"))
    if len(indices) > 1:  # "checkpoint" selects one, by its path on the machine of origin
        written = (folder / "checkpoint").read_text(encoding="utf-8").splitlines()[0].rstrip('"')
        indices = [index for index in indices if re.split(r'["/\\]', written)[-1] == index.stem]
    (index,) = indices
    prefix = os.fspath(index.with_suffix(""))
    tensors = {name: tf.train.load_variable(prefix, name) for name, _ in tf.train.list_variables(prefix)}
    graph = tensors.pop("_CHECKPOINTABLE_OBJECT_GRAPH", None)
    if graph is None:
        return tensors
    nodes = trackable_object_graph_pb2.TrackableObjectGraph.FromString(graph).nodes
    return {a.full_name: np.asarray(tensors[a.checkpoint_key]) for node in nodes for a in node.attributes}


_DTYPES: dict[str, Any] = {
    "Half": np.float16, "BFloat16": "bfloat16", "Float": np.float32, "Double": np.float64,
    "Char": np.int8, "Short": np.int16, "Int": np.int32, "Long": np.int64, "Byte": np.uint8, "Bool": np.bool_,
}  # fmt: skip


class _Described(NamedTuple):
    storage: tuple[str, np.dtype[Any]]  # key, dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


#: Maximum size in bytes of a pickle of names and shapes.
_LARGEST_PICKLE = 1 << 24


class _Pickle(pickle._Unpickler):  # type: ignore[name-defined]
    """Unpickles descriptions of tensors only. Python's version, whose memo needs memory only for actual entries."""

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" == "collections.OrderedDict":
            return OrderedDict
        if module == "torch._utils":
            return {
                "_rebuild_tensor_v2": lambda *parts: _Described(*parts[:4]),
                "_rebuild_tensor": _Described,
                "_rebuild_parameter": lambda data, *_: data,
            }[name]
        return np.dtype(_DTYPES[name.removesuffix("Storage")])

    def persistent_load(self, pid: Any) -> Any:
        return pid[2], pid[1]

    def load(self) -> Any:
        try:
            return super().load()
        except Exception as error:
            raise ValueError(f"not a readable pickle of tensors: {error!r}") from error


def _unpickle(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a file of ``torch.save``; its pickle and storages are checked against each other."""
    with path.open("rb") as stream:
        if zipfile.is_zipfile(stream):
            archive = zipfile.ZipFile(stream)
            sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
            if sum(sizes.values()) > path.stat().st_size:
                raise ValueError(f"{path}: it unpacks to more than the size of the file")
            (name,) = (name for name in sizes if name.endswith("data.pkl") and sizes[name] <= _LARGEST_PICKLE)
            root = name.removesuffix("data.pkl")
            if f"{root}byteorder" in sizes and archive.read(f"{root}byteorder") != b"little":
                raise ValueError(f"{path}: its numbers are not little-endian")
            state = _Pickle(io.BytesIO(archive.read(name))).load()
            raw = {entry[len(root) + 5 :]: archive.read(entry) for entry in sizes if entry.startswith(f"{root}data/")}
        else:
            stream.seek(0)
            head = io.BytesIO(stream.read(_LARGEST_PICKLE))
            _, _, system, state, keys = (_Pickle(head).load() for _ in range(5))
            if not system["little_endian"]:
                raise ValueError(f"{path}: its numbers are not little-endian")
            stream.seek(head.tell())
            items = {each.storage[0]: each.storage[1].itemsize for each in _described(state).values()}
            raw = {key: _storage(stream, items[key]) for key in keys}
    return {name: _tensor(f"{path}: {name}", raw, each) for name, each in _described(state).items()}


def _described(state: dict[str, Any]) -> dict[str, _Described]:
    """The tensors of a pickled dict, or of the model in the file of a training loop."""
    found = {str(name): each for name, each in state.items() if isinstance(each, _Described)}
    inner = [each for name, each in state.items() if re.fullmatch("(model_)?state_dict|model", str(name))]
    return found or (_described(inner[0]) if len(inner) == 1 and isinstance(inner[0], dict) else {})


def _tensor(what: str, raw: dict[str, bytes], described: _Described) -> np.ndarray:
    """A copy of a tensor of the pickle from its storage."""
    (key, dtype), offset, shape, strides = described
    storage = np.frombuffer(raw[key], dtype, len(raw[key]) // dtype.itemsize)
    numbers = [offset, *shape, *strides]
    if len(shape) != len(strides) or not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise ValueError(f"{what} is not a description of a tensor")
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if min(shape, default=1) > 0 and (last >= len(storage) or math.prod(shape) > len(storage)):
        raise ValueError(f"{what} reaches beyond its storage of {len(storage)} numbers")
    in_bytes = [stride * dtype.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, in_bytes).copy()


def _storage(stream: BinaryIO, itemsize: int) -> bytes:
    (count,) = struct.unpack("<q", stream.read(8))
    if not 0 <= count * itemsize <= os.fstat(stream.fileno()).st_size:
        raise ValueError(f"a storage of {count} numbers is longer than the file")
    return stream.read(count * itemsize)
