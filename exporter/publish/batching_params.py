"""``batching_params.pbtxt``: how TensorFlow Serving batches the calls to one model.

It is read from the version folder with ``--enable_batching --enable_per_model_batching_parameters``. The threads that
run batches are the server's, not the model's: ``num_batch_threads`` has no effect here.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from google.protobuf import text_format

from ...serving.contract import Signature
from ...serving.wire.protos import BatchingParameters

#: Tokens that one batch may hold: what a layer keeps of them (4 x hidden each) stays within some 200 MB.
_TOKENS = 16_384
#: At least what rawbert's client sends in one call, and no more than pays: beyond, a batch only takes longer.
_FEWEST, _MOST = 64, 128

_HEAD = """\
# How TensorFlow Serving batches calls to this version: read from here with
# --enable_batching --enable_per_model_batching_parameters. Written by rawbert.
"""
_WHOLE = """\
# Never enable_large_batch_splitting here: how many tokens an output has depends on the batch, and
# the parts of a split call would not fit together.
"""


@dataclass(frozen=True)
class Batching:
    """Parameters of the batcher.

    Attributes:
        max_batch_size: most texts in one call.
        max_execution_batch_size: most texts that run at once; less than ``max_batch_size`` where calls are split.
        batch_timeout_micros: how long a lone caller waits for company; under load, batches fill while others run.
        max_enqueued_batches: batches that may wait. More than there are threads (--grpc_max_threads): a waiting call
            holds one, and the end of this queue is a refusal.
    """

    max_batch_size: int
    max_execution_batch_size: int
    batch_timeout_micros: int = 1000
    max_enqueued_batches: int = 1000

    def render(self) -> str:
        """The file's text: a BatchingParameters text proto."""
        splits = self.max_execution_batch_size < self.max_batch_size
        message = BatchingParameters()
        message.max_batch_size.value = self.max_batch_size
        message.batch_timeout_micros.value = self.batch_timeout_micros
        message.max_enqueued_batches.value = self.max_enqueued_batches
        if splits:
            message.enable_large_batch_splitting.value = True
            message.max_execution_batch_size.value = self.max_execution_batch_size
        return (_HEAD if splits else _HEAD + _WHOLE) + text_format.MessageToString(message)


def choose(max_seq_length: int, signatures: Iterable[Signature]) -> Batching:
    """Parameters for a model.

    Args:
        max_seq_length: most tokens of a text.
        signatures: those of the model.
    """
    rows = max(_FEWEST, min(_MOST, _TOKENS // max_seq_length))
    # Parts of a split call are glued together by rows: their other dimensions must be the same whatever the texts.
    fixed = not any(output.varies for each in signatures for output in each.outputs)
    return Batching(max_batch_size=1024 if fixed else rows, max_execution_batch_size=rows)
