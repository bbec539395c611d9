"""Download of an archive by http(s), up to a maximum size; broken transfers are resumed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from ...errors import DownloadError, SourceNotFound, first_line
from . import Say

if TYPE_CHECKING:
    import requests

#: Maximum size in bytes. The largest BERT with its optimizer's slots has 4 GB.
LARGEST = 16 << 30
#: Status codes of temporary failures.
TRANSIENT = (408, 429, 500, 502, 503, 504)
_ATTEMPTS = 5
#: Bytes per write: a broken transfer loses less than this.
_CHUNK = 1 << 16
#: Timeouts in seconds: for the connection, and between two parts of the answer.
_TIMEOUTS = (20, 60)
_PROGRESS_EVERY = 5.0


def download(url: str, path: Path, say: Say) -> None:
    """Download ``url`` to ``path``. Credentials are those of ~/.netrc, or in the URL.

    Raises:
        SourceNotFound: the URL does not exist.
        DownloadError: refused, larger than :data:`LARGEST`, or a transfer that broke off several times.
    """
    import requests

    shown = without_credentials(url)
    say(f"downloading {shown}")
    tag: str | None = None
    with requests.Session() as session:
        session.hooks["response"].append(lambda response, **_: _require_secure(response, shown))
        for attempt in range(1, _ATTEMPTS + 1):
            have = path.stat().st_size if path.exists() else 0
            # identity, so that length and ranges are those of the file.
            headers = {"Accept-Encoding": "identity"}
            if have and tag:
                headers |= {"Range": f"bytes={have}-", "If-Range": tag}
            try:
                with session.get(url, headers=headers, stream=True, timeout=_TIMEOUTS) as response:
                    _require(response, shown)
                    if response.status_code in TRANSIENT:
                        raise requests.ConnectionError(f"the server says {response.status_code} {response.reason}")
                    starts = response.headers.get("Content-Range", "").partition("-")[0]
                    resumed = response.status_code == 206 and starts == f"bytes {have}"
                    if response.status_code == 206 and not resumed:
                        tag = None
                        raise requests.ConnectionError("the server sent a different range than requested")
                    tag = response.headers.get("ETag")
                    if tag is not None and tag.startswith("W/"):
                        tag = None  # a weak tag does not guarantee the same bytes
                    with path.open("ab" if resumed else "wb") as stream:
                        _copy(response, stream, have if resumed else 0, shown, say)
                return
            except (
                requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError
            ) as error:  # fmt: skip
                if attempt == _ATTEMPTS:
                    raise DownloadError(
                        f"{shown}: the transfer broke off {attempt} times, at last: {first_line(error)}; "
                        "nothing was kept"
                    ) from error
                say(f"the transfer broke off ({first_line(error)}); trying again")
                time.sleep(0.2 * 2**attempt)
            # Other errors of requests, and a full disk.
            except OSError as error:
                raise DownloadError(f"{shown}: cannot be downloaded: {first_line(error)}") from error


def _require_secure(response: requests.Response, shown: str) -> None:
    """Refuse any redirect from https to http before it is followed."""
    target = urljoin(response.url, response.headers.get("Location", ""))
    if response.is_redirect and urlsplit(response.url).scheme == "https" and urlsplit(target).scheme != "https":
        raise DownloadError(f"{shown}: it redirects from https to http, which is not followed; use a URL with https")


def _require(response: requests.Response, shown: str) -> None:
    status = response.status_code
    if status in (404, 410):
        raise SourceNotFound(f"{shown}: the server says {status}: check the URL")
    if status in (401, 403):
        raise DownloadError(f"{shown}: the server says {status}: give credentials (an entry for the host in ~/.netrc)")
    if status not in (200, 206, *TRANSIENT):
        raise DownloadError(f"{shown}: expected the archive, the server says {status} {response.reason}")


def _copy(response: requests.Response, stream: IO[bytes], have: int, shown: str, say: Say) -> None:
    length = response.headers.get("Content-Length", "")
    expected = have + int(length) if length.isdecimal() else 0
    total = f" of {expected / 1e6:.0f}" if expected else ""
    last = time.monotonic()
    for chunk in response.iter_content(_CHUNK):
        if max(have + len(chunk), expected) > LARGEST:
            raise DownloadError(f"{shown}: it has more than {LARGEST} bytes; expected the archive of a checkpoint")
        stream.write(chunk)
        have += len(chunk)
        if time.monotonic() - last > _PROGRESS_EVERY:
            last = time.monotonic()
            say(f"downloaded {have / 1e6:.0f}{total} MB")


def without_credentials(url: str) -> str:
    """A URL without user, password and query, for messages and records."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
