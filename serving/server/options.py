"""The server's configuration: options, models of a ModelServerConfig, and batching parameters.

Files are text protos in TensorFlow Serving's own formats: ``models.config`` is a ModelServerConfig,
``batching_params.pbtxt`` a BatchingParameters.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf import text_format

from ..wire.protos import BatchingParameters, ModelServerConfig, MonitoringConfig
from .failure import Failure, invalid

Parsed = TypeVar("Parsed")

_PLATFORM = "tensorflow"
#: Maximum seconds of any wait; Python's own limit is higher, and longer waits are an error.
FOREVER = 1e9
#: Minimum values of batching parameters.
_LEAST = {
    "max_batch_size": 1, "batch_timeout_micros": 0, "max_enqueued_batches": 1, "max_execution_batch_size": 1,
    "num_batch_threads": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Policy:
    """The version policy of a model.

    Attributes:
        kind: ``latest``, ``all`` or ``specific``.
        count: number of the largest versions, for ``latest``.
        versions: the versions, for ``specific``.
    """

    kind: str = "latest"
    count: int = 1
    versions: frozenset[int] = frozenset()

    def choose(self, found: Mapping[int, Path]) -> dict[int, Path]:
        """The versions to serve among those on disk; both are sorted, the largest first."""
        if self.kind == "specific":
            return {version: folder for version, folder in found.items() if version in self.versions}
        return dict(itertools.islice(found.items(), self.count if self.kind == "latest" else None))


@dataclass(frozen=True)
class ModelSettings:
    """A model of the configuration."""

    name: str
    base_path: Path
    policy: Policy = Policy()
    labels: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Batching:
    """Parameters for batching the calls to one signature.

    Attributes:
        max_batch_size: maximum rows of one call, and of one batch if calls are not split.
        batch_timeout: seconds for which the first call of a batch waits for further calls.
        max_enqueued_batches: maximum number of batches that wait for a thread, for each signature.
        allowed_batch_sizes: sizes to which batches are filled up, in increasing order; empty for any size.
        pad_variable_length_inputs: whether rows of unequal inner shape are filled up; otherwise they are refused.
        max_execution_batch_size: maximum rows of one batch.
        threads: number of batches that run at the same time; ``None`` if the file does not state it.
        thread_pool_name: name of their threads in the metrics.
    """

    max_batch_size: int = 1000
    batch_timeout: float = 0.0
    max_enqueued_batches: int = 10
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    max_execution_batch_size: int = 1000
    threads: int | None = None
    thread_pool_name: str = "model_server_batch_threads"


@dataclass(frozen=True)
class ServerOptions:
    """The flags of ``rawbert serve``, with the names of tensorflow_model_server's.

    ``host`` exists only here. A ``max_num_load_retries`` of ``None`` means TensorFlow Serving's default of 5, but none
    during the start, for which a user waits.
    """

    host: str = "127.0.0.1"
    port: int = 0
    grpc_socket_path: str = ""
    grpc_max_threads: int | None = None
    grpc_channel_arguments: str = ""
    rest_api_port: int = 0
    rest_api_num_threads: int | None = None
    rest_api_timeout_in_ms: int = 30_000
    rest_api_enable_cors_support: bool = False
    monitoring_config_file: str = ""
    ssl_config_file: str = ""
    model_name: str = "default"
    model_base_path: str = ""
    model_config_file: str = ""
    model_config_file_poll_wait_seconds: int = 0
    file_system_poll_wait_seconds: int = 1
    enable_batching: bool = False
    batching_parameters_file: str = ""
    enable_per_model_batching_parameters: bool = False
    enable_model_warmup: bool = True
    num_request_iterations_for_warmup: int = 0
    num_load_threads: int = 0
    max_num_load_retries: int | None = None
    load_retry_interval_micros: int = 60_000_000
    allow_version_labels_for_unavailable_models: bool = False
    enable_grpc_healthcheck_service: bool = False
    enable_serialization_as_tensor_content: bool = False
    saved_model_tags: str = "serve"
    tensorflow_session_parallelism: int = 0
    tensorflow_intra_op_parallelism: int = 0
    tensorflow_inter_op_parallelism: int = 0

    @property
    def parallelism(self) -> tuple[int, int]:
        """Number of threads within an op, and of concurrent ops; 0: TensorFlow decides."""
        own = self.tensorflow_intra_op_parallelism, self.tensorflow_inter_op_parallelism
        if all(own) and self.tensorflow_session_parallelism:
            raise invalid(
                "give --tensorflow_session_parallelism, or --tensorflow_intra_op_parallelism and "
                "--tensorflow_inter_op_parallelism, not all"
            )
        # As in TensorFlow Serving: if one of the two is set, the flag for both has no effect on the other.
        return own if any(own) else (self.tensorflow_session_parallelism,) * 2


def read_file(path: str | Path, parse: Callable[[str], Parsed]) -> Parsed:
    """The result of ``parse`` for a file; INVALID_ARGUMENT if it cannot be read or is refused."""
    try:
        return parse(Path(path).read_text(encoding="utf-8"))
    except (Failure, OSError, ValueError) as error:
        raise invalid(f"Invalid protobuf file: '{path}': {error}") from error


def parse_models(config: Any) -> dict[str, ModelSettings]:
    """The models of a ModelServerConfig message or of its text, by name; errors have TensorFlow Serving's messages."""
    if isinstance(config, str):
        config = _parsed(config, ModelServerConfig())
    if config.WhichOneof("config") != "model_config_list":
        raise invalid(
            "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently "
            "supported"
        )
    models: dict[str, ModelSettings] = {}
    for model in config.model_config_list.config:
        if model.name in models:
            raise invalid(f"Illegal to list model {model.name} multiple times in config list")
        models[model.name] = _settings(model)
    return models


def _settings(model: Any) -> ModelSettings:
    if not model.name:
        raise invalid("a model of the config list has no name")
    # model_type, deprecated: 1 is TENSORFLOW.
    platform = model.model_platform or (_PLATFORM if model.model_type == 1 else "")
    if not platform:
        raise invalid(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            f"ModelServerConfig::model_platform, model name is {model.name}"
        )
    if platform != _PLATFORM:
        raise invalid(
            f"Illegal to change a model's platform. For model {model.name} platform was {_PLATFORM} and new platform "
            f"requested is {platform}"
        )
    if not model.base_path.startswith("/"):
        raise invalid(f"Expected model {model.name} to have an absolute path or URI; got base_path()={model.base_path}")
    policy = model.model_version_policy
    kind = policy.WhichOneof("policy_choice") or "latest"
    if kind == "specific" and not policy.specific.versions:
        raise invalid("a specific version policy needs at least one version")
    # latest(0) is latest(1).
    chosen = Policy(kind, max(1, policy.latest.num_versions), frozenset(policy.specific.versions))
    return ModelSettings(model.name, Path(model.base_path), chosen, dict(model.version_labels))


def parse_batching(text: str) -> Batching:
    """The parameters of a BatchingParameters text proto; refused if they contradict each other."""
    message = _parsed(text, BatchingParameters())
    given = {field.name: value.value for field, value in message.ListFields() if field.name in _LEAST}
    for name, value in given.items():
        if value < _LEAST[name]:
            raise invalid(f"{name} must be at least {_LEAST[name]}; was {value}")
    most = given.get("max_batch_size", 1000)
    split = message.enable_large_batch_splitting.value
    largest = given.get("max_execution_batch_size", most) if split else most
    allowed = tuple(message.allowed_batch_sizes)
    if largest > most:
        raise invalid(f"max_execution_batch_size must not exceed max_batch_size; was {largest}, and {most}")
    if allowed and allowed[-1] != largest:
        what = "max_execution_batch_size" if split else "max_batch_size"
        raise invalid(
            f"Last entry in allowed_batch_sizes must match {what}; last entry was {allowed[-1]}; expected {largest}"
        )
    if any(left >= right for left, right in itertools.pairwise(allowed)) or min(allowed, default=1) < 1:
        raise invalid("allowed_batch_sizes entries must be positive and in increasing order")
    return Batching(
        most,
        min(given.get("batch_timeout_micros", 0) / 1e6, FOREVER),
        given.get("max_enqueued_batches", 10),
        allowed,
        message.pad_variable_length_inputs,
        largest,
        given.get("num_batch_threads"),
        message.thread_pool_name.value or "batch_threads",
    )


def parse_monitoring(text: str) -> str:
    """The path of the metrics in a MonitoringConfig text proto; empty without one."""
    config = _parsed(text, MonitoringConfig()).prometheus_config
    path: str = config.path or "/monitoring/prometheus/metrics"
    return path if config.enable else ""


def _parsed(text: str, message: Any) -> Any:
    try:
        return text_format.Parse(text, message)
    except Exception as error:  # for invalid text, protobuf raises more than its own ParseError
        raise invalid(f"it is not a {message.DESCRIPTOR.name} text proto: {error}") from error
