"""Parquet and Arrow columns: kept columns are copied without conversion to Python's own types."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from functools import lru_cache, partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from . import BadFile
from .columns import Columns, path_of
from .inputs import File
from .jsonl import plain
from .lines import Bad
from .source import Block, Source

#: pyarrow's exceptions for values that do not fit into one column; its own classes derive from these.
_UNFIT = (ValueError, TypeError, OverflowError, NotImplementedError)
#: Arrow's time units per second.
_A_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@lru_cache
def arrow() -> Any:
    """pyarrow, with its ``compute`` and ``parquet``.

    Raises:
        BadFile: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise BadFile("Parquet needs the data extra: pip install 'rawbert[data]'") from error
    return pyarrow


def blocks(file: File, columns: Columns, size: int, bad: Bad) -> Iterator[Block]:
    """The rows of a file.

    Raises:
        BadFile: not a Parquet file, or it lacks a requested column.
    """
    pa = arrow()
    with _opened(file) as parquet:
        fields, there = _fields(parquet.schema_arrow, file)
        names = columns.of_header(file.name, there, "", fields, _children)
        ways, text_way = [_way(fields, name) for name in names], _text_way(file, fields, columns)
        read = dict.fromkeys(way[0] for way in (*ways, text_way) if way and way[0] in parquet.schema_arrow.names)
        column = partial(_column, partition=file.partition)
        place = 0
        for batch in parquet.iter_batches(size, columns=list(read)):
            good, texts = [], []
            for at, value in enumerate([""] * len(batch) if text_way is None else _texts(column(batch, text_way))):
                if isinstance(value, str):
                    good.append(at)
                    texts.append(value)
                else:
                    why = "null, not a text" if value is None else "not UTF-8"
                    bad(place + at + 1, f"{columns.text!r} is {why}")
            rows = pa.RecordBatch.from_arrays([column(batch, way) for way in ways], names) if names else None
            if rows is not None and len(good) < len(batch):
                rows = rows.take(pa.array(good, pa.int64()))
            if texts:
                yield Block(f"{file.name}, row", [place + at + 1 for at in good], texts, rows)
            place += len(batch)


def schema(source: Source) -> list[Any]:
    """Arrow fields of the kept columns: a Parquet file's own, strings for CSV, types that fit all rows of JSONL.

    Raises:
        BadFile: the values of one field have incompatible types.
    """
    pa = arrow()
    if not source.columns.any_kept:
        return []
    if source.inputs.form in ("csv", "tsv"):
        return [pa.field(name, pa.string()) for name in source.header()]
    found: dict[str, Any] = {}
    if source.inputs.form == "parquet":
        for file in source.inputs.files:
            with _opened(file) as parquet:
                fields, there = _fields(parquet.schema_arrow, file)
                for name in source.columns.of_header(file.name, there, "", fields, _children):
                    _unify(found, _field(fields, _way(fields, name)).with_name(name), file.name)
        return list(found.values())
    found = {name: pa.field(name, pa.null()) for name in source.columns.keep}
    for block in source.blocks():
        for name in dict.fromkeys(name for row in block.kept for name in row):
            values = [row.get(name) for row in block.kept]
            try:
                kind = pa.array(values).type
            except _UNFIT as error:
                raise _unfit(block, name, values, None, error) from error
            _unify(found, pa.field(name, kind), f"{block.where(0)} to {block.places[-1]}")
    return list(found.values())


def arrays(block: Block, fields: Iterable[Any]) -> list[Any]:
    """The kept columns in the types of ``fields``.

    Raises:
        BadFile: a value does not fit the type.
    """
    pa = arrow()
    made = []
    for field in fields:
        if isinstance(block.kept, list):
            values = [row.get(field.name) for row in block.kept]
            try:
                made.append(pa.array(values, field.type))
            except _UNFIT as error:
                raise _unfit(block, field.name, values, field.type, error) from error
        else:
            column = block.kept.column(field.name)
            try:
                made.append(column if column.type == field.type else column.cast(field.type))
            except pa.ArrowException as error:
                raise BadFile(
                    f"{block.where(0)}: {field.name!r} cannot be converted to {field.type}: {error}"
                ) from error
    return made


def write(file: IO[bytes], rows: Iterable[tuple[Block, Any]], fields: Sequence[Any], width: int | None) -> None:
    """Write a Parquet file of texts, kept columns and vectors; without ``width``, of kept columns only."""
    pa = arrow()
    text, vector = pa.field("text", pa.string()), pa.field("embedding", pa.list_(pa.float32(), width or 0))
    kinds = pa.schema(fields if width is None else [text, *fields, vector])
    with pa.parquet.ParquetWriter(file, kinds) as writer:
        for block, vectors in rows:
            columns = arrays(block, fields)
            if width is not None:
                flat = pa.array(np.ascontiguousarray(vectors).ravel(), pa.float32())
                texts = pa.array(block.texts, pa.string())
                columns = [texts, *columns, pa.FixedSizeListArray.from_arrays(flat, width)]
            writer.write_table(pa.table(columns, schema=kinds))


def from_arrow(value: Any) -> Any:
    """An Arrow scalar as a JSON value: times ISO 8601 with all digits, bytes base64, NaN null."""
    types, kind = arrow().types, value.type
    if not value.is_valid:
        return None
    if types.is_dictionary(kind) or isinstance(kind, arrow().BaseExtensionType):
        return from_arrow(value.value)
    if types.is_struct(kind):
        return {kind.field(at).name: from_arrow(value[at]) for at in range(kind.num_fields)}
    if types.is_map(kind):
        return [[from_arrow(entry[0]), from_arrow(entry[1])] for entry in value.values]
    if types.is_nested(kind):
        return [from_arrow(each) for each in value.values]
    if types.is_timestamp(kind):
        return _trimmed(np.datetime64(value.value, kind.unit)) if kind.tz is None else _local(value)
    if types.is_date(kind):
        return str(np.datetime64(value.value, "D" if types.is_date32(kind) else "ms").astype("datetime64[D]"))
    if types.is_time(kind):
        return _trimmed(np.datetime64(value.value, kind.unit)).partition("T")[2]
    if types.is_duration(kind):
        return f"PT{Decimal(value.value) / _A_SECOND[kind.unit]:f}S"
    return plain(value.as_py())


def _trimmed(time: Any) -> str:
    text = str(time)
    return text.rstrip("0").rstrip(".") if "." in text else text


def _local(value: Any) -> str:
    """A time in its own time zone."""
    per = _A_SECOND[value.type.unit]
    try:
        local = arrow().compute.local_timestamp(value).value
    except arrow().ArrowException:  # An unknown time zone.
        local = value.value
    seconds = (local - value.value) // per
    hours, rest = divmod(abs(seconds), 3600)
    offset = f"{'-' if seconds < 0 else '+'}{hours:02}:{rest // 60:02}" + (f":{rest % 60:02}" if rest % 60 else "")
    return _trimmed(np.datetime64(local, value.type.unit)) + offset


@contextmanager
def _opened(file: File) -> Iterator[Any]:
    pa = arrow()
    assert file.path is not None
    try:
        unit = _int96_unit(file.path, file.state)
        with pa.parquet.ParquetFile(file.path, coerce_int96_timestamp_unit=unit) as parquet:
            yield parquet
    except (pa.ArrowException, OSError) as error:
        raise BadFile(f"{file.name}: not a readable Parquet file: {error}") from error


@lru_cache
def _int96_unit(path: Path, state: tuple[int, ...]) -> str | None:
    """The time unit for Spark's INT96 times: Arrow reads them as nanoseconds, whose range ends in 2262.

    ``us`` if a file has times outside that range; ``None`` for Arrow's default.
    """
    pa, most = arrow(), (2**63 - 1) // 1000
    with pa.parquet.ParquetFile(path, coerce_int96_timestamp_unit="us") as parquet:
        kinds = [parquet.schema.column(at) for at in range(len(parquet.schema))]
        names = [kind.name for kind in kinds if kind.physical_type == "INT96" and kind.path == kind.name]
        for batch in parquet.iter_batches(columns=names) if names else ():
            for column in batch.columns:
                ends = pa.compute.min_max(column.cast(pa.int64()))
                if any(ends[end].is_valid and abs(ends[end].as_py()) > most for end in ("min", "max")):
                    return "us"
    return None


def _fields(schema: Any, file: File) -> tuple[dict[str, Any], list[str]]:
    """The columns of a file and of its partition, and the names of all."""
    pa = arrow()
    added = {name: value for name, value in file.partition.items() if name not in schema.names}
    fields = [*schema, *(pa.field(name, pa.scalar(value).type) for name, value in added.items())]
    return {field.name: field for field in fields}, [*schema.names, *added]


def _children(field: Any) -> Any:
    return {each.name: each for each in field.type} if arrow().types.is_struct(field.type) else None


def _way(fields: Mapping[str, Any], name: str) -> tuple[str, ...]:
    way = path_of(fields, name, _children)
    assert way is not None
    return way


def _text_way(file: File, fields: Mapping[str, Any], columns: Columns) -> tuple[str, ...] | None:
    if columns.text is None:
        return None
    way = _way(fields, columns.text)
    kind = _field(fields, way).type
    plain = kind.value_type if arrow().types.is_dictionary(kind) else kind
    if str(plain) not in ("string", "large_string", "string_view", "null"):
        named = f"the column {columns.text!r} is {kind}, not text"
        raise BadFile(f"{file.name}: {named}; see {columns.option(columns.text)}")
    return way


def _field(fields: Mapping[str, Any], way: Sequence[str]) -> Any:
    field = fields[way[0]]
    for name in way[1:]:
        field = _children(field)[name]
    return field


def _column(batch: Any, way: Sequence[str], partition: Mapping[str, Any]) -> Any:
    if way[0] not in batch.schema.names:
        return arrow().repeat(arrow().scalar(partition[way[0]]), len(batch))
    column = batch.column(way[0])
    for name in way[1:]:
        column = arrow().compute.struct_field(column, [name])
    return column


def _texts(column: Any) -> list[Any]:
    """Texts, ``None`` for null, bytes for invalid UTF-8."""
    pa = arrow()
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        return [_decoded(value) for value in column.cast(pa.binary()).to_pylist()]


def _decoded(value: bytes | None) -> str | bytes | None:
    try:
        return value and value.decode()
    except UnicodeDecodeError:
        return value


def _unify(found: dict[str, Any], field: Any, where: str) -> None:
    """Widen the type of a column so that it also fits another field of that name."""
    pa = arrow()
    before = found.setdefault(field.name, field)
    if before.type == field.type:
        return
    try:
        both = pa.unify_schemas([pa.schema([before]), pa.schema([field])], promote_options="permissive")
    except pa.ArrowException as error:
        raise BadFile(_cannot(where, field.name, error)) from error
    found[field.name] = both.field(0)


def _unfit(block: Block, name: str, values: list[Any], kind: Any, error: Exception) -> BadFile:
    """The error for values that do not fit into one column, with the first row that does not fit."""

    def fails(count: int) -> bool:
        try:
            arrow().array(values[:count], kind)
        except _UNFIT:
            return True
        return False

    at = bisect_left(range(len(values) + 1), True, key=fails) - 1
    return BadFile(_cannot(block.where(max(at, 0)), name, error))


def _cannot(where: str, name: str, error: Exception) -> str:
    return (
        f"{where}: the values of {name!r} do not fit into one Parquet column ({error}); write .jsonl, or do not keep "
        f"this field"
    )
