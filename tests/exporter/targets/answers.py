"""Write the answers of an environment's TensorFlow: ``python answers.py FOLDER FILE``.

FOLDER contains SavedModels by name. FILE (.npz) gets every output of every signature as ``name/signature.output``; if a
model cannot be loaded or called, ``name`` contains the reason. The script needs only TensorFlow and tensorflow-text.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

TEXTS = [
    "Plain strings go in, vectors come out.",
    "",
    "Ångström ﬁne ΟΔΟΣ 机器学习 naïve — 42 % [SEP] [MASK]",
    "\x00 control \ufffd and a-very-long-" + "word" * 40,
    " ".join(["many tokens"] * 60),
]


def main(folder: Path, file: Path) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    import numpy as np
    import tensorflow as tf
    import tensorflow_text

    texts = np.array([text.encode() for text in TEXTS], object)
    found = {"versions": np.array([tf.__version__, tensorflow_text.__version__])}
    for path in sorted(folder.iterdir()):
        try:
            # In a session, which imports the whole graph like a server; tf.saved_model.load does not.
            with tf.Graph().as_default(), tf.compat.v1.Session() as session:
                graph = tf.compat.v1.saved_model.load(session, ["serve"], str(path))
                for name, signature in graph.signature_def.items():
                    if not name.startswith("__"):
                        outputs = {key: info.name for key, info in signature.outputs.items()}
                        inputs = sorted(signature.inputs)  # of a pair the second is another text
                        feeds = {signature.inputs[key].name: np.roll(texts, at) for at, key in enumerate(inputs)}
                        for key, value in session.run(outputs, feeds).items():
                            value = value.astype(np.float32) if value.dtype.name == "bfloat16" else value
                            found[f"{path.name}/{name}.{key}"] = value
        except Exception as error:
            found[path.name] = np.array(f"{type(error).__name__}: {error}")
    np.savez(file, **found)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
