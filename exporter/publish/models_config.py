"""``models.config`` beside the models: which of them a server loads, and which version each label means.

The file is TensorFlow Serving's (``--model_config_file``), and people write into it too. So a change touches the span
that it is about and nothing else, its outcome is parsed again and must mean what was intended, and the file is
replaced by one rename, under a lock (``.models.config.lock``).

A model with labels gets the version policy ``all``, unless it has one already. Under it every version on disk is
loaded, and a label can be moved to any of them at once. (TensorFlow Serving checks the labels of a new configuration
before it looks at its policy: a label that moves to a version which is not loaded yet is refused together with the
policy that would have it loaded, for ever.) ``rawbert prune`` bounds what that costs.

Where a label was before stands in a comment behind it, newest first: ``# rawbert: before 2 1``.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from google.protobuf import text_format

from ...serving.wire.protos import ModelServerConfig
from ..errors import ModelConfigError
from ..locks import FileLock
from . import textproto

__all__ = ["FILE", "SERVED_FROM", "Entry", "ModelConfig", "locked", "read"]

FILE = "models.config"
#: Where TensorFlow Serving's images, and docker-compose.yml, have the models.
SERVED_FROM = "/models"

_BEFORE = re.compile(r"[ \t]*# rawbert: before((?: [0-9]+)*)[ \t]*")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
#: Steps that a rollback can go back.
_STEPS = 10
_HEAD = "# Models that TensorFlow Serving loads (--model_config_file). Maintained by rawbert; what you add is kept.\n"


@dataclass(frozen=True)
class Entry:
    """A model in the file.

    Attributes:
        name: its name for clients.
        base_path: where the server looks for versions.
        has_policy: whether a version policy is written down; without one the newest version is loaded.
        policy: ``latest``, ``all`` or ``specific``.
        count: with ``latest``, how many versions.
        specific: with ``specific``, which versions.
        labels: version by label.
        before: earlier versions of each label, newest first.
    """

    name: str
    base_path: str
    has_policy: bool
    policy: str
    count: int
    specific: tuple[int, ...]
    labels: dict[str, int]
    before: dict[str, tuple[int, ...]]

    def loads(self, present: list[int]) -> set[int]:
        """Versions of those on disk that the policy has loaded."""
        if self.policy == "all":
            return set(present)
        if self.policy == "specific":
            return set(present) & set(self.specific)
        return set(sorted(present)[-self.count :])


class ModelConfig:
    """The text of a models.config, and changes of it.

    Raises:
        ModelConfigError: it cannot be parsed.
    """

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text = path, text
        self._message = self._parse(text)

    def entries(self) -> list[Entry]:
        """All models, in the file's order."""
        fields = self._fields()
        return [
            self._entry(config, field)
            for config, field in zip(self._message.model_config_list.config, fields, strict=True)
        ]

    def find(self, model: str) -> Entry | None:
        """The entry of a model name."""
        return next((entry for entry in self.entries() if entry.name == model), None)

    def missing(self) -> list[Entry]:
        """Models whose folder is gone, of those that belong beside the file.

        One of them is enough for TensorFlow Serving to load no new version of any model: it ends its look at the base
        paths at the first that it does not find.
        """
        folder = self.path.parent
        beside = [(entry, (folder / PurePosixPath(entry.base_path).name).is_dir()) for entry in self.entries()]
        roots = {PurePosixPath(entry.base_path).parent for entry, is_there in beside if is_there}
        return [
            entry
            for entry, is_there in beside
            if not is_there and PurePosixPath(entry.base_path).parent in roots and not Path(entry.base_path).is_dir()
        ]

    def add(self, name: str, base_path: str) -> None:
        """Append a model.

        Raises:
            ModelConfigError: the name is there already, or the file is of a kind to which nothing can be added.
        """
        if self.find(name) is not None:
            raise ModelConfigError(f"{self.path}: the model {name} is there already")
        if self._message.HasField("custom_model_config"):
            raise ModelConfigError(f"{self.path} holds a custom_model_config, which rawbert does not change")
        wanted = ModelServerConfig()
        wanted.CopyFrom(self._message)
        wanted.model_config_list.config.add(name=name, base_path=base_path, model_platform="tensorflow")
        lines = (
            "  config {",
            f"    name: {_quoted(name)}",
            f"    base_path: {_quoted(base_path)}",
            '    model_platform: "tensorflow"',
            "  }",
        )
        block = "".join(f"{line}\n" for line in lines)
        lists = list(textproto.parse(self.text).get("model_config_list"))
        if lists:
            text = self._inserted(lists[-1].value, block)
        else:
            text = f"{self.text or _HEAD}model_config_list {{\n{block}}}\n"
        self._replace(text, wanted)

    def label(self, model: str, label: str, version: int, before: tuple[int, ...]) -> None:
        """Point a label to a version, note where it was before, and have all versions loaded where no policy is set.

        Raises:
            ModelConfigError: no such model, or a label that cannot be written.
        """
        if not _LABEL.fullmatch(label):
            raise ModelConfigError(f"{label!r} is no label: letters, digits, '.', '_' and '-' make one")
        at, _ = self._index(model)
        wanted = ModelServerConfig()
        wanted.CopyFrom(self._message)
        config = wanted.model_config_list.config[at]
        had_policy = config.HasField("model_version_policy")
        config.version_labels[label] = version
        note = "  # rawbert: before" + "".join(f" {each}" for each in before[:_STEPS]) if before else ""
        field = self._fields()[at]
        found = self._label_field(field, label)
        if found is not None:
            value = next(found.get("value"), None)
            if value is None:  # 0 may be left out
                text = self.text[: found.value[1]] + f" value: {version} " + self.text[found.value[1] :]
            else:
                text = self.text[: value.value[0]] + str(version) + self.text[value.value[1] :]
            end = found.end + len(text) - len(self.text)
            stop = _BEFORE.match(text, end)
            rest = text[stop.end() if stop else end :]
            # Something else on the line would be commented out.
            line_ends = not rest or rest.startswith("\n") or stop is not None or not note
            text = text[:end] + note + ("" if line_ends else "\n") + rest
        else:
            key = _quoted(label)
            line = f"    version_labels {{ key: {key} value: {version} }}{note}\n"
            text = self._inserted(field.value, line)
        if not had_policy:
            config.model_version_policy.all.SetInParent()
            field = _configs(text)[at]
            text = self._inserted(field.value, "    model_version_policy { all {} }\n", text)
        self._replace(text, wanted)

    def forget(self, model: str, versions: set[int]) -> None:
        """Take removed versions out of the list of a ``specific`` policy, and out of what labels were before.

        Raises:
            ModelConfigError: no such model.
        """
        at, entry = self._index(model)
        wanted = ModelServerConfig()
        wanted.CopyFrom(self._message)
        config = wanted.model_config_list.config[at]
        text = self.text
        kept = [number for number in entry.specific if number not in versions]
        if len(kept) < len(entry.specific):
            specific = config.model_version_policy.specific
            del specific.versions[:]
            specific.versions.extend(kept)
            (policy,) = self._fields()[at].get("model_version_policy")
            listed = next(policy.get("specific"))
            inner = " ".join(f"versions: {number}" for number in kept)
            text = text[: listed.value[0]] + f" {inner} " + text[listed.value[1] :]
        self._replace(text, wanted)
        for label, numbers in self.entries()[at].before.items():
            if versions & set(numbers):
                left = tuple(number for number in numbers if number not in versions)
                self.label(model, label, entry.labels[label], left)

    def keep_loaded(self, model: str, present: list[int]) -> list[int]:
        """Have a ``latest`` policy load all labelled versions still, once ``present`` is what lies on disk.

        Returns:
            The labelled versions that it would have dropped.
        """
        at, entry = self._index(model)
        lost = sorted(set(entry.labels.values()) & set(present) - entry.loads(present))
        if lost and entry.policy == "latest":
            wanted = ModelServerConfig()
            wanted.CopyFrom(self._message)
            count = sum(number >= lost[0] for number in present)
            wanted.model_config_list.config[at].model_version_policy.latest.num_versions = count
            (policy,) = self._fields()[at].get("model_version_policy")
            latest = next(policy.get("latest"))
            text = self.text[: latest.value[0]] + f" num_versions: {count} " + self.text[latest.value[1] :]
            self._replace(text, wanted)
            return lost
        return []

    def save(self) -> None:
        """Write the file by one rename.

        Raises:
            ModelConfigError: it cannot be written.
        """
        # Beside the file that is meant: a link to it stays one.
        target = Path(os.path.realpath(self.path))
        scratch = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
        try:
            mode = target.stat().st_mode & 0o777 if target.exists() else None
            with scratch.open("w", encoding="utf-8", newline="") as stream:
                stream.write(self.text)
                stream.flush()
                os.fsync(stream.fileno())
            if mode is not None:
                scratch.chmod(mode)
            os.replace(scratch, target)
        except OSError as error:
            with suppress(OSError):
                scratch.unlink()
            raise ModelConfigError(f"{self.path}: cannot be written: {error.strerror or error}") from error

    def _index(self, model: str) -> tuple[int, Entry]:
        for at, entry in enumerate(self.entries()):
            if entry.name == model:
                return at, entry
        raise ModelConfigError(f"{self.path} has no model {model}")

    def _fields(self) -> list[textproto.Field]:
        return _configs(self.text)

    def _entry(self, config: Any, field: textproto.Field) -> Entry:
        policy = config.model_version_policy
        choice = policy.WhichOneof("policy_choice") or "latest"
        before = {}
        for label in config.version_labels:
            found = self._label_field(field, label)
            note = _BEFORE.match(self.text, found.end) if found is not None else None
            before[label] = tuple(map(int, note.group(1).split())) if note else ()
        return Entry(
            name=config.name,
            base_path=config.base_path,
            has_policy=config.HasField("model_version_policy"),
            policy=choice,
            count=max(1, policy.latest.num_versions),
            specific=tuple(policy.specific.versions),
            labels=dict(sorted(config.version_labels.items())),
            before=before,
        )

    def _label_field(self, field: textproto.Field, label: str) -> textproto.Field | None:
        found = None
        for each in field.get("version_labels"):
            key = next(each.get("key"), None)
            if key is not None and self._string(key) == label:
                found = each  # of two the last counts
        return found

    def _string(self, field: textproto.Field) -> str:
        literal = self.text[slice(*field.value)]
        message = text_format.Parse(f"name: {literal}", type(ModelServerConfig().model_config_list.config.add())())
        return str(message.name)

    def _inserted(self, span: tuple[int, int], lines: str, text: str | None = None) -> str:
        """Lines in front of a closing brace, which stays on its line."""
        text = self.text if text is None else text
        start = text.rfind("\n", 0, span[1]) + 1
        if start > span[0] and not text[start : span[1]].strip():
            return text[:start] + lines + text[start:]
        return text[: span[1]].rstrip(" \t") + "\n" + lines + text[span[1] :]

    def _replace(self, text: str, wanted: Any) -> None:
        if self._parse(text) != wanted:
            raise ModelConfigError(
                f"{self.path}: it is written in a way that rawbert cannot change without harm; make the change by hand"
            )
        self.text, self._message = text, wanted

    def _parse(self, text: str) -> Any:
        try:
            message = text_format.Parse(text, ModelServerConfig())
            count = len(_configs(text))
        except (text_format.ParseError, ValueError) as error:
            raise ModelConfigError(f"{self.path} is no ModelServerConfig: {error}") from error
        if count != len(message.model_config_list.config):
            raise ModelConfigError(f"{self.path}: its models cannot be told apart; write each as config {{ ... }}")
        return message


def _configs(text: str) -> list[textproto.Field]:
    return [field for each in textproto.parse(text).get("model_config_list") for field in each.get("config")]


def _quoted(value: str) -> str:
    return '"' + text_format.text_encoding.CEscape(value, as_utf8=True) + '"'


def read(path: Path) -> ModelConfig:
    """The file as it stands; without models where it is not there.

    Raises:
        ModelConfigError: it cannot be read or parsed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        text = ""
    except (OSError, UnicodeDecodeError) as error:
        raise ModelConfigError(f"{path}: cannot be read: {error}") from error
    return ModelConfig(path, text)


@contextmanager
def locked(path: Path) -> Iterator[ModelConfig]:
    """The file, held so that no other rawbert changes it meanwhile; :meth:`ModelConfig.save` writes it.

    Raises:
        ModelConfigError: it cannot be read, parsed or locked.
    """
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire()
    except OSError as error:
        raise ModelConfigError(f"{path}: cannot be locked: {error.strerror or error}") from error
    try:
        for left in path.parent.glob(f".{path.name}.{'[0-9a-f]' * 16}"):
            with suppress(OSError):
                left.unlink()  # of a process that was killed: whoever writes holds the lock
        yield read(path)
    finally:
        lock.release()
