"""Sources of checkpoints: from a name to a local folder, and from the folder to a :class:`Checkpoint`.

:func:`fetched` downloads or unpacks (one file in :mod:`.remote` for each kind of source); :func:`load` reads (one file
for each kind of folder: :mod:`.hub`, :mod:`.google`, :mod:`.huggingface`, and :mod:`.keras_model`, which also reads
single files). A new kind needs a new file and one more line here.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from .. import scratch
from ..errors import ConfigError, CorruptSource, DownloadError, SourceNotFound, UnsupportedModel
from . import google, hub, huggingface, keras_model
from .checkpoint import Checkpoint, describe_files
from .remote import Location, Say, archive, download, hf, kaggle, tfhub

__all__ = ["Checkpoint", "Location", "fetched", "load"]

_KINDS = (keras_model, hub, google, huggingface)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
#: ``owner/name``, or the bare name of one of the oldest models.
_HUGGING_FACE_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_HUGGING_FACE_HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")


@contextlib.contextmanager
def fetched(encoder: str | os.PathLike[str], revision: str | None = None, say: Say | None = None) -> Iterator[Location]:
    """Make a checkpoint available in a local folder, for the lifetime of the context.

    Args:
        encoder: a folder, an archive, a URL, or a handle of a hub.
        revision: branch, tag, commit or version of a hub's model.
        say: called with a line for people at the start of a slow step.

    Raises:
        ConfigError: a ``revision`` for a source without revisions.
        SourceNotFound: the source does not exist.
        DownloadError: the download failed.
        CorruptSource, UnsupportedModel: an archive is damaged, or contains members that must not be unpacked.
    """
    named, say = os.fspath(encoder), say or (lambda line: None)
    local, found = _absolute(named), _SCHEME.match(named)
    scheme = found[1].lower() if found else ""
    if scheme == "file":
        local, scheme = Path(unquote(urlsplit(named).path)), ""
    is_handle = isinstance(encoder, str) and (_HUGGING_FACE_ID.fullmatch(named) or kaggle.handle_of(named))
    is_local = not scheme and (os.path.exists(local) or not is_handle)
    if is_local:
        is_archive = archive.is_archive_name(local.name) and os.path.isfile(local)
    else:
        is_archive = scheme in ("http", "https") and archive.is_archive_name(urlsplit(named).path)
    if revision is not None and (is_local or is_archive):
        what = f"{local} is on this machine" if is_local else f"{named} is an archive"
        raise ConfigError(f"revision is {revision!r}, but {what}: leave --revision out")
    if not is_archive:
        yield _local(local, named) if is_local else _from_hub(named, revision, say)
        return
    with scratch.temporary() as folder:
        if not is_local:
            local = folder / Path(urlsplit(named).path).name
            download.download(named, local, say)
            named = download.without_credentials(named)
        yield _unpacked(local, folder / "files", named, say)


def load(source: str | os.PathLike[str] | Location) -> Checkpoint:
    """Read the checkpoint of a local folder.

    Raises:
        SourceError: it does not exist, or cannot be used; see :mod:`rawbert.exporter.errors`.
    """
    if not isinstance(source, Location):
        source = _local(_absolute(os.fspath(source)), os.fspath(source))
    folder = source.folder
    try:
        for kind in _KINDS:
            if kind.is_folder(folder):
                return kind.read(folder)
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise CorruptSource(f"{error.filename or folder}: cannot be read: {error.strerror or error}") from error
    except CorruptSource as error:
        if source.cached:
            raise CorruptSource(
                f"{error}\nthe file comes from the cache of {source.origin}: delete {folder}, and try again"
            ) from error
        raise
    raise UnsupportedModel(
        f"{folder}: not a known kind of model: expected config.json (Hugging Face), modules.json "
        "(sentence-transformers), saved_model.pb (TF Hub) or bert_config.json (Google's checkpoints), "
        f"found {', '.join(names[:8]) or 'an empty folder'}{' ...' if len(names) > 8 else ''}"
    )


def _absolute(named: str) -> Path:
    try:
        return Path(named).expanduser().absolute()
    except RuntimeError as error:  # ~ of an unknown user
        raise SourceNotFound(f"{named}: there is no such user; for a folder of that name write ./{named}") from error


def _local(path: Path, named: str) -> Location:
    # os.path returns False for a path without permission; Path raises.
    if os.path.isdir(path) or keras_model.is_model_file(path):
        return Location(path, named, "local")
    if os.path.exists(path):
        raise SourceNotFound(
            f"{path}: a file, not a folder; name the folder of the checkpoint, an archive (.tar.gz, .zip), or "
            "a model of tf_keras (.keras, .h5)"
        )
    raise SourceNotFound(f"{path}: no such folder; name the folder of a checkpoint, or a model of a hub")


def _from_hub(named: str, revision: str | None, say: Say) -> Location:
    scheme = _SCHEME.match(named)
    handle = kaggle.handle_of(named)
    if handle is not None:
        return kaggle.fetch(handle, revision, named, say)
    if scheme is None:
        return hf.fetch(named, revision, named, say)
    parts = urlsplit(named)
    pieces = [piece for piece in parts.path.split("/") if piece]
    if parts.scheme == "hf":
        return hf.fetch("/".join([parts.netloc, *pieces]), revision, named, say)
    if parts.scheme in ("http", "https"):
        if parts.hostname not in _HUGGING_FACE_HOSTS:
            return tfhub.fetch(named, revision, say)
        if len(pieces) > 3 and pieces[2] == "tree":
            if revision is not None:
                raise ConfigError(f"revision is {revision!r}, and {named} names another: leave one of them out")
            revision = "/".join(pieces[3:])
        return hf.fetch("/".join(pieces[:2]), revision, named, say)
    raise ConfigError(f"{named}: {parts.scheme}:// is not supported; copy the checkpoint to a local folder first")


def _unpacked(path: Path, target: Path, named: str, say: Say) -> Location:
    say(f"unpacking {path.name}")
    target.mkdir()
    try:
        archive.unpack(path, target)
        (described,) = describe_files([path], path.parent)
    except OSError as error:
        raise DownloadError(f"{path}: cannot be unpacked: {error.strerror or error} ({error.filename})") from error
    # Find the checkpoint's folder: most archives have one at the top.
    folders = [target, *sorted(folder for folder in target.rglob("*") if folder.is_dir())]
    models = [folder for folder in folders if any(kind.is_folder(folder) for kind in _KINDS)]
    tops = [folder for folder in models if not any(other in folder.parents for other in models)]
    if len(tops) > 1:
        names = ", ".join(folder.relative_to(target).as_posix() for folder in tops)
        raise UnsupportedModel(f"{path}: expected one checkpoint, found {names}; unpack it and name one of them")
    return Location(tops[0] if tops else target, named, "archive", sha256=described.sha256)
