"""Write PyTorch's logits of random heads on a real encoder, all-MiniLM-L6-v2 or all-mpnet-base-v2.

Environment: transformers and PyTorch (CPU).

    python make_real_heads.py MODEL_FOLDER tests/data [NAME]

writes ``NAME_heads.npz`` (NAME is ``minilm`` if it is left out): for each MODEL of HEADS the array ``MODEL``, float32
``[rows, labels]`` or, for taggers, ``[tokens of all rows, tags]``. The rows are those of ``rows()``: texts of
``minilm_golden.json`` and pairs of them, each computed alone. The heads' weights are those of ``head()``, which tests
call, too.
"""

import argparse
import json
from pathlib import Path

import numpy as np

HEADS = {"Sequence.1": 1, "Sequence.2": 2, "Sequence.77": 77, "Token.9": 9}
#: Maximum number of tokens of a row.
LENGTH = 128


def rows(data: Path) -> list[tuple[str, ...]]:
    """32 texts, and 8 pairs of them."""
    cases = json.loads((data / "minilm_golden.json").read_text(encoding="utf-8"))["cases"]
    texts = [case["text"] for case in cases][:32]
    return [*((text,) for text in texts), *((texts[at], texts[at + 9]) for at in range(8))]


def head(family: str, task: str, labels: int, hidden: int) -> dict[str, np.ndarray]:
    """The tensors of a random head, by their names in PyTorch's files: the same on every machine."""
    rng = np.random.default_rng(labels)
    last = "classifier.out_proj" if (family, task) == ("mpnet", "Sequence") else "classifier"
    tensors = {
        f"{last}.weight": rng.standard_normal((labels, hidden)) / 8,
        f"{last}.bias": rng.standard_normal(labels) / 8,
    }
    if last != "classifier":
        tensors["classifier.dense.weight"] = rng.standard_normal((hidden, hidden)) / hidden**0.5
        tensors["classifier.dense.bias"] = rng.standard_normal(hidden) / 8
    return {name: value.astype(np.float32) for name, value in tensors.items()}


def main() -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path, help="tests/data")
    parser.add_argument("name", nargs="?", default="minilm")
    arguments = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    arrays = {}
    for name, labels in HEADS.items():
        task = name.partition(".")[0]
        kind = AutoModelForSequenceClassification if task == "Sequence" else AutoModelForTokenClassification
        model = kind.from_pretrained(arguments.model, num_labels=labels, attn_implementation="eager")
        made = head(model.config.model_type, task, labels, model.config.hidden_size)
        left = model.load_state_dict({each: torch.tensor(value) for each, value in made.items()}, strict=False)
        assert not left.unexpected_keys
        assert not any("classifier" in each for each in left.missing_keys)
        model = model.double().eval()
        logits = []
        for row in rows(arguments.data):
            texts = [[text] for text in row]
            batch = tokenizer(*texts, truncation=True, max_length=LENGTH, return_tensors="pt")
            with torch.no_grad():
                logits.append(model(**batch).logits[0].numpy())
        join = np.stack if task == "Sequence" else np.concatenate
        arrays[name] = join(logits).astype(np.float32)
    np.savez_compressed(arguments.data / f"{arguments.name}_heads.npz", **arrays)


if __name__ == "__main__":
    main()
