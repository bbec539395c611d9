"""Labelled files: what is read, and what is refused before training."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from labelled import write_csv, write_jsonl
from rawbert.exporter import DataError
from rawbert.exporter.training import data


def test_formats_give_the_same_rows(tmp_path: Path):
    import pyarrow
    from pyarrow import parquet

    rows = [("plain", "a"), ('with "quotes", commas\nand a new line', "b"), ("Ünïcode 中国", "a")]
    header = ("text", "label", "more")
    files = [write_csv(tmp_path / "rows.csv", [(*row, 1) for row in rows], header)]
    files.append(write_jsonl(tmp_path / "rows.jsonl", [dict(zip(header, (*row, 1), strict=True)) for row in rows]))
    columns = dict(zip(header, zip(*rows, strict=True), strict=False))
    parquet.write_table(pyarrow.table({name: list(each) for name, each in columns.items()}), tmp_path / "rows.parquet")
    (tmp_path / "rows.tsv").write_text("label\ttext\na\tplain\n", encoding="utf-8-sig")
    for path in [*files, tmp_path / "rows.parquet"]:
        table = data.read(path, ["text"], "label")
        assert [(row.texts, row.label) for row in table.rows] == [((text,), label) for text, label in rows]
        assert table.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert table.size == path.stat().st_size
    assert [row.at for row in data.read(files[0], ["text"], "label").rows] == ["line 2", "line 3", "line 5"]
    assert data.read(tmp_path / "rows.tsv", ["text"], "label").rows[0].texts == ("plain",)


def test_labels_of_a_cell(tmp_path: Path):
    path = write_csv(tmp_path / "rows.csv", [("one", "a; b"), ("none", ""), ("two", "b;")])
    assert [row.label for row in data.read(path, ["text"], "label", ";").rows] == [["a", "b"], [], ["b"]]


CASES: dict[str, tuple[str, bytes, str]] = {
    "no ending": ("rows", b"text,label\n", "must end in .csv, .tsv, .jsonl, .parquet"),
    "missing column": ("rows.csv", b"words,label\nhello,a\n", "no column 'text'; it has 'words', 'label'"),
    "column twice": ("rows.csv", b"text,label,text\na,b,c\n", "2 columns are called 'text'"),
    "empty file": ("rows.csv", b"", "no column 'text'; it has none"),
    "no rows": ("rows.csv", b"text,label\n", "it has no rows"),
    "cells": ("rows.csv", b"text,label\nhello,a\nwell, hello,a\n", "line 3 has 3 cells, and the first line names 2"),
    "open quote": ("rows.csv", b'text,label\n"hello,a\n', "not CSV, line 2"),
    "binary": ("rows.csv", b"text,label\nPK\0\0,a\n", "it has zero bytes"),
    "no UTF-8": ("rows.csv", b"text,label\ncaf\xe9,a\n", "not UTF-8 .* byte 14"),
    "empty text": ("rows.csv", b'text,label\nhi,a\n"  ",b\n', r"1 rows cannot be trained on: line 3 \(text is empty\)"),
    "empty label": ("rows.csv", b"text,label\nhello,\n", r"line 2 \(label is empty\)"),
    "no JSON": ("rows.jsonl", b'{"text": "a", "label": "b"}\n{"text"\n', "line 2 is not JSON"),
    "no object": ("rows.jsonl", b"[1]\n", "line 1 is list, not an object"),
    "key of a row": ("rows.jsonl", b'{"text": "a", "label": 1}\n{"text": "b"}\n', "no column 'label'"),
    "no text": ("rows.jsonl", b'{"text": 7, "label": 1}\n', r"line 1 \(text is 7, not a text\)"),
    "null": ("rows.jsonl", b'{"text": "a", "label": null}\n', r"line 1 \(label is empty\)"),
    "NaN": ("rows.jsonl", b'{"text": "a", "label": NaN}\n', r"line 1 \(label is nan\)"),
    "surrogate": ("rows.jsonl", b'{"text": "\\ud800", "label": 1}\n', "half of a surrogate pair"),
    "no Parquet": ("rows.parquet", b"PAR1 not", "not readable as Parquet"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_refused(tmp_path: Path, case: str):
    name, content, message = CASES[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        data.read(tmp_path / name, ["text"], "label")
    assert str(error.value).startswith(str(tmp_path / name))


def test_no_file(tmp_path: Path):
    with pytest.raises(DataError, match="there is no such file"):
        data.read(tmp_path / "rows.csv", ["text"], "label")
    (tmp_path / "rows.csv").mkdir()
    with pytest.raises(DataError, match="a folder, not a file"):
        data.read(tmp_path / "rows.csv", ["text"], "label")


def test_many_faults_are_counted(tmp_path: Path):
    rows: list[tuple[Any, ...]] = [("", "a")] * 9
    with pytest.raises(DataError, match=r"9 rows cannot .* line 6 \(text is empty\) and 4 more"):
        data.read(write_csv(tmp_path / "rows.csv", rows), ["text"], "label")
