"""The derivative of a caller's function where no framework differentiates it."""

from __future__ import annotations

from collections.abc import Callable

from .arrays import is_complex
from .namespace import Array, Namespace

__all__ = ["complex_step_slope"]

_STEP = 1e-20  # relative, so small that its square is nothing; and nothing is subtracted


def complex_step_slope(xp: Namespace, fn: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """``Im f(s + ih)/h``, the derivative of an elementwise analytic function of a real array.

    There is no cancellation, so that it is as exact as f itself (Squire & Trapp, SIAM Review
    40, 1998). It is computed in double precision.

    Raises
    ------
    TypeError
        By the derivative, if `fn` does not take and return complex arrays.
    """

    def derivative(s: Array) -> Array:
        # Beside each value, at any scale of the matrix; of a zero value, beside the largest.
        wide = xp.astype(s, xp.complex128)
        size = xp.abs(wide)
        if s.shape[-1]:
            size = xp.where(size > 0, size, xp.max(size, axis=(-1,), keepdims=True))
        step = _STEP * xp.where(size > 0, size, xp.ones_like(size))
        f = fn(wide + 1j * xp.astype(step, xp.complex128))
        if not hasattr(f, "dtype") or not is_complex(xp, f):
            raise TypeError(
                "fn: expected a function that takes and returns complex arrays here (its "
                "derivative is taken by a complex step), got "
                f"{getattr(f, 'dtype', type(f).__name__)}"
            )
        return xp.astype(xp.imag(f) / step, s.dtype)

    return derivative
