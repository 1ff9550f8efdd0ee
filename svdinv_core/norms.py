r"""Norms of the singular values: scalars, whose gradient is ``U diag(g) Vh``.

    Schatten p    (sum S^p)^(1/p)    g = (S/norm)^(p - 1)
    spectral      S_1                g = 1/r on the r repetitions of the largest value

Where a norm has no derivative, g is the subgradient of least norm: 0 on values of zero for p = 1,
the mean over the repetitions for the spectral norm. It does not depend on the choice of singular
vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from .arrays import first
from .drivers import Needs
from .namespace import Array, Namespace
from .rules import default_degeneracy_rtol
from .spectral import PiecewiseLinear, ScalarOperator, not_zero
from .svd import SVDFactors

__all__ = ["SchattenNorm", "SpectralFunction", "SpectralNorm", "largest_weights"]


def largest_weights(xp: Namespace, S: Array) -> Array:
    """Derivative of the largest value in the values: 1/r on its r repetitions."""
    largest = first(S)
    rtol = default_degeneracy_rtol(float(xp.finfo(S.dtype).eps))
    top = xp.where(~(largest - S > rtol * largest), xp.ones_like(S), 0.0)
    return top / xp.sum(top, axis=-1, keepdims=True)


def _divide(xp: Namespace, v: Array, size: Array) -> Array:
    """``v/size``, v where the size is 0."""
    return v / xp.where(size != 0, size, 1.0)


def _power(xp: Namespace, v: Array, p: float) -> Array:
    """``v^p`` of what is not 0, and 0 of what is."""
    zero = v == 0
    return xp.where(zero, xp.zeros_like(v), xp.where(zero, xp.ones_like(v), v) ** p)


@dataclass(frozen=True)
class SpectralNorm(PiecewiseLinear):
    """The largest singular value."""

    needs: ClassVar[Needs] = "large values"

    def extent(self, xp: Namespace, S: Array, params: tuple[Array, ...]) -> tuple[Array, Array]:
        return first(S), first(S)

    def value(self, xp: Namespace, factors: SVDFactors) -> Array:
        return xp.sum(first(factors.S), axis=-1)  # 0 for a matrix without entries

    def slopes(self, xp: Namespace, factors: SVDFactors) -> Array:
        return largest_weights(xp, factors.S)


@dataclass(frozen=True)
class SchattenNorm(ScalarOperator):
    """``(sum S^p)^(1/p)``; not a norm for p < 1."""

    p: float

    def _relative(self, xp: Namespace, S: Array) -> tuple[Array, Array]:
        """Values relative to the largest, and their norm: neither overflows."""
        s = _divide(xp, S, first(S))
        return s, xp.sum(_power(xp, s, self.p), axis=-1, keepdims=True) ** (1.0 / self.p)

    def value(self, xp: Namespace, factors: SVDFactors) -> Array:
        _, norm = self._relative(xp, factors.S)
        return xp.sum(first(factors.S) * norm, axis=-1)

    def slopes(self, xp: Namespace, factors: SVDFactors) -> Array:
        s, norm = self._relative(xp, factors.S)
        return not_zero(xp, factors) * _power(xp, _divide(xp, s, norm), self.p - 1.0)


@dataclass(frozen=True)
class SpectralFunction(ScalarOperator):
    """A symmetric function ``(..., k) -> (...)`` of the values, from its gradient ``(..., k)``.

    For a framework that cannot differentiate it by itself.
    """

    fn: Callable[[Array], Array]
    gradient: Callable[[Array], Array]

    def value(self, xp: Namespace, factors: SVDFactors) -> Array:
        return self.fn(factors.S)

    def slopes(self, xp: Namespace, factors: SVDFactors) -> Array:
        return self.gradient(factors.S)
