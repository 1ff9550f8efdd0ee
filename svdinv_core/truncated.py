r"""The leading part of a matrix, with a derivative that needs this part only.

The kept factors are ``U (m, r), S, V (n, r)``; the rest ``R = A - U S V^H`` is never formed. Let
``dU = U Omega_u + K`` and ``dV = V Omega_v + L`` with ``U^H K = 0``, ``V^H L = 0``, and Omega as in
the full derivative (:mod:`.svd`). Differentiating ``A V = U S`` and ``A^H U = V S`` gives

    s_i k_i - R l_i   = b_i     b_i = (I - U U^H) dA v_i
    s_i l_i - R^H k_i = c_i     c_i = (I - V V^H) dA^H u_i

a Hermitian system, which is positive definite unless the cut goes through a tie. Eliminating k (or
l, if that is on the longer side) gives

    (I - R^H R/s_i^2) l_i = c_i/s_i + R^H b_i/s_i^2     k_i = (b_i + R l_i)/s_i

with condition number ``1/(1 - (s_{r+1}/s_i)^2)``. Conjugate gradients solve it for all columns at
once, with two products with A per step. On the complement of V, ``R l = (I - U U^H) A l``.

A enters only through ``A V`` and ``A^H U``. So the framework differentiates these two products,
with V and U held fixed, whatever A is. This module has the derivatives of the factors in the two
products. The system is self-adjoint: in reverse mode it is solved for the cotangents, and

    ct_AV = U core + K          ct_AHU = L

with core as in :meth:`.svd.SVD.vjp`. For the best approximation ``B = U S V^H``

    dB = U U^H dA V V^H + K S V^H + U S L^H

contains no division by a difference of kept values, so these may be tied.
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
"""Largest number of steps of conjugate gradients."""


_APART = 0.1  # smallest curvature along which a column tied across the cut is still changed


def conjugate_gradient_rtol(eps: float) -> float:
    """Tolerance for the residual of the system for K and L, relative to the right-hand side."""
    return 4 * eps


def _project(xp: Namespace, U: Array, X: Array) -> Array:
    """``(I - U U^H) X``."""
    return X - xp.matmul(U, xp.matmul(adjoint(xp, U), X))


@dataclass(frozen=True)
class Outside:
    """The solver ``(U, S, V, b, c, gap, *arrays of A) -> (K, L)``, projected before and after.

    ``gap (...)`` is ``(S_r - S_{r+1})/S_r`` at the cut.
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
        """Arrays with the shapes and dtypes of the result."""
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
        if U.shape[-2] < V.shape[-2]:  # the unknown is on the shorter side
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
        # Scale the columns to size 1, so that their squares neither overflow nor underflow.
        size = xp.maximum(*(xp.max(xp.abs(x), axis=-2, keepdims=True) for x in (b, c)))
        some = reciprocal(xp, size, size != 0)
        b, c = scale(xp, some, b), scale(xp, some, c)
        rhs = c + again(b)
        squares = _squares(xp, rhs)
        eps = float(xp.finfo(S.dtype).eps)
        least = conjugate_gradient_rtol(eps) ** 2 * squares

        # A column tied across the cut has no solution; only its well-conditioned part is solved.
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
        # A compiled loop cannot warn, so a column with less than half of its digits right is NaN.
        if not looked:
            right = xp.where(after > eps * squares, float("nan"), right)
        left = _project(xp, U, b + forth(right))
        return scale(xp, size, left), scale(xp, size, _project(xp, V, right))


def _squares(xp: Namespace, X: Array) -> Array:
    """Squared norms of the columns, ``(..., 1, r)``."""
    size = xp.abs(X)
    return xp.sum(size * size, axis=-2, keepdims=True)


NO_SECOND_DERIVATIVE = (
    "driver: 'krylov' has no second derivatives, and none that a compiler takes by itself; use "
    "another driver"
)


class _FirstOrder(SVD):
    """Factors that cannot be differentiated twice: K and L have no derivative here."""

    def jvp(self, *args: Any) -> SVDFactors:
        raise NotImplementedError(NO_SECOND_DERIVATIVE)

    def vjp(self, *args: Any, **kwargs: Any) -> Array | None:
        raise NotImplementedError(NO_SECOND_DERIVATIVE)


class _Leading(FactorsOperator):
    """Functions of ``AV = A V`` and of the parameters ``AHU = A^H U``, gap and the arrays of A.

    The factors are U, S and Vh, filled with columns of zeros.
    """

    decomposition: ClassVar[SVD] = _FirstOrder()
    needs: ClassVar[Needs] = "factors"
    linear_map: Linear

    def with_cotangent(self, params: Arrays) -> tuple[bool, ...]:
        return (True, *(False for _ in params[1:]))

    def _outside(self, at: Point, b: Array | None, c: Array | None) -> Arrays:
        """K and L; None stands for a zero b or c."""
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
    """``U U^H``. ``d(U U^H) = K U^H + U K^H``, even if kept values are tied."""

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
    """The step ``(X, *arrays of A) -> A X`` or ``A^H X``, for an X without a derivative.

    In a framework without autodiff A has to be an array, or to have a method
    ``pull(xp, arrays, X, ct, adjoint)``, which returns the cotangents of its arrays.
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
                "x: an operator has no derivative here, because this framework does not "
                "differentiate its products"
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
    """Map ``(U, S, Vh, weights)`` to the first `count` columns (rows), times the weights."""

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
