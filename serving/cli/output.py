"""Common output of all commands: errors, JSON, tables, shapes."""

import json
import os
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from rich.text import Text

#: Minimum width of a table column with folded cells, in terminal columns.
_NARROWEST: Final = 12


def print_error(reason: object) -> None:
    """Print the reason for the end of a command on standard error."""
    color = False if os.environ.get("NO_COLOR") else None
    click.echo(f"{click.style('error:', 'red', bold=True)} {printable(str(reason))}", err=True, color=color)


def print_json(value: Any) -> None:
    """Print one JSON document."""
    print_bytes(json.dumps(value, ensure_ascii=False, indent=2))


def print_bytes(line: str) -> None:
    """Print a line for machines: UTF-8 in any locale. Lone surrogates become JSON escapes."""
    click.echo(line.encode("utf-8", "backslashreplace"))


def print_lines(lines: Iterable[str]) -> None:
    """Print lines unchanged: without markup, and without wrapping at the width of the terminal."""
    for line in lines:
        click.echo(printable(line))


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence["str | Text"]], fold: Collection[str] = ()
) -> None:
    """Print a table: at a terminal fitted to its width, elsewhere as aligned columns of plain text.

    Args:
        title: a line above it.
        columns: names of the columns.
        rows: the cells of each row, printed unchanged.
        fold: columns whose cells may continue on the next line. If the other columns are too wide for the terminal,
            the table becomes a list with one line per cell.
    """
    from rich import box
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    console = Console(highlight=False)
    cells = [[Text(printable(cell)) if isinstance(cell, str) else cell for cell in row] for row in rows]
    widths = [max(map(cell_len, (name, *(row[at].plain for row in cells)))) for at, name in enumerate(columns)]
    if not console.is_terminal:
        lines = [columns, *([cell.plain for cell in row] for row in cells)]
        print_lines([title])
        for line in lines:
            padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True))
            click.echo("  ".join(padded).rstrip())
        return
    console.print(Text(printable(title), "bold"), soft_wrap=True)
    needed = sum(
        2 + (min(width, _NARROWEST) if name in fold else width) for name, width in zip(columns, widths, strict=True)
    )
    if needed <= console.width:
        table = Table(*(Column(name, no_wrap=name not in fold, overflow="fold") for name in columns),
                      box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)  # fmt: skip
        for row in cells:
            table.add_row(*row)
        console.print(table)
        return
    for row in cells:
        grid = Table.grid(Column(no_wrap=True, style="bold"), Column(overflow="fold"), padding=(0, 2, 0, 0))
        for name, cell in zip(columns, row, strict=True):
            if cell.plain:
                grid.add_row(name, cell)
        console.print(grid, "", sep="\n")


def shape_of(shape: Sequence[int] | None, names: Sequence[str] = ()) -> str:
    """A shape for people, such as ``[batch, tokens, 384]``, with names for the dimensions of variable size."""
    if shape is None:
        return "any rank"
    names = names if len(names) == len(shape) else ("?",) * len(shape)
    return f"[{', '.join(name if size < 0 else str(size) for size, name in zip(shape, names, strict=True))}]"


def printable(text: str) -> str:
    """Text without control characters, which may occur in names of a damaged file or in a server's message."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in text)
