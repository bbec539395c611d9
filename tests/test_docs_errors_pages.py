"""The troubleshooting pages cover the error texts of the code: each is on a page, or contains its remedy.

An error text is the message of an exception with ``…`` in place of values. It contains its remedy if one of its clauses
begins with an imperative (:data:`IMPERATIVES`), or if it names an option of the command line. Every other text must
match a pattern in the first column of the pages' tables, in which ``…`` matches any text.
"""

import ast
import builtins
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "docs" / "how-to" / f"troubleshooting-{name}.md" for name in ("export", "server")]
#: The section with messages of other programs, which need not occur in the code.
FOREIGN = "TensorFlow Serving and gRPC"

#: Words at the beginning of a clause with a remedy.
IMPERATIVES = (
    "accept|add|call|change|check|choose|compare|connect|convert|copy|correct|create|delete|edit|export|follow|get|give|"
    "install|leave|load|log "
    "in|make|merge|name|put|quote|remove|rename|renew|repeat|replace|run|save|see|send|set|shorten|start|take|try|unpack|use|wait|write"
)
REMEDY = re.compile(rf"(?:^|[:;,.(] (?:or |and |then )*)(?:{IMPERATIVES})\b|--[a-z]|did you mean", re.IGNORECASE)

#: Files whose exceptions of these kinds are only the reason in another text, which is given here.
REASONS = {
    "exporter/proof/": ("ValueError", "failed to run"),
    "exporter/publish/labels.py": ("TypeError", "is damaged"),
    "exporter/sources/files/torch_pickle.py": (
        "ValueError UnpicklingError _Refused unreadable",
        "(cut short?): expected",
    ),
    "exporter/sources/files/": ("unreadable", "(cut short?): expected"),
    "exporter/sources/bpe.py": ("_other", "can be exported with BPE"),
    "exporter/sources/jsonfile.py": ("ValueError", "not readable as JSON"),
    "exporter/sources/run.py": ("TypeError", "not a run.json of rawbert finetune"),
    "exporter/targets/content_hash.py": ("CorruptIndex", "has no content hash"),
    "exporter/targets/graph_hash.py": ("Unhashable", "has no content hash"),
    "exporter/targets/tensor_bundle.py": ("CorruptIndex ValueError", "has no content hash"),
    "exporter/training/tagged.py": ("ValueError", "cannot be used for training"),
    "serving/cli/files/job.py": ("ValueError", "is damaged: start again"),
    "serving/server/rest/parser.py": ("_error", "JSON Parse error"),
    "serving/wire/varint.py": ("ValueError", "the tensor … cannot be read"),
}
#: Not error texts: findings of `rawbert check` and `rawbert doctor`, which have their own pages; parts of other
#: texts; notes at an interrupt; internal assertions.
FINDINGS = ("exporter/targets/file_rules.py", "exporter/targets/warmup_file.py", "serving/doctor/")
OTHER_KINDS = ("NotKnown", "_because", "from_status", "KeyboardInterrupt", "AssertionError", "SystemExit")

KNOWN = {name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, BaseException)}
KNOWN |= {"BadParameter", "ClickException", "ConnectionError", "UnpicklingError", "UsageError"}


class Text(NamedTuple):
    """An error text, the exception or the function that gets it, and its place."""

    text: str
    kind: str
    place: str


def values_of(node: ast.AST, names: dict[str, list[ast.AST]], depth: int = 0) -> list[str]:
    """The possible texts of an expression, with ``…`` for values."""
    if isinstance(node, ast.Constant):
        return [node.value if isinstance(node.value, str) else "…"]
    if isinstance(node, ast.JoinedStr):
        return ["".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        ends = values_of(node.right, names, depth)
        return [begin + end for begin in values_of(node.left, names, depth) for end in ends]
    if isinstance(node, ast.IfExp):
        return values_of(node.body, names, depth) + values_of(node.orelse, names, depth)
    if isinstance(node, ast.Name) and node.id in names and depth < 3:
        return [text for value in names[node.id] for text in values_of(value, names, depth + 1)]
    return ["…"]


def name_of(node: ast.AST) -> str:
    """The last part of a dotted name."""
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def makers(trees: list[tuple[str, ast.Module]]) -> set[str]:
    """Names of exceptions, and of functions that return one."""
    found, size = set(KNOWN), 0
    classes = [node for _, tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    while size < len(found):
        size = len(found)
        found |= {each.name for each in classes if found & {name_of(base) for base in each.bases}}
    functions = [node for _, tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    returning = {each.name for each in functions if each.returns is not None and name_of(each.returns) in found}
    return found | returning | {"os_errors_as", "fail"}


@cache
def texts() -> list[Text]:
    """Every error text of the packages."""
    files = [path for package in ("exporter", "serving") for path in sorted((ROOT / package).rglob("*.py"))]
    trees = [(path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))) for path in files]
    known, found = makers(trees), set()
    for path, tree in trees:
        inside = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        for scope in [tree, *inside]:
            names: dict[str, list[ast.AST]] = {}
            for node in ast.walk(scope) if scope is not tree else ():
                if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                    names.setdefault(node.targets[0].id, []).append(node.value)
            found |= {text for node in ast.walk(scope) for text in texts_of(node, names, path, known)}
    resolved = {each.place for each in found if each.text != "…"}
    return sorted(each for each in found if each.place in resolved)


def texts_of(node: ast.AST, names: dict[str, list[ast.AST]], path: str, known: set[str]) -> Iterator[Text]:
    """The error texts of a node of the code."""
    raised = isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
    call = node.exc if raised else node
    if isinstance(call, ast.Call):
        kind = name_of(call.func)
        if raised or kind in known:
            for argument in call.args:
                for text in values_of(argument, names):
                    if re.search(r"[a-z]{2,} .*[a-z]{2,}", text):
                        yield Text(" ".join(text.split()), kind, f"{path}:{call.lineno}")


@cache
def patterns() -> list[tuple[str, bool]]:
    """The patterns of the pages' tables, and whether each is a message of another program."""
    found, foreign = [], False
    for line in "\n".join(page.read_text(encoding="utf-8") for page in PAGES).splitlines():
        if line.startswith("## "):
            foreign = line.removeprefix("## ") == FOREIGN
        if re.match(r"\| (?:REST: )?`", line):
            found += [(pattern, foreign) for pattern in re.findall(r"`([^`]+)`", line.split(" | ")[0])]
    return found


def matches(pattern: str, text: str) -> bool:
    """Whether a pattern occurs in an error text."""
    return re.search(".*".join(map(re.escape, filter(None, pattern.split("…")))), text) is not None


def is_reason(each: Text) -> bool:
    """Whether an exception is only the reason within another error text."""
    return any(each.place.startswith(file) and each.kind in kinds.split() for file, (kinds, _) in REASONS.items())


def test_every_error_text_is_on_a_page_or_contains_its_remedy() -> None:
    found = [each for each in texts() if each.kind not in OTHER_KINDS and not each.place.startswith(FINDINGS)]
    assert len(found) > 500
    missing = [
        f"{each.place}: {each.text}"
        for each in found
        if not REMEDY.search(each.text)
        and not is_reason(each)
        and not any(matches(pattern, each.text) for pattern, _ in patterns())
    ]
    assert not missing, "give a remedy, or add a row to a troubleshooting page:\n" + "\n".join(missing)


def test_the_texts_around_reasons_exist() -> None:
    for outer in {outer for _, outer in REASONS.values()}:
        assert any(matches(outer, each.text) and not is_reason(each) for each in texts()), outer


def test_every_pattern_of_the_pages_is_specific_and_occurs_in_the_code() -> None:
    assert len(patterns()) > 100
    for pattern, foreign in patterns():
        assert len(pattern.replace("…", "")) >= 8, pattern
        assert foreign or any(matches(pattern, each.text) for each in texts()), pattern


def test_the_advice_of_the_client_contains_a_remedy() -> None:
    from rawbert.serving import errors

    advice = [text for _, text in errors.STATUS.values()] + list(errors._HINTS.values())
    advice += [
        errors.LABEL_HINT,
        errors._ASKS,
        errors._REFUSED,
        errors._PLAIN,
        errors._PROXY,
        errors._TOO_LARGE,
        errors._TIMED_OUT,
    ]
    assert [text for text in advice if not REMEDY.search(text)] == []
