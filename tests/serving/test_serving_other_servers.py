"""The client with a third-party server: pythie-serving, which serves tables over TensorFlow Serving's protocol.

Its protos are registered under TensorFlow's own names and need an old protobuf, so it runs in a separate environment.
Create one and name its Python; otherwise the test is skipped::

    python3.11 -m venv other && other/bin/pip install 'numpy<2' grpcio 'protobuf<5'
    other/bin/pip install --no-deps pythie-serving==3.4.3
    RAWBERT_OTHER_SERVER_PYTHON=other/bin/python pytest -m slow tests/serving/test_serving_other_servers.py
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from rawbert.serving import AsyncClient, Client, ModelNotFound, ServerFault

pytestmark = pytest.mark.slow

SERVER = """
import socket, sys, threading
from pythie_serving import create_grpc_server
from pythie_serving.tensorflow_proto.tensorflow_serving.config import model_server_config_pb2

with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
config = model_server_config_pb2.ModelServerConfig()
config.model_config_list.config.add(name="numbers", base_path=sys.argv[1], model_platform="table")
server = create_grpc_server(model_server_config=config, worker_count=8, port=port, maximum_concurrent_rpcs=None)
server.start()
print(f"127.0.0.1:{port}", flush=True)
threading.Event().wait()
"""
COUNT = 5000


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    python = os.environ.get("RAWBERT_OTHER_SERVER_PYTHON")
    if not python:
        pytest.skip("RAWBERT_OTHER_SERVER_PYTHON names no Python with pythie-serving; see the top of this file")
    folder = tmp_path_factory.mktemp("table")
    kinds = {"feature_names": ["word"], "target_name": "number", "data_type": {"word": "str", "number": "int"}}
    (folder / "metadata.json").write_text(json.dumps(kinds))
    (folder / "numbers.csv").write_text("word,number\n" + "".join(f"w{at},{at * 7}\n" for at in range(COUNT)))
    environment = {**os.environ, "VERBOSITY_LEVEL": "0"}
    with subprocess.Popen(
        [python, "-c", SERVER, str(folder)], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout
        try:
            ready = process.stdout.readline().strip()
            assert ready, "pythie-serving did not start"
            yield ready
        finally:
            process.kill()


def words(numbers: Any) -> dict[str, Any]:
    return {"word": np.array([[f"w{at}"] for at in numbers], object)}


def test_answers_are_right_from_32_threads_and_64_coroutines(address: str) -> None:
    def check(outputs: Any, numbers: Any) -> None:
        assert outputs["predictions"].ravel().tolist() == [at * 7 for at in numbers]
        assert outputs.model_version is None

    with Client(address, model="numbers") as client, ThreadPoolExecutor(32) as pool:
        asked = [np.random.default_rng(at).integers(0, COUNT, 1 + at % 50) for at in range(3000)]
        for numbers, outputs in zip(asked, pool.map(lambda each: client.predict(words(each)), asked), strict=True):
            check(outputs, numbers)

    async def main() -> None:
        async with AsyncClient(address, model="numbers") as client:
            for start in range(0, 1024, 64):
                some = asked[start : start + 64]
                answers = await asyncio.gather(*(client.predict(words(each)) for each in some))
                for numbers, outputs in zip(some, answers, strict=True):
                    check(outputs, numbers)

    asyncio.run(main())


def test_what_it_lacks_or_refuses_is_a_typed_error(address: str) -> None:
    with Client(address, model="numbers") as client:
        with pytest.raises(ModelNotFound, match="does not have this method"):
            client.metadata()
        with pytest.raises(ModelNotFound, match="does not have this method"):
            client.status()
        with pytest.raises(ServerFault, match="Missing features"):
            client.predict({"other": np.array([["x"]], object)})
    with Client(address, model="nope") as client, pytest.raises(ServerFault, match="Unknown model: nope"):
        client.predict(words([1]))
