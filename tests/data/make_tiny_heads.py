"""Write heads for the tiny models, with their logits by PyTorch in float64 and scores by the libraries of users.

Environment: sentence-transformers, transformers and PyTorch (CPU). After ``make_tiny_bert.py``,
``make_tiny_relatives.py`` and ``make_tiny_mpnet.py``, whose encoders the heads are put on.

    python make_tiny_heads.py tests/data

writes ``tiny_heads.npz``: the rows, ``texts`` and then ``pairs``, and for each model FAMILY.TASK.COUNT:

* ``FAMILY.TASK.COUNT/NAME``, float32: the head's tensors, by their names in PyTorch's files;
* ``FAMILY.TASK.COUNT``, float32: logits ``[rows, COUNT]`` of sequence classifiers, ``[tokens of all rows, COUNT]`` of
  token classifiers;
* ``FAMILY.lengths``, int32 ``[rows]``, and ``FAMILY.ids``, int32 ``[tokens of all rows]``.

``pipeline.COUNT.PROBLEM``, float32 ``[texts, COUNT]``, are the scores of the text-classification pipeline on BERT.
``pipeline.tag`` ``[tokens of all texts, without special tokens]`` are those of the token-classification pipeline.
``predict.COUNT.RELEASE.ACTIVATION``, float32 ``[pairs]`` or ``[pairs, COUNT]``, are those of ``CrossEncoder.predict``,
with the activation in config.json in the form of that release.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from sentence_transformers import CrossEncoder
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertTokenizer,
    MPNetTokenizer,
    pipeline,
)

CLASSES = {"Sequence": AutoModelForSequenceClassification, "Token": AutoModelForTokenClassification}
NAMES = {"bert": "Bert", "distilbert": "DistilBert", "electra": "Electra", "mpnet": "MPNet"}
COUNTS = {"Sequence": (1, 2, 77), "Token": (1, 9)}
TEXTS = ["The cat sat on the mat.", "hello", "", "Café 中国 (12) … unwanted", "the dog and " * 80]
PAIRS = [
    ("the cat", "sat on the mat"),
    ("", "hello the cat"),
    ("hello the dog", ""),
    ("the dog " * 60, "the mat " * 20),
]
ROWS = [*((text,) for text in TEXTS), *PAIRS]
LENGTH = 64


def folder_of(data: Path, target: Path, family: str, task: str, count: int, head: dict, **config: object) -> Path:
    """A folder that transformers loads: a tiny encoder with a head."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    source = data / f"tiny_{family}"
    state = json.loads((source / "config.json").read_text())
    state |= {"architectures": [f"{NAMES[family]}For{task}Classification"]}
    state |= {"id2label": {str(at): f"L{at}" for at in range(count)}, **config}
    (target / "config.json").write_text(json.dumps(state))
    tensors = load_file(source / "model.safetensors")
    own = {name: value for name, value in tensors.items() if name.startswith(f"{family}.")}
    own = own or {f"{family}.{name}": value for name, value in tensors.items()}
    save_file({**own, **head}, target / "model.safetensors")
    return target


def head_of(model: torch.nn.Module, seed: int) -> dict[str, np.ndarray]:
    """Random tensors for a model's head."""
    generator, head = torch.Generator().manual_seed(seed), {}
    for name, weight in model.named_parameters():
        if "classifier" in name:
            scale = 0.1 if weight.ndim == 1 else (1 if "dense" in name or "pre" in name else 3) / weight.shape[1] ** 0.5
            head[name] = (scale * torch.randn(weight.shape, generator=generator)).numpy()
    return head


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="tests/data")
    data = parser.parse_args().data
    words = {
        name: {word: at for at, word in enumerate((data / f"tiny_{name}" / "vocab.txt").read_text().splitlines())}
        for name in ("bert", "mpnet")
    }
    arrays = {"texts": np.array(TEXTS), "pairs": np.array(PAIRS)}
    with tempfile.TemporaryDirectory() as temporary:
        target = Path(temporary) / "model"
        for family in NAMES:
            kind = MPNetTokenizer if family == "mpnet" else BertTokenizer
            tokenizer = kind(vocab=words.get(family, words["bert"]), model_max_length=LENGTH)
            if family == "distilbert":
                tokenizer.model_input_names = ["input_ids", "attention_mask"]
            batches = [
                tokenizer(*([text] for text in row), truncation=True, max_length=LENGTH, return_tensors="pt")
                for row in ROWS
            ]
            ids = [batch["input_ids"][0].int().numpy() for batch in batches]
            arrays[f"{family}.lengths"] = np.array([len(each) for each in ids], np.int32)
            arrays[f"{family}.ids"] = np.concatenate(ids)
            for task, counts in COUNTS.items():
                for count in counts:
                    key = f"{family}.{task}.{count}"
                    head = head_of(CLASSES[task].from_pretrained(data / f"tiny_{family}", num_labels=count), len(key))
                    arrays |= {f"{key}/{name}": value for name, value in head.items()}
                    folder_of(data, target, family, task, count, head)
                    model = CLASSES[task].from_pretrained(target, attn_implementation="eager").double().eval()
                    with torch.no_grad():
                        logits = [model(**batch).logits for batch in batches]
                    join = np.concatenate([each.numpy() if task == "Sequence" else each[0].numpy() for each in logits])
                    arrays[key] = join.astype(np.float32)
        tokenizer = BertTokenizer(vocab=words["bert"], model_max_length=LENGTH)

        def head(task: str, count: int) -> dict[str, np.ndarray]:
            prefix = f"bert.{task}.{count}/"
            return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}

        def saved(task: str, count: int, **config: object) -> Path:
            folder_of(data, target, "bert", task, count, head(task, count), **config)
            tokenizer.save_pretrained(target)
            return target

        for count in COUNTS["Sequence"]:
            for problem in (None, "regression", "single_label_classification", "multi_label_classification"):
                if (count, problem) != (1, "single_label_classification"):
                    run = pipeline("text-classification", str(saved("Sequence", count, problem_type=problem)))
                    scores = []
                    for text in TEXTS:
                        found = {each["label"]: each["score"] for each in run(text, top_k=None, truncation=True)}
                        scores.append([found[f"L{at}"] for at in range(count)])
                    arrays[f"pipeline.{count}.{problem}"] = np.array(scores, np.float32)
        run = pipeline("token-classification", str(saved("Token", 9)), ignore_labels=[])
        found = [each for text in TEXTS for each in run(text)]
        arrays["pipeline.tag"] = np.array([each["score"] for each in found], np.float32)
        arrays["pipeline.tag.labels"] = np.array([each["entity"] for each in found])
        for count in COUNTS["Sequence"]:
            for release in ("2", "4"):
                for name in (None, "linear.Identity", "activation.Sigmoid"):
                    path = f"torch.nn.modules.{name}" if name else None
                    added = {"version": "4.1.0"} | ({"activation_fn": path} if path else {})
                    says = {"2": {"sbert_ce_default_activation_function": path}, "4": {"sentence_transformers": added}}
                    model = CrossEncoder(str(saved("Sequence", count, **says[release])), device="cpu")
                    arrays[f"predict.{count}.{release}.{name}"] = model.predict(PAIRS, show_progress_bar=False)
    np.savez_compressed(data / "tiny_heads.npz", **arrays)


if __name__ == "__main__":
    main()
