"""rawbert's client for TensorFlow Serving: strings in, numpy arrays out, no TensorFlow.

>>> from rawbert.serving import Client
>>> with Client("localhost:8500", model="minilm") as client:  # doctest: +SKIP
...     client.embed(["How do I reset my password?"]).shape
(1, 384)

The embedded server is :mod:`rawbert.serving.server`; it needs the ``server`` extra.
"""

from .client import Client
from .config import ChannelConfig
from .errors import (
    CallCancelled,
    DeadlineExceeded,
    DecodeError,
    InvalidRequest,
    ModelNotFound,
    ServerFault,
    ServerOverloaded,
    ServerUnavailable,
    ServingError,
    SignatureNotFound,
    Unauthenticated,
)
from .results import ModelMetadata, SignatureInfo, TensorSpec, Tokens, TokenSequence, VersionStatus

__all__ = [
    "CallCancelled",
    "ChannelConfig",
    "Client",
    "DeadlineExceeded",
    "DecodeError",
    "InvalidRequest",
    "ModelMetadata",
    "ModelNotFound",
    "ServerFault",
    "ServerOverloaded",
    "ServerUnavailable",
    "ServingError",
    "SignatureInfo",
    "SignatureNotFound",
    "TensorSpec",
    "TokenSequence",
    "Tokens",
    "Unauthenticated",
    "VersionStatus",
]
