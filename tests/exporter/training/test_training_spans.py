"""From spans to tokens and back, with a tokenizer of a few lines; figures by hand and from seqeval's documentation."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from rawbert.exporter import ConfigError, DataError
from rawbert.exporter.training import spans, tags
from rawbert.exporter.training.batches import Tokens
from rawbert.exporter.training.data import Row, Table
from rawbert.exporter.training.labels import Problem
from rawbert.exporter.training.tags import Span

#: Tokens are pieces of up to 3 letters, or one other character.
PIECE = re.compile(r"\w{1,3}|[^\w\s]")


def tokenizer(most: int):
    """Tokens of UTF-8 with a special token at both ends; ``token_lengths`` by id: 2 for parts of words, else 1."""

    def tokenize(texts: Sequence[bytes]) -> Tokens:
        rows = []
        for each in texts:
            text = each.decode()
            found = [(match.start(), match.end()) for match in PIECE.finditer(text)]
            places = [tuple(len(text[:at].encode()) for at in piece) for piece in found]
            inside = [start > 0 and text[start - 1].isalnum() and text[start].isalnum() for start, _ in found]
            ids = [0 if part else end - start for (start, end), part in zip(found, inside, strict=True)]
            rows.append((ids[: most - 2], places[: most - 2], len(found) + 2 > most))
        return Tokens(
            ids=tuple(np.array([1, *ids, 1], np.int32) for ids, _, _ in rows),
            types=None,
            lengths=np.array([len(ids) + 2 for ids, _, _ in rows], np.int32),
            cut=np.array([cut for *_, cut in rows]),
            starts=tuple(np.array([-1, *(a for a, _ in each), -1], np.int32) for _, each, _ in rows),
            limits=tuple(np.array([-1, *(b for _, b in each), -1], np.int32) for _, each, _ in rows),
        )

    return tokenize


def table(*rows: tuple[str, Sequence[tuple[int, int, str]]]) -> Table:
    made = tuple(
        Row((text,), tuple(Span(*span) for span in own), f"line {at + 1}") for at, (text, own) in enumerate(rows)
    )
    return Table(Path("/rows.jsonl"), made, "", 0)


def place(rows: Table, scheme: str = tags.BIO, most: int = 100, stride: int | None = None):
    problem, _ = tags.find(rows, scheme)
    return spans.place(rows, problem, tokenizer(most), tokenizer(1 << 20), stride), problem


def named(placed: spans.Placed, problem: Problem) -> list[str]:
    """The tags of all tokens, ``-`` for tokens without a target."""
    return [problem.labels[at] if weight else "-" for at, weight in zip(placed.targets, placed.weights, strict=True)]


ROW = ("Zoë's Łódź-born aunt", [(0, 3, "PER"), (6, 10, "LOC")])


def test_every_token_of_a_span_learns():
    placed, problem = place(table(ROW))
    # [CLS] Zoë ' s Łód ź - bor n aun t [SEP]
    wanted = "- B-PER O O B-LOC I-LOC O O O O O -"
    assert named(placed, problem) == wanted.split()
    placed, problem = place(table(ROW), tags.BIOES)
    assert named(placed, problem) == wanted.replace("B-PER", "S-PER").replace("I-LOC", "E-LOC").split()
    assert placed.spans == ((Span(0, 3, "PER"), Span(6, 10, "LOC")),)


def test_plain_tags():
    words = ("the dogs ran away", [(0, 3, "O"), (4, 8, "N"), (9, 12, "V"), (13, 17, "V")])
    placed, problem = place(table(words), tags.PLAIN)
    assert named(placed, problem) == ["-", "O", "N", "N", "V", "V", "V", "-"]
    assert placed.spans == ((Span(4, 8, "N"), Span(9, 17, "V")),)  # neighbours of one tag are one span


def test_a_span_that_parts_a_token():
    rows = table(ROW, ("abcdef", [(0, 4, "PER")]), ("abc def", [(1, 3, "PER")]))
    with pytest.raises(DataError) as error:
        place(rows)
    assert str(error.value) == (
        "/rows.jsonl: spans begin or end in the middle of a token (2): line 2 (PER 'abcd' from 0: the token is 'def'), "
        "line 3 (PER 'bc' from 1: the token is 'abc'); correct them"
    )


def test_tokens_may_have_the_blank_before_a_word():
    """Offsets in the form of some byte-level tokenizers."""
    plain = tokenizer(100)

    def with_blanks(texts: Sequence[bytes]) -> Tokens:
        tokens = plain(texts)
        starts = tuple(each - (each > 0) for each in tokens.starts)
        return (
            tokens._replace(starts=starts)
            if hasattr(tokens, "_replace")
            else Tokens(**{**vars(tokens), "starts": starts})
        )

    rows = table(("met Ada now", [(4, 7, "PER")]))
    problem, _ = tags.find(rows, tags.BIO)
    placed = spans.place(rows, problem, with_blanks, with_blanks, None)
    assert named(placed, problem) == ["-", "O", "B-PER", "O", "-"]


LONG = ("aaa bbbccc ddd eee fffggg hhh iii", [(4, 10, "A"), (19, 25, "B")])


def test_long_texts_are_cut_or_windows():
    # aaa | bbb ccc | ddd eee | fff ggg | hhh iii: 9 tokens
    placed, problem = place(table(LONG), most=8)
    assert named(placed, problem) == ["-", "O", "B-A", "I-A", "O", "O", "B-B", "-"]
    assert placed.unseen == 1
    assert placed.spans == ((Span(4, 10, "A"), Span(19, 25, "B")),)  # no client can find the second one
    placed, problem = place(table(LONG), tags.BIOES, most=8)
    assert named(placed, problem) == ["-", "O", "B-A", "E-A", "O", "O", "B-B", "-"]
    placed, problem = place(table(LONG), most=5)
    assert (placed.unseen, placed.spans[0][1]) == (1, Span(19, 25, "B"))

    placed, problem = place(table(LONG), tags.BIOES, most=6, stride=1)
    texts = [LONG[0].encode()[start:end].decode().strip() for _, start, end in placed.parts]
    assert texts == ["aaa bbbccc ddd", "ddd eee fffggg", "fffggg hhh iii"]
    assert not placed.tokens.cut.any()
    assert placed.spans == ((Span(4, 10, "A"), Span(19, 25, "B")),)
    with pytest.raises(ConfigError, match="stride is 4: give less than the model's limit of 4 tokens"):
        place(table(LONG), most=6, stride=4)


@pytest.mark.parametrize("scheme", [tags.BIO, tags.BIOES, tags.PLAIN])
@pytest.mark.parametrize("stride", [None, 3])
def test_the_spans_of_perfect_scores_are_the_given_ones(scheme: str, stride: int | None):
    rng = random.Random(scheme)
    rows = []
    for _ in range(100):
        words = [
            "".join(rng.choices("abź一 ́", [5, 5, 3, 1, 0, 1], k=rng.randint(1, 7))) for _ in range(rng.randint(1, 12))
        ]
        words = [word if word.strip("́") else "a" for word in words]
        starts = np.cumsum([0, *(len(word) + 1 for word in words)]).tolist()
        own, at = list[tuple[int, int, str]](), 0
        while at < len(words):
            last = min(at + (0 if scheme == tags.PLAIN else rng.randint(0, 2)), len(words) - 1)
            if scheme == tags.PLAIN or rng.random() < 0.6:
                own.append(
                    (starts[at], starts[last] + len(words[last]), rng.choice("XYO" if scheme == tags.PLAIN else "XY"))
                )
            at = last + 1
        rows.append((" ".join(words), own))
    placed, problem = place(table(*rows), scheme, most=14 if stride else 100, stride=stride)
    assert bool(stride) == (len(placed.parts) > len(rows))
    scores = np.full((len(placed.targets), len(problem.labels)), 0.01)
    scores[np.arange(len(scores)), placed.targets] = 0.9
    answers = spans.SpanAnswers(placed, problem, [0, 1, 2, 3], "simple")
    measured = answers.measure(scores)
    if stride is None:
        found = [[(each.start, each.end, each.label) for each in row] for row in answers.found(scores)]
        assert found == [list(map(tuple, row)) for row in placed.spans]
        assert measured["f1"] == 1
    else:  # a span may be longer than what two windows share
        assert measured["f1"] > 0.9
    assert measured["token_accuracy"] == 1
    assert np.trace(measured["confusion"]) == np.sum(measured["confusion"]) == placed.weights.sum()


def test_confusion_and_calibration_of_tags_by_hand():
    placed, problem = place(table(("a b", [(0, 1, "X")])), tags.BIO, most=100, stride=None)
    at = {name: row for row, name in enumerate(problem.labels)}
    scores = np.full((len(placed.targets), len(at)), 0.1)
    scores[placed.targets == at["B-X"], at["I-X"]] = 0.8  # taken for an inside, and sure of it
    scores[(placed.targets == at["O"]) & (placed.weights > 0), at["O"]] = 0.6
    measured = spans.SpanAnswers(placed, problem, [0, 1, 2, 3], "simple").measure(scores)
    confusion = np.array(measured["confusion"])
    assert measured["tags"] == list(problem.labels)
    assert {(int(row), int(column)) for row, column in np.argwhere(confusion)} == {
        (at["B-X"], at["I-X"]), (at["O"], at["O"])
    }  # fmt: skip
    assert [(each["from"], each["right"]) for each in measured["calibration"]] == [(0.6, 1.0), (0.8, 0.0)]


def test_figures_by_hand():
    a, b, c = Span(0, 3, "A"), Span(4, 7, "B"), Span(4, 8, "B")
    found = spans.f1_of([[a, b], [a], []], [[a, c], [], [b]])
    assert found["precision"] == pytest.approx(1 / 3)
    assert found["recall"] == pytest.approx(1 / 3)
    assert found["f1"] == pytest.approx(1 / 3)
    assert found["entities"] == {
        "A": {"precision": 1, "recall": 0.5, "f1": pytest.approx(2 / 3), "spans": 2},
        "B": {"precision": 0, "recall": 0, "f1": 0, "spans": 1},
    }
    assert found["macro_f1"] == pytest.approx(1 / 3)
    assert spans.f1_of([[a]], [[Span(0, 3, "B")]])["f1"] == 0  # right place, wrong label


def test_figures_of_seqeval():
    """The example of its README, whose F1 is 0.50."""
    words = [["w"] * 7, ["w"] * 3]
    true = ["O O O B-MISC I-MISC I-MISC O", "B-PER I-PER O"]
    answer = ["O O B-MISC I-MISC I-MISC I-MISC O", "B-PER I-PER O"]

    def of(tagged: list[str]) -> list[list[Span]]:
        rows = [tags.Sentence(word, each.split(), "") for word, each in zip(words, tagged, strict=True)]
        return tags.to_spans(Path("x"), rows)[1]

    found = spans.f1_of(of(true), of(answer))
    assert found["f1"] == 0.5
    assert (found["entities"]["MISC"]["f1"], found["entities"]["PER"]["f1"]) == (0, 1)


def test_the_worst_mistakes():
    rows = table(("Ada met Bob", [(0, 3, "PER"), (8, 11, "PER")]), ("Rome", [(0, 4, "LOC")]), ("met", []))
    placed, problem = place(rows)
    # tokens: [CLS] Ada met Bob [SEP] | [CLS] Rom e [SEP] | [CLS] met [SEP]
    scores = np.full((len(placed.targets), 5), 0.02)
    best = [0, 0, 3, 0, 0, 0, 1, 2, 0, 0, 0, 0]
    scores[np.arange(len(best)), best] = 0.9
    answers = spans.SpanAnswers(placed, problem, [0, 1, 2, 3], "simple")
    (worst,) = answers.worst(scores, 20)
    assert worst == {
        "at": "line 1",
        "texts": ["Ada met Bob"],
        "label": ["PER 'Ada'", "PER 'Bob'"],
        "answer": ["PER 'met' 0.90"],
        "missed": [[0, 3], [8, 11]],
        "wrong": [[4, 7]],
    }
    assert answers.predictions(scores)[1] == {
        "text": "Rome",
        "spans": [{"start": 0, "end": 4, "label": "LOC"}],
        "entities": [{"label": "LOC", "text": "Rome", "start": 0, "end": 4, "score": pytest.approx(0.9)}],
    }
