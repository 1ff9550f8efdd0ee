"""Decompose a matrix again if the framework's own decomposition fails.

The namespace returns NaN for such a matrix and right factors for the others of the batch. Here it
is decomposed again: in double precision, then by its R, and last by rotations, which do not fail.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..namespace import Array, Namespace
from .choice import BY_NAME, Needs, Situation
from .driver import Driver
from .jacobi import Jacobi
from .native import Native

__all__ = ["rescue", "rescuers"]


def rescuers(situation: Situation, needs: Needs) -> tuple[Driver, ...]:
    """The drivers to try in turn."""
    double = situation.single and situation.doubles != "never"
    own: tuple[Driver, ...] = (
        (Native(double=True, guarded=situation.guarded),) if double and situation.has_svd else ()
    )
    by_R = () if needs == "eigenvectors" else (BY_NAME["qr"](situation, needs, True),)
    return (*own, *by_R, Jacobi(double=double))


def rescue(
    xp: Namespace,
    decomposition: Any,
    drivers: tuple[Driver, ...],
    A: Array,
    factors: Any,
    some: Callable[[Array], bool],
    compute: Callable[[Any, Array], Any],
) -> tuple[Any, Array]:
    """The factors with those of failed finite matrices recomputed, and flags for what still fails.

    Parameters
    ----------
    some : callable
        Whether an entry of a boolean array is true; it reads values.
    compute : callable
        Calls ``compute(xp, A, finite=True)`` of a decomposition.
    """
    failed = xp.all(xp.isfinite(A), axis=(-2, -1)) & ~_whole(xp, factors)
    for driver in drivers:
        if not some(failed):
            break
        X = xp.where(_over(xp, failed, A), A, xp.zeros_like(A))
        found = compute(replace(decomposition, driver=driver), X)
        pairs = zip(found, factors, strict=True)
        factors = type(factors)(*(xp.where(_over(xp, failed, y), y, x) for y, x in pairs))
        failed = failed & ~_whole(xp, factors)
    return factors, failed


def _whole(xp: Namespace, factors: Any) -> Array:
    """Flags of the matrices without NaN in their factors; a huge matrix may have infinite ones."""
    lead = min(len(factor.shape) for factor in factors) - 1
    out: Array = None
    for x in factors:
        same = xp.all(x == x, axis=tuple(range(lead, len(x.shape))))
        out = same if out is None else out & same
    return out


def _over(xp: Namespace, flags: Array, x: Array) -> Array:
    """Flags ``(...)``, one for each matrix, broadcast to the axes of x."""
    for _ in range(len(x.shape) - len(flags.shape)):
        flags = xp.expand_dims(flags, axis=-1)
    return flags
