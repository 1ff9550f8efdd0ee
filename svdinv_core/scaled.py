r"""Functions of a matrix without its singular vectors of the longer side.

For m >= n write ``A = W V^H`` with ``W = A V = U diag(S)``: V is unitary, the columns of W are
orthogonal and have the singular values as norms. With ``g = f(S)/S``

    B = U diag(f(S)) V^H = W diag(g) V^H = A V diag(g) V^H

is A times a Hermitian function of ``A^H A``. Daleckii & Krein's formula, used once, gives

    dB   = dA V g V^H + W K V^H       K = Gamma * (C + C^H)    C = W^H dA V
    ct_A = G V g V^H + W K V^H        K = Gamma * (C + C^H)    C = W^H G V

    Gamma_ij = (g_i - g_j)/(S_i^2 - S_j^2)

which is one self-adjoint map for forward and reverse mode. It contains neither U, nor a complement
of U, nor a division by a value that f drops. So ``(S, V)`` may come from the eigendecomposition of
``A^H A``, which is much cheaper than an SVD. Small values then have a larger relative error, which
matters only for values that the function depends on; :meth:`.drivers.gram.Gram.resolves` checks the
smallest of these. Each column of W has the size of its value, so nothing is lost if W comes from an
SVD.

For m < n the formulas are applied to ``A^H``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from .arrays import (
    adjoint,
    diagonal_matrix,
    first,
    leading,
    real_diagonal,
    reciprocal,
    scale,
    scale_columns,
    scale_rows,
    unit,
)
from .drivers import Driver, Needs, native
from .namespace import Array, Namespace
from .operator import Arrays, Constant, Look, MatrixFunction, Point, unchanged
from .rules import Pairs, Pinv
from .second_scaled import Cut, OneSided
from .svd import SVD

__all__ = ["Divided", "ScaledFactors", "ScaledOperator", "ScaledSVD"]

SMALLEST_SPLIT = 16
"""Smallest number of values for which leaving columns out saves operations."""


class ScaledFactors(NamedTuple):
    """``A = left @ right``, ``S (..., k)`` descending.

    ``left (..., m, k)`` and ``right (..., k, n)``. The factor of the shorter side is unitary. The
    other one holds the singular vectors times their values; it is ``left`` if m >= n.
    """

    left: Array
    S: Array
    right: Array


def _is_wide(factors: ScaledFactors) -> bool:
    return bool(factors.left.shape[-2] < factors.right.shape[-1])


def _tall(xp: Namespace, factors: ScaledFactors) -> tuple[Array, Array, Array]:
    """``(W, V, V^H)`` of A, or of its adjoint if A is wide."""
    left, _, right = factors
    if _is_wide(factors):
        return adjoint(xp, right), left, adjoint(xp, left)
    return left, adjoint(xp, right), right


@dataclass(frozen=True)
class ScaledSVD:
    """The decomposition ``A = left @ right``, differentiable if no values are tied.

    Parameters
    ----------
    driver : Driver
        How the factors are computed.
    """

    driver: Driver = field(default_factory=native)
    Factors: ClassVar[type[ScaledFactors]] = ScaledFactors
    needs: ClassVar[Needs] = "large values"
    linear: ClassVar[bool] = True

    @property
    def fallback(self) -> ScaledSVD:
        """Itself, because it is linear."""
        return self

    def compute(self, xp: Namespace, A: Array, *, finite: bool = False) -> ScaledFactors:
        """Factors of A; NaN for a matrix with a non-finite entry.

        `finite` is as for :meth:`.svd.SVD.compute`.
        """
        if 0 in A.shape:
            U, S, Vh = SVD().compute(xp, A)
            return ScaledFactors(U, S, Vh)  # empty, so there is nothing to scale
        return ScaledFactors(*self.driver.compute(xp, A, unit=False, finite=finite))

    def _reciprocals(self, xp: Namespace, S: Array) -> tuple[Array, Array, Array]:
        """``1/(S_j - S_i)``, 0 on a tie; ``1/(S_j + S_i)``; and ``1/S``, 0 for a zero value.

        S is scaled by a unit, and so must be W wherever it is multiplied by these.
        """
        k = S.shape[-1]
        pairs = Pairs.of(xp, S, k, k, Pinv())
        apart = (pairs.order != 0) & ~pairs.tied
        return reciprocal(xp, pairs.gap, apart), pairs.inverse_total, pairs.inverse_values

    def jvp(self, xp: Namespace, factors: ScaledFactors, dA: Array) -> ScaledFactors:
        """Forward mode: with ``dV = V Omega``, ``Omega = (D + D^H)/(S_j^2 - S_i^2)``."""
        wide = _is_wide(factors)
        W, V, Vh = _tall(xp, factors)
        one = unit(xp, first(factors.S))
        by_pair = xp.expand_dims(one, axis=-1)
        inverse_gap, inverse_total, inverse_S = self._reciprocals(xp, factors.S * one)
        W = scale(xp, by_pair, W)
        dA_V = xp.matmul(adjoint(xp, dA) if wide else dA, V)
        D = xp.matmul(adjoint(xp, W), dA_V)
        omega = scale(xp, inverse_total, scale(xp, inverse_gap, D + adjoint(xp, D)))
        dS = inverse_S * real_diagonal(xp, D)
        dW = dA_V + xp.matmul(W, omega)
        omega = scale(xp, by_pair, omega)
        if wide:
            return ScaledFactors(xp.matmul(V, omega), dS, adjoint(xp, dW))
        return ScaledFactors(dW, dS, -xp.matmul(omega, Vh))

    def vjp(
        self,
        xp: Namespace,
        factors: ScaledFactors,
        cotangents: tuple[Array | None, ...],
        *,
        constant: Constant = unchanged,
        some: Look | None = None,
    ) -> Array | None:
        """Reverse mode, the adjoint of `jvp`; absent cotangents are None."""
        ct_left, ct_S, ct_right = cotangents
        if ct_left is None and ct_S is None and ct_right is None:
            return None
        wide = _is_wide(factors)
        W, V, Vh = _tall(xp, factors)
        ct_W, ct_Vh = ct_left, ct_right
        if wide:
            ct_W = None if ct_right is None else adjoint(xp, ct_right)
            ct_Vh = None if ct_left is None else adjoint(xp, ct_left)
        one = unit(xp, first(factors.S))
        by_pair = xp.expand_dims(one, axis=-1)
        inverse_gap, inverse_total, inverse_S = self._reciprocals(xp, factors.S * one)
        W = scale(xp, by_pair, W)
        core: Array = None
        X: Array = None
        if ct_W is not None:
            X = xp.matmul(adjoint(xp, W), ct_W)
        if ct_Vh is not None:
            Y = scale(xp, by_pair, adjoint(xp, xp.matmul(ct_Vh, V)))
            X = Y if X is None else X + Y
        if X is not None:
            X = scale(xp, inverse_total, scale(xp, inverse_gap, X))
            core = X + adjoint(xp, X)
        if ct_S is not None:
            diagonal = diagonal_matrix(xp, inverse_S * ct_S, W.dtype)
            core = diagonal if core is None else core + diagonal
        inner = xp.matmul(W, core)
        ct_A = xp.matmul(inner if ct_W is None else inner + ct_W, Vh)
        return adjoint(xp, ct_A) if wide else ct_A


class Divided(NamedTuple):
    """Factors of ``Gamma = first * second * ratio`` that broadcast to ``(..., k, r)``.

    `first` and `second` have the scale of ``1/S``, `ratio` has no scale; None stands for 1. Gamma
    overflows long before its factors do. They are not multiplied with each other, nor written as
    two divisions, because a compiler may turn ``a/b/c`` into ``a/(b c)``.
    """

    first: Array
    second: Array | None = None
    ratio: Array | None = None


class ScaledOperator(MatrixFunction):
    """The one-sided engine: ``B = W diag(g) V^H``, from g and Gamma.

    The `terms` of a function have a field ``g`` with ``f(S)/S`` and a field ``unit (..., 1)``. The
    latter is the :func:`.arrays.unit` of S, or None for 1; `divided` scales S by it, and W is
    scaled where it is multiplied by that. `push` and `pull` work on variations of g. The diagonal
    they receive is ``S * dS`` times the unit, for the first r values only. What they return is a
    variation of g divided by the unit.
    """

    decomposition: ClassVar[ScaledSVD] = ScaledSVD()
    needs: ClassVar[Needs] = "large values"
    twice: ClassVar[bool] = True

    def leading(self, k: int) -> int:
        """Upper bound on the number of leading values whose g is not zero, for every matrix.

        Gamma is zero between two other values, and their products are left out. The bound must be
        known without reading values.
        """
        return k

    def _columns(self, factors: ScaledFactors) -> Any:
        """Number of columns to use; all of them if leaving some out saves nothing."""
        k = factors.S.shape[-1]
        if not isinstance(k, int):  # a symbolic length
            return k
        r = max(self.leading(k), 1)
        return r if k >= SMALLEST_SPLIT and 2 * r <= k else k

    def divided(self, at: Point, terms: Any, r: int) -> Divided:
        """Gamma for all values (rows) and the first r values (columns), in factors."""
        raise NotImplementedError

    def apply(self, at: Point) -> Arrays:
        g = leading(self.terms(at).g, self._columns(at.factors))
        return (_weigh(at.xp, at.factors, g),)

    def direction(self, at: Point, terms: Any, G: Array) -> _Direction:
        r = self._columns(at.factors)
        return _Direction(at, G, terms, self.divided(at, terms, r), r)

    def recomposed(self, at: Point, terms: Any, df: Array) -> Array:
        return _weigh(at.xp, at.factors, df, terms.unit)

    def cut(self, at: Point, side: OneSided) -> tuple[Cut, Array | None]:
        """The `Cut` and the threshold for second derivatives, with values divided by the largest.

        The threshold is None if g is 1 on kept values.
        """
        raise NotImplementedError

    def second_map(self, at: Point, X: Array, Y: Array) -> Array:
        side = one_sided(at.xp, at.factors)
        cut, threshold = self.cut(at, side)
        return side.back(side.second(cut, threshold, side.divided(X), side.side(Y)))


def at_values(at: Point, S: Array, *params: Array) -> Point:
    """The same point with other values and parameters."""
    return at._replace(factors=at.factors._replace(S=S), params=params)


def one_sided(xp: Namespace, factors: ScaledFactors) -> OneSided:
    """The factors of A, or of its adjoint if A is wide, for second derivatives."""
    W, V, _ = _tall(xp, factors)
    return OneSided(xp, W, V, factors.S, _is_wide(factors))


def _weigh(xp: Namespace, factors: ScaledFactors, g: Array, one: Array | None = None) -> Array:
    """``W diag(g) V^H`` from the first columns, as many as g has entries; W scaled by `one`."""
    left, _, right = factors
    r = g.shape[-1]
    left, right = leading(left, r), right if right.shape[-2] == r else right[..., :r, :]
    if one is not None:
        left, right = (
            (left, scale_rows(xp, one, right))
            if _is_wide(factors)
            else (scale_rows(xp, one, left), right)
        )
    if _is_wide(factors):
        return xp.matmul(scale_columns(xp, left, g), right)
    return xp.matmul(left, scale_rows(xp, g, right))


class _Direction:
    """``C = W^H G V`` for a tangent or cotangent G, and the map D.

    W is scaled by the unit of the values, if there is one. A long matrix needs three products with
    W and G, and k-by-k products besides. A nearly square one takes four large products and none
    besides. If only ``r < k`` columns count, the block of C of two other columns is not formed, and
    every product has a side of r.
    """

    def __init__(self, at: Point, G: Array, terms: Any, divided: Divided, r: int) -> None:
        xp, factors, one = at.xp, at.factors, terms.unit
        self.xp, self.r, self.g, self.divided = xp, r, terms.g, divided
        self.wide = _is_wide(factors)
        W, self.V, self.Vh = _tall(xp, factors)
        self.W = W if one is None else scale(xp, xp.expand_dims(one, axis=-1), W)
        self.G = adjoint(xp, G) if self.wide else G
        m, k = self.W.shape[-2], self.V.shape[-1]
        Wh = adjoint(xp, self.W)
        self.GV: Array = None
        self.across: Array = None  # C + C^H, rows of the other columns by the r that count
        if r < k:
            self.GV = xp.matmul(self.G, self.V[..., :r])
            left = xp.matmul(Wh, self.GV)
            right = xp.matmul(xp.matmul(Wh[..., :r, :], self.G), self.V[..., r:])
            C = left[..., :r, :]
            self.across = left[..., r:, :] + adjoint(xp, right)
        elif isinstance(m, int) and m > 3 * k:
            C = xp.matmul(xp.matmul(Wh, self.G), self.V)
        else:
            self.GV = xp.matmul(self.G, self.V)
            C = xp.matmul(Wh, self.GV)
        self.both = C + adjoint(xp, C)
        self.diagonal = real_diagonal(xp, C)

    def map(self, more: Array | None) -> Array:
        """``G V g V^H + W (Gamma * (C + C^H) + diag(more)) V^H``."""
        xp, r, g, divided = self.xp, self.r, self.g, self.divided
        K = _times(xp, divided, self.both, rows=slice(0, r))
        if more is not None:
            K = K + diagonal_matrix(xp, more, K.dtype)
        if self.GV is None:
            M = xp.matmul(scale_columns(xp, self.V, g), self.Vh)
            out = xp.matmul(self.G, M) + xp.matmul(self.W, xp.matmul(K, self.Vh))
            return adjoint(xp, out) if self.wide else out
        W, Vh = leading(self.W, r), self.Vh if self.across is None else self.Vh[..., :r, :]
        inner = scale_columns(xp, self.GV, leading(g, r)) + xp.matmul(W, K)
        if self.across is None:
            out = xp.matmul(inner, Vh)
        else:
            K = _times(xp, divided, self.across, rows=slice(r, None))
            inner = inner + xp.matmul(self.W[..., r:], K)
            beyond = xp.matmul(adjoint(xp, K), self.Vh[..., r:, :])
            out = xp.matmul(inner, Vh) + xp.matmul(W, beyond)
        return adjoint(xp, out) if self.wide else out


def _times(xp: Namespace, divided: Divided, X: Array, rows: slice) -> Array:
    """``Gamma * X`` for some rows of Gamma."""
    for weights in (divided.ratio, divided.first, divided.second):
        if weights is None:
            continue
        every = weights.shape[-2] in (1, X.shape[-2])
        X = scale(xp, weights if every else weights[..., rows, :], X)
    return X
