"""The derivative of a caller's function by a complex step, for frameworks without autodiff."""

from __future__ import annotations

from collections.abc import Callable

from .arrays import is_complex
from .namespace import Array, Namespace
from .slopes import Refuse, jacobian, largest, slope_of_each

__all__ = ["NOT_ANALYTIC", "complex_step_jacobian", "complex_step_slope"]

NOT_ANALYTIC = "not analytic"

_STEP = 1e-20  # relative; its square is below rounding, and the method subtracts nothing
_LARGEST_STEP = 2.0**-30  # relative; for tiny values, whose usual step would be subnormal
_SMALLEST_STEP = 2.0**-960
_AMONG_ZEROS = 2.0**-900  # the step if all values are zero; fn may divide it by a scale
_SPACING = 2.0**-1070  # a little more than the spacing of subnormal numbers
_DIFFERENCE = 2.0**-26  # relative step of the differences that check the complex step
_RTOL = 2.0**-23  # relative error of these differences


class _ComplexStep:
    """Directional derivatives ``Im f(s + ihv)/h`` of an analytic function of a real array.

    They are as exact as f itself, because nothing cancels (Squire & Trapp, SIAM Review 40, 1998).
    They are computed in double precision.
    """

    def __init__(self, xp: Namespace, fn: Callable[[Array], Array], s: Array) -> None:
        self.xp, self.fn = xp, fn
        self.s = xp.astype(s, xp.float64)
        # The step is relative to each value, for a zero value relative to the largest one. If all
        # are zero, it is so small that its powers are negligible.
        size = xp.abs(self.s)
        if s.shape[-1]:
            size = xp.where(size > 0, size, xp.max(size, axis=(-1,), keepdims=True))
        self.zero = size == 0
        self.size = xp.where(self.zero, _AMONG_ZEROS / _STEP, size)
        at_most = _LARGEST_STEP * self.size
        at_least = xp.where(at_most < _SMALLEST_STEP, at_most, _SMALLEST_STEP)
        self.step = xp.maximum(_STEP * self.size, at_least)
        self.rtol = _RTOL + _SPACING / self.step

    def product(self, v: Array) -> Array:
        """``J v`` in units of `step`: row i is divided by its step, column j multiplied by its."""
        xp = self.xp
        wide, step = (xp.astype(y, xp.complex128) for y in (self.s, self.step * v))
        f = self.fn(wide + 1j * step)
        if not hasattr(f, "dtype") or not is_complex(xp, f):
            raise TypeError(
                "fn: expected a function that takes and returns complex arrays here (its "
                "derivative is computed by a complex step), got "
                f"{getattr(f, 'dtype', type(f).__name__)}"
            )
        return xp.imag(f) / self.step

    def checked(self, slope: Array, refuse: Refuse | None) -> Array:
        """The slopes along a direction of ones, NaN where they are not those of f on real numbers.

        A function such as ``s * abs(s)`` accepts complex numbers but is not analytic. So the slope
        has to lie between the difference quotients to the left and to the right. At a corner every
        number between them is accepted.
        """
        xp = self.xp
        h = _DIFFERENCE * self.size
        if self.s.shape[-1] == 0:
            return slope
        left, middle, right = (self.fn(self.s + sign * h) for sign in (-1.0, 0.0, 1.0))
        before, after = (middle - left) / h, (right - middle) / h
        sizes = xp.maximum(xp.abs(left), xp.abs(right)) / self.size
        error = self.rtol * largest(xp, sizes + xp.abs(before) + xp.abs(after))
        low, high = -xp.maximum(-before, -after), xp.maximum(before, after)
        # If all values are zero there is no scale for the differences, so there is no check.
        wrong = ~self.zero & ((slope < low - error) | (slope > high + error))
        if refuse is not None:
            refuse(NOT_ANALYTIC, wrong)
        return xp.where(wrong, float("nan"), slope)


def complex_step_slope(
    xp: Namespace, fn: Callable[[Array], Array], refuse: Refuse | None = None
) -> Callable[[Array], Array]:
    """The derivative of an elementwise analytic function of a real array, ``(..., k)``.

    It is NaN where fn is not analytic or mixes the values; `refuse` is called before that.

    Raises
    ------
    TypeError
        When the derivative is called, if `fn` does not take and return complex arrays.
    """

    def derivative(s: Array) -> Array:
        step = _ComplexStep(xp, fn, s)
        slope = slope_of_each(xp, step.product, step.s, refuse, step.rtol)
        return xp.astype(step.checked(slope, refuse), s.dtype)

    return derivative


def complex_step_jacobian(
    xp: Namespace, fn: Callable[[Array], Array], refuse: Refuse | None = None
) -> Callable[[Array], Array]:
    """The Jacobian ``(..., k, k)`` of an analytic function that may mix the values.

    Its rows are NaN where fn is not analytic; `refuse` is called before that. Errors as for
    :func:`complex_step_slope`.
    """

    def derivative(s: Array) -> Array:
        step = _ComplexStep(xp, fn, s)
        J = jacobian(xp, step.product, step.s)
        # The complex steps of tiny values are not proportional to them; those of differences are.
        weights = step.size / step.step
        along = xp.sum(J * xp.expand_dims(weights, axis=-2), axis=-1) / weights
        right = step.checked(along, refuse)
        J = xp.where(xp.expand_dims(xp.isfinite(right), axis=-1), J, float("nan"))
        row, column = xp.expand_dims(step.step, axis=-1), xp.expand_dims(step.step, axis=-2)
        return xp.astype(J * (row / column), s.dtype)

    return derivative
