"""Shared by the commands: the parser, types of arguments, output files, and the progress bar."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from .inputs import InputError

__all__ = [
    "OneLineParser",
    "between",
    "check_output",
    "choice",
    "command",
    "distinct",
    "names",
    "option",
    "output",
    "positive",
    "progress",
    "seed",
    "tell_written",
    "write_json",
]


def command(commands: Any, name: str, purpose: str, description: str, epilog: str = "") -> Any:
    """Add a command to the commands of a program, with its texts unchanged."""
    return commands.add_parser(
        name, help=purpose, description=description, epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip


def tell_written(console: Console, *paths: str | None) -> None:
    """Print the names of the files that were written; None stands for a file not requested."""
    for path in filter(None, paths):
        console.print(f"written: {path}", markup=False, style="dim", soft_wrap=True)


class OneLineParser(argparse.ArgumentParser):
    """A parser whose error message is one line."""

    def error(self, message: str) -> NoReturn:
        """Print the message, and exit with status 2."""
        self.exit(2, f"{self.prog}: error: {message} (see --help)\n")


def _whole(least: int, complaint: str) -> Callable[[str], int]:
    """Make a parser of whole numbers of at least `least`."""

    def parse(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{text} is {complaint}")
        return value

    parse.__name__ = "whole number"  # as argparse calls it in its message
    return parse


positive = _whole(1, "not a positive number")
seed = _whole(0, "negative")


def names(text: str) -> list[str]:
    """Names separated by commas."""
    found = [name for name in (part.strip() for part in text.split(",")) if name]
    if not found:
        raise argparse.ArgumentTypeError("names nothing")
    return found


def names_from(allowed: Iterable[str]) -> Callable[[str], list[str]]:
    """Make a parser of names separated by commas, from those allowed; ``all`` stands for all."""
    allowed = list(allowed)
    words = [*allowed, "all"]

    def parse(text: str) -> list[str]:
        chosen = []
        for name in names(text):
            if name not in words:
                known = ", ".join(words)
                raise argparse.ArgumentTypeError(f"unknown {name!r}; choose from {known}")
            chosen += [name] if name in allowed else allowed
        return chosen

    return parse


def between(text: str, low: float, high: float, otherwise: str) -> float:
    """Parse a number with ``low <= number < high``; `otherwise` ends the error message."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value < high:
        raise argparse.ArgumentTypeError(f"{text!r} is not {otherwise}")
    return value


def option(group: Any, flag: str, metavar: str, text: str, **more: Any) -> None:
    """Add an option that takes a value."""
    group.add_argument(flag, metavar=metavar, help=text, **more)


def choice(group: Any, flag: str, allowed: Iterable[str], usual: str) -> None:
    """Add a repeatable option that takes some of the allowed names, or all of them."""
    text = f"{', '.join(allowed)} ({usual})"
    option(group, flag, "NAMES", text, action="extend", type=names_from(allowed))


def output(parser: Any, **files: str) -> None:
    """Add an option for each file that a command can write; the text describes its content."""
    group = parser.add_argument_group("where to write")
    for name, text in files.items():
        option(group, f"--{name}", "FILE.png" if name == "plot" else "FILE", text)


def distinct(names: Iterable[str] | None) -> list[str]:
    """The names given to an option of :func:`choice`, without repetitions."""
    return list(dict.fromkeys(names or ()))


def check_output(*paths: str | None) -> None:
    """Check before the work that results can be written; None stands for one not requested.

    Raises
    ------
    InputError
        If a file cannot be written.
    """
    for path in filter(None, paths):
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
    """Write plain data as strict JSON; a path of None is a file not requested."""
    if path is not None:
        text = json.dumps(data, indent=1, allow_nan=False)
        Path(path).write_text(text + "\n", encoding="utf-8")


@contextlib.contextmanager
def progress() -> Iterator[Callable[[int, int | None, str], None]]:
    """Show a progress bar on standard error if that is a terminal, and remove it at the end.

    Yields a function that takes the number done, the number in all, and a text for the next step.
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
