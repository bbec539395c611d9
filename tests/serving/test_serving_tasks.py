"""``classify``, ``tag``, ``score`` and ``rerank`` of both clients, with a server that answers by simple rules."""

from __future__ import annotations

import asyncio
import inspect
import json
import pickle
import random
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import grpc
import numpy as np
import pytest
from official_server import task_server
from rawbert.serving import (
    AsyncClient,
    CallRecord,
    Classification,
    Client,
    DeadlineExceeded,
    Entity,
    InvalidRequest,
    Ranked,
    RetryPolicy,
    TaggedText,
)
from rawbert.serving.client import tasks
from task_rules import LABELS, label_scores, pair_score
from watched import Refusal


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    with task_server() as server:
        yield server


class Both:
    """Makes each call with both clients, which must return the same; ``calls`` lists the calls to the server."""

    def __init__(self, address: str, **settings: Any) -> None:
        self.calls: list[CallRecord] = []
        self._settings = {"address": address, "model": "m", "on_call": self.calls.append, **settings}

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            async def awaited() -> Any:
                async with AsyncClient(**self._settings) as client:
                    return await getattr(client, name)(*arguments, **options)

            with Client(**self._settings) as client:
                found = getattr(client, name)(*arguments, **options)
            assert repr(asyncio.run(awaited())) == repr(found)
            return found

        return call


@pytest.fixture
def both(server: Any) -> Both:
    return Both(server.address)


def test_the_clients_have_the_same_signatures() -> None:
    for name in ("classify", "tag", "score", "rerank"):
        assert inspect.signature(getattr(Client, name)) == inspect.signature(getattr(AsyncClient, name))
        assert getattr(Client, name).__doc__ == getattr(AsyncClient, name).__doc__


def test_classify(both: Both) -> None:
    good, bad, neither = both.classify(["good good bad", b"bad", ""])
    assert good == Classification("good", 0.5, {"good": 0.5, "bad": 0.25, "neither": 0.25}, model_version=1)
    assert list(good.scores) == ["good", "bad", "neither"]  # By score, then in the order of the labels.
    assert (bad.label, bad.scores) == ("bad", {"bad": 0.5, "neither": 0.5, "good": 0.0})
    assert (neither.label, neither.score) == ("neither", 1.0)


def test_classify_pairs(both: Both) -> None:
    (found,) = both.classify(["good"], text_pair=["bad bad"])
    assert found.scores == {"bad": 0.5, "good": 0.25, "neither": 0.25}


def test_the_first_labels_and_those_above_a_threshold(both: Both) -> None:
    text = ["good good bad"]
    assert list(both.classify(text, top_k=2)[0].scores) == ["good", "bad"]
    assert list(both.classify(text, top_k=9)[0].scores) == ["good", "bad", "neither"]
    assert list(both.classify(text, threshold=0.25)[0].scores) == ["good", "bad", "neither"]
    assert list(both.classify(text, threshold=0.25, top_k=1)[0].scores) == ["good"]
    (found,) = both.classify(text, threshold=0.6)
    assert (found.label, found.score, found.scores) == ("good", 0.5, {})
    seven = " ".join(["good"] * 7 + ["bad"] * 2)  # 7 of 10: as float32, 0.7 is less than 0.7.
    assert list(both.classify([seven], threshold=0.7)[0].scores) == ["good"]


def test_nothing_is_answered_without_a_call(both: Both) -> None:
    assert both.classify([]) == both.tag([]) == both.rerank("query", []) == []
    assert both.classify([], stride=3) == both.tag([], stride=3) == []
    scores = both.score([])
    assert (scores.shape, scores.dtype) == ((0,), np.float32)
    assert not both.calls


TEXT = "Ana met Bart Smith in Αθήνα, then ÉLODIE. 李明 too"


def spans(text: Any, found: TaggedText) -> list[Any]:
    assert all((text[each.start : each.end]) in (each.text, each.text.encode()) for each in found.entities)
    return [(each.label, each.text) for each in found.entities]


def test_tag(both: Both) -> None:
    names = ["Ana", "Bart Smith", "Αθήνα", "ÉLODIE"]
    (text,), (raw,) = both.tag([TEXT]), both.tag([TEXT.encode()])
    assert spans(TEXT, text) == spans(TEXT.encode(), raw) == [("NAME", name) for name in names]
    assert text.entities[0] == Entity("NAME", "Ana", 0, 3, pytest.approx(0.9))
    assert (text.entities[-1].start, raw.entities[-1].start) == (TEXT.index("É"), TEXT.encode().index("É".encode()))
    assert (text.truncated, text.model_version) == (True, 1)  # "too" is the 15th token of the text.


def test_aggregations(both: Both) -> None:
    text = "Bartholomew Smith"
    for aggregation in ("simple", "first", "average", "max"):
        assert spans(text, both.tag([text], aggregation=aggregation)[0]) == [("NAME", text)]
    tokens = [("B-NAME", "Bart"), ("I-NAME", "holo"), ("I-NAME", "mew"), ("I-NAME", "Smit"), ("I-NAME", "h")]
    assert spans(text, both.tag([text], aggregation="none")[0]) == tokens
    given = both.tag(["so Ana"], ignore_labels=["NAME"])[0]
    assert spans("so Ana", given) == [("O", "so")]


def test_an_empty_text_has_no_entities(both: Both) -> None:
    assert both.tag(["", " \n", "x"]) == [TaggedText((), False, 1)] * 3
    assert both.tag([""], stride=2) == [TaggedText((), False, 1)]


#: A text of names, numbers and words, of several hundred tokens.
LONG = " ".join(f"{'Name' * (at % 5 == 0)}{'x' * (at % 3 + 1)}{at} y" for at in range(300))


@pytest.mark.parametrize("stride", [0, 1, 5, 13])
def test_long_texts_are_tagged_in_windows(both: Both, stride: int) -> None:
    whole = [f"Name{'x' * (at % 3 + 1)}{at}" for at in range(300) if at % 5 == 0]
    cut, short = both.tag([LONG, "Ana"])
    assert (len(cut.entities), cut.truncated, short.truncated) == (2, True, False)
    assert both.calls  # The windows are of the texts, and so is their order:
    found, short, again = both.tag([LONG, "Ana", LONG.encode()], stride=stride)
    assert spans(LONG, found) == spans(LONG.encode(), again) == [("NAME", name) for name in whole]
    assert not found.truncated
    assert spans("Ana", short) == [("NAME", "Ana")]


@pytest.mark.parametrize(
    "text", ["李" * 100, "é" * 300, "👍🏽" * 60, "a" * 500, "x" * 57 + " " + "z" * 90, "é1" * 40 + ","]
)
def test_windows_over_texts_without_spaces(both: Both, text: str) -> None:
    (found,) = both.tag([text], aggregation="none", ignore_labels=[], stride=0)
    covered = {at for each in found.entities for at in range(each.start, each.end)}
    assert covered == {at for at, char in enumerate(text) if char != " "}
    assert not found.truncated


def test_long_texts_are_classified_in_windows(both: Both) -> None:
    text = " ".join(["good"] * 20 + ["bad"] * 8)  # 28 words, in windows of 14.
    assert both.classify([text])[0].scores == {
        "good": pytest.approx(14 / 15),
        "neither": pytest.approx(1 / 15),
        "bad": 0,
    }
    (whole,) = both.classify([text], stride=0)
    halves = np.mean([label_scores(b"good " * 14), label_scores(b"good " * 6 + b"bad " * 8)], axis=0)
    assert whole.scores == pytest.approx(dict(zip(LABELS, halves, strict=True)))
    # A shorter window counts for less: 14 words, then 7 words that share 3 with it.
    (found, plain) = both.classify([" ".join(["good"] * 11 + ["bad"] * 7), "bad"], stride=3)
    first, last = label_scores(b"good " * 11 + b"bad " * 3), label_scores(b"bad " * 7)
    expected = np.average([first, last], axis=0, weights=[14, 7])
    assert found.scores == pytest.approx(dict(zip(LABELS, expected, strict=True)))
    assert plain == both.classify(["bad"])[0]


def test_labels_of_one_name_have_the_highest_of_their_scores() -> None:
    found = tasks._Labelled(("a", "b", "a"), np.array([0.2, 0.3, 0.5], np.float32), 1)
    assert list(tasks._classification(found, None, None).scores.items()) == [("a", 0.5), ("b", pytest.approx(0.3))]


def test_score(both: Both) -> None:
    scores = both.score([("a b", "b c"), ["a", b"a"], ("", "")])
    assert scores.dtype == np.float32
    assert scores.tolist() == [1.5, 2.0, 1.0]
    assert both.score([("a", "a")], return_version=True) == (pytest.approx([2.0]), 1)
    assert both.score([], return_version=True)[1] is None
    assert both.score(["a", "b c"]).tolist() == [2.0, 3.0]  # Of single texts.


def test_rerank(both: Both) -> None:
    documents = ["nothing", "the capital", "the capital of France", "other words", b"the capital"]
    found = both.rerank("the capital", documents)
    assert [each.index for each in found] == [1, 4, 2, 0, 3]  # Of equal ones the first comes first.
    assert found[0] == Ranked(1, 3.0, "the capital", 1)
    assert all(each.document == documents[each.index] for each in found)
    assert both.rerank("the capital", tuple(documents), top_k=2) == found[:2]
    assert both.rerank("the capital", ["one"], top_k=5) == [Ranked(0, 0.5, "one", 1)]
    assert [each.index for each in both.rerank("", ["a b", "", "a"])] == [1, 2, 0]


def test_a_thousand_documents_under_failures() -> None:
    """Parts of calls to a server that fails every third call in different ways: results are in order."""
    chance = random.Random(1)
    codes = [
        (grpc.StatusCode.UNAVAILABLE, "Socket closed"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "The batch scheduling queue to which this task was submitted is full"),
        (grpc.StatusCode.UNAVAILABLE, "Connection reset by peer"),
    ]

    def before(request: Any) -> None:
        time.sleep(chance.random() * 0.01)
        if chance.random() < 0.33:
            raise Refusal(*chance.choice(codes))

    documents = [" ".join(chance.choices("abcdefghijklmnop", k=chance.randint(0, 12))) for _ in range(1000)]
    scores = np.array([pair_score(b"a c e", each.encode()) for each in documents], np.float32)
    with task_server(before=before) as server:
        found = Both(server.address, max_batch_size=16).rerank("a c e", documents, timeout=60, sort_by_length=True)
        assert max(server.sizes) == 16
    assert [each.index for each in found] == np.argsort(-scores, kind="stable").tolist()
    assert [each.score for each in found] == sorted(scores.tolist(), reverse=True)


def test_one_deadline_for_all_parts() -> None:
    with (
        task_server(before=lambda request: time.sleep(0.1)) as server,
        Client(server.address, model="m", max_batch_size=1, concurrency=2) as client,
    ):
        for call in (
            lambda: client.rerank("q", ["d"] * 1000, timeout=0.5),
            lambda: client.tag([LONG] * 10, stride=3, timeout=0.5),
        ):
            begun = time.monotonic()
            with pytest.raises(DeadlineExceeded):
                call()
            assert time.monotonic() - begun < 5


def test_what_fails_is_raised() -> None:
    def before(request: Any) -> None:
        if len(sizes) > 5:
            raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, "no more")
        sizes.append(1)

    sizes: list[int] = []
    with (
        task_server(before=before) as server,
        Client(server.address, model="m", max_batch_size=10, retry=RetryPolicy(max_attempts=1)) as client,
        pytest.raises(InvalidRequest, match="no more"),
    ):
        client.rerank("q", ["d"] * 100)


def test_results_are_plain(both: Both) -> None:
    results = [*both.classify(["good"]), *both.tag(["so Ana"]), *both.rerank("a", ["b"])]
    assert pickle.loads(pickle.dumps(results)) == results
    assert [json.loads(json.dumps(asdict(each))) for each in results] == [
        {"label": "good", "score": 0.5, "scores": {"good": 0.5, "neither": 0.5, "bad": 0.0}, "model_version": 1},
        {
            "entities": [{"label": "NAME", "text": "Ana", "start": 3, "end": 6, "score": pytest.approx(0.9)}],
            "truncated": False,
            "model_version": 1,
        },
        {"index": 0, "score": 0.5, "document": "b", "model_version": 1},
    ]


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda client: client.classify("a text"), TypeError, "a single str; give a list"),
        (lambda client: client.classify(["a"], top_k=0), ValueError, "top_k is 0: give 1 or more"),
        (lambda client: client.classify(["a"], top_k=1.5), TypeError, "top_k is 1.5: give a whole number"),
        (lambda client: client.classify(["a"], threshold="x"), TypeError, "threshold is 'x': give a number"),
        (lambda client: client.classify(["a"], text_pair=["b"], stride=1), ValueError, "stride is for single texts"),
        (lambda client: client.classify(["a"], stride=-1), ValueError, "stride is -1: give 0 or more"),
        (
            lambda client: client.classify([LONG], stride=14),
            ValueError,
            "stride is 14: give less than the model's limit of 14 tokens",
        ),
        (lambda client: client.tag(b"a text"), TypeError, "a single bytes; give a list"),
        (
            lambda client: client.tag(["a"], aggregation="best"),
            ValueError,
            "aggregation is 'best': give one of none, s",
        ),
        (lambda client: client.tag(["a"], ignore_labels="O"), TypeError, "ignore_labels is 'O': give a list"),
        (lambda client: client.tag(["a"], text_pair=["b"]), TypeError, "text_pair"),
        (lambda client: client.tag(["a", 3]), TypeError, r"texts\[1\] is a int"),
        (lambda client: client.score("a"), TypeError, "pairs is a single str"),
        (
            lambda client: client.score([("a", "b", "c")]),
            TypeError,
            r"pairs\[0\] is \('a', 'b', 'c'\): give a tuple of two",
        ),
        (lambda client: client.score([("a", "b"), "c"]), ValueError, r"pairs\[1\] is 'c': .* not both"),
        (lambda client: client.score([("a", 1)]), TypeError, r"pairs\[0\] is a int"),
        (lambda client: client.rerank(["q"], ["d"]), TypeError, "query is a list: give one text"),
        (lambda client: client.rerank("q", "d"), TypeError, "documents is a single str"),
        (lambda client: client.rerank("q", ["d", None]), TypeError, r"documents\[1\] is a NoneType"),
        (lambda client: client.rerank("q\ud800", ["d"]), ValueError, "surrogate"),
        (lambda client: client.rerank("q", ["d"], text_pair=["x"]), TypeError, "text_pair"),
    ],
)
def test_arguments_that_cannot_work(server: Any, call: Any, error: type[Exception], says: str) -> None:
    with Client(server.address, model="m") as client, pytest.raises(error, match=says):
        call(client)
