"""Labelled files: their rows, and refusals before training."""

from __future__ import annotations

import gzip
import hashlib
import io
import sys
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


def test_encodings_and_delimiters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    wanted = [(("Grüße; alle",), "a", "line 2"), (("你好",), "b", "line 3")]
    lines = 'text;label\n"Grüße; alle";a\n你好;b\n'
    for encoding, form in (
        ("utf-8-sig", data.Form(delimiter=";")),
        ("utf-16", data.Form(delimiter=";")),
        ("gb18030", data.Form(None, "gb18030", ";")),
    ):
        (tmp_path / "rows.csv").write_bytes(lines.encode(encoding))
        assert data.read(tmp_path / "rows.csv", ["text"], "label", form=form).rows == tuple(
            data.Row(*row) for row in wanted
        )
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(lines.encode()))))
    table = data.read("-", ["text"], "label", form=data.Form("csv", delimiter=";"))
    assert [row.label for row in table.rows] == ["a", "b"]
    assert table.described()["file"] == "-"
    for form in (data.Form(delimiter=";"), data.Form(no_quotes=True)):
        with pytest.raises(DataError, match="leave --delimiter and --no-quotes out: they are for CSV"):
            data.read(write_jsonl(tmp_path / "rows.jsonl", [{}]), ["text"], "label", form=form)


def test_several_files_and_fields_of_fields(tmp_path: Path):
    for name, label in (("b", 2), ("a", 1)):
        write_jsonl(tmp_path / f"{name}.jsonl", [{"doc": {"text": name}, "meta": {"label": label}}])
    for named in (tmp_path, tmp_path / "*.jsonl"):
        table = data.read(named, ["doc.text"], "meta.label")
        assert [(row.texts, row.label) for row in table.rows] == [(("a",), 1), (("b",), 2)]
        assert table.rows[1].at == f"{tmp_path / 'b.jsonl'}, line 1"
        both = (tmp_path / "a.jsonl").read_bytes() + (tmp_path / "b.jsonl").read_bytes()
        assert (table.sha256, table.size) == (hashlib.sha256(both).hexdigest(), len(both))


def test_a_parquet_text_that_is_not_utf_8(tmp_path: Path):
    import pyarrow as pa
    from pyarrow import parquet

    texts = pa.array([b"fine", b"caf\xe9"]).view(pa.string())
    parquet.write_table(pa.table({"text": texts, "label": ["a", "b"]}), tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=r"rows.parquet, row 2: a text is not UTF-8"):
        data.read(tmp_path / "rows.parquet", ["text"], "label")


def test_labels_of_a_cell(tmp_path: Path):
    path = write_csv(tmp_path / "rows.csv", [("one", "a; b"), ("none", ""), ("two", "b;")])
    assert [row.label for row in data.read(path, ["text"], "label", ";").rows] == [["a", "b"], [], ["b"]]


CASES: dict[str, tuple[str, bytes, str]] = {
    "no ending": ("rows", b"text,label\n", "the name must end in .*or give --input-format"),
    "text": ("rows.txt", b"hello\n", "lines without columns; expected csv, tsv, jsonl, parquet: see --input-format"),
    "missing column": ("rows.csv", b"texts,label\nhi,a\n", "has the columns texts, label, not 'text'; see --text; did"),
    "missing label": ("rows.csv", b"text,class\nhi,a\n", "has the columns text, class, not 'label'; see --label"),
    "delimiter": ("rows.csv", b"text;label\nhi;a\n", "should be separated by commas: see --delimiter ';'"),
    "column twice": ("rows.csv", b"text,label,text\na,b,c\n", "line 1: the column 'text' occurs twice"),
    "empty file": ("rows.csv", b"", "is empty: CSV needs a first line with the names of its columns"),
    "no rows": ("rows.csv", b"text,label\n", "it has no rows"),
    "cells": ("rows.csv", b"text,label\nhi,a\nwell, hi,a\n", "line 3: 3 fields, but the header has 2: .*into quotes"),
    "open quote": ("rows.csv", b'text,label\n"hello,a\n', "line 2: a quote is not closed"),
    "NUL": ("rows.csv", b"text,label\nhi\0,a\n", "line 2: a NUL byte"),
    "spreadsheet": ("rows.csv", b"PK\3\4\x14\0", "not a text file, but a zip archive, .*: save it as CSV"),
    "Parquet as CSV": ("rows.csv", b"PAR1\x15\0", "not a text file, but Parquet: name it .parquet"),
    "no UTF-8": ("rows.csv", b"text,label\ncaf\xe9,a\n", "line 2: not UTF-8: undecodable bytes; see --encoding"),
    "cut gzip": ("rows.csv.gz", gzip.compress(b"text,label\nhi,a\n")[:-9], "the gzip data is cut or damaged"),
    "empty text": (
        "rows.csv",
        b'text,label\nhi,a\n"  ",b\n',
        r"1 row cannot be used for training: line 3 \(text is empty\)",
    ),
    "empty label": ("rows.csv", b"text,label\nhello,\n", r"line 2 \(label is empty\)"),
    "no JSON": ("rows.jsonl", b'{"text": "a", "label": "b"}\n{"text"\n', "line 2: not JSON"),
    "no object": ("rows.jsonl", b"[1]\n", "line 1: not a JSON object with fields"),
    "key of all": ("rows.jsonl", b'{"text": "a", "lable": 1}\n', "no line has the field 'label'; see --label; did you"),
    "key of a row": ("rows.jsonl", b'{"text": "a", "label": 1}\n{"text": "b"}\n', r"line 2 \(label is empty\)"),
    "no text": ("rows.jsonl", b'{"text": 7, "label": 1}\n', r"line 1 \(text is 7, not a text\)"),
    "null": ("rows.jsonl", b'{"text": "a", "label": null}\n', r"line 1 \(label is empty\)"),
    "NaN": ("rows.jsonl", b'{"text": "a", "label": NaN}\n', r"line 1 \(label is empty\)"),
    "surrogate": ("rows.jsonl", b'{"text": "\\ud800", "label": 1}\n', "half of a surrogate pair"),
    "no Parquet": ("rows.parquet", b"PAR1 not", "not a readable Parquet file"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_refused(tmp_path: Path, case: str):
    name, content, message = CASES[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        data.read(tmp_path / name, ["text"], "label")
    assert name in str(error.value) or case == "key of all"


def test_no_file(tmp_path: Path):
    for name in ("rows.csv", "*.csv"):
        with pytest.raises(DataError, match="does not exist"):
            data.read(tmp_path / name, ["text"], "label")
    with pytest.raises(DataError, match="is a folder without files"):
        data.read(tmp_path, ["text"], "label")


def test_many_faults_are_counted(tmp_path: Path):
    rows: list[tuple[Any, ...]] = [("", "a")] * 9
    with pytest.raises(DataError, match=r"9 rows cannot .* line 6 \(text is empty\) and 4 more"):
        data.read(write_csv(tmp_path / "rows.csv", rows), ["text"], "label")
