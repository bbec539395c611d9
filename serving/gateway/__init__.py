"""The gateway: an ASGI app with the HTTP APIs of OpenAI, Cohere and text-embeddings-inference for a model server.

:func:`create_app` creates it; ``rawbert gateway`` runs it. It needs the ``gateway`` extra.

>>> from rawbert.serving.gateway import create_app
>>> app = create_app("localhost:8500", models=["minilm"])  # doctest: +SKIP
"""

from importlib.util import find_spec

from ..extras import how_to_install

for _name in ("fastapi", "prometheus_client"):
    if find_spec(_name) is None:
        raise ModuleNotFoundError(
            f"No module named {_name!r}; the gateway needs the gateway extra: {how_to_install('gateway')}", name=_name
        )

from .app import create_app  # noqa: E402
from .settings import Limits  # noqa: E402

__all__ = ["Limits", "create_app"]
