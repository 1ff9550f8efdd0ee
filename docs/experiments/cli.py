"""The command line: a command for each experiment and each picture, and one for the page."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from svdinv_conformance.arguments import OneLineParser, positive, seed

from . import commands, compressive, data, masks, ports, results, solvers, training
from .commands import IMAGES
from .lowrank import InvWithoutPhase, low_rank_names

__all__ = ["main"]


def _positive_number(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"want more than 0, got {text}")
    return value


_positive_number.__name__ = "number"  # as argparse calls it in its message


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"want a number between 0 and 1, got {text}")
    return value


def _common(parser: argparse.ArgumentParser, name: str) -> None:
    parser.add_argument(
        "--seed", type=seed, default=training.SEED, help="of all that is drawn (%(default)s)"
    )
    parser.add_argument("--name", default=name, help="of the result file (%(default)s)")
    parser.add_argument(
        "--out", type=Path, default=results.FOLDER, help="folder of the result files"
    )


def _picture(parser: argparse.ArgumentParser, name: str) -> None:
    parser.add_argument("--picture", type=Path, default=IMAGES / name, help="PNG file to write")


def _network(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--method",
        choices=[*low_rank_names(), InvWithoutPhase.name],
        default="svt",
        metavar="STEP",
        help=f"low-rank step: {', '.join(low_rank_names())}, {InvWithoutPhase.name} (%(default)s)",
    )
    parser.add_argument(
        "--iterations", type=positive, default=10, help="of ADMM, unrolled (%(default)s)"
    )
    parser.add_argument("--width", type=positive, default=16, help="channels (%(default)s)")


def _training(parser: argparse.ArgumentParser, steps: int, batch: int) -> None:
    _network(parser)
    parser.add_argument("--steps", type=positive, default=steps, help="(%(default)s)")
    parser.add_argument("--batch", type=positive, default=batch, help="(%(default)s)")
    parser.add_argument("--rate", type=_positive_number, default=1e-3, help="of Adam (%(default)s)")
    parser.add_argument(
        "--epoch", type=positive, help="steps after which the rate falls by 5 %% (half cosine)"
    )
    parser.add_argument("--largest", type=_positive_number, help="norm of a gradient (any)")
    parser.add_argument(
        "--smooth", action="store_true", help="begin with a solver that smoothes, not at random"
    )
    parser.add_argument("--start", type=Path, help="checkpoint whose weights to begin with")
    parser.add_argument("--checkpoint", type=Path, help="file to write every minute")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    parser.add_argument(
        "--as-it-is", action="store_true", help="with --resume: no more steps, log and test only"
    )
    parser.add_argument(
        "--stop-at-nonfinite", action="store_true", help="rather than leave that step out"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _weights(parser: argparse.ArgumentParser, weights: list[float]) -> None:
    parser.add_argument(
        "--weights",
        type=_positive_number,
        nargs="+",
        default=weights,
        help="lambda: the best of these on training data is taken (%(default)s)",
    )


def _dynamic_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        default="phantom",
        help=f"{', '.join(data.DYNAMIC_SETS)}, or a folder of .npz or .h5 files (%(default)s)",
    )
    parser.add_argument("--frames", type=positive, default=16, help="(%(default)s)")
    parser.add_argument("--size", type=positive, default=128, help="pixels (%(default)s)")
    parser.add_argument(
        "--slices", type=positive, default=4, help="of a subject, at most (%(default)s)"
    )


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(
        prog="experiments",
        description="The paper's experiments with svdinv. Without --data and --test every "
        "command runs on what pip brings; named sets are found under $SVDINV_DATA.",
    )
    parser.add_argument("--threads", type=positive, default=1, help="of PyTorch (%(default)s)")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    command = subparsers.add_parser("table1", help="gradients of all rules at a gap of 1e-15")
    command.add_argument("--matrices", type=positive, default=1000, help="(%(default)s)")
    _common(command, "table1")
    command.set_defaults(run=commands.run_table1, seed=0)

    command = subparsers.add_parser("colour", help="train the colour network, and test it")
    command.add_argument(
        "--data",
        default="photographs",
        help=f"to train on: {', '.join(data.TRAINING_SETS)}, or a folder (%(default)s)",
    )
    command.add_argument("--images", type=positive, help="at most so many to train on")
    command.add_argument(
        "--test",
        default="photographs",
        help=f"pictures to test on: {', '.join(data.TEST_SETS)}, or a folder (%(default)s)",
    )
    command.add_argument("--no-test", action="store_true", help="train only")
    command.add_argument("--ratio", type=_share, default=0.4, help="of pixels known (%(default)s)")
    command.add_argument(
        "--side", type=int, choices=range(8, 33), default=32, metavar="8..32", help="of the crops"
    )
    command.add_argument(
        "--photographs", type=float, default=0.0, help="share of steps with cuts of photographs"
    )
    command.add_argument("--crop", type=positive, default=64, help="size of those (%(default)s)")
    _training(command, 2000, 128)
    _common(command, "")
    command.set_defaults(run=commands.run_colour)

    command = subparsers.add_parser(
        "gradients", help="error of every low-rank step's gradient in a trained colour network"
    )
    command.add_argument("--checkpoint", type=Path, help="of the network (untrained weights)")
    command.add_argument("--data", default="photographs", help="as for colour (%(default)s)")
    command.add_argument("--ratio", type=_share, default=0.4, help="of pixels known (%(default)s)")
    command.add_argument(
        "--method",
        nargs="+",
        choices=low_rank_names(),
        default=list(low_rank_names()),
        metavar="STEP",
        help="low-rank steps (all)",
    )
    command.add_argument("--batches", type=positive, default=20, help="(%(default)s)")
    command.add_argument("--batch", type=positive, default=8, help="(%(default)s)")
    command.add_argument("--iterations", type=positive, default=10, help="(%(default)s)")
    command.add_argument("--width", type=positive, default=16, help="(%(default)s)")
    _common(command, "gradients")
    command.set_defaults(run=commands.run_gradients)

    command = subparsers.add_parser(
        "colour-classical", help="the untrained solvers on the same pictures"
    )
    command.add_argument("--test", default="photographs", help="as for colour (%(default)s)")
    command.add_argument(
        "--ratio", type=_share, nargs="+", default=list(compressive.RATIOS), help="(the paper's)"
    )
    command.add_argument(
        "--solver", nargs="+", choices=solvers.SOLVERS, default=list(solvers.SOLVERS), help="(both)"
    )
    command.add_argument("--steps", type=positive, default=100, help="(%(default)s)")
    _weights(command, [0.01, 0.03, 0.1, 0.3])
    _common(command, "colour-classical")
    command.set_defaults(run=commands.run_colour_classical)

    command = subparsers.add_parser("dynamic", help="train the network for MRI, and test it")
    _dynamic_data(command)
    command.add_argument(
        "--mask",
        default="radial-16",
        metavar="MASK",
        help=f"{', '.join(masks.MRI_MASKS)} (%(default)s)",
    )
    command.add_argument("--no-test", action="store_true", help="train only")
    command.add_argument(
        "--side", type=positive, default=128, help="of the cuts to train on (%(default)s)"
    )
    command.add_argument(
        "--cut-frames", type=positive, default=16, help="frames of the cuts (%(default)s)"
    )
    _training(command, 1000, 1)
    _common(command, "")
    command.set_defaults(run=commands.run_dynamic)

    command = subparsers.add_parser(
        "dynamic-classical", help="the untrained solvers on the same series"
    )
    _dynamic_data(command)
    command.add_argument(
        "--mask", nargs="+", default=list(masks.MRI_MASKS), metavar="MASK", help="(the paper's)"
    )
    command.add_argument("--steps", type=positive, default=50, help="(%(default)s)")
    _weights(command, [0.1, 0.3, 1.0, 3.0])
    _common(command, "dynamic-classical")
    command.set_defaults(run=commands.run_dynamic_classical)

    command = subparsers.add_parser("stress", help="a small network that meets ties in every batch")
    command.add_argument(
        "--method",
        nargs="+",
        choices=low_rank_names(),
        default=list(low_rank_names()),
        metavar="STEP",
        help="low-rank steps (all)",
    )
    command.add_argument("--steps", type=positive, default=20000, help="(%(default)s)")
    command.add_argument("--quiet", action="store_true", help="no progress bar")
    _common(command, "stress")
    command.set_defaults(run=commands.run_stress)

    command = subparsers.add_parser("ports", help="the colour network in PyTorch, JAX and Keras")
    command.add_argument("--data", default="photographs", help="as for colour (%(default)s)")
    command.add_argument("--ratio", type=_share, default=0.4, help="of pixels known (%(default)s)")
    command.add_argument(
        "--framework",
        nargs="+",
        choices=list(ports.FRAMEWORKS),
        default=list(ports.FRAMEWORKS),
        help="(all)",
    )
    command.add_argument("--steps", type=positive, default=300, help="(%(default)s)")
    command.add_argument("--batch", type=positive, default=16, help="(%(default)s)")
    command.add_argument("--rate", type=_positive_number, default=3e-3, help="(%(default)s)")
    command.add_argument("--iterations", type=positive, default=10, help="(%(default)s)")
    command.add_argument("--side", type=int, choices=range(8, 33), default=32, metavar="8..32")
    _common(command, "ports")
    command.set_defaults(run=commands.run_ports)

    command = subparsers.add_parser("colour-picture", help="original, sampled, reconstructed")
    _network(command)
    command.add_argument("--checkpoint", type=Path, required=True, help="of a trained network")
    command.add_argument("--test", default="photographs", help="as for colour (%(default)s)")
    command.add_argument("--images", nargs="+", help="names (the first three)")
    command.add_argument("--ratio", type=_share, default=0.4, help="of pixels known (%(default)s)")
    _picture(command, "experiments_colour.png")
    command.set_defaults(run=commands.run_colour_picture)

    command = subparsers.add_parser("dynamic-picture", help="a frame, its error, its x-t profile")
    _network(command)
    _dynamic_data(command)
    command.add_argument("--checkpoint", type=Path, required=True, help="of a trained network")
    command.add_argument("--mask", default="radial-16", help="(%(default)s)")
    command.add_argument(
        "--weight", type=_positive_number, default=0.3, help="lambda (%(default)s)"
    )
    _picture(command, "experiments_dynamic.png")
    command.set_defaults(run=commands.run_dynamic_picture)

    command = subparsers.add_parser("mask-picture", help="the masks of dynamic MRI")
    command.add_argument("--mask", nargs="+", default=list(masks.MRI_MASKS), help="(the paper's)")
    command.add_argument("--frames", type=positive, default=16, help="(%(default)s)")
    command.add_argument("--size", type=positive, default=128, help="pixels (%(default)s)")
    command.add_argument("--seed", type=seed, default=training.SEED, help="(%(default)s)")
    _picture(command, "experiments_masks.png")
    command.set_defaults(run=commands.run_mask_picture)

    command = subparsers.add_parser("report", help="the result page from the result files")
    command.add_argument(
        "--out", type=Path, default=results.FOLDER, help="folder of the result files"
    )
    command.add_argument("--page", type=Path, default=IMAGES.parent / "experiments.md")
    command.add_argument("--images", type=Path, default=IMAGES, help="folder of the figures")
    command.set_defaults(run=commands.run_report)
    return parser


def _make_folders(options: argparse.Namespace) -> None:
    """Those of the files to write: find out before the work whether they can be had."""
    if options.command != "report" and "out" in options:
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
    except (commands.RefusedError, data.DataError, ValueError, ImportError, MemoryError) as error:
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
