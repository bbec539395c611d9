"""What is exported for TensorFlow Serving 2.12, loaded and run by the TensorFlow and tensorflow-text that it links.

Needs another Python: docs/targets.md says how to make its environment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from exports import exported

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


@pytest.mark.slow
@pytest.mark.skipif(not PYTHON, reason="RAWBERT_TF212_PYTHON names no Python with TensorFlow 2.12 (docs/targets.md)")
def test_an_export_for_2_12_answers_the_same_there(data: Path, tmp_path: Path) -> None:
    assert PYTHON is not None
    bundle = exported(data / "tiny_bert", tmp_path, target_serving="2.12", pooling="mean", normalize=True)
    there, theirs = answers(PYTHON, bundle.path, tmp_path / "there.npz")
    here, ours = answers(sys.executable, bundle.path, tmp_path / "here.npz")
    assert there == "2.12.1 2.12.1"
    assert here.startswith("2.20")
    assert theirs.keys() == ours.keys()
    assert {"pooled.pooled_output", "embed.embedding", "tokenize.input_word_ids"} <= ours.keys()
    for name, value in ours.items():
        if value.dtype.kind == "f":
            np.testing.assert_allclose(theirs[name], value, rtol=0, atol=2e-6, err_msg=name)
        else:
            np.testing.assert_array_equal(theirs[name], value, err_msg=name)
