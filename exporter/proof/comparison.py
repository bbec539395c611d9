"""Comparison of a model's answers, call by call, with a reference, by the rules of the contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ...serving.contract import DEFAULT_SIGNATURE, DTYPES, Kind, Output, TensorSpec, input_names, signature
from ..recipe import Recipe
from . import scores
from .answers import Expected, quote
from .model import Model
from .samples import Texts

#: Minimum number of different texts in a proof. Minimum number of their tokens, as a multiple of the maximum length (64
#: if that is larger).
_TEXTS, _TOKENS = 24, 8

#: Kinds that are compared with names, or with the scores in the same answer.
_OF_LABELS = (Kind.NAME, Kind.LABEL, Kind.TAG)
_NUMPY = {each.name: np.dtype(each.numpy) for each in DTYPES}


@dataclass
class Figures:
    """Largest deviation of one output over all texts and calls.

    Attributes:
        max_abs: the largest difference.
        min_cosine: the smallest cosine; ``None`` for scores, which have no direction.
        largest_reference: the largest absolute value of the reference; for scores the largest logit.
        worst_text: the text of ``max_abs``.
    """

    max_abs: float = 0.0
    min_cosine: float | None = None
    largest_reference: float = 0.0
    worst_text: str = ""


@dataclass
class Report:
    """The result of a comparison; ``mismatches`` is empty if there are no differences.

    Attributes:
        texts: number of different texts or pairs.
        tokens: number of their tokens.
        calls: number of calls of signatures, with one text or several.
        least_texts, least_tokens: required minimum of texts and tokens.
        tolerance, min_cosine: limits.
        outputs: deviation of each vector output.
        mismatches: one line for each difference.
        float32: report of the same graph in float32, if the SavedModel has a lower precision.
    """

    texts: int = 0
    tokens: int = 0
    calls: int = 0
    least_texts: int = 0
    least_tokens: int = 0
    tolerance: float = 0.0
    min_cosine: float = 0.0
    outputs: dict[str, Figures] = field(default_factory=dict)
    mismatches: list[str] = field(default_factory=list)
    float32: Report | None = None

    def figures(self) -> dict[str, Any]:
        """All fields except the mismatches, as JSON values."""
        return {key: value for key, value in asdict(self).items() if key != "mismatches"}


class Comparison:
    """Calls a model, and writes the results to ``report``."""

    def __init__(self, recipe: Recipe, model: Model) -> None:
        self._recipe, self._model = recipe, model
        self._names = (*recipe.signatures, DEFAULT_SIGNATURE)
        self.report = Report(tolerance=recipe.tolerance, min_cosine=recipe.min_cosine)
        self._differs: set[tuple[str, Texts]] = set()

    def declared(self) -> bool:
        """Check names, dtypes and shapes of the model's signatures; returns whether they can be called."""
        found = self._model.signatures
        if set(found) != set(self._names):
            self.report.mismatches.append(f"signatures are {sorted(found)}, not {sorted(self._names)}")
            return False
        for name in self._names:
            wanted = dict.fromkeys(input_names(self._recipe.pair), ("string", ("batch",)))
            self._shaped(f"{name} takes", found[name].inputs, wanted)
            wanted = {each.name: (each.dtype, each.shape) for each in self._outputs(name)}
            self._shaped(f"{name} gives", found[name].outputs, wanted)
        if not self.report.mismatches and found[DEFAULT_SIGNATURE] != found[self._recipe.default]:
            self.report.mismatches.append(f"{DEFAULT_SIGNATURE} is declared differently from {self._recipe.default}")
        return not self.report.mismatches

    def call(self, expected: Sequence[Expected]) -> None:
        """Call every signature with some texts, or with none, and compare the answers."""
        texts = [[text if isinstance(text, bytes) else text.encode() for text in each.text] for each in expected]
        fed = {name: [each[at] for each in texts] for at, name in enumerate(input_names(self._recipe.pair))}
        answered = {}
        for name in self._names:
            answered[name] = self._model.answer(name, fed)
            if self._formed(name, answered[name], len(expected)) and name != DEFAULT_SIGNATURE:
                for row, each in enumerate(expected):
                    self._row(name, answered[name], row, each, len(expected))
        default, other = answered[DEFAULT_SIGNATURE], answered[self._recipe.default]
        for output in self._outputs(DEFAULT_SIGNATURE):  # must be bitwise equal to the signature that it is an alias of
            if output.name not in default or not self._same(output, default, other, expected):
                differs = f"{DEFAULT_SIGNATURE}.{output.name} differs from that of {self._recipe.default}"
                self.report.mismatches.append(f"{differs}, for {len(expected)} texts")
        self.report.calls += len(self._names)

    def enough(self, expected: Sequence[Expected]) -> None:
        """Check the number of texts and tokens against the minimum: a proof with too few of them is worthless."""
        texts, tokens = len(expected), sum(len(each.tokens.ids) for each in expected)
        wanted = _TOKENS * min(self._recipe.max_seq_length, 64)
        if texts < _TEXTS or tokens < wanted:
            self.report.mismatches.append(
                f"only {texts} texts of {tokens} tokens were compared: at least {_TEXTS} and {wanted} are needed"
            )
        self.report.texts, self.report.tokens = texts, tokens
        self.report.least_texts, self.report.least_tokens = _TEXTS, wanted

    def _outputs(self, name: str) -> tuple[Output, ...]:
        name = self._recipe.default if name == DEFAULT_SIGNATURE else name
        return signature(name).outputs_for(self._recipe.pair)

    def _shaped(
        self, what: str, found: Mapping[str, TensorSpec], wanted: Mapping[str, tuple[str, tuple[str, ...]]]
    ) -> None:
        """Check names, dtypes and shapes; only the dimensions ``batch`` and ``tokens`` depend on the call."""
        if set(found) != set(wanted):
            self.report.mismatches.append(f"{what} {sorted(found)}, not {sorted(wanted)}")
            return
        for name, (dtype, dimensions) in wanted.items():
            spec, is_free = found[name], [of in ("batch", "tokens") for of in dimensions]
            if spec.dtype != dtype or spec.shape is None or [size < 0 for size in spec.shape] != is_free:
                self.report.mismatches.append(
                    f"{what} {name} {spec.dtype} {_short(spec.shape)}, not {dtype} [{', '.join(dimensions)}]"
                )

    def _formed(self, name: str, outputs: Mapping[str, np.ndarray], rows: int) -> bool:
        """Check names, dtypes and dimensions of an answer."""
        before = len(self.report.mismatches)
        declared = self._outputs(name)
        if set(outputs) != {each.name for each in declared}:
            self.report.mismatches.append(f"{name} answers {sorted(outputs)} to {rows} texts")
            return False
        tokens = set()
        for each in declared:
            value = outputs[each.name]
            if value.dtype != _NUMPY[each.dtype] or value.ndim != len(each.shape) or len(value) != rows:
                self.report.mismatches.append(
                    f"{name}.{each.name} is {value.dtype} {list(value.shape)} for {rows} texts, not {each}"
                )
            elif "tokens" in each.shape:
                tokens.add(value.shape[each.shape.index("tokens")])
        if len(tokens) > 1:
            self.report.mismatches.append(f"{name} gives outputs of {sorted(tokens)} tokens for the same {rows} texts")
        return len(self.report.mismatches) == before

    def _row(self, name: str, outputs: Mapping[str, np.ndarray], row: int, wanted: Expected, rows: int) -> None:
        """Compare the answer for one text of a call. Only the first token output that differs is reported."""
        tokens = wanted.tokens
        count = len(tokens.ids)
        exact: dict[Kind, Any] = {
            Kind.TOKEN_ID: tokens.ids,
            Kind.TOKEN_MASK: [1] * count,
            Kind.TOKEN_TYPE: tokens.types,
            Kind.START: tokens.starts,
            Kind.LIMIT: tokens.limits,
            Kind.TOKEN_LENGTH: tokens.lengths,
            Kind.COUNT: tokens.count,
        }
        is_equal = True
        for output in self._outputs(name):
            key, got, line = f"{name}.{output.name}", outputs[output.name][row], None
            if output.varies and not output.kind.exact:
                line = f"{key} is not zero in padding" if np.any(got[count:]) else None
                got = got[:count]
            if output.kind.is_vector:
                line = line or self._vectors(key, got, wanted.vectors[output.name], wanted.text)
            elif output.kind.is_score:
                line = line or self._scores(key, got, wanted.vectors[output.name], wanted)
            elif output.kind in _OF_LABELS:
                line = self._labelled(name, output, outputs, row, wanted)
            elif is_equal and exact[output.kind] is not None:  # a reference may have no offsets
                line = _unequal(key, output.kind, got.tolist(), exact[output.kind])
                is_equal = line is None
            if line is not None and (key, wanted.text) not in self._differs:
                self._differs.add((key, wanted.text))
                among = f" among {rows} texts" if rows > 1 else ""
                self.report.mismatches.append(f"{line}, on {quote(wanted.text)}{among}")

    def _vectors(self, key: str, got: np.ndarray, wanted: np.ndarray, text: Texts) -> str | None:
        if got.shape != wanted.shape:
            return f"{key} has shape {list(got.shape)}, the reference {list(wanted.shape)}"
        got, wanted = got.astype(np.float64), wanted.astype(np.float64)
        largest, off = float(np.abs(wanted).max()), float(np.abs(got - wanted).max())
        lengths = np.linalg.norm(got, axis=-1) * np.linalg.norm(wanted, axis=-1)
        cosine = float(np.min((got * wanted).sum(-1) / np.maximum(lengths, 1e-30)))
        figures = self.report.outputs.setdefault(key, Figures())
        if off >= figures.max_abs:
            figures.max_abs, figures.worst_text = off, quote(text)
        figures.min_cosine = cosine if figures.min_cosine is None else min(figures.min_cosine, cosine)
        figures.largest_reference = max(figures.largest_reference, largest)
        allowed = self._recipe.tolerance * max(1.0, largest)
        # Written so that NaN fails.
        if off <= allowed and cosine >= self._recipe.min_cosine:
            return None
        return (
            f"{key} is off by {off:.3g} (allowed {allowed:.3g}), cosine {cosine:.7f} "
            f"(at least {self._recipe.min_cosine})"
        )

    def _scores(self, key: str, got: np.ndarray, logits: np.ndarray, wanted: Expected) -> str | None:
        assert wanted.labels is not None
        if got.shape != logits.shape:
            return f"{key} has shape {list(got.shape)}, the reference {list(logits.shape)}"
        off, apart = scores.off(got, logits, wanted.labels.activation)
        figures = self.report.outputs.setdefault(key, Figures(largest_reference=wanted.labels.largest))
        if apart >= figures.max_abs:
            figures.max_abs, figures.worst_text = apart, quote(wanted.text)
        # All logits of a head are sums of similar numbers: a small one is not more exact than the largest.
        allowed = self._recipe.tolerance * max(1.0, wanted.labels.largest)
        if off <= allowed:
            return None
        return f"{key} is off by {off:.3g} in its logits (allowed {allowed:.3g})"

    def _labelled(
        self, name: str, output: Output, outputs: Mapping[str, np.ndarray], row: int, wanted: Expected
    ) -> str | None:
        """The fault in names of labels, or in the label or tags for the scores in the same answer."""
        assert wanted.labels is not None
        key, got, names = f"{name}.{output.name}", outputs[output.name][row], wanted.labels.names
        if output.kind is Kind.NAME:
            found, own = got.tolist(), [each.encode() for each in names]
            return None if found == own else f"{key} is {_short(found)}, but {_short(own)} in the reference"
        of = next(each for each in self._outputs(name) if each.kind.is_score)
        answered = outputs[of.name][row]
        if output.kind is Kind.LABEL:
            return _unlike(key, [got], [scores.highest(answered, names)])
        of_tokens = zip(wanted.tokens.special, answered, strict=False)
        right = [{b""} if special else scores.highest(each, names) for special, each in of_tokens]
        return _unlike(key, got.tolist(), right + [{b""}] * (len(got) - len(right)))

    def _same(
        self,
        output: Output,
        default: Mapping[str, np.ndarray],
        answered: Mapping[str, np.ndarray],
        expected: Sequence[Expected],
    ) -> bool:
        one, other = default[output.name], answered[output.name]
        if one.dtype != other.dtype or one.shape != other.shape:
            return False
        if one.tobytes() == other.tobytes() if one.dtype.kind == "f" else np.array_equal(one, other):
            return True
        # A server may batch these texts with other callers', which changes the last bits, and the label of equal
        # scores.
        if not self._model.is_shared:
            return False
        if output.kind in (Kind.LABEL, Kind.TAG):
            rows = enumerate(expected)
            return not any(self._labelled(DEFAULT_SIGNATURE, output, default, row, each) for row, each in rows)
        return one.dtype.kind == "f" and np.allclose(
            one, other, rtol=0, atol=1e-5 * max(1.0, float(np.abs(other).max()))
        )


def _unequal(key: str, kind: Kind, got: Any, wanted: Any) -> str | None:
    """The difference between an answer, which may be padded, and the exact expectation; ``None`` if they are equal."""
    if isinstance(wanted, list) and kind.padding is None:  # values in padding are arbitrary
        got = got[: len(wanted)]
    elif isinstance(wanted, list):
        wanted = wanted + [kind.padding] * (len(got) - len(wanted))
    return None if got == wanted else f"{key} is {_short(got)}, but {_short(wanted)} in the reference"


def _unlike(key: str, found: Sequence[bytes], right: Sequence[set[bytes]]) -> str | None:
    """The first name that does not have the highest score."""
    for at, (name, allowed) in enumerate(zip(found, right, strict=False)):
        if name not in allowed:
            where = f" of token {at}" if len(found) > 1 else ""
            return f"{key}{where} is {name!r}, but by its scores {' or '.join(map(repr, sorted(allowed)))}"
    return None


def _short(value: Any) -> str:
    if isinstance(value, (list, tuple)) and len(value) > 12:
        return f"[{', '.join(map(str, value[:12]))}, ...]"
    return str(list(value) if isinstance(value, tuple) else value)
