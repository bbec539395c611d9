"""Runs that were interrupted or killed reach the same weights as an uninterrupted run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from folders import DATA
from labelled import QUICK, texts, write_csv
from rawbert.exporter import CorruptSource, FinetuneConfig, TrainingError, finetune

RAWBERT = [sys.executable, "-c", "from rawbert.serving.cli import main; main()"]


def config_of(folder: Path, **settings: Any) -> FinetuneConfig:
    train = write_csv(folder / "train.csv", texts(96))
    settings = {"encoder": DATA / "tiny_bert", "output": folder / "run", **QUICK, **settings}
    return FinetuneConfig(train=train, **settings)


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_an_interrupted_run_goes_on_to_the_same_bits(tmp_path: Path):
    config = config_of(tmp_path, batch_size=16)  # 6 steps an epoch
    whole = finetune(replace(config, output=tmp_path / "whole"))

    def stop_at(number: int) -> Any:
        def progress(step: Any) -> None:
            seen.append(step.step)
            if step.step == number:
                os.kill(os.getpid(), signal.SIGINT)

        return progress

    seen: list[int] = []
    with pytest.raises(KeyboardInterrupt, match="2 of 18 steps are saved, and no epoch is complete yet; the same"):
        finetune(config, progress=stop_at(2))
    (tmp_path / "run" / "config.json").unlink()  # as if it was killed before it wrote it
    with pytest.raises(KeyboardInterrupt, match=r"9 of 18 steps are saved, and the model of epoch 1 \(macro_f1"):
        finetune(config, progress=stop_at(9))
    said: list[str] = []
    run = finetune(config, said.append, stop_at(0))
    assert "continuing the run in the folder" in said
    assert seen == list(range(1, 19))
    assert weights(run.folder) == weights(whole.folder)
    assert (run.folder / "config.json").read_bytes() == (whole.folder / "config.json").read_bytes()
    assert run.history == whole.history
    assert run.metrics == whole.metrics


def test_a_damaged_state(tmp_path: Path):
    config = config_of(tmp_path)

    def stop(step: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        finetune(config, progress=stop)
    (tmp_path / "run" / "checkpoints" / "state.safetensors").write_bytes(b"damaged")
    with pytest.raises(CorruptSource, match=r"not a state of training .*--restart"):
        finetune(config)


def test_a_loss_that_is_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from rawbert.exporter.training.model import Model

    logits = Model.logits
    monkeypatch.setattr(Model, "logits", lambda *inputs: logits(*inputs) * float("nan"))
    with pytest.raises(TrainingError, match=r"step 1: the loss is nan.* lower learning rate than 0\.003"):
        finetune(config_of(tmp_path))


@pytest.mark.slow
@pytest.mark.timeout(1800)  # eleven processes, each of which loads TensorFlow
@pytest.mark.parametrize("task", ["classify", "tag"])
def test_ten_kills_at_random(tmp_path: Path, task: str):
    config = config_of(tmp_path, task=task, epochs=12, batch_size=4, learning_rate=1e-3, patience=12)
    if task == "tag":
        rows = [f"the O\n{'cat' if at % 3 else 'dog'} B-ANIMAL\nsat O\n" for at in range(96)]
        config = replace(config, train=tmp_path / "train.conll")
        config.train.write_text("\n".join(rows))
    whole = finetune(replace(config, output=tmp_path / "whole"))
    command = [*RAWBERT, "finetune", str(config.encoder), "--train", str(config.train), "--output", str(config.folder)]
    for name in ("task", "epochs", "batch_size", "learning_rate", "patience"):
        command += [f"--{name.replace('_', '-')}", str(getattr(config, name))]
    rng, killed = random.Random(0), 0
    state = config.folder / "checkpoints" / "state.safetensors"
    while killed < 10:
        before = state.stat().st_mtime_ns if state.exists() else 0
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        while process.poll() is None and (not state.exists() or state.stat().st_mtime_ns == before):
            time.sleep(0.01)
        time.sleep(rng.random() / 2)  # some steps, an epoch's end, or the writing of a file
        if process.poll() is None:
            process.kill()
            killed += 1
        process.wait()
        if (config.folder / "run.json").read_text().find('"finished"') >= 0:
            pytest.fail(f"the run was finished after {killed} kills: it is too short for this test")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert weights(config.folder) == weights(whole.folder)
