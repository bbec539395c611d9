"""From labelled texts to a served classifier: fine-tune real weights, export, serve, classify new texts.

Run by ``make finetune-demo``. The rows are built from the templates below: requests to a shop, of five kinds. The
weights are those of ``demo.py``.
"""

from __future__ import annotations

import csv
import itertools
import random
import shlex
import sys
from pathlib import Path

from demo import ended_well, find_weights, run, running, say
from rawbert.serving import Client

ROWS, RUN, MODEL = Path("models", "requests.csv"), Path("models", "requests.run"), Path("models", "requests")

THINGS = ("lamp", "blue shirt", "coffee machine", "headphones", "garden chair", "rice cooker", "keyboard", "backpack")
TEMPLATES = {
    "delivery": ("When will my {} arrive?", "The parcel with the {} is late.", "Where is my {}? It was sent last week.",
                 "The courier left my {} at the wrong door.", "Can you deliver the {} on Friday?"),
    "return": ("I want to send the {} back.", "The {} does not fit, how do I return it?", "Please take back the {}.",
               "I changed my mind about the {} and would like to return it.", "How long can I return a {}?"),
    "payment": ("You charged me twice for the {}.", "My card was refused when I bought the {}.",
                "Can I pay for the {} by invoice?", "I still wait for the refund of the {}.",
                "The price of the {} on my bill is wrong."),
    "broken": ("The {} stopped working after a day.", "My new {} came with a crack.", "The {} makes a strange noise.",
               "The {} does not switch on any more.", "A part of the {} is missing."),
    "account": ("I cannot log in to order the {}.", "Please delete my account.", "How do I change my password?",
                "My e-mail address has changed since I ordered the {}.", "I want no newsletter about the {}."),
}  # fmt: skip
NEW = [
    "my package has been stuck at the depot for three days",
    "the screen went black and nothing helps",
    "is it possible to get my money back on the credit card?",
    "I forgot my login and the reset mail never comes",
    "these shoes are too small, I would like to give them back",
]


def write_rows(path: Path) -> None:
    """Write every template with every thing, in a fixed random order."""
    rows = {
        (template.format(thing), label)
        for label, templates in TEMPLATES.items()
        for template, thing in itertools.product(templates, THINGS)
    }
    ordered = sorted(rows)
    random.Random(0).shuffle(ordered)
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("text", "label"), *ordered])


def main() -> None:
    """Train, export, serve, classify."""
    rawbert = [sys.executable, "-c", "from rawbert.serving.cli import main; main()"]
    write_rows(ROWS)
    rows = ["--train", str(ROWS), "--epochs", "6", "--batch-size", "16", "--learning-rate", "1e-4"]
    finetune = ["finetune", str(find_weights()), *rows, "--output", str(RUN), "--restart"]
    export = ["export", str(RUN), "--output", str(MODEL), "--version", "1", "--force", "--signatures", "classify"]
    for words in (finetune, export):
        say(f"rawbert {shlex.join(words)}")
        run([*rawbert, *words])
    served = ["--model_name", MODEL.name, "--model_base_path", str(MODEL.absolute()), "--host", "127.0.0.1"]
    say(f"rawbert serve {shlex.join(served)} --port 0")
    with running([*rawbert, "serve", *served, "--port", "0"]) as address, Client(address, model=MODEL.name) as client:
        answers = client.classify(NEW)
    print()
    for text, answer in zip(NEW, answers, strict=True):
        print(f"  {answer.label:8}  {answer.score:.3f}  {text}")
    print(f"\nThe report is {RUN / 'report.html'}; docs/how-to/finetune.md says how to train on rows of your own.")


if __name__ == "__main__":
    ended_well(main)
