"""Write a TF Hub preprocessing model for a vocabulary, with the tool that wrote the models on TF Hub.

Environment: tf-models-official.

    python make_hub_preprocess.py tests/data/tiny_bert/vocab.txt tests/data/hub_preprocess.tar.xz

The result has the interface of the preprocessing models on TF Hub: it takes strings ``[batch]`` and returns a dict of
int32 ``[batch, 32]`` tensors ``input_word_ids``, ``input_mask`` and ``input_type_ids``; texts are lower-cased.
"""

import argparse
import tarfile
import tempfile
from pathlib import Path

from official.nlp.tools import export_tfhub_lib

#: Number of tokens of a text; the tool's own default is 128.
LENGTH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("vocab", type=Path, help="vocab.txt")
    parser.add_argument("output", type=Path, help=".tar.xz to write")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "hub_preprocess")
        export_tfhub_lib.export_preprocessing(
            str(folder),
            vocab_file=str(args.vocab),
            do_lower_case=True,
            tokenize_with_offsets=False,
            default_seq_length=LENGTH,
        )
        with tarfile.open(args.output, "w:xz") as archive:
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    archive.add(path, path.relative_to(folder).as_posix())


if __name__ == "__main__":
    main()
