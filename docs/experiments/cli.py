"""The command line: one command an experiment, each of which writes a result file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from . import compressive, data, results, table1, training
from .lowrank import low_rank_names
from .networks import ColourNetwork

__all__ = ["main"]

SEED = 3407
"""The paper's."""


class RefusedError(Exception):
    """Bad input, in one line."""


def _positive(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        value = kind(text)
        if not value > 0:
            raise argparse.ArgumentTypeError(f"want more than 0, got {text}")
        return value

    parse.__name__ = kind.__name__
    return parse


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"want a number between 0 and 1, got {text}")
    return value


def _common(parser: argparse.ArgumentParser, name: str) -> None:
    parser.add_argument("--seed", type=int, default=SEED, help="of all that is drawn (%(default)s)")
    parser.add_argument("--name", default=name, help="of the result file (%(default)s)")
    parser.add_argument(
        "--out", type=Path, default=results.FOLDER, help="folder of the result files"
    )


def _training(parser: argparse.ArgumentParser, steps: int, batch: int) -> None:
    parser.add_argument(
        "--method",
        choices=[*low_rank_names(), "fit"],
        default="svt",
        metavar="STEP",
        help=f"low-rank step: {', '.join(low_rank_names())} (%(default)s)",
    )
    parser.add_argument("--steps", type=_positive(int), default=steps, help="(%(default)s)")
    parser.add_argument("--batch", type=_positive(int), default=batch, help="(%(default)s)")
    parser.add_argument("--rate", type=_positive(float), default=1e-3, help="of Adam (%(default)s)")
    parser.add_argument(
        "--iterations", type=_positive(int), default=10, help="of ADMM, unrolled (%(default)s)"
    )
    parser.add_argument("--width", type=_positive(int), default=16, help="channels (%(default)s)")
    parser.add_argument("--start", type=Path, help="checkpoint whose weights to begin with")
    parser.add_argument("--checkpoint", type=Path, help="file to write every minute")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    parser.add_argument(
        "--stop-at-nonfinite", action="store_true", help="rather than leave that step out"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _trained(
    options: argparse.Namespace, network: torch.nn.Module, batch: training.Batch, label: str
) -> tuple[training.Settings, training.History]:
    if options.start is not None:
        if not options.start.exists():
            raise RefusedError(f"--start: no file {options.start}")
        network.load_state_dict(torch.load(options.start, weights_only=True)["network"])
    if options.resume and options.checkpoint is None:
        raise RefusedError("--resume needs --checkpoint")
    settings = training.Settings(
        options.steps, options.rate, options.seed, options.stop_at_nonfinite
    )
    history = training.train(
        network,
        batch,
        settings,
        checkpoint=options.checkpoint,
        resume=options.resume,
        progress=not options.quiet,
        label=label,
    )
    return settings, history


def _network_settings(options: argparse.Namespace, settings: training.Settings) -> dict[str, Any]:
    return {
        **asdict(settings),
        "method": options.method,
        "batch": options.batch,
        "iterations": options.iterations,
        "width": options.width,
        "started_from": options.start.stem if options.start else None,
    }


def _colour(options: argparse.Namespace) -> str:
    images = data.training_images(options.data, options.images)
    pictures = {} if options.no_test else data.whole_images(options.test)
    problem = compressive.Problem(images, options.ratio, options.batch, options.side)
    torch.manual_seed(options.seed)
    network = ColourNetwork(options.method, options.iterations, options.width)
    settings, history = _trained(options, network, problem, f"{options.method} {options.ratio:.0%}")
    tested = {}
    if pictures and len(history.loss) == options.steps:
        tested = compressive.evaluate(network, pictures, options.ratio)
    path = options.out / f"{options.name or f'colour-{options.method}-{options.ratio:g}'}.json"
    results.write(
        path,
        {
            "experiment": "colour",
            "ratio": options.ratio,
            "settings": {**_network_settings(options, settings), "side": options.side},
            "data": {
                "training": f"{images.source}, {len(images.pixels)} images",
                "test": f"{options.test}, {len(pictures)} images",
            },
            "training": history.summary(),
            "test": tested,
            "mean": results.mean_of(tested) if tested else None,
        },
    )
    found = f", PSNR {results.mean_of(tested)['psnr']:.2f} dB" if tested else ""
    bad = f"{len(history.nonfinite)} gradients not finite" + (
        f" (the first at step {history.nonfinite[0]})" if history.nonfinite else ""
    )
    return f"{path.name}: {len(history.loss)} steps, {bad}{found}"


def _table1(options: argparse.Namespace) -> str:
    content = {
        "experiment": "table1",
        **table1.run(options.matrices, options.seed),
        "curves": table1.gap_curves(max(2, options.matrices // 5), options.seed),
    }
    path = options.out / f"{options.name}.json"
    results.write(path, content)
    return f"{path.name}: {options.matrices} matrices a case"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="experiments",
        description="The paper's experiments with svdinv. Without --data and --test every "
        "command runs on what pip brings; named sets are found under $SVDINV_DATA.",
    )
    parser.add_argument(
        "--threads", type=_positive(int), default=1, help="of PyTorch (%(default)s)"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    command = commands.add_parser("table1", help="gradients of all rules at a gap of 1e-15")
    command.add_argument("--matrices", type=_positive(int), default=1000, help="(%(default)s)")
    _common(command, "table1")
    command.set_defaults(run=_table1, seed=0)

    command = commands.add_parser("colour", help="train the colour network, and test it")
    command.add_argument(
        "--data",
        default="photographs",
        help=f"to train on: {', '.join(data.TRAINING_SETS)}, or a folder (%(default)s)",
    )
    command.add_argument("--images", type=_positive(int), help="at most so many to train on")
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
    _training(command, 2000, 128)
    _common(command, "")
    command.set_defaults(run=_colour)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status: 0, or 2 for bad input."""
    options = _parser().parse_args(argv)
    torch.set_num_threads(options.threads)
    try:
        print(options.run(options))
    except (RefusedError, data.DataError, ValueError) as error:
        print(f"experiments {options.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; --resume goes on from the last checkpoint", file=sys.stderr)
        return 130
    return 0
