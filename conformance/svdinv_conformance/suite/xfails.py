"""The file of tests that are expected to fail.

It has one id or pattern (``*``, ``?``) per line; ``#`` starts a comment. An id that matches no test
is an error: it has a typo, or is out of date. A test that is named in full but passes is a failure;
under a pattern it may pass.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from ..inputs import InputError, read_text

__all__ = ["Xfails", "read_xfails"]


class Xfails:
    """Which tests are expected to fail.

    Parameters
    ----------
    lines
        Ids and patterns.
    """

    def __init__(self, lines: Iterable[str] = ()) -> None:
        self.entries = [entry for line in lines if (entry := line.partition("#")[0].strip())]

    def unknown(self, ids: Iterable[str]) -> list[str]:
        """Entries that match none of the ids."""
        known = list(ids)
        exact = set(known)
        return [
            entry
            for entry in self.entries
            if entry not in exact and not any(fnmatchcase(i, entry) for i in known)
        ]

    def expects(self, test: str) -> bool:
        """Whether a test is expected to fail."""
        return any(fnmatchcase(test, entry) for entry in self.entries)

    def names(self, test: str) -> bool:
        """Whether a test is named in full, and so has to fail."""
        return test in self.entries


def read_xfails(path: str | Path | None, ids: Iterable[str]) -> Xfails:
    """Read the file, None for none.

    Raises
    ------
    InputError
        If it cannot be read, or an entry matches none of ``ids``.
    """
    if path is None:
        return Xfails()
    xfails = Xfails(read_text(path).splitlines())
    unknown = xfails.unknown(ids)
    if unknown:
        shown = ", ".join(unknown[:3]) + (f" and {len(unknown) - 3} more" * (len(unknown) > 3))
        raise InputError(f"{path}: no such test: {shown}")
    return xfails
