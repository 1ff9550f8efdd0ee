"""Error of every rule as two singular values approach each other.

One pair of values, ``1`` and ``1 - gap``, in small matrices with otherwise well separated values;
the gap runs over the decades down to the rounding of float64, and to nothing. The gap that is
plotted is the one that was asked for: forming and rounding the matrix moves it by about eps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import norms, relative_difference
from ..frameworks import Bridge, UnavailableError
from ..inputs import normal
from ..reference import decompose
from .methods import NATIVE, Problem, gradient, implement, methods_for

__all__ = ["DRAWS", "GAPS", "SIZE", "THRESHOLD", "Sweep", "matrices", "sweep"]

GAPS = (0.0, *(10.0**p for p in range(-16, 0)))
"""Gaps of the pair, relative to the largest value."""

DRAWS = 12
THRESHOLD = 0.35
_OTHER_VALUES = (0.75, 0.55, 0.25, 0.1)
SIZE = 2 + len(_OTHER_VALUES)


@dataclass(frozen=True)
class Sweep:
    """Median errors over the draws, by gap."""

    loss: str
    dtype: str
    """What was differentiated, in which type."""
    gaps: tuple[float, ...]
    """The gaps, the first one 0."""
    errors: dict[str, NDArray[Any]]
    """For each curve (a rule's name, or "native torch") the median relative error of the finite
    gradients; NaN where there is none."""
    nonfinite: dict[str, NDArray[Any]]
    """For each curve, whether some gradient is not finite."""


def matrices(dtype: str, gaps: Sequence[float], draws: int, seed: int) -> NDArray[Any]:
    """Build matrices with a pair of values at each gap, in extended precision up to the rounding.

    Parameters
    ----------
    dtype
        Real or complex.
    gaps
        Distances of the pair.
    draws
        Number of random factors, the same ones for every gap.
    seed
        Of these.

    Returns
    -------
    array
        ``(gaps, draws, SIZE, SIZE)``, with the largest value 1.
    """
    rng = np.random.default_rng(seed)
    shape = (draws, SIZE, SIZE)

    def factors() -> NDArray[Any]:
        q = np.linalg.qr(normal(shape, np.result_type(dtype, np.float64), rng))[0]
        wide = q.astype(np.clongdouble if np.iscomplexobj(q) else np.longdouble)
        adjoint = np.conj(np.swapaxes(wide, -1, -2))
        # one Newton step makes the factor orthonormal to extended precision
        return np.asarray(wide @ (3 * np.eye(SIZE, dtype=wide.dtype) - adjoint @ wide) / 2)

    u, v = factors(), factors()
    spectra = np.array([[1, 1 - np.longdouble(gap), *_OTHER_VALUES] for gap in gaps])
    vh = np.conj(np.swapaxes(v, -1, -2))
    return np.asarray((u * spectra[:, None, None, :]) @ vh).astype(dtype)


def sweep(
    loss: str,
    dtype: str,
    methods: Sequence[str],
    frameworks: Mapping[str, Bridge],
    tell: Callable[[str], None] | None = None,
) -> Sweep:
    """Measure the error of methods against the gap, on the CPU.

    Parameters
    ----------
    loss, dtype
        What to differentiate, in which type.
    methods
        Methods; those of the library are measured in the first framework, ``native`` in every one
        that has it.
    frameworks
        The frameworks by name, all of them present.
    tell
        Called with the name of each curve before it is computed.
    """
    x = matrices(dtype, GAPS, DRAWS, seed=11)
    real = x.real.dtype
    tau = np.full(x.shape[:-2], THRESHOLD, dtype=real)
    problem = Problem(loss, x, normal(x.shape, dtype, seed=1), tau, decompose(x))
    exact = problem.exact.x

    first = next(iter(frameworks.values()))
    curves: dict[str, tuple[Bridge, str]] = {}
    for method in methods_for(loss):
        if method not in methods:
            continue
        if method == NATIVE:
            curves |= {f"native {f.name}": (f, method) for f in frameworks.values()}
        else:
            curves[method] = (first, method)

    errors, nonfinite = {}, {}
    for label, (framework, method) in curves.items():
        if tell is not None:
            tell(label)
        try:
            got, _ = gradient(implement(framework, method), problem)()
        except UnavailableError:
            continue
        wide = framework.numpy(got).astype(exact.dtype)
        error = relative_difference(wide, exact, norms(exact)).astype(np.float64)
        bad = np.isnan(error)
        nonfinite[label] = np.asarray(bad.any(axis=-1))
        errors[label] = np.array(
            [np.median(e[~b]) if not b.all() else np.nan for e, b in zip(error, bad, strict=True)]
        )
    return Sweep(loss, dtype, GAPS, errors, nonfinite)
