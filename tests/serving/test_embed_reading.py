"""Files of every format in ``rawbert embed``: read correctly, or refused with file and line."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rawbert.serving.cli.files import BadFile
from rawbert.serving.cli.files.columns import Columns
from rawbert.serving.cli.files.inputs import Inputs
from rawbert.serving.cli.files.source import Source

TEXTS = ["plain", "naïve café", "日本 𝄞", "a, b; c\td|e", 'say "hi"', "", "two words", "a\u2028b", " x "]


def source(*paths: Path | str, column: str = "text", keep: tuple[str, ...] = (), keep_all: bool = False,
           form: str | None = None, **settings: Any) -> Source:  # fmt: skip
    inputs = Inputs([str(path) for path in paths], form).open(Path("/nowhere"))
    return Source(inputs, columns=Columns(column, keep, keep_all), **settings)


def read(*paths: Path | str, **settings: Any) -> list[str]:
    return list(source(*paths, **settings).texts())


def kept(*paths: Path | str, **settings: Any) -> list[dict[str, Any]]:
    blocks = source(*paths, **settings).blocks()
    return [row for block in blocks for row in (block.kept if isinstance(block.kept, list) else block.kept.to_pylist())]


def write(path: Path, texts: list[str], encoding: str = "utf-8", ends: str = "\n", delimiter: str = ",") -> Path:
    ending = path.name.removesuffix(".gz").rpartition(".")[2]
    if ending == "parquet":
        pq.write_table(pa.table({"id": [str(at) for at in range(len(texts))], "text": texts}), path)
        return path
    if ending == "txt":
        content = "".join(f"{text}{ends}" for text in texts)
    elif ending == "jsonl":
        rows = [json.dumps({"id": str(at), "text": text}, ensure_ascii=False) for at, text in enumerate(texts)]
        content = "".join(f"{row}{ends}" for row in rows)
    else:
        made = io.StringIO()
        writer = csv.writer(made, delimiter=delimiter, lineterminator=ends)
        writer.writerows([("id", "text"), *((str(at), text) for at, text in enumerate(texts))])
        content = made.getvalue()
    data = content.encode(encoding)
    path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)
    return path


FORMS = ["txt", "jsonl", "csv", "tsv"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("gz", ["", ".gz"])
def test_encodings_that_say_what_they_are(tmp_path: Path, form: str, ends: str, encoding: str, gz: str) -> None:
    path = write(tmp_path / f"in.{form}{gz}", TEXTS, encoding, ends, "\t" if form == "tsv" else ",")
    assert read(path) == TEXTS
    if form != "txt":
        assert kept(path, keep=("id",)) == [{"id": str(at)} for at in range(len(TEXTS))]


@pytest.mark.parametrize("form", [*FORMS, "parquet"])
def test_many_rows_and_long_ones(tmp_path: Path, form: str) -> None:
    texts = [f"text {at}" for at in range(3000)] + ["long " * 400_000]
    assert read(write(tmp_path / f"in.{form}", texts, delimiter="\t" if form == "tsv" else ",")) == texts


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("encoding", ["cp1252", "utf-16-le", "utf-16-be", "latin-1"])
def test_encodings_that_are_given(tmp_path: Path, form: str, encoding: str) -> None:
    texts = ["naïve café", "plain", "ü"]
    path = write(tmp_path / f"in.{form}", texts, encoding, delimiter="\t" if form == "tsv" else ",")
    assert read(path, encoding=encoding) == texts
    with pytest.raises(BadFile, match=r"in\.\w+, line 1: |in\.\w+, line 2: "):
        read(path)


@pytest.mark.parametrize(("form", "delimiter"), [("csv", ";"), ("csv", "\t"), ("csv", "|"), ("tsv", ",")])
def test_delimiters(tmp_path: Path, form: str, delimiter: str) -> None:
    path = write(tmp_path / f"in.{form}", TEXTS, delimiter=delimiter)
    assert read(path, delimiter=delimiter) == TEXTS
    with pytest.raises(BadFile, match="--delimiter"):
        read(path)


def test_quotes_as_plain_characters(tmp_path: Path) -> None:
    (tmp_path / "in.tsv").write_text('id\ttext\n1\t"a\n2\tb" c\n')
    assert read(tmp_path / "in.tsv", quotes=False) == ['"a', 'b" c']


BAD = [
    # Format, content, line, reason.
    ("csv", 'id,text\n1,a\n2,b, c\n3,d\n', 3, "3 fields, but the header has 2"),
    ("csv", 'id,text\n1,a\n2\n3,d\n', 3, "'text' is missing"),
    ("csv", 'id,text\n1,a\n2,"b\n3,d\n', 3, "a quote is not closed"),
    ("csv", 'id,text\n1,a\n2,"b"c\n3,d\n', 3, "must be doubled"),
    ("csv", "id,text\n1,a\n2,b\rc\n3,d\n", 3, "a carriage return inside a line"),
    ("csv", b'id,text\n1,a\n2,\xff\n3,d\n', 3, "not UTF-8"),
    ("csv", b'id,text\n1,a\n2,"b\n\xff"\n3,d\n', 3, "line 4: not UTF-8"),
    ("csv", "id,text\n1,a\n2,b\0\n3,d\n", 3, "NUL"),
    ("csv", "id,text\n1,a\n\n\n2,b,c\n3,d\n", 5, "3 fields"),
    ("tsv", "id\ttext\n1\ta\n2\tb\tc\n3\td\n", 3, "3 fields"),
    ("tsv", 'id\ttext\n1\ta\n2\t"b\n3\td\n', 3, "--no-quotes"),
    ("jsonl", '{"text": "a"}\n\n{\n{"text": "d"}\n', 3, "not JSON"),
    ("jsonl", '{"text": "a"}\n{"texts": "b"}\n{"text": "d"}\n', 2, "the object has no field 'text'; see --column; "
     "did you mean 'texts'"),
    ("jsonl", '{"text": "a"}\n["b"]\n{"text": "d"}\n', 2, "the object has no field"),
    ("jsonl", '{"text": "a"}\n{"text": null}\n{"text": "d"}\n', 2, "'text' is null"),
    ("jsonl", '{"text": "a"}\n{"text": NaN}\n{"text": "d"}\n', 2, "'text' is a float"),
    ("jsonl", '{"text": "a"}\n{"text": ["b"]}\n{"text": "d"}\n', 2, "'text' is a list"),
    ("jsonl", '{"text": "a"}\n{"text": "b", "text": "c"}\n{"text": "d"}\n', 2, "occurs twice"),
    ("jsonl", '{"text": "a"}\n{"text": "\\ud800"}\n{"text": "d"}\n', 2, "lone surrogate"),
    ("jsonl", b'{"text": "a"}\n{"text": "\xff"}\n{"text": "d"}\n', 2, "not UTF-8"),
    ("jsonl", '{"text": "a"}\n{"text": "b"} {}\n{"text": "d"}\n', 2, "not JSON"),
    ("jsonl", f'{{"text": "a"}}\n{"[" * 100_000}\n{{"text": "d"}}\n', 2, "not JSON"),
    ("txt", b"a\n\xff\nd\n", 2, "not UTF-8"),
    ("txt", "a\nb\0\nd\n", 2, "NUL"),
    ("txt", "a\nd\n".encode("utf-16")[:-1], 2, "not UTF-8"),
]  # fmt: skip


@pytest.mark.parametrize(("form", "content", "line", "says"), BAD)
def test_bad_rows_are_named_or_skipped(tmp_path: Path, form: str, content: str | bytes, line: int, says: str) -> None:
    path = tmp_path / f"in.{form}"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadFile) as raised:
        read(path)
    assert f"in.{form}, line {line}: " in str(raised.value)
    assert says in str(raised.value)
    skipping = source(path, skip=True)
    good = list(skipping.texts())
    assert good in (["a", "d"], ["a"])  # UTF-16 that is cut loses its last line.
    assert [(row["file"], row["line"]) for row in skipping.skipped] == [(str(path), line)]
    assert says in skipping.skipped[0]["reason"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("text,text\n1,2\n", "line 1: the column 'text' occurs twice"),
        ("id,text,id\n1,2,3\n", "line 1: the column 'id' occurs twice"),
        ("id,tekst\n1,2\n", "has the columns id, tekst, not 'text'; see --column; did you mean 'tekst'?"),
        ("id;text\n1;2\n", "separated by commas"),
        ("", "is empty"),
        ("\n\n", "is empty"),
        (b"id,te\xffxt\n1,2\n", "line 1: not UTF-8"),
        ('id,"text\n1,2\n', "line 1: a quote is not closed"),
    ],
)
def test_a_bad_header_is_never_skipped(tmp_path: Path, content: str | bytes, says: str) -> None:
    (tmp_path / "in.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    for skip in (False, True):
        with pytest.raises(BadFile, match=r"in\.csv") as raised:
            read(tmp_path / "in.csv", skip=skip)
        assert says in str(raised.value)


def test_a_quote_in_the_middle_spoils_one_row(tmp_path: Path) -> None:
    rows = [f"{at},text {at}" for at in range(3000)]
    rows[7] = '7,"not closed'
    rows[2000] = '2000,"nor this'
    (tmp_path / "in.csv").write_text("id,text\n" + "\n".join(rows))
    reading = source(tmp_path / "in.csv", skip=True)
    assert list(reading.texts()) == [f"text {at}" for at in range(3000) if at not in (7, 2000)]
    assert [row["line"] for row in reading.skipped] == [9, 2002]


def test_a_text_of_several_lines(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(b'id,text\r\n1,"a\r\nb\n\n""c"""\r\n2,d')
    assert read(tmp_path / "in.csv") == ['a\r\nb\n\n"c"', "d"]


@pytest.mark.parametrize("form", [*FORMS, "parquet"])
def test_nothing_to_read(tmp_path: Path, form: str) -> None:
    path = write(tmp_path / f"in.{form}", [], delimiter="\t" if form == "tsv" else ",")
    assert read(path) == []


def test_gzip_that_is_cut_or_damaged(tmp_path: Path) -> None:
    path = write(tmp_path / "in.jsonl.gz", [f"text {at}" for at in range(5000)])
    data = path.read_bytes()
    for damaged in (data[:-1], data[: len(data) // 2], data[:12], data[:500] + b"\0\0\0\0" + data[504:], data + b"x"):
        path.write_bytes(damaged)
        with pytest.raises(BadFile, match=r"in\.jsonl\.gz"):
            read(path, skip=True)
    path.write_bytes(data + data)
    assert len(read(path)) == 10_000
    path.write_bytes(gzip.decompress(data))  # Browsers and proxies unpack on the way.
    assert len(read(path)) == 5000


def test_folders_globs_and_their_order(tmp_path: Path) -> None:
    for name in ("b.csv", "a/10.csv", "a/2.csv", "a/_SUCCESS", ".hidden.csv", "_temporary/x.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"text,id\n{name},1\n")
    assert read(tmp_path) == ["a/10.csv", "a/2.csv", "b.csv"]
    assert read(tmp_path / "b.csv", tmp_path / "a" / "*.csv") == ["b.csv", "a/10.csv", "a/2.csv"]
    assert read(tmp_path / "**" / "1*.csv") == ["a/10.csv"]
    assert read(tmp_path / "[ab]") == ["a/10.csv", "a/2.csv"]  # A folder.
    (tmp_path / "[1].csv").write_text("text\nof that very name\n")
    assert read(tmp_path / "[1].csv") == ["of that very name"]


def partitioned(root: Path, form: str, *folders: str) -> Path:
    for at, folder in enumerate(folders):
        (root / folder).mkdir(parents=True)
        write(root / folder / f"part.{form}", [f"text {at}"], delimiter="\t" if form == "tsv" else ",")
    return root


@pytest.mark.parametrize("form", ["jsonl", "csv", "tsv", "parquet"])
def test_folders_that_are_columns(tmp_path: Path, form: str) -> None:
    names = "year=2023/lang=de", "year=2024/lang=__HIVE_DEFAULT_PARTITION__", "year=2024/lang=fr%3A 1"
    folder = partitioned(tmp_path / "a=b", form, *names)
    years: list[Any] = ["2023", "2024", "2024"] if form in ("csv", "tsv") else [2023, 2024, 2024]
    rows = [{"id": "0", "year": year, "lang": lang} for year, lang in zip(years, ("de", None, "fr: 1"), strict=True)]
    for given in (folder, folder / "year=*", folder / "*" / "*" / f"*.{form}"):
        assert kept(given, keep=("id", "year", "lang")) == rows
        assert [sorted(row) for row in kept(given, keep_all=True)] == [["id", "lang", "year"]] * 3
    assert kept(folder / "year=*", keep=("lang",), column="text") == [{"lang": row["lang"]} for row in rows]
    # What is named is not looked at: a partition is below it.
    named = folder / "year=2023" / "lang=de" / f"part.{form}"
    assert [list(row) for row in kept(named, keep_all=True)] == [["id"]]


def test_folders_of_numbers_that_are_spelled_otherwise(tmp_path: Path) -> None:
    folder = partitioned(tmp_path / "in", "parquet", "code=007", "code=8")
    assert [row["code"] for row in kept(folder, keep=("code",))] == ["007", "8"]
    folder = partitioned(tmp_path / "other", "parquet", "id=7", "text=x", "a=1")
    assert read(folder) == ["text 2", "text 0", "text 1"]  # A file's own columns come first.
    assert kept(folder, keep=("id",)) == [{"id": "0"}] * 3
    with pytest.raises(BadFile, match="has the columns id, text, but an earlier file id, a"):
        kept(folder, keep_all=True)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["nowhere.csv"], "nowhere.csv does not exist"),
        (["*.parquet"], r"\*.parquet does not exist"),
        ([""], "a file without a name does not exist"),
        (["empty"], "a folder without files"),
        (["a.csv", "a.csv"], "given twice"),
        (["a.csv", "*.csv"], "given twice"),
        (["a.csv", str(Path("empty", "..", "a.csv"))], "a.csv is given twice, as empty/../a.csv too"),
        (["a.csv", "b.txt"], "have different formats"),
        (["c.doc"], "the name must end in .txt"),
        (["a.csv", "d.csv"], "has the columns text, x, but an earlier file id"),
    ],
)
def test_files_that_do_not_go_together(
    tmp_path: Path, names: list[str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    for name in ("a.csv", "b.txt", "c.doc"):
        (tmp_path / name).write_text("id,text\n1,2\n")
    (tmp_path / "d.csv").write_text("text,x\n1,2\n")
    with pytest.raises(BadFile, match=says.replace(".", r"\.")):
        read(*names, keep_all=True)


def test_columns_of_several_files_go_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,text,note\n1,a,x\n")
    (tmp_path / "b.csv").write_text("note,text,id\ny,b,2\n")
    assert read(tmp_path) == ["a", "b"]
    assert kept(tmp_path, keep_all=True) == [{"id": "1", "note": "x"}, {"id": "2", "note": "y"}]


def test_nested_fields(tmp_path: Path) -> None:
    row = {"doc": {"body": {"en": "a"}, "id": 1}, "doc.id": 2, "x": None}
    (tmp_path / "in.jsonl").write_text(json.dumps(row) + "\n")
    assert read(tmp_path / "in.jsonl", column="doc.body.en") == ["a"]
    assert kept(tmp_path / "in.jsonl", column="doc.body.en", keep=("doc.id", "doc.body", "x.y")) == [
        {"doc.id": 2, "doc.body": {"en": "a"}, "x.y": None}
    ]
    with pytest.raises(BadFile, match=r"line 1: the object has no field 'doc\.body\.de'"):
        read(tmp_path / "in.jsonl", column="doc.body.de")
    pq.write_table(pa.table({"doc": [{"body": {"en": "a"}, "id": 1}, None], "doc.id": [2, 3]}), tmp_path / "in.parquet")
    reading = {"column": "doc.body.en", "skip": True}
    assert read(tmp_path / "in.parquet", **reading) == ["a"]
    assert kept(tmp_path / "in.parquet", keep=("doc.id", "doc.body"), **reading) == [
        {"doc.id": 2, "doc.body": {"en": "a"}}
    ]
    with pytest.raises(BadFile, match=r"not 'doc\.boby'"):
        read(tmp_path / "in.parquet", column="doc.boby")


def test_a_field_to_keep_that_no_line_has(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "a", "key": 1}\n{"text": "b"}\n')
    reading = source(tmp_path / "in.jsonl", keep=("kei",))
    list(reading.blocks())
    with pytest.raises(BadFile, match="no line has the field 'kei'; see --keep; did you mean 'key'"):
        reading.columns.check()
    reading = source(tmp_path / "in.jsonl", keep=("key",))
    list(reading.blocks())
    reading.columns.check()


TYPES = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_texts_of_parquet_in_every_type(tmp_path: Path, kind: Any) -> None:
    values = [None if at in (5, 2500) else f"text {at % 100}" for at in range(3000)]
    table = pa.table({"text": pa.array([value or "" for value in values]).cast(kind), "id": list(range(3000))})
    pq.write_table(table, tmp_path / "good.parquet")
    assert read(tmp_path / "good.parquet") == [value or "" for value in values]
    pq.write_table(pa.table({"text": pa.array(values).cast(kind), "id": list(range(3000))}), tmp_path / "in.parquet")
    with pytest.raises(BadFile, match=r"in\.parquet, row 6: 'text' is null"):
        read(tmp_path / "in.parquet")
    reading = source(tmp_path / "in.parquet", skip=True, keep=("id",))
    blocks = list(reading.blocks())
    assert [text for block in blocks for text in block.texts] == [value for value in values if value is not None]
    assert [row["id"] for block in blocks for row in block.kept.to_pylist()] == [
        at for at in range(3000) if at not in (5, 2500)
    ]
    assert [row["line"] for row in reading.skipped] == [6, 2501]


def test_parquet_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    for values, says in (([1], "is int64, not text"), ([b"\xff"], "is binary, not text"), ([["a"]], "not text")):
        pq.write_table(pa.table({"text": values}), path)
        with pytest.raises(BadFile, match=says):
            read(path)
    bad = pa.array([b"a", b"\xff"]).view(pa.string())
    pq.write_table(pa.table({"text": bad}), path)
    with pytest.raises(BadFile, match="row 2: 'text' is not UTF-8"):
        read(path)
    assert read(path, skip=True) == ["a"]
    pq.write_table(pa.table([["a"], ["b"]], names=["text", "text"]), path)
    with pytest.raises(BadFile, match="occurs twice"):
        read(path)
    data = write(path, TEXTS * 100).read_bytes()
    for damaged in (data[:-20], b"", b"PAR1", data[: len(data) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(BadFile, match=r"in\.parquet"):
            read(path)


@pytest.mark.parametrize("change", ["replace", "append", "cut", "same size and time", "gone"])
def test_a_change_is_noticed(tmp_path: Path, change: str) -> None:
    path = write(tmp_path / "in.txt", ["a", "b"])
    reading = source(path)
    reading.inputs.check()
    before = path.stat()
    if change == "replace":
        (tmp_path / "new").write_text("a\nb\n")
        os.utime(tmp_path / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
        (tmp_path / "new").rename(path)
    elif change == "append":
        with path.open("a") as file:
            file.write("c\n")
    elif change == "cut":
        os.truncate(path, 2)
    elif change == "same size and time":
        path.write_text("a\nc\n")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    else:
        path.unlink()
    with pytest.raises(BadFile, match=r"in\.txt"):
        reading.inputs.check()


def test_a_file_that_comes_into_a_folder_is_noticed(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", ["a"])
    reading = source(tmp_path)
    write(tmp_path / "b.txt", ["b"])
    with pytest.raises(BadFile, match="the set of files has changed"):
        reading.inputs.check()
