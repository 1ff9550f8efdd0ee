"""The second derivative of a caller's function where no framework differentiates it."""

from __future__ import annotations

from collections.abc import Callable

from .arrays import counted
from .namespace import Array, Namespace

__all__ = ["complex_step_curvature", "complex_step_hessian"]

_RTOL = 1e-6
_STEP = 2.0**-10  # relative: the error is its fourth power, and eps over it


def complex_step_curvature(xp: Namespace, fn: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """``Im (f(s + wh) + f(s - wh))/h^2`` with ``w^2 = i``: of an elementwise analytic function.

    Nothing of the size of f is subtracted (Lai & Crassidis, J. Comput. Appl. Math. 219, 2008). Its
    error is about 1e-12. Where half of the step gives another number, f is not analytic within a
    step, and it is NaN.
    """

    def derivative(s: Array) -> Array:
        size = _sizes(xp, s)
        centre = xp.astype(s, xp.complex128)

        def along(h: Array) -> Array:
            turned = (0.5**0.5 + 0.5**0.5 * 1j) * xp.astype(h, xp.complex128)
            return xp.imag(fn(centre + turned) + fn(centre - turned)) / h / h

        whole, half = along(_STEP * size), along(0.5 * _STEP * size)
        scale = xp.abs(half) + xp.abs(xp.real(fn(centre))) / size / size
        whole = xp.where(xp.abs(whole - half) > _RTOL * scale, float("nan"), whole)
        return xp.astype(whole, s.dtype)

    return derivative


def complex_step_hessian(xp: Namespace, fn: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Second derivatives ``(..., k, k)`` of a scalar ``(..., k) -> (...)``, analytic, in this way.

    Those by two values from the curvature along their sum and their difference.
    """

    def derivative(s: Array) -> Array:
        size = _sizes(xp, s)
        centre = xp.astype(s, xp.complex128)
        k = s.shape[-1]
        place = counted(xp, s)
        units = [xp.where(place == i + 1.0, size, xp.zeros_like(size)) for i in range(k)]

        def along(v: Array) -> Array:
            turned = (0.5**0.5 + 0.5**0.5 * 1j) * xp.astype(v, xp.complex128)
            return xp.imag(fn(centre + turned) + fn(centre - turned))

        def entry(i: int, j: int, h: float) -> Array:
            """Of the function of values relative to their sizes."""
            if i == j:
                return along(h * units[i]) / h / h
            sum_, difference = (along(h * v) for v in (units[i] + units[j], units[i] - units[j]))
            return (sum_ - difference) / (4.0 * h * h)

        value = xp.abs(xp.real(fn(centre)))
        rows: list[list[Array]] = [[None] * k for _ in range(k)]
        for i in range(k):
            for j in range(i + 1):
                whole, half = entry(i, j, _STEP), entry(i, j, 0.5 * _STEP)
                wrong = xp.abs(whole - half) > _RTOL * (xp.abs(half) + value)
                rows[i][j] = rows[j][i] = xp.where(wrong, float("nan"), whole)
        outer = xp.expand_dims(size, axis=-1) * xp.expand_dims(size, axis=-2)
        if k == 0:
            return xp.astype(outer, s.dtype)

        def joined(parts: list[Array], axis: int) -> Array:
            return xp.concat([xp.expand_dims(part, axis=axis) for part in parts], axis=axis)

        scaled = joined([joined(row, -1) for row in rows], -2)
        H = scaled / xp.expand_dims(size, axis=-1) / xp.expand_dims(size, axis=-2)
        return xp.astype(H, s.dtype)

    return derivative


def _sizes(xp: Namespace, s: Array) -> Array:
    """Of each value, in double precision; that of the largest for one of 0."""
    size = xp.abs(xp.astype(s, xp.float64))
    if s.shape[-1]:
        largest = xp.max(size, axis=(-1,), keepdims=True)
        size = xp.where(size > 0, size, largest)
    return xp.where(size > 0, size, xp.ones_like(size))
