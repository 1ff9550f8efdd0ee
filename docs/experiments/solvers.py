r"""The untrained solvers the networks are unrolled from (paper, eq. 3), on any framework's arrays.

    min_x  1/2 |A x - y|^2 + lambda |M(x)|_*        M: what matrices are made of the image

- proximal gradient: ``x <- prox(x - A^H (A x - y))``, steps of 1 since ``|A| = 1``;
- ADMM: the three steps of eq. (40), with eq. (42) for x.

The proximal operator of the nuclear norm is `svdinv.svt`. A continuation lowers lambda from
`START` of the largest singular value to its last value, which both converge faster with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import svdinv
from array_api_compat import array_namespace

from .operators import Operator

__all__ = [
    "SOLVERS",
    "START",
    "Matrices",
    "admm",
    "as_they_are",
    "casorati",
    "objective",
    "proximal_gradient",
]

Array = Any

START = 0.3
"""First threshold of the continuation, as a share of the largest singular value."""


@dataclass(frozen=True)
class Matrices:
    """How an image is taken for matrices: both maps keep the Euclidean norm."""

    unfold: Callable[[Array], Array]
    fold: Callable[[Array, tuple[int, ...]], Array]


as_they_are = Matrices(lambda x: x, lambda x, shape: x)
"""The last two axes: every channel of a colour image is a matrix."""

casorati = Matrices(
    lambda x: array_namespace(x).reshape(x, (*x.shape[:-2], x.shape[-2] * x.shape[-1])),
    lambda x, shape: array_namespace(x).reshape(x, shape),
)
"""Series of frames ``(..., T, H, W)`` as matrices of T rows: low rank where frames are alike."""


def _prox(x: Array, threshold: float, matrices: Matrices) -> Array:
    return matrices.fold(svdinv.svt(matrices.unfold(x), threshold), tuple(x.shape))


def _thresholds(x: Array, last: float, steps: int, matrices: Matrices) -> list[float]:
    """Geometric from a share of the largest singular value down to `last`, in half the steps."""
    xp = array_namespace(x)
    first = max(START * float(xp.max(svdinv.svdvals(matrices.unfold(x)))), last)
    falling = max(1, steps // 2)
    return [first * (last / first) ** min(1.0, n / falling) for n in range(steps)]


def objective(
    operator: Operator, y: Array, x: Array, weight: float, matrices: Matrices = as_they_are
) -> float:
    """``1/2 |A x - y|^2 + lambda |M(x)|_*``, summed over the batch."""
    xp = array_namespace(x)
    residual = xp.abs(operator.forward(x) - y)
    nuclear = xp.sum(svdinv.nuclear_norm(matrices.unfold(x)))
    return float(0.5 * xp.sum(residual * residual) + weight * nuclear)


def proximal_gradient(
    operator: Operator, y: Array, weight: float, steps: int = 100, matrices: Matrices = as_they_are
) -> Array:
    """Minimise the objective by proximal gradient steps.

    Parameters
    ----------
    operator
        Of norm 1 at most.
    y : array (..., H, W)
        Measurements; real or complex, of any framework that `svdinv` dispatches on.
    weight
        lambda, in the units of the singular values; more than 0.
    steps
        A step costs one `svdinv.svt`.

    Returns
    -------
    array
        The image, of the shape, dtype and framework of ``A^H y``.

    Raises
    ------
    ValueError
        If `weight` or `steps` is not positive.
    """
    _check(weight, steps)
    x = operator.adjoint(y)
    for threshold in _thresholds(x, weight, steps, matrices):
        x = _prox(x - operator.adjoint(operator.forward(x) - y), threshold, matrices)
    return x


def admm(
    operator: Operator,
    y: Array,
    weight: float,
    steps: int = 100,
    mu: float = 1.0,
    matrices: Matrices = as_they_are,
) -> Array:
    """Minimise the objective by ADMM; as :func:`proximal_gradient`, and `mu` the penalty.

    Examples
    --------
    >>> import numpy as np
    >>> from experiments.operators import PixelSampling
    >>> x = np.outer(np.arange(1.0, 9), np.arange(1.0, 9))
    >>> mask = (np.random.default_rng(0).random((8, 8)) < 0.7) * 1.0
    >>> found = admm(PixelSampling(mask), mask * x, weight=0.01)
    >>> bool(np.abs(found - x).max() < 0.5)
    True
    """
    _check(weight, steps)
    if not mu > 0:
        raise ValueError(f"mu: want more than 0, got {mu}")
    x = operator.adjoint(y)
    multiplier = 0 * x
    for threshold in _thresholds(x, weight, steps, matrices):
        z = _prox(x + multiplier, threshold / mu, matrices)
        x = operator.data_step(y, z - multiplier, mu)
        multiplier = multiplier + x - z
    return x


SOLVERS: dict[str, Callable[..., Array]] = {"proximal gradient": proximal_gradient, "admm": admm}
"""By the name they have in result files."""


def _check(weight: float, steps: int) -> None:
    if not weight > 0:
        raise ValueError(f"weight: want more than 0, got {weight}")
    if steps < 1:
        raise ValueError(f"steps: want at least 1, got {steps}")
