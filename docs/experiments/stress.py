"""A small network that meets repeated, zero and nearly repeated singular values in every batch.

    B = W2 step(W1 step(gain x))        step: the low-rank step, twice; 6-by-6 matrices, float32

Every batch has two matrices of each kind of :data:`KINDS`. The first step sees them as they are
but for the gain; the second one sees them multiplied by W1, which starts as the identity. The
target is ``W x`` with a fixed W, so that there is something to learn.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .lowrank import GapWatch, LowRank

__all__ = ["KINDS", "SIZE", "StressNetwork", "batch"]

SIZE = 6
_COPIES = 2

Array = NDArray[np.float64]


def _orthogonal(rng: np.random.Generator) -> Array:
    Q, R = np.linalg.qr(rng.standard_normal((SIZE, SIZE)))
    return np.asarray(Q * np.sign(np.diag(R)))


def _with_values(rng: np.random.Generator, values: Array) -> Array:
    return np.asarray((_orthogonal(rng) * values) @ _orthogonal(rng))


def _values(rng: np.random.Generator) -> Array:
    return np.sort(rng.uniform(0.1, 1, SIZE))[::-1].copy()


def _permuted(rng: np.random.Generator) -> Array:
    """A permutation matrix with two different sizes of entries, three times each."""
    sizes = np.repeat(rng.uniform(0.1, 1, 2), SIZE // 2)
    return np.asarray(np.eye(SIZE)[rng.permutation(SIZE)] * sizes)


def _pair(rng: np.random.Generator) -> Array:
    """Two values in the middle the same, but for the rounding of the product."""
    values = _values(rng)
    values[3] = values[2]
    return _with_values(rng, values)


def _near_pair(rng: np.random.Generator) -> Array:
    """Two values that differ by 1e-8 to 1e-3 of the largest."""
    values = _values(rng)
    values[3] = values[2] - values[0] * 10 ** rng.uniform(-8, -3)
    return _with_values(rng, values)


def _two_zeros(rng: np.random.Generator) -> Array:
    """Two rows of zeros, so that two values are zero."""
    matrix = _with_values(rng, _values(rng))
    matrix[:2] = 0
    return matrix


KINDS: dict[str, Callable[[np.random.Generator], Array]] = {
    "identity": lambda rng: rng.uniform(0.1, 1) * np.eye(SIZE),
    "permutation": _permuted,
    "pair": _pair,
    "near pair": _near_pair,
    "two zeros": _two_zeros,
    "zero": lambda rng: np.zeros((SIZE, SIZE)),
}
"""What a batch holds, by name."""

_TARGET = np.asarray(
    np.eye(SIZE) + 0.3 * np.random.default_rng(0).standard_normal((SIZE, SIZE)), np.float32
)


def batch(rng: np.random.Generator) -> tuple[tuple[Tensor], Tensor]:
    """``((x,), W x)`` with x ``(12, 6, 6)``."""
    matrices = [make(rng) for make in KINDS.values() for _ in range(_COPIES)]
    x = torch.from_numpy(np.stack(matrices).astype(np.float32))
    return (x,), torch.from_numpy(_TARGET) @ x


class StressNetwork(nn.Module):
    """Two low-rank steps and two matrices to learn; see the module.

    Parameters
    ----------
    method
        As for `experiments.lowrank.LowRank`.
    """

    def __init__(self, method: str = "svt") -> None:
        super().__init__()
        self.low_rank = LowRank(method)
        self.gain = nn.Parameter(torch.tensor(1.0))
        self.first = nn.Parameter(torch.eye(SIZE))
        self.second = nn.Parameter(torch.eye(SIZE))
        self.thresholds = nn.Parameter(torch.tensor([-3.0, -3.0]))

    def watch_gaps(self, watch: GapWatch | None) -> None:
        """Show the singular values of both steps to `watch`."""
        self.low_rank.watch = watch

    def forward(self, x: Tensor) -> Tensor:
        """Matrices ``(..., 6, 6)`` to the same shape."""
        shares = torch.sigmoid(self.thresholds)
        kept = self.low_rank(self.gain * x, shares[0])
        out: Tensor = self.second @ self.low_rank(self.first @ kept, shares[1])
        return out
