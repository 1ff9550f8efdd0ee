"""What the commands share: parser, kinds of arguments, files to write, and the progress bar."""

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


def _whole(least: int, complaint: str) -> Callable[[str], int]:
    """Whole numbers from the least one upwards."""

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
    """Names separated by commas, each one of some; ``all`` stands for all of these."""
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
    """A number with ``low <= number < high``; what it is not, otherwise."""
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
    """Add an option that takes some of these names, or all of them; repeatable."""
    text = f"{', '.join(allowed)} ({usual})"
    option(group, flag, "NAMES", text, action="extend", type=names_from(allowed))


def output(parser: Any, **files: str) -> None:
    """Add an option for each file that a command can write, with what stands in it."""
    group = parser.add_argument_group("where to write")
    for name, text in files.items():
        option(group, f"--{name}", "FILE.png" if name == "plot" else "FILE", text)


def distinct(names: Iterable[str] | None) -> list[str]:
    """What an option of :func:`choice` was given, each once."""
    return list(dict.fromkeys(names or ()))


def check_output(*paths: str | None) -> None:
    """Find out before the work whether results can be written; None for one not asked for.

    Raises
    ------
    InputError
        If it cannot.
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
