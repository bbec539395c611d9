"""Small real models, served by the embedded server on free ports of 127.0.0.1, and clients of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from rawbert.serving import Client


@pytest.fixture(scope="session")
def model_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Base paths by model name: ``text`` (version 3), ``arithmetic`` (version 1)."""
    import toy_models

    root = tmp_path_factory.mktemp("models")
    toy_models.save_text_model(root / "text" / "3")
    toy_models.save_arithmetic_model(root / "arithmetic" / "1")
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
def client(text_server: Any) -> Iterator[Client]:
    with Client(text_server.address, model="text") as client:
        yield client


@pytest.fixture
def arithmetic(arithmetic_server: Any) -> Iterator[Client]:
    with Client(arithmetic_server.address, model="arithmetic") as client:
        yield client


@pytest.fixture
def official(arithmetic_server: Any) -> Iterator[Any]:
    """The stub of tensorflow-serving-api, as other people's clients use it, on the arithmetic model."""
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    with grpc.insecure_channel(arithmetic_server.address) as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)
