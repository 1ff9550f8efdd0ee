r"""The Moore-Penrose inverse, and the projector onto the range.

With ``w = 1/S`` for the values that are kept and 0 for those that count as zero

    pinv(A) = V diag(w) U^H

At constant rank the derivative exists, whatever values are repeated (Golub & Pereyra, SIAM J.
Numer. Anal. 10, 1973). For ``B = pinv(A)^H``, with ``P = U^H G V``, and ``d = 1`` for the values
that count as zero and 0 for the others,

    D[G] = U core V^H + (I - U U^H) G V diag(w^2) V^H + U diag(w^2) U^H G (I - V V^H)
    core_ij = -w_i conj(P_ji) w_j + d_i P_ij w_j^2 + w_i^2 P_ij d_j

which contains no gap between two values. D is self-adjoint, so this one map is the derivative in
both modes. ``w^2`` is not formed, because it overflows long before the result does. The second
derivative is that of ``1/S``, continued by 0 where values are dropped (:class:`.second.OfInverse`).

The derivative of the projector onto the span of the kept columns ``U_r`` couples kept and dropped
columns only:

    d(U_r U_r^H) = X + X^H     X = U K U_r^H + (I - U U^H) G V_r diag(w) U_r^H
    K_ji = (S_i P_ji + S_j conj(P_ij))/(S_i^2 - S_j^2)     i kept, j dropped

For second derivatives the projector is written as ``Q Q^H`` with ``Q = U_r V_r^H``, whose second
derivatives are in `second_scaled`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .arrays import (
    adjoint,
    counted,
    first,
    over,
    reciprocal,
    safe_size,
    scale,
    scale_columns,
    scale_rows,
)
from .namespace import Array, Namespace
from .operator import Arrays, Point, Some, Tangents
from .rules import default_degeneracy_rtol, default_rank_rtol
from .second import OfInverse, second_two_sided
from .second_scaled import Cut, OneSided, Side, one_sided
from .spectral import FactorsOperator
from .svd import SVDFactors, directional_core

__all__ = ["Pseudoinverse", "RangeProjector", "kept_values"]


def kept_values(xp: Namespace, factors: SVDFactors, rtol: float | None) -> Array:
    """Flags ``(..., k)`` of the values that do not count as zero; NaN does not count as zero."""
    U, S, Vh = factors
    if rtol is None:
        eps = float(xp.finfo(S.dtype).eps)
        rtol = default_rank_rtol(eps, max(U.shape[-2], Vh.shape[-1]))
    return ~(rtol * first(S) >= S)


@dataclass(frozen=True)
class Pseudoinverse(FactorsOperator):
    """``pinv(A)``, ``(..., n, m)``.

    Parameters
    ----------
    rtol : float, optional
        Values of at most ``rtol * S[0]`` count as zero; default ``eps * max(m, n)``.
    """

    rtol: float | None = None
    twice: ClassVar[bool] = True

    def _weights(self, xp: Namespace, factors: SVDFactors) -> tuple[Array, Array]:
        """w and d."""
        kept = kept_values(xp, factors, self.rtol)
        S = factors.S
        return reciprocal(xp, S, kept), xp.where(kept, xp.zeros_like(S), 1.0)

    def apply(self, at: Point) -> Arrays:
        xp, (U, _, Vh) = at.xp, at.factors
        w, _ = self._weights(xp, at.factors)
        return (xp.matmul(scale_columns(xp, adjoint(xp, Vh), w), adjoint(xp, U)),)

    def _derivative(self, xp: Namespace, factors: SVDFactors, G: Array) -> Array:
        """``D[G]``, ``(..., m, n)``."""
        w, d = self._weights(xp, factors)
        U, _, Vh = factors
        P, G_V, Uh_G = directional_core(xp, factors, G)
        right = scale_columns(xp, scale_columns(xp, P, w), w)
        left = scale_rows(xp, w, scale_rows(xp, w, P))
        core = scale_rows(xp, d, right) + scale_columns(xp, left, d)
        core = core - scale_columns(xp, scale_rows(xp, w, adjoint(xp, P)), w)
        if G_V is not None:  # m > n
            outside = scale_columns(xp, scale_columns(xp, G_V, w), w)
            return xp.matmul(xp.matmul(U, core - right) + outside, Vh)
        if Uh_G is not None:  # m < n
            outside = scale_rows(xp, w, scale_rows(xp, w, Uh_G))
            return xp.matmul(U, xp.matmul(core - left, Vh) + outside)
        return xp.matmul(xp.matmul(U, core), Vh)

    def jvp(self, at: Point, along: Tangents) -> Arrays:
        return (adjoint(at.xp, self._derivative(at.xp, at.factors, along.A)),)

    def vjp(self, at: Point, cts: Some) -> Tangents:
        return Tangents(self._derivative(at.xp, at.factors, adjoint(at.xp, cts[0])), ())

    def _second_map(self, at: Point, X: Array, Y: Array) -> Array:
        """``T[X, Y]`` of ``pinv(A)^H``."""
        xp = at.xp
        w, d = self._weights(xp, at.factors)
        size = safe_size(xp, at.factors.S)
        odd = OfInverse(xp, w * size, d)
        T = second_two_sided(xp, at.factors, odd, over(xp, X, size), over(xp, Y, size))
        return over(xp, T, size)

    def second(self, at: Point, one: Tangents, two: Tangents) -> Arrays:
        return (adjoint(at.xp, self._second_map(at, one.A, two.A)),)

    def hvp(self, at: Point, cts: Some, along: Tangents) -> Tangents:
        return Tangents(self._second_map(at, along.A, adjoint(at.xp, cts[0])), ())


@dataclass(frozen=True)
class RangeProjector(FactorsOperator):
    """``U_r U_r^H``, ``(..., m, m)``, for the values that are kept.

    Where a cut at `rank` splits a tie the derivative does not exist; a finite one is returned.

    Parameters
    ----------
    rank : int, optional
        Number of values to keep. Without it the values that count as zero are dropped, and the
        derivative is that at constant rank.
    rtol : float, optional
        As for :class:`Pseudoinverse`.
    """

    rank: int | None = None
    rtol: float | None = None
    twice: ClassVar[bool] = True

    def _kept(self, xp: Namespace, factors: SVDFactors) -> Array:
        """1 for a kept value, else 0."""
        S = factors.S
        if self.rank is None:
            kept = kept_values(xp, factors, self.rtol)
        else:
            kept = counted(xp, S) <= self.rank
        return xp.where(kept, xp.ones_like(S), 0.0)

    def _weights(self, xp: Namespace, factors: SVDFactors) -> tuple[Array, Array, Array, Array]:
        """The factors of ``P_ji`` and ``conj(P_ij)`` in K, w, and 1 for kept values."""
        S = factors.S
        kept = self._kept(xp, factors)
        dropped = 1.0 - kept
        if self.rank is None:
            S = S * kept  # dropped values count as zero
        S_j, S_i = xp.expand_dims(S, axis=-1), xp.expand_dims(S, axis=-2)
        across = xp.expand_dims(dropped, axis=-1) * xp.expand_dims(kept, axis=-2)
        rtol = default_degeneracy_rtol(float(xp.finfo(S.dtype).eps))
        gap = S_i - S_j
        apart = (across != 0) & (gap > rtol * xp.expand_dims(first(S), axis=-1))
        inverse_gap, inverse_total = (reciprocal(xp, x, apart) for x in (gap, S_i + S_j))
        return (
            0.5 * (inverse_gap + inverse_total),
            0.5 * (inverse_gap - inverse_total),
            reciprocal(xp, S, (kept != 0) & (S > 0)),
            kept,
        )

    def apply(self, at: Point) -> Arrays:
        xp, U = at.xp, at.factors.U
        return (xp.matmul(scale_columns(xp, U, self._kept(xp, at.factors)), adjoint(xp, U)),)

    def jvp(self, at: Point, along: Tangents) -> Arrays:
        xp, factors = at.xp, at.factors
        same, other, w, _ = self._weights(xp, factors)
        U = factors.U
        P, dA_V, _ = directional_core(xp, factors, along.A)
        K = scale(xp, same, P) + scale(xp, other, adjoint(xp, P))
        if dA_V is None:
            X = xp.matmul(U, K)
        else:
            X = xp.matmul(U, K - scale_columns(xp, P, w)) + scale_columns(xp, dA_V, w)
        X = xp.matmul(X, adjoint(xp, U))
        return (X + adjoint(xp, X),)

    def vjp(self, at: Point, cts: Some) -> Tangents:
        xp, (ct,), factors = at.xp, cts, at.factors
        same, other, w, _ = self._weights(xp, factors)
        U, _, Vh = factors
        H_U = xp.matmul(ct + adjoint(xp, ct), U)
        M = xp.matmul(adjoint(xp, U), H_U)
        core = scale(xp, same, M) + adjoint(xp, scale(xp, other, M))
        if U.shape[-2] > U.shape[-1]:
            inner = xp.matmul(U, core - scale_columns(xp, M, w)) + scale_columns(xp, H_U, w)
        else:
            inner = xp.matmul(U, core)
        return Tangents(xp.matmul(inner, Vh), ())

    def _one_sided(self, xp: Namespace, factors: SVDFactors) -> tuple[OneSided, Cut]:
        """A without the values that count as zero, and Q."""
        kept = self._kept(xp, factors)
        U, S, Vh = factors
        if self.rank is None:
            S = S * kept
        side = one_sided(xp, U, S, Vh)
        return side, side.constant(kept, 1.0)

    @staticmethod
    def _second_of_Q(xp: Namespace, side: OneSided, cut: Cut, x: Side, y: Side) -> Array:
        return side.back(side.second(cut, -xp.ones_like(side.size), x, y))  # g = 1/S

    def second(self, at: Point, one: Tangents, two: Tangents) -> Arrays:
        xp = at.xp
        side, cut = self._one_sided(xp, at.factors)
        x, y = side.divided(one.A), side.divided(two.A)
        D_x, D_y = (side.back(side.first(cut, z)) for z in (x, y))
        half = xp.matmul(
            self._second_of_Q(xp, side, cut, x, y), adjoint(xp, side.back(side.value(cut)))
        ) + xp.matmul(D_x, adjoint(xp, D_y))
        return (half + adjoint(xp, half),)

    def hvp(self, at: Point, cts: Some, along: Tangents) -> Tangents:
        xp, (ct,) = at.xp, cts
        side, cut = self._one_sided(xp, at.factors)
        x, twice = side.divided(along.A), ct + adjoint(xp, ct)
        of_Q = side.divided(xp.matmul(twice, side.back(side.value(cut))))
        through = side.divided(xp.matmul(twice, side.back(side.first(cut, x))))
        T = self._second_of_Q(xp, side, cut, x, of_Q)
        return Tangents(T + side.back(side.first(cut, through)), ())
