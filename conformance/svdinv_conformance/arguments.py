"""What the commands share: kinds of arguments, and the progress bar."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

__all__ = ["names_from", "positive", "progress_bar", "seed"]


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


def names_from(allowed: Sequence[str]) -> Callable[[str], list[str]]:
    """Names separated by commas, each one of some."""

    def parse(text: str) -> list[str]:
        names = [name.strip() for name in text.split(",")]
        for name in names:
            if name not in allowed:
                known = ", ".join(allowed)
                raise argparse.ArgumentTypeError(f"unknown {name!r}; choose from {known}")
        return names

    return parse


def progress_bar() -> Progress:
    """A bar on standard error, which leaves nothing behind; none where that is no terminal."""
    errors = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=errors,
        transient=True,
        disable=not errors.is_terminal,
    )
