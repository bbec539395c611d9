"""Predict, for all protocols: the checks of a request, their order and their messages are TensorFlow Serving 2.20's."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..contract import DEFAULT_SIGNATURE, DTYPES
from ..errors import DecodeError
from ..wire.codec import Array
from .batcher import Wanted
from .failure import invalid, unfit
from .model import Model
from .registry import Servable
from .runtime import DTYPE_OF
from .tensors import decode


def predict(
    servable: Servable[Model],
    signature_name: str,
    sent: Mapping[str, Any],
    output_filter: Iterable[str] = (),
    wanted: Wanted = lambda: True,
    timeout: float | None = None,
) -> dict[str, Array]:
    """Run a signature of a version; returns arrays by output name.

    Args:
        servable: the version.
        signature_name: one of its signatures; empty for the default one.
        sent: input name -> array (strings as object arrays of bytes) or TensorProto.
        output_filter: names of the outputs to compute; empty for all.
        wanted: whether a caller still waits for the answer; always true for a warmup record.
        timeout: maximum seconds of the model's run; ``None`` for no limit.

    Raises:
        Failure: the request does not fit the signature, or the model fails.
    """
    name = signature_name or DEFAULT_SIGNATURE
    signature = servable.runnable.signatures.get(name)
    if signature is None:
        raise unfit(f'Serving signature key "{name}" not found.')
    inputs = _inputs(signature, sent)
    outputs = _outputs(signature, output_filter)
    # The check of a signature's function, whose arguments are in the order of their names.
    for at, (key, array) in enumerate(inputs.items()):
        declared, found = signature.inputs[key].dtype, DTYPE_OF[array.dtype].number
        if found != declared:
            raise invalid(f"Expects arg[{at}] to be {type_name(declared)} but {type_name(found)} is provided")
    return servable.runnable.run(name, inputs, outputs, wanted, timeout)


def _inputs(signature: Any, sent: Mapping[str, Any]) -> dict[str, Array]:
    """Arrays by name for all inputs of a signature, in the order of their names."""
    wanted, defaults = signature.inputs, signature.defaults
    if len(sent) > len(wanted) or (len(sent) < len(wanted) and not defaults):
        extra, missing = set(sent) - set(wanted), set(wanted) - set(sent)
        raise invalid(
            f"input size does not match signature: {len(sent)}!={len(wanted)} len({_set(sent)}) != "
            f"len({_set(wanted)}). Sent extra: {_set(extra)}. Missing but required: {_set(missing)}."
        )
    arrays = {}
    for name in sorted(wanted):
        if name not in sent and name not in defaults:
            raise invalid(
                f"Signature input alias: {name}(feed name: {wanted[name].name}) not found in request and no default "
                f"value provided. Inputs expected to be in the request {_set(sent)}, or default input alias set: "
                f"{','.join(sorted(defaults))}"
            )
        value = sent[name] if name in sent else defaults[name]
        try:
            arrays[name] = value if isinstance(value, np.ndarray) else decode(value, name)
        except DecodeError as error:
            raise invalid(f"tensor parsing error: {name}") from error
    return arrays


def _outputs(signature: Any, output_filter: Iterable[str]) -> list[str]:
    """Names of the outputs to compute."""
    chosen: list[str] = []
    for name in output_filter:
        if name not in signature.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {name} Outputs expected to be in the set "
                f"{_set(signature.outputs)}."
            )
        if name in chosen:
            raise invalid(f"duplicate output tensor alias: {name}")
        chosen.append(name)
    return chosen or sorted(signature.outputs)


def type_name(number: int) -> str:
    """The name of a DataType in TensorFlow's own messages, such as ``float`` or ``int32``."""
    name = next((each.name for each in DTYPES if each.number == number), f"dtype {number}")
    return {"float32": "float", "float64": "double", "float16": "half"}.get(name, name)


def _set(names: Iterable[str]) -> str:
    return f"{{{','.join(sorted(names))}}}"
