"""Derivatives of a caller's function of the values, from products of its Jacobian with vectors.

A product is ``J v`` or ``J^T v`` with the Jacobian J of a function ``(..., k) -> (..., k)``. It
does not matter here which of the two, nor who computes it.
"""

from __future__ import annotations

from collections.abc import Callable

from .arrays import counted
from .namespace import Array, Namespace
from .rules import default_degeneracy_rtol

__all__ = ["MIXES", "Refuse", "jacobian", "largest", "slope_of_each"]

Product = Callable[[Array], Array]
Refuse = Callable[[str, Array], None]
"""Called with a reason and with flags of the values for which there is no slope."""

MIXES = "mixes"


def _weights(xp: Namespace, s: Array) -> Array:
    """Powers of two, different for most pairs of values. Multiplying by a power of two is exact.

    All are at most 1, so that nothing overflows.
    """
    c = counted(xp, s)
    squares = (c * c) % 7  # 0, 1, 2 or 4
    w = xp.ones_like(s)
    for edge in (0.5, 1.5, 3.0):
        w = xp.where(squares > edge, 0.5 * w, w)
    thirds = c % 3
    for edge in (0.5, 1.5):
        w = xp.where(thirds > edge, 0.0625 * w, w)
    return w


def largest(xp: Namespace, sizes: Array) -> Array:
    """The largest finite size for each matrix, ``(..., 1)``, which errors are compared with."""
    return xp.max(xp.where(xp.isfinite(sizes), sizes, 0.0), axis=-1, keepdims=True)


def slope_of_each(
    xp: Namespace,
    product: Product,
    s: Array,
    refuse: Refuse | None = None,
    rtol: Array | None = None,
) -> Array:
    """Slopes of an elementwise function; NaN where a result depends on another value.

    Parameters
    ----------
    s : array (..., k)
    refuse : callable, optional
        Called with flags of the values whose results depend on others.
    rtol : float or array (..., k), optional
        Relative error of the products.
    """
    slope = product(xp.ones_like(s))
    if s.shape[-1] in (0, 1):
        return slope
    # J is diagonal if J w = w * slope for a vector w with different entries.
    w = _weights(xp, s)
    again = product(w) / w
    if rtol is None:
        rtol = default_degeneracy_rtol(float(xp.finfo(s.dtype).eps))
    # Near the smallest numbers a function loses digits, and more after multiplying by a weight.
    smallest = 2.0**16 * float(xp.finfo(s.dtype).smallest_normal)
    rounded = smallest / xp.maximum(largest(xp, xp.abs(s)), xp.zeros_like(s) + smallest)
    error = (rtol + rounded) * largest(xp, xp.abs(again) + xp.abs(slope))
    # A product this small may have underflowed to zero.
    error = error + 4.0 * float(xp.finfo(s.dtype).smallest_normal) / w
    mixes = xp.abs(again - slope) > error
    if refuse is not None:
        refuse(MIXES, mixes)
    return xp.where(mixes, float("nan"), slope)


def jacobian(xp: Namespace, product: Product, s: Array) -> Array:
    """J ``(..., k, k)`` from products ``J v``; its transpose from products ``J^T v``."""
    c = counted(xp, s)
    zeros = xp.zeros_like(s)
    J = xp.expand_dims(zeros, axis=-1) + xp.expand_dims(zeros, axis=-2)
    for j in range(1, s.shape[-1] + 1):
        here = c == j
        column = product(xp.where(here, 1.0, zeros))
        J = xp.where(xp.expand_dims(here, axis=-2), xp.expand_dims(column, axis=-1), J)
    return J
