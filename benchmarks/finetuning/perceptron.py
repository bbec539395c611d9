"""An averaged perceptron that tags words by their letters, shapes and neighbours (Collins, 2002, ACL W02-1001).

The linear baseline of :mod:`.tagging`: BIO tags from left to right, each decided with the tag before it.
"""

import random
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

#: Words, or single other characters.
_WORD = re.compile(r"\w+|[^\w\s]")


class Span(NamedTuple):
    """A span of a text, in characters."""

    start: int
    end: int
    label: str


def words_of(text: str) -> list[tuple[int, int]]:
    """Start and end of each word, in characters."""
    return [match.span() for match in _WORD.finditer(text)]


def shape_of(word: str) -> str:
    """The shape of a word: ``Xx`` for ``Unix``, ``X-d`` for ``PDP-11``. A run of letters of one case, or of digits,
    becomes one character."""
    shape = re.sub("[A-Z]", "X", re.sub("[^A-Z0-9\\W]", "x", re.sub("[0-9]", "d", word)))
    return re.sub(r"(.)\1+", r"\1", shape)


def features(words: Sequence[str], at: int, before: str) -> list[str]:
    """The features of the word at index ``at``; ``before`` is the tag of the word before it."""
    padded = ["<<", "<", *words, ">", ">>"]
    word, at = words[at], at + 2
    found = ["bias", f"tag {before}", f"tag and word {before} {word.lower()}", f"word {word}", f"lower {word.lower()}"]
    found += [
        f"shape {shape_of(word)}",
        f"shapes {shape_of(padded[at - 1])} {shape_of(word)} {shape_of(padded[at + 1])}",
    ]
    found += [f"prefix {word[:size].lower()}" for size in (1, 2, 3, 4)]
    found += [f"suffix {word[-size:].lower()}" for size in (1, 2, 3, 4)]
    for away in (-2, -1, 1, 2):
        found += [f"{away} {padded[at + away].lower()}", f"shape {away} {shape_of(padded[at + away])}"]
    found += [f"two {padded[at - 1].lower()} {word.lower()}", f"two {word.lower()} {padded[at + 1].lower()}"]
    return found


class Perceptron:
    """The tagger."""

    def __init__(self) -> None:
        self._weights: dict[str, dict[str, float]] = {}
        self._tags: list[str] = []

    def train(self, rows: Sequence[tuple[str, Sequence[Span]]], epochs: int, seed: int = 0) -> None:
        """Learn from texts with spans; weights are the mean over all steps."""
        made = []
        for text, spans in rows:
            places = words_of(text)
            made.append(([text[start:end] for start, end in places], tags_of(places, spans)))
        self._tags = sorted({tag for _, tags in made for tag in tags})
        weights: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        totals: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        step, rng = 0, random.Random(seed)
        self._weights = weights
        for _ in range(epochs):
            for words, tags in rng.sample(made, len(made)):
                before = "<"
                for at, tag in enumerate(tags):
                    step += 1
                    found = features(words, at, before)
                    answer = self._best(found)
                    if answer != tag:
                        for feature in found:
                            for which, sign in ((tag, 1.0), (answer, -1.0)):
                                weights[feature][which] += sign
                                totals[feature][which] += sign * step
                    before = answer
        self._weights = {
            feature: {tag: weight - totals[feature][tag] / (step + 1) for tag, weight in own.items()}
            for feature, own in weights.items()
        }

    def tag(self, text: str) -> list[Span]:
        """The spans of a text."""
        places = words_of(text)
        words, tags = [text[start:end] for start, end in places], ["<"]
        for at in range(len(words)):
            tags.append(self._best(features(words, at, tags[-1])))
        return spans_of(places, tags[1:])

    def _best(self, found: Sequence[str]) -> str:
        scores = dict.fromkeys(self._tags, 0.0)
        for feature in found:
            for tag, weight in self._weights.get(feature, {}).items():
                scores[tag] += weight
        return max(scores, key=lambda tag: (scores[tag], tag))


def tags_of(places: Sequence[tuple[int, int]], spans: Sequence[Span]) -> list[str]:
    """BIO tags of words."""
    tags = ["O"] * len(places)
    for span in spans:
        own = [at for at, (start, end) in enumerate(places) if start < span.end and end > span.start]
        for at in own:
            tags[at] = f"{'B' if at == own[0] else 'I'}-{span.label}"
    return tags


def spans_of(places: Sequence[tuple[int, int]], tags: Sequence[str]) -> list[Span]:
    """The spans of BIO tags; ``I-`` after another kind begins a span."""
    spans: list[Span] = []
    before = "O"
    for (start, end), tag in zip(places, tags, strict=True):
        if tag.startswith("I-") and before[2:] == tag[2:]:
            spans[-1] = spans[-1]._replace(end=end)
        elif tag != "O":
            spans.append(Span(start, end, tag[2:]))
        before = tag
    return spans
