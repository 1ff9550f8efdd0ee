"""How right the gradient of every low-rank step is in a trained colour network."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from svdinv_conformance.arguments import positive
from torch import Tensor

from . import data, figures, results, runs, tables
from .arguments import add_common, add_images, add_methods, add_network
from .colour import Problem
from .networks import ColourNetwork
from .results import Found

NAME = "gradients"
HELP = "error of every low-rank step's gradient in a trained colour network"
QUICK = ["--batches 1 --batch 1 --iterations 1 --method svt native"]


def gradient_errors(
    network: ColourNetwork, methods: Sequence[str], problem: Problem, batches: int, seed: int
) -> dict[str, list[float]]:
    """How far each low-rank step's gradient is from the exact one, at a network's weights.

    Returns
    -------
    dict
        By method, for every batch: the error of the gradient of the training loss in all
        parameters, single precision, relative to that through `svt` in double precision; NaN
        where it is not finite.
    """
    iterations, width = len(network.layers), network.width
    weights = network.state_dict()

    def gradient(method: str, dtype: torch.dtype, batch: int) -> Tensor:
        other = ColourNetwork(method, iterations, width)
        other.load_state_dict(weights)
        other.to(dtype)
        (y, mask), x = problem(np.random.default_rng([seed, batch]))
        loss = (other(y.to(dtype), mask.to(dtype)) - x.to(dtype)).square().mean()
        loss.backward()
        found = [p.grad.flatten() for p in other.parameters() if p.grad is not None]
        return torch.cat(found).double()

    errors: dict[str, list[float]] = {method: [] for method in methods}
    for batch in range(batches):
        exact = gradient("svt", torch.float64, batch)
        for method in methods:
            difference = gradient(method, torch.float32, batch) - exact
            errors[method].append(float(difference.norm() / exact.norm()))
    return errors


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_images(parser)
    add_methods(parser)
    add_network(parser)
    parser.add_argument("--checkpoint", type=Path, help="of the network (untrained weights)")
    parser.add_argument("--batches", type=positive, default=20, help="(%(default)s)")
    parser.add_argument("--batch", type=positive, default=8, help="(%(default)s)")
    add_common(parser, NAME)


def run(options: argparse.Namespace) -> str:
    network = ColourNetwork(iterations=options.iterations, width=options.width)
    if options.checkpoint is not None:
        runs.load(network, options.checkpoint, "--checkpoint")
    images = data.training_images(options.data)
    problem = Problem(images, options.ratio, options.batch)
    errors = gradient_errors(network, options.method, problem, options.batches, options.seed)
    path = options.out / f"{options.name}.json"
    results.write(
        path,
        {
            "experiment": NAME,
            "ratio": options.ratio,
            "settings": {
                "batches": options.batches,
                "batch": options.batch,
                "iterations": options.iterations,
                "weights_of": options.checkpoint.stem if options.checkpoint else None,
            },
            "data": {"training": f"{images.source}, {len(images.pixels)} images"},
            "errors": errors,
        },
    )
    found = ", ".join(f"{name} {np.max(error):.1e}" for name, error in errors.items())
    return f"{path.name}: largest errors {found}"


def table(found: Found) -> dict[str, str]:
    if NAME not in found[NAME]:
        return {}
    r = found[NAME][NAME]
    rows = []
    for method, errors in r["errors"].items():
        finite = [e for e in errors if e is not None]
        worst = [f"{np.median(finite):.1e}", f"{max(finite):.1e}"] if finite else ["", ""]
        rows.append([f"`{method.removeprefix('svd-')}`", str(len(errors) - len(finite)), *worst])
    s = r["settings"]
    which = f"Weights of {s['weights_of']}" if s["weights_of"] else "First weights"
    batches = f"{s['batches']} batches of {s['batch']} images ({r['data']['training']})"
    head = ["low-rank step", "not finite", "median error", "largest error"]
    return {"gradients": tables.table(head, rows), "gradients_of": f"{which}, {batches}"}


def figure(found: Found) -> dict[str, Figure]:
    if NAME not in found[NAME]:
        return {}
    errors = found[NAME][NAME]["errors"]
    finite = [[e for e in found if e is not None] or [None] for found in errors.values()]
    curves = {
        "median": [np.median(e) if e[0] is not None else None for e in finite],
        "largest": [max(e) if e[0] is not None else None for e in finite],
    }
    names = [name.removeprefix("svd-") for name in errors]
    label = "relative error of the gradient"
    return {"gradients": figures.dots(names, curves, label, "low-rank step", log=True)}
