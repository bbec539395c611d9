"""Labelled files and runs for the tests of fine-tuning."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

WORDS = ("the", "cat", "dog", "sat", "on", "mat", "and", "hello", "world", "want", "run")
#: The word of each class; other words are noise.
KEYS = {"animal": "cat", "greeting": "hello", "motion": "run"}
#: Few steps with a large learning rate, in which a tiny random encoder learns KEYS.
QUICK = {"epochs": 3, "batch_size": 8, "learning_rate": 3e-3}


def texts(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Texts of 4 to 14 words, and their classes."""
    rng, rows = random.Random(seed), []
    noise = [word for word in WORDS if word not in KEYS.values()]
    for _ in range(count):
        label = rng.choice(list(KEYS))
        words = [KEYS[label]] * 3 + rng.choices(noise, k=rng.randint(1, 11))
        rng.shuffle(words)
        rows.append((" ".join(words), label))
    return rows


def write_csv(path: Path, rows: list[tuple[Any, ...]], header: tuple[str, ...] = ("text", "label")) -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


#: Words of the test vocabulary that are entities here, and words that may follow them.
NAMES = {"ANIMAL": ("cat", "dog", "running"), "PLACE": ("world", "mat", "hello")}


def tagged(count: int, seed: int = 0) -> list[tuple[str, list[dict[str, Any]]]]:
    """Texts of 3 to 18 words, and their spans; ``unwanted`` and ``running`` are several tokens."""
    rng, rows = random.Random(seed), []
    for _ in range(count):
        text, spans = "", list[dict[str, Any]]()
        for _ in range(rng.randint(3, 9)):
            text += " " if text else ""
            kind = rng.choice([*NAMES, None])
            start = len(text)
            if kind is None:
                text += rng.choice(("the", "sat", "on", "and", "unwanted", "ran."))
                continue
            *names, tail = NAMES[kind]
            text += rng.choice(names) + (f" {tail}" if rng.random() < 0.3 else "")
            spans.append({"start": start, "end": len(text), "label": kind})
        rows.append((text, spans))
    return rows


def write_spans(path: Path, rows: list[tuple[str, list[dict[str, Any]]]]) -> Path:
    return write_jsonl(path, [{"text": text, "spans": spans} for text, spans in rows])
