"""Which columns of an input are read: the text's, and those that are kept."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from . import BadFile

#: Names that an output has itself.
TAKEN = ("text", "embedding")
#: No such field.
MISSING: Any = object()


@dataclass
class Columns:
    """What was asked for, held to what the files have.

    Args:
        text: field or column of the text; ``a.b`` is ``b`` in ``a``, where no field has that very name. ``None`` where
            all that is read is kept.
        keep: further ones to carry along, likewise; an object of JSONL may lack them.
        keep_all: carry all.
        taken: names that the output has itself.
        options: the command's options by the names that were given with them, where they are not ``--column`` and
            ``--keep``.
    """

    text: str | None = "text"
    keep: tuple[str, ...] = ()
    keep_all: bool = False
    taken: tuple[str, ...] = TAKEN
    options: Mapping[str, str] = field(default_factory=dict)
    #: Those of the files that were read, where they have a header or a schema.
    header: list[str] = field(default_factory=list)
    #: Asked for, and found in no object yet; with names that were found.
    _unseen: set[str] = field(default_factory=set)
    _names: dict[str, None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._free(self.keep)
        self._unseen = set(self.keep)

    @property
    def any_kept(self) -> bool:
        """Whether anything is carried along."""
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
            file: its name.
            names: its columns.
            hint: what may be wrong where one is not there.
            inside, children: as :func:`path_of` takes them, where columns have fields.

        Raises:
            BadFile: one is not there, or twice; with ``keep_all``, they are not those of the files before it.
        """
        twice = [name for name in names if names.count(name) > 1 and (name or self.keep_all)]
        if twice:
            raise BadFile(f"{file}, line 1: the column {twice[0]!r} is named twice")
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
                f"{file} has the columns {', '.join(names)}, and a file before it {', '.join(self.header)}: "
                f"name those to keep"
            )
        return self.header

    def of_object(self, fields: dict[str, Any]) -> dict[str, Any]:
        """What is kept of an object of JSONL."""
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
        """See that each of those asked for was in some object, once all were read.

        Raises:
            BadFile: one was in none.
        """
        for name in self._unseen if self._names else ():
            raise BadFile(f"no line has the field {name!r}; see {self.option(name)}{nearest(name, self._names)}")

    def option(self, name: str) -> str:
        """The option by which a column was named."""
        return self.options.get(name, "--column" if name == self.text else "--keep")

    def _free(self, names: Iterable[str]) -> None:
        for name in names:
            if name in self.taken:
                raise BadFile(f"{name!r} cannot be kept: the output has a column {name!r} of its own")


def path_of(
    inside: Mapping[str, Any], name: str, children: Callable[[Any], Any] = lambda value: value
) -> tuple[str, ...] | None:
    """The names on the way to a field with a dotted name; a field of that very name comes first.

    Args:
        inside: fields by name.
        name: such as ``a.b``.
        children: the fields in one of them; anything but a dict where there are none.
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
    """A hint at the name that was perhaps meant."""
    found = get_close_matches(name, list(names), 1)
    return f"; did you mean {found[0]!r}?" if found else ""
