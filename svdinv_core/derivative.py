r"""The first derivative of an operator as an operator of its own, with its own exact derivative.

An adapter registers one function, ``apply``. If a derivative of it may be differentiated again, the
adapter computes that derivative with ``apply`` too: of :class:`Pulled` in reverse mode, of
:class:`Pushed` in forward mode. The parameters of these two are those of the operator and the
cotangents or tangents. Their derivatives in A are `hvp` and `second` of the operator; their
derivatives in the (co)tangents, in which they are linear, are `vjp` and `jvp`. So every nesting of
modes gives the same second derivative. A third derivative is taken through the factors, which is
wrong at a tie; there it is made NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .arrays import added, scale
from .namespace import Namespace
from .operator import Arrays, Operator, Point, Some, Tangents, undefined_at_ties

__all__ = ["Pulled", "Pushed", "pulled", "pushed", "with_exact"]


Apply = Callable[[Operator, Arrays], Arrays]
"""The function an adapter registers, at a fixed matrix and its factors: ``(operator, params)``."""


def _only(values: Any, chosen: tuple[bool, ...]) -> tuple[Any, ...]:
    return tuple(v for v, c in zip(values, chosen, strict=True) if c)


def _spread(values: Any, chosen: tuple[bool, ...]) -> tuple[Any, ...]:
    """The inverse of `_only`: fill in None where an entry was not chosen."""
    left = iter(values)
    return tuple(next(left) if c else None for c in chosen)


@dataclass(frozen=True)
class _Derivative(Operator):
    """Base of `Pulled` and `Pushed`: an operator, and which (co)tangents are given.

    The given (co)tangents come first among the parameters.
    """

    operator: Operator
    given: tuple[bool, ...]

    def of_given(self, params: Arrays, cts: Some, apply: Apply) -> Some:
        """Cotangents of the given (co)tangents, by another `Pulled` or `Pushed`.

        `vjp` returns the same values, but a further derivative would go through the factors.
        """
        raise NotImplementedError

    @property
    def whole(self) -> bool:
        """Whether the first of the given (co)tangents has the whole batch shape of A."""
        return True

    @property
    def decomposition(self) -> Any:  # type: ignore[override]
        """The operator's."""
        return self.operator.decomposition

    def _split(self, params: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """The (co)tangents, None for absent ones, and the parameters of the operator."""
        count = sum(self.given)
        return _spread(params[:count], self.given), tuple(params[count:])

    def _point(self, at: Point) -> tuple[Some, Point]:
        """The (co)tangents, and the point of the operator."""
        given, params = self._split(at.params)
        wanted = None if at.wanted is None else at.wanted[sum(self.given) :]
        return given, at._replace(params=params, wanted=wanted)

    def moved(self, xp: Namespace, params: Arrays, factors: Any, raw: Any) -> Arrays:
        count = sum(self.given)
        given = list(params[:count])
        undefined = undefined_at_ties(xp, factors, raw)
        if self.whole:
            extra = len(given[0].shape) - len(undefined.shape) + 1  # axes of one matrix's own
            for _ in range(extra - 1):
                undefined = xp.expand_dims(undefined, axis=-1)
            given[0] = given[0] + scale(xp, undefined if extra else undefined[..., 0], given[0])
        else:
            given[0] = given[0] + xp.sum(undefined, axis=None) * given[0]
        return (*given, *self.operator.moved(xp, params[count:], factors, raw))


@dataclass(frozen=True)
class Pulled(_Derivative):
    """Cotangents of A and of the parameters that have one, as functions of the cotangents.

    Parameters
    ----------
    operator : Operator
    given : tuple of bool
        Which outputs have a cotangent.
    wanted : tuple of bool
        Which parameters have a cotangent in the result.
    """

    wanted: tuple[bool, ...]

    @property
    def outputs(self) -> int:  # type: ignore[override]
        """One for A, and one for each wanted parameter."""
        return 1 + sum(self.wanted)

    def of_given(self, params: Arrays, cts: Some, apply: Apply) -> Some:
        out = apply(*pushed(self.operator, self._split(params)[1], self.of_results(cts)))
        return _only(out, self.given)

    def of_results(self, out: Some) -> Tangents:
        """The value as `vjp` of the operator returns it."""
        ct_A, *others = out
        return Tangents(ct_A, _spread(others, self.wanted))

    def _results(self, cts: Tangents) -> Some:
        return (cts.A, *_only(cts.params, self.wanted))

    def _point(self, at: Point) -> tuple[Some, Point]:
        given, at = super()._point(at)
        return given, at._replace(wanted=self.wanted)

    def apply(self, at: Point) -> Arrays:
        given, inside = self._point(at)
        return self._results(self.operator.vjp(inside, given))

    def jvp(self, at: Point, along: Tangents) -> Some:
        given, inside = self._point(at)
        dgiven, dparams = self._split(along.params)
        out: Some = (None,) * self.outputs
        if any(d is not None for d in dgiven):
            out = self._results(self.operator.vjp(inside, dgiven))
        if along.A is not None or any(d is not None for d in dparams):
            product = self.operator.hvp(inside, given, Tangents(along.A, dparams))
            out = tuple(map(added, out, self._results(product)))
        return out

    def vjp(self, at: Point, cts: Some) -> Tangents:
        given, inside = super()._point(at)
        along = self.of_results(cts)
        tangent = self.operator.jvp(inside, along)
        ct_A, ct_params = self.operator.hvp(inside, given, along)
        return Tangents(ct_A, (*_only(tangent, self.given), *ct_params))


@dataclass(frozen=True)
class Pushed(_Derivative):
    """The tangent of the value, as a function of the tangents of A and of the parameters.

    Parameters
    ----------
    operator : Operator
    given : tuple of bool
        Whether A has a tangent, and which parameters.
    """

    @property
    def whole(self) -> bool:
        """Only the tangent of A is certain to have the whole batch shape."""
        return self.given[0]

    @property
    def outputs(self) -> int:  # type: ignore[override]
        """The operator's."""
        return self.operator.outputs

    def of_given(self, params: Arrays, cts: Some, apply: Apply) -> Some:
        derivative, inputs = pulled(self.operator, self._split(params)[1], cts)
        ct_A, ct_params = derivative.of_results(apply(derivative, inputs))
        return _only((ct_A, *ct_params), self.given)

    def apply(self, at: Point) -> Some:
        (dA, *dparams), inside = self._point(at)
        return self.operator.jvp(inside, Tangents(dA, tuple(dparams)))

    def jvp(self, at: Point, along: Tangents) -> Some:
        (dA, *dparams), inside = self._point(at)
        given, moved = self._split(along.params)
        out: Some = (None,) * self.outputs
        if any(d is not None for d in given):
            out = self.operator.jvp(inside, Tangents(given[0], given[1:]))
        if along.A is not None or any(d is not None for d in moved):
            one, two = Tangents(dA, tuple(dparams)), Tangents(along.A, moved)
            out = tuple(map(added, out, self.operator.second(inside, one, two)))
        return out

    def vjp(self, at: Point, cts: Some) -> Tangents:
        (dA, *dparams), inside = self._point(at)
        every = inside._replace(wanted=None)
        ct_given, ct_given_params = self.operator.vjp(every, cts)
        ct_A, ct_params = self.operator.hvp(inside, cts, Tangents(dA, tuple(dparams)))
        return Tangents(ct_A, (*_only((ct_given, *ct_given_params), self.given), *ct_params))


def pulled(
    operator: Operator, params: Arrays, cts: Some, wanted: tuple[bool, ...] | None = None
) -> tuple[Pulled, Arrays]:
    """The derivative in reverse mode for some cotangents, and its parameters.

    `wanted` says which parameters need a cotangent; by default all that have one.
    """
    given = tuple(ct is not None for ct in cts)
    known = operator.with_cotangent(params)
    if wanted is not None:
        known = tuple(a and b for a, b in zip(known, wanted, strict=True))
    return Pulled(operator, given, known), (*_only(cts, given), *params)


def pushed(operator: Operator, params: Arrays, tangents: Tangents) -> tuple[Pushed, Arrays]:
    """The derivative in forward mode for some tangents, and its parameters."""
    values = (tangents.A, *tangents.params)
    given = tuple(d is not None for d in values)
    return Pushed(operator, given), (*_only(values, given), *params)


def with_exact(
    operator: Operator, params: Arrays, cts: Some, ct_params: Some, apply: Apply
) -> Some:
    """`ct_params`, with those of (co)tangents replaced by ones that may be differentiated again.

    A `Pulled` or `Pushed` is linear in its (co)tangents. So their cotangents are derivatives of the
    same operator, computed here by `apply`.
    """
    if not isinstance(operator, Pulled | Pushed):
        return ct_params
    exact = operator.of_given(params, cts, apply)
    return (*exact, *ct_params[len(exact) :])
