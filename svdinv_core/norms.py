r"""Norms of the singular values: scalars, whose gradient is ``U diag(g) Vh``.

    Schatten p    (sum S^p)^(1/p)    g = (S/norm)^(p - 1)
    spectral      S_1                g = 1/r on the r repetitions of the largest value

The Hessian of a Schatten norm N is, with the map D of ``u^(p-1)``, ``u = S/N``,

    H[X] = ( D[X] - (p - 1) G Re<G, X> )/N         G = U diag(g) Vh

Where a norm has no derivative, g is the subgradient of least norm: 0 on zero values for p = 1, the
mean over the repetitions for the spectral norm. This subgradient does not depend on the choice of
singular vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from .arrays import first, inner, over, reciprocal, scale, scale_columns
from .drivers import Needs
from .namespace import Array, Namespace
from .operator import Point, Tangents
from .roots import power_differences
from .rules import default_degeneracy_rtol
from .second_scaled import Cut, OneSided, one_sided
from .spectral import (
    Loewner,
    SingularValueMap,
    SmoothScalar,
    derivative_map,
    not_zero,
)
from .svd import SVDFactors

__all__ = ["SchattenNorm", "SpectralFunction", "SpectralNorm", "largest_cut", "largest_weights"]


def largest_weights(xp: Namespace, S: Array) -> Array:
    """Derivative of the largest value in each value: 1/r on its r repetitions, else 0."""
    largest = first(S)
    rtol = default_degeneracy_rtol(float(xp.finfo(S.dtype).eps))
    top = xp.where(~(largest - S > rtol * largest), xp.ones_like(S), 0.0)
    return top / xp.sum(top, axis=-1, keepdims=True)


def largest_cut(xp: Namespace, side: OneSided) -> Cut:
    """The derivative of the largest value in A, as a `Cut`."""
    weights = largest_weights(xp, side.s)
    top = xp.where(weights != 0, xp.ones_like(weights), 0.0)
    share = xp.max if weights.shape[-1] else xp.sum
    return side.constant(top, share(weights, axis=(-1,), keepdims=True))


def _divide(xp: Namespace, v: Array, size: Array) -> Array:
    """``v/size``, and v where the size is 0."""
    return v / xp.where(size != 0, size, 1.0)


def _power(xp: Namespace, v: Array, p: float) -> Array:
    """``v^p``, and 0 for 0."""
    zero = v == 0
    return xp.where(zero, xp.zeros_like(v), xp.where(zero, xp.ones_like(v), v) ** p)


@dataclass(frozen=True)
class SpectralNorm(SmoothScalar):
    """The largest singular value."""

    needs: ClassVar[Needs] = "large values"

    def extent(self, xp: Namespace, S: Array, params: tuple[Array, ...]) -> tuple[Array, Array]:
        return first(S), first(S)

    def value(self, xp: Namespace, factors: SVDFactors) -> Array:
        return xp.sum(first(factors.S), axis=-1)  # a sum, because it is 0 for an empty matrix

    def slopes(self, xp: Namespace, factors: SVDFactors) -> Array:
        return largest_weights(xp, factors.S)

    def hessian(self, xp: Namespace, factors: SVDFactors, X: Array) -> Array:
        side = one_sided(xp, *factors)  # because vectors of zero values may be missing
        return side.back(side.first(largest_cut(xp, side), side.divided(X)))


@dataclass(frozen=True)
class SchattenNorm(SmoothScalar):
    """``(sum S^p)^(1/p)``; not a norm for p < 1.

    For p < 2 the second derivative does not exist at zero values; that part is left out.
    """

    p: float

    def _relative(self, xp: Namespace, S: Array) -> tuple[Array, Array]:
        """Values relative to the largest, and their norm, neither of which overflows."""
        s = _divide(xp, S, first(S))
        return s, xp.sum(_power(xp, s, self.p), axis=-1, keepdims=True) ** (1.0 / self.p)

    def value(self, xp: Namespace, factors: SVDFactors) -> Array:
        _, norm = self._relative(xp, factors.S)
        return xp.sum(first(factors.S) * norm, axis=-1)

    def slopes(self, xp: Namespace, factors: SVDFactors) -> Array:
        s, norm = self._relative(xp, factors.S)
        return not_zero(xp, factors) * _power(xp, _divide(xp, s, norm), self.p - 1.0)

    def hessian(self, xp: Namespace, factors: SVDFactors, X: Array) -> Array:
        s, norm = self._relative(xp, factors.S)
        nonzero = not_zero(xp, factors)
        kept, q = nonzero != 0, self.p - 1.0
        u, g = nonzero * _divide(xp, s, norm), self.slopes(xp, factors)
        at_zero = xp.zeros_like(u) + (1.0 if q == 1 else 0.0)  # the slope of u^q
        inverse = reciprocal(xp, u, kept)
        ratio = xp.where(kept, g * inverse, at_zero)
        (u_i, u_j), (g_i, g_j), (ratio_i, ratio_j), (kept_i, kept_j) = (
            (xp.expand_dims(v, axis=-1), xp.expand_dims(v, axis=-2)) for v in (u, g, ratio, kept)
        )
        plus = xp.ones_like(u_i + u_j)
        for factor in power_differences(xp, xp.where(kept, u, 1.0), q):
            plus = plus * factor
        some, both = kept_i | kept_j, kept_i & kept_j
        total = reciprocal(xp, u_i + u_j, some)
        one_zero = xp.where(some, xp.where(kept_i, ratio_i, ratio_j), 0.5 * (ratio_i + ratio_j))
        loewner = Loewner(
            values=g,
            plus=xp.where(both, plus, one_zero),
            minus=xp.where(some, (g_i + g_j) * total, one_zero),
            ratio=ratio,
        )
        D = derivative_map(xp, factors, loewner, X)
        G = xp.matmul(scale_columns(xp, factors.U, g), factors.Vh)
        along = xp.expand_dims(xp.expand_dims(q * inner(xp, G, X), axis=-1), axis=-1)
        size = first(factors.S) * norm if factors.S.shape[-1] else norm
        return over(xp, D - scale(xp, along, G), xp.where(size == 0, xp.ones_like(size), size))


@dataclass(frozen=True)
class SpectralFunction(SmoothScalar):
    """A symmetric function ``(..., k) -> (...)`` of the values, from its gradient ``(..., k)``.

    For a framework that cannot differentiate the function itself.

    Parameters
    ----------
    fn, gradient : callable
    second_derivative : callable
        The matrix ``(..., k, k)`` of second derivatives of `fn`.
    """

    fn: Callable[[Array], Array]
    gradient: Callable[[Array], Array]
    second_derivative: Callable[[Array], Array]

    def value(self, xp: Namespace, factors: SVDFactors) -> Array:
        return self.fn(factors.S)

    def slopes(self, xp: Namespace, factors: SVDFactors) -> Array:
        return self.gradient(factors.S)

    def hessian(self, xp: Namespace, factors: SVDFactors, X: Array) -> Array:
        gradient_map = SingularValueMap(self.gradient, self.second_derivative, mixes=True)
        (along,) = gradient_map.jvp(Point(xp, X, factors), Tangents(X, ()))
        return along
