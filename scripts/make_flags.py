"""Write serving/data/tensorflow_model_server_<version>_flags.json: the flags of a TensorFlow Serving release.

``python scripts/make_flags.py 2.21.0 REPOSITORY [REF]`` reads them from the sources in a git repository of TensorFlow
Serving, at the tag of that version or at another ref. Names, types and defaults are those of the sources. The help is
this project's, copied from the newest file; for a new flag it is the help of the sources.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

DATA = Path(__file__).parents[1] / "serving" / "data"
_SERVERS = "tensorflow_serving/model_servers"
_FLAG = re.compile(r'tensorflow::Flag\(\s*"(\w+)",\s*&([\w.]+),\s*((?:"(?:[^"\\]|\\.)*"\s*)+)\)')
_FIELD = re.compile(r"^\s*([\w:]+) (\w+)(?: = ([^;]+))?;", re.MULTILINE)
_TYPES = {"int32": "int32", "int64_t": "int64", "int64": "int64", "bool": "bool", "float": "float", "string": "string"}
#: Default of a C++ field without an initialiser.
_EMPTY = {"bool": False, "string": "", "int32": 0, "int64": 0, "float": 0.0}


def make(version: str, repository: Path, ref: str = "", data: Path = DATA) -> Path:
    """Write the file of a version.

    Args:
        version: such as ``2.21.0``.
        repository: a clone of TensorFlow Serving.
        ref: commit, branch or tag of it; the version's tag if empty.
        data: folder of the files.
    """
    target = page(version, data)
    known = [each for each in data.glob("*_flags.json") if order(each) <= order(target)]
    helps = {flag["name"]: flag["help"] for file in sorted(known, key=order) for flag in read(file)}
    found = flags(repository, ref or version)
    lines = [_json({**flag, "help": helps.get(flag["name"], flag["help"])}) for flag in found]
    at = "" if not ref or ref == version else f", read at its commit {commit(repository, ref)}"
    origin = (
        f"{_SERVERS}/main.cc and server.h of TensorFlow Serving {version}{at}; help by this project. "
        "A default of null depends on the machine."
    )
    body = ",\n".join(f"    {line}" for line in lines)
    text = f'{{\n  "release": {_json(version)},\n  "origin": {_json(origin)},\n  "flags": [\n{body}\n  ]\n}}\n'
    target.write_text(text, encoding="utf-8")
    return target


def page(version: str, data: Path = DATA) -> Path:
    """The file of a version."""
    return data / f"tensorflow_model_server_{version}_flags.json"


def read(page: Path) -> list[dict[str, Any]]:
    """The flags in a file."""
    return list(json.loads(page.read_text(encoding="utf-8"))["flags"])


def order(page: Path) -> tuple[int, ...]:
    """Sort key of files: by version, with a candidate before its release."""
    version, _, candidate = page.name.removesuffix("_flags.json").rpartition("_")[2].partition("rc")
    return *map(int, version.split(".")), int(candidate or 1000)


def flags(repository: Path, ref: str) -> list[dict[str, Any]]:
    """Name, type, default and help of each flag in the sources at a ref, in their order."""
    files = ("main.cc", "server.h", "server.cc")
    main, header, server = (source(repository, ref, f"{_SERVERS}/{name}") for name in files)
    options = header.partition("struct Options {")[2].partition("Options();")[0]
    fields = {f"options.{name}": (kind, given) for kind, name, given in _FIELD.findall(options)}
    fields |= {name: (kind, given) for kind, name, given in _FIELD.findall(main.partition("int main(")[2])}
    constructed = dict(re.findall(r"(\w+)\(([^()]+)\)", server.partition("Options::Options()")[2].partition("{")[0]))
    found = []
    for name, field, words in _FLAG.findall(main):
        kind, given = fields[field]
        kind = _TYPES[kind.rpartition("::")[2]]
        given = constructed.get(field.rpartition(".")[2], given)
        text = "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', words))
        found.append({"name": name, "type": kind, "default": _value(kind, given), "help": text})
    if len(found) != main.count("tensorflow::Flag("):
        raise SystemExit(f"{len(found)} of {main.count('tensorflow::Flag(')} flags in main.cc at {ref} can be read")
    return found


def _value(kind: str, given: str) -> Any:
    """The value of a C++ initialiser; null if it depends on the machine."""
    if not given:
        return _EMPTY[kind]
    if "kSavedModelTagServe" in given:
        return "serve"
    if kind == "string":
        return given.strip('"')
    if kind == "bool":
        return {"true": True, "false": False}[given]
    product = 1
    for factor in given.split("*"):
        number = re.fullmatch(r"\s*(-?[\d.]+)(?:LL|L|f)?\s*", factor)
        if number is None:
            return None
        product *= float(number[1]) if kind == "float" else int(float(number[1]))
    return product


def source(repository: Path, ref: str, path: str) -> str:
    """A file of the sources at a ref."""
    return _git(repository, "show", f"{ref}:{path}")


def commit(repository: Path, ref: str) -> str:
    """The commit of a ref."""
    return _git(repository, "rev-parse", f"{ref}^{{commit}}").strip()


def _git(repository: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", repository, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{repository}: {done.stderr.strip()}")
    return done.stdout


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    print(make(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:]))
