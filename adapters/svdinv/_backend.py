"""What a framework's module provides: one class, derived from :class:`Backend`.

The abstract methods are what each framework does in its own way. The others have the answer that
suits a framework in eager mode, and a class overrides those that differ.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from svdinv_core import (
    Decomposition,
    Operator,
    Refuse,
    Situation,
    Step,
    SVDFactors,
    jacobian,
    slope_of_each,
)

from ._checks import Shape
from ._gauge import Watch
from .operators import LinearOperator

__all__ = ["Backend", "Function"]

Function = Callable[[Any], Any]

# What frameworks raise where they do not differentiate again. Not every exception: some steer them.
_REFUSALS = (RuntimeError, TypeError, ValueError, LookupError, AttributeError)


class Backend(ABC):
    """Arrays of one framework, and the two derivatives that are registered with it."""

    array_name: str
    """How error messages call an array of this framework."""

    xp: Any
    """Its array functions, as `svdinv_core.Namespace` lists them."""

    iterates: bool = True
    """Whether an iteration can look at values, or is part of a compiled program."""

    differentiates: ClassVar[bool] = True
    """Whether the framework differentiates the caller's functions by itself."""

    @abstractmethod
    def asarray(self, x: Any) -> Any:
        """The array `x` stands for, or None if the framework does not take it."""

    @abstractmethod
    def parameter(self, value: Any, like: Any, dtype: Any) -> Any:
        """A number or an array as a real array of that dtype, and a number on the device of x.

        None if the framework does not take it, or it is an array of another (`is_foreign`).
        """

    @abstractmethod
    def situation(self, x: Any) -> Situation:
        """What the choice of a driver goes by, of an array of values."""

    @abstractmethod
    def decompose(self, decomposition: Decomposition, x: Any, raw: Any) -> Any:
        """These factors as functions of x, differentiable by the decomposition's rule."""

    @abstractmethod
    def apply(
        self, operator: Operator, x: Any, raw: Any, params: tuple[Any, ...]
    ) -> tuple[Any, ...]:
        """Values of an operator at x, differentiable by its own derivative."""

    @abstractmethod
    def watch(self, factors: SVDFactors, watch: Watch) -> Any:
        """The same factors; when their cotangents arrive, `watch.look` sees them."""

    def product(self, fn: Function, s: Any) -> Function:
        """Products ``v -> J^T v`` with the Jacobian of fn at s, by the framework's derivatives."""
        raise NotImplementedError

    def derivative(self, fn: Function, elementwise: bool, refuse: Refuse) -> Function:
        """Slopes of an elementwise function of real arrays ``(..., k)``, or a Jacobian."""

        def derivative(s: Any) -> Any:
            product = self.product(fn, s)
            if elementwise:
                return slope_of_each(self.xp, product, s, refuse)
            return jacobian(self.xp, product, s)

        return derivative

    def bends(self, fn: Function, s: Any) -> tuple[Any, Any]:
        """Second and third derivative of an elementwise function; NaN where it has none here."""

        def along_ones(f: Function) -> Function:
            return lambda s: self.product(f, s)(self.xp.ones_like(s))

        curvature = along_ones(along_ones(fn))
        try:
            return curvature(s), along_ones(curvature)(s)
        except _REFUSALS:  # nobody may ask for a second derivative
            return self.no_bends(s)

    def no_bends(self, s: Any) -> tuple[Any, Any]:
        """NaN in the place of second and third derivative."""
        missing = self.xp.where(self.xp.isfinite(s), float("nan"), s)
        return missing, missing

    def without_matrix_axes(self, parameter: Any) -> Any:
        """A parameter ``(..., 1, 1)`` without its last two axes."""
        return parameter[..., 0, 0]

    def any(self, flags: Any) -> bool:
        """Whether one is true, where a look at values costs nothing; False where it does."""
        return False

    @abstractmethod
    def constant(self, rows: Any, like: Any, is_complex: bool) -> Any:
        """Rows of Python numbers as an array, in the precision and on the device of another."""

    def cast(self, x: Any, dtype: Any) -> Any:
        """An array in another dtype, differentiable."""
        return x if x.dtype == dtype else self.xp.astype(x, dtype)

    def run(self, step: Step, *arrays: Any) -> tuple[Any, ...]:
        """An ordinary function of arrays, differentiable."""
        return step.apply(self.xp, *arrays)

    def caller_function(self, name: str, fn: Function) -> Function:
        """A function that the caller gave for an argument, differentiated by the framework."""
        return fn

    def sparse(self, x: Any) -> LinearOperator | None:
        """A sparse matrix of the framework as an operator; None of anything else."""
        return None

    def stopped(self, x: Any) -> Any:
        """The same array as a constant."""
        return x

    def curvature(self, fn: Function) -> Function:
        """Second derivative of an elementwise function, where `differentiates` is false."""
        raise NotImplementedError

    def hessian(self, fn: Function) -> Function:
        """That of a function of all values, ``(..., k, k)``."""
        raise NotImplementedError

    def shape(self, x: Any) -> Shape | None:
        """Static shape, None for a length (or a whole shape) that is not known yet."""
        return tuple(x.shape)

    def failed(self, values: Any) -> bool:
        """Whether values of a decomposition have a NaN, where a look at them costs nothing."""
        return False

    def compute(self, decomposition: Decomposition, x: Any) -> Any:
        """Factors of values that are finite."""
        return decomposition.compute(self.values_xp, x, finite=True)

    def some(self, flags: Any) -> bool:
        """Whether one is true, by a look."""
        return bool(flags.any())

    @property
    def values_xp(self) -> Any:
        """The array functions for values, from which no derivative is taken."""
        return self.xp

    def choose(self, enough: Any, found: Any, otherwise: Callable[[], Any]) -> Any:
        """`found` where the truth value says so, `otherwise` where not."""
        return found if enough else otherwise()

    @abstractmethod
    def of_values(self, function: Callable[..., Any], x: Any, params: tuple[Any, ...]) -> Any:
        """``function(x, *params)`` of values, with gradients stopped.

        Of a whole batch, also where a transform hides one; in full precision; and without warnings
        of infinite and NaN numbers.
        """

    def extremes(self, x: Any) -> tuple[float, float] | None:
        """The smallest and the largest of real numbers, where a look at them costs nothing.

        NaN, if it is among them, may be one or both.
        """
        return None

    def largest_count(self, x: Any, counts: Callable[[], Any]) -> int | None:
        """The largest of the counts, where a look at them costs little and saves more."""
        return None

    def cotangent(self, ct: Any) -> Any:
        """A cotangent of this framework in the core's convention, ``dL = Re tr(ct^H dx)``."""
        return ct

    def held_for_derivative(self, value: Any) -> Any:
        """A value that derivatives depend on and results do not.

        As it is; unless the framework cannot leave out a cotangent that is absent.
        """
        return value
