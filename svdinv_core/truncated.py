r"""The leading part of a matrix, with the derivative from that part alone.

Kept are ``U (m, r), S, V (n, r)``; the rest ``R = A - U S V^H`` is never formed. With
``dU = U Omega_u + K``, ``dV = V Omega_v + L``, Omega as in the full derivative (:mod:`.svd`) and
``U^H K = 0``, ``V^H L = 0``, differentiating ``A V = U S`` and ``A^H U = V S`` gives

    s_i k_i - R l_i   = b_i     b_i = (I - U U^H) dA v_i
    s_i l_i - R^H k_i = c_i     c_i = (I - V V^H) dA^H u_i

a Hermitian system, positive definite as long as the cut is no tie. Without k (or l, on the longer
side) it is

    (I - R^H R/s_i^2) l_i = c_i/s_i + R^H b_i/s_i^2     k_i = (b_i + R l_i)/s_i

of condition ``1/(1 - (s_{r+1}/s_i)^2)``, which conjugate gradients solve for all columns at once
by two products with A a step. On the complement of V, ``R l = (I - U U^H) A l``.

A enters by ``A V`` and ``A^H U`` alone. So these two products, with V and U held fixed, are what is
differentiated by the framework, whatever A is; here are the derivatives of the factors by them.
The system is its own adjoint: in reverse mode it is solved for the cotangents, and

    ct_AV = U core + K          ct_AHU = L

with core as in :meth:`.svd.SVD.vjp`. For the best approximation ``B = U S V^H``

    dB = U U^H dA V V^H + K S V^H + U S L^H

has no division by a difference of kept values, and may have ties among them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from .arrays import (
    adjoint,
    diagonal_matrix,
    first,
    real_diagonal,
    reciprocal,
    scale,
    scale_columns,
    scale_rows,
)
from .drivers import Needs
from .linear import Dense, Linear, as_one, until
from .namespace import Array, Namespace
from .operator import Arrays, Point, Some, Tangents
from .rules import Pairs, Pinv, Rule, default_degeneracy_rtol
from .spectral import FactorsOperator
from .svd import SVD, SVDFactors

__all__ = [
    "NO_SECOND_DERIVATIVE",
    "BestApproximation",
    "KeepColumns",
    "LeadingFactors",
    "LeadingProjector",
    "LinearProduct",
    "Outside",
]

STEPS = 1000
"""Ceiling of the steps of conjugate gradients."""


_APART = 0.1  # least curvature by which a column that is tied across the cut is moved


def conjugate_gradient_rtol(eps: float) -> float:
    """Residual of the system for K and L, relative to its right-hand side."""
    return 4 * eps


def _project(xp: Namespace, U: Array, X: Array) -> Array:
    """``(I - U U^H) X``."""
    return X - xp.matmul(U, xp.matmul(adjoint(xp, U), X))


@dataclass(frozen=True)
class Outside:
    """``(U, S, V, b, c, gap, *arrays of A) -> (K, L)``: projected before and after.

    ``gap (...)`` is that at the cut, ``(S_r - S_{r+1})/S_r``.
    """

    linear: Linear

    def like(
        self,
        xp: Namespace,
        U: Array,
        S: Array,
        V: Array,
        b: Array,
        c: Array,
        gap: Array,
        *arrays: Array,
    ) -> Arrays:
        """Arrays of the shapes and dtypes of the result."""
        return xp.zeros_like(b), xp.zeros_like(c)

    def __call__(
        self,
        xp: Namespace,
        U: Array,
        S: Array,
        V: Array,
        b: Array,
        c: Array,
        gap: Array,
        *arrays: Array,
    ) -> Arrays:
        if isinstance(self.linear, Dense):
            arrays = self.linear.settled(xp, arrays)
        if U.shape[-2] < V.shape[-2]:  # unknown is the shorter side's
            L, K = self._solve(
                xp, V, S, U, c, b, gap, self.linear.rmatmul, self.linear.matmul, arrays
            )
            return K, L
        return self._solve(xp, U, S, V, b, c, gap, self.linear.matmul, self.linear.rmatmul, arrays)

    @staticmethod
    def _solve(
        xp: Namespace,
        U: Array,
        S: Array,
        V: Array,
        b: Array,
        c: Array,
        gap: Array,
        there: Callable[..., Array],
        back: Callable[..., Array],
        arrays: tuple[Array, ...],
    ) -> Arrays:
        inverse = Pairs.of(xp, S, U.shape[-2], V.shape[-2], Pinv()).inverse_values

        def over(X: Array) -> Array:
            return scale_columns(xp, X, inverse)

        def forth(right: Array) -> Array:
            return over(_project(xp, U, there(xp, arrays, right)))

        def again(left: Array) -> Array:
            return over(_project(xp, V, back(xp, arrays, left)))

        b, c = over(_project(xp, U, b)), over(_project(xp, V, c))
        # Columns of size 1, whose squares neither overflow nor underflow.
        size = xp.maximum(*(xp.max(xp.abs(x), axis=-2, keepdims=True) for x in (b, c)))
        some = reciprocal(xp, size, size != 0)
        b, c = scale(xp, some, b), scale(xp, some, c)
        rhs = c + again(b)
        squares = _squares(xp, rhs)
        eps = float(xp.finfo(S.dtype).eps)
        least = conjugate_gradient_rtol(eps) ** 2 * squares

        # A tie across the cut has none: of these columns only what is well apart is solved for.
        rtol = default_degeneracy_rtol(eps)
        tied = xp.expand_dims(gap, axis=-1) * S <= rtol * first(S)
        flat = xp.expand_dims(xp.where(tied, _APART * xp.ones_like(S), 0.0), axis=-2)

        def going(*state: Array) -> Array:
            far = state[-1] > least
            return ~xp.all(~far, axis=tuple(range(len(far.shape))))

        def step(*state: Array) -> Arrays:
            right, r, p, square = state
            image = forth(p)
            length = _squares(xp, p)
            curvature = length - _squares(xp, image)
            moving = (square > least) & (curvature > flat * length)
            alpha = square * reciprocal(xp, curvature, moving)
            right = right + scale(xp, alpha, p)
            r = r - scale(xp, alpha, p - again(image))
            after = xp.where(moving, _squares(xp, r), xp.zeros_like(square))
            beta = after * reciprocal(xp, square, moving)
            return right, r, r + scale(xp, beta, p), after

        def residual(*state: Array) -> Array:
            return xp.sqrt(state[-1] * reciprocal(xp, squares, squares > 0))

        state = (xp.zeros_like(rhs), rhs, rhs, squares)
        (right, _, _, after), looked = until(
            xp, STEPS, going, step, state, residual, "krylov: the derivative"
        )
        # A compiled loop cannot warn: what has not half of its digits is no number there.
        if not looked:
            right = xp.where(after > eps * squares, float("nan"), right)
        left = _project(xp, U, b + forth(right))
        return scale(xp, size, left), scale(xp, size, _project(xp, V, right))


def _squares(xp: Namespace, X: Array) -> Array:
    """Squared norms of the columns, ``(..., 1, r)``."""
    size = xp.abs(X)
    return xp.sum(size * size, axis=-2, keepdims=True)


NO_SECOND_DERIVATIVE = (
    "driver: 'krylov' has no second derivatives, nor those that a compiler takes by itself; use "
    "another driver"
)


class _FirstOrder(SVD):
    """Factors that are not to be differentiated again: the derivative of K and L is not written."""

    def jvp(self, *args: Any) -> SVDFactors:
        raise NotImplementedError(NO_SECOND_DERIVATIVE)

    def vjp(self, *args: Any, **kwargs: Any) -> Array | None:
        raise NotImplementedError(NO_SECOND_DERIVATIVE)


class _Leading(FactorsOperator):
    """Functions of ``AV = A V`` and of the parameters ``AHU = A^H U``, gap and the arrays of A.

    The factors are U, S and Vh, with columns of zeros for what is not kept.
    """

    decomposition: ClassVar[SVD] = _FirstOrder()
    needs: ClassVar[Needs] = "factors"
    linear_map: Linear

    def with_cotangent(self, params: Arrays) -> tuple[bool, ...]:
        return (True, *(False for _ in params[1:]))

    def _outside(self, at: Point, b: Array | None, c: Array | None) -> Arrays:
        """K and L; an absent side is zero."""
        xp, (U, S, Vh) = at.xp, at.factors
        V = adjoint(xp, Vh)
        b = xp.zeros_like(U) if b is None else b
        c = xp.zeros_like(V) if c is None else c
        return as_one(xp, Outside(self.linear_map), U, S, V, b, c, *at.params[1:])


@dataclass(frozen=True)
class LeadingFactors(_Leading):
    """U, S and Vh themselves."""

    linear_map: Linear
    rule: Rule
    outputs: ClassVar[int] = 3

    def apply(self, at: Point) -> Arrays:
        return tuple(at.factors)

    def jvp(self, at: Point, along: Tangents) -> Arrays:
        xp, factors, dA, dAHU = at.xp, at.factors, along.A, along.params[0]
        U, _, Vh = factors
        P = _core(xp, factors, dA, dAHU)
        _, omega_u, omega_v = SVD(self.rule).turns(xp, factors, P)
        K, L = self._outside(at, dA, dAHU)
        dU = xp.matmul(U, omega_u) + K
        dVh = xp.matmul(adjoint(xp, omega_v), Vh) + adjoint(xp, L)
        return dU, real_diagonal(xp, P), dVh

    def vjp(self, at: Point, cts: Some) -> Tangents:
        xp, factors, (ct_U, ct_S, ct_Vh) = at.xp, at.factors, cts
        U, nothing = factors.U, (None,) * len(at.params[1:])
        if ct_U is None and ct_Vh is None:
            return Tangents(scale_columns(xp, U, ct_S), (None, *nothing))
        *_, core = SVD(self.rule).within(xp, factors, cts)
        if ct_S is not None:
            core = core + diagonal_matrix(xp, ct_S, core.dtype)
        ct_V = None if ct_Vh is None else adjoint(xp, ct_Vh)
        K, L = self._outside(at, ct_U, ct_V)
        return Tangents(xp.matmul(U, core) + K, (L, *nothing))


@dataclass(frozen=True)
class BestApproximation(_Leading):
    """``U diag(S) Vh``."""

    linear_map: Linear

    def apply(self, at: Point) -> Arrays:
        xp, (U, S, Vh) = at.xp, at.factors
        return (xp.matmul(scale_columns(xp, U, S), Vh),)

    def jvp(self, at: Point, along: Tangents) -> Arrays:
        xp, factors, dA, dAHU = at.xp, at.factors, along.A, along.params[0]
        U, S, Vh = factors
        P = _core(xp, factors, dA, dAHU)
        K, L = self._outside(at, dA, dAHU)
        left = xp.matmul(U, P) + scale_columns(xp, K, S)
        return (xp.matmul(left, Vh) + xp.matmul(U, scale_rows(xp, S, adjoint(xp, L))),)

    def vjp(self, at: Point, cts: Some) -> Tangents:
        xp, (ct,), (U, S, Vh) = at.xp, cts, at.factors
        GV = xp.matmul(ct, adjoint(xp, Vh))
        GHU = adjoint(xp, xp.matmul(adjoint(xp, U), ct))
        b, c = scale_columns(xp, GV, S), scale_columns(xp, GHU, S)
        K, L = self._outside(at, b, c)
        inside = xp.matmul(U, xp.matmul(adjoint(xp, U), GV))
        return Tangents(inside + K, (L, *(None for _ in at.params[1:])))


@dataclass(frozen=True)
class LeadingProjector(_Leading):
    """``U U^H``, of which ``d(U U^H) = K U^H + U K^H``, whatever is tied among the kept values."""

    linear_map: Linear

    def apply(self, at: Point) -> Arrays:
        return (at.xp.matmul(at.factors.U, adjoint(at.xp, at.factors.U)),)

    def jvp(self, at: Point, along: Tangents) -> Arrays:
        xp, factors = at.xp, at.factors
        K, _ = self._outside(at, along.A, along.params[0])
        half = xp.matmul(K, adjoint(xp, factors.U))
        return (half + adjoint(xp, half),)

    def vjp(self, at: Point, cts: Some) -> Tangents:
        xp, (ct,) = at.xp, cts
        b = xp.matmul(ct + adjoint(xp, ct), at.factors.U)
        K, L = self._outside(at, b, None)
        return Tangents(K, (L, *(None for _ in at.params[1:])))


@dataclass(frozen=True)
class LinearProduct:
    """``(X, *arrays of A)`` to ``A X``, or to ``A^H X``, for an X without a derivative.

    Where nobody differentiates it, A has to be an array, or to have a `pull` of its own:
    cotangents of its arrays ``(xp, arrays, X, ct, adjoint)``.
    """

    linear: Linear
    adjoint: bool = False

    def apply(self, xp: Namespace, *args: Array) -> Arrays:
        X, *arrays = args
        product = self.linear.rmatmul if self.adjoint else self.linear.matmul
        return (product(xp, tuple(arrays), X),)

    def _refuse(self) -> Any:
        if not hasattr(self.linear, "pull"):
            raise TypeError(
                "x: an operator has no derivative here, where nobody differentiates its products"
            )
        return self.linear

    def jvp(self, xp: Namespace, args: Arrays, tangents: Arrays) -> Arrays:
        self._refuse()
        return self.apply(xp, args[0], *tangents[1:])

    def vjp(self, xp: Namespace, args: Arrays, cts: Arrays) -> Arrays:
        X, *arrays = args
        cts_A = self._refuse().pull(xp, tuple(arrays), X, cts[0], self.adjoint)
        return (None, *cts_A)

    def hvp(self, xp: Namespace, args: Arrays, cts: Arrays, tangents: Arrays) -> Some:
        raise NotImplementedError(NO_SECOND_DERIVATIVE)


def _core(xp: Namespace, factors: SVDFactors, dAV: Array | None, dAHU: Array | None) -> Array:
    """``U^H dA V`` from either product."""
    if dAV is not None:
        return xp.matmul(adjoint(xp, factors.U), dAV)
    return adjoint(xp, xp.matmul(factors.Vh, dAHU))


@dataclass(frozen=True)
class KeepColumns:
    """``(U, S, Vh, weights)`` to their first `count` columns (rows), times the weights."""

    count: int

    def _weigh(self, xp: Namespace, factors: Arrays, weights: Array) -> Arrays:
        (U, S, Vh), r = factors, self.count
        g = weights[..., :r]
        return (
            scale_columns(xp, U[..., :r], g),
            S[..., :r] * g,
            scale_rows(xp, g, Vh[..., :r, :]),
        )

    def apply(self, xp: Namespace, *args: Array) -> Arrays:
        return self._weigh(xp, args[:3], args[3])

    def jvp(self, xp: Namespace, args: Arrays, tangents: Arrays) -> Arrays:
        return self._weigh(xp, tangents[:3], args[3])

    def vjp(self, xp: Namespace, args: Arrays, cts: Arrays) -> Arrays:
        U, S, Vh, weights = args
        ct_U, ct_S, ct_Vh = self._weigh(xp, cts, weights)
        more = U.shape[-1] - self.count
        if more:
            ct_U = xp.concat([ct_U, xp.zeros_like(U[..., :more])], axis=-1)
            ct_S = xp.concat([ct_S, xp.zeros_like(S[..., :more])], axis=-1)
            ct_Vh = xp.concat([ct_Vh, xp.zeros_like(Vh[..., :more, :])], axis=-2)
        return ct_U, ct_S, ct_Vh, xp.zeros_like(weights)

    def hvp(self, xp: Namespace, args: Arrays, cts: Arrays, tangents: Arrays) -> Some:
        return None, None, None, None  # the weights are constants
