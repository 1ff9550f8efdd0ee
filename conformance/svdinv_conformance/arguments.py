"""What the commands share: parser, kinds of arguments, files to write, and the progress bar."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from .inputs import InputError

__all__ = [
    "OneLineParser",
    "check_output",
    "command",
    "names",
    "names_from",
    "positive",
    "progress",
    "seed",
    "tell_written",
    "write_json",
]


def command(commands: Any, name: str, purpose: str, description: str, epilog: str = "") -> Any:
    """Add a command to a program's, with its texts as they are."""
    return commands.add_parser(
        name, help=purpose, description=description, epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip


def tell_written(console: Console, *paths: str | None) -> None:
    """Name the files that were written; None for one that was not asked for."""
    for path in filter(None, paths):
        console.print(f"written: {path}", markup=False, style="dim", soft_wrap=True)


class OneLineParser(argparse.ArgumentParser):
    """A parser that complains in one line."""

    def error(self, message: str) -> NoReturn:
        """Complain, and exit with status 2."""
        self.exit(2, f"{self.prog}: error: {message} (see --help)\n")


def positive(text: str) -> int:
    """A whole number from 1 upwards."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def seed(text: str) -> int:
    """A whole number from 0 upwards."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return value


positive.__name__ = seed.__name__ = "whole number"  # as argparse calls it in its message


def names(text: str) -> list[str]:
    """Names separated by commas."""
    found = [name for name in (part.strip() for part in text.split(",")) if name]
    if not found:
        raise argparse.ArgumentTypeError("names nothing")
    return found


def names_from(allowed: Iterable[str], *, with_all: bool = False) -> Callable[[str], list[str]]:
    """Names separated by commas, each one of some; with ``all`` for all of these."""
    allowed = list(allowed)
    words = [*allowed, "all"] if with_all else allowed

    def parse(text: str) -> list[str]:
        chosen = []
        for name in names(text):
            if name not in words:
                known = ", ".join(words)
                raise argparse.ArgumentTypeError(f"unknown {name!r}; choose from {known}")
            chosen += [name] if name in allowed else allowed
        return chosen

    return parse


def check_output(path: str | None) -> None:
    """Find out before the work whether a result can be written.

    Raises
    ------
    InputError
        If it cannot.
    """
    if path is None:
        return
    target = Path(path)
    if target.is_dir():
        raise InputError(f"{path}: is a folder")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("ab"):
            pass
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None


def write_json(path: str | None, data: Any) -> None:
    """Write plain data as strict JSON, None for a file that was not asked for."""
    if path is not None:
        text = json.dumps(data, indent=1, allow_nan=False)
        Path(path).write_text(text + "\n", encoding="utf-8")


@contextlib.contextmanager
def progress() -> Iterator[Callable[[int, int | None, str], None]]:
    """A bar on standard error, which leaves nothing behind; none where that is no terminal.

    Gives what is told the number done, the number in all, and what comes next.
    """
    errors = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=errors,
        transient=True,
        disable=not errors.is_terminal,
    )
    with bar:
        task = bar.add_task("starting", total=None)
        yield lambda done, total, text: bar.update(
            task, completed=done, total=total, description=text
        )
