"""tensorflow_model_server's flags as options of a command: applied, accepted without effect, or refused."""

import json
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import click

#: Flags with the same effect as in tensorflow_model_server.
APPLIED = (
    "port", "rest_api_port", "rest_api_num_threads", "rest_api_timeout_in_ms", "rest_api_enable_cors_support",
    "monitoring_config_file", "ssl_config_file", "grpc_socket_path", "grpc_max_threads", "grpc_channel_arguments",
    "model_name", "model_base_path", "model_config_file", "model_config_file_poll_wait_seconds",
    "file_system_poll_wait_seconds", "enable_batching", "batching_parameters_file",
    "enable_per_model_batching_parameters", "enable_model_warmup", "num_request_iterations_for_warmup",
    "num_load_threads", "max_num_load_retries", "load_retry_interval_micros",
    "allow_version_labels_for_unavailable_models", "enable_grpc_healthcheck_service",
    "enable_serialization_as_tensor_content", "saved_model_tags", "tensorflow_session_parallelism",
    "tensorflow_intra_op_parallelism", "tensorflow_inter_op_parallelism",
)  # fmt: skip

#: Flags without effect here: accepted, with a note in the log.
IGNORED = (
    "num_unload_threads", "flush_filesystem_caches", "per_process_gpu_memory_fraction",
    "remove_unused_fields_from_bundle_metagraph", "num_tflite_pools", "num_tflite_interpreters_per_pool",
    "enable_signature_method_name_check", "xla_cpu_compilation_enabled", "xla_gpu_compilation_enabled",
    "enable_profiler", "skip_initialize_tpu",
)  # fmt: skip

_TYPES: dict[str, Any] = {
    "bool": click.BOOL,
    "string": click.STRING,
    "float": click.FLOAT,
    "int32": click.IntRange(-(2**31), 2**31 - 1),
    "int64": click.IntRange(-(2**63), 2**63 - 1),
}


def known_flags() -> list[dict[str, Any]]:
    """Name, type, default and help of every flag of the emulated release."""
    text = (files("rawbert.serving") / "data" / "tensorflow_model_server_2.20.0_flags.json").read_text("utf-8")
    return list(json.loads(text)["flags"])


def model_server_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add every flag of tensorflow_model_server to a command; it receives those of :data:`APPLIED`."""
    flags = {flag["name"]: flag for flag in known_flags() if flag["name"] != "version"}
    for name, flag in reversed(flags.items()):
        applied = name in APPLIED
        switch: dict[str, Any] = {"is_flag": False, "flag_value": "true"} if flag["type"] == "bool" else {}
        command = click.option(
            f"--{name}",
            name,
            type=click.IntRange(0, 65535) if name in ("port", "rest_api_port") else _TYPES[flag["type"]],
            # docs/reference/server.md lists the intended differences and their reasons.
            default=None if name == "max_num_load_retries" else flag["default"],
            show_default=applied and flag["default"] not in (None, ""),
            help="TCP port for gRPC; 0 for a free one." if name == "port" else flag["help"],
            hidden=not applied,
            expose_value=applied,
            callback=None if applied else _unapplied,
            **switch,
        )(command)
    return command


def _unapplied(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value in (None, parameter.default):
        return
    if parameter.name not in IGNORED:
        raise click.UsageError(
            f"--{parameter.name} of tensorflow_model_server is not supported by rawbert serve: leave it out"
        )
    context.ensure_object(list).append(parameter.name)
