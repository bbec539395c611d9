"""Recipes for tests, and SavedModels with planted faults."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rawbert.exporter import ExportConfig, sources
from rawbert.exporter.proof import answers, verify
from rawbert.exporter.proof.comparison import Report
from rawbert.exporter.recipe import Recipe
from rawbert.exporter.resolve import resolve


def resolved(source: Path, **settings: Any) -> tuple[Recipe, Any]:
    """The recipe of an export, and its checkpoint."""
    return resolve(ExportConfig(source, source / "models", **settings), sources.load(source))


def built(source: Path, folder: Path, **settings: Any) -> Recipe:
    """Write the SavedModel of an export to a folder without a proof; returns its recipe."""
    from rawbert.exporter.graph import savedmodel

    return savedmodel.export(*resolved(source, **settings), folder)


def compared(folder: Path, recipe: Recipe, source: Path, **changes: Any) -> Report:
    """Compare in this process."""
    return verify.compare(verify.Task(folder, dataclasses.replace(recipe, **changes), source))


class Planted:
    """A SavedModel without a fault. Copies of it with a fault are compared with the reference.

    Attributes:
        folder: folder of the SavedModel without a fault.
        recipe: its recipe.
    """

    def __init__(self, source: Path, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.recipe = built(source, folder, **settings)
        self._expected = answers.compute(self.recipe, source)

    def report(self, fault: Callable[[Any], Any], copy: Path) -> Report:
        """Plant a fault in a copy of saved_model.pb and compare it; ``fault`` gets the MetaGraphDef."""
        from rawbert.exporter.proof.model import SavedModel
        from tensorflow.core.protobuf import saved_model_pb2

        shutil.copytree(self.folder, copy)
        path = copy / "saved_model.pb"
        saved_model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
        before = path.read_bytes()
        fault(saved_model.meta_graphs[0])
        repaired(saved_model.meta_graphs[0])
        path.write_bytes(saved_model.SerializeToString(deterministic=True))
        assert saved_model != saved_model_pb2.SavedModel.FromString(before), "nothing was planted"
        model = SavedModel(copy)
        try:
            return verify.compare_answers(self.recipe, self._expected, model)
        finally:
            model.close()

    def sound(self) -> Report:
        """Compare the SavedModel without a fault."""
        from rawbert.exporter.proof.model import SavedModel

        model = SavedModel(self.folder)
        try:
            return verify.compare_answers(self.recipe, self._expected, model)
        finally:
            model.close()


class Loaded:
    """A SavedModel without a fault, loaded once: faults are planted in its variables and removed again."""

    def __init__(self, planted: Planted) -> None:
        from rawbert.exporter.proof.model import SavedModel

        self._planted = planted
        self.model = SavedModel(planted.folder)
        self._session = self.model._session
        with self._session.graph.as_default():
            self._variables = {
                op.get_attr("shared_name").decode(): self._reads_and_writes(op)
                for op in self._session.graph.get_operations()
                if op.type == "VarHandleOp" and op.get_attr("dtype").is_floating
            }

    @staticmethod
    def _reads_and_writes(handle: Any) -> tuple[Any, Any, Any]:
        import tensorflow as tf

        dtype, resource = handle.get_attr("dtype"), handle.outputs[0]
        value = tf.compat.v1.placeholder(dtype)
        read = tf.raw_ops.ReadVariableOp(resource=resource, dtype=dtype)
        return read, value, tf.raw_ops.AssignVariableOp(resource=resource, value=value)

    def report(self, change: Callable[[dict[str, np.ndarray]], Any]) -> Report:
        """Compare with variables changed; ``change`` gets them by name."""
        sound = self._session.run({name: read for name, (read, _, _) in self._variables.items()})
        weights = {name: value.copy() for name, value in sound.items()}
        change(weights)
        try:
            self._assign(weights)
            return verify.compare_answers(self._planted.recipe, self._planted._expected, self.model)
        finally:
            self._assign(sound)

    def _assign(self, weights: dict[str, np.ndarray]) -> None:
        for name, value in weights.items():
            _, placeholder, write = self._variables[name]
            self._session.run(write, {placeholder: value})


def repaired(meta_graph: Any) -> None:
    """Change references to nodes that became an Identity to its only output."""
    for function in meta_graph.graph_def.library.function:
        identities = {node.name for node in function.node_def if node.op == "Identity"}

        def named(reference: str, identities: set[str] = identities) -> str:
            name, colon, _ = reference.partition(":")
            return f"{name}:output:0" if colon and name in identities else reference

        for node in function.node_def:
            node.input[:] = [named(each) for each in node.input]
        for key, value in list(function.ret.items()):
            function.ret[key] = named(value)
