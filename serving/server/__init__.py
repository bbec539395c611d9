"""The embedded server: TensorFlow Serving's gRPC and HTTP protocols without Docker.

The server replaces ``tensorflow_model_server`` on laptops and in tests, with the official tensorflow-serving-api stubs.
It needs the extra ``server``; the first access to :class:`EmbeddedServer` imports TensorFlow.

>>> from rawbert.serving.server import EmbeddedServer
>>> with EmbeddedServer("minilm", "models/minilm") as server:  # doctest: +SKIP
...     print(server.address)
"""

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ..extras import how_to_install
from ..interrupts import held
from .start import StartError

if TYPE_CHECKING:
    from .embedded import EmbeddedServer

__all__ = ["EmbeddedServer", "StartError"]

# TensorFlow reads this variable at its import. Important start-up messages also come as exceptions; a user's own
# setting has precedence.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

_NEEDED = (
    "tensorflow", "tensorflow_text", "tensorflow_serving", "grpc_health", "prometheus_client", "uvicorn",
    "cryptography",
)  # fmt: skip
for _name in _NEEDED:
    if find_spec(_name) is None:
        raise ModuleNotFoundError(
            f"No module named {_name!r}; the embedded server needs the server extra: {how_to_install('server')}",
            name=_name,
        )


def __getattr__(name: str) -> Any:
    if name != "EmbeddedServer":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with held():
        from .embedded import EmbeddedServer

    return EmbeddedServer
