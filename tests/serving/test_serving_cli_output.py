"""The output of commands: errors in one form, tables at several widths and in pipes, JSON in any locale."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import terminal
from command import RAWBERT, rawbert
from rawbert.serving.cli import output

COLUMNS = ("name", "number", "meaning")
ROWS = [
    ("first", "1", "a meaning of several words, long enough to be folded"),
    ("wide 漢字", "22", "[bold]b[/]\x1b[2J"),
]
SHOW = f"from rawbert.serving.cli.output import print_table; print_table('a title', {COLUMNS}, {ROWS!r}, ('meaning',))"


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    env = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "FORCE_COLOR")}
    return subprocess.run(command, capture_output=True, check=False, env={**env, **environment})


def at_a_terminal(width: int, *command: str, **environment: str) -> str:
    return terminal.run(command, width=width, environment=environment).written


def test_a_table_in_a_pipe_is_aligned_plain_text() -> None:
    done = run(sys.executable, "-c", SHOW, PYTHONIOENCODING="utf-8")
    assert done.stderr == b""
    assert done.stdout.decode().splitlines() == [
        "a title",
        "name       number  meaning",
        "first      1       a meaning of several words, long enough to be folded",
        "wide 漢字  22      [bold]b[/]\ufffd[2J",
    ]


@pytest.mark.parametrize("width", [120, 80, 40, 20])
def test_a_table_fits_a_terminal(width: int) -> None:
    shown = terminal.run([sys.executable, "-c", SHOW], width=width).plain
    lines = [line.rstrip() for line in shown.splitlines()]
    assert max(map(output_width, lines)) <= width
    folded = "".join(shown.split())
    for cell in ("first", "1", "22", "wide漢字", "[bold]b[/]\ufffd[2J"):
        assert cell in folded
    # All words are present in order, wherever lines are broken.
    words = re.findall("ameaning|several|words|folded", folded)
    assert words == ["ameaning", "several", "words", "folded"] or width < 80


def output_width(line: str) -> int:
    from rich.cells import cell_len

    return cell_len(line)


def test_no_color() -> None:
    wrong = [*RAWBERT, "exprot"]
    assert "\x1b[31m" in at_a_terminal(80, *wrong)
    assert "\x1b" not in at_a_terminal(80, *wrong, NO_COLOR="1")
    assert b"\x1b" not in run(*wrong).stderr
    styled = "from rich.text import Text; " + SHOW.replace("'1'", "Text('1', 'red')")
    assert "\x1b[31m" in at_a_terminal(80, sys.executable, "-c", styled)
    assert "\x1b[31m" not in at_a_terminal(80, sys.executable, "-c", styled, NO_COLOR="1")
    assert b"\x1b" not in run(sys.executable, "-c", styled).stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["exprot"], "No such command 'exprot'. Did you mean 'export'? (see rawbert --help)"),
        (["STATUS"], "Did you mean 'status'?"),
        (["frobnicate"], "No such command 'frobnicate'. (see rawbert --help)"),
        (["embed", "--adress", "x"], "--address"),
        (["verify", "--tolerence", "1", "x"], "--tolerance"),
        (["serve", "--model-name", "x"], "--model_name"),
        (["export"], "Missing argument 'ENCODER'. (see rawbert export --help)"),
        (["promote", "m", "first"], "'first' is not a valid integer"),
        (["prune", "m"], "Missing option '--keep'"),
        (["--nope"], "No such option"),
        (["bench", "--callers", "x"], "give whole numbers"),
    ],
)
def test_wrong_usage_is_one_line_and_the_code_2(words: list[str], says: str) -> None:
    done = rawbert(*words)
    (line,) = done.err.splitlines()
    assert (done.returncode, done.stdout) == (2, b"")
    assert line.startswith("error: ")
    assert says in line


def test_without_a_command_the_help_is_shown() -> None:
    assert rawbert().out == rawbert("--help").out
    assert "Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted." in rawbert().out


LOCALES = [
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "latin-1"},
    {"PYTHONIOENCODING": "utf-16"},
    {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
]


@pytest.mark.parametrize("locale", LOCALES, ids=lambda locale: " ".join(locale.values()))
def test_output_for_machines_is_utf8_in_every_locale(locale: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "modèle 漢" / "1"
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"")
    code = "import os; from rawbert.serving.cli.output import print_json; print_json(os.environb[b'VALUE'].decode())"
    done = run(sys.executable, "-c", code, VALUE=str(folder), **locale)
    assert json.loads(done.stdout.decode("utf-8")) == str(folder)
    # What is for people shows what it can, and never fails.
    done = run(*RAWBERT, "inspect", str(folder), **locale)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr


def test_json_carries_what_utf8_cannot(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    output.print_json({"path": os.fsdecode(b"a\xff"), "line": "é\u2028\n"})
    written = capfdbinary.readouterr().out
    assert json.loads(written.decode("utf-8")) == {"path": "a\udcff", "line": "é\u2028\n"}
