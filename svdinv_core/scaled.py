r"""Functions of a matrix without its singular vectors of the longer side.

For m >= n write ``A = W V^H`` with ``W = A V = U diag(S)``: V is unitary, the columns of W are
orthogonal and have the singular values as norms. With ``g = f(S)/S``

    B = U diag(f(S)) V^H = W diag(g) V^H = A V diag(g) V^H

is A times a Hermitian function of ``A^H A``, and Daleckii & Krein's formula, used once,

    dB   = dA V g V^H + W K V^H       K = Gamma * (C + C^H)    C = W^H dA V
    ct_A = G V g V^H + W K V^H        K = Gamma * (C + C^H)    C = W^H G V

    Gamma_ij = (g_i - g_j)/(S_i^2 - S_j^2)

is one self-adjoint map for forward and reverse mode. No U stands in it, no complement of U and no
division by a value that f drops, so that ``(S, V)`` may come from the eigendecomposition of
``A^H A``, which costs a fraction of an SVD: what this loses, the relative accuracy of small
values, matters only against the smallest value that counts (:meth:`.gram.Gram.resolves`). A column
of W has its own value as scale, so that nothing is lost where W comes from an SVD.

For m < n everything is said of ``A^H``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from .arrays import (
    adjoint,
    diagonal_matrix,
    last,
    real_diagonal,
    reciprocal,
    scale,
    scale_columns,
    scale_rows,
    sum_to_shape,
)
from .gram import Gram, like, real_like
from .namespace import Array, Namespace
from .operator import Operator
from .rules import Pairs, Pinv, default_degeneracy_rtol
from .svd import SVD

__all__ = ["LowRank", "ScaledFactors", "ScaledOperator", "ScaledSVD", "SoftThreshold"]


class ScaledFactors(NamedTuple):
    """``A = left @ right``, ``S (..., k)`` ascending.

    ``left (..., m, k)`` and ``right (..., k, n)``: the one of the shorter side is unitary, the
    other is the singular vectors times their values (``left`` where m >= n).
    """

    left: Array
    S: Array
    right: Array


def _is_wide(factors: ScaledFactors) -> bool:
    return bool(factors.left.shape[-2] < factors.right.shape[-1])


def _tall(xp: Namespace, factors: ScaledFactors) -> tuple[Array, Array, Array]:
    """``(W, V, V^H)`` of A, or of its adjoint where A is wide."""
    left, _, right = factors
    if _is_wide(factors):
        return adjoint(xp, right), left, adjoint(xp, left)
    return left, adjoint(xp, right), right


@dataclass(frozen=True)
class ScaledSVD:
    """The decomposition ``A = left @ right``, differentiable as long as no values are tied.

    Parameters
    ----------
    gram : Gram, optional
        From the eigendecomposition of ``A^H A``; None: from the singular value decomposition.
    """

    gram: Gram | None = None
    factors: ClassVar[type[ScaledFactors]] = ScaledFactors
    linear: ClassVar[bool] = True
    _svd: ClassVar[SVD] = SVD()

    def require_linear(self) -> None:
        """There are forward mode and second derivatives."""

    def compute(self, xp: Namespace, A: Array) -> ScaledFactors:
        """Factors of A; NaN for a matrix with a non-finite entry."""
        if self.gram is None or 0 in A.shape:
            return self._by_svd(xp, A)
        wide = A.shape[-2] < A.shape[-1]
        tall = adjoint(xp, A) if wide else A
        _, S, V = self.gram.compute(xp, tall)
        S, V = real_like(xp, S, A), like(xp, V, A)
        W = xp.matmul(tall, V)
        if wide:
            return ScaledFactors(V, S, adjoint(xp, W))
        return ScaledFactors(W, S, adjoint(xp, V))

    def _by_svd(self, xp: Namespace, A: Array) -> ScaledFactors:
        U, S, Vh = self._svd.compute(xp, A)
        if A.shape[-2] >= A.shape[-1]:
            U = scale_columns(xp, U, S)
        else:
            Vh = scale_rows(xp, S, Vh)
        return ScaledFactors(xp.flip(U, axis=-1), xp.flip(S, axis=-1), xp.flip(Vh, axis=-2))

    def _rotation(self, xp: Namespace, S: Array) -> tuple[Array, Array, Array]:
        """``1/(S_j - S_i)``, 0 on a tie; ``1/(S_j + S_i)``; and ``1/S``, 0 for a zero value."""
        pairs = Pairs.of_eigenvalues(xp, S, Pinv())
        apart = (pairs.order != 0) & ~pairs.tied
        return reciprocal(xp, pairs.gap, apart), pairs.inverse_total, pairs.inverse_values

    def jvp(self, xp: Namespace, factors: ScaledFactors, dA: Array) -> ScaledFactors:
        """Forward mode: with ``dV = V Omega``, ``Omega = (D + D^H)/(S_j^2 - S_i^2)``."""
        wide = _is_wide(factors)
        W, V, Vh = _tall(xp, factors)
        gap, total, values = self._rotation(xp, factors.S)
        dA_V = xp.matmul(adjoint(xp, dA) if wide else dA, V)
        D = xp.matmul(adjoint(xp, W), dA_V)
        omega = scale(xp, total, scale(xp, gap, D + adjoint(xp, D)))
        dS = values * real_diagonal(xp, D)
        dW = dA_V + xp.matmul(W, omega)
        if wide:
            return ScaledFactors(xp.matmul(V, omega), dS, adjoint(xp, dW))
        return ScaledFactors(dW, dS, -xp.matmul(omega, Vh))

    def vjp(
        self, xp: Namespace, factors: ScaledFactors, cotangents: tuple[Array | None, ...]
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
        gap, total, values = self._rotation(xp, factors.S)
        core: Array = None
        X: Array = None
        if ct_W is not None:
            X = xp.matmul(adjoint(xp, W), ct_W)
        if ct_Vh is not None:
            Y = adjoint(xp, xp.matmul(ct_Vh, V))
            X = Y if X is None else X + Y
        if X is not None:
            X = scale(xp, total, scale(xp, gap, X))
            core = X + adjoint(xp, X)
        if ct_S is not None:
            diagonal = diagonal_matrix(xp, values * ct_S, W.dtype)
            core = diagonal if core is None else core + diagonal
        inner = xp.matmul(W, core)
        ct_A = xp.matmul(inner if ct_W is None else inner + ct_W, Vh)
        return adjoint(xp, ct_A) if wide else ct_A


class Divided(NamedTuple):
    """``Gamma = numerator/first/second``, ``(..., k, k)`` each.

    Gamma has the scale of ``1/S^2``, which overflows long before ``1/S`` does.
    """

    numerator: Array
    first: Array
    second: Array


class ScaledOperator(Operator):
    """``B = W diag(g) V^H``: apply and both derivatives, from g and Gamma.

    What the methods below share is computed once, by `at`, and handed to them as `point`.
    """

    decomposition: ClassVar[ScaledSVD] = ScaledSVD()

    def at(self, xp: Namespace, S: Array, params: tuple[Array, ...]) -> Any:
        """What depends on the values and the parameters alone, with g as its field ``g``."""
        raise NotImplementedError

    def divided(self, xp: Namespace, S: Array, point: Any) -> Divided:
        """The divided differences of g in the squares of S."""
        raise NotImplementedError

    def push(
        self,
        xp: Namespace,
        S: Array,
        point: Any,
        params: tuple[Array, ...],
        dparams: tuple[Array | None, ...],
        diagonal: Array | None,
    ) -> Array | None:
        """Variation of g that is not in Gamma, or None.

        Through parameters, and from ``diagonal = S * dS``; None stands for no variation.
        """
        return None

    def pull(
        self, xp: Namespace, S: Array, point: Any, params: tuple[Array, ...], diagonal: Array
    ) -> tuple[tuple[Array | None, ...], Array | None]:
        """Adjoint of `push`, from the cotangents of g: for the parameters, and for ``S * S/2``."""
        return (), None

    def apply(
        self, xp: Namespace, A: Array, factors: ScaledFactors, params: tuple[Array, ...]
    ) -> Array:
        return _weigh(xp, factors, self.at(xp, factors.S, params).g)

    def jvp(
        self,
        xp: Namespace,
        A: Array,
        factors: ScaledFactors,
        params: tuple[Array, ...],
        dA: Array | None,
        dparams: tuple[Array | None, ...],
    ) -> Array | None:
        S = factors.S
        point = self.at(xp, S, params)
        if dA is None:
            dg = self.push(xp, S, point, params, dparams, None)
            return None if dg is None else _weigh(xp, factors, dg)
        direction = _Direction(xp, factors, dA)
        dg = self.push(xp, S, point, params, dparams, direction.diagonal)
        return direction.map(point.g, self.divided(xp, S, point), dg)

    def vjp(
        self, xp: Namespace, A: Array, factors: ScaledFactors, params: tuple[Array, ...], ct: Array
    ) -> tuple[Array, tuple[Array | None, ...]]:
        S = factors.S
        point = self.at(xp, S, params)
        direction = _Direction(xp, factors, ct)
        ct_params, more = self.pull(xp, S, point, params, direction.diagonal)
        return direction.map(point.g, self.divided(xp, S, point), more), ct_params


def _weigh(xp: Namespace, factors: ScaledFactors, g: Array) -> Array:
    """``W diag(g) V^H``."""
    left, _, right = factors
    if _is_wide(factors):
        return xp.matmul(scale_columns(xp, left, g), right)
    return xp.matmul(left, scale_rows(xp, g, right))


def _outer(xp: Namespace, v: Array) -> Array:
    """``v_i + v_j``."""
    return xp.expand_dims(v, axis=-1) + xp.expand_dims(v, axis=-2)


class _Direction:
    """``C = W^H G V`` of a direction or a cotangent G, and the map of the derivative.

    A long matrix meets W and G in three products, all others being k by k; one that is nearly
    square in four, without those.
    """

    def __init__(self, xp: Namespace, factors: ScaledFactors, G: Array) -> None:
        self.xp = xp
        self.wide = _is_wide(factors)
        self.W, self.V, self.Vh = _tall(xp, factors)
        self.G = adjoint(xp, G) if self.wide else G
        Wh = adjoint(xp, self.W)
        self.GV: Array = None
        if self.W.shape[-2] > 3 * self.V.shape[-1]:
            self.C = xp.matmul(xp.matmul(Wh, self.G), self.V)
        else:
            self.GV = xp.matmul(self.G, self.V)
            self.C = xp.matmul(Wh, self.GV)
        self.diagonal = real_diagonal(xp, self.C)

    def map(self, g: Array, divided: Divided, dg: Array | None) -> Array:
        """``G V g V^H + W (Gamma * (C + C^H) + diag(dg)) V^H``."""
        xp = self.xp
        K = scale(xp, divided.numerator / divided.first, self.C + adjoint(xp, self.C))
        K = scale(xp, 1.0 / divided.second, K)
        if dg is not None:
            K = K + diagonal_matrix(xp, dg, K.dtype)
        if self.GV is None:
            M = xp.matmul(scale_columns(xp, self.V, g), self.Vh)
            out = xp.matmul(self.G, M) + xp.matmul(self.W, xp.matmul(K, self.Vh))
        else:
            out = xp.matmul(scale_columns(xp, self.GV, g) + xp.matmul(self.W, K), self.Vh)
        return adjoint(xp, out) if self.wide else out


class Thresholded(NamedTuple):
    """``g = 1 - t/S``, ``q = t/S`` and ``1/S`` on kept values, 0 on the others; which are kept."""

    g: Array
    q: Array
    kept: Array
    inverse: Array


@dataclass(frozen=True)
class SoftThreshold(ScaledOperator):
    """Singular value thresholding, ``f(S) = max(S - tau, 0)``; one parameter, tau.

        g = 1 - tau/S kept, 0 dropped
        Gamma_ij = tau/(S_i S_j (S_i + S_j)) both kept;  g_i/(S_i^2 - S_j^2) across;  0 both dropped

    written by these cases and never as a difference quotient: the derivative cannot grow.

    Parameters
    ----------
    relative : bool
        The threshold is ``tau`` times the largest value. Where that is repeated its derivative is
        the mean over the repetition: the element of least norm among the subgradients, and the
        one that does not depend on the choice of singular vectors.
    """

    relative: bool = False

    @staticmethod
    def _column(xp: Namespace, t: Array) -> Array:
        """A per-matrix parameter against ``(..., k)``; a Python number stays one."""
        return t if isinstance(t, (int, float)) else xp.expand_dims(t, axis=-1)

    def _threshold(self, xp: Namespace, S: Array, tau: Array) -> Array:
        t = self._column(xp, tau)
        return t * last(S) if self.relative else t

    def extent(self, xp: Namespace, S: Array, params: tuple[Array, ...]) -> tuple[Array, Array]:
        return last(S), self._threshold(xp, S, params[0])

    def at(self, xp: Namespace, S: Array, params: tuple[Array, ...]) -> Thresholded:
        t = self._threshold(xp, S, params[0])
        kept = ~((t >= S) | (S == 0))  # a NaN is kept, and stays one
        inverse = xp.where(kept, 1.0 / xp.where(kept, S, 1.0), 0.0)
        return Thresholded(g=(S - t) * inverse, q=t * inverse, kept=kept, inverse=inverse)

    def divided(self, xp: Namespace, S: Array, point: Thresholded) -> Divided:
        """With ``p = S`` kept, ``-S`` dropped:

        both kept     (q_i + q_j)/(p_i + p_j)/(S_i + S_j)
        across        (g_i + g_j)/(p_i + p_j)/(S_i + S_j)
        """
        g, q, kept, _ = point
        beside_kept = xp.astype(kept, S.dtype)
        # q_i beside a kept value, g_i beside a dropped one
        half = xp.expand_dims(g, axis=-1)
        half = half + xp.expand_dims(q - g, axis=-1) * xp.expand_dims(beside_kept, axis=-2)
        # Two dropped values have a numerator of 0, and any denominator that is not.
        largest = last(S)
        dropped = 1.0 - beside_kept
        unit = xp.expand_dims(4.0 * xp.where(largest > 0, largest, 1.0) * dropped, axis=-1)
        both_dropped = unit * xp.expand_dims(dropped, axis=-2)
        return Divided(
            numerator=half + xp.matrix_transpose(half),
            first=_outer(xp, xp.where(kept, S, -S)) + both_dropped,
            second=_outer(xp, S) + both_dropped,
        )

    def _largest_weights(self, xp: Namespace, S: Array) -> Array:
        """Derivative of the largest value in the values: 1/r on its r repetitions."""
        largest = last(S)
        rtol = default_degeneracy_rtol(float(xp.finfo(S.dtype).eps))
        top = xp.where(largest - S > rtol * largest, xp.zeros_like(S), xp.ones_like(S))
        return top / xp.sum(top, axis=-1, keepdims=True)

    def push(
        self,
        xp: Namespace,
        S: Array,
        point: Thresholded,
        params: tuple[Array, ...],
        dparams: tuple[Array | None, ...],
        diagonal: Array | None,
    ) -> Array | None:
        (tau,), (dtau,), inverse = params, dparams, point.inverse
        dt: Array = None if dtau is None else xp.expand_dims(dtau, axis=-1)
        if self.relative:
            dt = None if dt is None else dt * last(S)
            if diagonal is not None:
                weights = self._largest_weights(xp, S)
                mean = xp.sum(weights * inverse * diagonal, axis=-1, keepdims=True)
                through_largest = self._column(xp, tau) * mean
                dt = through_largest if dt is None else dt + through_largest
        return None if dt is None else -dt * inverse

    def pull(
        self,
        xp: Namespace,
        S: Array,
        point: Thresholded,
        params: tuple[Array, ...],
        diagonal: Array,
    ) -> tuple[tuple[Array | None, ...], Array | None]:
        (tau,), inverse = params, point.inverse
        fixed = isinstance(tau, (int, float))
        if fixed and not self.relative:
            return (None,), None
        ct_t = -xp.sum(inverse * diagonal, axis=-1)
        more: Array = None
        if self.relative:
            more = xp.expand_dims(ct_t * tau, axis=-1) * self._largest_weights(xp, S) * inverse
            ct_t = ct_t * xp.sum(last(S), axis=-1)
        return (None if fixed else sum_to_shape(xp, ct_t, tuple(tau.shape)),), more


class _Kept(NamedTuple):
    """g: 1 on kept values, 0 on the others."""

    g: Array


@dataclass(frozen=True)
class LowRank(ScaledOperator):
    """The best approximation of rank `rank`: the largest values kept, the others dropped.

        g = 1 kept, 0 dropped
        Gamma_ij = 1/(S_i^2 - S_j^2) for i kept and j dropped;  0 within either part

    Where the cut splits a tie the derivative does not exist; there Gamma is 0, and the result
    finite.
    """

    rank: int

    def extent(self, xp: Namespace, S: Array, params: tuple[Array, ...]) -> tuple[Array, Array]:
        largest, dropped = last(S), S.shape[-1] - self.rank
        if dropped <= 0 or self.rank == 0:
            return largest, largest
        above, below = S[..., dropped : dropped + 1], S[..., dropped - 1 : dropped]
        return largest, xp.sqrt(above - below) * xp.sqrt(above + below)

    def at(self, xp: Namespace, S: Array, params: tuple[Array, ...]) -> _Kept:
        kept = xp.cumulative_sum(xp.ones_like(S), axis=-1) > S.shape[-1] - self.rank
        g = xp.where(kept, xp.ones_like(S), xp.zeros_like(S))
        return _Kept(xp.where(S >= 0, g, S))  # a NaN stays one

    def divided(self, xp: Namespace, S: Array, point: _Kept) -> Divided:
        pairs = Pairs.of_eigenvalues(xp, S, Pinv())
        g = point.g
        across = xp.expand_dims(g, axis=-1) - xp.expand_dims(g, axis=-2)
        apart = (across != 0) & ~pairs.tied
        unit = xp.ones_like(pairs.gap)
        return Divided(
            numerator=xp.where(apart, across, xp.zeros_like(across)),
            first=xp.where(apart, -pairs.gap, unit),
            second=xp.where(apart, _outer(xp, S), unit),
        )
