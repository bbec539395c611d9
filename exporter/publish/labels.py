"""``.rawbert/labels.json`` next to models.config: the earlier versions of each label, for ``rawbert rollback``.

::

    {"minilm": {"stable": [4, 3, 1]}}

The newest version is first. models.config has the current version, and a rollback goes to the next one in the list. A
crash between the writing of the two files does no harm, because a promotion writes this file first and a rollback
writes it last: until models.config is written, its version is still in the list.
"""

import copy
import json
from pathlib import Path

from ..errors import ModelConfigError, os_errors_as
from ..scratch import replace

#: Maximum number of rollback steps.
_STEPS = 10


def file_of(config: Path) -> Path:
    """The path of the history of a models.config."""
    return config.parent / ".rawbert" / "labels.json"


class History:
    """The history of a models.config. A process that changes it must hold the lock of models.config.

    Args:
        config: path of models.config.

    Raises:
        ModelConfigError: labels.json cannot be read.
    """

    def __init__(self, config: Path) -> None:
        self.path = file_of(config)
        try:
            with os_errors_as(ModelConfigError, f"{self.path}: cannot be read"):
                text = self.path.read_text(encoding="utf-8") if self.path.exists() else "{}"
            self._lists: dict[str, dict[str, list[int]]] = json.loads(text)
            every = [at for labels in self._lists.values() for versions in labels.values() for at in versions]
            if not all(type(number) is int for number in every):
                raise TypeError("a version is not a whole number")
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ModelConfigError(
                f"{self.path} is damaged ({error}); remove it: it is only the history for `rawbert rollback`"
            ) from error
        self._saved = copy.deepcopy(self._lists)

    def before(self, model: str, label: str, now: int) -> tuple[int, ...]:
        """The versions of a label before its version ``now``, the newest first."""
        versions = self._lists.get(model, {}).get(label, [])
        return tuple(versions[versions.index(now) + 1 :] if now in versions else versions)

    def note(self, model: str, label: str, now: int, before: tuple[int, ...]) -> None:
        """Record the version of a label and its earlier versions, of which the newest :data:`_STEPS` are kept."""
        self._lists.setdefault(model, {})[label] = [now, *before[:_STEPS]]

    def forget(self, model: str, removed: set[int]) -> None:
        """Remove versions from the history of a model's labels, because new versions may get their numbers."""
        for versions in self._lists.get(model, {}).values():
            versions[:] = [number for number in versions if number not in removed]

    def save(self) -> None:
        """Write the file by one rename.

        Raises:
            ModelConfigError: it cannot be written.
        """
        if self._lists != self._saved:
            with os_errors_as(ModelConfigError, f"{self.path}: cannot be written"):
                replace(self.path, json.dumps(self._lists, indent=1, ensure_ascii=False) + "\n")
