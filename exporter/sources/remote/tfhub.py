"""TF Hub modules by URL: tensorflow_hub resolves them, and keeps its own cache (TFHUB_CACHE_DIR)."""

from __future__ import annotations

import tarfile
import urllib.error
from pathlib import Path

from ...errors import ConfigError, DownloadError, SourceNotFound, first_line
from .location import Location, Say

__all__ = ["fetch"]


def fetch(url: str, revision: str | None, say: Say) -> Location:
    """Resolve the URL of a TF Hub module.

    Raises:
        ConfigError: ``revision`` was given: it is the end of such a URL.
        SourceNotFound: there is nothing at the URL.
        DownloadError: it could not be downloaded whole; nothing stays in the cache.
    """
    if revision is not None:
        raise ConfigError(f"{url}: the version of a TF Hub module is the last part of its URL; leave --revision out")
    import tensorflow_hub as hub

    say(f"resolving {url}")
    try:
        folder = Path(hub.resolve(url))
    except urllib.error.HTTPError as error:
        if error.code in (404, 410):
            raise SourceNotFound(f"{url}: the server says {error.code}: nothing is there") from error
        needed = ": credentials are needed, which TF Hub has none of" if error.code in (401, 403) else ""
        raise DownloadError(f"{url}: the server says {error.code} {error.reason}{needed}") from error
    except (OSError, EOFError, tarfile.TarError, ValueError) as error:
        raise DownloadError(
            f"{url}: cannot be downloaded as a TF Hub module (a tar archive): {first_line(error)}; nothing was kept"
        ) from error
    version = url.rstrip("/").rpartition("/")[2]
    return Location(folder, url, "tfhub", revision=version if version.isdigit() else None, cached=True)
