"""The class that a framework's module derives from: :class:`Backend`.

Each framework implements the abstract methods in its own way. The other methods have defaults
that suit a framework in eager mode; a framework overrides those that differ.

Several methods read values from Python only where this is free. It is not free where it would
wait for a device, compute a lazy array, or break a traced function.
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

# Exceptions of frameworks that cannot differentiate again. Others must pass: frameworks use some of
# them for control flow.
_REFUSALS = (RuntimeError, TypeError, ValueError, LookupError, AttributeError)


class Backend(ABC):
    """Array functions of one framework, and the two derivatives that are registered with it."""

    array_name: str
    """Name of an array of this framework in error messages."""

    xp: Any
    """The array functions of this framework; `svdinv_core.Namespace` lists them."""

    iterates: bool = True
    """Whether "krylov" can run: its loop reads values, or is part of a compiled program."""

    differentiates: ClassVar[bool] = True
    """Whether the framework has automatic differentiation for functions of the caller."""

    @abstractmethod
    def asarray(self, x: Any) -> Any:
        """Convert `x` to an array of the framework; None if the framework does not accept it."""

    @abstractmethod
    def parameter(self, value: Any, like: Any, dtype: Any) -> Any:
        """Convert a number or an array to a real array of `dtype`; a number goes to x's device.

        None if the framework does not accept it, or if it is an array of another framework
        (`is_foreign`).
        """

    @abstractmethod
    def situation(self, x: Any) -> Situation:
        """What the choice of a driver depends on, for an array of values (not a tracer)."""

    @abstractmethod
    def decompose(self, decomposition: Decomposition, x: Any, raw: Any) -> Any:
        """The factors `raw` as functions of x, differentiable by the decomposition's rule."""

    @abstractmethod
    def apply(
        self, operator: Operator, x: Any, raw: Any, params: tuple[Any, ...]
    ) -> tuple[Any, ...]:
        """Values of an operator at x, differentiable by the operator's own derivative."""

    @abstractmethod
    def watch(self, factors: SVDFactors, watch: Watch) -> Any:
        """Return the factors unchanged; call `watch.look` when their cotangents arrive."""

    def product(self, fn: Function, s: Any) -> Function:
        """The function ``v -> J^T v`` for the Jacobian J of fn at s, by the framework."""
        raise NotImplementedError

    def derivative(self, fn: Function, elementwise: bool, refuse: Refuse) -> Function:
        """Slopes of an elementwise function of real arrays ``(..., k)``; else the Jacobian."""

        def derivative(s: Any) -> Any:
            product = self.product(fn, s)
            if elementwise:
                return slope_of_each(self.xp, product, s, refuse)
            return jacobian(self.xp, product, s)

        return derivative

    def bends(self, fn: Function, s: Any) -> tuple[Any, Any]:
        """Second and third derivative of an elementwise function; NaN if the framework has none."""

        def along_ones(f: Function) -> Function:
            return lambda s: self.product(f, s)(self.xp.ones_like(s))

        curvature = along_ones(along_ones(fn))
        try:
            return curvature(s), along_ones(curvature)(s)
        except _REFUSALS:  # no error now: the caller may not want a second derivative
            return self.no_bends(s)

    def no_bends(self, s: Any) -> tuple[Any, Any]:
        """NaN in place of the second and third derivative."""
        missing = self.xp.where(self.xp.isfinite(s), float("nan"), s)
        return missing, missing

    def without_matrix_axes(self, parameter: Any) -> Any:
        """A parameter ``(..., 1, 1)`` without its last two axes."""
        return parameter[..., 0, 0]

    def any(self, flags: Any) -> bool:
        """Whether a flag is true. False also where reading values is not free."""
        return False

    @abstractmethod
    def constant(self, rows: Any, like: Any, is_complex: bool) -> Any:
        """Make an array of rows of Python numbers, in the precision and on the device of `like`."""

    def cast(self, x: Any, dtype: Any) -> Any:
        """Cast an array to another dtype, differentiably."""
        return x if x.dtype == dtype else self.xp.astype(x, dtype)

    def run(self, step: Step, *arrays: Any) -> tuple[Any, ...]:
        """Apply a `Step`, an ordinary differentiable function of arrays."""
        results: tuple[Any, ...] = self.call(step.apply, *arrays)
        return results

    def call(self, function: Callable[..., Any], *arrays: Any) -> Any:
        """``function(xp, *arrays)``, which the framework differentiates."""
        return function(self.xp, *arrays)

    def uncompiled(self, function: Callable[..., Any], *args: Any) -> Any:
        """``function(*args)``, outside of a program that could not hold functions of the caller."""
        return function(*args)

    def caller_function(self, name: str, fn: Function) -> Function:
        """Accept a function from the caller; the framework will differentiate it."""
        return fn

    def sparse(self, x: Any) -> LinearOperator | None:
        """Make an operator of a sparse matrix of the framework; None for anything else."""
        return None

    def stopped(self, x: Any) -> Any:
        """The same array with its gradient stopped."""
        return x

    def curvature(self, fn: Function) -> Function:
        """Second derivative of an elementwise function; used if `differentiates` is false."""
        raise NotImplementedError

    def hessian(self, fn: Function) -> Function:
        """Second derivative ``(..., k, k)`` of a function of all values; used as `curvature`."""
        raise NotImplementedError

    def shape(self, x: Any) -> Shape | None:
        """Static shape, with None for an unknown length; None if the whole shape is unknown."""
        return tuple(x.shape)

    def failed(self, values: Any) -> bool:
        """Whether the values of a decomposition have a NaN. False where reading is not free."""
        return False

    def compute(self, decomposition: Decomposition, x: Any) -> Any:
        """Factors of an array of finite values."""
        return decomposition.compute(self.values_xp, x, finite=True)

    def fused(self, function: Callable[[Any], Any], x: Any) -> Any:
        """``function(x)`` of values: many array operations, which a framework may compile."""
        return function(x)

    def some(self, flags: Any) -> bool:
        """Whether a flag is true, read even where this is not free."""
        return bool(flags.any())

    @property
    def values_xp(self) -> Any:
        """The array functions for values that are not differentiated."""
        return self.xp

    def choose(self, enough: Any, found: Any, otherwise: Callable[[], Any]) -> Any:
        """`found` if the truth value `enough` is true, else the result of `otherwise`."""
        return found if enough else otherwise()

    @abstractmethod
    def of_values(self, function: Callable[..., Any], x: Any, params: tuple[Any, ...]) -> Any:
        """``function(x, *params)`` of the values of x and the parameters, with gradients stopped.

        Calls `function` once for the whole batch, even where ``vmap`` hides a batch axis, in full
        precision, and without warnings about infinite and NaN numbers.
        """

    def extremes(self, x: Any) -> tuple[float, float] | None:
        """The smallest and the largest entry of a real array; None where reading is not free.

        If an entry is NaN, one or both of them are.
        """
        return None

    def largest_count(self, x: Any, counts: Callable[[], Any]) -> int | None:
        """The largest count; None where reading it is not free or would not save time."""
        return None

    def cotangent(self, ct: Any) -> Any:
        """Convert a cotangent to the convention of the core, ``dL = Re tr(ct^H dx)``."""
        return ct

    def held_for_derivative(self, value: Any) -> Any:
        """Prepare a value that only derivatives depend on, and results do not.

        The default returns it unchanged. A framework overrides this if it sends zeros where there
        is no cotangent.
        """
        return value
