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
}


def test_no_forbidden_phrase_in_the_code() -> None:
    folders = ("exporter", "serving", "scripts", "benchmarks", "examples")
    files = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))] + [ROOT / "Makefile"]
    assert len(files) > 200
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()} -> {better}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for phrase, better in FORBIDDEN.items()
        if re.search(phrase, line)
    ]
    assert not found, "\n".join(found)
