"""What is exported for TensorFlow Serving 2.12, loaded and run by the TensorFlow and tensorflow-text that it links.

Needs another Python: docs/targets.md says how to make its environment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exports import exported
from rawbert.exporter.recipe import TOLERANCES
from rawbert.exporter.targets import check, opsets

PYTHON = os.environ.get("RAWBERT_TF212_PYTHON")
TEXTS = [
    "Plain strings go in, vectors come out.",
    "",
    "Ångström ﬁne ΟΔΟΣ 机器学习 naïve — 42 % [SEP] [MASK]",
    "\x00 control \ufffd and a-very-long-" + "word" * 40,
    " ".join(["many tokens"] * 60),
]
# In a session, as a server does; prints what is linked.
RUN = """
import json, sys
import numpy as np, tensorflow as tf, tensorflow_text
folder, texts, answers = sys.argv[1:]
texts = np.array([text.encode() for text in json.loads(texts)], object)
found = {}
with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    graph = tf.compat.v1.saved_model.load(session, ["serve"], folder)
    for name, signature in graph.signature_def.items():
        if not name.startswith("__"):
            outputs = {key: info.name for key, info in signature.outputs.items()}
            answer = session.run(outputs, {info.name: texts for info in signature.inputs.values()})
            found.update((f"{name}.{key}", value) for key, value in answer.items())
np.savez(answers, **found)
print(tf.__version__, tensorflow_text.__version__)
"""


def answers(python: str, folder: Path, file: Path) -> tuple[str, dict[str, np.ndarray]]:
    done = subprocess.run(
        [python, "-c", RUN, str(folder), json.dumps(TEXTS), str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(file, allow_pickle=True) as read:
        return done.stdout.strip(), dict(read)


#: What is exported, and how far the answers may lie apart: times max(1, the largest value), as in verification. Two
#: releases add up float32 in different orders; of bfloat16, which has 8 bits, a matrix product may round another way.
EXPORTS: dict[str, tuple[str, dict[str, Any], float]] = {
    "native": ("tiny_bert", {}, 2e-6),
    "native bfloat16": ("tiny_bert", {"precision": "bfloat16", "min_cosine": 0.99}, TOLERANCES["bfloat16"][0]),
    "pairs": ("tiny_bert", {"pair": True}, 2e-6),
    "hub rebuilt": ("hub_bert", {"encoder_impl": "native"}, 2e-6),
    "hub as it is": ("hub_bert", {"encoder_impl": "hub"}, 2e-6),
}


@pytest.mark.slow
@pytest.mark.skipif(not PYTHON, reason="RAWBERT_TF212_PYTHON names no Python with TensorFlow 2.12 (docs/targets.md)")
@pytest.mark.parametrize("name", EXPORTS)
def test_exports_for_2_12_answer_the_same_there(data: Path, tmp_path: Path, name: str) -> None:
    assert PYTHON is not None
    source, settings, apart = EXPORTS[name]
    settings = {"target_serving": "2.12", "pooling": "mean", "normalize": True, **settings}
    bundle = exported(data / source, tmp_path, **settings)
    for release in opsets.RELEASES:
        assert check.check(bundle.path, release) == []
    there, theirs = answers(PYTHON, bundle.path, tmp_path / "there.npz")
    here, ours = answers(sys.executable, bundle.path, tmp_path / "here.npz")
    assert there == "2.12.1 2.12.1"
    assert here.startswith("2.20")
    assert theirs.keys() == ours.keys()
    assert {"pooled.pooled_output", "embed.embedding", "tokenize.input_word_ids"} <= ours.keys()
    for key, value in ours.items():
        if value.dtype.kind == "f":
            atol = apart * max(1.0, float(np.abs(value).max()))
            np.testing.assert_allclose(theirs[key], value, rtol=0, atol=atol, err_msg=key)
        else:
            np.testing.assert_array_equal(theirs[key], value, err_msg=key)
