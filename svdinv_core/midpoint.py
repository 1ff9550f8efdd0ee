r"""Derivatives without registration, where a framework would drop a registered one.

With ``d = A - stop_gradient(A)``, which is zero but for its derivative, and the forward rule
J of a decomposition or an operator,

    X(A) = X_0 + J(X_0 + J(X_0)[d]/2)[d]

has the value X_0, and its first and second derivatives by A are those of the rule: the inner
term moves the point J is taken at half of the way, so that the second derivative is counted
once and not twice. Plain differentiable operations are all there is, and any transform that
can differentiate these gives the right answer. A third derivative would not be right, and is
made infinite or NaN: with ``s = sum(d)``, by a term ``s^(5/2)``.

It needs a forward rule (a rule that is `linear`), costs two more products of J, and where J is
infinite (the rule `Plain` at a tie) the value is NaN as well.
"""

from __future__ import annotations

from typing import Any

from .arrays import cast_like, is_complex
from .namespace import Array, Namespace
from .operator import Decomposition, Operator, Tangents

__all__ = ["apply_at_midpoint", "decompose_at_midpoint"]


def _halfway(values: Any, changes: Any) -> tuple[Array, ...]:
    return tuple(
        value if change is None else value + 0.5 * change
        for value, change in zip(values, changes, strict=True)
    )


def decompose_at_midpoint(
    xp: Namespace, decomposition: Decomposition, factors: Any, dA: Array
) -> Any:
    """The factors as differentiable functions of A; `factors` have no derivative yet.

    Parameters
    ----------
    dA : array (..., m, n)
        ``A - stop_gradient(A)``.
    """
    halfway = _halfway(factors, decomposition.jvp(xp, factors, dA))
    tangents = decomposition.jvp(xp, decomposition.Factors(*halfway), dA)
    moved = (factor + tangent for factor, tangent in zip(factors, tangents, strict=True))
    return decomposition.Factors(*moved)


def apply_at_midpoint(
    xp: Namespace,
    operator: Operator,
    A: Array,
    factors: Any,
    params: tuple[Array, ...],
    dA: Array,
    dparams: tuple[Array | None, ...],
) -> Any:
    """An operator as a differentiable function of A and of its parameters.

    Parameters
    ----------
    A, factors, params
        Without a derivative.
    dA, dparams
        Each minus itself with its gradient stopped; None for a parameter that is a number.
    """
    if operator.twice:
        along = Tangents(dA, dparams)
        value = operator.apply(xp, A, factors, params)
        change = operator.jvp(xp, A, factors, params, dA, dparams)
        bend = operator.second(xp, A, factors, params, along, along)
        if operator.outputs > 1:
            moved = (v + c + 0.5 * b for v, c, b in zip(value, change, bend, strict=True))
            return tuple(_without_third(xp, dA, v) for v in moved)
        return _without_third(xp, dA, value + change + 0.5 * bend)
    decomposition = operator.decomposition
    halfway = decomposition.Factors(*_halfway(factors, decomposition.jvp(xp, factors, dA)))
    value = operator.apply(xp, A, factors, params)
    change = operator.jvp(xp, A + 0.5 * dA, halfway, _halfway(params, dparams), dA, dparams)
    if operator.outputs > 1:
        moved = (v + c for v, c in zip(value, change, strict=True))
        return tuple(_without_third(xp, dA, v) for v in moved)
    return _without_third(xp, dA, value + change)


def _without_third(xp: Namespace, dA: Array, out: Array) -> Array:
    """The same with no third derivative."""
    s = xp.sum(xp.real(dA) if is_complex(xp, dA) else dA, axis=(-2, -1))
    spoilt = s**2.5
    for _ in range(len(out.shape) - len(spoilt.shape)):
        spoilt = xp.expand_dims(spoilt, axis=-1)
    return out + cast_like(xp, spoilt, out)
