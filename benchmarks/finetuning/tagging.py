"""Quality of a fine-tuned tagger, compared with an averaged perceptron, and equality of the served answers.

    python -m benchmarks.finetuning.make_mentions build/mentions
    python -m benchmarks.finetuning.tagging ENCODER build/mentions

The second command trains with ``rawbert finetune --task tag``, exports, serves, and gets the spans of every row of the
validation and test parts with the client. The validation rows choose the encoder's epoch, and the perceptron's number
of epochs; no setting depends on the test rows. A span is right if its label and both ends are right. F1 is computed
here, not by the trainer.
"""

import argparse
import json
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rawbert.serving import Client

from .perceptron import Perceptron, Span
from .quality import RAWBERT, serving

Rows = list[tuple[str, list[Span]]]


def read(path: Path) -> Rows:
    """Texts and spans of a file."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [(row["text"], [Span(each["start"], each["end"], each["label"]) for each in row["spans"]]) for row in rows]


def f1(rows: Rows, found: Sequence[Sequence[Span]]) -> dict[str, float]:
    """F1 of spans, over all and by kind."""
    right, true, answered = Counter[str](), Counter[str](), Counter[str]()
    for (_, spans), answers in zip(rows, found, strict=True):
        for kind in ("", *{span.label for span in (*spans, *answers)}):
            one, other = ({span for span in each if kind in ("", span.label)} for each in (spans, answers))
            right[kind] += len(one & other)
            true[kind] += len(one)
            answered[kind] += len(other)
    return {kind or "all": 2 * right[kind] / (true[kind] + answered[kind]) for kind in sorted(true)}


def baseline(train: Rows, validation: Rows, test: Rows) -> dict[str, Any]:
    """The perceptron, with the number of epochs that the validation rows choose."""
    found = []
    for epochs in (5, 10, 20):
        model = Perceptron()
        model.train(train, epochs)
        figures = [f1(rows, [model.tag(text) for text, _ in rows]) for rows in (validation, test)]
        found.append((figures[0]["all"], epochs, figures))
    _, epochs, (of_validation, of_test) = max(found, key=lambda each: each[0])
    return {"epochs": epochs, "validation": of_validation, "test": of_test}


def main() -> None:
    """Train, export, serve, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("encoder")
    parser.add_argument("folder", type=Path, help="with train.jsonl, validation.jsonl and test.jsonl")
    parser.add_argument("options", nargs="*", help="further options of rawbert finetune, after --")
    arguments = parser.parse_args()
    folder = arguments.folder.absolute()
    train, validation, test = (read(folder / f"{part}.jsonl") for part in ("train", "validation", "test"))
    run, models = folder / "run", folder / "models" / "model"
    if not (run / "report.json").is_file():
        rows = ["--train", str(folder / "train.jsonl"), "--validation", str(folder / "validation.jsonl")]
        words = ["finetune", arguments.encoder, "--task", "tag", *rows, "--output", str(run), *arguments.options]
        subprocess.run([*RAWBERT, *words], check=True)
    subprocess.run([*RAWBERT, "export", str(run), "--output", str(models), "--version", "1", "--force"], check=True)
    aggregation = json.loads((run / "run.json").read_text(encoding="utf-8"))["settings"]["aggregation"]
    measured = [json.loads(line) for line in (run / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    with serving(models) as address, Client(address, model="model", timeout=120) as client:

        def ask(texts: list[str], by: Any = aggregation) -> list[list[Span]]:
            answers = client.tag(texts, aggregation=by)
            return [[Span(each.start, each.end, each.label) for each in answer.entities] for answer in answers]

        served = ask([row["text"] for row in measured])
        wanted = [[Span(each["start"], each["end"], each["label"]) for each in row["entities"]] for row in measured]
        others = [each for each in ("simple", "first", "average", "max") if each != aggregation]
        result = {
            "rows": {"train": len(train), "validation": len(validation), "test": len(test)},
            "perceptron": baseline(train, validation, test),
            "finetuned": {"validation": f1(validation, served), "test": f1(test, ask([text for text, _ in test]))},
            "validation, other aggregations": {
                each: f1(validation, ask([text for text, _ in validation], each))["all"] for each in others
            },
            "trainer's own F1": json.loads((run / "report.json").read_text(encoding="utf-8"))["metrics"]["f1"],
            "served": {"rows": len(measured), "same spans": sum(map(list.__eq__, served, wanted))},
        }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
