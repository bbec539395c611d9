"""TF Hub modules by URL, in the cache of tensorflow_hub (TFHUB_CACHE_DIR).

The library downloads without a limit, follows redirects from https to http, and gives up at the first 503: it keeps
the cache, and :mod:`.download` and :mod:`.archive` fill it.
"""

import hashlib
from pathlib import Path
from urllib.parse import urlsplit

from ... import scratch
from ...errors import ConfigError, CorruptSource, DownloadError, UnsupportedModel, first_line
from . import Location, Say, archive
from .download import download


def fetch(url: str, revision: str | None, say: Say) -> Location:
    """Download a TF Hub module, or find it in the cache.

    Raises:
        ConfigError: a ``revision``: such a URL ends with it.
        SourceNotFound: the URL does not exist.
        DownloadError: an incomplete download; nothing stays in the cache.
    """
    if revision is not None:
        raise ConfigError(f"{url}: the version of a TF Hub module is the last part of its URL; leave --revision out")
    from tensorflow_hub import resolver

    def fill(_: str, folder: str) -> None:
        with scratch.temporary() as place:
            separator = "&" if urlsplit(url).query else "?"
            download(f"{url}{separator}tf-hub-format=compressed", place / "module", say)
            archive.unpack(place / "module", Path(folder))

    say(f"resolving {url}")
    try:
        cache = resolver.tfhub_cache_dir(use_temp=True)
        place = resolver.create_local_module_dir(cache, hashlib.sha1(url.encode()).hexdigest())
        folder = Path(resolver.atomic_download(url, fill, place))
    except (CorruptSource, UnsupportedModel, OSError, ValueError) as error:
        raise DownloadError(
            f"{url}: cannot be downloaded as a TF Hub module (a tar archive): {first_line(error)}; nothing was kept"
        ) from error
    version = url.rstrip("/").rpartition("/")[2]
    return Location(folder, url, "tfhub", revision=version if version.isdigit() else None, cached=True)
