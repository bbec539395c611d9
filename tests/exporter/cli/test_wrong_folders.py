"""Wrong folders, files and names: the error contains the fault and a remedy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: two models, an empty folder and a file."""
    for version in ("bert/1", "bert/2", "minilm/3"):
        (tmp_path / "models" / version).mkdir(parents=True)
        (tmp_path / "models" / version / "saved_model.pb").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


MODELS = "is a folder of models"
#: The error of each command for a path, which replaces {}.
OF_MODELS = ("versions {}", "promote {} 1", "rollback {}", "prune {} --keep 1")
OF_VERSIONS = ("check {}", "inspect {}", "verify {}", "verify {} --address localhost:1")


@pytest.mark.parametrize(
    ("path", "commands", "says"),
    [
        ("models", OF_MODELS + OF_VERSIONS, MODELS),
        ("models", OF_MODELS, "name one of them (bert, minilm)"),
        ("models", OF_VERSIONS, "such as models/bert"),
        ("file.txt", OF_MODELS + OF_VERSIONS, "is a file: give the folder"),
        ("empty", OF_MODELS, "has no versions"),
        ("empty", ("inspect {}",), "empty: no saved_model.pb in it; give a version folder, or the folder of a model"),
        ("nope", OF_MODELS, "there is no model nope"),
        ("nope", OF_VERSIONS, "there is no folder nope; there are models/bert, models/minilm"),
        ("minlm", OF_MODELS, "did you mean minilm?"),
        ("minlm", OF_VERSIONS, "did you mean models/minilm?"),
        ("model/bert", OF_VERSIONS, "did you mean models/bert?"),
        ("models/brt", OF_VERSIONS, "did you mean models/bert?"),
        ("models/bert/3", OF_VERSIONS, "did you mean models/bert/"),
        ("models/bert/1", OF_MODELS, "is a version; name the folder of the model"),
    ],
)
def test_what_is_wrong_is_said(folder: Path, path: str, commands: tuple[str, ...], says: str) -> None:
    from rawbert.serving.cli.app import rawbert

    for command in commands:
        done = CliRunner().invoke(rawbert, command.format(path).split())
        assert done.exit_code == 1, command
        assert says in done.output, command
        assert done.output.startswith(("error: ", "Error: ")), command
    assert sorted(path.name for path in folder.rglob("*")) == sorted(
        ["models", "bert", "minilm", "1", "2", "3", "empty", "file.txt", *["saved_model.pb"] * 3]
    )


def test_a_label_that_is_not_there(folder: Path) -> None:
    from rawbert.serving.cli.app import rawbert

    assert CliRunner().invoke(rawbert, ["promote", "bert", "1"]).exit_code == 0
    done = CliRunner().invoke(rawbert, ["rollback", "bert", "--version-label", "stabel"])
    assert (done.exit_code, "has no label stabel; did you mean stable?" in done.output) == (1, True)
    done = CliRunner().invoke(rawbert, ["promote", "bert", "7"])
    assert (done.exit_code, "has no version 7; choose from: 1, 2" in done.output) == (1, True)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("serve nope", "there is no folder nope"),
        ("serve empty", "empty/models.config does not exist"),
        ("serve models/bert", "--model_base_path models/bert"),
        ("serve --model_base_path models", "it is a folder of models: give one of them, such as"),
        ("serve --model_base_path models/bert/1", "give its parent folder"),
        ("versions --models models/bert", "models/bert is a model itself"),
        ("versions --models nope", "there are no models in nope"),
    ],
)
def test_what_servers_and_lists_take(folder: Path, words: str, says: str) -> None:
    # In a separate process, because `serve` changes its standard error.
    code = "from rawbert.serving.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, *words.split()], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert says in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")
