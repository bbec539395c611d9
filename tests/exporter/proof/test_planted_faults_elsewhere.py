"""Faults planted in other signatures and families, and in the answers of a server: each must be refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_planted_faults
from planted import EXPORTS, cases, refuse
from proofs import Planted
from rawbert.exporter.proof import verify
from rawbert.exporter.proof.model import SavedModel

HERE = ("sequence", "vectors", "pair", "hub", "hub native", "electra", "distilbert")


def test_every_export_is_in_one_of_the_two_files() -> None:
    assert {*HERE, *test_planted_faults.HERE} == set(EXPORTS)


@pytest.mark.parametrize(("export", "fault"), cases(HERE, slow=("hub", "electra", "distilbert")))
def test_a_fault_in_the_graph_is_refused(
    planted: Callable[[str], Planted], tmp_path: Path, export: str, fault: str
) -> None:
    refuse(planted(export), export, fault, tmp_path / "1")


@pytest.mark.parametrize("export", HERE)
def test_what_has_no_fault_is_accepted(planted: Callable[[str], Planted], export: str) -> None:
    """Without this, the test above would prove nothing."""
    assert planted(export).sound().mismatches == []


# A remote model, of which only the answers are known.


class Elsewhere:
    """A sound model whose answers are changed, for some numbers of texts."""

    is_shared = True

    def __init__(self, model: SavedModel, change: Callable[[str, int, dict[str, np.ndarray]], Any]) -> None:
        self._model, self._change, self.signatures = model, change, model.signatures

    def answer(self, signature: str, texts: Mapping[str, list[bytes]]) -> Mapping[str, np.ndarray]:
        outputs = dict(self._model.answer(signature, texts))
        self._change(signature, len(texts["text"]), outputs)
        return outputs


def reversed_rows(rows: int) -> Callable[[str, int, dict[str, np.ndarray]], None]:
    def change(signature: str, count: int, outputs: dict[str, np.ndarray]) -> None:
        if count == rows:
            outputs.update({name: value[::-1] for name, value in outputs.items()})

    return change


def in_one(signature: str, name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[..., None]:
    def changed(asked: str, count: int, outputs: dict[str, np.ndarray]) -> None:
        if asked == signature:
            outputs[name] = change(outputs[name])

    return changed


ELSEWHERE: dict[str, Callable[[str, int, dict[str, np.ndarray]], Any]] = {
    "one text alone is another": lambda name, count, outputs: (
        count == 1 and outputs.update({each: value * 0 for each, value in outputs.items()})
    ),
    "two texts swapped": reversed_rows(2),
    "eight texts reversed": reversed_rows(8),
    "64 texts reversed": reversed_rows(64),
    "vectors in float64": in_one("sequence", "sequence_output", lambda x: x.astype(np.float64)),
    "counts in int64": in_one("tokenize", "token_count", lambda x: x.astype(np.int64)),
    "offsets by one": in_one("sequence", "limit_offsets", lambda x: x + (x >= 0)),
    "padding of offsets": in_one("tokenize", "start_offsets", lambda x: np.where(x < 0, 0, x)),
    "vectors in padding": in_one("sequence", "sequence_output", lambda x: np.where(x == 0, 1e-3, x).astype(x.dtype)),
    "no tokens dimension in common": in_one("tokenize", "input_mask", lambda x: x[:, :1]),
    "an output missing": lambda name, count, outputs: outputs.pop("token_count"),
    "the default without an output": lambda name, count, outputs: (
        name == "serving_default" and outputs.pop("token_count")
    ),
    "the default another": in_one("serving_default", "input_word_ids", lambda x: x + 1),
    "the default's vectors another": in_one("serving_default", "sequence_output", lambda x: x * np.float32(1.001)),
    "a row missing": in_one("tokenize", "token_count", lambda x: x[:-1]),
    "NaN": in_one("sequence", "sequence_output", lambda x: x * np.float32("nan")),
}


@pytest.fixture(scope="module")
def sound_model(planted: Callable[[str], Planted]) -> Iterator[SavedModel]:
    model = SavedModel(planted("sequence").folder)
    yield model
    model.close()


@pytest.mark.parametrize("fault", ELSEWHERE)
def test_a_server_that_answers_otherwise_is_refused(
    planted: Callable[[str], Planted], sound_model: SavedModel, fault: str
) -> None:
    of = planted("sequence")
    assert verify.compare_answers(of.recipe, of._expected, Elsewhere(sound_model, ELSEWHERE[fault])).mismatches


def test_a_server_without_a_fault_is_accepted(planted: Callable[[str], Planted], sound_model: SavedModel) -> None:
    of = planted("sequence")
    assert verify.compare_answers(of.recipe, of._expected, Elsewhere(sound_model, lambda *_: None)).mismatches == []
