"""Options that several experiments have."""

from __future__ import annotations

import argparse
from pathlib import Path

from svdinv_conformance.arguments import positive, seed

from . import data, results, training
from .lowrank import InvWithoutPhase, low_rank_names

__all__ = [
    "add_common",
    "add_images",
    "add_methods",
    "add_network",
    "add_picture",
    "add_series",
    "add_training",
    "add_weights",
    "positive_number",
    "share",
]


def positive_number(text: str) -> float:
    """More than 0."""
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"want more than 0, got {text}")
    return value


positive_number.__name__ = "number"  # as argparse calls it in its message


def share(text: str) -> float:
    """Between 0 and 1."""
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"want a number between 0 and 1, got {text}")
    return value


def add_common(parser: argparse.ArgumentParser, name: str) -> None:
    """Seed and result file."""
    parser.add_argument(
        "--seed", type=seed, default=training.SEED, help="of all that is drawn (%(default)s)"
    )
    parser.add_argument("--name", default=name, help="of the result file (%(default)s)")
    parser.add_argument(
        "--out", type=Path, default=results.FOLDER, help="folder of the result files"
    )


def add_images(parser: argparse.ArgumentParser) -> None:
    """Colour images to train on, and the share of their pixels that is known."""
    parser.add_argument(
        "--data",
        default="photographs",
        help=f"to train on: {', '.join(data.TRAINING_SETS)}, or a folder (%(default)s)",
    )
    parser.add_argument("--ratio", type=share, default=0.4, help="of pixels known (%(default)s)")


def add_methods(parser: argparse.ArgumentParser) -> None:
    """Low-rank steps to compare."""
    names = low_rank_names()
    parser.add_argument(
        "--method", nargs="+", choices=names, default=list(names), metavar="STEP", help="(all)"
    )


def add_network(parser: argparse.ArgumentParser) -> None:
    """Size of an unrolled network."""
    parser.add_argument(
        "--iterations", type=positive, default=10, help="of ADMM, unrolled (%(default)s)"
    )
    parser.add_argument("--width", type=positive, default=16, help="channels (%(default)s)")


def add_picture(parser: argparse.ArgumentParser) -> None:
    """A picture of what the tested network does."""
    parser.add_argument("--picture", type=Path, help="PNG file of some of what was tested")


def add_series(parser: argparse.ArgumentParser) -> None:
    """Series of frames."""
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
    parser.add_argument("--test-slices", type=positive, help="to test on, evenly spaced (all)")


def add_training(parser: argparse.ArgumentParser, steps: int, batch: int) -> None:
    """A network with one low-rank step, and its training."""
    names = [*low_rank_names(), InvWithoutPhase.name]
    parser.add_argument(
        "--method",
        choices=names,
        default="svt",
        metavar="STEP",
        help=f"low-rank step: {', '.join(names)} (%(default)s)",
    )
    add_network(parser)
    parser.add_argument("--steps", type=positive, default=steps, help="(%(default)s)")
    parser.add_argument("--batch", type=positive, default=batch, help="(%(default)s)")
    parser.add_argument("--rate", type=positive_number, default=1e-3, help="of Adam (%(default)s)")
    parser.add_argument(
        "--epoch", type=positive, help="steps after which the rate falls by 5 %% (half cosine)"
    )
    parser.add_argument("--largest", type=positive_number, help="norm of a gradient (any)")
    parser.add_argument(
        "--smooth", action="store_true", help="begin with a solver that smooths, not at random"
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
    parser.add_argument("--no-test", action="store_true", help="train only")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def add_weights(parser: argparse.ArgumentParser, weights: list[float], steps: int) -> None:
    """What an untrained solver is told."""
    parser.add_argument("--steps", type=positive, default=steps, help="(%(default)s)")
    parser.add_argument(
        "--weights",
        type=positive_number,
        nargs="+",
        default=weights,
        help="lambda: the best of these on training data is taken (%(default)s)",
    )
