"""What the exporter raises. Every message says what was wrong, where, and what to do."""

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
    """Base of everything that the exporter raises on purpose."""


class ConfigError(ExportError, ValueError):
    """A setting is out of range or contradicts another."""


class SourceError(ExportError):
    """The checkpoint cannot be used."""


class SourceNotFound(SourceError):
    """There is nothing at the given place."""


class DownloadError(SourceError):
    """The checkpoint could not be brought here: network, credentials, or a transfer that broke off."""


class UnsupportedModel(SourceError):
    """The checkpoint is of a kind that rawbert does not rebuild; the message names what was found."""


class CorruptSource(SourceError):
    """A file of the checkpoint is damaged or missing, or contradicts another."""


class VocabularyError(SourceError):
    """The vocabulary does not fit the model."""


class DataError(ExportError):
    """Labelled rows cannot be trained on."""


class TrainingError(ExportError):
    """Training went wrong after it began."""


class OutputError(ExportError):
    """The bundle cannot be written where it was asked for."""


class VersionExists(OutputError):
    """The version is there already and ``force`` was not given."""


class ModelConfigError(ExportError):
    """models.config cannot be read or written, or a change of it makes no sense."""


class TargetError(ExportError):
    """The target TensorFlow Serving release cannot run the written SavedModel; nothing was published."""


class VerificationError(ExportError):
    """The written SavedModel differs from its reference; nothing was published.

    ``mismatches`` holds one line for each output that differs.
    """

    def __init__(self, message: str, mismatches: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.mismatches = mismatches


def first_line(error: BaseException) -> str:
    """What an error of a library says, in one line, for a message of our own."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextmanager
def os_errors_as(kind: type[ExportError], what: str) -> Iterator[None]:
    """Turn an OSError into an error of ours: what was tried, and the system's reason."""
    try:
        yield
    except OSError as error:
        raise kind(f"{what}: {error.strerror or error}") from error
