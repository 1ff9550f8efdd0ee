r"""The first derivative of an operator as an operator of its own, with its own exact derivative.

An adapter registers one function, ``apply``. Where a derivative of it may be differentiated again,
it calls ``apply`` once more: with :class:`Pulled` in reverse mode, with :class:`Pushed` in forward
mode, whose parameters are the cotangents or tangents besides those of the operator. As functions
of A their derivatives are `hvp` and `second` of the operator, and as functions of what they are
linear in `vjp` and `jvp`: every order of nesting ends in the same second derivative. Their own
derivatives are differentiated through the factors, which at a tie is not right; there a third
derivative is NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .arrays import scale
from .namespace import Array, Namespace
from .operator import Operator, Tangents, undefined_at_ties

__all__ = ["Pulled", "Pushed", "pulled", "pushed", "with_exact"]


Apply = Callable[[Operator, tuple[Array, ...]], Any]
"""What an adapter registers, at a matrix and its factors: of an operator and its parameters."""


def _only(values: Any, chosen: tuple[bool, ...]) -> tuple[Any, ...]:
    return tuple(v for v, c in zip(values, chosen, strict=True) if c)


def _spread(values: Any, chosen: tuple[bool, ...]) -> tuple[Any, ...]:
    """The opposite of `_only`: None where nothing was chosen."""
    left = iter(values)
    return tuple(next(left) if c else None for c in chosen)


def _sum(x: Any, y: Any) -> Any:
    """The sum of two results, or tuples of them, any of which may be absent."""
    if isinstance(x, tuple) and isinstance(y, tuple):
        return tuple(map(_sum, x, y))
    return y if x is None else x if y is None else x + y


@dataclass(frozen=True)
class _Derivative(Operator):
    """What both have in common: an operator, and which (co)tangents are given.

    The given ones come first among the parameters.
    """

    operator: Operator
    given: tuple[bool, ...]

    def of_given(self, params: tuple[Array, ...], ct: Any, apply: Apply) -> tuple[Any, ...]:
        """Cotangents of those given, by another such derivative.

        `vjp` has the same values, but there they are differentiated through the factors.
        """
        raise NotImplementedError

    @property
    def whole(self) -> bool:
        """Whether the first one given has the batch shape of A."""
        return True

    @property
    def decomposition(self) -> Any:  # type: ignore[override]
        """The operator's."""
        return self.operator.decomposition

    def _split(self, params: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """What is given, with None for what is not; and the parameters of the operator."""
        count = sum(self.given)
        return _spread(params[:count], self.given), tuple(params[count:])

    def moved(
        self, xp: Namespace, params: tuple[Array, ...], factors: Any, raw: Any
    ) -> tuple[Array, ...]:
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
        Which parameters have one in the result.
    """

    wanted: tuple[bool, ...]

    @property
    def outputs(self) -> int:  # type: ignore[override]
        """One for A and one for each such parameter."""
        return 1 + sum(self.wanted)

    def of_given(self, params: tuple[Array, ...], ct: Any, apply: Apply) -> tuple[Any, ...]:
        ct_A, *others = ct if self.outputs > 1 else (ct,)
        along = Tangents(ct_A, _spread(others, self.wanted))
        out = apply(*pushed(self.operator, self._split(params)[1], along))
        return _only(out if self.operator.outputs > 1 else (out,), self.given)

    def of_matrix_and_params(self, out: Any) -> tuple[Array, tuple[Array | None, ...]]:
        """The value as `vjp` of the operator returns it."""
        ct_A, *others = out if self.outputs > 1 else (out,)
        return ct_A, _spread(others, self.wanted)

    def _cotangent(self, given: Any) -> Any:
        return given if self.operator.outputs > 1 else given[0]

    def _results(self, ct_A: Any, ct_params: Any) -> Any:
        ct_params = tuple(ct_params) or (None,) * len(self.wanted)
        return (ct_A, *_only(ct_params, self.wanted)) if self.outputs > 1 else ct_A

    def apply(self, xp: Namespace, A: Array, factors: Any, params: tuple[Array, ...]) -> Any:
        given, params = self._split(params)
        return self._results(*self.operator.vjp(xp, A, factors, params, self._cotangent(given)))

    def jvp(
        self,
        xp: Namespace,
        A: Array,
        factors: Any,
        params: tuple[Array, ...],
        dA: Array | None,
        dparams: tuple[Array | None, ...],
    ) -> Any:
        given, params = self._split(params)
        dgiven, dparams = self._split(dparams)
        out: Any = None
        if any(d is not None for d in dgiven):
            ct = self._cotangent(dgiven)
            out = self._results(*self.operator.vjp(xp, A, factors, params, ct))
        if dA is not None or any(d is not None for d in dparams):
            along = Tangents(dA, dparams)
            ct = self._cotangent(given)
            product = self._results(*self.operator.hvp(xp, A, factors, params, ct, along))
            out = product if out is None else _sum(out, product)
        return out

    def vjp(
        self, xp: Namespace, A: Array, factors: Any, params: tuple[Array, ...], ct: Any
    ) -> tuple[Array | None, tuple[Array | None, ...]]:
        given, params = self._split(params)
        ct_A, *others = ct if self.outputs > 1 else (ct,)
        along = Tangents(ct_A, _spread(others, self.wanted))
        tangent = self.operator.jvp(xp, A, factors, params, *along)
        out_A, out_params = self.operator.hvp(xp, A, factors, params, self._cotangent(given), along)
        tangent = tangent if self.operator.outputs > 1 else (tangent,)
        return out_A, (
            *_only(tangent, self.given),
            *(out_params or (None,) * len(params)),
        )


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
        """Only the tangent of A has for certain."""
        return self.given[0]

    @property
    def outputs(self) -> int:  # type: ignore[override]
        """The operator's."""
        return self.operator.outputs

    def of_given(self, params: tuple[Array, ...], ct: Any, apply: Apply) -> tuple[Any, ...]:
        cts = tuple(ct) if self.operator.outputs > 1 else (ct,)
        derivative, inputs = pulled(self.operator, self._split(params)[1], cts)
        ct_A, ct_params = derivative.of_matrix_and_params(apply(derivative, inputs))
        return _only((ct_A, *ct_params), self.given)

    def apply(self, xp: Namespace, A: Array, factors: Any, params: tuple[Array, ...]) -> Any:
        (dA, *dparams), params = self._split(params)
        return self.operator.jvp(xp, A, factors, params, dA, tuple(dparams))

    def jvp(
        self,
        xp: Namespace,
        A: Array,
        factors: Any,
        params: tuple[Array, ...],
        dA: Array | None,
        dparams: tuple[Array | None, ...],
    ) -> Any:
        (one_A, *one_params), params = self._split(params)
        given, dparams = self._split(dparams)
        out: Any = None
        if any(d is not None for d in given):
            out = self.operator.jvp(xp, A, factors, params, given[0], given[1:])
        if dA is not None or any(d is not None for d in dparams):
            one, two = Tangents(one_A, tuple(one_params)), Tangents(dA, dparams)
            out = _sum(out, self.operator.second(xp, A, factors, params, one, two))
        return out

    def vjp(
        self, xp: Namespace, A: Array, factors: Any, params: tuple[Array, ...], ct: Any
    ) -> tuple[Array | None, tuple[Array | None, ...]]:
        (dA, *dparams), params = self._split(params)
        ct_A, ct_params = self.operator.vjp(xp, A, factors, params, ct)
        cts = (ct_A, *(ct_params or (None,) * len(params)))
        along = Tangents(dA, tuple(dparams))
        out_A, out_params = self.operator.hvp(xp, A, factors, params, ct, along)
        return out_A, (*_only(cts, self.given), *(out_params or (None,) * len(params)))


def pulled(
    operator: Operator, params: tuple[Array, ...], cts: tuple[Array | None, ...]
) -> tuple[Pulled, tuple[Array, ...]]:
    """The derivative in reverse mode for some cotangents, and its parameters."""
    given = tuple(ct is not None for ct in cts)
    wanted = operator.with_cotangent(params)
    return Pulled(operator, given, wanted), (*_only(cts, given), *params)


def pushed(
    operator: Operator, params: tuple[Array, ...], tangents: Tangents
) -> tuple[Pushed, tuple[Array, ...]]:
    """The derivative in forward mode for some tangents, and its parameters."""
    values = (tangents.A, *tangents.params)
    given = tuple(d is not None for d in values)
    return Pushed(operator, given), (*_only(values, given), *params)


def with_exact(
    operator: Operator,
    params: tuple[Array, ...],
    ct: Any,
    ct_params: tuple[Array | None, ...],
    apply: Apply,
) -> tuple[Array | None, ...]:
    """The parameters' cotangents, where they may be differentiated again.

    A derivative is linear in what is given, and what it is linear in has a cotangent that is a
    derivative of the same operator.
    """
    if not isinstance(operator, Pulled | Pushed):
        return ct_params
    exact = operator.of_given(params, ct, apply)
    return (*exact, *ct_params[len(exact) :])
