"""The embedded server: start, errors at the start, and stop."""

from __future__ import annotations

import re
import shutil
import socket
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rawbert.serving import Client


def test_the_newest_version_is_served(model_root: Path, tmp_path: Path) -> None:
    from rawbert.serving.server import EmbeddedServer

    shutil.copytree(model_root / "m" / "1", tmp_path / "9")
    shutil.copytree(model_root / "m" / "2", tmp_path / "10")
    with EmbeddedServer("m", tmp_path) as server, Client(server.address, model="m") as client:
        assert client.embed(["5"]).tolist() == [[2, 5]]
        assert [status.version for status in client.status()] == [server.version] == [10]


def test_calls_in_flight_are_answered_before_it_stops(model_root: Path) -> None:
    from rawbert.serving.server import EmbeddedServer

    server = EmbeddedServer("arithmetic", model_root / "arithmetic")
    server.start()
    answers: list[Any] = []
    with Client(server.address, model="arithmetic") as client:
        client.predict({"steps": np.int32([1])}, signature_name="slow")
        calls = [
            threading.Thread(
                target=lambda: answers.append(client.predict({"steps": np.int32([10_000])}, signature_name="slow"))
            )
            for _ in range(4)
        ]
        for call in calls:
            call.start()
        threading.Event().wait(0.2)
        server.stop()
        for call in calls:
            call.join()
    assert len(answers) == 4
    server.stop()  # A second stop is no error.


@pytest.mark.parametrize(
    ("prepare", "says"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "has no version folder"),
        (lambda path: (path / "1").mkdir(parents=True), "does not appear to contain a SavedModel"),
        (lambda path: _write(path / "1" / "saved_model.pb", b"garbage"), "Cannot parse file"),
        (lambda path: _write(path / "1" / "saved_model.pb", b""), "cannot be loaded"),
    ],
)
def test_what_cannot_be_served(tmp_path: Path, prepare: Any, says: str) -> None:
    from rawbert.serving.server import EmbeddedServer, StartError

    prepare(tmp_path / "base")
    with pytest.raises(StartError, match=says) as caught:
        EmbeddedServer("m", tmp_path / "base")
    assert "\n" not in str(caught.value)


def _write(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True)
    file.write_bytes(data)


def test_a_model_whose_variables_are_missing(tmp_path: Path, model_root: Path) -> None:
    from rawbert.serving.server import EmbeddedServer, StartError

    shutil.copytree(model_root / "text" / "3", tmp_path / "1")
    shutil.rmtree(tmp_path / "1" / "variables")
    with pytest.raises(StartError, match=re.escape(str(tmp_path / "1"))):
        EmbeddedServer("m", tmp_path)


def test_a_port_that_is_taken(model_root: Path) -> None:
    from rawbert.serving.server import EmbeddedServer, StartError

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            EmbeddedServer("text", model_root / "text", port=port)
    with pytest.raises(StartError, match=r"cannot listen on 192\.0\.2\.1:0"):
        EmbeddedServer("text", model_root / "text", host="192.0.2.1")


def test_a_port_of_another_embedded_server(model_root: Path, text_server: Any) -> None:
    from rawbert.serving.server import EmbeddedServer, StartError

    with pytest.raises(StartError, match="Address already in use"):
        EmbeddedServer("text", model_root / "text", port=text_server.port)
