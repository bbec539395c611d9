"""The exceptions of the exporter. Every message contains the fault, its place, and a remedy."""

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = [
    "ConfigError",
    "CorruptSource",
    "DataError",
    "DownloadError",
    "ExportError",
    "ModelConfigError",
    "OutputError",
    "SourceError",
    "SourceNotFound",
    "TargetError",
    "TrainingError",
    "UnsupportedModel",
    "VerificationError",
    "VersionExists",
    "VocabularyError",
]


class ExportError(Exception):
    """Base class of the exporter's exceptions."""


class ConfigError(ExportError, ValueError):
    """A setting is out of range or contradicts another."""


class SourceError(ExportError):
    """The checkpoint cannot be used."""


class SourceNotFound(SourceError):
    """The checkpoint does not exist at the given place."""


class DownloadError(SourceError):
    """The checkpoint could not be downloaded: network, credentials, or a broken transfer."""


class UnsupportedModel(SourceError):
    """The checkpoint has a kind or a setting that rawbert does not support; the message names it."""


class CorruptSource(SourceError):
    """A file of the checkpoint is damaged or missing, or contradicts another."""


class VocabularyError(SourceError):
    """The vocabulary does not fit the model."""


class DataError(ExportError):
    """Labelled rows cannot be trained on."""


class TrainingError(ExportError):
    """Training failed after its start."""


class OutputError(ExportError):
    """The bundle cannot be written to the requested place."""


class VersionExists(OutputError):
    """The version exists already and ``force`` was not given."""


class ModelConfigError(ExportError):
    """models.config cannot be read or written, or a change of it is invalid."""


class TargetError(ExportError):
    """The target TensorFlow Serving release cannot run the written SavedModel; nothing was published."""


class VerificationError(ExportError):
    """The written SavedModel differs from its reference; nothing was published.

    ``mismatches`` contains one line for each output that differs.
    """

    def __init__(self, message: str, mismatches: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.mismatches = mismatches


def first_line(error: BaseException) -> str:
    """The first line of a library's error, for use in a message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextmanager
def os_errors_as(kind: type[ExportError], what: str) -> Iterator[None]:
    """Turn an OSError into an error of this module, with the failed action and the system's reason."""
    try:
        yield
    except OSError as error:
        raise kind(f"{what}: {error.strerror or error}") from error
