"""The second derivative of a caller's function where no framework differentiates it."""

from __future__ import annotations

from collections.abc import Callable

from .arrays import counted
from .namespace import Array, Namespace

__all__ = ["complex_step_curvature", "complex_step_hessian"]

_RTOL = 1e-6
_WIDE = 2.0**-3  # share of the largest value that a step is at least relative to, if f is smooth
_WIDE_RTOL = 1e-10
_STEP = 2.0**-10  # relative: the error is its fourth power, and eps over it


def _second(
    xp: Namespace, fn: Callable[[Array], Array], s: Array, step: Array, rtol: float = _RTOL
) -> Array:
    """``Im (f(s + wh) + f(s - wh))``: the second derivative along a step h, of any length.

    NaN where half of the step gives another number.
    """
    centre = xp.astype(s, xp.complex128)

    def along(h: Array) -> Array:
        turned = (0.5**0.5 + 0.5**0.5 * 1j) * xp.astype(h, xp.complex128)
        return xp.imag(fn(centre + turned) + fn(centre - turned))

    whole, half = along(step), 4.0 * along(0.5 * step)
    scale = xp.abs(half) + _STEP**2 * xp.abs(xp.real(fn(centre)))
    return xp.where(xp.abs(whole - half) > rtol * scale, float("nan"), whole)


def _size(xp: Namespace, s: Array, smallest: float = 0.0) -> Array:
    """Of each value; of a zero value, that of the largest, and 1 where all are zero."""
    size = xp.abs(s)
    if s.shape[-1]:
        largest = xp.max(size, axis=(-1,), keepdims=True)
        size = xp.where(size > 0, xp.maximum(size, smallest * largest), largest)
    return xp.where(size > 0, size, xp.ones_like(size))


def complex_step_curvature(xp: Namespace, fn: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """``Im (f(s + wh) + f(s - wh))/h^2`` with ``w^2 = i``: of an elementwise analytic function.

    Nothing of the size of f is subtracted (Lai & Crassidis, J. Comput. Appl. Math. 219, 2008). Its
    error is about 1e-12. Where half of the step gives another number, f is not analytic within a
    step, and it is NaN.
    """

    def derivative(s: Array) -> Array:
        step = _STEP * _size(xp, xp.astype(s, xp.float64))
        return xp.astype(_second(xp, fn, s, step) / step / step, s.dtype)

    return derivative


def complex_step_hessian(xp: Namespace, fn: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """The Hessian ``(..., k, k)`` of an analytic function ``(..., k) -> (...)``, likewise.

    Its entries come from second derivatives along one value and along two at a time. Rounding is
    eps over the step: that of a small value is not in proportion to it, but where f varies as fast.
    """

    def estimate(s: Array, smallest: float, rtol: float) -> Array:
        step = _STEP * _size(xp, xp.astype(s, xp.float64), smallest)
        c, zeros = counted(xp, s), xp.zeros_like(step)
        steps = [xp.where(c == i, step, 0.0) for i in range(1, s.shape[-1] + 1)]
        alone = [_second(xp, fn, s, v, rtol) for v in steps]
        upper = xp.expand_dims(zeros, axis=-1) + xp.expand_dims(zeros, axis=-2)
        for i, v in enumerate(steps):
            row = zeros
            for j, w in enumerate(steps[i:], i):
                # Of the diagonal a half, which the transpose doubles.
                both = _second(xp, fn, s, v + w, rtol) - alone[j] if j > i else 2.0 * alone[i]
                row = xp.where(w != 0, 0.5 * xp.expand_dims(both - alone[i], axis=-1), row)
            upper = xp.where(xp.expand_dims(v != 0, axis=-1), xp.expand_dims(row, axis=-2), upper)
        H = upper + xp.matrix_transpose(upper)
        return H / xp.expand_dims(step, axis=-1) / xp.expand_dims(step, axis=-2)

    def derivative(s: Array) -> Array:
        smooth, own = estimate(s, _WIDE, _WIDE_RTOL), estimate(s, 0.0, _RTOL)
        return xp.astype(xp.where(xp.isfinite(smooth), smooth, own), s.dtype)

    return derivative
