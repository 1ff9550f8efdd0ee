"""Experiment 2: colour images from a part of their pixels (paper, eq. 39-40, Fig. 3, Table 2)."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from . import masks, metrics, solvers
from .data import SIDE, Images, photograph_crops
from .networks import ColourNetwork
from .operators import PixelSampling

__all__ = [
    "RATIOS",
    "Problem",
    "choose_weight",
    "evaluate",
    "evaluate_solver",
    "gradient_errors",
    "reconstruct",
    "sample",
    "solve",
]

Array = NDArray[Any]

RATIOS = (0.04, 0.1, 0.3, 0.4, 0.5)
"""Of the pixels that are known; the paper's."""


@dataclass(frozen=True)
class Problem:
    """What is trained on.

    Attributes
    ----------
    images
        The training images.
    ratio
        Of the pixels that are known.
    batch
        Images a step.
    side
        Their size in pixels, at most 32: smaller ones are cut out at random.
    photographs
        Pictures ``(3, H, W)`` of which some steps take larger cuts.
    share, crop
        Of the steps that do, and the size of their cuts, as many as make up the batch's pixels.
    """

    images: Images
    ratio: float = 0.4
    batch: int = 128
    side: int = SIDE
    photographs: Sequence[NDArray[np.uint8]] = ()
    share: float = 0.5
    crop: int = 64

    def __call__(self, rng: np.random.Generator) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """One mask a step, shared by the batch: ``((y, mask), x)``."""
        if self.photographs and rng.random() < self.share:
            count = max(1, round(self.batch * (self.side / self.crop) ** 2))
            images = photograph_crops(self.photographs, rng, count, self.crop)
        else:
            images = self.images.batch(rng, self.batch, self.side)
        target = torch.from_numpy(images)
        mask = torch.from_numpy(masks.pixels(rng, images.shape[1:], self.ratio).astype(np.float32))
        return (mask * target, mask), target


def sample(name: str, image: Array, ratio: float) -> tuple[Array, Array]:
    """The sampled image and its mask, ``(3, H, W)`` each; the same ones for the same name."""
    rng = np.random.default_rng([zlib.crc32(name.encode()), round(1000 * ratio)])
    mask = masks.pixels(rng, image.shape, ratio).astype(np.float32)
    return mask * image, mask


@torch.no_grad()
def reconstruct(network: ColourNetwork, y: Array, mask: Array) -> Array:
    """The network's image ``(3, H, W)``, limited to [0, 1]."""
    out = network(torch.from_numpy(y)[None], torch.from_numpy(mask))[0]
    return np.asarray(out.clamp(0, 1).numpy())


def evaluate(
    network: ColourNetwork | None, images: Mapping[str, Array], ratio: float
) -> dict[str, dict[str, float]]:
    """PSNR, SSIM, MSE of each image; without a network, of the sampled ones themselves."""
    result = {}
    for name, image in images.items():
        y, mask = sample(name, image, ratio)
        out = y if network is None else reconstruct(network, y, mask)
        result[name] = metrics.measure(out, image)
    return result


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
    """PSNR, SSIM, MSE of each image, as :func:`evaluate`."""
    result = {}
    for name, image in images.items():
        y, mask = sample(name, image, ratio)
        result[name] = metrics.measure(solve(solver, y, mask, weight, steps), image)
    return result
