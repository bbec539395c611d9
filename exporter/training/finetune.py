"""One run from labelled files to a folder that can be exported."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...serving.extras import how_to_install
from .. import scratch, sources
from ..errors import ConfigError, ExportError, OutputError, os_errors_as
from ..sources.run import FORMAT
from ..tokenizers.sentencepiece.spec import SentencePieceSpec
from . import data, dropout, labels, memory, precision, preparation, report
from . import folder as run_folder
from .config import FinetuneConfig

if TYPE_CHECKING:
    from .loop import State, Step

_TOOLS = ("rawbert", "tensorflow", "tensorflow-text", "transformers", "tokenizers")


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: folder for ``rawbert export``.
        labels: names of the model's outputs.
        metrics: metrics of the best epoch on the validation rows; see :func:`.metrics.measure`.
        history: figures of each epoch.
        best_epoch: number of the best epoch, from 1.
        notes: notes for the user.
        seconds: duration of this call.
    """

    folder: Path
    labels: tuple[str, ...]
    metrics: dict[str, Any]
    history: list[dict[str, Any]]
    best_epoch: int
    notes: tuple[str, ...]
    seconds: float


def finetune(
    config: FinetuneConfig,
    say: Callable[[str], None] | None = None,
    progress: Callable[["Step"], None] | None = None,
) -> Run:
    """Fine-tune an encoder on labelled rows; continue an interrupted run in the folder.

    During the run, TensorFlow's operations are deterministic: the same rows and settings give bitwise the same weights
    on the same machine.

    Args:
        config: settings of the run.
        say: called with a line of text at the start of each part.
        progress: called after each step.

    Returns:
        The run.

    Raises:
        ExportError: see :mod:`rawbert.exporter.errors`.
        KeyboardInterrupt: Ctrl-C; its argument describes the saved state.
    """
    began = time.monotonic()
    if find_spec("tensorboard") is None:
        raise ConfigError(f"training writes logs for TensorBoard, which is not installed: {how_to_install('train')}")
    say = say or (lambda line: None)
    train, validation, problem, notes = preparation.read(config)
    folder = config.folder
    with ExitStack() as stack:
        with os_errors_as(OutputError, f"{folder}: cannot be written"):
            folder.mkdir(parents=True, exist_ok=True)
            lock = folder / ".finetune.lock"
            if not stack.enter_context(scratch.locked(lock, wait=False, temporary=True)):
                raise OutputError(
                    f"{folder}: another process trains in this folder; wait for it, or name another folder"
                )
        if config.restart:
            run_folder.clear(folder)
        before = run_folder.read_run(folder)
        others = sorted(path.name for path in folder.iterdir() if path != lock)
        if before is None and others:
            raise OutputError(f"{folder}: it contains files that are not of a run ({others[0]}): name a new folder")
        location = stack.enter_context(sources.fetched(config.encoder, config.revision, say))
        say(f"reading {location.folder}")
        checkpoint = _rebuilt(sources.load(location))
        if checkpoint.encoder is None:
            from . import hub_model

            hub_model.require_trainable(checkpoint, config, problem)
            config = replace(config, precision="float32")
            notes.append("the Hub encoder is used unchanged: texts are padded, and its own dropout is off")
        origin = None if checkpoint.encoder is None else run_folder.origin_of(checkpoint)
        length = _length(config, checkpoint)
        say("loading TensorFlow")
        config = replace(
            config.filled(len(train.rows), checkpoint.hidden_size), precision=precision.resolved(config.precision)
        )
        run: dict[str, Any] = {
            "format": FORMAT,
            "status": "unfinished",
            "settings": config.settings(),
            "data": {"train": train.described(), "validation": validation.described(),
                     "held_back": config.validation is None},
            "encoder": {"origin": location.origin, "handle": location.handle, "revision": location.revision,
                        "files": [asdict(file) for file in checkpoint.files]},
            "problem": {**asdict(problem), "labels": list(problem.labels), "pair": config.text_pair is not None},
            "max_seq_length": length,
            "tools": {tool: metadata.version(tool) for tool in _TOOLS},
        }  # fmt: skip
        if before is not None:
            _require_same(before, run, folder)
            say("continuing the run in the folder")
        else:
            run_folder.write_run(folder, run)  # first: a run that is killed from here on can be continued
        try:
            if origin is None:
                run_folder.write_about(folder, location)
            else:
                run_folder.begin(folder, origin, checkpoint, location, length, problem, config.text_pair is not None)
            from .loop import Trainer, deterministic
            from .model import Model

            stack.enter_context(deterministic())
            say("tokenizing")
            rows, held, answers, more = preparation.tokenized(config, checkpoint, length, problem, train, validation)
            notes += more
            if checkpoint.encoder is not None:  # the memory of other encoders cannot be estimated
                lengths = np.concatenate([each.tokens.lengths for each in (rows, held)])
                kept = len(rows.targets) + len(held.targets) if config.freeze_encoder else 0
                memory.require(checkpoint.encoder, lengths, config.batch_size, config.freeze_encoder, kept)
        except ExportError:
            if before is None:  # no step was saved, so the next run in the folder may have other settings
                run_folder.clear(folder)
            raise
        if origin is None or checkpoint.encoder is None:
            model: Any = hub_model.HubModel(checkpoint, problem, length, config.seed)
        else:
            task = run_folder.head_task(problem)
            rates = dropout.read(origin.config, checkpoint.encoder.family, origin.path, problem.kind == labels.TAGGING)
            model = Model(
                checkpoint.encoder, checkpoint.weights, rates, len(problem.labels), config.seed, config.precision, task,
                origin.config,
            )  # fmt: skip
        if config.freeze_encoder:
            say("encoding the texts, once")
        trainer = Trainer(model, problem, config, rows, held, folder, answers.measure)

        def keep(state: "State", scores: np.ndarray) -> None:
            assert state.best is not None
            if origin is None:
                run["model_sha256"] = model.write(folder)
            else:
                values = {name: value.numpy() for name, value in model.values.items()}
                run["model_sha256"] = run_folder.write_model(folder, model.config, values, problem)
            measured = answers.measure(scores)
            run.update(metrics=measured, best_epoch=state.best + 1, history=state.history, notes=notes)
            facts = _facts(config, train, validation, state.history[state.best])
            title = f"{folder.name}: {config.task}"
            report.write(folder, title, answers, scores, measured, facts)
            run_folder.write_run(folder, run)

        say("training")
        state = trainer.run(keep, progress or (lambda step: None))
        assert state.best is not None
        run = run_folder.read_run(folder) or run
        run.update(status="finished", history=state.history)
        run_folder.write_run(folder, run)
        trainer.forget()
    return Run(
        folder=folder,
        labels=problem.labels,
        metrics=run["metrics"],
        history=state.history,
        best_epoch=state.best + 1,
        notes=tuple(notes),
        seconds=time.monotonic() - began,
    )


def _rebuilt(checkpoint: sources.Checkpoint) -> sources.Checkpoint:
    """The checkpoint with a complete ``encoder``: a Hub layer does not state its activation, but its outputs show it.

    ``encoder`` is ``None`` if the layer is not a plain BERT, or has a tokenizer that transformers does not have.
    """
    if checkpoint.kind != "hub":
        return checkpoint
    if isinstance(checkpoint.tokenizer, SentencePieceSpec):
        return replace(checkpoint, encoder=None)
    from ..graph import savedmodel

    impl, encoder = savedmodel.choose_encoder(checkpoint, "auto")
    return replace(checkpoint, encoder=encoder.config if impl == "native" else None)


def _length(config: FinetuneConfig, checkpoint: sources.Checkpoint) -> int:
    limit = checkpoint.max_positions
    if config.max_seq_length is None:
        return checkpoint.max_seq_length
    if limit is not None and config.max_seq_length > limit:
        raise ConfigError(
            f"max_seq_length is {config.max_seq_length}: give at most {limit}, the positions of {checkpoint.location}"
        )
    return config.max_seq_length


def _require_same(before: dict[str, Any], run: dict[str, Any], folder: Path) -> None:
    """Check that a run is the one in the folder."""
    if before.get("format") != FORMAT:
        raise OutputError(f"{folder}: the run in it is of another release; start again with --restart")
    differing = [key for key in ("settings", "encoder", "max_seq_length") if before.get(key) != run[key]]
    if _rows(before) != _rows(run):
        differing.append("data")
    if differing:
        old, new = before.get("settings", {}), run["settings"]
        named = [f"{key} is {new[key]!r}, and was {old.get(key)!r}" for key in new if old.get(key) != new[key]]
        if "data" in differing:
            named.append("the rows are different")
        if "encoder" in differing:
            named.append("the encoder's files are different")
        raise OutputError(
            f"{folder}: the run in it is another one ({'; '.join(named)}): start again with --restart, or name another "
            "folder"
        )
    if before["status"] == "finished":
        raise OutputError(f"{folder}: the run in it is finished; start again with --restart, or export it")


def _rows(run: dict[str, Any]) -> Any:
    """The data in run.json, without the paths of the files, which may have been moved."""
    return [
        {key: value for key, value in run["data"][part].items() if key != "file"} for part in ("train", "validation")
    ] + [run["data"]["held_back"]]


def _facts(config: FinetuneConfig, train: data.Table, validation: data.Table, best: dict[str, Any]) -> dict[str, Any]:
    return {
        "encoder": str(config.encoder),
        "task": config.task,
        "training rows": f"{len(train.rows)} of {train.path.name}, sha256 {train.sha256[:16]}",
        "validation rows": f"{len(validation.rows)} of {validation.path.name}, sha256 {validation.sha256[:16]}",
        "best epoch": f"{best['epoch']} of at most {config.epochs}",
        "validation loss": f"{best['validation_loss']:.4f}",
    }
