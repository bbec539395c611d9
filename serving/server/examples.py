"""Classify and Regress, for all protocols: refused, with TensorFlow Serving's errors if it has one for the case."""

from typing import Any, NoReturn

import grpc

from ..contract import DEFAULT_SIGNATURE
from .failure import Failure, invalid
from .model import Model
from .registry import Servable

#: Maximum number of outputs of a signature for each method.
_OUTPUTS = {"classification": 2, "regression": 1}


def refuse_examples(servable: Servable[Model], signature_name: str, kind: str) -> NoReturn:
    """Refuse a call with tf.Examples, with the reason.

    The checks are those of PreProcessClassification and PreProcessRegression in TensorFlow Serving's classifier.cc and
    regressor.cc.

    Args:
        servable: the version.
        signature_name: one of its signatures; empty for the default one.
        kind: ``classification`` or ``regression``.

    Raises:
        Failure: always.
    """
    name, most = signature_name or DEFAULT_SIGNATURE, _OUTPUTS[kind]
    signature: Any = servable.runnable.signatures.get(name)
    if signature is None:
        raise invalid(f"No signature was found with the name: {name}")
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if not 1 <= len(signature.outputs) <= most:
        found = f"s, found {len(signature.outputs)}" if most > 1 else "."
        raise invalid(f"Expected one {'or two ' * (most > 1)}output Tensor{found}")
    if "inputs" not in signature.inputs:
        raise invalid(f"No {kind} inputs found in SignatureDef: {signature}")
    raise Failure(grpc.StatusCode.UNIMPLEMENTED, "rawbert serve answers no examples: call Predict")
