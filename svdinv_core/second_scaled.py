r"""Second derivatives of ``B = A V diag(g) V^H``, the form of `scaled`, exact for repeated values.

A value is kept, or dropped (g = 0). Divided differences of g are in ``l = S^2``. With ``W = A V``,
``H_X = W^H X V + V^H X^H W`` and ``E = V^H (X^H Y + Y^H X) V``

    T[X, Y] = ( X V g'[H_Y] + Y V g'[H_X] + W (g''[H_X, H_Y] + g'[E]) ) V^H
    g'[H]_ij = G_ij H_ij         g''[H, K]_ij = sum_l g[i, l, j] (H_il K_lj + K_il H_lj)

With ``N_ij = 1/(S_i^2 - S_j^2)`` for a kept and a dropped value, and G = 0 for two dropped ones,

    i kept, j dropped, any l:  g[i, l, j] = (G_il - G_lj) N_ij
    i, j kept, l dropped:      g[i, l, j] = (G_ij - G_lj) N_il
    i, j dropped, l kept:      g[i, l, j] = G_il N_lj

where all denominators are gaps across the cut. For three kept values each operator has a closed
form. For ``g = 1 - t/S`` it is

    g[i, l, j] = -t/(S_i S_j) (1/S_l + 1/(S_i + S_j)) / ((S_i + S_l)(S_l + S_j)).

All of these are products of factors that depend on pairs, so the sums are products of matrices.
Values, W and one direction are divided by the largest value.
"""

from __future__ import annotations

from typing import NamedTuple

from .arrays import (
    adjoint,
    over,
    real_diagonal,
    reciprocal,
    safe_size,
    scale,
    scale_columns,
    scale_rows,
)
from .namespace import Array, Namespace

__all__ = ["Cut", "OneSided", "Side", "one_sided"]


class Cut(NamedTuple):
    """A function g that is 0 for dropped values.

    g and `kept` (1 or 0) are ``(..., k)``; `gamma` = G and `across` = N are ``(..., k, k)``.
    """

    g: Array
    kept: Array
    gamma: Array
    across: Array


class Side(NamedTuple):
    """A direction X in the basis V: ``X V``, and ``C = W^H X V`` with ``H = C + C^H``."""

    XV: Array
    C: Array
    H: Array


def _columns(xp: Namespace, v: Array) -> tuple[Array, Array]:
    """``v_i`` and ``v_j`` of ``v (..., k)``, to broadcast over pairs."""
    return xp.expand_dims(v, axis=-1), xp.expand_dims(v, axis=-2)


class OneSided:
    """``A = W V^H`` and its values, divided by the largest one."""

    def __init__(self, xp: Namespace, W: Array, V: Array, S: Array, wide: bool) -> None:
        self.xp, self.V, self.wide = xp, V, wide
        self.size = safe_size(xp, S)
        self.s, self.W = S / self.size, over(xp, W, self.size)
        self.Wh = adjoint(xp, self.W)

    def side(self, X: Array) -> Side:
        """A direction, not scaled."""
        XV = self.xp.matmul(adjoint(self.xp, X) if self.wide else X, self.V)
        C = self.xp.matmul(self.Wh, XV)
        return Side(XV, C, C + adjoint(self.xp, C))

    def divided(self, X: Array) -> Side:
        """A direction, divided by the largest value."""
        return self.side(over(self.xp, X, self.size))

    def back(self, ZV: Array) -> Array:
        """A matrix, from its product with V."""
        Z = self.xp.matmul(ZV, adjoint(self.xp, self.V))
        return adjoint(self.xp, Z) if self.wide else Z

    def across(self, kept: Array) -> Array:
        """``N``: ``1/(S_i^2 - S_j^2)`` between a kept value and a dropped one, else 0."""
        xp = self.xp
        (s_i, s_j), (kept_i, kept_j) = _columns(xp, self.s), _columns(xp, kept)
        apart = (kept_i != kept_j) & (s_i != s_j)
        return reciprocal(xp, s_i - s_j, apart) * reciprocal(xp, s_i + s_j, apart)

    def constant(self, kept: Array, value: Array | float) -> Cut:
        """``f = value`` on kept values, 0 on dropped ones: ``g = value/S``."""
        xp = self.xp
        inverse = reciprocal(xp, self.s, (kept != 0) & (self.s != 0))
        across = self.across(kept)
        g = inverse * value
        (g_i, g_j), (kept_i, kept_j) = _columns(xp, g), _columns(xp, kept)
        s_i, s_j = _columns(xp, self.s)
        both = (kept_i != 0) & (kept_j != 0)
        total = reciprocal(xp, s_i + s_j, both & (s_i + s_j != 0))
        within = -g_i * xp.expand_dims(inverse, axis=-2) * total
        return Cut(g, kept, xp.where(both, within, (g_i - g_j) * across), across)

    def value(self, cut: Cut) -> Array:
        """The function times V."""
        return scale_columns(self.xp, self.W, cut.g)

    def along(self, cut: Cut, side: Side) -> Array:
        """The inner product of the function with a direction, ``(..., 1)``."""
        return self.xp.sum(cut.g * real_diagonal(self.xp, side.C), axis=-1, keepdims=True)

    def first(self, cut: Cut, side: Side) -> Array:
        """The first derivative in a direction, times V."""
        core = self.xp.matmul(self.W, scale(self.xp, cut.gamma, side.H))
        return scale_columns(self.xp, side.XV, cut.g) + core

    def second(self, cut: Cut, threshold: Array | None, x: Side, y: Side) -> Array:
        """``T[X, Y] V`` for ``g = 1 - t/S`` with the threshold ``(..., 1)``; None means g = 1."""
        return _second(self.xp, self.W, self.s, cut, threshold, x, y)


def one_sided(xp: Namespace, U: Array, S: Array, Vh: Array) -> OneSided:
    """From the factors of A; vectors of the longer side for zero values may be missing."""
    wide = bool(U.shape[-2] < Vh.shape[-1])
    W, V = (adjoint(xp, Vh), U) if wide else (U, adjoint(xp, Vh))
    return OneSided(xp, scale_columns(xp, W, S), V, S, wide)


def _second(
    xp: Namespace, W: Array, s: Array, cut: Cut, threshold: Array | None, x: Side, y: Side
) -> Array:
    G, N = cut.gamma, cut.across
    kept_i, kept_j = _columns(xp, cut.kept)
    GX, GY, NX, NY = (scale(xp, w, side.H) for w in (G, N) for side in (x, y))
    mixed = xp.matmul(GX, y.H) - xp.matmul(x.H, GY)
    R = scale(xp, N, mixed - adjoint(xp, mixed))
    kept = scale(xp, G, xp.matmul(NX, y.H) + xp.matmul(NY, x.H))
    kept = kept - xp.matmul(NX, GY) - xp.matmul(NY, GX)
    dropped = xp.matmul(GX, NY) + xp.matmul(GY, NX)
    R = R + scale(xp, kept_i * kept_j, kept) + scale(xp, (1 - kept_i) * (1 - kept_j), dropped)
    if threshold is not None:
        s_i, s_j = _columns(xp, s)
        both = (kept_i * kept_j != 0) & (s_i != 0)
        total = reciprocal(xp, s_i + s_j, both)
        inverse = reciprocal(xp, s, (cut.kept != 0) & (s != 0))
        X, Y = scale(xp, total, x.H), scale(xp, total, y.H)
        direct = xp.matmul(X, Y)
        inside = xp.matmul(scale_columns(xp, X, inverse), Y) + scale(xp, total, direct)
        inside = scale_columns(xp, scale_rows(xp, inverse, inside), inverse * threshold)
        R = R - inside - adjoint(xp, inside)
    E = xp.matmul(adjoint(xp, x.XV), y.XV)
    R = R + scale(xp, G, E + adjoint(xp, E))
    return xp.matmul(x.XV, GY) + xp.matmul(y.XV, GX) + xp.matmul(W, R)
