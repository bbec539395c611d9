"""Make ops.tsv.gz anew: what each TensorFlow Serving release can run, read off released wheels.

``python scripts/make_ops.py make FOLDER [TARGET]`` builds one virtual environment a TensorFlow release under FOLDER
(Python 3.11, about 2 GB each), asks each for its registered ops, and writes the file to TARGET, by default
exporter/targets/data.
``python scripts/make_ops.py dump FILE [MODULE or LIBRARY ...]`` is the part that runs inside each of them.

TensorFlow Serving R links TensorFlow R, tensorflow-text as :data:`TEXT` says (2.12 to 2.19 link 2.12.1), and the
inference ops of TensorFlow Decision Forests, which are the same in every release since.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

#: TensorFlow Serving release -> the TensorFlow wheel of that release.
TENSORFLOW = {
    "2.12": "2.12.1",
    "2.13": "2.13.1",
    "2.14": "2.14.1",
    "2.15": "2.15.1",
    "2.16": "2.16.2",
    "2.17": "2.17.1",
    "2.18": "2.18.1",
    "2.19": "2.19.1",
    "2.20": "2.20.0",
}
#: tensorflow-text -> (the TensorFlow wheel that it loads into, what else it imports, releases that link it).
TEXT = {
    "2.12.1": ("2.12.1", ["tensorflow-hub==0.13.0"], list(TENSORFLOW)[:-1]),
    "2.20.0": ("2.20.0", [], ["2.20"]),
}
_TARGET = Path(__file__).parents[1] / "exporter" / "targets" / "data"
FORESTS = ("1.3.0", "2.12.1", "tensorflow_decision_forests/tensorflow/ops/inference/inference.so")


def dump(file: str, extras: list[str]) -> None:
    """Write the ops that are registered here, or only those that ``extras`` register, as JSON."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf
    from tensorflow.core.framework import op_def_pb2
    from tensorflow.python.client import pywrap_tf_session

    def registered() -> Any:
        data = pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList())
        return op_def_pb2.OpList.FromString(data).op

    known = {op.name for op in registered()} if extras else set()
    for extra in extras:
        tf.load_op_library(extra) if extra.endswith(".so") else __import__(extra)
    state = {
        "graph_def_version": tf.version.GRAPH_DEF_VERSION,
        "min_producer": tf.version.GRAPH_DEF_VERSION_MIN_PRODUCER,
        "ops": {op.name: describe(op) for op in registered() if op.name not in known},
    }
    Path(file).write_text(json.dumps(state), encoding="utf-8")


def describe(op: Any) -> dict[str, Any]:
    """Attributes of an op: name -> [type, default as text, or null where there is none]; and its deprecation."""
    from google.protobuf import text_format

    attributes = {
        attr.name: [
            attr.type,
            text_format.MessageToString(attr.default_value, as_one_line=True).strip()
            if attr.HasField("default_value")
            else None,
        ]
        for attr in op.attr
    }
    described: dict[str, Any] = {"attrs": attributes}
    if op.HasField("deprecation"):
        described["deprecated"] = op.deprecation.version
    return described


def merge(releases: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """One table of all releases: op -> the spans of releases in which it looks the same.

    ``[{"since": "2.12", "until": "2.16", "attrs": ...}, ...]``; without ``until`` it is there in the newest.
    """
    names = list(releases)
    table: dict[str, list[dict[str, Any]]] = {}
    for at, (release, state) in enumerate(releases.items()):
        for name, described in sorted(state["ops"].items()):
            spans = table.setdefault(name, [])
            last = spans[-1] if spans else None
            if last and last["until"] == names[at - 1] and {**last, "since": 0, "until": 0} == {
                **described, "since": 0, "until": 0
            }:  # fmt: skip
                last["until"] = release
            else:
                spans.append({"since": release, "until": release, **described})
    for spans in table.values():
        if spans[-1]["until"] == names[-1]:
            del spans[-1]["until"]
    versions = {
        release: {key: state[key] for key in ("graph_def_version", "min_producer")}
        for release, state in releases.items()
    }
    return {"releases": versions, "ops": dict(sorted(table.items()))}


def make(folder: Path, target: Path) -> None:
    """Build the environments, ask them, write ops.tsv.gz."""
    releases = {release: _ask(folder, wheel, [], []) for release, wheel in TENSORFLOW.items()}
    forests, wheel, library = FORESTS
    _install(folder, wheel, [f"tensorflow-decision-forests=={forests}"])
    linked = [_ask(folder, wheel, [str(next((folder / wheel).glob(f"lib/*/site-packages/{library}")))], [])]
    for state in releases.values():
        state["ops"].update(linked[0]["ops"])
    for text, (wheel, requirements, serving) in TEXT.items():
        ops = _ask(folder, wheel, ["tensorflow_text"], [f"tensorflow-text=={text}", *requirements])["ops"]
        for release in serving:
            releases[release]["ops"].update(ops)
    write(merge(releases), target / "ops.tsv.gz")


def write(table: dict[str, Any], page: Path) -> None:
    """Write the table: what holds for releases, then a line an op. The same table always gives the same bytes."""
    releases, spans = table.values()
    lines = [_json(releases), *(f"{op}\t{_json(each)}" for op, each in spans.items())]
    page.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0))


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _ask(folder: Path, wheel: str, extras: list[str], requirements: list[str]) -> dict[str, Any]:
    _install(folder, wheel, requirements)
    file = folder / f"{wheel}.json"
    subprocess.run([_python(folder, wheel), __file__, "dump", str(file), *extras], check=True)
    state: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return state


def _install(folder: Path, wheel: str, requirements: list[str]) -> None:
    if not Path(_python(folder, wheel)).exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder / wheel)], check=True)
        pip = [_python(folder, wheel), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, f"tensorflow=={wheel}", "setuptools<81"], check=True)
    if requirements:
        pip = [_python(folder, wheel), "-m", "pip", "install", "--quiet", "--no-deps"]
        subprocess.run([*pip, *requirements], check=True)


def _python(folder: Path, wheel: str) -> str:
    return str(folder / wheel / "bin" / "python")


if __name__ == "__main__":
    command, target, *rest = sys.argv[1:]
    if command == "dump":
        dump(target, rest)
    else:
        make(Path(target), Path(rest[0]) if rest else _TARGET)
