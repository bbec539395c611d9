"""Loads a SavedModel and runs its signatures. Only this file of rawbert.serving imports TensorFlow itself."""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import grpc
import ml_dtypes
import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401  registers the ops of tokenizers
from tensorflow.core.protobuf import config_pb2
from tensorflow_serving.apis import prediction_log_pb2

from ..contract import DTYPES, WARMUP_FILE
from ..wire import varint
from ..wire.codec import Array
from .failure import Failure, invalid

Code = grpc.StatusCode
_LOG = logging.getLogger(__name__)

#: The numpy dtype of TensorFlow's bfloat16 arrays.
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
#: numpy dtype of a session's inputs and outputs -> dtype.
DTYPE_OF = {BFLOAT16 if each.name == "bfloat16" else np.dtype(each.numpy): each for each in DTYPES}

#: Maximum number of prepared calls of a version, one for each set of inputs and outputs; each has a separate graph.
_MOST_CALLABLES = 32


# TensorFlow warns that TensorFlow 1's loader, which TensorFlow Serving uses, and its reader are deprecated.
tf.get_logger().addFilter(lambda record: not re.search(r"(loader_impl|tf_record)\) is deprecated", record.getMessage()))


class SavedModel:
    """A loaded version of a model.

    A graph-mode session runs it, as in TensorFlow Serving: a prepared call into it has less overhead than a
    ``tf.function`` called from Python.

    Args:
        folder: the version folder, with saved_model.pb.
        tags: tags of the graph to load.
        intra_op, inter_op: number of threads within an op, and of concurrent ops; 0: TensorFlow decides.
    """

    def __init__(self, folder: Path, tags: Sequence[str] = ("serve",), intra_op: int = 0, inter_op: int = 0) -> None:
        self._folder = folder
        if not any((folder / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt")):
            raise Failure(
                Code.NOT_FOUND,
                "Specified file path does not appear to contain a SavedModel bundle (should have a file called "
                f"`saved_model.pb`)\nSpecified file path: {folder}",
            )
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(
            graph=graph,
            config=config_pb2.ConfigProto(intra_op_parallelism_threads=intra_op, inter_op_parallelism_threads=inter_op),
        )
        # A removed entry is freed at the end of the last call that uses it.
        self._prepared = lru_cache(_MOST_CALLABLES)(self._prepare)
        try:
            with graph.as_default():
                meta_graph = tf.compat.v1.saved_model.load(self._session, list(tags), str(folder))
        except Exception as error:
            self.close()
            if isinstance(error, OSError) and _is_cut(folder / "saved_model.pb"):
                raise Failure(Code.OUT_OF_RANGE, "Read less bytes than requested") from error
            raise _failure(error) from error
        #: SignatureDefs by name, including ``__saved_model_init_op``, as in TensorFlow Serving.
        self.signatures: Mapping[str, Any] = dict(meta_graph.signature_def)

    def run(self, signature_name: str, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Run a signature; returns arrays by output name, strings as object arrays of bytes.

        Args:
            signature_name: one of :attr:`signatures`.
            inputs: arrays by input name for all inputs of the signature; strings as object arrays of bytes.
            outputs: names of the outputs to compute.
        """
        signature = self.signatures[signature_name]
        # Sorted, because each order would be prepared separately, which costs memory: six outputs have 1,956 orders.
        taken, given = sorted(signature.inputs), sorted(outputs)
        # By tensor names, as in TensorFlow Serving, so that an alias shares the prepared call of its signature.
        feed = tuple(signature.inputs[name].name for name in taken)
        fetch = tuple(signature.outputs[name].name for name in given)
        try:
            values = self._prepared(feed, fetch)(*(inputs[name] for name in taken))
        except Exception as error:
            raise _failure(error) from error
        return dict(zip(given, values, strict=True))

    def _prepare(self, feed: tuple[str, ...], fetch: tuple[str, ...]) -> Any:
        # Not Session.make_callable: with inputs it uses Session.run, which is slower, and converts dtypes and checks
        # shapes; TensorFlow Serving leaves both to the graph.
        return self._session._make_callable_from_options(config_pb2.CallableOptions(feed=feed, fetch=fetch))

    def warmup(self) -> Iterator[Any]:
        """The PredictRequests in the model's TFRecord file, which has at most 1000 PredictionLogs."""
        path = self._folder / WARMUP_FILE
        try:
            records = list(islice(tf.compat.v1.io.tf_record_iterator(str(path)), 1001))
        except tf.errors.OpError as error:
            raise _failure(error) from error
        if len(records) > 1000:
            raise invalid(f"Number of warmup records exceeds the maximum (1000) at {path}")
        for record in records:
            try:
                log = prediction_log_pb2.PredictionLog.FromString(record)
            except Exception as error:
                raise invalid(f"Failed to parse warmup record: {record!r}") from error
            if log.HasField("predict_log"):
                yield log.predict_log.request
            else:
                _LOG.warning("a warmup record that is not a Predict request is skipped")

    def close(self) -> None:
        """Free the model; it cannot be run again."""
        self._prepared.cache_clear()
        self._session.close()
        # The session's memory is freed with the last reference.
        del self._session


def _is_cut(path: Path) -> bool:
    """Whether a serialized message ends within a field; TensorFlow Serving has another error for other bytes."""
    data = path.read_bytes() if path.is_file() else b""
    at = 0
    try:
        while at < len(data):
            tag, at = varint.decode(data, at)
            if tag & 7 not in (0, 2):  # a SavedModel has varints, and fields with a length
                return False
            value, at = varint.decode(data, at)
            at += value if tag & 7 == 2 else 0
    except IndexError:
        return True
    except ValueError:
        return False
    return at > len(data)


def _failure(error: Exception) -> Failure:
    if isinstance(error, tf.errors.OpError):
        # TensorFlow's Python code for loading variables loses the status.
        lost = error.error_code == tf.errors.UNKNOWN and "No such file or directory" in error.message
        return Failure(Code.NOT_FOUND if lost else _STATUSES.get(error.error_code, Code.UNKNOWN), error.message)
    # Exceptions of TensorFlow's loader, which is Python code here, in place of a status.
    code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), Code.INTERNAL)
    return Failure(code, str(error) or type(error).__name__)


#: Number -> status; TensorFlow has the same numbers.
_STATUSES = {code.value[0]: code for code in Code}
_CODES: dict[type[Exception], grpc.StatusCode] = {
    MemoryError: Code.RESOURCE_EXHAUSTED,
    OSError: Code.DATA_LOSS,  # saved_model.pb does not parse
    RuntimeError: Code.NOT_FOUND,  # no graph for the tag "serve"
    ValueError: Code.NOT_FOUND,  # no checkpoint
}
