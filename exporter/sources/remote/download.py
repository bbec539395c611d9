"""An archive by its http(s) URL: downloaded whole, with a cut transfer taken up where it broke."""

from __future__ import annotations

import time
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

from ...errors import DownloadError, SourceNotFound, first_line
from .location import Say

if TYPE_CHECKING:
    import requests

__all__ = ["download", "without_credentials"]

_ATTEMPTS = 5
#: Of a transfer that breaks, less than this is lost.
_CHUNK = 1 << 16
#: Seconds: to connect, and between two parts of the answer.
_TIMEOUTS = (20, 60)
_PROGRESS_EVERY = 5.0


def download(url: str, path: Path, say: Say) -> None:
    """Download ``url`` to ``path``. Credentials are those of ~/.netrc, or in the URL.

    Raises:
        SourceNotFound: there is nothing at the URL.
        DownloadError: it is refused, or the transfer broke off time and again.
    """
    import requests

    shown = without_credentials(url)
    say(f"downloading {shown}")
    tag: str | None = None
    with requests.Session() as session:
        for attempt in range(1, _ATTEMPTS + 1):
            have = path.stat().st_size if path.exists() else 0
            # identity: the length and the ranges are those of the file.
            headers = {"Accept-Encoding": "identity"}
            if have and tag:
                headers |= {"Range": f"bytes={have}-", "If-Range": tag}
            try:
                with session.get(url, headers=headers, stream=True, timeout=_TIMEOUTS) as response:
                    _require(response, url, shown)
                    starts = response.headers.get("Content-Range", "").partition("-")[0]
                    resumed = response.status_code == 206 and starts == f"bytes {have}"
                    if response.status_code == 206 and not resumed:
                        tag = None
                        raise requests.ConnectionError("the server sent another part than was asked for")
                    tag = response.headers.get("ETag")
                    if tag is not None and tag.startswith("W/"):
                        tag = None  # a weak one is no promise of the same bytes
                    with path.open("ab" if resumed else "wb") as stream:
                        _copy(response, stream, have if resumed else 0, say)
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
            # requests' other errors, and a full disk.
            except OSError as error:
                raise DownloadError(f"{shown}: cannot be downloaded: {first_line(error)}") from error


def _require(response: requests.Response, url: str, shown: str) -> None:
    if urlsplit(url).scheme == "https" and urlsplit(response.url).scheme != "https":
        raise DownloadError(f"{shown}: it redirects from https to http, which is not followed")
    status = response.status_code
    if status in (404, 410):
        raise SourceNotFound(f"{shown}: the server says {status}: nothing is there")
    if status in (401, 403):
        raise DownloadError(
            f"{shown}: the server says {status}: credentials are needed (an entry for the host in ~/.netrc)"
        )
    if status not in (200, 206):
        raise DownloadError(f"{shown}: expected the archive, the server says {status} {response.reason}")


def _copy(response: requests.Response, stream: IO[bytes], have: int, say: Say) -> None:
    length = response.headers.get("Content-Length", "")
    total = f" of {(have + int(length)) / 1e6:.0f}" if length.isdigit() else ""
    last = time.monotonic()
    for chunk in response.iter_content(_CHUNK):
        stream.write(chunk)
        have += len(chunk)
        if time.monotonic() - last > _PROGRESS_EVERY:
            last = time.monotonic()
            say(f"downloaded {have / 1e6:.0f}{total} MB")


def without_credentials(url: str) -> str:
    """A URL as it may be shown and kept: without user, password and query."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
