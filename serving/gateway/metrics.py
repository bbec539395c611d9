"""The gateway's metrics, in a separate registry: ``/metrics`` for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ..client.results import CallRecord

#: Buckets in seconds, for calls over HTTP and for calls to the model server.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """All metrics of one gateway."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "rawbert_gateway_requests", "Requests, by path and status.", ["route", "code"], registry=self.registry
        )
        self.seconds = Histogram(
            "rawbert_gateway_request_seconds",
            "Seconds from the headers of a request to the end of its answer.",
            ["route"],
            registry=self.registry,
            buckets=_SECONDS,
        )
        self.in_flight = Gauge("rawbert_gateway_requests_in_flight", "Requests in progress.", registry=self.registry)
        self.texts = Counter(
            "rawbert_gateway_texts", "Answered texts, by model and version.", ["model", "version"],
            registry=self.registry,
        )  # fmt: skip
        self.tokens = Counter(
            "rawbert_gateway_tokens", "Tokens of these texts, if the model counts them.", ["model"],
            registry=self.registry,
        )  # fmt: skip
        self.calls = Histogram(
            "rawbert_gateway_backend_call_seconds",
            "Seconds of calls to the model server, for each attempt.",
            ["model", "method", "code"],
            registry=self.registry,
            buckets=_SECONDS,
        )

    def on_call(self, record: CallRecord) -> None:
        """The client's ``on_call`` hook."""
        self.calls.labels(record.model, record.method, record.code.name).observe(record.seconds)

    def answered(self, model: str, version: int | None, texts: int, tokens: int) -> None:
        """Count a request that a version answered."""
        self.texts.labels(model, "" if version is None else str(version)).inc(texts)
        self.tokens.labels(model).inc(tokens)
