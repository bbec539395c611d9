"""The REST API and the metrics of a server, over HTTP by the standard library."""

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from email.message import Message
from functools import cached_property
from typing import NamedTuple

#: Deadline of a request, in seconds.
_TIMEOUT = 5.0
#: Paths of the metrics: TensorFlow Serving's default and Prometheus' usual one.
_METRICS = ("/monitoring/prometheus/metrics", "/metrics")
#: Largest number of bytes of an answer; the rest is not read.
_MOST = 16 << 20


class Page(NamedTuple):
    """An HTTP answer: status code, headers and text."""

    status: int
    headers: Message
    text: str


class Rest:
    """The REST API of a server.

    Args:
        address: ``host:port`` or a URL; empty for none.
        model: the model's name.
        named: whether the user gave the address; otherwise it is a guess.
    """

    def __init__(self, address: str, model: str, *, named: bool) -> None:
        self.url = address if "://" in address else f"http://{address}"
        self.named = named
        self._address, self._model = address, model

    def get(self, path: str) -> Page | None:
        """A page; ``None`` without an answer. The environment's proxies are not used."""
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
        """The page with the states of the model's versions; ``None`` if it is no REST API of TensorFlow Serving."""
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
        """The metrics in Prometheus' text format, at one of the usual paths; ``None`` if the server has none."""
        for path in _METRICS:
            page = self.get(path)
            if page is not None and page.status == 200 and ":tensorflow:" in page.text:
                return page.text
        return None
