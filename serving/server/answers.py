"""Answers about models, as TensorFlow Serving's messages; each protocol encodes them."""

from typing import Any

from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from .model import Model
from .registry import Registry, Servable


def model_status(registry: Registry[Model], model: str, version: int | None) -> Any:
    """A GetModelStatusResponse: the states of a model's versions, or of one version."""
    response = get_model_status_pb2.GetModelStatusResponse()
    for status in registry.status(model, version):
        shown = response.model_version_status.add(version=status.version, state=int(status.state))
        # Set explicitly, because an empty status means OK.
        shown.status.SetInParent()
        if status.failure:
            shown.status.error_code = status.failure.code.value[0]
            shown.status.error_message = str(status.failure)
    return response


def signature_map(servable: Servable[Model]) -> Any:
    """A SignatureDefMap: the signatures of a version."""
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for name, signature in servable.runnable.signatures.items():
        signatures.signature_def[name].CopyFrom(signature)
    return signatures


def name_version(spec: Any, servable: Servable[Model], signature_name: str = "") -> None:
    """Write the version that answered into an answer's ModelSpec."""
    spec.name, spec.version.value, spec.signature_name = servable.model, servable.version, signature_name
