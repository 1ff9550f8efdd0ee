r"""Derivatives without registration, for transforms that would drop a registered derivative.

Let ``d = A - stop_gradient(A)``, whose value is 0 and whose derivative is that of A, and let J be
the forward rule of a decomposition or an operator. Then

    X(A) = X_0 + J(X_0 + J(X_0)[d]/2)[d]

has the value X_0, and its first and second derivatives in A are those of the rule. The inner term
moves the point at which J is taken by half the step; without the half the second derivative would
be counted twice. This uses only ordinary differentiable operations, so every transform
differentiates it correctly twice. A third derivative would be wrong. A term ``s^(5/2)`` with
``s = sum(d)`` makes it infinite or NaN instead.

It needs a `linear` rule, costs two more products with J, and where J is infinite (the rule `Plain`
at a tie) the value is NaN as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .arrays import added, cast_like, is_complex
from .namespace import Array, Namespace
from .operator import Arrays, Decomposition, Operator, Point, Some, Tangents

__all__ = ["apply_at_midpoint", "decompose_at_midpoint", "mean_by_gauss", "without_third"]


def _halfway(values: Any, changes: Any) -> tuple[Array, ...]:
    return tuple(
        value if change is None else value + 0.5 * change
        for value, change in zip(values, changes, strict=True)
    )


def decompose_at_midpoint(
    xp: Namespace, decomposition: Decomposition, factors: Any, dA: Array
) -> Any:
    """The factors as differentiable functions of A; `factors` have no derivative.

    Parameters
    ----------
    dA : array (..., m, n)
        ``A - stop_gradient(A)``.
    """
    halfway = _halfway(factors, decomposition.jvp(xp, factors, dA))
    tangents = decomposition.jvp(xp, decomposition.Factors(*halfway), dA)
    moved = (factor + tangent for factor, tangent in zip(factors, tangents, strict=True))
    return decomposition.Factors(*moved)


def apply_at_midpoint(operator: Operator, at: Point, along: Tangents) -> Arrays:
    """An operator as a differentiable function of A and of its parameters.

    Parameters
    ----------
    at : Point
        Arrays without a derivative.
    along : Tangents
        A and the parameters, each minus itself with its gradient stopped.
    """
    xp, dA = at.xp, along.A
    assert dA is not None
    value = operator.apply(at)
    change: Some
    if operator.twice:
        bend = (b if b is None else 0.5 * b for b in operator.second(at, along, along))
        change = tuple(map(added, operator.jvp(at, along), bend))
    else:
        decomposition = operator.decomposition
        factors = _halfway(at.factors, decomposition.jvp(xp, at.factors, dA))
        halfway = Point(
            xp,
            at.A + 0.5 * dA,
            decomposition.Factors(*factors),
            _halfway(at.params, along.params),
        )
        change = operator.jvp(halfway, along)
    return tuple(_moved(xp, dA, v, c) for v, c in zip(value, change, strict=True))


def mean_by_gauss(f: Callable[[float], Array]) -> Array:
    """The mean of f on [0, 1] by the two-point Gauss rule, which is exact for cubic polynomials."""
    point = 0.5 - 0.75**0.5 / 3
    return 0.5 * (f(point) + f(1 - point))


def without_third(xp: Namespace, dA: Array, undefined: Array | None = None) -> Array:
    """0 for each matrix, ``(...)``, without a finite third derivative.

    Parameters
    ----------
    dA : array (..., m, n)
        Zero but for its derivative.
    undefined : array (...) of bool, optional
        The matrices that have no third derivative, by default all.
    """
    s = xp.sum(xp.real(dA) if is_complex(xp, dA) else dA, axis=(-2, -1))
    if undefined is None:
        return s**2.5
    spoilt = xp.where(undefined, s, xp.ones_like(s)) ** 2.5
    return xp.where(undefined, spoilt, xp.zeros_like(s))


def _moved(xp: Namespace, dA: Array, value: Array, change: Array | None) -> Array:
    """A value plus its change, with a third derivative that is infinite or NaN."""
    out = value if change is None else value + change
    spoilt = without_third(xp, dA)
    for _ in range(len(out.shape) - len(spoilt.shape)):
        spoilt = xp.expand_dims(spoilt, axis=-1)
    return out + cast_like(xp, spoilt, out)
