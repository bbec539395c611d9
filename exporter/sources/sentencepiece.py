"""SentencePiece models: without a tokenizer.json in a Hugging Face folder, or in a Hub encoder.

In a Hugging Face folder, transformers builds a Unigram tokenizer from the model, with the package sentencepiece. A Hub
encoder's own preprocessing runs the model itself, in an op of tensorflow-text.
"""

from pathlib import Path
from typing import Any

from ..errors import CorruptSource, UnsupportedModel, VocabularyError, first_line
from ..tokenizers.sentencepiece.spec import SentencePieceSpec
from ..tokenizers.spec import bert_template

#: File names in Hugging Face folders.
FILES = ("sentencepiece.bpe.model", "spiece.model", "spm.model")
#: Class -> what transformers 5 does otherwise than transformers 4 and the model's training.
_SINCE_5 = {
    "AlbertTokenizer": "numbers with commas are split in other places",
    "DebertaV2Tokenizer": "the model's map of characters is left out (full-width forms, ligatures, no-break and "
    "zero-width spaces and others stay as they are)",
}
_KINDS = {1: "Unigram", 2: "BPE", 3: "word", 4: "character"}


def read_model(path: Path) -> Any:
    """The ``ModelProto`` of a Hugging Face folder's SentencePiece model.

    Raises:
        UnsupportedModel: the model is not Unigram, so transformers cannot build the tokenizer of its training from it.
        CorruptSource: the file is damaged.
    """
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2

    messages: Any = sentencepiece_model_pb2  # has no types
    try:
        model = messages.ModelProto.FromString(path.read_bytes())
    except DecodeError as error:
        raise CorruptSource(f"{path}: not readable as a SentencePiece model: {error}") from error
    if not model.pieces:
        raise CorruptSource(f"{path}: not readable as a SentencePiece model: it has no pieces")
    kind = model.trainer_spec.model_type
    if kind != 1:
        raise UnsupportedModel(
            f"{path}: a SentencePiece model of the type {_KINDS.get(kind, kind)}, which transformers 5 reads as "
            "Unigram, with other tokens than in the model's training; only Unigram can be exported"
        )
    return model


def notes(model: Any, path: Path, name: str) -> list[str]:
    """Notes for the user about a model of :func:`read_model`; ``name`` is the tokenizer's class."""
    found = []
    if name in _SINCE_5:
        found.append(
            f"{path.name} is read as by transformers 5, where {_SINCE_5[name]}, unlike in transformers 4: with a "
            "tokenizer.json that transformers 4 saved, tokens are those of transformers 4"
        )
    ignored = {
        "byte_fallback": model.trainer_spec.byte_fallback,
        "add_dummy_prefix (false)": not model.normalizer_spec.add_dummy_prefix,
        "treat_whitespace_as_suffix": model.trainer_spec.treat_whitespace_as_suffix,
    }
    if any(ignored.values()):
        names = ", ".join(name for name, is_set in ignored.items() if is_set)
        found.append(f"{path.name} has settings that transformers' fast tokenizers do not follow: {names}")
    return found


def read_hub_model(path: Path, lowercase: bool) -> SentencePieceSpec:
    """Rules of a Hub encoder, from its ``sp_model_file``.

    Args:
        path: the SentencePiece model.
        lowercase: whether texts are case-folded.

    Raises:
        CorruptSource: the file is missing or damaged.
        VocabularyError: the model lacks a required token (``[CLS]``, ``[SEP]``, ``<pad>``).
    """
    import tensorflow as tf
    import tensorflow_text as tf_text

    if not path.is_file():
        raise CorruptSource(f"{path}: missing; copy the Hub encoder's folder with its assets")
    model = path.read_bytes()
    try:
        op = tf_text.SentencepieceTokenizer(model)
        vocab = tuple(piece.decode() for piece in op.id_to_string(tf.range(op.vocab_size())).numpy())
    except (tf.errors.OpError, UnicodeDecodeError) as error:
        raise CorruptSource(f"{path}: not readable as a SentencePiece model: {first_line(error)}") from error
    ids = {piece: at for at, piece in enumerate(vocab)}
    for token in ("[CLS]", "[SEP]", "<pad>"):
        if token not in ids:
            raise VocabularyError(f"{path}: the vocabulary has no {token}, which ALBERT needs")
    return SentencePieceSpec(
        vocab=vocab,
        pad_id=ids["<pad>"],
        template=bert_template(ids["[CLS]"], ids["[SEP]"]),
        model=model,
        unk_id=int(op.string_to_id(tf.constant("\ufffe")).numpy()),
        lowercase=lowercase,
    )
