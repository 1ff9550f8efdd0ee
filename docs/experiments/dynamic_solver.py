"""Dynamic MRI without training: the solvers, and what the phase term of the gradient is worth."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from svdinv import torch as st
from torch import Tensor

from . import dynamic, masks, results, solvers
from .arguments import add_common, add_series, add_weights
from .lowrank import LowRank
from .networks import DynamicNetwork
from .operators import FourierSampling
from .results import Found

NAME = "dynamic-solver"
HELP = "the untrained solvers on the same series"
QUICK = ["--mask vds-8 --size 16 --frames 4 --steps 1 --weights 1"]

Array = NDArray[Any]


def solve(solver: str, y: Array, mask: Array, weight: float, steps: int) -> Array:
    """Frames of one of `solvers.SOLVERS`, low rank in time."""
    run = solvers.SOLVERS[solver]
    return np.asarray(run(FourierSampling(mask), y, weight, steps, matrices=solvers.casorati))


def untrained(
    choice: Mapping[str, Array],
    series: Mapping[str, Array],
    mask: str,
    weights: Sequence[float],
    steps: int,
) -> tuple[dict[str, dict[str, dict[str, float]]], float]:
    """All of `dynamic.BASELINES` and of the solvers on each series; lambda is chosen on `choice`.

    Returns
    -------
    tested, weight
        PSNR, SSIM, MSE by solver and series, and the lambda.
    """

    def by(solver: str, w: float, chosen: Mapping[str, Array]) -> dict[str, dict[str, float]]:
        return dynamic.tested(lambda y, drawn: solve(solver, y, drawn, w, steps), chosen, mask)

    errors = [sum(row["mse"] for row in by("admm", w, choice).values()) for w in weights]
    weight = weights[int(np.argmin(errors))]
    network = DynamicNetwork(share=True)
    network.begin_smooth()
    found = {
        "zero-filled": dynamic.evaluate(None, series, mask),
        "shared": dynamic.tested(dynamic.share_over_time, series, mask),
        "untrained": dynamic.evaluate(network, series, mask),
        **{solver: by(solver, weight, series) for solver in solvers.SOLVERS},
    }
    return found, weight


def phase_error(x: Array, share: float, seed: int = 0) -> dict[str, float]:
    """What leaving the phase out costs the gradient of the low-rank step on real frames.

    Parameters
    ----------
    x : array (..., m, n)
        Complex matrices.
    share
        Threshold as a share of the largest singular value.

    Returns
    -------
    dict
        By low-rank step: relative error of the gradient of ``Re <W, step(x)>``, W random, against
        `svt` in double precision; the mean over the matrices.
    """
    rng = np.random.default_rng(seed)
    W = torch.from_numpy(rng.standard_normal(x.shape) + 1j * rng.standard_normal(x.shape))

    def gradient(method: str | None) -> Tensor:
        A = torch.from_numpy(x.astype(np.complex128)).requires_grad_()
        threshold = torch.tensor(share, dtype=torch.float64)
        B = st.svt(A, threshold, relative=True) if method is None else LowRank(method)(A, threshold)
        torch.real(torch.sum(torch.conj(W) * B)).backward()
        assert A.grad is not None
        return A.grad

    exact = gradient(None)
    size = torch.linalg.matrix_norm(exact)
    return {
        method: float((torch.linalg.matrix_norm(gradient(method) - exact) / size).mean())
        for method in ("svt", "svd-inv", "inv-no-phase")
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_series(parser)
    parser.add_argument(
        "--mask", nargs="+", default=list(masks.MRI_MASKS), metavar="MASK", help="(the paper's)"
    )
    add_weights(parser, [0.1, 0.3, 1.0, 3.0], 50)
    add_common(parser, NAME)


def run(options: argparse.Namespace) -> str:
    series = dynamic.load(options)
    train, test = dynamic.split(series)
    choice = {n: series.subjects[n][0] for n in train[:1]}
    lines = []
    for mask in options.mask:
        chosen = dynamic.test_series(series, test, options.test_slices)
        tested, weight = untrained(choice, chosen, mask, options.weights, options.steps)
        means = {solver: results.mean_of(rows) for solver, rows in tested.items()}
        path = options.out / f"{options.name}-{mask}.json"
        results.write(
            path,
            {
                "experiment": NAME,
                "mask": mask,
                "settings": {"steps": options.steps, "weight": weight, "weights": options.weights},
                "data": {
                    **dynamic.described(series, train, test, options.test_slices),
                    "chosen on": train[0],
                },
                "test": tested,
                "mean": means,
                "phase_error": phase_error(series.subjects[test[0]][0], 0.12),
            },
        )
        found = ", ".join(f"{solver} {mean['psnr']:.2f} dB" for solver, mean in means.items())
        lines.append(f"{path.name}: lambda {weight:g}, {found}")
    return "\n".join(lines)


def table(found: Found) -> dict[str, str]:
    """The solver's steps, and the error of the phase; the rest is in the table of `dynamic`."""
    first = next(iter(found[NAME].values()), None)
    if first is None:
        return {}
    told = {r["mask"]: r["settings"] for r in found[NAME].values()}
    chosen = ", ".join(f"{told[m]['weight']:g} ({m})" for m in masks.MRI_MASKS if m in told)
    return {
        "dynamic_solver": f"{first['settings']['steps']} steps; lambda {chosen}",
        "phase": f"{first['phase_error']['inv-no-phase']:.1e}",
    }


def figure(found: Found) -> dict[str, Figure]:
    return {}
