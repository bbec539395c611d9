"""Make a TF Hub ALBERT and its preprocessing model, with the tool that made those on TF Hub.

Environment: tf-models-official and sentencepiece.

    python make_hub_albert.py tests/data/hub_albert.tar.xz

writes an archive of two folders:

* ``encoder/``: a random ALBERT with the interface of ``albert_en_base/3``: it takes a dict of int32 ``[batch, seq]``
  tensors, and has its SentencePiece model as ``sp_model_file``. 3 layers share their weights; embeddings are 16 wide,
  layers 32; 4 heads, 48 positions; the tanh GELU.
* ``preprocess/``: its preprocessing model, as ``albert_en_preprocess/3``: strings ``[batch]`` to int32 ``[batch, 32]``.

The SentencePiece model has the special tokens, the symbols and the map of characters (nmt_nfkc) of ALBERT's own.
"""

import argparse
import io
import os
import random
import tarfile
import tempfile
from pathlib import Path

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import random_models
import sentencepiece
import tensorflow as tf
from official.nlp.configs import encoders
from official.nlp.tools import export_tfhub_lib

LENGTH, HIDDEN = 32, 32
WORDS = (
    "the quick brown fox jumps over the lazy dog . how do i reset my password ? tensorflow serving answers over grpc , "
    "and the client sends plain strings . don't stop -- it's 3.14159 ( approximately ) , isn't it ? ! 1,000 and 25,000 "
    "cafe naive uber strasse lodz elve resume съешь ещё этих мягких французских булок 中文字符和 english 混排 "
    "日本語のテキスト、カタカナ 한국어 텍스트 नमस्ते สวัสดี مرحبا one two three four five six user@example.com #top"
)


def pieces() -> bytes:
    """A SentencePiece model; the options are those in the documentation of google-research/albert."""
    rng = random.Random(0)
    lines = [" ".join(rng.choices(WORDS.split(), k=rng.randint(3, 14))) for _ in range(2000)]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        vocab_size=300,
        hard_vocab_limit=False,
        character_coverage=1.0,
        pad_id=0,
        unk_id=1,
        bos_id=-1,
        eos_id=-1,
        control_symbols=["[CLS]", "[SEP]", "[MASK]"],
        user_defined_symbols=["(", ")", '"', "-", ".", "–", "£", "€"],
        minloglevel=2,
    )
    return model.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, help=".tar.xz to write")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        model = Path(temporary, "spiece.model")
        model.write_bytes(pieces())
        size = sentencepiece.SentencePieceProcessor(model_file=str(model)).get_piece_size()
        config = encoders.EncoderConfig(
            type="albert",
            albert=encoders.AlbertEncoderConfig(
                vocab_size=size,
                embedding_width=16,
                hidden_size=HIDDEN,
                num_layers=3,
                num_attention_heads=4,
                intermediate_size=64,
                max_position_embeddings=48,
            ),
        )
        encoder = encoders.build_encoder(config)
        for each in encoder.weights:
            name = each.name.removesuffix(":0").replace("/gamma", ".weight")
            shape = (HIDDEN, each.shape.num_elements() // HIDDEN) if each.shape.rank == 3 else each.shape
            each.assign(np.reshape(random_models.tensors({name: shape}, 31)[name], each.shape))
        path = tf.train.Checkpoint(model=encoder, encoder=encoder).save(str(Path(temporary, "albert")))
        folders = Path(temporary, "folders")
        # The tool moves the file away.
        copies = [Path(temporary, name, "30k-clean.model") for name in ("encoder", "preprocess")]
        for copy in copies:
            copy.parent.mkdir()
            copy.write_bytes(model.read_bytes())
        export_tfhub_lib.export_model(
            str(folders / "encoder"),
            encoder_config=config,
            model_checkpoint_path=path,
            with_mlm=False,
            sp_model_file=str(copies[0]),
        )
        export_tfhub_lib.export_preprocessing(
            str(folders / "preprocess"),
            sp_model_file=str(copies[1]),
            do_lower_case=True,
            tokenize_with_offsets=False,
            default_seq_length=LENGTH,
        )
        with tarfile.open(args.output, "w:xz") as archive:
            for each in sorted(folders.rglob("*")):
                if each.is_file():
                    archive.add(each, each.relative_to(folders).as_posix())


if __name__ == "__main__":
    main()
