"""The columns of an input to read: the text, and the kept columns."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from . import BadFile

#: Names of the output's own columns.
TAKEN = ("text", "embedding")
#: No such field.
MISSING: Any = object()


@dataclass
class Columns:
    """The requested columns, checked against those of the files.

    Args:
        text: field or column of the text; ``a.b`` is ``b`` in ``a``, unless a field has that exact name. ``None`` to
            read only kept columns.
        keep: further columns to copy to the output, likewise; an object of JSONL may lack them.
        keep_all: copy all columns.
        taken: names of the output's own columns.
        options: column name -> the command's option that named it, if not ``--column`` or ``--keep``.
    """

    text: str | None = "text"
    keep: tuple[str, ...] = ()
    keep_all: bool = False
    taken: tuple[str, ...] = TAKEN
    options: Mapping[str, str] = field(default_factory=dict)
    #: Columns of the files read so far, if they have a header or a schema.
    header: list[str] = field(default_factory=list)
    #: Requested columns that no object had so far, and names that objects had.
    _unseen: set[str] = field(default_factory=set)
    _names: dict[str, None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._free(self.keep)
        self._unseen = set(self.keep)

    @property
    def any_kept(self) -> bool:
        """Whether any column is kept."""
        return self.keep_all or bool(self.keep)

    def of_header(
        self,
        file: str,
        names: Sequence[str],
        hint: str = "",
        inside: Mapping[str, Any] | None = None,
        children: Callable[[Any], Any] = lambda value: value,
    ) -> list[str]:
        """The columns to keep of a file with a header or a schema.

        Args:
            file: name of the file.
            names: columns of the file.
            hint: addition to the message about a missing column.
            inside, children: arguments of :func:`path_of`, for columns with fields.

        Raises:
            BadFile: a column is missing or occurs twice; with ``keep_all``, the columns differ from an earlier file's.
        """
        twice = [name for name in names if names.count(name) > 1 and (name or self.keep_all)]
        if twice:
            raise BadFile(f"{file}, line 1: the column {twice[0]!r} occurs twice: rename one")
        for name in self.keep if self.text is None else (self.text, *self.keep):
            if path_of(inside or dict.fromkeys(names), name, children) is None:
                listed = ", ".join(names)
                raise BadFile(
                    f"{file} has the columns {listed}, not {name!r}; see {self.option(name)}{nearest(name, names)}"
                    f"{hint}"
                )
        kept = [name for name in names if name != self.text] if self.keep_all else list(self.keep)
        self._free(kept)
        self.header = self.header or kept
        if sorted(kept) != sorted(self.header):
            raise BadFile(
                f"{file} has the columns {', '.join(names)}, but an earlier file {', '.join(self.header)}: "
                f"name the columns to keep with --keep"
            )
        return self.header

    def of_object(self, fields: dict[str, Any]) -> dict[str, Any]:
        """The kept fields of an object of JSONL."""
        if self.keep_all:
            kept = {name: value for name, value in fields.items() if name != self.text}
            self._free(kept)
            return kept
        found = {name: value_of(fields, name) for name in self.keep}
        if self._unseen:
            self._unseen -= {name for name, value in found.items() if value is not MISSING}
            self._names |= dict.fromkeys(fields)
        return {name: None if value is MISSING else value for name, value in found.items()}

    def check(self) -> None:
        """Check, after all rows were read, that each requested field was in some object.

        Raises:
            BadFile: a field was in no object.
        """
        for name in self._unseen if self._names else ():
            raise BadFile(f"no line has the field {name!r}; see {self.option(name)}{nearest(name, self._names)}")

    def option(self, name: str) -> str:
        """The option that named a column."""
        return self.options.get(name, "--column" if name == self.text else "--keep")

    def _free(self, names: Iterable[str]) -> None:
        for name in names:
            if name in self.taken:
                raise BadFile(f"{name!r} cannot be kept: the output has its own column {name!r}; rename yours")


def path_of(
    inside: Mapping[str, Any], name: str, children: Callable[[Any], Any] = lambda value: value
) -> tuple[str, ...] | None:
    """The path of names to a field with a dotted name; a field with that exact name comes first.

    Args:
        inside: fields by name.
        name: such as ``a.b``.
        children: a field's value -> its own fields as a dict; anything else if it has none.
    """
    if not isinstance(inside, Mapping):
        return None
    if name in inside:
        return (name,)
    for at in (at for at, letter in enumerate(name) if letter == "." and name[:at] in inside):
        if rest := path_of(children(inside[name[:at]]), name[at + 1 :], children):
            return (name[:at], *rest)
    return None


def value_of(fields: dict[str, Any], name: str) -> Any:
    """The value of a field, or :data:`MISSING`."""
    value: Any = fields
    for part in path_of(fields, name) or ():
        value = value[part]
    return MISSING if value is fields else value


def nearest(name: str, names: Iterable[str]) -> str:
    """A hint with the most similar name, if there is one."""
    found = get_close_matches(name, list(names), 1)
    return f"; did you mean {found[0]!r}?" if found else ""
