"""Checks before the compose stack starts: missing parts, with their remedies."""

import os
import shutil
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from google.protobuf import text_format

from ..contract import version_of
from ..wire.protos import ModelServerConfig
from .compose import PROFILES, NoCompose, Stack, engine, find_docker

#: Settings of the ports that a profile opens, each with the setting of its address.
_PORTS: Final = {
    "cpu": {"RAWBERT_GRPC_PORT": "RAWBERT_BIND", "RAWBERT_REST_PORT": "RAWBERT_BIND"},
    "gpu": {"RAWBERT_GRPC_PORT": "RAWBERT_BIND", "RAWBERT_REST_PORT": "RAWBERT_BIND"},
    "gateway": {"RAWBERT_GATEWAY_PORT": "RAWBERT_BIND"},
    "observability": {"RAWBERT_PROMETHEUS_PORT": "RAWBERT_BIND", "RAWBERT_GRAFANA_PORT": "RAWBERT_BIND"},
    "gpu-metrics": {},
    "tls": {"RAWBERT_TLS_PORT": "RAWBERT_TLS_BIND", "RAWBERT_TLS_GATEWAY_PORT": "RAWBERT_TLS_BIND"},
}
#: Files of the profile tls; see deploy/tls/nginx.conf.
_CERTIFICATES: Final = ("server.pem", "server.key", "ca.pem")


def missing(stack: Stack) -> list[str]:
    """The reasons why the stack cannot start, one line each; empty if it can."""
    unknown = [name for name in stack.profiles if name not in PROFILES]
    if unknown or not stack.profiles:
        said = f"there is no profile {unknown[0]}" if unknown else "no profile is chosen"
        return [f"{said}: COMPOSE_PROFILES, or --profile, takes {', '.join(PROFILES)}"]
    try:
        find_docker()
        found = engine()
    except NoCompose as error:
        return [str(error)]
    problems = [*_gpu(stack, found), *_models(stack), *_certificates(stack)]
    if not os.environ.get("DOCKER_HOST", "unix:").startswith("unix:"):
        return problems  # Ports of another machine cannot be checked from here.
    return problems if stack.is_running() else [*problems, *_ports(stack)]


def _gpu(stack: Stack, found: Mapping[str, Any]) -> Iterator[str]:
    if {"cpu", "gpu"} <= set(stack.profiles):
        yield "the profiles cpu and gpu use the same ports: choose one of them"
    devices = [str(device.get("ID")) for device in found.get("DiscoveredDevices") or ()]
    if (
        {"gpu", "gpu-metrics"} & set(stack.profiles)
        and "nvidia" not in (found.get("Runtimes") or {})
        and not any(device.startswith("nvidia.com/gpu") for device in devices)
        and shutil.which("nvidia-container-runtime-hook") is None
    ):
        yield (
            "Docker has no runtime for NVIDIA GPUs: install nvidia-container-toolkit, run `sudo nvidia-ctk runtime "
            "configure --runtime=docker`, and restart Docker; or choose --profile cpu"
        )


def _models(stack: Stack) -> Iterator[str]:
    if not {"cpu", "gpu"} & set(stack.profiles):
        return
    models = Path(stack.settings["RAWBERT_MODELS"])
    file = models / "models.config"
    try:
        config = text_format.Parse(file.read_text(encoding="utf-8"), ModelServerConfig())
    except (FileNotFoundError, NotADirectoryError):
        yield f"{file} does not exist: rawbert export SOURCE --output {models / 'NAME'} writes it"
        return
    except (OSError, ValueError, text_format.ParseError) as error:
        yield f"{file} cannot be read: {error}"
        return
    if not config.model_config_list.config:
        yield f"{file} lists no model: rawbert export SOURCE --output {models / 'NAME'} adds one"
    for model in config.model_config_list.config:
        inside = model.base_path.removeprefix("/models/")
        folder = models / inside
        if inside == model.base_path:
            yield (
                f"{file}: the base path of {model.name}, {model.base_path}, does not exist in the container, where "
                f"{models} is /models: use /models/..."
            )
        elif not folder.is_dir() or not any(version_of(entry.name) is not None for entry in folder.iterdir()):
            yield f"{file}: {model.name} has no version in {folder}; the server would wait for it forever"
        else:
            yield from _unreadable((folder, *folder.rglob("*")), stack.settings["RAWBERT_USER"])


def _unreadable(paths: Iterable[Path], user: str) -> Iterator[str]:
    """The first folder or file that the containers' user may not read.

    Only on Linux do containers see the owners and modes of the host's files.
    """
    uid, _, gid = user.partition(":")
    for path in () if sys.platform != "linux" or uid == "0" else paths:
        found, needed = path.stat(), 5 if path.is_dir() else 4
        mode = found.st_mode
        allowed = mode >> 6 if str(found.st_uid) == uid else mode >> 3 if str(found.st_gid) == gid else mode
        if allowed & needed != needed:
            owner = f"{found.st_uid}:{found.st_gid}"
            yield f"the server runs as user {user}, who may not read {path}: set RAWBERT_USER={owner}, its owner"
            return


def _certificates(stack: Stack) -> Iterator[str]:
    folder = Path(stack.settings["RAWBERT_CERTS"])
    absent = [name for name in _CERTIFICATES if not (folder / name).is_file()]
    if "tls" not in stack.profiles:
        return
    if absent:
        yield f"{folder} has no {', '.join(absent)}: rawbert certs makes them; RAWBERT_CERTS names another folder"
        return
    yield from _unreadable((folder, *(folder / name for name in _CERTIFICATES)), stack.settings["RAWBERT_USER"])


def _ports(stack: Stack) -> Iterator[str]:
    wanted = {port: bind for profile in stack.profiles for port, bind in _PORTS[profile].items()}
    for setting, bind in wanted.items():
        address, port = stack.settings[bind], stack.settings[setting]
        if not port.isdigit() or int(port) > 65535:
            yield f"{setting} is {port}: give a port, 1 to 65535"
            continue
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            # With this option, a port is free even if connections to it have just ended.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address.strip("[]"), int(port)))
            except OSError as error:
                yield f"port {port} of {address} is not available ({error.strerror}): set {setting} to another one"
