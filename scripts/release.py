"""Add a TensorFlow release: ``make release TF=2.22.0``, which runs ``python scripts/release.py 2.22.0``.

It writes the data of the release, prints the changes since the one before, builds an environment for it, and runs these
tests in it: exports, which old and new TensorFlow versions load and run; the comparison of the TensorFlow lines; the
recorded answers of TensorFlow Serving, on `rawbert serve`; and the demo. If everything passes, the exit status is 0.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import click
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parent))
import environments
import make_flags
import make_ops
from environments import FOLDER, ROOT, line_of

_UPSTREAM = "https://github.com/tensorflow/serving"
#: Packages with versions of the line; the other pins of its file are the same as in another line's file.
_LINE = ("tensorflow", "tensorflow-text", "tf-keras", "tensorflow-serving-api")
_PROOF = (
    ("exports, in every TensorFlow and on both lines",
     ["-m", "pytest", "-m", "slow", "tests/exporter/targets/test_releases.py"]),
    ("recorded answers of TensorFlow Serving, on rawbert serve", ["-m", "pytest", "tests/congruence"]),
    ("the demo", ["examples/demo.py"]),
)  # fmt: skip
console = Console(highlight=False, soft_wrap=True)


@click.command(help=__doc__)
@click.argument("version")
@click.option("--text", help="tensorflow-text to read ops from.  [default: the one in the sources of the server]")
@click.option("--serving", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help=f"A clone of TensorFlow Serving.  [default: the tag, cloned from {_UPSTREAM}]")  # fmt: skip
@click.option("--ref", help="Commit, branch or tag of the clone.  [default: the tag of the release]")
@click.option("--no-proof", is_flag=True, help="Only build data and environment, and print the changes.")
def main(version: str, text: str | None, serving: Path | None, ref: str | None, no_proof: bool) -> None:
    """The command."""
    match = re.fullmatch(r"(\d+\.\d+)\.\d+(?:rc\d+)?", version)
    if match is None:
        raise click.BadParameter(
            f"{version!r} is not a version of TensorFlow's wheel; give one such as 2.22.0 or 2.22.0rc0"
        )
    line, candidate = match[1], version.partition("rc")[2]
    release = f"{line}rc{candidate}" if candidate else line
    missing = []
    tag = ref or version.replace("rc", "-rc")
    repository = serving or _cloned(tag)
    if repository is None:
        missing.append(f"its flags: {_UPSTREAM} has no {tag} that can be fetched here; give --serving, and --ref")
    text = text or _text(repository, tag, line)

    console.rule(f"TensorFlow {version}: data")
    released = [each for each in make_ops.DATA.glob("*.tsv.xz") if "rc" not in each.name and _older(each, release)]
    before = max(released, key=make_ops.order)
    try:
        with console.status(f"reading the ops of tensorflow {version} and tensorflow-text {text}"):
            page = make_ops.make(FOLDER, release, version, text)
    except subprocess.CalledProcessError as error:
        raise click.ClickException(f"no wheels to read: {' '.join(map(str, error.cmd))} failed") from error
    console.print(f"{_shown(page)}: {len(make_ops.read(page)[1])} ops, with tensorflow-text {text}")
    candidates = [*make_ops.DATA.glob(f"{line}rc*.tsv.xz"), *make_flags.DATA.glob(f"*_{line}.*rc*_flags.json")]
    for superseded in set(candidates) - {page, make_flags.page(version)}:
        console.print(f"{_shown(superseded)}: removed, superseded")
        superseded.unlink()
    show_ops(make_ops.read(before), make_ops.read(page))
    if repository is not None:
        flags = make_flags.make(version, repository, tag)
        console.print(f"{_shown(flags)}: {len(make_flags.read(flags))} flags")
        show_flags(flags)
    console.rule(f"TensorFlow {version}: environment")
    try:
        with console.status("building it"):
            python = environment(line, version, text)
    except subprocess.CalledProcessError:
        missing.append(f"an environment: pip finds no compatible {', '.join(_LINE)} of {version}")
    else:
        missing += [] if no_proof else prove(python)
    for each in missing:
        console.print(f"[bold red]missing[/]: {each}")
    if not missing:
        console.print(f"TensorFlow {version}: done. See CONTRIBUTING.md for the files to commit and to change.")
    sys.exit(1 if missing else 0)


def show_ops(before: tuple[dict, dict], after: tuple[dict, dict]) -> None:
    """Print the differences between the ops of two releases."""
    old, new = before[1], after[1]
    console.rule(f"ops since {before[0]['release']}")
    for title, names in (("added", new.keys() - old.keys()), ("removed", old.keys() - new.keys())):
        console.print(f"[bold]{len(names)} ops {title}[/]{': ' * bool(names)}{', '.join(sorted(names))}")
    both = sorted(old.keys() & new.keys())
    attributes = [
        f"{name}: {', '.join(_apart(old[name]['attrs'], new[name]['attrs']))}"
        for name in both
        if old[name]["attrs"] != new[name]["attrs"]
    ]
    attributes += [
        f"{name}: deprecated from GraphDef version {new[name]['deprecated']} on"
        for name in both
        if new[name].get("deprecated") not in (None, old[name].get("deprecated"))
    ]
    _list("ops with other attributes", attributes)
    for device in ("cpu", "gpu"):
        changes = []
        for name in both:
            then, now = _pairs(old[name], device), _pairs(new[name], device)
            signed = [*(f"+{each}" for each in sorted(now - then)), *(f"-{each}" for each in sorted(then - now))]
            changes += [f"{name}: {' '.join(signed)}"] if signed else []
        _list(f"ops with other {device.upper()} kernels", changes)


def show_flags(page: Path) -> None:
    """Print the differences between the flags of a release and those of the one before."""
    older = [each for each in make_flags.DATA.glob("*_flags.json") if make_flags.order(each) < make_flags.order(page)]
    if not older:
        return
    before = max(older, key=make_flags.order)
    old, new = ({flag["name"]: flag for flag in make_flags.read(each)} for each in (before, page))
    console.rule(f"flags since {before.name}")
    changes = [f"{'+' if name in new else '-'} --{name}" for name in sorted(old.keys() ^ new.keys())]
    changes += [
        f"  --{name}: {key} {old[name][key]!r}, now {new[name][key]!r}"
        for name in sorted(old.keys() & new.keys())
        for key in ("type", "default")
        if old[name][key] != new[name][key]
    ]
    _list("flags that differ", changes)


def environment(line: str, version: str, text: str) -> Path:
    """The Python of a line's environment; the line's file of constraints is written if it does not exist."""
    file = environments.CONSTRAINTS / f"tensorflow-{line}.txt"
    if file.exists():
        return environments.project(line)
    others = [environments.CONSTRAINTS / f"tensorflow-{each}.txt" for each in environments.lines()]
    names = {*_LINE, *(row.partition("==")[0] for each in others for row in _pins(each))}
    trial = FOLDER / f"tensorflow-{line}.txt"
    trial.write_text(f"tensorflow=={version}\ntensorflow-text=={text}\n", encoding="utf-8")
    python = environments.project(line, [ROOT / "constraints.txt", trial])
    listed = subprocess.run([python, "-m", "pip", "freeze"], capture_output=True, text=True, check=True).stdout
    rows = [row.split("==") for row in listed.splitlines() if "==" in row]
    pins = {re.sub(r"[-_.]+", "-", name).lower(): pin for name, pin in rows}
    chosen = "".join(f"{name}=={pins[name]}\n" for name in sorted(names & pins.keys()))
    file.write_text(f"# TensorFlow {line} and its own pins; used together with constraints.txt.\n\n{chosen}")
    console.print(f"{_shown(file)}: written")
    return python


def prove(python: Path) -> list[str]:
    """Run the proof of a line in its environment; returns the failures."""
    failed = []
    for title, words in _PROOF:
        console.rule(title)
        environment = {**os.environ, "RAWBERT_REQUIRE_MINILM": "1", "PATH": f"{python.parent}:{os.environ['PATH']}"}
        done = subprocess.run([python, *words], cwd=ROOT, env=environment, check=False)
        failed += [f"{title}: see above"] if done.returncode else []
    return failed


def _pins(file: Path) -> list[str]:
    return [row for row in file.read_text(encoding="utf-8").splitlines() if "==" in row]


def _cloned(tag: str) -> Path | None:
    """TensorFlow Serving's sources at a tag; ``None`` if they cannot be fetched."""
    folder = FOLDER / f"serving-{tag}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        words = ["git", "clone", "--quiet", "--depth=1", f"--branch={tag}", _UPSTREAM, folder]
        if subprocess.run(words, check=False).returncode:
            return None
    return folder


def _text(repository: Path | None, tag: str, line: str) -> str:
    """The tensorflow-text in the server's sources; else the newest of the line, or of any line with data."""
    if repository is not None:
        named = re.search(
            r'"text-(\d+\.\d+\.\d+)"', make_flags.source(repository, tag, "tensorflow_serving/workspace.bzl")
        )
        if named:
            return named[1]
    words = [sys.executable, "-m", "pip", "--disable-pip-version-check", "index", "versions", "tensorflow-text"]
    listed = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    released = re.findall(r"\d+\.\d+\.\d+", listed.partition("Available versions:")[2].partition("\n")[0])
    newest = max(make_ops.DATA.glob("*.tsv.xz"), key=make_ops.order)
    return next((each for each in released if line_of(each) == line), make_ops.read(newest)[0]["tensorflow-text"])


def _older(page: Path, release: str) -> bool:
    return make_ops.order(page) < make_ops.order(Path(f"{release}.tsv.xz"))


def _apart(old: dict, new: dict) -> list[str]:
    added = [f"+{name}" for name in sorted(new.keys() - old.keys())]
    removed = [f"-{name}" for name in sorted(old.keys() - new.keys())]
    other = [
        f"{name} {old[name]}, now {new[name]}" for name in sorted(old.keys() & new.keys()) if old[name] != new[name]
    ]
    return added + removed + other


def _pairs(op: dict, device: str) -> set[str]:
    """The dtypes of an op's kernels on a device, ``attribute=dtype`` each."""
    from rawbert.serving.wire.codec import dtype_name

    rows = op.get(device, [])
    return {f"{name}={dtype_name(each)}" for row in rows for name, types in row.items() for each in types}


def _list(title: str, rows: list[str]) -> None:
    console.print(f"[bold]{len(rows)} {title}[/]{':' * bool(rows)}")
    for row in rows:
        console.print(f"  {row}", markup=False)


def _shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
