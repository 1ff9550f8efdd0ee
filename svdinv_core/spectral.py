r"""Functions of the singular values, with derivatives that no rule is needed for.

For ``B = U diag(f(S)) Vh`` the derivative in direction G is, with ``P = U^H G V``,
``h(X) = X + X^H``, ``a(X) = X - X^H``,

    D[G] = U ( plus * h(P)/2 + minus * a(P)/2 ) Vh + (I - U U^H) G V diag(ratio) Vh
           + U diag(ratio) U^H G (I - V V^H)

    plus_ij  = (f_i - f_j)/(S_i - S_j),   f'(S_i) where S_i = S_j
    minus_ij = (f_i + f_j)/(S_i + S_j),   f'(0)   where both are 0
    ratio_i  = f_i/S_i,                   f'(0)   at 0

(Daleckii & Krein; Lewis; for soft thresholding Candes, Sing-Long & Trzasko 2012 and
Deledalle et al. 2012). D is self-adjoint, so that this one map is both the forward and
the reverse derivative, and nothing in it is ill-conditioned for a smooth f with f(0) = 0,
repeated values or not. Derivatives of D itself see the factors as functions of A through
:class:`.svd.SVD`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from .arrays import (
    adjoint,
    diagonal_matrix,
    real_diagonal,
    scale,
    scale_columns,
    scale_rows,
    sum_to_shape,
)
from .namespace import Array, Namespace
from .rules import default_degeneracy_rtol
from .svd import SVD, SVDFactors, directional_core

__all__ = ["Operator", "SingularValues", "SoftThreshold"]


class Operator:
    """A function of a matrix that is computed from its decomposition.

    An adapter registers one custom derivative for this class and nothing else: it
    decomposes once, hands the factors to the three methods, and lets second derivatives
    see the factors as differentiable functions of A by ``decomposition``. Instances are
    frozen and hashable, so that a compiler can treat them as static.

    `params` are the operator's differentiable parameters besides A: arrays of the
    framework, or Python numbers, which get no derivative.
    """

    decomposition: ClassVar[SVD] = SVD()

    def apply(
        self, xp: Namespace, A: Array, factors: SVDFactors, params: tuple[Array, ...]
    ) -> Array:
        """Value at A, from its factors."""
        raise NotImplementedError

    def jvp(
        self,
        xp: Namespace,
        A: Array,
        factors: SVDFactors,
        params: tuple[Array, ...],
        dA: Array | None,
        dparams: tuple[Array | None, ...],
    ) -> Array | None:
        """Tangent of the value; absent tangents are None."""
        raise NotImplementedError

    def vjp(
        self,
        xp: Namespace,
        A: Array,
        factors: SVDFactors,
        params: tuple[Array, ...],
        ct: Array,
    ) -> tuple[Array, tuple[Array | None, ...]]:
        """Cotangents of A and of each parameter (None for a Python number)."""
        raise NotImplementedError


class Loewner(NamedTuple):
    """Values and ratios ``(..., k)`` of f, coefficients plus and minus ``(..., k, k)``."""

    values: Array
    plus: Array
    minus: Array
    ratio: Array


def loewner_map(
    xp: Namespace,
    factors: SVDFactors,
    loewner: Loewner,
    G: Array,
) -> tuple[Array, tuple[Array, Array | None, Array | None]]:
    """The part of D[G] inside the factors, ``(..., k, k)``, and the products it came from."""
    products = directional_core(xp, factors, G)
    P = products[0]
    Ph = adjoint(xp, P)
    core = 0.5 * (scale(xp, loewner.plus, P + Ph) + scale(xp, loewner.minus, P - Ph))
    return core, products


def recompose(
    xp: Namespace,
    factors: SVDFactors,
    loewner: Loewner,
    core: Array,
    products: tuple[Array, Array | None, Array | None],
) -> Array:
    """``U core Vh`` and the part of D[G] outside the factors, in thin products."""
    U, _, Vh = factors
    P, G_V, Uh_G = products
    if G_V is not None:  # m > n
        inner = core - scale_columns(xp, P, loewner.ratio)
        return xp.matmul(xp.matmul(U, inner) + scale_columns(xp, G_V, loewner.ratio), Vh)
    if Uh_G is not None:  # m < n
        inner = core - scale_rows(xp, loewner.ratio, P)
        return xp.matmul(U, xp.matmul(inner, Vh) + scale_rows(xp, loewner.ratio, Uh_G))
    return xp.matmul(xp.matmul(U, core), Vh)


def _column(xp: Namespace, t: Array) -> Array:
    """A per-matrix parameter against ``(..., k)``; a Python number stays one."""
    return t if isinstance(t, (int, float)) else xp.expand_dims(t, axis=-1)


@dataclass(frozen=True)
class SoftThreshold(Operator):
    """Singular value thresholding, ``f(S) = max(S - tau, 0)``; one parameter, tau.

    Every coefficient lies in [0, 1], so that the derivative cannot grow: ``plus`` is 1
    between two kept values, 0 between two dropped ones, and ``f_i/(S_i - S_j)`` across the
    threshold, written by these cases and never as a difference quotient.

    Parameters
    ----------
    relative : bool
        The threshold is ``tau * S[..., 0]``. Where the largest value is repeated its
        derivative is the mean over the repetition: the element of least norm among the
        subgradients, and the one that does not depend on the choice of singular vectors.
    """

    relative: bool = False

    def _threshold(self, xp: Namespace, S: Array, tau: Array) -> Array:
        t = _column(xp, tau)
        return t * S[..., :1] if self.relative else t

    def _largest_weights(self, xp: Namespace, S: Array) -> Array:
        """Derivative of the largest value in the values: 1/r on its r repetitions."""
        largest = S[..., :1]
        rtol = default_degeneracy_rtol(float(xp.finfo(S.dtype).eps))
        ones = xp.ones_like(S)
        top = xp.where(largest - S > rtol * largest, xp.zeros_like(S), ones)
        return top / xp.sum(top, axis=-1, keepdims=True)

    def values(self, xp: Namespace, S: Array, tau: Array) -> tuple[Array, Array]:
        """``f(S)``, and the kept values as a mask (NaN counts as kept, and stays NaN)."""
        t = self._threshold(xp, S, tau)
        dropped = t >= S
        return xp.where(dropped, xp.zeros_like(S), S - t), ~dropped

    def loewner(self, xp: Namespace, S: Array, tau: Array) -> tuple[Loewner, Array]:
        """Coefficients of D, and the mask of kept values."""
        f, kept = self.values(xp, S, tau)
        S_i, S_j = xp.expand_dims(S, axis=-1), xp.expand_dims(S, axis=-2)
        kept_i, kept_j = xp.expand_dims(kept, axis=-1), xp.expand_dims(kept, axis=-2)
        f_sum = xp.expand_dims(f, axis=-1) + xp.expand_dims(f, axis=-2)
        ones = xp.ones_like(f_sum)
        total = S_i + S_j
        across = xp.where(kept_i != kept_j, xp.abs(S_i - S_j), ones)
        plus = xp.where(kept_i & kept_j, ones, f_sum / across)
        minus = f_sum / xp.where((kept_i | kept_j) & (total != 0), total, ones)
        ratio = f / xp.where(kept & (S != 0), S, xp.ones_like(S))
        return Loewner(f, plus, minus, ratio), kept

    def apply(
        self, xp: Namespace, A: Array, factors: SVDFactors, params: tuple[Array, ...]
    ) -> Array:
        U, S, Vh = factors
        f, _ = self.values(xp, S, params[0])
        return xp.matmul(scale_columns(xp, U, f), Vh)

    def jvp(
        self,
        xp: Namespace,
        A: Array,
        factors: SVDFactors,
        params: tuple[Array, ...],
        dA: Array | None,
        dparams: tuple[Array | None, ...],
    ) -> Array | None:
        U, S, Vh = factors
        (tau,), (dtau,) = params, dparams
        if dA is None and dtau is None:
            return None
        dt: Array = None if dtau is None else xp.expand_dims(dtau, axis=-1)
        if self.relative and dt is not None:
            dt = dt * S[..., :1]
        if dA is None:
            _, kept = self.values(xp, S, tau)
            df = xp.where(kept, -dt + xp.zeros_like(S), xp.zeros_like(S))
            return xp.matmul(scale_columns(xp, U, df), Vh)

        loewner, kept = self.loewner(xp, S, tau)
        core, products = loewner_map(xp, factors, loewner, dA)
        if self.relative:
            dlargest = xp.sum(
                self._largest_weights(xp, S) * real_diagonal(xp, products[0]),
                axis=-1,
                keepdims=True,
            )
            through_largest = _column(xp, tau) * dlargest
            dt = through_largest if dt is None else dt + through_largest
        if dt is not None:
            df = xp.where(kept, -dt + xp.zeros_like(S), xp.zeros_like(S))
            core = core + diagonal_matrix(xp, df, core.dtype)
        return recompose(xp, factors, loewner, core, products)

    def vjp(
        self,
        xp: Namespace,
        A: Array,
        factors: SVDFactors,
        params: tuple[Array, ...],
        ct: Array,
    ) -> tuple[Array, tuple[Array | None, ...]]:
        S = factors.S
        (tau,) = params
        loewner, kept = self.loewner(xp, S, tau)
        core, products = loewner_map(xp, factors, loewner, ct)
        fixed = isinstance(tau, (int, float))
        ct_tau: Array = None
        if self.relative or not fixed:
            ct_f = real_diagonal(xp, products[0])
            ct_t = -xp.sum(xp.where(kept, ct_f, xp.zeros_like(ct_f)), axis=-1)
            if self.relative:
                ct_largest = xp.expand_dims(ct_t * tau, axis=-1)
                core = core + diagonal_matrix(
                    xp, ct_largest * self._largest_weights(xp, S), core.dtype
                )
                ct_t = ct_t * S[..., 0]
            if not fixed:
                ct_tau = sum_to_shape(xp, ct_t, tuple(tau.shape))
        return recompose(xp, factors, loewner, core, products), (ct_tau,)


@dataclass(frozen=True)
class SingularValues(Operator):
    """The singular values alone: their derivative needs no rule, ``ct_A = U diag(ct) Vh``."""

    def apply(
        self, xp: Namespace, A: Array, factors: SVDFactors, params: tuple[Array, ...]
    ) -> Array:
        return factors.S

    def jvp(
        self,
        xp: Namespace,
        A: Array,
        factors: SVDFactors,
        params: tuple[Array, ...],
        dA: Array | None,
        dparams: tuple[Array | None, ...],
    ) -> Array | None:
        if dA is None:
            return None
        return real_diagonal(xp, directional_core(xp, factors, dA)[0])

    def vjp(
        self,
        xp: Namespace,
        A: Array,
        factors: SVDFactors,
        params: tuple[Array, ...],
        ct: Array,
    ) -> tuple[Array, tuple[Array | None, ...]]:
        return xp.matmul(scale_columns(xp, factors.U, ct), factors.Vh), ()
