"""Tagged rows: CoNLL files, JSONL and Parquet of words with tags, and JSONL and Parquet of texts with spans.

A row's label is the tuple of its spans (:class:`.tags.Span`), in order and without overlaps.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, NamedTuple

from ...serving.cli.files import BadFile, lines
from ...serving.cli.files.inputs import File
from ...serving.plurals import counted
from ..errors import DataError
from . import data
from .config import LABEL, TEXT, FinetuneConfig
from .data import Files, Form, Row, Table
from .tags import BIO, OUTSIDE, Sentence, Span, to_spans

#: Default columns; the first existing one is used.
_WORDS, _TAGS = ("tokens", "words"), ("tags", "ner_tags", "labels", "label")
_SPANS = ("spans", "entities", "labels", "label")
#: Names of a span's fields: in this project, Prodigy and spaCy; in Doccano; in transformers' pipeline.
_START, _END = ("start", "start_offset"), ("end", "end_offset")
_LABEL = ("label", "entity_group", "entity", "type")
_DOCUMENT = "-DOCSTART-"


class Tagged(NamedTuple):
    """The contents of a file of tagged rows.

    Attributes:
        table: the rows.
        scheme: scheme of its tags, see :mod:`.tags`; ``None`` if all tags are ``O``.
        notes: notes for the user.
    """

    table: Table
    scheme: str | None
    notes: list[str]


def read(named: str | os.PathLike[str], config: FinetuneConfig) -> Tagged:
    """Read a file, or files.

    Args:
        named: see :class:`.data.Files`. Names that end in ``.jsonl`` and ``.parquet`` are tables; any other is CoNLL.
        config: format of the files, and names of columns and tags.

    Raises:
        DataError: it cannot be read, or rows cannot be used for training.
    """
    form = config.form._replace(format=config.input_format or _format(named))
    with data.opened(named, form._replace(format="text") if form.format == "conll" else form) as files:
        faults = list[str]()
        if form.format == "conll":
            found = _of_words(files, _conll(files, form, config.word_column, config.tag_column), faults)
        else:
            found = _of_records(files, config, faults)
        scheme, rows, notes = found
        return Tagged(data.table_of(files, rows, faults), scheme, notes)


def _format(named: str | os.PathLike[str]) -> str:
    suffix = Path(str(named).lower().removesuffix(".gz")).suffix
    if suffix in (".csv", ".json"):
        raise DataError(f"{named}: give tags as a CoNLL file, .jsonl or .parquet, not {suffix}")
    return {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}.get(suffix, "conll")


def _of_words(
    files: Files, sentences: Iterator[tuple[str, Any, Any]], faults: list[str]
) -> tuple[str | None, list[Row], list[str]]:
    """Rows from words and tags."""
    found = []
    for at, words, tags in sentences:
        fault = _fault(words, tags)
        if fault is not None:
            faults.append(f"{at} ({fault})")
            continue
        kept = [(word, tag) for word, tag in zip(words, tags, strict=True) if word.strip()]
        if kept:
            found.append(Sentence([word for word, _ in kept], [tag for _, tag in kept], at))
        else:
            faults.append(f"{at} (the text is empty)")
    if faults:
        return None, [], []
    scheme, spans, notes = to_spans(files.path, found)
    rows = [
        Row((" ".join(sentence.words),), tuple(own), sentence.at) for sentence, own in zip(found, spans, strict=True)
    ]
    return scheme, rows, notes


def _fault(words: Any, tags: Any) -> str | None:
    """The fault in words and tags, if there is one."""
    for what, values in (("words", words), ("tags", tags)):
        if not isinstance(values, list):
            return f"the {what} are {values!r:.40}, not a list"
    if len(words) != len(tags):
        return f"{len(words)} words and {len(tags)} tags"
    for word, tag in zip(words, tags, strict=True):
        if not isinstance(word, str) or not isinstance(tag, str):
            return f"{word!r:.40} has the tag {tag!r:.40}: both must be texts"
        if not tag.strip():
            return f"the tag of {word!r:.40} is empty"
        if re.search("[\ud800-\udfff]", word):
            return f"{word!r:.40} is not Unicode text: it has half of a surrogate pair"
        if not word.strip() and tag != OUTSIDE:
            return f"an empty word has the tag {tag!r:.40}"
    return None


def _conll(files: Files, form: Form, word_column: int, tag_column: int) -> Iterator[tuple[str, list[str], list[str]]]:
    """The sentences of a CoNLL file: one word per line, columns separated by a tab or blanks, and a blank line after
    each.

    A line with another number of columns is an error; only comments (``# text = ...``, at the beginning of a sentence)
    may differ.
    """
    if form.delimiter or form.no_quotes:
        raise BadFile(f"{files.path}: leave --delimiter and --no-quotes out: they are for CSV")
    for file in files.inputs.files:
        yield from _sentences(files, file, form.encoding, word_column, tag_column)


def _sentences(
    files: Files, file: File, encoding: str | None, word_column: int, tag_column: int
) -> Iterator[tuple[str, list[str], list[str]]]:
    def bad(number: int, reason: str) -> None:
        raise BadFile(f"{file.name}, line {number}: {reason}")

    width: int | None = None
    begin, words, tags = 0, list[str](), list[str]()
    comments = list[tuple[int, list[str]]]()  # lines with "#", which may be words
    end: list[lines.Row] = [(0, "", {})]
    for number, line, _ in chain(lines.text_rows(file, encoding, bad), end):
        cells = [cell.strip(" ") for cell in line.split("\t")] if "\t" in line else re.split(" +", line.strip(" "))
        ends = not line.strip(" \t") or cells[0] == _DOCUMENT
        if line.startswith("#") and not words:
            comments.append((number, cells))
            continue
        wanted = width if ends else len(cells)
        new = [each for each in comments if len(each[1]) == wanted]
        comments = []
        for place, found in new if ends else [*new, (number, cells)]:
            width = _width(file, place, found, width, (word_column, tag_column))
            begin = begin if words else place
            words.append(found[word_column - 1 if word_column > 0 else word_column])
            tags.append(found[tag_column - 1 if tag_column > 0 else tag_column])
        if ends and words:
            yield files.place(f"{file.name}, line {begin}"), words, tags
            words, tags = [], []


def _width(file: File, number: int, cells: Sequence[str], width: int | None, wanted: tuple[int, int]) -> int:
    """The number of columns, checked against the lines before."""
    least = max(2, *(abs(column) for column in wanted))
    if len(cells) != (width or len(cells)):
        raise DataError(
            f"{file.name}: line {number} has {counted(len(cells), 'column')} ({' '.join(cells)!r:.60}), but the lines "
            f"before have {width}; give each word a tag, and end sentences with a blank line"
        )
    if len(cells) < least:
        raise DataError(
            f"{file.name}: line {number} has {counted(len(cells), 'column')} "
            f"({' '.join(cells)!r:.60}); expected at least {least}: a word and its tag (--word-column, --tag-column)"
        )
    return len(cells)


def _stated_names(files: Files, column: str) -> list[str]:
    """The names of numeric tags in Hugging Face's Parquet files."""
    from pyarrow import parquet

    try:
        metadata = parquet.read_schema(files.inputs.files[0].path).metadata or {}
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        return next(_names(features[column]), [])
    except (ValueError, TypeError, LookupError):
        return []  # another tool's


def _names(feature: Any) -> Iterator[list[str]]:
    """The names of a ClassLabel anywhere in a feature."""
    if isinstance(feature, dict):
        if isinstance(feature.get("names"), list):
            yield [str(name) for name in feature["names"]]
        for inner in feature.values():
            yield from _names(inner)
    elif isinstance(feature, list):
        for inner in feature:
            yield from _names(inner)


def _of_records(files: Files, config: FinetuneConfig, faults: list[str]) -> tuple[str | None, list[Row], list[str]]:
    """Rows from objects; the first one decides between spans, and words with tags."""
    records = files.records(None)
    first = next(records, None)
    if first is None:
        return None, [], []
    text, label = _columns(files.path, first[1], config)
    every = ((at, {text: None, label: None, **record}) for at, record in chain([first], records))
    if isinstance(first[1][text], str):
        return _of_spans(every, text, label, faults)
    names = config.tag_names
    if not names and files.inputs.form == "parquet":
        names = tuple(_stated_names(files, label))

    def sentences() -> Iterator[tuple[str, Any, Any]]:
        for at, record in every:
            tags = record[label]
            if isinstance(tags, list):
                tags = [_named(files.path, at, tag, names) for tag in tags]
            yield at, record[text], tags

    return _of_words(files, sentences(), faults)


def _named(path: Path, at: str, tag: Any, names: Sequence[str]) -> Any:
    """The name of a numeric tag."""
    if not isinstance(tag, int) or isinstance(tag, bool):
        return tag
    if not names:
        raise DataError(f"{path}: {at}: tags are numbers, such as {tag}: give their names with --tag-names")
    if not 0 <= tag < len(names):
        raise DataError(
            f"{path}: {at}: the tag {tag} has no name; give all names with --tag-names ({len(names)} are given)"
        )
    return names[tag]


def _columns(path: Path, record: Mapping[str, Any], config: FinetuneConfig) -> tuple[str, str]:
    """The columns of text and spans, or of words and tags."""

    def of(own: str, default: str, known: Sequence[str], kinds: type | tuple[type, ...]) -> str | None:
        names = known if own == default else (own,)
        return next((name for name in names if name in record and isinstance(record[name], kinds)), None)

    text, spans = of(config.text, TEXT, (TEXT,), str), of(config.label, LABEL, _SPANS, (list, dict))
    if text is not None and spans is not None:
        return text, spans
    words, tags = of(config.text, TEXT, _WORDS, list), of(config.label, LABEL, _TAGS, list)
    if words is not None and tags is not None:
        return words, tags
    raise DataError(
        f"{path}: expected a text with a list of spans, or lists of words and tags; the first row has "
        f"{', '.join(f'{name!r} ({type(value).__name__})' for name, value in record.items()) or 'no columns'} (--text "
        "and --label name the columns)"
    )


def _of_spans(
    records: Iterator[tuple[str, Mapping[str, Any]]], text: str, label: str, faults: list[str]
) -> tuple[str | None, list[Row], list[str]]:
    rows, rejected = [], 0
    for at, record in records:
        if record.get("answer", "accept") in ("reject", "ignore"):  # Prodigy's
            rejected += 1
            continue
        found = data.row(at, record, (text,), label)
        if isinstance(found, str):
            faults.append(found)
            continue
        spans = found.label.get("entities") if isinstance(found.label, dict) else found.label  # spaCy's
        try:
            rows.append(Row(found.texts, _spans(found.texts[0], spans), at))
        except ValueError as error:
            faults.append(f"{at} ({error})")
    notes = [f"{counted(rejected, 'row')} skipped: the answer is reject or ignore"] if rejected else []
    return BIO if any(row.label for row in rows) else None, rows, notes


def _spans(text: str, values: Any) -> tuple[Span, ...]:
    """The spans of a text in order, without blanks at their ends.

    Raises:
        ValueError: a fault in a span.
    """
    if not isinstance(values, list):
        raise ValueError(f"the spans are {values!r:.40}, not a list")
    found = []
    for value in values:
        start, end, label = _parts(value)
        if start >= end or start < 0:
            raise ValueError(f"the span {start} to {end} is empty")
        if end > len(text):
            hint = " (places are characters, not bytes)" if end <= len(text.encode()) else ""
            raise ValueError(f"the span {start} to {end} ends after the text's {len(text)} characters{hint}")
        inner = text[start:end]
        if not inner.strip():
            raise ValueError(f"the span {start} to {end} is blank")
        start, end = start + len(inner) - len(inner.lstrip()), end - len(inner) + len(inner.rstrip())
        found.append(Span(start, end, label))
    found = sorted(set(found))
    for one, other in pairwise(found):
        if other.start < one.end:
            raise ValueError(
                f"the spans {one.label} {text[one.start : one.end]!r:.40} and {other.label} "
                f"{text[other.start : other.end]!r:.40} overlap"
            )
    return tuple(found)


def _parts(value: Any) -> tuple[int, int, str]:
    """Start, end and label of a span in any of the known formats."""
    start = end = label = None
    if isinstance(value, dict):
        start, end, label = (
            next((value[name] for name in names if value.get(name) is not None), None)
            for names in (_START, _END, _LABEL)
        )
    elif isinstance(value, list) and len(value) == 3:
        start, end, label = value
    if any(not isinstance(place, int) or isinstance(place, bool) for place in (start, end)):
        raise ValueError(f"{value!r:.60} is not a span; expected start, end and label")
    if not isinstance(label, str) or not label.strip() or label == OUTSIDE:
        raise ValueError(f"{label!r:.40} is not the label of a span")
    assert isinstance(start, int)
    assert isinstance(end, int)
    return start, end, label
