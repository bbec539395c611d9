"""Tagged files: their rows, the schemes of their tags, and refusals before training."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from labelled import write_jsonl
from rawbert.exporter import ConfigError, DataError, FinetuneConfig
from rawbert.exporter.training import tagged, tags
from rawbert.exporter.training.tags import Span

TEXT = "Ada Lovelace met Zoë"
SPANS = [Span(0, 12, "PER"), Span(17, 20, "PER")]
BIO = [("Ada", "B-PER"), ("Lovelace", "I-PER"), ("met", "O"), ("Zoë", "B-PER")]


def read(path: Path, content: str | bytes = "", **settings: Any) -> tagged.Tagged:
    if content:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    config = FinetuneConfig(encoder="e", train=path, output="o", task="tag", **settings)
    return tagged.read(path, config)


def texts_of(found: tagged.Tagged) -> list[tuple[str, list[Span]]]:
    return [(row.texts[0], list(row.label)) for row in found.table.rows]


def lines(rows: list[tuple[str, ...]], gap: str = " ") -> str:
    return "".join(gap.join(cells) + "\n" for cells in rows)


CONLL: dict[str, tuple[str, dict[str, Any]]] = {
    "two columns": (lines(BIO), {}),
    "blanks": (lines(BIO, "   "), {}),
    "tabs": (lines(BIO, "\t"), {}),
    "four columns": (lines([(word, "NN", "B-NP", tag) for word, tag in BIO]), {}),
    "tag first": (lines([(tag, word, "x") for word, tag in BIO]), {"word_column": 2, "tag_column": 1}),
    "counted from the last": (lines([(word, tag, "x") for word, tag in BIO]), {"tag_column": -2}),
    "documents": ("-DOCSTART- -X-\n\n" + lines(BIO) + "\n-DOCSTART- -X-\n", {}),
    "comments": ("# text = Ada met Zoe\n# sent_id = 1\n" + lines(BIO, "\t"), {}),
    "carriage returns": (lines(BIO).replace("\n", "\r\n"), {}),
    "mark": ("\ufeff" + lines(BIO), {}),
    "no end": (lines(BIO).rstrip(), {}),
    "many blank lines": ("\n\n" + lines(BIO) + "\n \n\t\n", {}),
    "a word that is empty": (lines([*BIO[:3], ("", "O"), BIO[3]], "\t"), {}),
    "IOB1": (lines(BIO).replace("B-", "I-"), {}),
    "BIOES": (lines([("Ada", "B-PER"), ("Lovelace", "E-PER"), ("met", "O"), ("Zoë", "S-PER")]), {}),
    "BILOU": (lines([("Ada", "B-PER"), ("Lovelace", "L-PER"), ("met", "O"), ("Zoë", "U-PER")]), {}),
    "BMES": (lines([("Ada", "B-PER"), ("Lovelace", "E-PER"), ("met", "O"), ("Zoë", "S-PER")]), {}),
}


@pytest.mark.parametrize("case", CONLL)
def test_conll(tmp_path: Path, case: str):
    content, settings = CONLL[case]
    found = read(tmp_path / "train.txt", content, **settings)
    assert texts_of(found) == [(TEXT, SPANS)]
    assert found.scheme == ("BIOES" if case in ("BIOES", "BILOU", "BMES") else "BIO")
    assert found.notes == (
        ["train.txt: tags are IOB1 (B- only where two spans of a kind meet) and are converted to BIO"]
        if case == "IOB1"
        else []
    )


def test_sentences_and_their_places(tmp_path: Path):
    content = "a\xa0b B-X\nc\u2028 O\n\n# O\n# O\n"  # "#" is a word here; only blanks and tabs part columns
    found = read(tmp_path / "train", content)
    assert texts_of(found) == [("a\xa0b c\u2028", [Span(0, 3, "X")]), ("# #", [])]
    assert [row.at for row in found.table.rows] == ["line 1", "line 4"]
    (tmp_path / "more.conll.gz").write_bytes(gzip.compress(lines(BIO).encode()))
    assert texts_of(read(tmp_path / "more.conll.gz")) == [(TEXT, SPANS)]
    assert texts_of(read(tmp_path / "latin", lines(BIO).encode("latin-1"), encoding="latin-1")) == [(TEXT, SPANS)]
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in "ab":
        (folder / name).write_text(lines(BIO))
    assert [row.at for row in read(folder).table.rows] == [f"{folder / name}, line 1" for name in "ab"]


SPELLINGS: dict[str, dict[str, Any]] = {
    "ours": {"text": TEXT, "spans": [{"start": 0, "end": 12, "label": "PER"},
                                     {"start": 17, "end": 20, "label": "PER"}]},
    "blanks at the ends": {"text": TEXT, "spans": [[0, 13, "PER"], [16, 20, "PER"], [17, 20, "PER"]]},
    "rawbert tag": {"text": TEXT, "entities": [{"start": 17, "end": 20, "label": "PER", "text": "Zoë", "score": 1.0},
                                               {"start": 0, "end": 12, "label": "PER"}]},
    "pipeline": {"text": TEXT, "entities": [{"start": 0, "end": 12, "entity_group": "PER"}, [17, 20, "PER"]]},
    "doccano": {"id": 1, "text": TEXT, "label": [[0, 12, "PER"], [17, 20, "PER"]]},
    "doccano relations": {"text": TEXT, "entities": [{"id": 1, "label": "PER", "start_offset": 0, "end_offset": 12},
                                                     {"id": 2, "label": "PER", "start_offset": 17, "end_offset": 20}]},
    "prodigy": {"text": TEXT, "tokens": [{"text": "Ada", "start": 0, "end": 3, "id": 0}], "answer": "accept",
                "spans": [{"start": 0, "end": 12, "token_start": 0, "token_end": 1, "label": "PER"},
                          {"start": 17, "end": 20, "label": "PER"}]},
    "spacy": {"text": TEXT, "entities": {"entities": [[0, 12, "PER"], [17, 20, "PER"]]}},
    "words": {"tokens": TEXT.split(), "ner_tags": [tag for _, tag in BIO], "pos_tags": ["X"] * 4},
}  # fmt: skip


@pytest.mark.parametrize("case", SPELLINGS)
def test_jsonl(tmp_path: Path, case: str):
    found = read(write_jsonl(tmp_path / "rows.jsonl", [SPELLINGS[case]] * 2))
    assert texts_of(found) == [(TEXT, SPANS)] * 2
    assert found.table.rows[1].at == "line 2"


def test_columns_by_name_and_answers(tmp_path: Path):
    words = {"w": TEXT.split(), "x": [1, 2, 0, 1]}
    path = write_jsonl(tmp_path / "words.jsonl", [words])
    names = ("O", "B-PER", "I-PER")
    assert texts_of(read(path, text="w", label="x", tag_names=names)) == [(TEXT, SPANS)]
    rows = [{"body": TEXT, "marks": [[0, 3, "A"]]}, {"body": TEXT, "marks": [], "answer": "reject"}]
    found = read(write_jsonl(tmp_path / "spans.jsonl", rows), text="body", label="marks")
    assert texts_of(found) == [(TEXT, [Span(0, 3, "A")])]
    assert found.notes == ["1 row skipped: the answer is reject or ignore"]


def test_parquet(tmp_path: Path):
    import pyarrow
    from pyarrow import parquet

    names = ["O", "B-PER", "I-PER"]
    table = pyarrow.table({"id": ["0"], "tokens": [TEXT.split()], "ner_tags": [[1, 2, 0, 1]]})
    feature = {"feature": {"names": names, "_type": "ClassLabel"}, "_type": "Sequence"}
    stated = json.dumps({"info": {"features": {"id": {"dtype": "string"}, "ner_tags": feature}}})
    parquet.write_table(table.replace_schema_metadata({"huggingface": stated}), tmp_path / "named.parquet")
    assert texts_of(read(tmp_path / "named.parquet")) == [(TEXT, SPANS)]
    parquet.write_table(table, tmp_path / "plain.parquet")
    assert texts_of(read(tmp_path / "plain.parquet", tag_names=tuple(names))) == [(TEXT, SPANS)]
    with pytest.raises(DataError, match=r"row 1: tags are numbers, such as 1: give their names with --tag-names"):
        read(tmp_path / "plain.parquet")
    with pytest.raises(DataError, match="the tag 2 has no name"):
        read(tmp_path / "plain.parquet", tag_names=("O", "B-X"))
    spans = [[{"start": span.start, "end": span.end, "label": span.label} for span in SPANS]]
    parquet.write_table(pyarrow.table({"text": [TEXT], "spans": spans}), tmp_path / "spans.parquet")
    assert texts_of(read(tmp_path / "spans.parquet")) == [(TEXT, SPANS)]


REFUSED: dict[str, tuple[str, Any, str]] = {
    "no tag": ("a.conll", "Ada B-PER\nmet\n", r"line 2 has 1 column \('met'\), but the lines before have 2"),
    "no tags": ("a.conll", "Ada\nmet\n", r"line 1 has 1 column \('Ada'\); expected at least 2"),
    "no blank lines": ("a.conll", "Ada B-PER\nwent to Paris O\n", "line 2 has 4 columns"),
    "csv": ("a.csv", "text,label\n", "give tags as a CoNLL file, .jsonl or .parquet, not .csv"),
    "empty tag": ("a.conll", "Ada\tB-PER\nmet\t\n", r"line 1 \(the tag of 'met' is empty\)"),
    "tag of nothing": ("a.conll", "Ada\tB-PER\n\tB-PER\n", r"an empty word has the tag 'B-PER'"),
    "no words": ("a.conll", "\n\n", "it has no rows"),
    "empty file": ("a.conll", "", "it has no rows"),
    "mixed prefixes": ("a.conll", "Ada B-PER\nmet VERB\n", r"a prefix \('B-PER'\) and others have none \('VERB'\)"),
    "no UTF-8": ("a.conll", b"caf\xe9 O\n", "line 1: not UTF-8"),
    "unequal": ("a.jsonl", {"tokens": ["a", "b"], "tags": ["O"]}, r"line 1 \(2 words and 1 tags\)"),
    "no list": ("a.jsonl", [{"tokens": ["a"], "tags": ["O"]}, {"tokens": "a", "tags": ["O"]}],
                r"line 2 \(the words are 'a', not a list\)"),
    "missing": ("a.jsonl", [{"tokens": ["a"], "tags": ["O"]}, {"tokens": ["a"]}], r"line 2 \(the tags are None"),
    "no columns": ("a.jsonl", {"body": "a"}, r"the first row has 'body' \(str\) \(--text and --label"),
    "overlap": ("a.jsonl", {"text": "Ada Lovelace", "spans": [[0, 5, "A"], [4, 12, "B"]]},
                r"line 1 \(the spans A 'Ada L' and B 'Lovelace' overlap\)"),
    "beyond": ("a.jsonl", {"text": "Zoë", "spans": [[0, 5, "A"]]}, r"0 to 5 ends after the text's 3 characters\)"),
    "bytes": ("a.jsonl", {"text": "Zoë", "spans": [[0, 4, "A"]]}, "3 characters .places are characters, not bytes"),
    "backwards": ("a.jsonl", {"text": "Ada", "spans": [[2, 1, "A"]]}, "the span 2 to 1 is empty"),
    "blank": ("a.jsonl", {"text": "a  b", "spans": [[1, 3, "A"]]}, "the span 1 to 3 is blank"),
    "fraction": ("a.jsonl", {"text": "Ada", "spans": [[0, 1.5, "A"]]}, r"is not a span; expected start, end and label"),
    "class": ("a.jsonl", {"text": "Ada", "label": ["person"]}, "'person' is not a span"),
    "label O": ("a.jsonl", {"text": "Ada", "spans": [[0, 3, "O"]]}, "'O' is not the label of a span"),
    "empty text": ("a.jsonl", {"text": " ", "spans": []}, r"line 1 \(text is empty\)"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(tmp_path: Path, case: str):
    name, content, message = REFUSED[case]
    path = tmp_path / name
    if name.endswith(".jsonl"):
        write_jsonl(path, content if isinstance(content, list) else [content])
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message) as error:
        read(path)
    assert str(path) in str(error.value)


def test_schemes_by_hand(tmp_path: Path):
    """Spans of words 0 to 4, each as its first and last word."""
    cases: dict[str, tuple[str, list[tuple[int, int, str]], list[str]]] = {
        "B-X I-X B-X O I-Y": (
            "BIO",
            [(0, 1, "X"), (2, 2, "X"), (4, 4, "Y")],
            ["accepted 1 span without B- at the beginning"],
        ),
        "I-X I-X B-X O I-Y": ("BIO", [(0, 1, "X"), (2, 2, "X"), (4, 4, "Y")], ["are IOB1"]),
        "B-X I-Y I-Y O B-X": (
            "BIO",
            [(0, 0, "X"), (1, 2, "Y"), (4, 4, "X")],
            ["accepted 1 span without B- at the beginning"],
        ),
        "S-X S-X B-Y I-Y E-Y": ("BIOES", [(0, 0, "X"), (1, 1, "X"), (2, 4, "Y")], []),
        "B-X E-X I-X O B-Y": ("BIOES", [(0, 1, "X"), (2, 2, "X"), (4, 4, "Y")], ["without B-", "2 spans of BIOES"]),
        "U-X B-Y M-Y M-Y E-Y": ("BIOES", [(0, 0, "X"), (1, 4, "Y")], []),
        "DET NOUN NOUN O VERB": ("plain", [(n, n, t) for n, t in enumerate(["DET", "NOUN", "NOUN", "O", "VERB"])], []),
    }
    for tags_of, (scheme, spans, notes) in cases.items():
        content = lines([(f"w{at}", tag) for at, tag in enumerate(tags_of.split())])
        found = read(tmp_path / "a.conll", content)
        wanted = [Span(3 * first, 3 * last + 2, label) for first, last, label in spans]
        assert (found.scheme, texts_of(found)) == (scheme, [("w0 w1 w2 w3 w4", wanted)]), tags_of
        assert len(found.notes) == len(notes)
        assert all(part in note for part, note in zip(notes, found.notes, strict=True)), found.notes


def problem_of(tmp_path: Path, content: str) -> tuple[Any, list[str]]:
    found = read(tmp_path / "train.conll", content)
    return tags.find(found.table, found.scheme)


def test_tags_that_are_learned(tmp_path: Path):
    problem, _ = problem_of(tmp_path, "a B-Y\nb B-X\nc O\n")
    assert problem.labels == ("O", "B-X", "I-X", "B-Y", "I-Y")
    assert [tags.of_tokens(problem, 3, count, *ends) for count, *ends in ((1, 1, 1), (3, 1, 1), (2, 0, 1))] == [
        [3],
        [3, 4, 4],
        [4, 4],
    ]
    problem, _ = problem_of(tmp_path, "a S-X\nb O\n")
    assert problem.labels == ("O", "B-X", "I-X", "E-X", "S-X")
    cases = {(1, 1, 1): "S", (2, 1, 1): "BE", (4, 1, 1): "BIIE", (2, 1, 0): "BI", (2, 0, 1): "IE", (1, 0, 0): "I",
             (1, 1, 0): "B", (1, 0, 1): "E"}  # fmt: skip
    for (count, begins, ends), wanted in cases.items():
        found = tags.of_tokens(problem, 1, count, bool(begins), bool(ends))
        assert "".join(problem.labels[at][0] for at in found) == wanted
    problem, notes = problem_of(tmp_path, "a NOUN\nb O\nc -LRB-\n" * 5)
    assert problem.labels == ("O", "-LRB-", "NOUN")
    assert notes == [
        "labels are served without the part before their first '-', as in transformers: '-LRB-'",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a O\nb O\n", "every word is O; add rows with spans"),
        ("a N\nb N\n", "every word has the tag 'N'; add rows with another tag"),
        ("a B-O\n", "'O' cannot be the label of a span"),
        ("".join(f"w B-{at}\n" for at in range(150)), "150 different labels of 150 spans"),
    ],
)
def test_nothing_to_learn(tmp_path: Path, content: str, message: str):
    with pytest.raises(DataError, match=message):
        problem_of(tmp_path, content)


def test_validation_that_does_not_fit(tmp_path: Path):
    problem, _ = problem_of(tmp_path, "a B-X\nb O\n")
    cases = {
        "c B-X\n\na B-Y\n\nb B-Y\n": r"the training rows never have 'Y' \(line 3 does\)",
        "a O\n": "no validation row has a span",
        "a N\nb V\n": "its tags are plain, but those of the training rows BIO; use one scheme",
    }
    for content, message in cases.items():
        found = read(tmp_path / "validation.conll", content)
        with pytest.raises(DataError, match=message):
            tags.require_known(found.table, found.scheme, problem)
    found = read(tmp_path / "validation.conll", "a S-X\n")  # another scheme, the same spans
    tags.require_known(found.table, found.scheme, problem)


def test_rows_are_held_back(tmp_path: Path):
    content = "\n".join(f"w{at} B-X\n" for at in range(40)) + "\nrare B-Y\n"
    found = read(tmp_path / "a.conll", content)
    for seed in range(20):
        train, held = tags.hold_back(found.table, 0.25, seed)
        assert sorted(train.rows + held.rows) == sorted(found.table.rows)
        assert len(held.rows) in (9, 10)
        assert "rare" in [row.texts[0] for row in train.rows]
    with pytest.raises(DataError, match="too few rows to hold some back"):
        tags.hold_back(read(tmp_path / "a.conll", "a B-X\n\nb O\n").table, 0.5, 0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"text_pair": "other"}, "text_pair is for tasks classify and score"),
        ({"class_weights": "balanced"}, "for task classify"),
        ({"word_column": 0}, "give two columns, counted from 1"),
        ({"word_column": 2, "tag_column": 2}, "give two columns"),
        ({"tag_names": ("O", "O")}, "tag_names are 'O', 'O': give different names"),
        ({"stride": -1}, "stride is -1"),
        ({"aggregation": "none"}, "aggregation: 'none' is unknown"),
        ({"input_format": "csv"}, "choose from conll, jsonl, parquet"),
        ({"task": "classify", "stride": 8}, "are for task tag"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, Any], message: str):
    with pytest.raises(ConfigError, match=message):
        FinetuneConfig(**{"encoder": "e", "train": "t.conll", "output": "o", "task": "tag", **settings})
