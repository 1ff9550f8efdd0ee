"""A matrix that is known by its products with thin blocks of columns.

The arrays of the matrix are passed separately, because frameworks and compilers have to see them.
The object itself is static.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from .arrays import adjoint
from .namespace import Array, Namespace

__all__ = ["ConvergenceWarning", "Dense", "Given", "Linear", "as_one", "until"]


class ConvergenceWarning(RuntimeWarning):
    """An iteration reached its limit of steps before its tolerance.

    Attributes
    ----------
    residual : float
        The residual it had reached, the largest of a batch. For singular triples it is
        ``|x^H u - s v|/S_1``, as in the result; for a derivative it is the residual of its linear
        system, relative to the right-hand side.
    """

    def __init__(self, message: str = "", residual: float = float("nan")) -> None:
        super().__init__(message)
        self.residual = residual


class Linear(Protocol):
    """A matrix A ``(..., m, n)``. Hashable, and equal to another one that computes the same."""

    def matmul(self, xp: Namespace, arrays: tuple[Array, ...], X: Array) -> Array:
        """``A @ X`` for ``X (..., n, r)``."""

    def rmatmul(self, xp: Namespace, arrays: tuple[Array, ...], Y: Array) -> Array:
        """``A^H @ Y`` for ``Y (..., m, r)``."""


@dataclass(frozen=True)
class Dense:
    """A matrix given as an array."""

    def matmul(self, xp: Namespace, arrays: tuple[Array, ...], X: Array) -> Array:
        return xp.matmul(arrays[0], X)

    def rmatmul(self, xp: Namespace, arrays: tuple[Array, ...], Y: Array) -> Array:
        if len(arrays) > 1:
            return xp.matmul(arrays[1], Y)
        return adjoint(xp, xp.matmul(adjoint(xp, Y), arrays[0]))  # no copy of a complex A

    @staticmethod
    def settled(xp: Namespace, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
        """The arrays for many products: A, and also A^H if the namespace has ``settled``.

        ``settled(x)`` stores x as a separate array, which the compiler does not fuse with later
        operations. A product with a fused transpose may be many times slower.
        """
        own = getattr(xp, "settled", None)
        return arrays if own is None else (arrays[0], own(adjoint(xp, arrays[0])))

    def pull(
        self, xp: Namespace, arrays: tuple[Array, ...], X: Array, ct: Array, conjugated: bool
    ) -> tuple[Array, ...]:
        """Cotangent of A from that of ``A X`` or of ``A^H X``."""
        left, right = (X, ct) if conjugated else (ct, X)
        return (xp.matmul(left, adjoint(xp, right)),)


@dataclass(frozen=True)
class Given:
    """A matrix given by two functions ``(X, *arrays)`` of the caller."""

    forward: Callable[..., Array]
    backward: Callable[..., Array]

    def matmul(self, xp: Namespace, arrays: tuple[Array, ...], X: Array) -> Array:
        return _for_each(xp, self.forward, X, arrays)

    def rmatmul(self, xp: Namespace, arrays: tuple[Array, ...], Y: Array) -> Array:
        return _for_each(xp, self.backward, Y, arrays)


def _for_each(
    xp: Namespace, product: Callable[..., Array], X: Array, arrays: tuple[Array, ...]
) -> Array:
    """A product of the caller's, who knows of no batch: a transform has put its axes first.

    The namespace of a framework that has such transforms has ``for_each(function)``, which maps it
    over the first axis of all arguments.
    """
    for _ in X.shape[:-2]:
        own: Any = getattr(xp, "for_each")  # noqa: B009
        product = own(product)
    return product(X, *arrays)


State = tuple[Array, ...]


def until(
    xp: Namespace,
    limit: int,
    going: Callable[..., Array],
    body: Callable[..., State],
    state: State,
    residual: Callable[..., Array],
    what: str | None,
) -> tuple[State, bool]:
    """Apply `body` to the state while ``going(*state)`` is true, at most `limit` times.

    Returns the last state, and whether values were read from Python.

    The namespace may have its own loop, ``until(limit, going, body, state)``, for compiled
    programs. The loop in Python warns if it reaches the limit, with the largest
    ``residual(*state)``, unless `what` is None; `what` names the iteration that did not converge.
    """
    own = getattr(xp, "until", None)
    if own is not None:
        done: State | None = own(limit, going, body, state)
        if done is not None:
            return done, False
    for _ in range(limit):
        if not bool(going(*state)):
            return state, True
        state = body(*state)
    if what is not None and bool(going(*state)):
        left = residual(*state)
        left = xp.where(left > 0, left, xp.zeros_like(left))  # 0 for a matrix of NaN
        every = tuple(range(len(left.shape)))
        largest = float(xp.max(left, axis=every, keepdims=False))
        warning = ConvergenceWarning(
            f"{what} did not converge within {limit} iterations, which left a residual of "
            f"{largest:.1e}: the last value kept is hardly larger than the first one dropped; use "
            "another rank or another driver",
            largest,
        )
        warnings.warn(warning, stacklevel=2)
    return state, True


def as_one(xp: Namespace, function: Any, *arrays: Array) -> State:
    """``function(xp, *arrays)``, an iteration that is not differentiated.

    The namespace may have ``as_one(function, *arrays)``, which hides the iteration from compilers
    and transforms. `function` is a frozen dataclass of the core; its ``like(xp, *arrays)`` returns
    arrays with the shapes and dtypes of the results.
    """
    own = getattr(xp, "as_one", None)
    out: State | None = None if own is None else own(function, *arrays)
    return function(xp, *arrays) if out is None else out
