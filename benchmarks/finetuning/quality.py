"""Quality of a fine-tuned encoder, compared with TF-IDF and logistic regression, and equality of the served answers.

    python -m benchmarks.finetuning.make_sections build/sections
    python -m benchmarks.finetuning.quality ENCODER build/sections [--run run] [OPTIONS]

The second command trains with ``rawbert finetune`` (with its defaults, except OPTIONS), exports with ``rawbert
export``, serves with ``rawbert serve``, and sends every row of the validation and test parts over gRPC. It needs
scikit-learn.

The settings of TF-IDF (single words, or also pairs of words; the weight of the penalty) are those with the best macro
F1 on the validation rows, which also choose the encoder's epoch. No setting depends on the test rows.
"""

import argparse
import csv
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rawbert.serving import Client

RAWBERT = [sys.executable, "-c", "from rawbert.serving.cli import main; main()"]


def read(path: Path) -> tuple[list[str], list[str]]:
    """Texts and labels of a file."""
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [row["text"] for row in rows], [row["label"] for row in rows]


def baseline(folder: Path) -> dict[str, Any]:
    """TF-IDF and logistic regression."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score
    from sklearn.pipeline import make_pipeline

    train, validation, test = (read(folder / f"{part}.csv") for part in ("train", "validation", "test"))
    found = []
    for words in (1, 2):
        for penalty in (1, 3, 10, 30):
            features = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, words))
            model = make_pipeline(features, LogisticRegression(C=penalty, max_iter=2000)).fit(*train)
            figures = [f1_score(labels, model.predict(texts), average="macro") for texts, labels in (validation, test)]
            found.append((*figures, words, penalty))
    best, on_test, words, penalty = max(found)
    return {"validation": best, "test": on_test, "words": words, "C": penalty}


def macro_f1(true: list[str], found: list[str]) -> float:
    """Mean over classes of F1, by scikit-learn."""
    from sklearn.metrics import f1_score

    return float(f1_score(true, found, average="macro"))


@contextmanager
def serving(models: Path) -> Iterator[str]:
    """Run ``rawbert serve``; yields its address."""
    command = [*RAWBERT, "serve", "--model_name", "model", "--model_base_path", str(models), "--host", "127.0.0.1"]
    server = subprocess.Popen([*command, "--port", "0"], stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        address = next(found[1] for line in server.stderr if (found := re.search(r"gRPC ModelServer at (\S+)", line)))
        yield address
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


def main() -> None:
    """Train, export, serve, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("encoder")
    parser.add_argument("folder", type=Path, help="with train.csv, validation.csv and test.csv")
    parser.add_argument("--run", default="run", help="name of the run's folder")
    arguments, options = parser.parse_known_args()
    folder = arguments.folder.absolute()
    run, models = folder / arguments.run, folder / f"{arguments.run}.models" / "model"
    if not (run / "report.json").is_file():
        rows = ["--train", str(folder / "train.csv"), "--validation", str(folder / "validation.csv")]
        subprocess.run([*RAWBERT, "finetune", arguments.encoder, *rows, "--output", str(run), *options], check=True)
    subprocess.run([*RAWBERT, "export", str(run), "--output", str(models), "--version", "1", "--force"], check=True)
    measured = [json.loads(line) for line in (run / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    texts, true = read(folder / "test.csv")
    with serving(models) as address, Client(address, model="model", timeout=120) as client:

        def ask(texts: list[str]) -> tuple[np.ndarray, list[str], list[str]]:
            calls = [texts[at : at + 32] for at in range(0, len(texts), 32)]
            parts = [client.predict({"text": each}, signature_name="classify") for each in calls]
            labels = [label.decode() for label in parts[0]["labels"][0]]
            found = [label.decode() for part in parts for label in part["label"]]
            return np.concatenate([part["scores"] for part in parts]), found, labels

        scores, _, labels = ask([row["texts"][0] for row in measured])
        wanted = np.array([[row["scores"][label] for label in labels] for row in measured])
        off = float(np.abs(scores - wanted).max())
        same = int((scores.argmax(1) == wanted.argmax(1)).sum())
        _, found, _ = ask(texts)
    tfidf = baseline(folder)
    result = {
        "rows": {part: len(read(folder / f"{part}.csv")[0]) for part in ("train", "validation", "test")},
        "classes": len(labels),
        "tfidf": tfidf,
        "finetuned": {
            "validation": json.loads((run / "report.json").read_text(encoding="utf-8"))["metrics"]["macro_f1"],
            "test": macro_f1(true, found),
        },
        "served": {"rows": len(measured), "same label": same, "largest difference of a score": off},
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
