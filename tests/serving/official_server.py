"""A server side made from the official stubs of tensorflow-serving-api, with TensorFlow Serving's messages.

It shares nothing with ``rawbert serve``: neither the messages nor the models, which numpy computes. As a script:
``python official_server.py PORT [LONGEST_DELAY]``.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import grpc
import numpy as np
import task_rules
import toy_models
from watched import Refusal, Watched, chosen

Arrays = dict[str, Any]
Spec = tuple[str, tuple[int, ...]]
TEXT: dict[str, Spec] = {"text": ("string", (-1,))}


class Signature(NamedTuple):
    """Inputs and outputs by name, each with dtype and shape; ``answer`` makes outputs of inputs and the version."""

    inputs: Mapping[str, Spec]
    outputs: Mapping[str, Spec]
    answer: Callable[[Arrays, int], Arrays]


class Model(NamedTuple):
    """Signatures by name."""

    signatures: Mapping[str, Signature]
    versions: Sequence[int] = (3,)
    labels: Mapping[str, int] = {"stable": 3}


def vectors(output: str = "embedding", shape: tuple[int, ...] = (-1, 3)) -> Signature:
    """One output of floats: the bytes of the text, the version, and ones."""

    def answer(given: Arrays, version: int) -> Arrays:
        return {output: np.array([[len(text), version, *[1] * (shape[1] - 2)] for text in given["text"]], np.float32)}

    return Signature(TEXT, {output: ("float32", shape)}, answer)


def model(**signatures: tuple[str, tuple[int, ...]]) -> Model:
    """A model of :func:`vectors`, by the output of each signature and its shape."""
    return Model({name: vectors(*given) for name, given in signatures.items()})


def _numbers(given: Arrays, version: int) -> Arrays:
    rows = zip(*given.values(), strict=True)
    return {
        "embedding": np.array([[version, *(int(text.decode().strip("x")) for text in row)] for row in rows], np.float32)
    }


def _each(answer: Callable[[bytes], Any]) -> Callable[[Arrays, int], Any]:
    return lambda given, version: np.array([answer(text) for text in given["text"]], np.float32)


def _tokens(given: Arrays, version: int) -> Arrays:
    rows = [toy_models.ids(text) for text in given["text"]]
    most = max(map(len, rows), default=0)

    def padded(values: list[list[int]], padding: int) -> Any:
        return np.array([row + [padding] * (most - len(row)) for row in values], np.int32).reshape(-1, most)

    starts = [[-1, *range(len(row) - 2), -1] for row in rows]
    return {
        "input_word_ids": padded(rows, 0),
        "input_mask": padded([[1] * len(row) for row in rows], 0),
        "start_offsets": padded(starts, -1),
        "limit_offsets": padded([[at + 1 if at >= 0 else -1 for at in row] for row in starts], -1),
        "token_count": np.array([len(text) + 2 for text in given["text"]], np.int32),
    }


def _sequence(given: Arrays, version: int) -> Arrays:
    tokens = _tokens(given, version)
    found = np.zeros((*tokens["input_mask"].shape, toy_models.HIDDEN), np.float32)
    for row, text in enumerate(given["text"]):
        made = toy_models.vectors(text)
        found[row, : len(made)] = made
    return {"sequence_output": found, **tokens}


def _arithmetic(given: Arrays, version: int) -> Arrays:
    return {"y": (given["x"] / np.float32(2) + np.float32(2)).astype(np.float32)}


def _slow(given: Arrays, version: int) -> Arrays:
    time.sleep(given["steps"][0] / 10_000)
    return {"y": np.ones(1, np.float32)}


TOKENS: dict[str, Spec] = {
    **dict.fromkeys(toy_models.TOKEN_OUTPUTS[:-1], ("int32", (-1, -1))),
    "token_count": ("int32", (-1,)),
}
_EMBED = Signature(TEXT, {"embedding": ("float32", (-1, toy_models.DIM))},
                   lambda given, version: {"embedding": _each(toy_models.embedding)(given, version)})  # fmt: skip
_FLOATS: Spec = ("float32", (-1,))
#: ``[version, number in the text]``, and the number of its pair where there is one.
NUMBERS = Model(
    dict.fromkeys(("embed", "serving_default"), Signature(TEXT, {"embedding": ("float32", (-1, 2))}, _numbers)), (1,)
)
#: Those of toy_models.py.
TOY = Model({
    "embed": _EMBED,
    "serving_default": _EMBED,
    "pooled": Signature(TEXT, {"pooled_output": ("float32", (-1, toy_models.HIDDEN))},
                        lambda given, version: {"pooled_output": _each(toy_models.pooled)(given, version)}),
    "tokenize": Signature(TEXT, TOKENS, _tokens),
    "sequence": Signature(TEXT, {"sequence_output": ("float32", (-1, -1, toy_models.HIDDEN)), **TOKENS}, _sequence),
})  # fmt: skip
HUB = Model({
    **{name: TOY.signatures[name] for name in ("pooled", "sequence")}, "serving_default": TOY.signatures["pooled"]
}, (1,))  # fmt: skip
ARITHMETIC = Model({
    "serving_default": Signature({"x": _FLOATS}, {"y": _FLOATS}, _arithmetic),
    "scalar": Signature({"x": ("float32", ())}, {"y": ("float32", ())}, _arithmetic),
    "pair": Signature({"x": _FLOATS, "q": _FLOATS}, {"sum": _FLOATS, "difference": _FLOATS},
                      lambda given, version: {"sum": given["x"] + given["q"], "difference": given["x"] - given["q"]}),
    "types": Signature({f"i{name}": (name, (-1,)) for name in toy_models.ECHOED},
                       {name: (name, (-1,)) for name in toy_models.ECHOED},
                       lambda given, version: {name[1:]: value for name, value in given.items()}),
    "slow": Signature({"steps": ("int32", (-1,))}, {"y": _FLOATS}, _slow),
}, (1,))  # fmt: skip
#: The rules of task_rules.py.
TASKS = Model({
    "classify": Signature(TEXT, {"scores": ("float32", (-1, 3)), "label": ("string", (-1,)),
                                 "labels": ("string", (-1, 3))},
                          lambda given, version: task_rules.classified(*map(list, given.values()))),
    "tag": Signature(TEXT, {"tag_scores": ("float32", (-1, -1, 3)), "tag": ("string", (-1, -1)), **TOKENS,
                            "tags": ("string", (-1, 3)), "token_lengths": ("int32", (-1, -1))},
                     lambda given, version: task_rules.tagged(list(given["text"]))),
    "score": Signature(TEXT, {"score": ("float32", (-1,))},
                       lambda given, version: task_rules.scored(*map(list, given.values()))),
    "tokenize": Signature(TEXT, TOKENS, lambda given, version: task_rules.tokens(list(given["text"]))),
}, (1,))  # fmt: skip


class Official(Watched):
    """Serves models; see :class:`Watched`."""

    def __init__(
        self,
        models: Mapping[str, Model] | None = None,
        before: Callable[[Any], None] = lambda request: None,
        **settings: Any,
    ) -> None:
        from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

        super().__init__(before, **settings)
        self.models = {"m": NUMBERS} if models is None else models
        services = _services(self)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(services, self.server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(services, self.server)

    def found(self, spec: Any) -> tuple[Model, int]:
        """The model that was asked for, and its version."""
        if spec.name not in self.models:
            raise Refusal(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: Latest({spec.name})")
        model = self.models[spec.name]
        if spec.HasField("version_label"):
            if spec.version_label not in model.labels:
                said = f"Unrecognized servable version label: {spec.version_label}"
                raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, said)
            return model, model.labels[spec.version_label]
        return model, chosen(spec, self.versions or model.versions)


def number_server(before: Callable[[Any], None] = lambda request: None, **settings: Any) -> Official:
    """A server of the model ``m``, in version 1: an embedding is ``[version, number in the text]``."""
    return Official(before=before, **{"versions": [1], **settings})


def task_server(before: Callable[[Any], None] = lambda request: None, **settings: Any) -> Official:
    """A server of the model ``m``, which classifies, tags and scores by the rules of task_rules.py."""
    return Official({"m": TASKS}, before, **settings)


def _checked(request: Any, signature: Signature) -> Arrays:
    """The inputs, held to the signature as TensorFlow Serving does it; ``text_pair`` may be there or not."""
    import tensorflow as tf

    sent, declared = set(request.inputs), set(signature.inputs)
    for name in sorted(declared - sent):
        said = f"Signature input alias: {name}(feed name: serving_default_{name}:0) not found in request"
        raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, said)
    if extra := sent - declared - {"text_pair"}:
        said = f"input size does not match signature: {len(sent)}!={len(declared)}. Sent extra: {extra}."
        raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, said)
    for at, name in enumerate(sorted(declared)):
        wanted, given = tf.as_dtype(signature.inputs[name][0]), tf.as_dtype(request.inputs[name].dtype)
        if wanted != given:
            wanted, given = (
                {"float32": "float", "float64": "double"}.get(each.name, each.name) for each in (wanted, given)
            )
            said = f"Expects arg[{at}] to be {wanted} but {given} is provided"
            raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, said)
    return {name: tf.make_ndarray(request.inputs[name]) for name in sorted(sent)}


def _services(server: Official) -> Any:
    import tensorflow as tf
    from tensorflow_serving.apis import (
        get_model_metadata_pb2,
        get_model_status_pb2,
        model_service_pb2_grpc,
        predict_pb2,
        prediction_service_pb2_grpc,
    )

    class Services(prediction_service_pb2_grpc.PredictionServiceServicer, model_service_pb2_grpc.ModelServiceServicer):  # type: ignore[misc]
        def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802
            model, version = server.found(request.model_spec)
            name = request.model_spec.signature_name or "serving_default"
            if name not in model.signatures:
                said = f'Serving signature key "{name}" not found.'
                raise Refusal(grpc.StatusCode.FAILED_PRECONDITION, said)
            signature = model.signatures[name]
            made = signature.answer(_checked(request, signature), version)
            response = predict_pb2.PredictResponse()
            response.model_spec.name = request.model_spec.name
            response.model_spec.version.value = version
            for output, array in made.items():
                if not request.output_filter or output in request.output_filter:
                    response.outputs[output].CopyFrom(tf.make_tensor_proto(array))
            return response

        def GetModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
            model, version = server.found(request.model_spec)
            found = get_model_metadata_pb2.SignatureDefMap()
            for name, signature in model.signatures.items():
                made = found.signature_def[name]
                for tensors, declared in ((made.inputs, signature.inputs), (made.outputs, signature.outputs)):
                    for tensor, (dtype, sizes) in declared.items():
                        tensors[tensor].dtype = tf.as_dtype(dtype).as_datatype_enum
                        tensors[tensor].tensor_shape.SetInParent()
                        for size in sizes:
                            tensors[tensor].tensor_shape.dim.add(size=size)
            response = get_model_metadata_pb2.GetModelMetadataResponse()
            response.model_spec.name = request.model_spec.name
            response.model_spec.version.value = version
            response.metadata["signature_def"].Pack(found)
            return response

        def GetModelStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
            spec = request.model_spec
            if spec.name not in server.models:
                said = f"Could not find any versions of model {spec.name}"
                raise Refusal(grpc.StatusCode.NOT_FOUND, said)
            versions = server.versions or server.models[spec.name].versions
            if spec.HasField("version") and spec.version.value not in versions:
                said = f"Could not find version {spec.version.value} of model {spec.name}"
                raise Refusal(grpc.StatusCode.NOT_FOUND, said)
            response = get_model_status_pb2.GetModelStatusResponse()
            for version in versions:
                if not spec.HasField("version") or spec.version.value == version:
                    response.model_version_status.add(version=version, state="AVAILABLE").status.SetInParent()
            return response

    return Services()


if __name__ == "__main__":
    longest = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
    models = {"m": NUMBERS, "text": TOY}
    with Official(models, lambda request: time.sleep(random.random() * longest), port=int(sys.argv[1])) as server:
        print(f"Running gRPC ModelServer at {server.address} ...", file=sys.stderr, flush=True)
        threading.Event().wait()
