"""`rawbert push` to S3: the real protocol, with s3fs and moto's server, in a separate environment."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]
URL = "s3://models/bert/big"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the extra push, s3fs and moto."""
    folder = tmp_path_factory.mktemp("s3")
    venv.create(folder, with_pip=True)
    made = folder / "bin" / "python"
    packages = [f"{ROOT}[push]", "s3fs", "moto[server]"]
    subprocess.run([made, "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages], check=True)
    return made


@pytest.fixture(scope="module")
def s3(python: Path) -> Iterator[dict[str, str]]:
    """Environment variables for clients of a server with the bucket ``models``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTHONPATH"))},
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }  # fmt: skip
    server = subprocess.Popen([python.with_name("moto_server"), "-H", "127.0.0.1", "-p", str(port)],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        make = "import boto3; boto3.client('s3').create_bucket(Bucket='models')"
        end = time.monotonic() + 60
        while subprocess.run([python, "-c", make], env=environment, capture_output=True, check=False).returncode:
            assert time.monotonic() < end
        yield environment
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a file that s3fs sends in parts."""
    made = tmp_path_factory.mktemp("models") / "big"
    for version in ("1", "2"):
        for name, size in (("saved_model.pb", 1 << 20), ("variables/variables.data", 70 << 20), ("assets/empty", 0)):
            path = made / version / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(os.urandom(size))
    return made


Push = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def push(python: Path, s3: dict[str, str], folder: Path) -> Push:
    def run(*arguments: Any, url: str = URL, **environment: str | None) -> subprocess.CompletedProcess[str]:
        merged = {name: value for name, value in {**s3, **environment}.items() if value is not None}
        return subprocess.run([python.with_name("rawbert"), "push", folder, url, *map(str, arguments)],
                              env=merged, capture_output=True, text=True, check=False)  # fmt: skip

    return run


def objects(python: Path, s3: dict[str, str]) -> dict[str, bytes]:
    """The contents of the bucket, read with the AWS library itself."""
    read = (
        "import boto3, pickle, sys; c = boto3.client('s3');"
        "names = [each['Key'] for each in c.list_objects_v2(Bucket='models').get('Contents', [])];"
        "sys.stdout.buffer.write(pickle.dumps({n: c.get_object(Bucket='models', Key=n)['Body'].read() for n in names}))"
    )
    import pickle

    found: dict[str, bytes] = pickle.loads(
        subprocess.run([python, "-c", read], env=s3, capture_output=True, check=True).stdout
    )
    return found


def is_whole(found: dict[str, bytes], folder: Path, version: int) -> bool:
    local = {
        f"bert/big/{version}/{path.relative_to(folder / str(version)).as_posix()}": path.read_bytes()
        for path in (folder / str(version)).rglob("*")
        if path.is_file()
    }
    return {name: data for name, data in found.items() if name.startswith(f"bert/big/{version}/")} == local


def test_what_is_missing_is_said(push: Push) -> None:
    done = push(url="s3://elsewhere/bert/big")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "check that the bucket exists" in done.stderr
    done = push(AWS_ACCESS_KEY_ID=None, AWS_SECRET_ACCESS_KEY=None)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "check the credentials" in done.stderr
    done = push(url="gs://models/bert/big")
    assert done.returncode == 1
    assert "pip install gcsfs" in done.stderr


def test_pushed_killed_and_gone_on(push: Push, python: Path, s3: dict[str, str], folder: Path) -> None:
    done = push("--version", 1, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert objects(python, s3) == {}
    done = push("--version", 1)
    assert done.returncode == 0, done.stderr
    found = objects(python, s3)
    assert is_whole(found, folder, 1)
    assert b"versions: 1" in found["bert/models.config"]
    assert b'base_path: "s3://models/bert/big"' in found["bert/models.config"]
    draw = random.Random(3)
    for _ in range(4):
        process = subprocess.Popen(
            [python.with_name("rawbert"), "push", folder, URL], env=s3, stderr=subprocess.DEVNULL
        )
        try:
            process.wait(1 + 2 * draw.random())
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        found = objects(python, s3)
        assert is_whole(found, folder, 2) or "bert/big/2/saved_model.pb" not in found
        assert is_whole(found, folder, 2) or b"versions: 2" not in found["bert/models.config"]
    done = push()
    assert done.returncode == 0, done.stderr
    found = objects(python, s3)
    assert is_whole(found, folder, 1)
    assert is_whole(found, folder, 2)
    assert b"versions: 2" in found["bert/models.config"]
    assert "0.0 MB of it sent now" in push().stdout
    (folder / "2" / "assets" / "empty").write_bytes(b"not empty")
    refused = push()
    assert refused.returncode == 1
    assert "other content (assets/empty)" in refused.stderr
