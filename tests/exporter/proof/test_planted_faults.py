"""Faults planted in the tokenizer, the encoder and the precision: each must be refused."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from planted import (
    ALONE,
    EXPORTS,
    TOGETHER,
    Fault,
    cases,
    groups_swapped,
    head,
    other_epsilon,
    positions_reversed,
    refuse,
    room,
    swapped_branches,
    unmasked,
    without,
)
from proofs import Planted, built, repaired, resolved
from rawbert.exporter.proof import precision, verify

#: The other exports are in test_planted_faults_elsewhere.py: each file takes half of the time.
HERE = ("embed", "tokenize", "tf-text", "pair tokens", "only_first", "only_second")


@pytest.mark.parametrize(("export", "fault"), cases(HERE))
def test_a_fault_in_the_graph_is_refused(
    planted: Callable[[str], Planted], tmp_path: Path, export: str, fault: str
) -> None:
    refuse(planted(export), export, fault, tmp_path / "1")


@pytest.mark.parametrize("export", HERE)
def test_what_has_no_fault_is_accepted(planted: Callable[[str], Planted], export: str) -> None:
    """Without this, the test above would prove nothing."""
    assert planted(export).sound().mismatches == []


# Faults in a low precision that are smaller than its tolerance; the comparison with the float32 graph finds them.


def _smaller(folder: Path) -> None:
    """Change one weight to the next smaller number of its dtype."""
    import tensorflow as tf

    prefix = str(folder / "variables" / "variables")
    reader = tf.train.load_checkpoint(prefix)
    tensors = {key: reader.get_tensor(key) for key in reader.get_variable_to_shape_map()}
    (key,) = (key for key in tensors if "layer_1.Sintermediate.Skernel" in key)
    bits = tensors[key].view(np.uint16)
    bits[3, 5] -= 1
    tf.raw_ops.SaveV2(
        prefix=prefix, tensor_names=list(tensors), shape_and_slices=[""] * len(tensors), tensors=list(tensors.values())
    )


def _edited(fault: Fault) -> Callable[[Path], None]:
    def plant(folder: Path) -> None:
        from tensorflow.core.protobuf import saved_model_pb2

        path = folder / "saved_model.pb"
        saved_model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
        fault(saved_model.meta_graphs[0])
        repaired(saved_model.meta_graphs[0])
        path.write_bytes(saved_model.SerializeToString())

    return plant


LOW: dict[str, Callable[[Path], None]] = {
    "a weight off by one bit": _smaller,
    "another epsilon": _edited(other_epsilon(ALONE, 1e-12)),
    "alone: a bias left out": _edited(without(ALONE, "BiasAdd", 1)),
    "together: a bias left out": _edited(without(TOGETHER, "BiasAdd", 1)),
    "alone: positions reversed": _edited(positions_reversed(ALONE)),
    "together: the mask of group 4 left out": _edited(unmasked(3)),
    "alone: no GELU": _edited(without(ALONE, "Erfc", 0)),
    "together: groups swapped": _edited(groups_swapped),
    "head: sum for mean": _edited(head("RealDiv", 0)),
    "plain and mixed swapped": _edited(lambda m: swapped_branches(m, "_tokens", "cond")),
    "cut one token early": _edited(room(-1)),
    "another vocabulary beside it": lambda folder: (folder / "assets" / "vocab.txt").write_text("other\n"),
}  # fmt: skip


@pytest.fixture(scope="module")
def low(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same export in three precisions."""
    folder = tmp_path_factory.mktemp("low")
    source, settings = EXPORTS["embed"]
    for each in ("float32", "bfloat16", "float16"):
        built(data / source, folder / each, precision=each, **settings)
    return {each: folder / each for each in ("float32", "bfloat16", "float16")}


@pytest.mark.parametrize("fault", LOW)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_low_precision_is_the_graph_that_was_proven(
    low: dict[str, Path], tmp_path: Path, dtype: str, fault: str
) -> None:
    assert precision.differences(low[dtype], low["float32"]) == []
    shutil.copytree(low[dtype], tmp_path / "1")
    LOW[fault](tmp_path / "1")
    assert precision.differences(tmp_path / "1", low["float32"])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_another_activation_is_found_in_float32(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    """The fault changes vectors by less than the tolerance for rounding, which alone would not find it."""
    from rawbert.exporter.graph import encoder

    source, settings = EXPORTS["embed"]
    whole = encoder.activation
    monkeypatch.setattr(encoder, "activation", lambda name: whole("gelu_tanh" if name == "gelu" else name))
    built(data / source, tmp_path / "float32", **settings)
    recipe = built(data / source, tmp_path / "low", precision=dtype, **settings)
    task = verify.Task(tmp_path / "low", recipe, data / source)
    assert verify.compare(task).mismatches == []
    (first, *_) = verify.compare(dataclasses.replace(task, float32=tmp_path / "float32")).mismatches
    assert first.startswith("in float32, embed.embedding is off by")


def test_a_low_precision_is_proven_twice(low: dict[str, Path], data: Path) -> None:
    source, settings = EXPORTS["embed"]
    recipe, _ = resolved(data / source, precision="bfloat16", **settings)
    report = verify.compare(verify.Task(low["bfloat16"], recipe, data / source, float32=low["float32"]))
    assert report.mismatches == []
    assert report.float32 is not None
    exact, rounded = report.float32.outputs["embed.embedding"], report.outputs["embed.embedding"]
    assert exact.max_abs < 1e-5 * max(1, exact.largest_reference) < rounded.max_abs
    assert (report.float32.tolerance, report.tolerance) == (1e-5, 0.1)
