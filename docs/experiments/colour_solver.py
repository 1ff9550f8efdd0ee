"""The untrained solver of the colour experiment's problem, on the same pictures."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from . import colour, data, masks, metrics, results, solvers
from .arguments import add_common, add_weights, share
from .operators import PixelSampling
from .results import Found

NAME = "colour-solver"
HELP = "the untrained solvers on the same pictures"
QUICK = ["--ratio 0.4 --steps 1 --weights 0.1 --test {pictures}"]

Array = NDArray[Any]


def solve(solver: str, y: Array, mask: Array, weight: float, steps: int) -> Array:
    """The image of one of `solvers.SOLVERS`, limited to [0, 1]."""
    found = solvers.SOLVERS[solver](PixelSampling(mask), y, weight, steps)
    return np.asarray(np.clip(found, 0, 1))


def choose_weight(images: Array, ratio: float, weights: Sequence[float], steps: int) -> float:
    """The lambda with the least error on images ``(N, 3, H, W)``, by ADMM."""
    mask = masks.pixels(np.random.default_rng(0), images.shape[1:], ratio).astype(np.float32)
    errors = [metrics.mse(solve("admm", mask * images, mask, w, steps), images) for w in weights]
    return weights[int(np.argmin(errors))]


def evaluate_solver(
    solver: str, images: Mapping[str, Array], ratio: float, weight: float, steps: int
) -> dict[str, dict[str, float]]:
    """PSNR, SSIM, MSE of each image, as `colour.evaluate`."""
    result = {}
    for name, image in images.items():
        y, mask = colour.sample(name, image, ratio)
        result[name] = metrics.measure(solve(solver, y, mask, weight, steps), image)
    return result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--test", default="photographs", help="as for colour (%(default)s)")
    ratios = list(colour.RATIOS)
    parser.add_argument("--ratio", type=share, nargs="+", default=ratios, help="(the paper's)")
    parser.add_argument(
        "--solver", nargs="+", choices=solvers.SOLVERS, default=list(solvers.SOLVERS), help="(both)"
    )
    add_weights(parser, [0.01, 0.03, 0.1, 0.3], 100)
    add_common(parser, NAME)


def run(options: argparse.Namespace) -> str:
    pictures = data.whole_images(options.test)
    choice = data.photograph_middles()
    lines = []
    for ratio in options.ratio:
        weight = choose_weight(choice, ratio, options.weights, options.steps)
        tested = {"sampled": colour.evaluate(None, pictures, ratio)}
        for solver in options.solver:
            tested[solver] = evaluate_solver(solver, pictures, ratio, weight, options.steps)
        path = options.out / f"{options.name}-{colour.percent(ratio)}.json"
        means = {solver: results.mean_of(rows) for solver, rows in tested.items()}
        results.write(
            path,
            {
                "experiment": NAME,
                "ratio": ratio,
                "settings": {"steps": options.steps, "weight": weight, "weights": options.weights},
                "data": {
                    "chosen on": f"{len(choice)} photographs of scikit-image",
                    "test": f"{data.name_of(options.test)}, {len(pictures)} images",
                },
                "test": tested,
                "mean": means,
            },
        )
        found = ", ".join(f"{solver} {mean['psnr']:.2f} dB" for solver, mean in means.items())
        lines.append(f"{path.name}: lambda {weight:g}, {found}")
    return "\n".join(lines)


def table(found: Found) -> dict[str, str]:
    """The steps and lambdas; what came out is beside the network in the table of `colour`."""
    told = {r["ratio"]: r["settings"] for r in found[NAME].values()}
    if not told:
        return {}
    chosen = ", ".join(f"{s['weight']:g} at {ratio:.0%}" for ratio, s in sorted(told.items()))
    return {"colour_solver": f"{next(iter(told.values()))['steps']} steps; lambda {chosen}"}


def figure(found: Found) -> dict[str, Figure]:
    return {}
