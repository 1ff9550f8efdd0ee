"""Markdown tables, and documents in which what stands between two marks is written by a program."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from .inputs import InputError, read_text

__all__ = ["around_marks", "markdown_table", "write_between"]


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out a table; it ends without a new line."""
    first, *others = (f"| {' | '.join(line)} |" for line in (head, *rows))
    return "\n".join([first, "|---" * len(head) + "|", *others])


def around_marks(path: str | Path, start: str, stop: str) -> tuple[str, str]:
    """Read what stands before and after the two marks of a document, and may be kept.

    Raises
    ------
    InputError
        If the document cannot be read or has no such marks.
    """
    document = read_text(path)
    before, begin, rest = document.partition(start)
    _, end, after = rest.partition(stop)
    if not begin or not end:
        raise InputError(f"{path}: has no line {start!r} followed by {stop!r}")
    return before, after


def write_between(path: str | Path, text: str, start: str, stop: str) -> None:
    """Put a text between the two marks of a document; errors as in :func:`around_marks`."""
    before, after = around_marks(path, start, stop)
    try:
        Path(path).write_text(f"{before}{start}\n\n{text}\n{stop}{after}", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None
