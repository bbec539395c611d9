"""The models of ``official_server.py`` as data: names and shapes, and answers computed with numpy."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import task_rules
import toy_models

Arrays = dict[str, Any]
Spec = tuple[str, tuple[int, ...]]
TEXT: dict[str, Spec] = {"text": ("string", (-1,))}


class Signature(NamedTuple):
    """Inputs and outputs by name, with dtype and shape; ``answer`` computes outputs from inputs and the version."""

    inputs: Mapping[str, Spec]
    outputs: Mapping[str, Spec]
    answer: Callable[[Arrays, int], Arrays]


class Model(NamedTuple):
    """Signatures by name."""

    signatures: Mapping[str, Signature]
    versions: Sequence[int] = (3,)
    labels: Mapping[str, int] = {"stable": 3}


def vectors(output: str = "embedding", shape: tuple[int, ...] = (-1, 3)) -> Signature:
    """One float output: the number of the text's bytes, the version, and ones."""

    def answer(given: Arrays, version: int) -> Arrays:
        return {output: np.array([[len(text), version, *[1] * (shape[1] - 2)] for text in given["text"]], np.float32)}

    return Signature(TEXT, {output: ("float32", shape)}, answer)


def model(**signatures: tuple[str, tuple[int, ...]]) -> Model:
    """A model of :func:`vectors`, by the output of each signature and its shape."""
    return Model({name: vectors(*given) for name, given in signatures.items()})


def _numbers(given: Arrays, version: int) -> Arrays:
    rows = zip(*given.values(), strict=True)
    return {
        "embedding": np.array([[version, *(int(text.decode().strip("x")) for text in row)] for row in rows], np.float32)
    }


def _each(answer: Callable[[bytes], Any]) -> Callable[[Arrays, int], Any]:
    return lambda given, version: np.array([answer(text) for text in given["text"]], np.float32)


def _tokens(given: Arrays, version: int) -> Arrays:
    rows = [toy_models.ids(text) for text in given["text"]]
    most = max(map(len, rows), default=0)

    def padded(values: list[list[int]], padding: int) -> Any:
        return np.array([row + [padding] * (most - len(row)) for row in values], np.int32).reshape(-1, most)

    starts = [[-1, *range(len(row) - 2), -1] for row in rows]
    return {
        "input_word_ids": padded(rows, 0),
        "input_mask": padded([[1] * len(row) for row in rows], 0),
        "start_offsets": padded(starts, -1),
        "limit_offsets": padded([[at + 1 if at >= 0 else -1 for at in row] for row in starts], -1),
        "token_count": np.array([len(text) + 2 for text in given["text"]], np.int32),
    }


def _sequence(given: Arrays, version: int) -> Arrays:
    tokens = _tokens(given, version)
    found = np.zeros((*tokens["input_mask"].shape, toy_models.HIDDEN), np.float32)
    for row, text in enumerate(given["text"]):
        made = toy_models.vectors(text)
        found[row, : len(made)] = made
    return {"sequence_output": found, **tokens}


def _arithmetic(given: Arrays, version: int) -> Arrays:
    return {"y": (given["x"] / np.float32(2) + np.float32(2)).astype(np.float32)}


def _slow(given: Arrays, version: int) -> Arrays:
    time.sleep(given["steps"][0] / 10_000)
    return {"y": np.ones(1, np.float32)}


TOKENS: dict[str, Spec] = {
    **dict.fromkeys(toy_models.TOKEN_OUTPUTS[:-1], ("int32", (-1, -1))),
    "token_count": ("int32", (-1,)),
}
_EMBED = Signature(TEXT, {"embedding": ("float32", (-1, toy_models.DIM))},
                   lambda given, version: {"embedding": _each(toy_models.embedding)(given, version)})  # fmt: skip
_FLOATS: Spec = ("float32", (-1,))
#: ``[version, number in the text]``, and the number of its pair if there is one.
NUMBERS = Model(
    dict.fromkeys(("embed", "serving_default"), Signature(TEXT, {"embedding": ("float32", (-1, 2))}, _numbers)), (1,)
)
#: The models of toy_models.py.
TOY = Model({
    "embed": _EMBED,
    "serving_default": _EMBED,
    "pooled": Signature(TEXT, {"pooled_output": ("float32", (-1, toy_models.HIDDEN))},
                        lambda given, version: {"pooled_output": _each(toy_models.pooled)(given, version)}),
    "tokenize": Signature(TEXT, TOKENS, _tokens),
    "sequence": Signature(TEXT, {"sequence_output": ("float32", (-1, -1, toy_models.HIDDEN)), **TOKENS}, _sequence),
})  # fmt: skip
HUB = Model({
    **{name: TOY.signatures[name] for name in ("pooled", "sequence")}, "serving_default": TOY.signatures["pooled"]
}, (1,))  # fmt: skip
ARITHMETIC = Model({
    "serving_default": Signature({"x": _FLOATS}, {"y": _FLOATS}, _arithmetic),
    "scalar": Signature({"x": ("float32", ())}, {"y": ("float32", ())}, _arithmetic),
    "pair": Signature({"x": _FLOATS, "q": _FLOATS}, {"sum": _FLOATS, "difference": _FLOATS},
                      lambda given, version: {"sum": given["x"] + given["q"], "difference": given["x"] - given["q"]}),
    "types": Signature({f"i{name}": (name, (-1,)) for name in toy_models.ECHOED},
                       {name: (name, (-1,)) for name in toy_models.ECHOED},
                       lambda given, version: {name[1:]: value for name, value in given.items()}),
    "slow": Signature({"steps": ("int32", (-1,))}, {"y": _FLOATS}, _slow),
}, (1,))  # fmt: skip
#: A model with the rules of task_rules.py.
TASKS = Model({
    "classify": Signature(TEXT, {"scores": ("float32", (-1, 3)), "label": ("string", (-1,)),
                                 "labels": ("string", (-1, 3))},
                          lambda given, version: task_rules.classified(*map(list, given.values()))),
    "tag": Signature(TEXT, {"tag_scores": ("float32", (-1, -1, 3)), "tag": ("string", (-1, -1)), **TOKENS,
                            "tags": ("string", (-1, 3)), "token_lengths": ("int32", (-1, -1))},
                     lambda given, version: task_rules.tagged(list(given["text"]))),
    "score": Signature(TEXT, {"score": ("float32", (-1,))},
                       lambda given, version: task_rules.scored(*map(list, given.values()))),
    "tokenize": Signature(TEXT, TOKENS, lambda given, version: task_rules.tokens(list(given["text"]))),
}, (1,))  # fmt: skip
