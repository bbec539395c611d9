"""The loop: steps, the best epoch, early stopping, and exact continuation.

A step depends only on the weights, the moments, its number and the seed. A run continued from its last state repeats
the same steps, and ends with the same weights.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ..errors import TrainingError
from . import batches, metrics, optimizer, states
from .config import FinetuneConfig
from .labels import MULTI, RELEVANCE, SINGLE, TAGGING, Problem
from .model import Model

#: Time between two saved states, as a multiple of the time for saving one.
_COSTS = 20
#: Seconds for which a further Ctrl-C is ignored.
_AGAIN = 2.0


class Rows(NamedTuple):
    """Rows in the form of the loop.

    Attributes:
        tokens: see :class:`.batches.Tokens`.
        targets, weights: targets and weights of each row, see :meth:`.Problem.targets` and :func:`.weights_of`; for a
            tagger, of each token, row by row.
    """

    tokens: batches.Tokens
    targets: np.ndarray
    weights: np.ndarray

    def places(self, part: np.ndarray) -> np.ndarray:
        """Indices of the targets of some rows among all targets."""
        lengths = self.tokens.lengths
        if len(self.targets) == len(lengths):
            return part
        before = np.cumsum(lengths) - lengths
        return np.concatenate([np.arange(before[row], before[row] + lengths[row]) for row in part])


class Step(NamedTuple):
    """Progress of training.

    Attributes:
        epoch, epochs: current epoch, from 1, and number of epochs.
        step, steps: finished steps, and number of steps.
        loss: loss of the step.
        best: name and value of the best validation metric so far.
        seconds_left: estimate; training may end earlier. ``None`` after the first step, which builds the graph.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    best: tuple[str, float] | None
    seconds_left: float | None


@dataclass
class State:
    """The state of a run besides its weights; see :mod:`.states`.

    Attributes:
        epoch: current epoch, from 0.
        position: finished batches of the epoch.
        loss: sum of their losses.
        history: of each epoch ``epoch``, ``loss``, ``validation_loss`` and the figures that are numbers.
        best: index of the best epoch in ``history``.
    """

    epoch: int = 0
    position: int = 0
    loss: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    best: int | None = None


class Trainer:
    """A model in training.

    Args:
        model: the model.
        problem: the problem.
        config: settings of the run.
        train, validation: training and validation rows.
        folder: folder of the run.
        measure: function from the validation rows' scores to figures; ``None`` for :func:`.metrics.measure`.
    """

    def __init__(
        self,
        model: Model,
        problem: Problem,
        config: FinetuneConfig,
        train: Rows,
        validation: Rows,
        folder: Path,
        measure: Callable[[np.ndarray], Mapping[str, Any]] | None = None,
    ) -> None:
        self.model, self.problem, self.config = model, problem, config
        self._train, self._validation = train, validation
        self._measure = measure or (lambda scores: metrics.measure(problem, scores, validation.targets))
        self._state_file, self._logs = folder / "checkpoints" / "state.safetensors", folder / "logs"
        frozen = config.freeze_encoder
        self._values = model.head if frozen else model.values
        factors = optimizer.factors(list(self._values), model.config.stored_layers, config.layer_decay)
        self._optimizer = optimizer.AdamW(self._values, config.weight_decay, config.clip, factors)
        table = tf.TensorSpec([None, None], tf.int32)
        vectors = tf.TensorSpec([None, model.config.hidden_size], tf.float32)
        inputs = [vectors] if frozen else [table] * 3
        one = problem.kind in (SINGLE, TAGGING)  # label of a row or token
        of_row = tf.TensorSpec([None] if one else [None, len(problem.labels)])
        targets = tf.TensorSpec(of_row.shape, tf.int32 if one else tf.float32)
        scalars = [tf.TensorSpec([2], tf.int32), tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.float32)]
        self._encode = tf.function(model.vectors, autograph=False, input_signature=[table] * 3)
        self._step = tf.function(self._make_step, autograph=False, input_signature=[*inputs, targets, of_row, *scalars])
        self._logits = tf.function(self._make_logits, autograph=False, input_signature=inputs)
        self._loss = tf.function(
            self._make_loss,
            autograph=False,
            input_signature=[tf.TensorSpec([None, len(problem.labels)]), targets, of_row],
        )
        self._vectors = {id(rows): self._encoded(rows) for rows in (train, validation)} if frozen else {}
        self._per_epoch = math.ceil(len(train.tokens.lengths) / config.batch_size)
        config = config.filled(len(train.tokens.lengths), model.config.hidden_size)
        assert config.epochs is not None
        assert config.patience is not None
        assert config.learning_rate is not None
        self._epochs, self._patience, self._rate = config.epochs, config.patience, config.learning_rate

    def _encoded(self, rows: Rows) -> np.ndarray:
        """The head's inputs from a frozen encoder, float32 ``[rows or tokens, H]``."""
        found = np.empty((len(rows.targets), self.model.config.hidden_size), np.float32)
        for part in batches.in_order(rows.tokens.lengths, self.config.batch_size):
            found[rows.places(part)] = self._encode(*rows.tokens.padded(part)).numpy()
        return found

    def _inputs(self, rows: Rows, part: np.ndarray) -> tuple[np.ndarray, ...]:
        return (self._vectors[id(rows)][rows.places(part)],) if self._vectors else rows.tokens.padded(part)

    def _forward(self, inputs: tuple[tf.Tensor, ...], seed: tf.Tensor | None) -> tf.Tensor:
        if not self.config.freeze_encoder:
            ids, mask, types = inputs
            return self.model.logits(self.model.vectors(ids, mask, types, seed), seed)
        return self.model.logits(inputs[0], seed)

    def _make_logits(self, *inputs: tf.Tensor) -> tf.Tensor:
        return self._forward(inputs, None)

    def _make_loss(self, logits: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """The weighted mean of the losses of rows, labels or tokens; 0 if no token of a batch has a weight."""
        if self.problem.kind in (SINGLE, TAGGING):
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
        elif self.problem.kind in (MULTI, RELEVANCE):
            losses = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)
        else:
            losses = tf.math.squared_difference(logits, (targets - self.problem.mean) / self.problem.scale)
        return tf.math.divide_no_nan(tf.reduce_sum(losses * weights), tf.reduce_sum(weights))

    def _make_step(self, *inputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        *features, targets, weights, seed, number, rate = inputs
        values = list(self._values.values())
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            loss = self._make_loss(self._forward(tuple(features), seed), targets, weights)
        gradients = tape.gradient(loss, values, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return loss, self._optimizer.apply(gradients, rate, number)

    def predict(self, rows: Rows) -> np.ndarray:
        """Logits of rows, float32 ``[rows or tokens, labels]``."""
        found = np.empty((len(rows.targets), len(self.problem.labels)), np.float32)
        for part in batches.in_order(rows.tokens.lengths, self.config.batch_size):
            found[rows.places(part)] = self._logits(*self._inputs(rows, part)).numpy()
        return found

    def run(self, better: Callable[[State, np.ndarray], None], progress: Callable[[Step], None]) -> State:
        """Train, starting from the last saved state.

        Args:
            better: called after each new best epoch, with the validation rows' scores.
            progress: called after each step.

        Raises:
            KeyboardInterrupt: an interrupt; its argument describes the saved state.
            TrainingError: the loss is not a number.
        """
        state = self._restore()
        config, steps = self.config, self._per_epoch * self._epochs
        begun, done = 0.0, 0
        saved, cost = time.monotonic(), 0.0
        writer = tf.summary.create_file_writer(os.fspath(self._logs))
        name, _ = metrics.CHOSEN[self.problem.kind]
        with _interrupts() as interrupted:
            while state.epoch < self._epochs and not self._is_stale(state):
                order = batches.epoch(self._train.tokens.lengths, config.batch_size, config.seed, state.epoch)
                for part in order[state.position :]:
                    step = state.epoch * self._per_epoch + state.position
                    loss, rate = self._do(step, steps, part)
                    state.position, state.loss, done = state.position + 1, state.loss + loss, done + 1
                    with writer.as_default(step):
                        tf.summary.scalar("loss", loss)
                        tf.summary.scalar("learning_rate", rate)
                    begun = begun or time.monotonic()
                    left = None if done == 1 else (time.monotonic() - begun) / (done - 1) * (steps - step - 1)
                    best = None if state.best is None else (name, state.history[state.best][name])
                    progress(Step(state.epoch + 1, self._epochs, step + 1, steps, loss, best, left))
                    if interrupted() or time.monotonic() - saved >= _COSTS * cost:
                        cost = self._save(state)
                        saved = time.monotonic()
                    if interrupted():
                        raise KeyboardInterrupt(self._told(state, step + 1, steps))
                self._close_epoch(state, writer, better)
                self._save(state)
                if interrupted() and state.epoch < self._epochs:
                    raise KeyboardInterrupt(self._told(state, state.epoch * self._per_epoch, steps))
        writer.close()
        return state

    def _do(self, step: int, steps: int, part: np.ndarray) -> tuple[float, float]:
        config, rows = self.config, self._train
        rate = optimizer.rate_at(step, steps, self._rate, config.warmup)
        inputs, places = self._inputs(rows, part), rows.places(part)
        seed = np.array([config.seed, step], np.int32)
        loss, norm = self._step(*inputs, rows.targets[places], rows.weights[places], seed, step, np.float32(rate))
        if not math.isfinite(float(loss)) or not math.isfinite(float(norm)):
            raise TrainingError(
                f"step {step + 1}: the loss is {float(loss)} and its gradient's norm {float(norm)}: start again with a "
                f"lower learning rate than {self._rate:g} (--learning-rate)"
            )
        return float(loss), rate

    def _close_epoch(self, state: State, writer: Any, better: Callable[[State, np.ndarray], None]) -> None:
        """Evaluate, and save the weights if they are the best."""
        logits = self.predict(self._validation)
        scores = metrics.scores_of(self.problem, logits)
        measured = self._measure(scores)
        weights = self._validation.weights
        entry: dict[str, Any] = {
            "epoch": state.epoch + 1,
            "loss": state.loss / self._per_epoch,
            "validation_loss": float(self._loss(logits, self._validation.targets, weights)),
            **{name: value for name, value in measured.items() if isinstance(value, int | float | None)},
        }
        state.history.append(entry)
        with writer.as_default((state.epoch + 1) * self._per_epoch):
            for key, value in entry.items():
                if key not in ("epoch", "loss") and value is not None:
                    tf.summary.scalar(f"validation/{key.removeprefix('validation_')}", value)
        writer.flush()
        if state.best is None or self._rank(entry) > self._rank(state.history[state.best]):
            state.best = len(state.history) - 1
            better(state, scores)
        state.epoch, state.position, state.loss = state.epoch + 1, 0, 0.0

    def _rank(self, entry: dict[str, Any]) -> tuple[float, float]:
        """Sort key of epochs: by metric, then by loss."""
        name, more = metrics.CHOSEN[self.problem.kind]
        value = entry[name]
        return (-math.inf if value is None else value if more else -value, -entry["validation_loss"])

    def _is_stale(self, state: State) -> bool:
        return state.best is not None and len(state.history) - 1 - state.best >= self._patience

    def _told(self, state: State, step: int, steps: int) -> str:
        best = "no epoch is complete yet"
        if state.best is not None:
            name, _ = metrics.CHOSEN[self.problem.kind]
            entry = state.history[state.best]
            best = f"the model of epoch {entry['epoch']} ({name} {entry[name]:.4f}) can be exported"
        return f"{step} of {steps} steps are saved, and {best}; the same command continues from there"

    def _save(self, state: State) -> float:
        """Save everything for a continuation; returns the seconds needed."""
        began = time.monotonic()
        tensors = {f"value/{name}": value.numpy() for name, value in self._values.items()}
        tensors |= {name: value.numpy() for name, value in self._optimizer.moments.items()}
        states.keep(self._state_file, tensors, asdict(state))
        return time.monotonic() - began

    def forget(self) -> None:
        """Remove the state of a finished run."""
        shutil.rmtree(self._state_file.parent, ignore_errors=True)

    def _restore(self) -> State:
        found = states.load(self._state_file)
        if found is None:
            return State()
        tensors, state = found
        for name, value in self._values.items():
            value.assign(tensors[f"value/{name}"])
        for name, value in self._optimizer.moments.items():
            value.assign(tensors[name])
        return State(**state)


@contextlib.contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Delay Ctrl-C and similar signals until the end of a step; a second one, after a while, takes effect at once."""
    asked: float | None = None

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked is not None and time.monotonic() - asked > _AGAIN:
            raise KeyboardInterrupt
        asked = asked or time.monotonic()

    before = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            # Signals that nohup, or a shell for a background job, has switched off stay off.
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, ask)
    try:
        yield lambda: asked is not None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def deterministic() -> Iterator[None]:
    """Make TensorFlow's operations deterministic."""
    from tensorflow.python.framework import config

    before = config.is_op_determinism_enabled()
    tf.config.experimental.enable_op_determinism()
    try:
        yield
    finally:
        if not before:
            config.disable_op_determinism()
