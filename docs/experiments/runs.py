"""A training as a command: the weights it begins with, its settings, its result file."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import results, training
from .networks import Unrolled

__all__ = ["is_over", "load", "train", "write"]


def load(network: Unrolled, checkpoint: Path, option: str) -> None:
    """Give a network the weights of a checkpoint.

    Raises
    ------
    ValueError
        If it has none for this network.
    """
    if not checkpoint.exists():
        raise ValueError(f"{option}: no file {checkpoint}")
    try:
        network.load_state_dict(training.read_checkpoint(checkpoint)["network"])
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{option}: {checkpoint} holds no weights of this network; see --iterations and --width"
        ) from error


def train(
    options: argparse.Namespace, network: Unrolled, batch: training.Batch, label: str
) -> training.History:
    """Train a network as the options of :func:`add_training` say."""
    if options.smooth:
        network.begin_smooth()
    if options.start is not None:
        load(network, options.start, "--start")
    if options.resume and options.checkpoint is None:
        raise ValueError("--resume needs --checkpoint")
    if options.as_it_is and not (options.resume and options.checkpoint.exists()):
        raise ValueError("--as-it-is needs --resume and a checkpoint")
    return training.train(
        network,
        batch,
        _settings(options),
        checkpoint=options.checkpoint,
        resume=options.resume,
        as_it_is=options.as_it_is,
        progress=not options.quiet,
        label=f"{label} {options.method}, {options.iterations} by {options.width}",
    )


def _settings(options: argparse.Namespace) -> training.Settings:
    return training.Settings(
        options.steps,
        options.rate,
        options.seed,
        options.stop_at_nonfinite,
        options.epoch,
        options.largest,
    )


def is_over(options: argparse.Namespace, history: training.History) -> bool:
    """Whether there is something to test."""
    return not options.no_test and (options.as_it_is or len(history.loss) == options.steps)


def write(
    options: argparse.Namespace,
    name: str,
    history: training.History,
    tested: Mapping[str, Mapping[str, float]],
    told: Sequence[str] = (),
    **content: Any,
) -> str:
    """Write the result file of a training; return a line about it."""
    path = options.out / f"{options.name or name}.json"
    settings = {
        **asdict(_settings(options)),
        **{key: getattr(options, key) for key in ("method", "batch", "iterations", "width")},
        **{key: getattr(options, key) for key in ("smooth", *told)},
        "started_from": options.start.stem if options.start else None,
    }
    mean = results.mean_of(tested) if tested else None
    results.write(
        path,
        {
            "experiment": options.command,
            "settings": settings,
            **content,
            "training": history.summary(),
            "test": tested,
            "mean": mean,
        },
    )
    first = f" (the first at step {history.nonfinite[0]})" if history.nonfinite else ""
    bad = f"{len(history.nonfinite)} gradients not finite{first}"
    found = f", PSNR {mean['psnr']:.2f} dB" if mean else ""
    return f"{path.name}: {len(history.loss)} steps, {bad}{found}"
