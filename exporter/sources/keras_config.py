"""What the file of a Keras model says of it, read as JSON before Keras builds anything of it.

A file can make Keras run code: the Python of a Lambda, a function of any module that it names, any op of TensorFlow in
an op layer. So classes, modules and ops are held to lists here, wherever in the file they are.
"""

import json
import re
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import CorruptSource, UnsupportedModel, first_line

#: Endings of files of a whole model; what a folder of one has.
SUFFIXES, METADATA = (".keras", ".h5", ".hdf5"), "keras_metadata.pb"

_MODULES = re.compile(
    r"keras\.(layers|initializers|regularizers|constraints|mixed_precision)"
    r"|tf_keras\.src\.(engine\.(functional|sequential)|layers\.core\.tf_op_layer)|tensorflow_hub\.keras_layer"
)
#: What such a layer does to a tensor: a slice of it.
_OPS = {"SlicingOpLambda": "__operators__.getitem"}
#: Of a compiled model: Keras is told not to read them.
_TRAINING = ("training_config", "compile_config")


class Stated(NamedTuple):
    """What a file says.

    Attributes:
        kind: class of the model.
        layers: class of each layer, by its name.
        loss: name or configuration of the loss, where the model was compiled.
        states: all that Keras will read.
    """

    kind: str
    layers: dict[str, str]
    loss: Any
    states: list[dict[str, Any]]


def read(path: Path) -> Stated:
    """What a file or a folder says of its model.

    Raises:
        UnsupportedModel: it has weights only.
        CorruptSource: it cannot be read.
    """
    try:
        states = _of_folder(path) if path.is_dir() else [_of_file(path)]
        model, *others = states
        layers = [each["config"] | each for each in model["config"].get("layers", [])] or others
        training = [model.pop(name) or {} for name in _TRAINING if name in model]
        return Stated(
            str(model["class_name"]),
            {str(each["name"]): str(each["class_name"]) for each in layers},
            training[0].get("loss") if training else None,
            states,
        )
    except UnsupportedModel:
        raise
    # Whatever damaged files lead to, of zip, HDF5, protos and JSON.
    except Exception as error:
        raise CorruptSource(f"{path}: not readable as a model that tf_keras saved: {first_line(error)}") from error


def require_known(stated: Stated, known: Collection[str], path: Path) -> None:
    """Hold a model to layers that are known.

    Raises:
        UnsupportedModel: it has others, or is more than its layers.
    """
    for layer, kind in stated.layers.items():
        if kind not in known:
            raise UnsupportedModel(
                f"{path}: the layer {layer} is a {kind}, which cannot be exported; known are {', '.join(known)}"
            )
    if stated.kind not in ("Functional", "Sequential", "Model") or "layers" not in stated.states[0]["config"]:
        raise UnsupportedModel(
            f"{path}: a model of the class {stated.kind}, whose Python code says how its layers are called, and is not "
            "in the file; expected tf_keras.Model(inputs, outputs)"
        )
    for each in _objects(stated.states):
        name, module = each.get("class_name"), each.get("module")
        op = (each.get("config") or {}).get("function") if name in _OPS else None
        is_known = module is None or _MODULES.fullmatch(str(module))
        if name in ("Lambda", "__lambda__") or op != _OPS.get(str(name)) or not is_known:
            raise UnsupportedModel(
                f"{path}: it says how to run code ({op or name} of {module or 'Keras'}), and no code of a file is run"
            )


def _of_folder(path: Path) -> list[dict[str, Any]]:
    """The model and everything in it."""
    from tf_keras.protobuf import saved_metadata_pb2

    nodes = saved_metadata_pb2.SavedMetadata.FromString((path / METADATA).read_bytes()).nodes
    return [json.loads(node.metadata) for node in nodes]


def _of_file(path: Path) -> dict[str, Any]:
    """The model, of which everything else is part."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return dict(json.loads(archive.read("config.json")))
    import h5py

    with h5py.File(path, "r") as stream:
        if "model_config" not in stream.attrs:
            raise UnsupportedModel(
                f"{path}: weights without their model (model_config is missing); save the whole model with tf_keras: "
                "model.save(file)"
            )
        training = json.loads(stream.attrs.get("training_config", "null"))
        return {**json.loads(stream.attrs["model_config"]), "training_config": training}


def _objects(state: Any) -> Iterator[dict[str, Any]]:
    """Every object in some JSON."""
    if isinstance(state, dict):
        yield state
    for each in state.values() if isinstance(state, dict) else state if isinstance(state, list) else ():
        yield from _objects(each)
