"""The command line: ``python -m svdinv_conformance compare``, ``run``, ``bench`` and ``gpu``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console

from . import gpu
from .arguments import OneLineParser
from .bench import command as bench_command
from .compare import command as compare_command
from .inputs import InputError
from .interrupt import INTERRUPTED, end_on_interrupt
from .suite import command as suite_command

__all__ = ["main"]

PIPE_WIDTH = 132
"""Columns of the table when it does not go to a terminal."""

COMMANDS = {"compare": compare_command, "run": suite_command, "bench": bench_command}


def _build_parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="svdinv_conformance",
        description="Check gradients through the singular value decomposition.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in (*COMMANDS.values(), gpu):
        command.add_parser(commands)
    return parser


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPE_WIDTH)


def _execute(options: argparse.Namespace, parser: argparse.ArgumentParser, console: Console) -> int:
    if options.command == "gpu":
        return gpu.execute(
            options, console, lambda given, to: _execute(parser.parse_args(given), parser, to)
        )
    status: int = COMMANDS[options.command].execute(options, console)
    return status


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status.

    Parameters
    ----------
    arguments
        Without the program's name; by default those of the process.
    """
    parser = _build_parser()
    try:
        options = parser.parse_args(arguments)
        return _execute(options, parser, _console())
    except InputError as error:
        print(f"{parser.prog} {options.command}: error: {error}", file=sys.stderr)
        return 2
    except MemoryError as error:
        reason = str(error).rstrip(".") or "it asked for more than there is"
        print(f"{parser.prog} {options.command}: error: out of memory ({reason})", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    end_on_interrupt()
    sys.exit(main())
