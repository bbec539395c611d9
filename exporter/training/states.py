"""Tensors and facts on disk that are whole or not there: what a killed run continues from."""

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
            mask = os.umask(0)  # there is no other way to ask for it
            os.umask(mask)
            new.chmod(0o666 & ~mask)  # the library's own is for this user alone
            with new.open("rb") as stream:
                os.fsync(stream.fileno())
            os.replace(new, path)
        except SafetensorError as error:  # in which the library puts what the system says
            raise OutputError(
                f"{path}: cannot be written: {error}; make room, and run the same command again"
            ) from error
        finally:
            new.unlink(missing_ok=True)


def keep(path: Path, tensors: Mapping[str, np.ndarray], state: Mapping[str, Any]) -> None:
    """Write a state of training; see :func:`load`."""
    save(path, tensors, {_STATE: json.dumps(state)})


def load(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """The tensors and facts that :func:`keep` wrote; ``None`` where there is no such file.

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
