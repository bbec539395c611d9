"""``models.config`` next to the models: the models that a server loads, and the version of each label.

The file is TensorFlow Serving's (``--model_config_file``), and people edit it too. A change is made to the parsed
message, which is printed by protobuf with one field per line: lines that are already in this form stay unchanged, and
every comment stays with its line (:func:`_with_comments`). The file is replaced by one rename, under a lock
(``.models.config.lock``).

A model with labels gets the version policy ``all``, unless it has one already. Under it every version on disk is
loaded, and a label can be moved to any of them at once. (TensorFlow Serving checks the labels of a new configuration
before it applies the policy. If a label moves to a version that is not loaded yet, the server refuses the whole
configuration, including the policy that would load the version, and does so at every attempt.) ``rawbert prune`` limits
the cost.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from google.protobuf import text_format

from ...serving.wire.protos import ModelServerConfig
from .. import scratch
from ..errors import ModelConfigError, os_errors_as
from ..scratch import replace, unfinished
from . import labels

FILE = "models.config"
#: Folder of the models in TensorFlow Serving's images and in docker-compose.yml.
SERVED_FROM = "/models"

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_HEAD = "# Models that TensorFlow Serving loads (--model_config_file). Maintained by rawbert; your comments are kept.\n"


@dataclass(frozen=True)
class Entry:
    """A model in the file.

    Attributes:
        name: its name for clients.
        base_path: folder of the versions, as the server sees it.
        has_policy: whether a version policy is chosen; without one the newest version is loaded.
        policy: ``latest``, ``all`` or ``specific``.
        count: number of versions of the policy ``latest``.
        specific: versions of the policy ``specific``.
        labels: version by label.
    """

    name: str
    base_path: str
    has_policy: bool
    policy: str
    count: int
    specific: tuple[int, ...]
    labels: dict[str, int]

    @property
    def folder_name(self) -> str:
        """The last part of the base path; the rest may be a path in a container."""
        return PurePosixPath(self.base_path).name

    def loads(self, present: list[int]) -> set[int]:
        """The versions on disk that the policy loads."""
        if self.policy == "all":
            return set(present)
        if self.policy == "specific":
            return set(present) & set(self.specific)
        return set(sorted(present)[-self.count :])


class ModelsConfig:
    """A models.config, and changes of it.

    Raises:
        ModelConfigError: it cannot be parsed, or TensorFlow Serving would refuse it.
    """

    def __init__(self, path: Path, text: str) -> None:
        self.path, self._text = path, text
        try:
            self._message = text_format.Parse(text, ModelServerConfig())
        except (text_format.ParseError, ValueError, RecursionError) as error:
            raise ModelConfigError(f"{path} is not a ModelServerConfig; correct it: {error}") from error
        for name, count in Counter(entry.name for entry in self.entries()).items():
            if count > 1:
                raise ModelConfigError(
                    f"{path} lists the model {name} more than once, which TensorFlow Serving refuses: remove one"
                )

    @cached_property
    def history(self) -> labels.History:
        """The earlier versions of the labels."""
        return labels.History(self.path)

    @property
    def text(self) -> str:
        """The text that :meth:`save` writes."""
        return _with_comments(text_format.MessageToString(self._message, as_utf8=True), self._text or _HEAD)

    def entries(self) -> list[Entry]:
        """All models, in the file's order."""
        return [_entry(config) for config in self._message.model_config_list.config]

    def find(self, model: str) -> Entry | None:
        """The entry of a model name."""
        return next((entry for entry in self.entries() if entry.name == model), None)

    def add(self, name: str, base_path: str) -> Entry:
        """Append a model.

        Raises:
            ModelConfigError: the file has a custom_model_config, to which no model can be added.
        """
        if self._message.HasField("custom_model_config"):
            raise ModelConfigError(
                f"{self.path} has a custom_model_config: use a model_config_list, to which rawbert can add models"
            )
        models = self._message.model_config_list.config
        return _entry(models.add(name=name, base_path=base_path, model_platform="tensorflow"))

    def label(self, model: str, label: str, version: int) -> None:
        """Point a label to a version; a model without a policy gets the policy ``all``.

        Raises:
            ModelConfigError: a label that cannot be written.
        """
        if not _LABEL.fullmatch(label):
            raise ModelConfigError(f"{label!r} is not a label: use letters, digits, '.', '_' and '-'")
        config = self._config(model)
        config.version_labels[label] = version
        if not _entry(config).has_policy:
            config.model_version_policy.all.SetInParent()

    def keep_loaded(self, model: str, present: list[int]) -> bool:
        """Widen a ``latest`` policy so that it loads all labelled versions of ``present``; returns whether it
        changed."""
        config = self._config(model)
        entry = _entry(config)
        lost = set(entry.labels.values()) & set(present) - entry.loads(present)
        if not lost or entry.policy != "latest":
            return False
        config.model_version_policy.latest.num_versions = sum(number >= min(lost) for number in present)
        return True

    def load_only(self, model: str, versions: Iterable[int]) -> None:
        """Set the policy ``specific``: servers load these versions, and ignore all others."""
        self._config(model).model_version_policy.specific.versions[:] = sorted(versions)

    def save(self) -> None:
        """Write the file by one rename.

        Raises:
            ModelConfigError: it cannot be written.
        """
        with os_errors_as(ModelConfigError, f"{self.path}: cannot be written"):
            replace(self.path, self.text)

    def _config(self, model: str) -> Any:
        return next(config for config in self._message.model_config_list.config if config.name == model)


def _entry(config: Any) -> Entry:
    policy = config.model_version_policy
    choice = policy.WhichOneof("policy_choice")
    return Entry(
        name=config.name,
        base_path=config.base_path,
        has_policy=choice is not None,
        policy=choice or "latest",
        count=max(1, policy.latest.num_versions),  # TensorFlow Serving treats 0 as 1
        specific=tuple(policy.specific.versions),
        labels=dict(sorted(config.version_labels.items())),
    )


#: Code and comment of a line; a # within a string does not begin a comment.
_LINE = re.compile(r"""((?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[^#])*)(#.*)?""")


def _with_comments(printed: str, written: str) -> str:
    """The printed form of a message, with the comments of the written text.

    The lines with code are aligned as in a diff. A line with equal code stays as it was written, with indentation and
    comment. Comments above or after a changed or removed line stay at their place.
    """
    old = []  # for each line with code: the lines above it, its text, code and comment
    above: list[str] = []
    for text in written.split("\n"):
        code, comment = _LINE.findall(text)[0]
        if code.strip():
            old.append((above, text, code.strip(), comment))
            above = []
        else:
            above.append(text)
    if not old:
        return f"{written.rstrip()}\n{printed}"
    new = printed.split("\n")[:-1]
    made: list[str] = []
    matcher = SequenceMatcher(None, [code for _, _, code, _ in old], [line.strip() for line in new])
    for tag, old_start, old_end, new_start, new_end in matcher.get_opcodes():
        replacing = new[new_start:new_end]
        for comments, text, _, comment in old[old_start:old_end]:
            code = replacing.pop(0) if replacing else ""
            made += comments
            if tag == "equal":
                made.append(text)
            elif code or comment:
                made.append(f"{code}  {comment}".rstrip())
        made += replacing
    return "\n".join([*made, *above])


def read(path: Path) -> ModelsConfig:
    """The contents of the file; without models if the file does not exist.

    Raises:
        ModelConfigError: it cannot be read or parsed.
    """
    try:
        return ModelsConfig(path, path.read_text(encoding="utf-8") if path.exists() else "")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelConfigError(f"{path}: cannot be read: {error}") from error


@contextmanager
def locked(path: Path) -> Iterator[ModelsConfig]:
    """The file, locked for this process; :meth:`ModelsConfig.save` writes it.

    Raises:
        ModelConfigError: it cannot be read, parsed or locked.
    """
    with ExitStack() as stack:
        with os_errors_as(ModelConfigError, f"{path}: cannot be locked"):
            stack.enter_context(scratch.locked(path.with_name(f".{path.name}.lock")))
        for file in (path, labels.file_of(path)):
            with suppress(OSError):
                unfinished(file).unlink()  # left by a killed process
        yield read(path)
