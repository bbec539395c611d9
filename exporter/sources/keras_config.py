"""The configuration in the file of a Keras model, read as JSON before Keras builds anything from it.

A file can make Keras run code: the Python of a Lambda, a function of any module, any TensorFlow op in an op layer.
Therefore all classes, modules and ops in the file are checked against lists here.
"""

import json
import re
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import CorruptSource, UnsupportedModel, first_line

#: File name endings of whole models; the marker file in a model's folder.
SUFFIXES, METADATA = (".keras", ".h5", ".hdf5"), "keras_metadata.pb"

_MODULES = re.compile(
    r"keras\.(layers|initializers|regularizers|constraints|mixed_precision)"
    r"|tf_keras\.src\.(engine\.(functional|sequential)|layers\.core\.tf_op_layer)|tensorflow_hub\.keras_layer"
)
#: The only allowed op of such a layer: slicing.
_OPS = {"SlicingOpLambda": "__operators__.getitem"}
#: Keys of a compiled model, which Keras is told not to read.
_TRAINING = ("training_config", "compile_config")


class Stated(NamedTuple):
    """The contents of a file.

    Attributes:
        kind: class of the model.
        layers: class of each layer, by its name.
        loss: name or configuration of the loss, if the model was compiled.
        states: all configurations that Keras will read.
    """

    kind: str
    layers: dict[str, str]
    loss: Any
    states: list[dict[str, Any]]


def read(path: Path) -> Stated:
    """Read the configuration in a file or a folder.

    Raises:
        UnsupportedModel: only weights.
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
    # Damaged files raise many kinds of exceptions, from zip, HDF5, protos and JSON.
    except Exception as error:
        raise CorruptSource(f"{path}: not readable as a model that tf_keras saved: {first_line(error)}") from error


def require_known(stated: Stated, known: Collection[str], path: Path) -> None:
    """Check that a model has only known layers.

    Raises:
        UnsupportedModel: other layers, or code beyond the layers.
    """
    for layer, kind in stated.layers.items():
        if kind not in known:
            raise UnsupportedModel(
                f"{path}: the layer {layer} is a {kind}, which cannot be exported; use {', '.join(known)}"
            )
    if stated.kind not in ("Functional", "Sequential", "Model") or "layers" not in stated.states[0]["config"]:
        raise UnsupportedModel(
            f"{path}: a model of the class {stated.kind}, whose layers are connected by Python code outside of "
            "the file; expected tf_keras.Model(inputs, outputs)"
        )
    for each in _objects(stated.states):
        name, module = each.get("class_name"), each.get("module")
        op = (each.get("config") or {}).get("function") if name in _OPS else None
        is_known = module is None or _MODULES.fullmatch(str(module))
        if name in ("Lambda", "__lambda__") or op != _OPS.get(str(name)) or not is_known:
            raise UnsupportedModel(
                f"{path}: it contains code to run ({op or name} of {module or 'Keras'}), and rawbert runs no code of "
                "a file"
            )


def _of_folder(path: Path) -> list[dict[str, Any]]:
    """The model and all objects in it."""
    from tf_keras.protobuf import saved_metadata_pb2

    nodes = saved_metadata_pb2.SavedMetadata.FromString((path / METADATA).read_bytes()).nodes
    return [json.loads(node.metadata) for node in nodes]


def _of_file(path: Path) -> dict[str, Any]:
    """The model, which contains all other objects."""
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
