"""Kaggle models by handle or page, downloaded by kagglehub.

Its cache is KAGGLEHUB_CACHE, its credentials KAGGLE_API_TOKEN, KAGGLE_USERNAME and KAGGLE_KEY, or kaggle.json.
"""

import re
from pathlib import Path
from urllib.parse import urlsplit

from ...errors import ConfigError, DownloadError, SourceNotFound, first_line
from . import Location, Say

#: Parts of a page's URL that are not in a handle.
_DECORATION = {"models", "frameworks", "variations", "versions"}
#: A path without one of these is not a handle, but a missing folder.
_FRAMEWORKS = {"tensorflow1", "tensorflow2", "keras", "pytorch", "transformers", "flax", "jax", "other"}


def handle_of(encoder: str) -> str | None:
    """``owner/model/framework/variation[/version]`` of a handle or a page's URL; ``None`` for anything else."""
    path = encoder
    if encoder.startswith(("http://", "https://")):
        parts = urlsplit(encoder)
        if parts.hostname not in ("www.kaggle.com", "kaggle.com") or not parts.path.startswith("/models/"):
            return None
        path = "/".join(part for part in parts.path.split("/") if part and part not in _DECORATION)
    found = re.fullmatch(r"[\w.-]+/[\w.-]+/([\w.-]+)/[\w.-]+(/\d+)?", path)
    return path if found and found[1].lower() in _FRAMEWORKS else None


def fetch(handle: str, revision: str | None, named: str, say: Say) -> Location:
    """Download a Kaggle model, or find it in the cache.

    Raises:
        ConfigError: two versions.
        SourceNotFound: no such model.
        DownloadError: missing credentials, or an incomplete download.
    """
    import kagglehub
    import requests
    from kagglehub.exceptions import BackendError, CredentialError, DataCorruptionError, UnauthenticatedError

    if revision is not None:
        if handle.count("/") == 4 or not revision.isdigit():
            raise ConfigError(f"{named}: --revision is {revision!r}; give one version number, in one place")
        handle = f"{handle}/{revision}"
    say(f"asking Kaggle for {handle}")
    try:
        folder = Path(kagglehub.model_download(handle))
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else None
        if status == 404:
            raise SourceNotFound(f"{named}: no such model on Kaggle; check the handle {handle}") from error
        says = first_line(error)
        if status in (401, 403):
            says = "log in (KAGGLE_API_TOKEN, or kaggle.json), and accept the model's terms on its page"
        raise DownloadError(f"{named}: Kaggle says {status}: {says}") from error
    except (CredentialError, UnauthenticatedError) as error:
        raise DownloadError(
            f"{named}: Kaggle needs credentials; log in (KAGGLE_API_TOKEN, or kaggle.json): {first_line(error)}"
        ) from error
    except (requests.RequestException, BackendError, DataCorruptionError, OSError, ValueError) as error:
        raise DownloadError(f"{named}: cannot be downloaded from Kaggle: {first_line(error)}") from error
    return Location(folder, named, "kaggle", revision=folder.name if folder.name.isdigit() else None, cached=True)
