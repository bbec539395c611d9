"""Complete states of a run on disk, from which a killed run continues."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import scratch
from ..errors import CorruptSource, OutputError, os_errors_as

_STATE = "state"


def save(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file by one rename.

    Raises:
        OutputError: it cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    new = scratch.unfinished(path)
    with os_errors_as(OutputError, f"{path}: cannot be written"):
        path.parent.mkdir(exist_ok=True)
        try:
            save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, new, dict(metadata))
            mask = os.umask(0)  # the only way to read it
            os.umask(mask)
            new.chmod(0o666 & ~mask)  # the library's files are readable only for this user
            with new.open("rb") as stream:
                os.fsync(stream.fileno())
            os.replace(new, path)
        except SafetensorError as error:  # contains the system's error
            raise OutputError(
                f"{path}: cannot be written: {error}; make room, and run the same command again"
            ) from error
        finally:
            new.unlink(missing_ok=True)


def keep(path: Path, tensors: Mapping[str, np.ndarray], state: Mapping[str, Any]) -> None:
    """Write a state of training; see :func:`load`."""
    save(path, tensors, {_STATE: json.dumps(state)})


def load(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """The tensors and facts that :func:`keep` wrote; ``None`` if the file does not exist.

    Raises:
        CorruptSource: the file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, "np") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()[_STATE])  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        raise CorruptSource(f"{path}: not a state of training ({error}); start again with --restart") from error
