"""Kept columns, unchanged between all formats: types, times, Parquet partitions, ids in the second file of .npy."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from job_files import read_output, write_input

ROWS = 3000


@pytest.mark.parametrize("source", ["txt", "jsonl", "csv", "parquet"])
@pytest.mark.parametrize("target", ["npy", "jsonl", "parquet"])
def test_every_form_there_and_back(embed: Any, tmp_path: Path, source: str, target: str) -> None:
    asked = [str(at) for at in range(3000)]
    write_input(tmp_path / f"in.{source}", asked)
    result = embed("--input", tmp_path / f"in.{source}", "--output", tmp_path / f"out.{target}")
    assert result.returncode == 0, result.err
    texts, vectors = read_output(tmp_path / f"out.{target}")
    assert texts in (None, asked)
    assert vectors[:, 1].tolist() == list(range(3000))
    assert {path.name for path in tmp_path.iterdir()} == {f"in.{source}", f"out.{target}"}


def test_columns_are_kept_from_each_form_to_each(embed: Any, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    when = datetime.datetime(2026, 5, 4, 3, 2, 1, tzinfo=datetime.UTC)
    table = pa.table(
        {
            "q": [str(at) for at in range(2500)],
            "id": pa.array(range(2500), pa.int32()),
            "when": pa.array([when] * 2500, pa.timestamp("ms", "UTC")),
            "tags": [["a", str(at)] if at % 2 else None for at in range(2500)],
            "rate": [float("nan") if at == 1 else at / 2 for at in range(2500)],
            "raw": [b"\xff"] * 2500,
        }
    )
    pq.write_table(table, tmp_path / "in.parquet")
    keep_all = ["--column", "q", "--keep-all"]
    assert embed(*keep_all, "-i", tmp_path / "in.parquet", "-o", tmp_path / "a.parquet").returncode == 0
    got = pq.read_table(tmp_path / "a.parquet")
    assert got.column_names == ["text", "id", "when", "tags", "rate", "raw", "embedding"]
    # In Arrow's own comparison, NaN differs from NaN.
    assert got.drop_columns(["text", "embedding", "rate"]).equals(table.drop_columns(["q", "rate"]))
    assert str(got["rate"].to_pylist()) == str(table["rate"].to_pylist())
    assert embed(*keep_all, "-i", tmp_path / "in.parquet", "-o", tmp_path / "b.jsonl").returncode == 0
    rows = [json.loads(line) for line in (tmp_path / "b.jsonl").read_text().splitlines()]
    assert rows[1] == {
        "text": "1", "id": 1, "when": "2026-05-04T03:02:01+00:00", "tags": ["a", "1"], "rate": None, "raw": "/w==",
        "embedding": [1, 1],
    }  # fmt: skip
    some = ["--keep", "id", "--keep", "tags"]
    assert embed(*some, "-i", tmp_path / "b.jsonl", "-o", tmp_path / "c.parquet").returncode == 0
    assert pq.read_table(tmp_path / "c.parquet").drop_columns("embedding").to_pylist() == [
        {"text": row["text"], "id": row["id"], "tags": row["tags"]} for row in rows
    ]
    (tmp_path / "d.csv").write_text('text,id,note\n1,01,"a, b"\n2,02,\n', encoding="utf-8-sig")
    result = embed("--keep-all", "-i", tmp_path / "d.csv")
    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        {"text": "1", "id": "01", "note": "a, b", "embedding": [1, 1]},
        {"text": "2", "id": "02", "note": "", "embedding": [1, 2]},
    ]


def test_jsonl_of_uneven_rows_becomes_one_table(embed: Any, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    lines = ['{"text": "1", "a": 1}', '{"text": "2", "b": "x"}'] + ['{"text": "3", "a": 1.5}'] * 2000
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    assert embed("--keep-all", "-i", tmp_path / "in.jsonl", "-o", tmp_path / "a.parquet").returncode == 0
    rows = pq.read_table(tmp_path / "a.parquet").drop_columns("embedding").to_pylist()
    assert rows[:3] == [
        {"text": "1", "a": 1.0, "b": None}, {"text": "2", "a": None, "b": "x"}, {"text": "3", "a": 1.5, "b": None}
    ]  # fmt: skip
    (tmp_path / "in.jsonl").write_text("\n".join([*lines, '{"text": "4", "a": "word"}']))
    result = embed("--keep-all", "-i", tmp_path / "in.jsonl", "-o", tmp_path / "b.parquet")
    assert result.returncode == 1
    assert "the values of 'a' do not fit into one Parquet column" in result.err
    assert "in.jsonl, line 2003" in result.err
    assert embed("-i", tmp_path / "in.jsonl", "-o", tmp_path / "b.parquet").returncode == 0


@pytest.mark.parametrize("rows", [None, "ids.jsonl", "ids.parquet"])
def test_ids_beside_npy(embed: Any, tmp_path: Path, rows: str | None) -> None:
    write_input(tmp_path / "in.parquet", [str(at) for at in range(ROWS)])
    asked = ["-i", tmp_path / "in.parquet", "-o", tmp_path / "out.npy", "--keep", "id"]
    asked += ["--rows", tmp_path / rows] if rows else []
    result = embed(*asked)
    assert result.returncode == 0, result.err
    beside = tmp_path / (rows or "out.npy.rows.jsonl")
    if beside.suffix == ".parquet":
        table = pq.read_table(beside)
        assert (table.column_names, table["id"].type) == (["id"], pa.int64())
        found = table["id"].to_pylist()
    else:
        found = [json.loads(line)["id"] for line in beside.read_text().splitlines()]
    assert found == list(range(ROWS))
    assert np.load(tmp_path / "out.npy")[:, 1].tolist() == found
    assert {path.name for path in tmp_path.iterdir()} == {"in.parquet", "out.npy", beside.name}
    (tmp_path / "out.npy").unlink()
    assert "exists" in embed(*asked).err
    assert embed(*asked, "--overwrite").returncode == 0


def kept_table() -> pa.Table:
    """Every type of Parquet, with values that Python's own types cannot represent."""
    columns = {
        "ns": pa.array([1_700_000_000_123_456_789, None, -1], pa.timestamp("ns")),
        "ns_zone": pa.array([1_700_000_000_123_456_789, None, 0], pa.timestamp("ns", "Europe/Berlin")),
        "far": pa.array([253_402_300_800_000_001, -62_135_596_800_000_001, None], pa.timestamp("us")),
        "far_utc": pa.array([253_402_300_800_000, -62_135_596_800_001, None], pa.timestamp("ms", "UTC")),
        "day": pa.array([2_932_897, -719_163, None], pa.int32()).cast(pa.date32()),
        "time": pa.array([1, 86_399_999_999_999, None], pa.time64("ns")),
        "took": pa.array([1, -10**18 - 1, None], pa.duration("ns")),
        "money": pa.array(["1.10", "-99999999999999999999999999.99", None]).cast(pa.decimal128(38, 2)),
        "big": pa.array([2**64 - 1, 0, None], pa.uint64()),
        "half": pa.array(np.float16([1.5, np.nan, np.inf])),
        "raw": pa.array([b"\xff\0", b"", None]),
        "fixed": pa.array([b"ab", b"cd", None], pa.binary(2)),
        "word": pa.array(["a", "b", None], pa.dictionary(pa.int32(), pa.string())),
        "large": pa.array(["a", "", None], pa.large_string()),
        "view": pa.array(["a", "", None], pa.string_view()),
        "list": pa.array([[1, None], [], None], pa.large_list(pa.int8())),
        "two": pa.array([[1.0, 2.0], [3.0, None], None], pa.list_(pa.float64(), 2)),
        "map": pa.array([[("a", 1)], [], None], pa.map_(pa.string(), pa.int32())),
        "row": pa.array([{"t": 1, "s": ["x"]}, {"t": None, "s": None}, None],
                        pa.struct([("t", pa.timestamp("ns")), ("s", pa.list_(pa.string()))])),
        "flag": pa.array([True, False, None]),
        "nothing": pa.nulls(3),
    }  # fmt: skip
    schema = pa.schema([pa.field(name, column.type, metadata={"k": "v"}) for name, column in columns.items()])
    return pa.table(list(columns.values()), schema=schema)


def test_every_type_of_parquet_stays_what_it_is(embed: Any, tmp_path: Path) -> None:
    table = kept_table()
    pq.write_table(table.append_column("text", pa.array(["1", "2", "3"])), tmp_path / "in.parquet")
    there = pq.read_table(tmp_path / "in.parquet").drop_columns("text")
    asked = ["-i", tmp_path / "in.parquet", "--keep-all", "-o"]
    result = embed(*asked, tmp_path / "out.parquet")
    assert result.returncode == 0, result.err
    got = pq.read_table(tmp_path / "out.parquet")
    assert got["text"].to_pylist() == ["1", "2", "3"]
    got = got.drop_columns(["text", "embedding"])
    assert got.schema.equals(there.schema, check_metadata=False)
    for name in there.column_names:
        assert str(got[name].cast(pa.int64()) if name in ("ns", "far") else got[name]) == str(
            there[name].cast(pa.int64()) if name in ("ns", "far") else there[name]
        )
    assert got.drop_columns("half").equals(there.drop_columns("half"))
    result = embed(*asked, tmp_path / "out.jsonl")
    assert result.returncode == 0, result.err
    first, second, third = (json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines())
    expected = {
        "ns": "2023-11-14T22:13:20.123456789", "ns_zone": "2023-11-14T23:13:20.123456789+01:00",
        "far": "10000-01-01T00:00:00.000001", "far_utc": "10000-01-01T00:00:00+00:00", "day": "10000-01-01",
        "time": "00:00:00.000000001", "took": "PT0.000000001S", "money": "1.10", "big": 2**64 - 1, "half": 1.5,
        "raw": "/wA=", "fixed": "YWI=", "word": "a", "large": "a", "view": "a", "list": [1, None], "two": [1.0, 2.0],
        "map": [["a", 1]], "row": {"t": "1970-01-01T00:00:00.000000001", "s": ["x"]}, "flag": True, "nothing": None,
    }  # fmt: skip
    assert {name: first[name] for name in expected} == expected
    assert (second["half"], second["far"], second["row"]) == (
        None,
        "0000-12-31T23:59:59.999999",
        {"t": None, "s": None},
    )
    assert {value for name, value in third.items() if name not in ("ns", "ns_zone", "half", "text", "embedding")} == {
        None
    }


def test_times_as_spark_writes_them(embed: Any, tmp_path: Path) -> None:
    for values, unit in (([253_370_764_800_000_000, 1, None], "us"), ([1_700_000_000_123_456_789, 1, None], "ns")):
        table = pa.table({"text": ["1", "2", "3"], "at": pa.array(values, pa.timestamp(unit))})
        pq.write_table(table, tmp_path / "in.parquet", use_deprecated_int96_timestamps=True)
        for form in ("parquet", "jsonl"):
            output = tmp_path / f"out.{form}"
            result = embed("-i", tmp_path / "in.parquet", "--keep", "at", "-o", output, "--overwrite")
            assert result.returncode == 0, result.err
        assert pq.read_table(tmp_path / "out.parquet")["at"].combine_chunks().equals(table["at"].combine_chunks())
        first = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])["at"]
        assert first == ("9999-01-01T00:00:00" if unit == "us" else "2023-11-14T22:13:20.123456789")


def test_several_days(tmp_path: Path) -> None:
    """A time with a zone equals Python's own conversion."""
    from rawbert.serving.cli.files.parquet import from_arrow

    for zone in ("UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kolkata", "+02:00"):
        for second in (0, 1_700_000_000, -5_000_000_000, 1_720_000_000):
            value = pa.scalar(second, pa.timestamp("s", zone))
            assert datetime.datetime.fromisoformat(from_arrow(value)) == value.as_py()
            assert from_arrow(value) == value.as_py().isoformat()


@pytest.mark.parametrize("target", ["jsonl", "parquet", "npy"])
def test_a_folder_that_spark_has_partitioned(embed: Any, tmp_path: Path, target: str) -> None:
    table = pa.table({"text": ["1", "2", "3"], "year": [2024, 2023, 2024], "lang": ["de", "de", None]})
    pq.write_to_dataset(table, tmp_path / "in", partition_cols=["year", "lang"])
    output = tmp_path / f"out.{target}"
    result = embed("-i", tmp_path / "in", "--keep-all", "-o", output)
    assert result.returncode == 0, result.err
    beside = output if target != "npy" else tmp_path / "out.npy.rows.jsonl"
    rows = pq.read_table(beside).to_pylist() if target == "parquet" else list(map(json.loads, beside.open()))
    wanted = [(2023, "de"), (2024, None), (2024, "de")]
    assert [(row["year"], row["lang"]) for row in rows] == wanted
    assert read_output(output)[1][:, 1].tolist() == [2, 3, 1]


def test_parquet_of_several_files(embed: Any, tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    pq.write_table(pa.table({"text": ["1"], "id": pa.array([1], pa.int32())}), folder / "0.parquet")
    pq.write_table(pa.table({"id": pa.array([2], pa.int64()), "text": ["2"]}), folder / "1.parquet")
    assert embed("-i", folder, "--keep-all", "-o", tmp_path / "out.parquet").returncode == 0
    table = pq.read_table(tmp_path / "out.parquet").drop_columns("embedding")
    assert table.to_pylist() == [{"text": "1", "id": 1}, {"text": "2", "id": 2}]
    assert table["id"].type == pa.int64()
    pq.write_table(pa.table({"id": ["3"], "text": ["3"]}), folder / "2.parquet")
    result = embed("-i", folder, "--keep-all", "-o", tmp_path / "out.parquet", "--overwrite")
    assert (result.returncode, "2.parquet: the values of 'id' do not fit" in result.err) == (1, True)
