"""``rawbert gateway`` as a process: address, log and exit."""

from __future__ import annotations

import json
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import command
import pytest


class Running:
    """A gateway in its own process.

    Attributes:
        url: its address.
        said: its lines on standard error until now.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process, self.said, self.url = process, list[str](), ""
        assert process.stderr is not None
        for line in process.stderr:
            self.said.append(line)
            if found := re.search(r"Running the gateway at (\S+) \.\.\.", line):
                self.url = found[1]
                break
        threading.Thread(target=lambda: self.said.extend(process.stderr or ()), daemon=True).start()

    def post(self, path: str, body: Any, **headers: str) -> Any:
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)
        request.add_header("content-type", "application/json")
        trusting = ssl._create_unverified_context()
        with urllib.request.urlopen(request, timeout=30, context=trusting) as answer:
            return json.load(answer)

    def status(self, path: str) -> int:
        try:
            with urllib.request.urlopen(self.url + path, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def end(self, *signals: signal.Signals) -> int:
        for number in signals:
            self.process.send_signal(number)
        return self.process.wait(30)


@contextmanager
def gateway(*arguments: str, **settings: Any) -> Iterator[Running]:
    words = [*command.RAWBERT, "gateway", "--port", "0", *arguments]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, **settings) as process:
        try:
            running = Running(process)
            assert running.url, running.said
            yield running
        finally:
            process.kill()
    assert "Traceback" not in "".join(running.said)


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gateway")]), datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    files = folder / "gateway.pem", folder / "gateway.key"
    files[0].write_bytes(made.public_bytes(pem))
    files[1].write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return files


def healthy(running: Running) -> int:
    """The exit code of the health check in docker-compose.yml, with a proxy in the environment."""
    yaml = pytest.importorskip("yaml")
    compose = yaml.safe_load((Path(__file__).parents[3] / "docker-compose.yml").read_text(encoding="utf-8"))
    kind, python, option, code = compose["services"]["gateway"]["healthcheck"]["test"]
    assert (kind, python, option, code.count("8080")) == ("CMD", "python", "-c", 1)
    words = [sys.executable, option, code.replace("8080", running.url.rpartition(":")[2])]
    return subprocess.run(words, env={"http_proxy": "http://127.0.0.1:1"}, check=False, timeout=30).returncode


def test_requests_in_flight_are_answered_before_it_ends(backend: Any) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def wait(request: Any) -> None:
        entered.set()
        go_on.wait(30)

    with gateway("-a", backend.address, "-m", "text", "--drain", "1") as running, ThreadPoolExecutor(1) as pool:
        assert running.url.startswith("http://127.0.0.1:")
        assert running.post("/v1/embeddings", {"input": "a"})["model"] == "text"
        assert healthy(running) == 0
        backend.before = wait
        try:
            late = pool.submit(running.post, "/v1/embeddings", {"input": "a"})
            assert entered.wait(30)
            running.process.send_signal(signal.SIGTERM)
            end = time.monotonic() + 10
            while running.status("/health") == 200 and time.monotonic() < end:
                time.sleep(0.02)
            assert running.status("/health") == 503
            assert healthy(running) == 1
            backend.before = lambda request: None
            assert running.post("/v1/embeddings", {"input": "a"})["model"] == "text"  # It accepts calls.
            time.sleep(1.2)
            assert running.process.poll() is None
        finally:
            backend.before = lambda request: None
            go_on.set()
        assert late.result()["model"] == "text"
        assert running.process.wait(30) == 0
    assert "Stopping" in "".join(running.said)


def test_https_and_a_key_of_a_file(backend: Any, tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    keys = tmp_path / "keys"
    keys.write_text("# ours\n\n  secret one \nsecret two\n", encoding="utf-8")
    files = ["--api-key-file", str(keys), "--ssl-certfile", str(certificate), "--ssl-keyfile", str(key)]
    with gateway("-a", backend.address, "-m", "text", *files, "--log-format", "json", "--access-log") as running:
        assert running.url.startswith("https://127.0.0.1:")
        assert running.post("/embed", {"inputs": "a"}, authorization="Bearer secret one")
        with pytest.raises(urllib.error.HTTPError, match="401"):
            running.post("/embed", {"inputs": "a"}, authorization="Bearer # ours")
        assert running.end(signal.SIGINT) == 0
    lines = [json.loads(line) for line in running.said]
    assert any("POST /embed" in line["message"] and "200" in line["message"] for line in lines)
    assert "secret" not in "".join(running.said)


def test_a_second_signal_ends_it_at_once(backend: Any) -> None:
    with gateway("-a", backend.address, "-m", "text", "--host", "localhost", "--drain", "60") as running:
        running.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert running.process.poll() is None
        assert running.end(signal.SIGTERM) == 128 + signal.SIGTERM


def test_it_warns_where_others_can_call_it(caplog: pytest.LogCaptureFixture) -> None:
    from rawbert.serving.cli.gateway import _warn

    for host in ("127.0.0.1", "::1", "localhost"):
        _warn(host, False, False)
    assert not caplog.records
    _warn("0.0.0.0", False, True)
    assert "without a key" in caplog.text
    caplog.clear()
    _warn("example.com", True, False)
    assert "plain text" in caplog.text
    caplog.clear()
    _warn("::", True, True)
    assert not caplog.records


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["-m", "text", "--alias", "nope"], 2, "NAME=MODEL"),
        (["-m", "text", "--alias", "a=nope"], 1, "'nope'"),
        (["-m", "text", "--logits", "nope"], 1, "nope"),
        (["-m", "text", "--version", "1", "--version-label", "a"], 2, "not both"),
        (["-m", "text", "--ssl-certfile", "README.md"], 2, "--ssl-keyfile"),
        (["-m", "text", "--ssl-certfile", "README.md", "--ssl-keyfile", "README.md"], 1, "are not a certificate"),
        (["-m", "text", "--api-key-file", "/nowhere"], 2, "/nowhere"),
        (["-m", "text", "--api-key-file", "exporter/py.typed"], 2, "no key"),
        (["-m", "text", "--host", "256.0.0.1"], 1, "cannot listen"),
        (["-m", "text", "--max-texts", "0"], 2, "--max-texts"),
        (["-m", "text", "-a", "http://bert:8500"], 1, "scheme"),
        (["-m", "text", "--tls-cert", "README.md"], 1, "give certificate and key together"),
        (["-a", "127.0.0.1:1", "--timeout", "0.2"], 1, "nothing listens"),
    ],
)
def test_what_cannot_start_says_why(arguments: list[str], code: int, said: str) -> None:
    done = command.rawbert("gateway", "--port", "0", *arguments, cwd=Path(__file__).parents[3])
    assert (done.returncode, said in done.said) == (code, True), done.err
    assert done.err.splitlines()[-1].startswith("error: ")


def test_a_port_that_is_taken(backend: Any) -> None:
    done = command.rawbert("gateway", "-m", "text", "--port", backend.port)
    assert (done.returncode, f"cannot listen on 127.0.0.1, port {backend.port}" in done.said) == (1, True)


def test_models_that_are_not_named(backend: Any, tmp_path: Path) -> None:
    """The models are those of the server, or those in models/models.config."""
    from rawbert.serving.cli.connection import several_settings

    options: dict[str, Any] = {
        "models": (), "version": None, "version_label": None, "timeout": 10.0, "metadata": (), "tls": False,
        "tls_ca": None, "tls_cert": None, "tls_key": None, "tls_server_name": None, "address": (backend.address,),
    }  # fmt: skip
    with pytest.raises(click.UsageError, match="--model"):
        several_settings(options)
    folder = tmp_path / "models"
    folder.mkdir()
    listed = "".join(f'config {{ name: "{name}" }}' for name in ("text", "nope", "tasks"))
    (folder / "models.config").write_text(f"model_config_list {{ {listed} }}", encoding="utf-8")
    with chdir(tmp_path):
        assert several_settings(options)["models"] == ["text", "tasks"]
