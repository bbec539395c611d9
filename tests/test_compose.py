"""The compose stack: flags of the release, the schema of the compose specification, and its real health check."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from itertools import combinations
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[1]
SERVING = "2.21.0"
FLAGS = ROOT / "serving" / "data" / f"tensorflow_model_server_{SERVING}_flags.json"


@pytest.fixture(scope="module")
def compose() -> Any:
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def settings() -> dict[str, str]:
    lines = (ROOT / ".env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def resolved(value: str, settings: dict[str, str]) -> str:
    """Resolve ``${NAME:-default}`` as compose does."""
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda match: settings.get(match[1], match[2]), value)


def image_flags() -> list[str]:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    return json.loads(re.search(r"^CMD (\[.*\])", text, re.DOTALL | re.MULTILINE)[1].replace("\\\n", ""))  # type: ignore[index]


def held_to_the_release(flags: list[str]) -> dict[str, str]:
    known = {flag["name"]: flag["type"] for flag in json.loads(FLAGS.read_text(encoding="utf-8"))["flags"]}
    values = {}
    for flag in flags:
        # tensorflow_model_server accepts no flag with a space instead of "=".
        match = re.fullmatch(r"--(\w+)=(\S+)", flag)
        assert match is not None, flag
        name, value = match.groups()
        assert name in known, flag
        pattern = {"bool": "true|false", "int32": r"-?\d+", "int64": r"-?\d+", "string": r".+", "float": r"[\d.]+"}
        assert re.fullmatch(pattern[known[name]], value), flag
        assert name not in values
        values[name] = value
    return values


def test_flags_are_those_of_the_release(compose: Any, settings: dict[str, str]) -> None:
    stack = {}
    for name in ("cpu", "gpu"):
        service = compose["services"][name]
        assert service["entrypoint"] == ["/bin/sh", "/rawbert/drain.sh", "tensorflow_model_server"]
        for chosen in ({}, settings):  # .env is optional
            values = held_to_the_release([resolved(flag, chosen) for flag in service["command"]])
        stack[name] = values
        streams = int(values["grpc_channel_arguments"].removeprefix("grpc.max_concurrent_streams="))
        assert streams < int(values["grpc_max_threads"]) - 1
        assert resolved(service["image"], settings).startswith(f"tensorflow/serving:{SERVING}")
    assert stack["cpu"] == stack["gpu"]
    image = held_to_the_release(image_flags())
    polling = {"file_system_poll_wait_seconds", "model_config_file_poll_wait_seconds"}
    settings_alone = {
        "tensorflow_intra_op_parallelism", "tensorflow_inter_op_parallelism", "per_process_gpu_memory_fraction",
    }  # fmt: skip
    assert {name: value for name, value in image.items() if name not in polling} == {
        name: value for name, value in stack["cpu"].items() if name not in polling | settings_alone
    }


def test_everything_follows_the_newest_line_whose_proof_passed() -> None:
    """Versions that `make release` does not change: see CONTRIBUTING.md."""
    from rawbert.exporter.targets import opsets

    line = re.search(r"^NEWEST += (\S+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)[1]  # type: ignore[index]
    assert line == opsets.NEWEST == opsets.nearest(SERVING)
    pins = (ROOT / "constraints" / f"tensorflow-{line}.txt").read_text(encoding="utf-8").splitlines()
    assert f"tensorflow=={SERVING}" in pins
    assert f"ARG TF_SERVING_TAG={SERVING}" in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    major, minor = map(int, line.split("."))
    bound = f"tensorflow>=2.20,<{major}.{minor + 1}"
    assert (ROOT / "pyproject.toml").read_text(encoding="utf-8").count(f'"{bound}"') == 2


@pytest.mark.parametrize("flag", ["--prot=8500", "--port 8500", "--port=x", "--enable_batching=yes", "--port"])
def test_a_flag_that_the_release_lacks_is_found(flag: str) -> None:
    with pytest.raises(AssertionError):
        held_to_the_release([flag])


def test_settings_are_all_used(settings: dict[str, str]) -> None:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    used = dict(re.findall(r"(?<!\$)\$\{(\w+):-([^}]*)\}", text))
    assert settings.keys() - {"COMPOSE_PROFILES", "COMPOSE_PROJECT_NAME"} == used.keys()
    assert {name: settings[name] for name in used} == used


def test_it_fits_the_schema_of_the_compose_specification(compose: Any) -> None:
    """The schema of the Compose Specification (Apache-2.0), from the package check-jsonschema."""
    pytest.importorskip("check_jsonschema")
    jsonschema = pytest.importorskip("jsonschema")
    file = resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema = json.loads(file.read_text(encoding="utf-8"))
    jsonschema.validate(compose, schema)
    broken = json.loads(json.dumps(compose))
    broken["services"]["cpu"]["portss"] = []
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, schema)


#: Profile -> the services that it starts.
PROFILES = {
    "cpu": {"cpu"}, "gpu": {"gpu"}, "gateway": {"gateway"}, "observability": {"prometheus", "grafana"},
    "gpu-metrics": {"gpu-metrics"}, "tls": {"tls"},
}  # fmt: skip
COMBINATIONS = [chosen for size in range(1, 7) for chosen in combinations(PROFILES, size)]


def test_profiles_start_what_they_name(compose: Any) -> None:
    found: dict[str, set[str]] = {}
    for name, service in compose["services"].items():
        (profile,) = service["profiles"]
        found.setdefault(profile, set()).add(name)
    assert found == PROFILES


def docker_compose(profiles: Iterable[str]) -> Any:
    """The services that docker-compose starts for some profiles."""
    yaml = pytest.importorskip("yaml")
    command = ["docker-compose", "--project-directory", str(ROOT), "-f", str(ROOT / "docker-compose.yml"), "config"]
    environment = {**os.environ, "COMPOSE_PROFILES": ",".join(profiles)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)["services"]


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="docker-compose is not installed")
@pytest.mark.parametrize(
    "profiles",
    [
        pytest.param(chosen, id="+".join(chosen), marks=() if len(chosen) in (1, 6) else pytest.mark.slow)
        for chosen in COMBINATIONS
    ],
)
def test_docker_compose_reads_it(profiles: tuple[str, ...]) -> None:
    services = docker_compose(profiles)
    # docker-compose 1.29 and newer versions print the services of the profiles.
    assert set().union(*(PROFILES[profile] for profile in profiles)) <= services.keys()
    for name in services.keys() & {"cpu", "gpu"}:
        assert "--grpc_max_threads=64" in services[name]["command"]


def test_containers_are_contained(compose: Any, settings: dict[str, str]) -> None:
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert {"mem_limit", "pids_limit"} <= service.keys(), name
        for volume in service.get("volumes", ()):
            source, _, options = resolved(volume, {}).partition(":")
            # A container may only write to a named volume, not to the machine's files.
            assert options.endswith(":ro") or source in compose["volumes"], volume
        for chosen in ({}, settings):
            for port in service.get("ports", ()):
                assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", resolved(port, chosen)), port
    for name in ("cpu", "gpu"):
        assert resolved(compose["services"][name]["user"], {}) == "1000:1000"
        drained = int(resolved(compose["services"][name]["environment"]["DRAIN_SECONDS"], settings))
        assert drained + 10 <= 120
        assert compose["services"][name]["stop_grace_period"] == "2m"


def test_mounted_files_are_there(compose: Any) -> None:
    mounted = {
        volume.split(":")[0]
        for service in compose["services"].values()
        for volume in service.get("volumes", ())
        if volume.startswith("./deploy")
    }
    assert len(mounted) == 5
    for folder in mounted:
        assert any((ROOT / folder).iterdir()), folder
    assert (ROOT / "deploy" / "serving" / "monitoring.config").is_file()


@contextmanager
def rest_server(answers: dict[str, int], needs_pair: tuple[str, ...] = ()) -> Iterator[int]:
    """A server with TensorFlow Serving's REST API, by the status code of predict for each model; yields its port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            model = unquote(re.fullmatch(r"/v1/models/([^/:]+):predict", self.path)[1])  # type: ignore[index]
            code = answers.get(model, 404)
            if set(body["inputs"]) != ({"text", "text_pair"} if model in needs_pair else {"text"}):
                code = 400
            data = json.dumps({"outputs": [[0.1]]} if code == 200 else {"error": "Servable not found"}).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def healthy(compose: Any, config: Path, port: int, **environment: str) -> subprocess.CompletedProcess[str]:
    assert compose["services"]["cpu"]["healthcheck"]["test"] == ["CMD", "bash", "/rawbert/healthy.sh"]
    command = ["bash", str(ROOT / "deploy" / "serving" / "healthy.sh")]
    environment |= {"REST_PORT": str(port), "MODELS_CONFIG": str(config), "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)


def test_healthy_means_that_every_model_answers(compose: Any, tmp_path: Path) -> None:
    from rawbert.exporter.publish.models_config import ModelsConfig

    written = ModelsConfig(tmp_path / "models.config", "")
    for name in ("minilm", "pairs", "größer/als: alle?", "2 in 1", "#1"):
        written.add(name, f"/models/{name}")
    written.label("minilm", "stable", 3)
    written.save()
    config = written.path
    by_hand = """config { name: 'first' base_path: "/models/a" model_platform: 'tensorflow' } config: < base_path:
'/models/b', name : "second", model_platform: 'tensorflow' > # not name: "no-model"
# name: "no-model"
}"""
    config.write_text(config.read_text(encoding="utf-8").strip().removesuffix("}") + by_hand, encoding="utf-8")
    names = [entry.name for entry in ModelsConfig(config, config.read_text(encoding="utf-8")).entries()]
    assert len(names) == 7
    everything = dict.fromkeys(names, 200)
    with rest_server(everything, needs_pair=("pairs",)) as port:
        result = healthy(compose, config, port)
        assert (result.returncode, result.stdout) == (0, "7 models answer\n"), result.stdout + result.stderr
        (tmp_path / "draining").touch()
        result = healthy(compose, config, port, DRAINING=str(tmp_path / "draining"))
        assert (result.returncode, result.stdout) == (1, "draining\n")
    for missing in everything:
        with rest_server({**everything, missing: 503}) as port:
            result = healthy(compose, config, port)
            said = f"model {missing} does not answer: HTTP/1.1 503 Service Unavailable\n"
            assert (result.returncode, result.stdout) == (1, said)
    for answers in ({"minilm": 200}, {}):
        with rest_server(answers) as port:
            result = healthy(compose, config, port)
            assert result.returncode == 1
            assert "does not answer" in result.stdout
    assert healthy(compose, config, port).returncode == 1  # no process listens
    with rest_server({"minilm": 200}) as port:
        assert healthy(compose, tmp_path / "absent", port).returncode == 1
        (tmp_path / "empty").write_text("model_config_list {}")
        assert healthy(compose, tmp_path / "empty", port).returncode == 1
