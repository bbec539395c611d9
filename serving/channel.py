"""gRPC channels to TensorFlow Serving, and the methods that are called on them."""

from __future__ import annotations

import grpc

from .config import ChannelConfig

__all__ = ["GET_MODEL_METADATA", "GET_MODEL_STATUS", "PREDICT", "insecure_channel", "options"]

PREDICT = "/tensorflow.serving.PredictionService/Predict"
GET_MODEL_METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"
GET_MODEL_STATUS = "/tensorflow.serving.ModelService/GetModelStatus"


def options(config: ChannelConfig) -> list[tuple[str, int]]:
    """gRPC channel arguments for a configuration."""
    arguments = [
        ("grpc.max_send_message_length", config.max_message_bytes),
        ("grpc.max_receive_message_length", config.max_message_bytes),
    ]
    if config.keepalive_time:
        arguments += [
            ("grpc.keepalive_time_ms", int(config.keepalive_time * 1000)),
            ("grpc.keepalive_timeout_ms", int(config.keepalive_timeout * 1000)),
        ]
    return arguments


def insecure_channel(address: str, config: ChannelConfig) -> grpc.Channel:
    """A channel without TLS."""
    return grpc.insecure_channel(address, options=options(config))
