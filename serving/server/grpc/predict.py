"""Predict: the checks of a request, their order and their messages are TensorFlow Serving 2.20's."""

from collections.abc import Iterable
from typing import Any

from tensorflow_serving.apis import predict_pb2

from ...contract import DEFAULT_SIGNATURE, DTYPES
from ...errors import DecodeError
from ...wire.codec import Array
from ..batcher import Wanted
from ..failure import invalid, unfit
from ..model import Model
from ..registry import Servable
from ..runtime import DTYPE_OF
from . import tensors


def predict(
    servable: Servable[Model], request: Any, wanted: Wanted = lambda: True, as_content: bool = False
) -> predict_pb2.PredictResponse:
    """Answer a PredictRequest, whose model and version are not looked at, by a version.

    Args:
        servable: the version.
        request: the request.
        wanted: whether somebody still waits for the answer; a record of warmup always does.
        as_content: write outputs into tensor_content.
    """
    name = request.model_spec.signature_name or DEFAULT_SIGNATURE
    signature = servable.runnable.signatures.get(name)
    if signature is None:
        raise unfit(f'Serving signature key "{name}" not found.')
    inputs = _inputs(signature, request.inputs)
    outputs = _outputs(signature, request.output_filter)
    # As the function of a signature checks its arguments, which are in the order of their names.
    for at, (key, array) in enumerate(inputs.items()):
        declared, found = signature.inputs[key].dtype, DTYPE_OF[array.dtype].number
        if found != declared:
            raise invalid(f"Expects arg[{at}] to be {_type_name(declared)} but {_type_name(found)} is provided")
    response = predict_pb2.PredictResponse()
    name_version(response.model_spec, servable, name)
    for output, value in servable.runnable.run(name, inputs, outputs, wanted).items():
        tensors.encode_into(response.outputs[output], value, as_content)
    return response


def name_version(spec: Any, servable: Servable[Model], signature_name: str = "") -> None:
    """Write into an answer's ModelSpec which version has answered."""
    spec.name, spec.version.value, spec.signature_name = servable.model, servable.version, signature_name


def _inputs(signature: Any, sent: Any) -> dict[str, Array]:
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
        try:
            arrays[name] = tensors.decode(sent[name] if name in sent else defaults[name], name)
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


def _type_name(number: int) -> str:
    """The name of a DataType in TensorFlow's own messages, such as ``float`` or ``int32``."""
    name = next((each.name for each in DTYPES if each.number == number), f"dtype {number}")
    return {"float32": "float", "float64": "double", "float16": "half"}.get(name, name)


def _set(names: Iterable[str]) -> str:
    return f"{{{','.join(sorted(names))}}}"
