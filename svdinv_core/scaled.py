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

If m is several times n, W is not formed either: the drivers for such matrices would compute it as
``A V``, and products of A with n-by-n matrices are cheaper,

    B    = A (V g V^H)
    ct_A = G (V g V^H) + A (V K V^H)      C = V^H (A^H G) V

For m < n the formulas are applied to ``A^H``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from .arrays import (
    add_product,
    added,
    adjoint,
    cast_like,
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
from .drivers import TALL, Driver, Needs, native
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
    other one holds the singular vectors times their values; it is ``left`` if m >= n. If A is
    long (`is_long`), ``A[..., None]`` is in its place; the additional axis shows it.
    """

    left: Array
    S: Array
    right: Array

    @property
    def wide(self) -> bool:
        """Whether A has fewer rows than columns."""
        if self.long:
            return len(self.right.shape) > len(self.left.shape)
        return bool(self.left.shape[-2] < self.right.shape[-1])

    @property
    def long(self) -> bool:
        """Whether A is long, so that it is in the place of a factor.

        Lengths would not do: a compiler may know them at one time and not at another.
        """
        return len(self.left.shape) != len(self.right.shape)


def is_long(m: Any, n: Any) -> bool:
    """Whether one side is several times the other, so that singular vectors times values are not
    formed. False if a length is not known."""
    return isinstance(m, int) and isinstance(n, int) and TALL * min(m, n) <= max(m, n)


def _sides(xp: Namespace, factors: ScaledFactors) -> tuple[Array, Array, Array]:
    """``(W, V, V^H)`` of A, or of its adjoint if A is wide; A in place of W if A is long."""
    left, _, right = factors
    if factors.wide:
        return adjoint(xp, right[..., 0] if factors.long else right), left, adjoint(xp, left)
    return left[..., 0] if factors.long else left, adjoint(xp, right), right


def _tall(xp: Namespace, factors: ScaledFactors) -> tuple[Array, Array, Array]:
    """``(W, V, V^H)`` of A, or of its adjoint if A is wide."""
    W, V, Vh = _sides(xp, factors)
    return xp.matmul(W, V) if factors.long else W, V, Vh


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
        if not is_long(*A.shape[-2:]):
            return ScaledFactors(*self.driver.compute(xp, A, long="scaled", finite=finite))
        left, S, right = self.driver.compute(xp, A, long="none", finite=finite)
        whole = xp.expand_dims(A, axis=-1)
        return ScaledFactors(*(whole if x is None else x for x in (left, S, right)))

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
        wide, long = factors.wide, factors.long
        W, V, Vh = _tall(xp, factors)
        one = unit(xp, first(factors.S))
        by_pair = xp.expand_dims(one, axis=-1)
        inverse_gap, inverse_total, inverse_S = self._reciprocals(xp, factors.S * one)
        W = scale(xp, by_pair, W)
        dA_V = xp.matmul(adjoint(xp, dA) if wide else dA, V)
        D = xp.matmul(adjoint(xp, W), dA_V)
        omega = scale(xp, inverse_total, scale(xp, inverse_gap, D + adjoint(xp, D)))
        dS = inverse_S * real_diagonal(xp, D)
        whole = xp.expand_dims(dA, axis=-1) if long else None
        dW: Array = None if long else dA_V + xp.matmul(W, omega)
        omega = scale(xp, by_pair, omega)
        if wide:
            return ScaledFactors(xp.matmul(V, omega), dS, whole if long else adjoint(xp, dW))
        return ScaledFactors(whole if long else dW, dS, -xp.matmul(omega, Vh))

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
        wide = factors.wide
        ct_A: Array = None  # of A in the place of W
        if factors.long:
            whole, ct_left, ct_right = (
                (ct_right, ct_left, None) if wide else (ct_left, None, ct_right)
            )
            ct_A = None if whole is None else whole[..., 0]
            if ct_left is None and ct_S is None and ct_right is None:
                return ct_A
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
        more = xp.matmul(inner if ct_W is None else inner + ct_W, Vh)
        return added(ct_A, adjoint(xp, more) if wide else more)


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
    return OneSided(xp, W, V, factors.S, factors.wide)


def _weigh(xp: Namespace, factors: ScaledFactors, g: Array, one: Array | None = None) -> Array:
    """``W diag(g) V^H`` from the first columns, as many as g has entries; W scaled by `one`."""
    left, _, right = factors
    r = g.shape[-1]
    if factors.long:
        A, V, Vh = _sides(xp, factors)
        A = A if one is None else scale_rows(xp, one, A)
        out = xp.matmul(
            A, _hermitian(xp, leading(V, r), g, Vh if V.shape[-1] == r else Vh[..., :r, :])
        )
        return adjoint(xp, out) if factors.wide else out
    left, right = leading(left, r), right if right.shape[-2] == r else right[..., :r, :]
    if one is not None:
        left, right = (
            (left, scale_rows(xp, one, right))
            if factors.wide
            else (scale_rows(xp, one, left), right)
        )
    if factors.wide:
        return xp.matmul(scale_columns(xp, left, g), right)
    return xp.matmul(left, scale_rows(xp, g, right))


def _hermitian(xp: Namespace, V: Array, g: Array, Vh: Array) -> Array:
    """``V diag(g) V^H``."""
    return xp.matmul(scale_columns(xp, V, g), Vh)


class _Direction:
    """``C = W^H G V`` for a tangent or cotangent G, and the map D.

    W is scaled by the unit of the values, if there is one. A long matrix needs three products with
    A and G, and k-by-k products besides. Another one takes four large products and none besides. If
    only ``r < k`` columns count, the block of C of two other columns is not formed, and every
    product has a side of r.
    """

    def __init__(self, at: Point, G: Array, terms: Any, divided: Divided, r: int) -> None:
        xp, factors, one = at.xp, at.factors, terms.unit
        self.xp, self.r, self.g, self.divided = xp, r, terms.g, divided
        self.wide = factors.wide
        self.long = factors.long and r == factors.S.shape[-1]
        W, self.V, self.Vh = (_sides if self.long else _tall)(xp, factors)
        self.W = W if one is None else scale(xp, xp.expand_dims(one, axis=-1), W)
        self.G = adjoint(xp, G) if self.wide else G
        k = self.V.shape[-1]
        Wh = adjoint(xp, self.W)
        self.GV: Array = None
        self.across: tuple[Array, Array] | None = None  # as C, but for the other columns
        if r < k:
            self.GV = xp.matmul(self.G, self.V[..., :r])
            left = xp.matmul(Wh, self.GV)
            right = xp.matmul(xp.matmul(Wh[..., :r, :], self.G), self.V[..., r:])
            C = left[..., :r, :]
            self.across = left[..., r:, :], right
        elif self.long:
            C = xp.matmul(self.Vh, xp.matmul(xp.matmul(Wh, self.G), self.V))
        else:
            self.GV = xp.matmul(self.G, self.V)
            C = xp.matmul(Wh, self.GV)
        self.C = C
        self.diagonal = real_diagonal(xp, C)

    def map(self, more: Array | None) -> Array:
        """``G V g V^H + W (Gamma * (C + C^H) + diag(more)) V^H``."""
        xp, r, g, divided = self.xp, self.r, self.g, self.divided
        K = _weighted(xp, divided, (self.C, self.C), rows=slice(0, r))
        if self.long:
            out = xp.matmul(self.G, _hermitian(xp, self.V, g, self.Vh))
            K = xp.matmul(K, self.Vh)
            K = K if more is None else K + scale_rows(xp, more, self.Vh)
            out = add_product(xp, out, self.W, xp.matmul(self.V, K))
            return adjoint(xp, out) if self.wide else out
        W, Vh = leading(self.W, r), self.Vh if self.across is None else self.Vh[..., :r, :]
        inner = scale_columns(xp, self.GV, leading(g, r))
        if more is not None:
            inner += scale_columns(xp, W, more)
        inner = add_product(xp, inner, W, K)
        if self.across is None:
            out = xp.matmul(inner, Vh)
        else:
            K = _weighted(xp, divided, self.across, rows=slice(r, None))
            inner = add_product(xp, inner, self.W[..., r:], K)
            beyond = xp.matmul(adjoint(xp, K), self.Vh[..., r:, :])
            out = add_product(xp, xp.matmul(inner, Vh), W, beyond)
        return adjoint(xp, out) if self.wide else out


def _weighted(xp: Namespace, divided: Divided, C: tuple[Array, Array], rows: slice) -> Array:
    """``Gamma * (X + Y^H)`` for C = (X, Y) and some rows of Gamma.

    Operations are in place because new memory for a large array takes longer than arithmetic.
    """
    X = C[0] + adjoint(xp, C[1])
    for weights in (divided.ratio, divided.first, divided.second):
        if weights is None:
            continue
        every = weights.shape[-2] in (1, X.shape[-2])
        X *= cast_like(xp, weights if every else weights[..., rows, :], X)
    return X
