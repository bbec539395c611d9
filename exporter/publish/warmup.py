"""``assets.extra/tf_serving_warmup_requests``: calls that TensorFlow Serving replays before a version answers.

Every signature has its own records. They make the first real call as fast as the others, and they prevent a faulty
version from replacing a good one: an op or a variable that is missing in a function is noticed only when it runs.
"""

from collections.abc import Iterator
from pathlib import Path

from ...serving.contract import DEFAULT_SIGNATURE, WARMUP_FILE, input_names
from ...serving.wire.messages import Target, predict_request
from ..errors import OutputError
from ..protos import PredictionLog
from ..recipe import Recipe

#: Maximum number of tokens in one record, which limits the time of loading.
_TOKENS = 512
#: The tokenizer has a fast path for ASCII, and both paths need warm-up.
_WORDS = ("warm ", "the ", "model ", "up ", "before ", "it ", "is ", "called, ")
_OTHER = ("Wörter ", "और ", "слова ", "文字 ", "λέξεις ", "ﬁne ", "👍 ", "mots. ")


def write(folder: Path, model: str, recipe: Recipe, max_batch_size: int) -> int:
    """Write warmup records for every signature of a SavedModel.

    Args:
        folder: the version folder.
        model: model name for clients.
        recipe: recipe of the export.
        max_batch_size: maximum texts of one batch.

    Returns:
        The number of records.

    Raises:
        OSError, OutputError: the file cannot be written.
    """
    import tensorflow as tf

    count = 0
    path = folder / WARMUP_FILE
    path.parent.mkdir(exist_ok=True)
    try:
        with tf.io.TFRecordWriter(str(path)) as writer:
            for signature in sorted((*recipe.signatures, DEFAULT_SIGNATURE)):
                for texts in _batches(recipe.max_seq_length, max_batch_size):
                    # Both texts of a pair are the same, with half of the tokens each.
                    log = PredictionLog()
                    log.predict_log.request = predict_request(
                        Target(model, signature=signature), dict.fromkeys(input_names(recipe.pair), texts)
                    )
                    writer.write(log.SerializeToString())
                    count += 1
    except tf.errors.OpError as error:
        raise OutputError(f"{path}: cannot be written: {error}") from error
    return count


def _batches(max_seq_length: int, max_batch_size: int) -> Iterator[list[bytes]]:
    """A full batch, some texts, one text of maximum length, and short texts last.

    A call directly after a large one is slower than the next: so the last records resemble typical first calls.
    """
    for rows in (max_batch_size, 8):
        longest = min(max_seq_length, 2 * _TOKENS // rows)
        yield [_text(1 + longest * row // rows, _OTHER if row % 4 == 3 else _WORDS) for row in range(rows)]
    for tokens in (max_seq_length, 16, 8):
        yield [_text(min(tokens, max_seq_length), _WORDS)]


def _text(tokens: int, words: tuple[str, ...]) -> bytes:
    """A text of about ``tokens`` tokens or more: one per word, and more for words outside of the vocabulary."""
    return "".join(words[at % len(words)] for at in range(tokens)).encode()
