"""The plan of a server, with checks for faults that prevent its start, before TensorFlow is loaded."""

import logging
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import LABEL_HINT
from ..listening import joined
from .failure import Failure
from .options import Batching, ModelSettings, ServerOptions, parse_batching, parse_models, parse_monitoring, read_file
from .registry import find_versions, newest_version
from .tls import parse_credentials

_LOG = logging.getLogger(__name__)


class StartError(Exception):
    """The server cannot start; the message contains the reason in one line."""


class Plan:
    """A server's options, read and checked.

    Attributes:
        options: the flags.
        batching: parameters for all models; ``None`` without batching.
        models: models to serve at the start, by name.
        channel_arguments: gRPC's options from ``--grpc_channel_arguments``.
        metrics_path: path of the metrics page over HTTP; empty for none.
        credentials: credentials of the gRPC port; ``None`` for plain text.

    Raises:
        StartError: the flags contradict each other, there is no model to serve, or the address is in use.
    """

    def __init__(self, options: ServerOptions) -> None:
        self.options = options
        self.channel_arguments = _channel_arguments(options.grpc_channel_arguments)
        self._moved: set[Path] = set()
        self._here = Path(options.model_config_file or options.model_base_path).absolute().parent
        try:
            self.batching: Batching | None = None
            if options.enable_batching:
                path = options.batching_parameters_file
                self.batching = read_file(path, parse_batching) if path else Batching()
            elif options.batching_parameters_file:
                raise StartError("--batching_parameters_file needs --enable_batching")
            _ = options.parallelism
            path = options.monitoring_config_file
            self.metrics_path = read_file(path, parse_monitoring) if path else ""
            path = options.ssl_config_file
            self.credentials = read_file(path, parse_credentials) if path else None
            self.models = self.configured()
            for settings in self.models.values():
                if not settings.policy.choose(find_versions(settings.base_path)):
                    newest_version(settings.base_path)
                    raise StartError(
                        f"{settings.base_path} has no version for the policy of {settings.name}; check the folder"
                    )
        except (Failure, OSError, ValueError) as error:
            raise StartError(one_line(error)) from error
        _check_port(options.host, options.port)
        if options.rest_api_port:
            if options.rest_api_port == options.port:
                raise StartError("--rest_api_port and --port are the same: give another one for HTTP")
            _check_port(options.host, options.rest_api_port)
            if self.credentials:
                _LOG.warning("HTTP is in plain text: --ssl_config_file is only for gRPC, as in TensorFlow Serving")
        elif self.metrics_path:
            _LOG.warning("--monitoring_config_file has no effect without --rest_api_port, the port of the metrics")
        _check_socket(options.grpc_socket_path)

    @property
    def rest_threads(self) -> int:
        """Number of concurrent HTTP requests; as in TensorFlow Serving, one of the threads is for the network."""
        number = self.options.rest_api_num_threads
        return max(1, (4 * (os.cpu_count() or 1) if number is None else number) - 1)

    def configured(self) -> dict[str, ModelSettings]:
        """The models to serve according to the flags; reads a ``--model_config_file`` again."""
        options = self.options
        if options.model_config_file:
            return self.on_this_machine(read_file(options.model_config_file, parse_models))
        if not options.model_base_path:
            raise StartError("give --model_base_path or --model_config_file: neither is given")
        if not options.model_name:
            raise StartError("the model name is empty: set --model_name")
        return {options.model_name: ModelSettings(options.model_name, Path(options.model_base_path).absolute())}

    def on_this_machine(self, models: Mapping[str, ModelSettings]) -> dict[str, ModelSettings]:
        """The models of a configuration; base paths of a container are looked up next to the configuration file."""
        return {name: self._found(settings) for name, settings in models.items()}

    def _found(self, settings: ModelSettings) -> ModelSettings:
        here = self._here / settings.base_path.name
        if settings.base_path.exists() or not here.is_dir():
            return settings
        if here not in self._moved:
            self._moved.add(here)
            _LOG.info("%s is not on this machine: %s is read from %s", settings.base_path, settings.name, here)
        return replace(settings, base_path=here)


def _channel_arguments(text: str) -> list[tuple[str, Any]]:
    arguments: list[tuple[str, Any]] = []
    for each in filter(None, text.split(",")):
        name, equals, value = each.partition("=")
        if not equals:
            raise StartError(f"--grpc_channel_arguments: {each!r} is not name=value")
        number = int(value) if re.fullmatch(r"-?[0-9]{1,10}", value) else None
        if number is not None and abs(number) >= 2**31:
            raise StartError(f"--grpc_channel_arguments: {each!r}: the number does not fit into 32 bits")
        arguments.append((name, value if number is None else number))
    return arguments


def _check_port(host: str, port: int) -> None:
    """Check that a port is free before a model is loaded, because gRPC does not report the reason."""
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            with socket.socket(family, kind, protocol) as probe:
                # Like gRPC; a port on which another process listens is still refused.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
                probe.listen()
    except (OSError, ValueError) as error:  # ValueError: not a host name
        raise StartError(f"cannot listen on {joined(host, port)}: {getattr(error, 'strerror', error)}") from error


def _check_socket(path: str) -> None:
    """Check that no process listens on a Unix socket, because gRPC would take over its name."""
    if not path:
        return
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(path)
        reason = "Address already in use"
    except (FileNotFoundError, ConnectionRefusedError):
        if Path(path).parent.is_dir():
            return
        reason = "its folder does not exist"
    except OSError as error:
        reason = error.strerror or str(error)
    raise StartError(f"cannot listen on unix:{path}: {reason}")


def one_line(error: Exception) -> str:
    """The message of an error in one line, with a remedy."""
    said = " ".join(str(error).split())
    return f"{said} ({LABEL_HINT})" if "Request to assign label" in said else said
