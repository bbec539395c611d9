"""TensorFlow Serving's metrics with its names, labels and buckets, in the form of its Prometheus page.

Names, labels and buckets: ``util.cc``, ``batching_session.cc``, ``batching_util.h`` and ``saved_model_warmup_util.cc``
of TensorFlow Serving, ``loader.cc`` of TensorFlow. The page: ``prometheus_exporter.cc``.
"""

import itertools
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Histogram

from .failure import Failure

_SERVING = ":tensorflow:serving:"
_BATCHING = f"{_SERVING}batching_session:"
_LOADING = ":tensorflow:cc:saved_model:"


def _exponential(scale: float, growth: float, count: int) -> list[float]:
    """Upper bounds of buckets, each ``growth`` times the one before; a last bucket without a bound follows them."""
    return list(itertools.accumulate([growth] * (count - 1), lambda bound, factor: bound * factor, initial=scale))


#: Buckets of latencies in microseconds, up to about 20 minutes.
_LATENCIES = _exponential(10, 1.8, 33)
#: Buckets of numbers of rows, up to 8192.
_ROWS = _exponential(1, 2, 14)


class Metrics:
    """The metrics of one server; counters and histograms may be used from several threads."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = self._counter(f"{_SERVING}request_count", "model_name", "status")
        self._request_latency = self._histogram(
            f"{_SERVING}request_latency", _LATENCIES, "model_name", "API", "entrypoint"
        )
        #: Microseconds of a model's run, including the time in the batcher.
        self.runtime_latency = self._histogram(f"{_SERVING}runtime_latency", _LATENCIES, "model_name", "API", "runtime")
        self.warmup_latency = self._histogram(f"{_SERVING}model_warmup_latency", _LATENCIES, "model_path", "status")
        self.load_attempts = self._counter(f"{_LOADING}load_attempt_count", "model_path", "status")
        self.load_latency = self._counter(f"{_LOADING}load_latency", "model_path")
        self.queuing_latency = self._histogram(
            f"{_BATCHING}queuing_latency", _exponential(100, 1.2, 52), "thread_pool_name"
        )
        self.wrapped_runs = self._counter(f"{_BATCHING}wrapped_run_count")
        self.input_batch_size = self._histogram(f"{_BATCHING}input_batch_size", _ROWS)
        self.processed_batch_size = self._histogram(f"{_BATCHING}processed_batch_size", _ROWS)
        self.padding_size = self._histogram(f"{_BATCHING}padding_size", _ROWS, "execution_batch_size")

    def _counter(self, name: str, *labels: str) -> Counter:
        return Counter(name, "", labels, registry=self._registry)

    def _histogram(self, name: str, bounds: Sequence[float], *labels: str) -> Histogram:
        return Histogram(name, "", labels, buckets=bounds, registry=self._registry)

    @contextmanager
    def request(self, model: str, api: str, entrypoint: str) -> Iterator[None]:
        """Count a call by its final status, and record the duration of an answered one."""
        start, status = time.monotonic(), "OK"
        try:
            yield
            self._request_latency.labels(model, api, entrypoint).observe(microseconds_since(start))
        except Failure as failure:
            status = failure.code.name
            raise
        except Exception:
            status = "INTERNAL"
            raise
        finally:
            self._requests.labels(model, status).inc()

    def page(self) -> str:
        """All metrics in Prometheus' text format, without HELP lines, like TensorFlow Serving."""
        lines = []
        for metric in sorted(self._registry.collect(), key=lambda metric: metric.name):
            lines.append(f"# TYPE {metric.name} {metric.type}")
            for sample in metric.samples:
                if sample.name.endswith("_created"):
                    continue
                # TensorFlow Serving's counters have no suffix.
                name = sample.name.removesuffix("_total")
                labels = ",".join(f'{label}="{_escaped(label, value)}"' for label, value in sample.labels.items())
                lines.append(f"{name}{{{labels}}} {_number(sample.value)}")
        return "\n".join(lines) + "\n"


def rows(count: int) -> float:
    """A number of rows for a histogram, in which a value at a bound belongs to the bucket above it."""
    return math.nextafter(count, math.inf)


def microseconds_since(start: float) -> int:
    """Whole microseconds since a time of ``time.monotonic()``."""
    return int((time.monotonic() - start) * 1e6)


def _escaped(label: str, value: str) -> str:
    if label == "le":
        return "+Inf" if value == "+Inf" else f"{float(value):g}"
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(round(value)) if abs(value - round(value)) < 1e-6 else repr(value)
