"""A model to compare with a reference: a SavedModel on disk, or a server."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from ...serving.plurals import counted
from ...serving.wire.messages import SignatureInfo, signature_infos
from ..errors import VerificationError, first_line


class Model(Protocol):
    """A model with callable signatures.

    Attributes:
        signatures: inputs and outputs by name.
        is_shared: whether other callers may use it at the same time.
    """

    signatures: Mapping[str, SignatureInfo]
    is_shared: bool

    def answer(self, signature: str, texts: Mapping[str, list[bytes]]) -> Mapping[str, np.ndarray]:
        """Outputs of a signature by name, for texts by the input's name."""
        ...


class SavedModel:
    """A SavedModel, loaded and called as in TensorFlow Serving: in a session, by its table of signatures.

    (TensorFlow's own ``tf.saved_model.load`` finds functions in another way, which servers do not use.)
    """

    is_shared = False

    def __init__(self, folder: Path) -> None:
        import tensorflow as tf
        import tensorflow_text  # noqa: F401  registers the ops that the SavedModel uses

        self._session = tf.compat.v1.Session(graph=tf.Graph())
        with self._session.graph.as_default():
            meta_graph = tf.compat.v1.saved_model.load(self._session, ["serve"], str(folder))
        self.table = dict(meta_graph.signature_def)
        self.signatures: Mapping[str, SignatureInfo] = signature_infos(self.table)

    def answer(self, signature: str, texts: Mapping[str, list[bytes]]) -> Mapping[str, np.ndarray]:
        """Outputs of a signature by name, for texts by the input's name.

        Raises:
            VerificationError: the call fails.
        """
        import tensorflow as tf

        entry = self.table[signature]
        fed = {entry.inputs[name].name: np.array(column, object) for name, column in texts.items()}
        try:
            answers: dict[str, np.ndarray] = self._session.run(
                {name: info.name for name, info in entry.outputs.items()}, fed
            )
        except tf.errors.OpError as error:
            count = len(next(iter(texts.values())))
            raise VerificationError(
                f"the signature {signature} fails for {counted(count, 'text')}: {first_line(error)}"
            ) from error
        return answers

    def close(self) -> None:
        """Release its memory."""
        self._session.close()
