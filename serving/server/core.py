"""What the server answers, whatever the protocol of the call: model lookup, predict, metadata, status, reload.

Calls come and go as plain data and numpy arrays; ``grpc/`` translates them from and to protobuf messages. The checks,
their order and their messages are TensorFlow Serving 2.20's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc

from ..contract import DEFAULT_SIGNATURE, DTYPES
from ..errors import DecodeError
from .batcher import Array, Wanted
from .failure import Failure, invalid
from .model import Model
from .options import ModelSettings
from .registry import BasePathError, Registry, Servable, Status, newest_version
from .runtime import DTYPE_OF

#: Makes an array of an input as it was sent, given its name; raises DecodeError.
Decode = Callable[[Any, str], Array]


@dataclass(frozen=True)
class Asked:
    """Which version of which model a call is for: the largest, a numbered one, or the one of a label."""

    model: str
    version: int | None = None
    label: str | None = None


class Core:
    """Answers calls by the versions of a registry.

    Args:
        registry: the versions.
        serve: serves these models and no others; returns when the new ones answer calls.
        configured: names of the models that are served now.
    """

    def __init__(
        self,
        registry: Registry[Model],
        serve: Callable[[dict[str, ModelSettings]], None],
        configured: Callable[[], set[str]],
    ) -> None:
        self._registry, self._serve, self._configured = registry, serve, configured

    @contextmanager
    def use(self, asked: Asked) -> Iterator[Servable[Model]]:
        """Hold the version that is to answer a call.

        Raises:
            Failure: NOT_FOUND or INVALID_ARGUMENT; there is none.
        """
        if not asked.model:
            raise invalid("ModelSpec has no name specified.")
        with self._registry.use(asked.model, asked.version, asked.label) as servable:
            yield servable

    def status(self, model: str, version: int | None = None) -> list[Status]:
        """States of a model's versions, the largest first; only that of ``version`` if it is given.

        Raises:
            Failure: NOT_FOUND; there is none.
        """
        return self._registry.status(model, version)

    def refuse_examples(self, asked: Asked, signature_name: str, kind: str, most: int) -> None:
        """Why a signature answers no tf.Examples, which Classify and Regress send.

        The checks: PreProcessClassification and PreProcessRegression of TensorFlow Serving's classifier.cc and
        regressor.cc.

        Args:
            asked: model and version.
            signature_name: the signature; ``serving_default`` if empty.
            kind: ``classification`` or ``regression``.
            most: outputs that such a signature may have.

        Raises:
            Failure: always; UNIMPLEMENTED where TensorFlow Serving would answer.
        """
        name = signature_name or DEFAULT_SIGNATURE
        with self.use(asked) as servable:
            signature = servable.runnable.signatures.get(name)
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

    def reload(self, models: dict[str, ModelSettings]) -> None:
        """Replace the configuration; returns when the models that are new answer calls.

        Raises:
            Failure: a label for a version that is not available, a new model without versions, or one that cannot be
                loaded.
        """
        for name in sorted(models.keys() - self._configured()):
            try:
                newest_version(models[name].base_path)
            except BasePathError as error:
                # TensorFlow Serving lets the call wait for a version, and all later ones behind it.
                raise Failure(grpc.StatusCode.FAILED_PRECONDITION, f"model {name}: {error}") from error
        self._serve(models)


def always() -> bool:
    """Somebody waits for the answer: for calls that have no caller, those of warmup."""
    return True


def predict(
    servable: Servable[Model],
    signature_name: str,
    sent: Mapping[str, Any],
    decode: Decode,
    output_filter: Iterable[str] = (),
    wanted: Wanted = always,
) -> tuple[str, dict[str, Array]]:
    """Run a signature of a version.

    Args:
        servable: the version.
        signature_name: the signature; ``serving_default`` if empty.
        sent: what was sent for each input, by name.
        decode: makes an array of it.
        output_filter: names of the outputs to answer; all if empty.
        wanted: whether somebody still waits for the answer.

    Returns:
        The signature's name, and arrays by output name.

    Raises:
        Failure: TensorFlow Serving's status for what is wrong with the request, or the model's own.
    """
    model = servable.runnable
    name = signature_name or DEFAULT_SIGNATURE
    signature = model.signatures.get(name)
    if signature is None:
        raise Failure(grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
    inputs = _inputs(model, name, sent, decode)
    outputs = _outputs(signature, output_filter)
    _check_dtypes(signature, inputs)
    return name, model.run(name, inputs, outputs, wanted)


def _inputs(model: Model, signature_name: str, sent: Mapping[str, Any], decode: Decode) -> dict[str, Array]:
    """Arrays by name for all inputs of a signature, in the order of their names."""
    signature = model.signatures[signature_name]
    wanted = signature.inputs
    if len(sent) > len(wanted) or (len(sent) < len(wanted) and not signature.defaults):
        extra, missing = set(sent) - set(wanted), set(wanted) - set(sent)
        raise invalid(
            f"input size does not match signature: {len(sent)}!={len(wanted)} len({_set(sent)}) != "
            f"len({_set(wanted)}). Sent extra: {_set(extra)}. Missing but required: {_set(missing)}."
        )
    arrays = {}
    for name in sorted(wanted):
        if name in sent:
            try:
                arrays[name] = decode(sent[name], name)
            except DecodeError as error:
                raise invalid(f"tensor parsing error: {name}") from error
        elif (default := model.default(signature_name, name)) is not None:
            arrays[name] = default
        else:
            raise invalid(
                f"Signature input alias: {name}(feed name: {wanted[name].name}) not found in request and no default "
                f"value provided. Inputs expected to be in the request {_set(sent)}, or default input alias set: "
                f"{','.join(sorted(signature.defaults))}"
            )
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


def _check_dtypes(signature: Any, inputs: Mapping[str, Array]) -> None:
    """As the function of a signature checks its arguments, which are in the order of their names."""
    for at, (name, array) in enumerate(inputs.items()):
        wanted, found = signature.inputs[name].dtype, DTYPE_OF[array.dtype].number
        if found != wanted:
            raise invalid(f"Expects arg[{at}] to be {_type_name(wanted)} but {_type_name(found)} is provided")


def _type_name(number: int) -> str:
    """The name of a DataType in TensorFlow's own messages, such as ``float`` or ``int32``."""
    name = next((each.name for each in DTYPES if each.number == number), f"dtype {number}")
    return {"float32": "float", "float64": "double", "float16": "half"}.get(name, name)


def _set(names: Iterable[str]) -> str:
    return f"{{{','.join(sorted(names))}}}"
