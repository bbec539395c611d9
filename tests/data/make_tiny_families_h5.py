"""Write two models of make_tiny_families.py in the format of transformers' TensorFlow models.

Environment: transformers 4.49 with TensorFlow and tf-keras; PyTorch is not needed.

    python make_tiny_families_h5.py tests/data

writes ``tiny_families_h5.tar.xz``, with NAME/tf_model.h5 for each of MODELS. The models have their head of pretraining,
which lists the encoder's embeddings among its own weights.
"""

import argparse
import json
import os
import tarfile
import tempfile
from pathlib import Path

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("USE_TORCH", "0")

import numpy as np
import transformers
from make_tiny_families import tensors_of
from safetensors.numpy import save_file

#: Name -> class.
MODELS = {"xlm-roberta.one": "TFXLMRobertaForMaskedLM", "albert.uneven": "TFAlbertForMaskedLM"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="tests/data")
    data = parser.parse_args().data
    described = json.loads(np.load(data / "tiny_families.npz")["models"].tobytes())
    with tempfile.TemporaryDirectory() as folder, tarfile.open(data / "tiny_families_h5.tar.xz", "w:xz") as archive:
        for name, kind in MODELS.items():
            source, target = Path(folder) / "source", Path(folder) / name
            source.mkdir(exist_ok=True)
            (source / "config.json").write_text(json.dumps(described[name]["config"]))
            save_file(tensors_of(described[name]["tensors"]), source / "model.safetensors", {"format": "pt"})
            getattr(transformers, kind).from_pretrained(source).save_pretrained(target, safe_serialization=False)
            archive.add(target / "tf_model.h5", f"{name}/tf_model.h5")


if __name__ == "__main__":
    main()
