"""The REST API and the metrics of a server, by the standard library."""

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from email.message import Message
from functools import cached_property
from typing import NamedTuple

#: Seconds.
_TIMEOUT = 5.0
#: Paths of the metrics: TensorFlow Serving's own, and Prometheus'.
_METRICS = ("/monitoring/prometheus/metrics", "/metrics")
#: Bytes of an answer that are read.
_MOST = 16 << 20


class Page(NamedTuple):
    """An answer of HTTP: its status, its headers, and its text."""

    status: int
    headers: Message
    text: str


class Rest:
    """A REST API.

    Args:
        address: ``host:port`` or a URL; empty for none.
        model: the model's name.
        named: whether a user named it; else it is a guess.
    """

    def __init__(self, address: str, model: str, *, named: bool) -> None:
        self.url = address if "://" in address else f"http://{address}"
        self.named = named
        self._address, self._model = address, model

    def get(self, path: str) -> Page | None:
        """A page; ``None`` where nothing answers. The environment's proxies are not used."""
        if not self._address:
            return None
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(self.url.rstrip("/") + path, timeout=_TIMEOUT) as answer:
                return Page(answer.status, answer.headers, answer.read(_MOST).decode("utf-8", "replace"))
        except urllib.error.HTTPError as error:
            with error:
                return Page(error.code, error.headers, error.read(_MOST).decode("utf-8", "replace"))
        except (OSError, ValueError, http.client.HTTPException):
            return None

    @cached_property
    def status(self) -> Page | None:
        """The states of the model's versions; ``None`` where no such API is there."""
        page = self.get(f"/v1/models/{urllib.parse.quote(self._model, safe='')}")
        if page is None:
            return None
        try:
            answer = json.loads(page.text)
        except ValueError:
            return None
        is_api = isinstance(answer, dict) and ("model_version_status" in answer or "error" in answer)
        return page if is_api else None

    @cached_property
    def metrics(self) -> str | None:
        """The metrics for Prometheus, at a path that people use; ``None`` where none are there."""
        for path in _METRICS:
            page = self.get(path)
            if page is not None and page.status == 200 and ":tensorflow:" in page.text:
                return page.text
        return None
