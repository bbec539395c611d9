"""The gate: a written SavedModel, loaded from disk by a fresh process, against the reference.

``python -m rawbert.exporter.proof.verify JOB REPORT`` is that process. Every signature is run on the texts of
:mod:`.samples`, and every output of every text is compared: tokens, offsets and counts for equality, vectors
within the tolerance. Nothing is published that was not found equal here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import scratch
from ..errors import ConfigError, VerificationError
from ..recipe import DEFAULT, DEFAULT_TOKENIZATION, TokenizerOptions
from . import answers, samples
from .reference import FolderReference, HubReference
from .tokens import ReferenceTokens

__all__ = ["Figures", "Job", "Report", "compare", "verify"]

#: Texts in one call: enough that short ones are padded, few enough that the longest does not make all long.
_BATCH = 8
#: Tokens.
_LONG = 128
_OUTPUTS = {"embed": "embedding", "pooled": "pooled_output", "sequence": "sequence_output"}

#: What one row of a call holds: a text, or a pair.
Texts = answers.Texts


@dataclass(frozen=True)
class Job:
    """What to compare with what.

    Args:
        saved_model: folder of the SavedModel.
        source: folder of the checkpoint that it was made from; ``None`` compares with the record of that.
        is_hub: whether that is a Hub encoder.
        signatures: that must be there, without ``serving_default``.
        default: the one that ``serving_default`` must equal.
        max_seq_length: tokens at which texts are cut.
        pooling: pooling modes, where they are not the checkpoint's own.
        normalize: with ``pooling``, whether vectors are scaled to length 1.
        tolerance: largest absolute difference, times max(1, largest reference value).
        min_cosine: smallest cosine.
        tokenization: what the user chose about tokenizing.
        record: file of the reference's answers (see :mod:`.record`): read where there is no source, and written where
            there is one and everything is equal.
    """

    saved_model: str
    source: str | None
    is_hub: bool
    signatures: tuple[str, ...]
    default: str
    max_seq_length: int
    pooling: tuple[str, ...] | None
    normalize: bool
    tolerance: float
    min_cosine: float
    tokenization: TokenizerOptions = DEFAULT_TOKENIZATION
    record: str | None = None


#: Answers a signature, of which the name is given, on texts by input name: arrays by output name.
Answer = Callable[[str, dict[str, list[str | bytes]]], dict[str, np.ndarray]]


@dataclass
class Figures:
    """How close one output came, over all texts."""

    max_abs: float = 0.0
    min_cosine: float = 1.0
    largest_reference: float = 0.0
    worst_text: str = ""


@dataclass
class Report:
    """Outcome of a comparison; ``mismatches`` is empty where everything is equal."""

    texts: int = 0
    tokens: int = 0
    tolerance: float = 0.0
    min_cosine: float = 0.0
    outputs: dict[str, Figures] = field(default_factory=dict)
    mismatches: list[str] = field(default_factory=list)


def verify(job: Job) -> Report:
    """Compare in a fresh process.

    Raises:
        VerificationError: an output differs, or the comparison could not be made.
    """
    report = run(job)
    require(report)
    return report


def run(job: Job) -> Report:
    """As :func:`verify`; what differs only stands in the report.

    Raises:
        VerificationError: the comparison could not be made.
    """
    with scratch.temporary() as folder:
        job_file, report_file = folder / "job.json", folder / "report.json"
        job_file.write_text(json.dumps(asdict(job)), encoding="utf-8")
        # -P: a folder named like one of our imports in the caller's working directory is not picked up.
        command = [sys.executable, "-P", "-m", __name__, os.fspath(job_file), os.fspath(report_file)]
        environment = {
            "TF_ONEDNN_USE_SYSTEM_ALLOCATOR": "1",  # TensorFlow's own keeps twice what the weights need
            **os.environ,
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "CUDA_VISIBLE_DEVICES": "-1",
        }
        done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace")
        if done.returncode != 0 or not report_file.is_file():
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise VerificationError(
                f"the written SavedModel could not be verified (exit status {done.returncode}): {last}"
            )
        state = json.loads(report_file.read_text(encoding="utf-8"))
    return Report(**{**state, "outputs": {name: Figures(**each) for name, each in state["outputs"].items()}})


def require(report: Report) -> None:
    """Raise :class:`VerificationError` where a report has mismatches."""
    if report.mismatches:
        shown = "".join(f"\n  - {line}" for line in report.mismatches[:10])
        more = len(report.mismatches) - 10
        raise VerificationError(
            f"the exported model differs from its reference in {len(report.mismatches)} places; "
            f"nothing was published{shown}" + (f"\n  - and {more} more" if more > 0 else ""),
            tuple(report.mismatches),
        )


def compare(job: Job) -> Report:
    """Compare in this process; see :func:`verify`."""
    import tensorflow as tf
    import tensorflow_text  # noqa: F401  registers the ops that the SavedModel uses

    reference = reference_of(job)
    loaded = tf.saved_model.load(job.saved_model)

    def answer(name: str, texts: dict[str, list[str | bytes]]) -> dict[str, np.ndarray]:
        outputs = loaded.signatures[name](**{each: tf.constant(column, tf.string) for each, column in texts.items()})
        return {key: value.numpy() for key, value in outputs.items()}

    seen: dict[Texts, answers.Expected] = {}
    report = hold(job, reference, loaded.signatures, answer, seen)
    if report.texts:
        for name in (*job.signatures, DEFAULT):
            for key, value in answer(name, {each: [] for each in _inputs(job)}).items():
                if value.shape[0] != 0:
                    report.mismatches.append(f"{name}.{key} has shape {list(value.shape)} for a batch of no texts")
    if job.source is not None and job.record is not None and not report.mismatches:
        used = {_OUTPUTS[name] for name in job.signatures if name in _OUTPUTS}
        answers.write(Path(job.record), list(seen.values()), used)
    return report


def _inputs(job: Job) -> tuple[str, ...]:
    return ("text", "text_pair")[: 1 + job.tokenization.pair]


def reference_of(job: Job) -> Any:
    """What to compare with: the checkpoint, or the record of its answers."""
    if job.source is None:
        if job.record is None:
            raise ConfigError("nothing to compare with: give a source or a record")
        return answers.RecordedReference(Path(job.record))
    reference = (HubReference if job.is_hub else FolderReference)(
        Path(job.source), job.max_seq_length, job.tokenization
    )
    if job.pooling is not None:
        reference.use_pooling(list(job.pooling), job.normalize)
    return reference


def hold(
    job: Job,
    reference: Any,
    found: Iterable[str],
    answer: Answer,
    seen: dict[Texts, answers.Expected] | None = None,
) -> Report:
    """Compare a model, wherever it runs, with a reference.

    Args:
        job: signatures and tolerances; its ``saved_model`` is not looked at.
        reference: see :func:`reference_of`.
        found: signatures that the model has.
        answer: runs one.
        seen: filled with what the reference gave, by text.
    """
    comparison = _Comparison(job)
    wanted = {DEFAULT, *job.signatures}
    if set(found) != wanted:
        comparison.mismatch(f"signatures are {sorted(found)}, not {sorted(wanted)}")
        return comparison.report
    for batch in _batches(reference, job):
        expected = [(text, tokens, reference(tokens.ids, tokens.types)) for text, tokens in batch]
        if seen is not None:
            seen.update({each[0]: each for each in expected})
        columns = zip(*(text for text, _ in batch), strict=True)
        fed = {name: list(column) for name, column in zip(_inputs(job), columns, strict=True)}
        answers = {name: answer(name, fed) for name in (*job.signatures, DEFAULT)}
        for name in job.signatures:
            comparison.signature(name, answers[name], expected)
        comparison.alias(answers[DEFAULT], answers[job.default])
        comparison.report.texts += len(batch)
        comparison.report.tokens += sum(len(tokens.ids) for _, tokens in batch)
    return comparison.report


def _batches(reference: Any, job: Job) -> list[list[tuple[Texts, ReferenceTokens]]]:
    longest = samples.over_long(job.max_seq_length)
    chosen = samples.pairs(longest) if job.tokenization.pair else samples.singles(longest)
    # A record knows its own texts, whatever the samples of this release are.
    chosen = getattr(reference, "texts", chosen)
    texts = []
    for text in chosen:
        tokens = reference.tokenize(*text)
        # transformers gives a special token that the vocabulary lacks an id behind the embedding table.
        if tokens is not None and (reference.rows is None or max(tokens.ids) < reference.rows):
            texts.append((text, tokens))
    # Long ones go together, or every text would be padded to them.
    short, long = ([each for each in texts if (len(each[1].ids) > _LONG) == is_long] for is_long in (False, True))
    batches = [short[start : start + _BATCH] for start in range(0, len(short), _BATCH)]
    return [*batches, [*short[:1], *long]] if long else batches


class _Comparison:
    def __init__(self, job: Job) -> None:
        self._job = job
        self.report = Report(tolerance=job.tolerance, min_cosine=job.min_cosine)

    def mismatch(self, line: str) -> None:
        self.report.mismatches.append(line)

    def alias(self, outputs: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
        """``serving_default`` answers what the signature does that it stands for."""
        for key, value in outputs.items():
            same = wanted.get(key)
            allowed = max(1e-5, self._job.tolerance)
            if same is None or same.shape != value.shape or not np.allclose(same, value, atol=allowed, equal_nan=True):
                self.mismatch(f"{DEFAULT}.{key} is not that of {self._job.default}")

    def signature(
        self, name: str, outputs: dict[str, np.ndarray], expected: Sequence[tuple[Texts, ReferenceTokens, Any]]
    ) -> None:
        names = {_OUTPUTS[name]} if name in _OUTPUTS else set()
        if name in ("sequence", "tokenize"):
            names |= {"input_word_ids", "input_mask", "start_offsets", "limit_offsets", "token_count"}
            if self._job.tokenization.pair:
                names.add("input_type_ids")
        if set(outputs) != names:
            self.mismatch(f"{name} has the outputs {sorted(outputs)}, not {sorted(names)}")
            return
        for key, value in outputs.items():
            if value.shape[:1] != (len(expected),):
                self.mismatch(f"{name}.{key} has shape {list(value.shape)} for {len(expected)} texts")
                return
        for row, (text, tokens, vectors) in enumerate(expected):
            if name in ("sequence", "tokenize"):
                self._tokens(name, {key: outputs[key][row] for key in names if key != "sequence_output"}, tokens, text)
            if name in _OUTPUTS:
                self._vectors(name, outputs[_OUTPUTS[name]][row], vectors[_OUTPUTS[name]], text)

    def _tokens(self, name: str, got: dict[str, np.ndarray], tokens: ReferenceTokens, text: Texts) -> None:
        count, width = len(tokens.ids), len(got["input_mask"])
        beyond = width - count
        wanted: dict[str, Any] = {
            "input_mask": [1] * count + [0] * beyond,
            "input_word_ids": tokens.ids,
            "token_count": tokens.count,
        }
        if tokens.starts is not None and tokens.limits is not None:
            wanted["start_offsets"] = tokens.starts + [-1] * beyond
            wanted["limit_offsets"] = tokens.limits + [-1] * beyond
        if self._job.tokenization.pair:
            wanted["input_type_ids"] = tokens.types + [0] * beyond
        for key, value in wanted.items():
            # What id stands in padding is nobody's business.
            answer = got[key].tolist()[:count] if key == "input_word_ids" else got[key].tolist()
            if answer != value:
                self.mismatch(
                    f"{name}.{key} is {_short(answer)}, the reference says {_short(value)}, on {_quote(text)}"
                )
                return

    def _vectors(self, name: str, got: np.ndarray, wanted: np.ndarray, text: Texts) -> None:
        key = f"{name}.{_OUTPUTS[name]}"
        if wanted.ndim == 2:  # tokens: what lies beyond them must be zero
            if np.any(got[len(wanted) :]):
                self.mismatch(f"{key} is not zero in padding, on {_quote(text)}")
            got = got[: len(wanted)]
        if got.shape != wanted.shape:
            self.mismatch(f"{key} has shape {list(got.shape)}, the reference {list(wanted.shape)}, on {_quote(text)}")
            return
        got = got.astype(np.float64)
        largest = float(np.abs(wanted).max())
        off = float(np.abs(got - wanted).max())
        lengths = np.linalg.norm(got, axis=-1) * np.linalg.norm(wanted, axis=-1)
        cosine = float(np.min((got * wanted).sum(-1) / np.maximum(lengths, 1e-30)))
        figures = self.report.outputs.setdefault(key, Figures())
        if off >= figures.max_abs:
            figures.max_abs, figures.worst_text = off, _quote(text)
        figures.min_cosine = min(figures.min_cosine, cosine)
        figures.largest_reference = max(figures.largest_reference, largest)
        allowed = self._job.tolerance * max(1.0, largest)
        # Written so that NaN fails.
        if not (off <= allowed and cosine >= self._job.min_cosine):
            self.mismatch(
                f"{key} is off by {off:.3g} (allowed {allowed:.3g}), cosine {cosine:.7f} "
                f"(at least {self._job.min_cosine}), on {_quote(text)}"
            )


def _quote(texts: Texts) -> str:
    return " with ".join(ascii(text[:60]) + ("..." if len(text) > 60 else "") for text in texts)


def _short(value: Any) -> str:
    return (
        str(value) if not isinstance(value, list) or len(value) <= 12 else f"[{', '.join(map(str, value[:12]))}, ...]"
    )


def _main(job_file: str, report_file: str) -> None:
    state = json.loads(Path(job_file).read_text(encoding="utf-8"))
    for key in ("signatures", "pooling"):
        state[key] = None if state[key] is None else tuple(state[key])
    state["tokenization"] = TokenizerOptions(**state["tokenization"])
    report = compare(Job(**state))
    Path(report_file).write_text(json.dumps(asdict(report)), encoding="utf-8")


if __name__ == "__main__":
    _main(*sys.argv[1:])
