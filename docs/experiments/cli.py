"""The command line: a command for each experiment, and one for the page."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from svdinv_conformance.arguments import OneLineParser, positive

from . import data, report, results
from .registry import EXPERIMENTS

__all__ = ["main"]


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="experiments",
        description="The paper's experiments with svdinv. Without --data and --test every "
        "command runs on what pip brings; named sets are found under $SVDINV_DATA.",
    )
    parser.add_argument("--threads", type=positive, default=1, help="of PyTorch (%(default)s)")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for experiment in EXPERIMENTS:
        command = subparsers.add_parser(experiment.NAME, help=experiment.HELP)
        experiment.add_arguments(command)
        command.set_defaults(run=experiment.run)
    command = subparsers.add_parser("report", help="the result page from the result files")
    command.add_argument("--results", type=Path, default=results.FOLDER, help="their folder")
    command.add_argument("--page", type=Path, default=report.PAGE)
    command.add_argument("--images", type=Path, default=report.IMAGES, help="folder of the figures")
    command.set_defaults(run=_report)
    return parser


def _report(options: argparse.Namespace) -> str:
    if not any(options.results.glob("*.json")):
        raise ValueError(f"no result files in {options.results}")
    written = report.draw(options.results, options.images)
    options.page.write_text(report.page(options.results), encoding="utf-8")
    return "\n".join(map(str, [*written, options.page]))


def _make_folders(options: argparse.Namespace) -> None:
    """Those of the files to write: find out before the work whether they can be had."""
    if "out" in options:
        options.out.mkdir(parents=True, exist_ok=True)
    for file in ("picture", "checkpoint", "page"):
        path = getattr(options, file, None)
        if path is not None and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status: 0, 2 for bad input, 130 after Ctrl-C."""
    options = _parser().parse_args(argv)
    torch.set_num_threads(options.threads)
    try:
        _make_folders(options)
        print(options.run(options))
    except (data.DataError, ValueError, ImportError, MemoryError) as error:
        print(f"experiments {options.command}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        where = f"{error.filename}: " if error.filename is not None else ""
        print(f"experiments {options.command}: {where}{error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        resumes = getattr(options, "checkpoint", None) is not None and "resume" in options
        more = "; --resume goes on from the last checkpoint" if resumes else ""
        print(f"interrupted{more}", file=sys.stderr)
        return 130
    return 0
