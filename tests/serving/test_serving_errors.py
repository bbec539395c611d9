"""The table from status codes to exceptions, and the exported names."""

from __future__ import annotations

import re
from typing import Any

import grpc
import pytest
import rawbert.serving
from rawbert.serving import ChannelConfig, Client, ServingError, errors
from rawbert.serving.client import channel


@pytest.mark.parametrize("code", grpc.StatusCode, ids=lambda code: code.name)
def test_every_status_code_is_mapped(code: grpc.StatusCode) -> None:
    kind, advice = errors.STATUS[code]
    assert issubclass(kind, ServingError)
    assert advice


def test_the_docstring_draws_the_tree() -> None:
    drawn = set(re.findall(r"── (\w+)", errors.__doc__ or "")) | {"ServingError"}
    kinds = {name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, ServingError)}
    assert drawn == kinds


def test_exported_names() -> None:
    assert set(rawbert.serving.__all__) == {
        "TLS", "AsyncClient", "CallCancelled", "CallRecord", "ChannelConfig", "Classification", "Client",
        "DeadlineExceeded", "DecodeError", "Entity", "InvalidRequest", "MessageTooLarge", "ModelMetadata",
        "ModelNotFound", "ModelVersionChanged", "Prediction", "Ranked", "RetryPolicy", "ServerFault",
        "ServerOverloaded", "ServerUnavailable", "ServingError", "SignatureInfo", "SignatureNotFound",
        "TaggedText", "TensorSpec", "TokenSequence", "Tokens", "Unauthenticated", "VersionStatus",
    }  # fmt: skip
    for name in rawbert.serving.__all__:
        assert getattr(rawbert.serving, name).__doc__


@pytest.mark.parametrize(
    "settings",
    [
        {"max_message_bytes": 0},
        {"max_message_bytes": -2},
        {"keepalive_time": -1},
        {"keepalive_timeout": 0},
        {"idle_timeout": -1},
    ],
)
def test_channel_settings_that_cannot_work(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        ChannelConfig(**settings)  # type: ignore[arg-type]


def test_channel_settings_become_options() -> None:
    assert ChannelConfig() == ChannelConfig(max_message_bytes=-1)

    def options(address: str = "h:1", **settings: Any) -> dict[str, Any]:
        return dict(channel.arguments(ChannelConfig(**settings), None, address)["options"])

    made = options(max_message_bytes=5, keepalive_time=2, keepalive_timeout=1, idle_timeout=7)
    assert made["grpc.max_receive_message_length"] == made["grpc.max_send_message_length"] == 5
    assert (made["grpc.keepalive_time_ms"], made["grpc.keepalive_timeout_ms"]) == (2000, 1000)
    assert made["grpc.client_idle_timeout_ms"] == 7000
    assert "grpc.keepalive_time_ms" not in options(keepalive_time=0)
    # The minimum interval between pings during a long call that a gRPC server accepts by default.
    assert options()["grpc.keepalive_time_ms"] > 300_000
    # Azure's load balancers forget after 4 minutes, AWS's after 350 seconds.
    assert options()["grpc.client_idle_timeout_ms"] < 240_000
    assert "grpc.enable_http_proxy" not in options()
    assert options(http_proxy=False)["grpc.enable_http_proxy"] == 0
    assert "round_robin" in options("dns:///h:1")["grpc.service_config"]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"model": ""}, "model is empty"),
        ({"model": "m", "version": 1, "version_label": "stable"}, "not both"),
        ({"model": "m", "max_batch_size": 0}, "max_batch_size"),
        ({"model": "m", "timeout": 0}, "timeout"),
        ({"model": "m", "timeout": float("nan")}, "timeout"),
    ],
)
def test_client_settings_that_cannot_work(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Client("localhost:1", **settings)  # type: ignore[arg-type]
