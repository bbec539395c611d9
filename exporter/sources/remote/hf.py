"""Models of the Hugging Face Hub by id: only the files that an export reads, never code.

The library does the work, with its own cache (HF_HOME), credentials (HF_TOKEN, ``hf auth login``) and offline
mode (HF_HUB_OFFLINE); it resumes interrupted downloads. The revision is resolved to a commit once, and every file is
taken from that commit.
"""

import fnmatch
import re
import time
from pathlib import Path
from typing import Any

from ...errors import DownloadError, SourceNotFound, first_line
from ..files import WEIGHT_FILES
from ..sentence_transformers import SETTINGS
from . import Location, Say
from .download import LARGEST, TRANSIENT

#: Other relevant files: those that an export reads, or refuses by name.
_SMALL = (
    "config.json", "modules.json", "config_sentence_transformers.json", "tokenizer.json", "tokenizer_config.json",
    "vocab.txt", "sentencepiece.bpe.model", "spiece.model", "spm.model", "vocab.json", "merges.txt",
    "special_tokens_map.json", "added_tokens.json",
    "bert_config.json", "adapter_config.json",
    *SETTINGS, "README.md", "LICENSE", "LICENSE.txt", "LICENSE.md",
)  # fmt: skip
_ATTEMPTS = 3
#: Folder of a sentence-transformers module.
_MODULE = re.compile(r"\d+_\w+")


def wanted(names: list[str]) -> tuple[list[str], list[str]]:
    """The files of a repository to download: small ones, and the preferred weight file of each folder."""
    folders = {""} | {name.partition("/")[0] + "/" for name in names if _MODULE.fullmatch(name.partition("/")[0])}
    small = [folder + name for folder in sorted(folders) for name in _SMALL if folder + name in names]
    weights: list[str] = []
    for folder in sorted(folders):
        here = [name.removeprefix(folder) for name in names if name.startswith(folder)]
        best = next((name for name in WEIGHT_FILES if name in here), None)
        patterns = [best] if best else ["*.ckpt*.index", "*.ckpt*.data-*-of-*"]
        if best and best.endswith(".index.json"):
            stem, _, suffix = best.removesuffix(".index.json").rpartition(".")
            patterns.append(f"{stem}-*.{suffix}")
        weights += [folder + name for name in here if any(fnmatch.fnmatchcase(name, one) for one in patterns)]
    return small, [name for name in weights if name.count("/") <= 1]


def fetch(repo: str, revision: str | None, handle: str, say: Say) -> Location:
    """Download a model, or find it in the cache.

    Args:
        repo: ``owner/name``, or the bare name of one of the oldest models.
        revision: branch, tag or commit; ``None`` is the main branch.
        handle: the user's name for the model.
        say: called at the start of a slow step.

    Raises:
        SourceNotFound: no such repository or revision; it may be private.
        DownloadError: missing credentials, or no network.
    """
    from huggingface_hub import HfApi, errors, snapshot_download

    unreachable = ""
    try:
        try:
            say(f"asking the Hugging Face Hub for {repo}")
            info = _info(HfApi(), repo, revision, say)
            sizes = {sibling.rfilename: sibling.size or 0 for sibling in info.siblings or ()}
            groups = wanted(list(sizes))
        except (errors.HfHubHTTPError, errors.HFValidationError):
            raise
        # Offline mode, or the exceptions of the library's HTTP client without network, which depend on its release.
        except Exception as error:
            unreachable = first_line(error)
            say(f"the Hub cannot be reached ({unreachable}); using the cache")
            folder = snapshot_download(repo, revision=revision, local_files_only=True)
        else:
            if not any(groups):
                raise SourceNotFound(
                    f"{handle}: the repository has no file that an export reads; choose one with config.json and "
                    "weights"
                )
            size = sum(sizes[name] for names in groups for name in names)
            if size > LARGEST:
                raise DownloadError(f"{handle}: its files have {size} bytes; expected at most {LARGEST}")
            # Weights last: a cache with weights is then complete, also for a later run without network.
            for names in filter(None, groups):
                say(f"downloading {len(names)} files of {repo}")
                patterns = [re.sub(r"([*?[])", r"[\1]", name) for name in names]
                folder = snapshot_download(repo, revision=info.sha, allow_patterns=patterns)
            if (revision or "main") != info.sha:
                # The library's own note about a branch, which a later run without network looks for.
                note = Path(folder).parents[1] / "refs" / (revision or "main")
                note.parent.mkdir(parents=True, exist_ok=True)
                note.write_text(info.sha, encoding="utf-8")
    except errors.GatedRepoError as error:
        raise DownloadError(
            f"{handle}: the repository is gated: accept its terms on its page, then log in (hf auth login) or set "
            f"HF_TOKEN: {first_line(error)}"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise SourceNotFound(
            f"{handle}: the repository has no revision {revision or 'main'!r}; check --revision"
        ) from error
    except errors.HfHubHTTPError as error:
        # The Hub answers anonymous users with 401 for private and for missing repositories.
        if isinstance(error, errors.RepositoryNotFoundError) or error.response.status_code == 401:
            raise SourceNotFound(
                f"{handle}: no such folder, and no such model on the Hugging Face Hub; check the name, and for a "
                f"private model log in (hf auth login) or set HF_TOKEN: {first_line(error)}"
            ) from error
        raise DownloadError(f"{handle}: cannot be downloaded: {first_line(error)}") from error
    except errors.HFValidationError as error:
        raise SourceNotFound(
            f"{handle}: no such folder, and not an id of the Hugging Face Hub; check the name: {error}"
        ) from error
    except errors.LocalEntryNotFoundError as error:
        # Some releases report a snapshot without all files as incomplete. An export does not need all files, and
        # reports missing ones itself.
        folder = getattr(error, "snapshot_path", "")
        if not folder:
            raise DownloadError(
                f"{handle}: no such folder; the Hugging Face Hub cannot be reached, and its cache does not have the "
                f"model: {unreachable or first_line(error)}"
            ) from error
    except (SourceNotFound, DownloadError):
        raise
    # Status codes, broken transfers, full disks: see above.
    except Exception as error:
        raise DownloadError(f"{handle}: cannot be downloaded: {first_line(error)}") from error
    path = Path(folder)
    return Location(path, handle, "huggingface", revision=path.name, cached=True)


def _info(api: Any, repo: str, revision: str | None, say: Say) -> Any:
    """The Hub's description of a repository; requested again if the Hub is busy."""
    from huggingface_hub.errors import HfHubHTTPError

    for attempt in range(_ATTEMPTS):
        try:
            return api.model_info(repo, revision=revision, files_metadata=True)
        except HfHubHTTPError as error:
            if error.response.status_code not in TRANSIENT or attempt == _ATTEMPTS - 1:
                raise
            say(f"the Hub says {error.response.status_code}; trying again")
            time.sleep(0.5 * 2**attempt)
