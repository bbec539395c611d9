"""Build the TF Hub form of all-MiniLM-L6-v2: a genuine, full-size Hub BERT with real weights.

``hub_minilm.tar.gz`` contains the files that tf-models-official wrote for this model (see ``make_hub_bert.py``),
without the weights. ``build`` fills the weights in from the Hugging Face checkpoint; it needs TensorFlow, but not
tf-models-official:

    python hub_minilm.py MINILM_FOLDER OUTPUT_FOLDER
"""

import argparse
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import tensorflow as tf
from safetensors.numpy import load_file

TEMPLATE = Path(__file__).with_name("hub_minilm.tar.gz")


def build(minilm_folder: str | Path, output_folder: str | Path) -> Path:
    """Write the Hub folder, and return its path.

    ``checkpoint.json`` in the template lists every key of the TensorFlow checkpoint with its shape and dtype,
    and either a ``value`` or the Hugging Face ``tensor`` it comes from. PyTorch keeps a dense weight as
    [out, in] and TensorFlow as [in, out]: these are marked ``transpose``. The reshape that follows splits
    ``in`` or ``out`` into [heads, head size].
    """
    minilm_folder, output_folder = Path(minilm_folder), Path(output_folder)
    for folder in ("assets", "variables"):
        (output_folder / folder).mkdir(parents=True, exist_ok=True)
    with tarfile.open(TEMPLATE) as archive:
        files = {member.name: archive.extractfile(member).read() for member in archive}
    for name in ("saved_model.pb", "keras_metadata.pb"):
        (output_folder / name).write_bytes(files[name])
    shutil.copyfile(minilm_folder / "vocab.txt", output_folder / "assets" / "vocab.txt")

    tensors = load_file(minilm_folder / "model.safetensors")
    values = {}
    for entry in json.loads(files["checkpoint.json"]):
        array = np.asarray(entry["value"]) if "value" in entry else tensors[entry["tensor"]]
        if entry.get("transpose"):
            array = array.T
        values[entry["key"]] = tf.constant(array.reshape(entry["shape"]), entry["dtype"])
    values["_CHECKPOINTABLE_OBJECT_GRAPH"] = tf.constant(files["object_graph.pb"])
    tf.raw_ops.SaveV2(
        prefix=str(output_folder / "variables" / "variables"),
        tensor_names=list(values),
        shape_and_slices=[""] * len(values),
        tensors=list(values.values()),
    )
    return output_folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("minilm", type=Path, help="folder with model.safetensors and vocab.txt")
    parser.add_argument("output", type=Path, help="Hub folder to write")
    args = parser.parse_args()
    build(args.minilm, args.output)


if __name__ == "__main__":
    main()
