"""The second derivative of a caller's function by a complex step."""

from __future__ import annotations

from collections.abc import Callable

from .arrays import counted
from .namespace import Array, Namespace

__all__ = ["complex_step_curvature", "complex_step_hessian"]

_RTOL = 1e-6
_WIDE = 2.0**-3  # for smooth f the step is relative to at least this fraction of the largest value
_WIDE_RTOL = 1e-10
_STEP = 2.0**-10  # relative; the error is its fourth power plus eps divided by it


def _second(
    xp: Namespace, fn: Callable[[Array], Array], s: Array, step: Array, rtol: float = _RTOL
) -> Array:
    """``Im (f(s + wh) + f(s - wh))``: the second derivative of f along h, times ``h^2``.

    It is NaN where half of the step gives a different second derivative.
    """
    centre = xp.astype(s, xp.complex128)

    def along(h: Array) -> Array:
        turned = (0.5**0.5 + 0.5**0.5 * 1j) * xp.astype(h, xp.complex128)
        return xp.imag(fn(centre + turned) + fn(centre - turned))

    whole, half = along(step), 4.0 * along(0.5 * step)
    scale = xp.abs(half) + _STEP**2 * xp.abs(xp.real(fn(centre)))
    return xp.where(xp.abs(whole - half) > rtol * scale, float("nan"), whole)


def _size(xp: Namespace, s: Array, smallest: float = 0.0) -> Array:
    """The size of each value; for a zero value that of the largest, and 1 if all are zero."""
    size = xp.abs(s)
    if s.shape[-1]:
        largest = xp.max(size, axis=(-1,), keepdims=True)
        size = xp.where(size > 0, xp.maximum(size, smallest * largest), largest)
    return xp.where(size > 0, size, xp.ones_like(size))


def complex_step_curvature(xp: Namespace, fn: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """The second derivative ``Im (f(s + wh) + f(s - wh))/h^2``, ``w^2 = i``, of an elementwise f.

    No numbers of the size of f are subtracted (Lai & Crassidis, J. Comput. Appl. Math. 219, 2008).
    The error is about 1e-12. It is NaN where half of the step gives a different number, because f
    is then not analytic within a step.
    """

    def derivative(s: Array) -> Array:
        step = _STEP * _size(xp, xp.astype(s, xp.float64))
        return xp.astype(_second(xp, fn, s, step) / step / step, s.dtype)

    return derivative


def complex_step_hessian(xp: Namespace, fn: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """The Hessian ``(..., k, k)`` of an analytic function ``(..., k) -> (...)``, likewise.

    Its entries come from second derivatives along one value and along two values at a time. The
    rounding error is eps divided by the step. So for a small value the step is not proportional to
    the value, unless f varies that fast.
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
                # Half of the diagonal, which adding the transpose doubles.
                both = _second(xp, fn, s, v + w, rtol) - alone[j] if j > i else 2.0 * alone[i]
                row = xp.where(w != 0, 0.5 * xp.expand_dims(both - alone[i], axis=-1), row)
            upper = xp.where(xp.expand_dims(v != 0, axis=-1), xp.expand_dims(row, axis=-2), upper)
        H = upper + xp.matrix_transpose(upper)
        return H / xp.expand_dims(step, axis=-1) / xp.expand_dims(step, axis=-2)

    def derivative(s: Array) -> Array:
        smooth, own = estimate(s, _WIDE, _WIDE_RTOL), estimate(s, 0.0, _RTOL)
        return xp.astype(xp.where(xp.isfinite(smooth), smooth, own), s.dtype)

    return derivative
