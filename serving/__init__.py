"""rawbert's client for TensorFlow Serving: strings in, numpy arrays out, no TensorFlow.

>>> from rawbert.serving import Client
>>> with Client("localhost:8500", model="minilm") as client:  # doctest: +SKIP
...     client.embed(["How do I reset my password?"]).shape
(1, 384)

The embedded server is :mod:`rawbert.serving.server`; it needs the ``server`` extra.
"""

from .client.aio import AsyncClient
from .client.client import Client
from .client.results import (
    CallRecord,
    Classification,
    Entity,
    Prediction,
    Ranked,
    TaggedText,
    Tokens,
    TokenSequence,
)
from .client.settings import TLS, ChannelConfig, RetryPolicy
from .contract import TensorSpec
from .errors import (
    CallCancelled,
    DeadlineExceeded,
    DecodeError,
    InvalidRequest,
    MessageTooLarge,
    ModelNotFound,
    ModelVersionChanged,
    ServerFault,
    ServerOverloaded,
    ServerUnavailable,
    ServingError,
    SignatureNotFound,
    Unauthenticated,
)
from .wire.messages import ModelMetadata, SignatureInfo, VersionStatus

__all__ = [
    "TLS",
    "AsyncClient",
    "CallCancelled",
    "CallRecord",
    "ChannelConfig",
    "Classification",
    "Client",
    "DeadlineExceeded",
    "DecodeError",
    "Entity",
    "InvalidRequest",
    "MessageTooLarge",
    "ModelMetadata",
    "ModelNotFound",
    "ModelVersionChanged",
    "Prediction",
    "Ranked",
    "RetryPolicy",
    "ServerFault",
    "ServerOverloaded",
    "ServerUnavailable",
    "ServingError",
    "SignatureInfo",
    "SignatureNotFound",
    "TaggedText",
    "TensorSpec",
    "TokenSequence",
    "Tokens",
    "Unauthenticated",
    "VersionStatus",
]
