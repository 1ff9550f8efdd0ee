"""Tables, which every report is made of: for the terminal, for a page, and for a document."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table as Printed
from rich.text import Text

from .markdown import markdown_table

__all__ = ["Cell", "Table"]

STYLES = {"good": "green", "bad": "bold red", "flag": "red", "warning": "yellow", "soft": "dim"}
"""How the kinds of cells look in a terminal; a page has classes of these names."""


class Cell(NamedTuple):
    """Text, and what it says of itself: one of :data:`STYLES`, or nothing."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """A table."""

    head: Sequence[str]
    """The headings."""
    rows: Sequence[Sequence[str | Cell]]
    """Cells, or texts, of each row."""
    title: str = ""
    note: str = ""
    """A line above the table, and one below that."""
    texts: Sequence[int] = (0,)
    """How many columns, from the left, hold text; numbers are aligned to the right."""
    wrapped: Sequence[int] = ()
    """Columns that may be broken into lines, from the right if negative."""
    grouped: bool = False
    """Whether rows that begin alike belong together."""
    total: bool = False
    """Whether the last row sums up the others."""
    widths: Sequence[int] = ()
    """Characters of each column; by default as many as it needs."""

    def _cells(self) -> Iterable[tuple[bool, list[Cell]]]:
        """Rows, and whether each begins a group; a heading that repeats is left out."""
        before = None
        for row in self.rows:
            cells = [cell if isinstance(cell, Cell) else Cell(cell) for cell in row]
            first = not self.grouped or cells[0] != before
            before = cells[0]
            yield first, cells if first else [Cell(""), *cells[1:]]

    def width(self, column: int) -> int:
        """Characters that a column needs."""
        texts = (row[column] for row in self.rows)
        cells = (cell.text if isinstance(cell, Cell) else cell for cell in texts)
        return max(map(len, (self.head[column], *cells)))

    def print(self, console: Console) -> None:
        """Print it."""
        title = Text.assemble((self.title, "bold"), ("\n" + self.note if self.note else "", "dim"))
        table = Printed(
            box=box.SIMPLE_HEAD, title=title if self.title else None, title_justify="left",
            title_style="", pad_edge=False, padding=(0, 1, 0, 0), header_style="bold",
        )  # fmt: skip
        wrapped = [i % len(self.head) for i in self.wrapped]
        for i, name in enumerate(self.head):
            table.add_column(
                name,
                justify="left" if i in self.texts else "right",
                width=self.widths[i] if self.widths else None,
                no_wrap=i not in wrapped,
            )
        for number, (first, cells) in enumerate(self._cells(), 1):
            if (self.grouped and first) or (self.total and number == len(self.rows)):
                table.add_section()
            table.add_row(*(Text(text, style=STYLES.get(kind, "")) for text, kind in cells))
        console.print(table)

    def html(self) -> str:
        """As a part of a page, without title and note."""

        def kinds(column: int, *others: str) -> str:
            found = " ".join(filter(None, ("" if column in self.texts else "number", *others)))
            return f' class="{found}"' if found else ""

        head = "".join(
            f'<th scope="col"{kinds(i)}>{escape(name)}</th>' for i, name in enumerate(self.head)
        )
        body = "".join(
            f"<tr{' class=first' if self.grouped and first else ''}>"
            + "".join(f"<td{kinds(i, c.kind)}>{escape(c.text)}</td>" for i, c in enumerate(cells))
            + "</tr>"
            for first, cells in self._cells()
        )
        return (
            f'<div class="card scroll"><table><thead><tr>{head}</tr></thead>'
            f"<tbody>{body}</tbody></table></div>"
        )

    def markdown(self) -> str:
        """As a part of a document, without title and note; what is bad is bold."""
        cells = ([c if isinstance(c, Cell) else Cell(c) for c in row] for row in self.rows)
        rows = ([f"**{c.text}**" if c.kind == "bad" else c.text for c in row] for row in cells)
        return markdown_table(self.head, list(rows))
