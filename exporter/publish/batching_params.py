"""``batching_params.pbtxt``: TensorFlow Serving's batching parameters of one model.

The server reads it from the version folder with ``--enable_batching --enable_per_model_batching_parameters``. The
threads for batches belong to the server, not to the model: ``num_batch_threads`` has no effect here.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from google.protobuf import text_format

from ...serving.contract import Signature
from ...serving.wire.protos import BatchingParameters

#: Maximum tokens of one batch: the activations of a layer (4 x hidden per token) stay within about 200 MB.
_TOKENS = 16_384
#: The minimum is the batch size of rawbert's client; above the maximum, a batch only takes longer.
_FEWEST, _MOST = 64, 128

_HEAD = """\
# TensorFlow Serving's batching parameters for this version, read with
# --enable_batching --enable_per_model_batching_parameters. Written by rawbert.
"""
_WHOLE = """\
# Never set enable_large_batch_splitting here: the number of tokens of an output depends on the
# batch, and the parts of a split call would not fit together.
"""


@dataclass(frozen=True)
class Batching:
    """Parameters of the batcher.

    Attributes:
        max_batch_size: maximum texts of one call.
        max_execution_batch_size: maximum texts of one batch; less than ``max_batch_size`` if calls are split.
        batch_timeout_micros: waiting time of a single caller for other calls; under load, batches fill while others
            run.
        max_enqueued_batches: maximum waiting batches. More than the number of threads (--grpc_max_threads): a waiting
            call occupies a thread, and a full queue refuses calls.
    """

    max_batch_size: int
    max_execution_batch_size: int
    batch_timeout_micros: int = 1000
    max_enqueued_batches: int = 1000

    def render(self) -> str:
        """The text of the file, a BatchingParameters text proto."""
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
        max_seq_length: maximum tokens of a text.
        signatures: signatures of the model.
    """
    rows = max(_FEWEST, min(_MOST, _TOKENS // max_seq_length))
    # Parts of a split call are concatenated by rows: their other dimensions must not depend on the texts.
    fixed = not any(output.varies for each in signatures for output in each.outputs)
    return Batching(max_batch_size=1024 if fixed else rows, max_execution_batch_size=rows)
