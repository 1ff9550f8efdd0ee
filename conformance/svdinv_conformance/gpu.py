"""One report of all tools about the GPU of this machine."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from rich.console import Console

from .arguments import check_output, tell_written
from .frameworks import FRAMEWORKS, UnavailableError, load
from .inputs import InputError

__all__ = ["add_parser", "execute"]

_DESCRIPTION = """\
Run the conformance suite, the comparison with the CPU, and the timings on the GPU of this machine,
in every framework that sees it, and write one page to attach to a report.
"""


def add_parser(commands: Any) -> None:
    """Add the command to a program's commands."""
    sub = commands.add_parser(
        "gpu", help="run, compare and bench on this machine's GPU", description=_DESCRIPTION
    )
    sub.add_argument("--html", metavar="FILE", default="gpu.html", help="the page (gpu.html)")


def _frameworks() -> list[str]:
    """The frameworks that see a GPU.

    Raises
    ------
    InputError
        If there is none, with the message of each framework.
    """
    found, reasons = [], []
    for name in FRAMEWORKS:
        if name in ("numpy", "autograd"):  # these compute on a CPU only
            continue
        try:
            load(name, "cuda")
        except UnavailableError as reason:
            reasons.append(f"{name}: {reason}")
        else:
            found.append(name)
    if not found:
        raise InputError(f"no framework sees a GPU here ({'; '.join(reasons)})")
    return found


def execute(
    options: argparse.Namespace, console: Console, run: Callable[[list[str], Console], int]
) -> int:
    """Run the other commands with `run`, and return the largest exit status."""
    names = _frameworks()
    check_output(options.html)
    recorded = Console(record=True, highlight=False, width=console.width)
    commands = [
        ["run", *(f"svdinv.{name}" for name in names), "--device", "cuda"],
        ["compare", "--framework", ",".join(names), "--device", "cpu,cuda"],
        ["bench", "--framework", ",".join(names), "--device", "cuda"],
    ]
    status = 0
    for command in commands:
        recorded.rule(" ".join(command))
        status = max(status, run(command, recorded))
    recorded.save_html(options.html)
    tell_written(console, options.html)
    return status
