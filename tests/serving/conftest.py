"""Small real models, served by the embedded server on free ports of 127.0.0.1, and clients of them.

``side`` is each of two servers: `rawbert serve`'s, and one of the official stubs of tensorflow-serving-api.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from rawbert.serving import Client


@pytest.fixture(scope="session")
def model_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Base paths by model name: ``text`` (version 3), ``hub`` (the same without ``embed`` and ``tokenize``),
    ``arithmetic`` (version 1), ``m`` (versions 1 to 4).
    """
    import toy_models

    root = tmp_path_factory.mktemp("models")
    toy_models.save_text_model(root / "text" / "3")
    toy_models.save_text_model(root / "hub" / "1", omit=("embed", "tokenize"))
    toy_models.save_arithmetic_model(root / "arithmetic" / "1")
    for version in (1, 2, 3, 4):
        toy_models.save_numbers_model(root / "m" / str(version), version)
    return root


@pytest.fixture(scope="session")
def text_server(model_root: Path) -> Iterator[Any]:
    from rawbert.serving.server import EmbeddedServer

    with EmbeddedServer("text", model_root / "text") as server:
        yield server


@pytest.fixture(scope="session")
def arithmetic_server(model_root: Path) -> Iterator[Any]:
    from rawbert.serving.server import EmbeddedServer

    with EmbeddedServer("arithmetic", model_root / "arithmetic") as server:
        yield server


@pytest.fixture
def official(arithmetic_server: Any) -> Iterator[Any]:
    """The stub of tensorflow-serving-api, which third-party clients use, on the arithmetic model."""
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    with grpc.insecure_channel(arithmetic_server.address) as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


class Side:
    """One of the two servers.

    Attributes:
        name: rawbert serve, or official stubs.
        address: a server of ``text`` (version 3, labelled stable), ``hub``, ``arithmetic`` and ``m``.
    """

    def __init__(self, name: str, address: str) -> None:
        self.name, self.address = name, address

    def numbers(self, before: Callable[[Any], None] = lambda request: None, **settings: Any) -> Any:
        """A server of the model ``m`` (see toy_models.py) in version 1, which records and refuses calls."""
        from official_server import number_server
        from watched import Gate

        if self.name == "official stubs":
            return number_server(before, **settings)
        return Gate(self.address, before, **{"versions": [1], **settings})


MODELS = """
model_config_list {{
  config {{
    name: "text" base_path: "{root}/text" model_platform: "tensorflow" version_labels {{ key: "stable" value: 3 }}
  }}
  config {{ name: "hub" base_path: "{root}/hub" model_platform: "tensorflow" }}
  config {{ name: "arithmetic" base_path: "{root}/arithmetic" model_platform: "tensorflow" }}
  config {{
    name: "m" base_path: "{root}/m" model_platform: "tensorflow" model_version_policy {{ all {{}} }}
  }}
}}
"""


@pytest.fixture(scope="session")
def sides(model_root: Path) -> Iterator[Callable[[str], Side]]:
    """Both servers by name, started once."""
    started: dict[str, Side] = {}
    with ExitStack() as stack:

        def side(name: str) -> Side:
            if name not in started:
                server: Any
                if name == "official stubs":
                    from official_models import ARITHMETIC, HUB, NUMBERS, TOY
                    from official_server import Official

                    server = Official({"text": TOY, "hub": HUB, "arithmetic": ARITHMETIC, "m": NUMBERS})
                else:
                    from rawbert.serving.server import EmbeddedServer

                    file = model_root / "models.config"
                    file.write_text(MODELS.format(root=model_root))
                    labels = {"allow_version_labels_for_unavailable_models": True}
                    server = EmbeddedServer(model_config_file=str(file), **labels)
                started[name] = Side(name, stack.enter_context(server).address)
            return started[name]

        yield side


@pytest.fixture(params=["rawbert serve", "official stubs"])
def side(request: pytest.FixtureRequest, sides: Callable[[str], Side]) -> Side:
    return sides(request.param)


@pytest.fixture
def client(side: Side) -> Iterator[Client]:
    with Client(side.address, model="text") as client:
        yield client


@pytest.fixture
def arithmetic(side: Side) -> Iterator[Client]:
    with Client(side.address, model="arithmetic") as client:
        yield client
