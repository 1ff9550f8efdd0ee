"""Experiment 3: dynamic MRI from a part of k-space, one coil (paper, eq. 41-42, Table 3)."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from svdinv_conformance.arguments import positive
from torch import Tensor

from . import data, figures, masks, metrics, operators, runs, tables
from .arguments import add_common, add_picture, add_series, add_training
from .data import DataError, Series
from .networks import DynamicNetwork
from .operators import FourierSampling
from .results import Found, Result
from .tables import db, mean, over, recipe

NAME = "dynamic"
HELP = "train the network for MRI, and test it"
QUICK = ["--size 16 --frames 4 --side 8 --cut-frames 4 --steps 1 --iterations 1 --quiet"]

Array = NDArray[Any]

FULL_SIDE = 128
"""Pixels each way at which the spokes of a radial mask are counted."""


def split(series: Series, test: int = 1, validation: int = 1) -> tuple[list[str], list[str]]:
    """Names of the subjects to train on, and of those to test on: the last ones.

    `validation` subjects before those are left for the choice of parameters.

    Raises
    ------
    DataError
        If no subject is left to train on.
    """
    names = sorted(series.subjects)
    if len(names) < test + validation + 1:
        raise DataError(f"{len(names)} subjects: want {test + validation + 1} or more")
    return names[: len(names) - test - validation], names[len(names) - test :]


def training_mask(name: str, side: int) -> str:
    """The mask of the same density for cuts of `side` pixels: radial ones have fewer spokes."""
    family, _, number = name.partition("-")
    if family == "radial" and number.isdecimal():
        return f"radial-{max(1, round(int(number) * side / FULL_SIDE))}"
    return name


@dataclass(frozen=True)
class Problem:
    """What is trained on.

    Attributes
    ----------
    series
        ``(slices, T, H, W)`` of each subject to train on.
    mask
        A name, as for `experiments.masks.mri_mask`; drawn anew every step.
    frames, side
        Size of what is cut out at random.
    batch
        Cuts a step.
    """

    series: Sequence[NDArray[np.complex64]]
    mask: str
    frames: int = 16
    side: int = FULL_SIDE
    batch: int = 1

    def check(self) -> None:
        """Draw a mask, so that a wrong name is an error now.

        Raises
        ------
        ValueError
        """
        masks.mri_mask(self.mask, np.random.default_rng(0), (1, 16, 16))

    def __call__(self, rng: np.random.Generator) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """``((y, mask), x)``, each ``(B, T, H, W)``."""
        cuts = [self._cut(rng) for _ in range(self.batch)]
        shape = (self.frames, self.side, self.side)
        name = training_mask(self.mask, self.side)
        sampled = np.stack([masks.mri_mask(name, rng, shape) for _ in cuts]).astype(np.float32)
        target, mask = torch.from_numpy(np.stack(cuts)), torch.from_numpy(sampled)
        return (FourierSampling(mask).forward(target), mask), target

    def _cut(self, rng: np.random.Generator) -> Array:
        subject = self.series[int(rng.integers(len(self.series)))]
        one = subject[rng.integers(len(subject))]
        sizes = (self.frames, self.side, self.side)
        first = [rng.integers(have - want + 1) for have, want in zip(one.shape, sizes, strict=True)]
        cut = one[tuple(slice(f, f + size) for f, size in zip(first, sizes, strict=True))]
        for axis in (1, 2):
            if rng.random() < 0.5:
                cut = np.flip(cut, axis)
        return np.ascontiguousarray(cut)


def sample(x: Array, mask: str, seed: int) -> tuple[Array, Array]:
    """K-space of a series ``(T, H, W)`` under a mask drawn from the seed, and the mask."""
    drawn = masks.mri_mask(mask, np.random.default_rng(seed), x.shape).astype(np.float32)
    return FourierSampling(drawn).forward(x).astype(np.complex64), drawn


@torch.no_grad()
def reconstruct(network: DynamicNetwork | None, y: Array, mask: Array) -> Array:
    """The network's frames ``(T, H, W)``, complex; without one, the zero-filled ones."""
    if network is None:
        return np.asarray(FourierSampling(mask).adjoint(y))
    return np.asarray(network(torch.from_numpy(y)[None], torch.from_numpy(mask)[None])[0].numpy())


def share_over_time(y: Array, mask: Array) -> Array:
    """Frames whose k-space is that of the others where they have not measured."""
    return np.asarray(operators.centred_ifft(operators.share_over_time(y, mask)))


def evaluate(
    network: DynamicNetwork | None, series: Mapping[str, Array], mask: str
) -> dict[str, dict[str, float]]:
    """PSNR, SSIM, MSE of the magnitude of each series; without a network, zero-filled."""
    return tested(lambda y, drawn: reconstruct(network, y, drawn), series, mask)


def tested(
    reconstruction: Callable[[Array, Array], Array], series: Mapping[str, Array], mask: str
) -> dict[str, dict[str, float]]:
    """The same of anything that makes frames from k-space and its mask."""
    return {
        name: metrics.measure(reconstruction(*sample(x, mask, seed)), x)
        for seed, (name, x) in enumerate(series.items())
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_series(parser)
    names = ", ".join(masks.MRI_MASKS)
    parser.add_argument(
        "--mask", default="radial-16", metavar="MASK", help=f"{names} (%(default)s)"
    )
    parser.add_argument(
        "--side", type=positive, default=128, help="of the cuts to train on (%(default)s)"
    )
    parser.add_argument(
        "--cut-frames", type=positive, default=16, help="frames of the cuts (%(default)s)"
    )
    add_picture(parser)
    add_training(parser, 1000, 1)
    add_common(parser, "")


def run(options: argparse.Namespace) -> str:
    series = load(options)
    if options.side > options.size or options.cut_frames > options.frames:
        raise ValueError("--side and --cut-frames: want no more than --size and --frames")
    train, test = split(series)
    problem = Problem(
        [series.subjects[n] for n in train],
        options.mask,
        options.cut_frames,
        options.side,
        options.batch,
    )
    problem.check()
    torch.manual_seed(options.seed)
    network = DynamicNetwork(options.method, options.iterations, options.width, options.smooth)
    history = runs.train(options, network, problem, f"dynamic {options.mask}")
    tested = {}
    if runs.is_over(options, history):
        chosen = test_series(series, test, options.test_slices)
        tested = evaluate(network, chosen, options.mask)
        if options.picture:
            picture(network, list(chosen.values())[len(chosen) // 2], options.mask, options.picture)
    return runs.write(
        options,
        f"dynamic-{options.mask}-{options.method.removeprefix('svd-')}",
        history,
        tested,
        told=("side", "cut_frames"),
        mask=options.mask,
        data=described(series, train, test, options.test_slices),
    )


def load(options: argparse.Namespace) -> Series:
    """The series that the options of `arguments.add_series` ask for."""
    shape = (options.frames, options.size, options.size)
    return data.dynamic_series(options.data, shape, slices=options.slices)


def described(
    series: Series, train: Sequence[str], test: Sequence[str], slices: int | None
) -> dict[str, Any]:
    """The data, for a result file."""
    count = sum(len(series.subjects[n]) for n in train)
    tested = len(test_series(series, test, slices))
    return {
        "source": series.source,
        "training": f"{count} series of {', '.join(train)}",
        "test": f"{tested} series of {', '.join(test)}",
        "shape": list(next(iter(series.subjects.values())).shape[1:]),
    }


def test_series(series: Series, names: Sequence[str], slices: int | None) -> dict[str, Array]:
    """Series ``(T, H, W)`` of some subjects, so many evenly spaced slices of each or all."""
    found = {}
    for name in names:
        of = series.subjects[name]
        for i in np.unique(np.linspace(0, len(of) - 1, slices or len(of)).astype(int)):
            found[f"{name} slice {i + 1}"] = of[i]
    return found


def picture(network: DynamicNetwork, x: Array, mask: str, path: Path) -> None:
    """A frame, its error and a column over time."""
    y, drawn = sample(x, mask, 0)
    found = {
        "zero-filled": reconstruct(None, y, drawn),
        "shared over time": share_over_time(y, drawn),
        "network": reconstruct(network, y, drawn),
    }
    titled = {f"{n}, {metrics.measure(z, x)['psnr']:.1f} dB": z for n, z in found.items()}
    figure = figures.dynamic_picture(x, titled, len(x) // 3, x.shape[2] // 2)
    figures.save(figure, path, colours=256)


# the page

PAPER = {
    "radial-16": 40.569,
    "radial-30": 42.886,
    "vds-8": 40.597,
    "vista-8": 37.142,
    "vista-12": 26.833,
}
"""PSNR of SVD-inv in the paper's Table 3, dB, on other data."""
PAPER_METHODS = {
    "radial-16": {"native": 40.653, "tf": 40.572, "clip": 40.572, "taylor": 40.497, "inv": 40.569}
}
"""The same of every method."""
COMPARED = "dynamic-methods-"
"""What the names of runs begin with that differ in the low-rank step and the seed only."""


def table(found: Found) -> dict[str, str]:
    runs = {n: r for n, r in found[NAME].items() if not n.startswith(COMPARED)}
    solvers = {r["mask"]: r for r in found["dynamic-solver"].values()}
    fields = {
        "dynamic_masks": _by_mask(runs, solvers),
        "dynamic_methods": tables.side_by_side(_compared(found[NAME]), PAPER_METHODS),
    }
    ours = {mask: mean(best(runs, mask), "psnr") for mask in masks.MRI_MASKS}
    told = [
        f"{over(psnr, mean(solvers[mask], 'admm', 'psnr'))} ({mask})"
        for mask, psnr in ours.items()
        if psnr and mask in solvers
    ]
    if told:
        fields["dynamic_summary"] = f"{', '.join(told)} (dB)"
    tested = next(filter(None, (best(runs, mask) for mask in masks.MRI_MASKS)), None)
    if tested is not None:
        d = tested["data"]
        fields["dynamic_data"] = f"{d['training']} ({d['source']}), tested on {d['test']}"
        fields["dynamic_shape"] = " by ".join(map(str, d["shape"]))
    return fields


def _compared(runs: Mapping[str, Result]) -> tables.Compared:
    return {
        mask: tables.compared(
            {n: r for n, r in runs.items() if n.startswith(COMPARED) and r["mask"] == mask}
        )
        for mask in PAPER_METHODS
    }


def best(runs: Mapping[str, Result], mask: str) -> Result | None:
    """The run with `svt` that the page is about: that of the shortest name."""
    return runs.get(f"dynamic-{mask}-svt")


BASELINES = {
    "zero-filled": "zero-filled",
    "shared": "shared over time",
    "admm": "ADMM",
    "untrained": "network before training",
}
"""Names in result files and on the page of what needs no training."""


def _by_mask(runs: Mapping[str, Result], solvers: Mapping[str, Result]) -> str:
    """The longest run by mask, beside what needs no training."""
    rows = []
    for mask in masks.MRI_MASKS:
        ours, solved = best(runs, mask), solvers.get(mask)
        psnr = mean(ours, "psnr")
        row = [mask, *(db(mean(solved, key, "psnr")) for key in BASELINES), db(psnr)]
        row.append(over(psnr, mean(solved, "admm", "psnr")))
        if ours is not None:
            s = ours["settings"]
            row += [f"{mean(ours, 'ssim'):.3f}", f"{1e5 * mean(ours, 'mse'):.1f}"]
            row += [f"{s['cut_frames']} of {s['side']} by {s['side']}, {s['iterations']}"]
            row += [recipe(ours, runs, lambda r: str(r["mask"]))]
        rows.append([*row, *[""] * (11 - len(row)), f"{PAPER[mask]:.2f}"])
    head = ["mask", *BASELINES.values(), "network", "over ADMM", "SSIM", "MSE, 1e-5"]
    return tables.table([*head, "cuts, iterations", "steps", "the paper, other data"], rows)


def figure(found: Found) -> dict[str, Figure]:
    rng, shape = np.random.default_rng(0), (16, 128, 128)
    drawn = {name: masks.mri_mask(name, rng, shape) for name in masks.MRI_MASKS}
    drawings = {"masks": figures.mask_figure(drawn)}
    runs = {n: r for n, r in found[NAME].items() if not n.startswith(COMPARED)}
    solvers = {r["mask"]: r for r in found["dynamic-solver"].values()}
    ours = [mean(best(runs, mask), "psnr") for mask in masks.MRI_MASKS]
    if any(ours):
        curves = {
            label: [mean(solvers.get(mask), key, "psnr") for mask in masks.MRI_MASKS]
            for key, label in BASELINES.items()
        }
        curves |= {"svt": ours, "the paper's SVD-inv": list(PAPER.values())}
        drawings["dynamic_masks"] = figures.dots(list(masks.MRI_MASKS), curves, "PSNR, dB", "mask")
    if any((compared := _compared(found[NAME])).values()):
        drawings["dynamic_methods"] = figures.dots(
            *tables.differences(compared), "PSNR over svt, dB"
        )
    return drawings
