"""Phrases that make a native reader stumble do not occur in strings, docstrings and comments."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: Phrases that are wrong in every context of this code -> replacement.
FORBIDDEN = {
    r"\bhas not\.": "does not have",
    r"\bbehind (?:an?|it|the|them)\b": "after, or in",
    r"\bso many\b": "N, or the parameter's name",
    r"\bholds what\b": "contains",
    r"\bis no (?:JSON|UTF-8|Parquet|SavedModel|regular file|number|text|label)\b": "is not (a)",
    r"\b1 (?:texts|rows|labels|tokens|layers)\b(?! (?:in|to|of))": "counted(1, noun)",
    r"\bbegins? anew\b": "start again",
    r"\bfor ever\b": "forever",
    r"\band the like\b": "such as",
    r"\bas (?:it is|was) asked\b": "as requested",
    r"\ba (?:text|token|label) a (?:line|call|row)\b": "per line",
    r"\b(?:texts|rows|words|calls|batches|requests|tokens) a (?:second|line|call|row|batch|text)\b": "per second",
    r"\bto and fro\b": "in both directions",
    r"\bbe had\b": "is not available",
    r"\bwhoever\b": "anyone who",
    r"\b(?:calls|callers) at once\b": "concurrent calls",
    r"\ball the same\b": "nevertheless",
    r"\b(?:it|that) there is not\b": "that does not exist",
    r"(?:^\s*#|\w )\bmend(?:s|ed)?\b": "correct",
    r"\b(?:texts|rows|files|those|anything) beside\b": "next to, or other",
}


def test_no_forbidden_phrase_in_the_code() -> None:
    folders = ("exporter", "serving", "scripts", "benchmarks", "examples", "rawbert", "deploy")
    kinds = {".py", ".yml", ".yaml", ".sh", ".toml", ".config"}
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*")) if path.suffix in kinds]
    files += [ROOT / "Makefile", ROOT / "docker-compose.yml", ROOT / "pyproject.toml"]
    assert len(files) > 200
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()} -> {better}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for phrase, better in FORBIDDEN.items()
        if re.search(phrase, line)
    ]
    assert not found, "\n".join(found)


def test_docstrings_begin_with_a_noun_and_not_with_a_relative_clause() -> None:
    """Questions may begin with such a word."""
    clause = re.compile(r"^\s*(?:r?\"\"\"|#: )(?:What|Who|Whose|Where|Which|How)\b(?!.*\?)", re.MULTILINE)
    found = [
        f"{path.relative_to(ROOT)}: {match[0].strip()}"
        for folder in ("exporter", "serving", "scripts", "benchmarks", "rawbert")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for match in clause.finditer(path.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)
