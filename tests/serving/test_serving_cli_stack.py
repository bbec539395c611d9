"""``rawbert stack`` with a stand-in for Docker (the tests need no engine): its calls, and its errors."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command import Done, free_ports, rawbert
from standin_docker import DENIED, ENGINE, NO_ENGINE, Docker

ROOT = Path(__file__).parents[2]
CONFIG = """model_config_list {
  config { name: "minilm" base_path: "/models/minilm" model_platform: "tensorflow" }
}
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A working folder with a model."""
    version = tmp_path / "home" / "models" / "minilm" / "3"
    version.mkdir(parents=True)
    (version / "saved_model.pb").touch()
    (tmp_path / "home" / "models" / "models.config").write_text(CONFIG)
    return tmp_path / "home"


@pytest.fixture
def docker(tmp_path: Path) -> Docker:
    return Docker(tmp_path / "bin")


@pytest.fixture
def stack(home: Path, docker: Docker, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """``rawbert stack`` in that folder, with free ports."""
    ports = dict(
        zip(("GRPC", "REST", "GATEWAY", "PROMETHEUS", "GRAFANA", "TLS", "TLS_GATEWAY"), free_ports(7), strict=True)
    )
    for name in ("COMPOSE_PROFILES", "DOCKER_HOST"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: Any, **more: str) -> Done:
        settings = {f"RAWBERT_{name}_PORT": str(port) for name, port in ports.items()}
        return rawbert("stack", *arguments, cwd=home, env={"PATH": docker.path, **settings, **more})

    return run


def test_up_starts_the_profiles_on_the_models_of_the_working_folder(
    stack: Callable[..., Done], docker: Docker, home: Path
) -> None:
    done = stack("up", "--profile", "cpu", "--profile", "gateway", RAWBERT_GATEWAY_PORT="18080")
    assert (done.returncode, done.err) == (0, "")
    assert "http://localhost:18080/v1" in done.out
    (call,) = docker.calls
    assert call["where"] == ["--project-directory", str(ROOT), "--file", str(ROOT / "docker-compose.yml")]
    assert call["command"] == ["up", "--detach"]
    settings = call["settings"]
    assert settings["COMPOSE_PROFILES"] == "cpu,gateway"
    assert settings["RAWBERT_MODELS"] == str(home / "models")
    assert settings["RAWBERT_PACKAGE"] == ".[gateway]"  # of this repository
    assert settings["COMPOSE_PROJECT_NAME"] == "rawbert"


def test_models_are_an_argument_a_setting_or_the_default(
    stack: Callable[..., Done], docker: Docker, home: Path
) -> None:
    other = home / "other"
    (home / "models").rename(other)
    assert stack("up", "other").returncode == 0
    assert stack("up", RAWBERT_MODELS="other").returncode == 0
    assert stack("up", other).returncode == 0
    assert {call["settings"]["RAWBERT_MODELS"] for call in docker.calls} == {str(other)}
    assert [call["settings"]["COMPOSE_PROFILES"] for call in docker.calls] == ["cpu"] * 3
    done = stack("up")
    assert done.returncode == 1
    assert "rawbert export" in done.err


def test_the_other_commands_are_for_all_services(stack: Callable[..., Done], docker: Docker) -> None:
    everything = "cpu,gpu,gateway,observability,gpu-metrics,tls"
    for arguments, command in (
        (["down"], ["down"]),
        (["down", "--volumes"], ["down", "--volumes"]),
        (["status"], ["ps"]),
        (["logs"], ["logs", "--tail", "100"]),
        (["logs", "-f", "--tail", "7", "cpu"], ["logs", "--tail", "7", "--follow", "cpu"]),
    ):
        docker.forget()
        assert stack(*arguments).returncode == 0
        (call,) = docker.calls
        assert call["command"] == command
        assert call["settings"]["COMPOSE_PROFILES"] == everything


def test_what_docker_lacks_is_said(stack: Callable[..., Done], docker: Docker, tmp_path: Path) -> None:
    for state, said in (
        ({"compose": False}, "docker-compose-plugin"),
        ({"engine": NO_ENGINE}, "start it"),
        ({"engine": DENIED}, "join the group docker"),
    ):
        docker.set(**state)
        # Debian's docker-compose is in /usr/bin, if it is installed.
        done = stack("up", PATH=str(tmp_path / "bin"))
        assert done.returncode == 1
        assert said in done.said
        assert "Traceback" not in done.err
    done = stack("up", PATH=str(tmp_path))
    assert done.returncode == 1
    assert "Docker is not installed" in done.err
    assert "rawbert serve" in done.err
    assert not docker.calls
    docker.set(up=17)
    done = stack("up")
    assert done.returncode == 1
    assert "docker compose up failed, with status 17" in done.err


def test_the_docker_compose_of_old_is_taken_where_the_plugin_is_not(
    stack: Callable[..., Done], docker: Docker, tmp_path: Path
) -> None:
    old = Docker(tmp_path / "old", "docker-compose")
    docker.set(compose=False)
    assert stack("up", PATH=f"{tmp_path / 'bin'}:{old.path}").returncode == 0
    assert [call["command"] for call in old.calls] == [["up", "--detach"]]
    assert not docker.calls


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (None, "models.config does not exist: rawbert export"),
        ("model_config_list {", "cannot be read"),
        ("model_config_list {}", "lists no model"),
        (CONFIG.replace("/models/minilm", "/home/me/minilm"), "does not exist in the container"),
        (CONFIG.replace("/models/minilm", "/models/other"), "other; the server would wait for it forever"),
    ],
)
def test_what_the_models_lack_is_said(
    stack: Callable[..., Done], docker: Docker, home: Path, config: str | None, said: str
) -> None:
    file = home / "models" / "models.config"
    file.unlink()
    if config is not None:
        file.write_text(config)
    done = stack("up")
    assert done.returncode == 1
    assert said in done.said
    assert not docker.calls
    # Commands that need no models do not require them.
    assert stack("up", "--profile", "observability").returncode == 0


def test_a_model_that_the_server_s_user_may_not_read_is_named(
    stack: Callable[..., Done], docker: Docker, home: Path
) -> None:
    file = home / "models" / "minilm" / "3" / "saved_model.pb"
    file.chmod(0o600)
    owner = file.stat()
    done = stack("up", RAWBERT_USER=f"{owner.st_uid + 1}:{owner.st_gid + 1}")
    assert done.returncode == 1
    assert f"RAWBERT_USER={owner.st_uid}:{owner.st_gid}" in done.said
    assert stack("up", RAWBERT_USER=f"{owner.st_uid}:{owner.st_gid}").returncode == 0
    file.chmod(0o640)
    assert stack("up", RAWBERT_USER=f"{owner.st_uid + 1}:{owner.st_gid}").returncode == 0


def test_a_gpu_needs_its_runtime_and_ports(stack: Callable[..., Done], docker: Docker) -> None:
    done = stack("up", "--profile", "gpu")
    assert done.returncode == 1
    assert "nvidia-container-toolkit" in done.said
    for engine in (
        {**ENGINE, "Runtimes": {"runc": {}, "nvidia": {"path": "nvidia-container-runtime"}}},
        {**ENGINE, "DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=0"}]},
    ):
        docker.set(engine=engine)
        assert stack("up", "--profile", "gpu").returncode == 0
    done = stack("up", "--profile", "gpu", "--profile", "cpu")
    assert done.returncode == 1
    assert "choose one of them" in done.said


def test_ports_in_use_are_all_named_unless_they_are_our_own(stack: Callable[..., Done], docker: Docker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        taken = {name: str(server.getsockname()[1]) for name, server in
                 (("RAWBERT_GRPC_PORT", one), ("RAWBERT_GRAFANA_PORT", two))}  # fmt: skip
        both = ("up", "--profile", "cpu", "--profile", "observability")
        done = stack(*both, **taken)
        assert done.returncode == 1
        for name, port in taken.items():
            assert f"port {port} of 127.0.0.1" in done.said
            assert f"set {name} to another" in done.said
        assert not docker.calls
        assert stack(*both, **taken, DOCKER_HOST="ssh://elsewhere").returncode == 0
        docker.set(running=True)
        assert stack(*both, **taken).returncode == 0
    docker.set()
    assert "give a port" in stack("up", RAWBERT_GRPC_PORT="85000").said


def test_certificates_and_profiles_are_checked(stack: Callable[..., Done], docker: Docker, home: Path) -> None:
    tls = ("up", "--profile", "cpu", "--profile", "tls")
    done = stack(*tls)
    assert done.returncode == 1
    assert f"{home / 'certs'} has no server.pem, server.key, ca.pem" in done.said
    assert "rawbert certs" in done.err
    (home / "certs").mkdir()
    for name in ("server.pem", "server.key", "ca.pem"):
        (home / "certs" / name).touch(0o600)
    owner = (home / "certs").stat()
    done = stack(*tls, RAWBERT_USER=f"{owner.st_uid + 1}:{owner.st_gid + 1}")
    assert done.returncode == 1
    assert f"server.pem: set RAWBERT_USER={owner.st_uid}:{owner.st_gid}" in done.said
    for name in ("server.pem", "server.key", "ca.pem"):
        (home / "certs" / name).chmod(0o644)
    assert stack(*tls).returncode == 0
    assert docker.calls[0]["settings"]["RAWBERT_CERTS"] == str(home / "certs")
    assert "there is no profile tpu" in stack("up", COMPOSE_PROFILES="cpu,tpu").said
    assert "no profile is chosen" in stack("up", COMPOSE_PROFILES="").said
    assert stack("up", "--profile", "tpu").returncode == 2
    assert stack("up", "--folder", home).returncode == 2


def test_init_writes_the_stack_and_up_uses_what_was_edited(
    stack: Callable[..., Done], docker: Docker, home: Path
) -> None:
    mine = home / "mine"
    done = stack("init", mine)
    assert done.returncode == 0
    assert (mine / "docker-compose.yml").read_bytes() == (ROOT / "docker-compose.yml").read_bytes()
    assert (mine / "deploy" / "serving" / "drain.sh").read_bytes() == (ROOT / "deploy/serving/drain.sh").read_bytes()
    assert not (mine / "pyproject.toml").exists()
    env = mine / ".env"
    assert "\nRAWBERT_PACKAGE=rawbert[gateway]==" in env.read_text()
    assert stack("init", mine).out == "all files are up to date\n"
    env.write_text(env.read_text().replace("RAWBERT_MODELS=./models", "RAWBERT_MODELS=../models"))
    done = stack("init", mine)
    assert done.returncode == 1
    assert f"{env} exists, and differs" in done.said
    assert "RAWBERT_MODELS=../models" in env.read_text()
    assert stack("up", "--folder", "mine").returncode == 0
    call = docker.calls[-1]
    assert call["where"][1] == str(mine)
    assert Path(call["settings"]["RAWBERT_MODELS"]).resolve() == home / "models"
    assert call["settings"]["RAWBERT_PACKAGE"].startswith("rawbert[gateway]==")
    assert stack("init", mine, "--overwrite").returncode == 0
    assert "RAWBERT_MODELS=./models" in env.read_text()
    # A working folder with the files is the default.
    (mine / "models").symlink_to(home / "models")
    docker.forget()
    assert stack("status").returncode == 0
    assert rawbert("stack", "status", cwd=mine, env={"PATH": docker.path}).returncode == 0
    assert [call["where"][1] for call in docker.calls] == [str(ROOT), str(mine)]
