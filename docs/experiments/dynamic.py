"""Experiment 3: dynamic MRI from a part of k-space, one coil (paper, eq. 41-42, Table 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from svdinv import torch as st
from torch import Tensor

from . import masks, metrics, solvers
from .data import DataError, Series
from .lowrank import LowRank
from .networks import DynamicNetwork
from .operators import FourierSampling

__all__ = [
    "Problem",
    "classical",
    "evaluate",
    "phase_error",
    "reconstruct",
    "sample",
    "solve",
    "split",
    "training_mask",
]

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


def evaluate(
    network: DynamicNetwork | None, series: Mapping[str, Array], mask: str
) -> dict[str, dict[str, float]]:
    """PSNR, SSIM, MSE of the magnitude of each series; without a network, zero-filled."""
    result = {}
    for seed, (name, x) in enumerate(series.items()):
        y, drawn = sample(x, mask, seed)
        result[name] = metrics.measure(reconstruct(network, y, drawn), x)
    return result


def solve(solver: str, y: Array, mask: Array, weight: float, steps: int) -> Array:
    """Frames of one of `solvers.SOLVERS`, low rank in time."""
    run = solvers.SOLVERS[solver]
    return np.asarray(run(FourierSampling(mask), y, weight, steps, matrices=solvers.casorati))


def classical(
    choice: Mapping[str, Array],
    series: Mapping[str, Array],
    mask: str,
    weights: Sequence[float],
    steps: int,
) -> tuple[dict[str, dict[str, dict[str, float]]], float]:
    """Zero-filled and the untrained solvers on each series; lambda is chosen on `choice`.

    Returns
    -------
    tested, weight
        PSNR, SSIM, MSE by solver and series, and the lambda.
    """

    def tested(solver: str, chosen: Mapping[str, Array], w: float) -> dict[str, dict[str, float]]:
        return {
            name: metrics.measure(solve(solver, *sample(x, mask, seed), w, steps), x)
            for seed, (name, x) in enumerate(chosen.items())
        }

    errors = [sum(row["mse"] for row in tested("admm", choice, w).values()) for w in weights]
    weight = weights[int(np.argmin(errors))]
    found = {s: tested(s, series, weight) for s in solvers.SOLVERS}
    return {"zero-filled": evaluate(None, series, mask), **found}, weight


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
