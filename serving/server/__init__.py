"""The embedded server: TensorFlow Serving's gRPC protocol where there is no Docker.

It stands in for ``tensorflow_model_server`` on laptops and in tests, on the official tensorflow-serving-api stubs.
Importing it imports TensorFlow; it needs the ``server`` extra.

>>> from rawbert.serving.server import EmbeddedServer
>>> with EmbeddedServer("minilm", "models/minilm") as server:  # doctest: +SKIP
...     print(server.address)
"""

import os

# TensorFlow reads it when it is first imported. What matters of its start-up chatter comes as an exception too; a
# user's own setting wins.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

try:
    from .embedded import EmbeddedServer, StartError
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in ("tensorflow", "tensorflow_text", "tensorflow_serving"):
        raise
    raise ModuleNotFoundError(
        f"{error.msg}; the embedded server needs the server extra: pip install 'rawbert[server]'", name=error.name
    ) from error

__all__ = ["EmbeddedServer", "StartError"]
