r"""Functions of the values that a framework differentiates: known by their derivatives there.

A function of the caller's may close over other parameters, so that f is an argument of its own:
``params = (f, f', f'', f''')`` at the values, as functions of those parameters only. What they are
as functions of A follows from the next one each; derivatives in A go up to the third. D and T are
linear in them, so that the mixed derivatives are D of the variation of f, and its adjoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .arrays import adjoint, first, real_diagonal, real_product, reciprocal, scale
from .hermitian import (
    EighFactors,
    HermitianOperator,
    eigenvalue_coefficients,
    largest_eigenvalue,
    second_of_eigenvalues,
)
from .namespace import Array, Namespace
from .operator import Operator, Tangents
from .rules import Pairs, Pinv
from .second import Jet
from .spectral import (
    Loewner,
    SpectralOperator,
    apart_pairs,
    derivative_map,
    loewner_coefficients,
    second_of_jet,
)
from .svd import SVDFactors, directional_core

__all__ = ["EigenvalueJet", "SingularValueJet", "variation_weights"]

Params = tuple[Array, ...]
Absent = tuple[Array | None, ...]


class _OfJet(Operator):
    """The second derivatives, from what is linear in f: D of a variation, and its adjoint.

    The slope has a cotangent of 0, whose own derivative in A is not 0.
    """

    twice: ClassVar[bool] = True

    def with_cotangent(self, params: Params) -> tuple[bool, ...]:
        return (True, True, False, False)

    def second_map(self, xp: Namespace, factors: Any, params: Params, X: Array, Y: Array) -> Array:
        """``T[X, Y]``, the second derivative in A."""
        raise NotImplementedError

    def of_variation(
        self, xp: Namespace, factors: Any, params: Params, df: Array, dslope: Array, X: Array
    ) -> Array:
        """``D[X]`` of another function."""
        raise NotImplementedError

    def weights(
        self, xp: Namespace, factors: Any, params: Params, G: Array, X: Array
    ) -> tuple[Array, Array]:
        """The adjoint of ``(df, dslope) -> <G, D[X]>``."""
        raise NotImplementedError

    def _varied(
        self, xp: Namespace, factors: Any, params: Params, dparams: Absent, X: Array
    ) -> Array | None:
        df, dslope = dparams[:2]
        if df is None and dslope is None:
            return None
        df = xp.zeros_like(dslope) if df is None else df
        dslope = xp.zeros_like(df) if dslope is None else dslope
        return self.of_variation(xp, factors, params, df, dslope, X)

    def second(
        self, xp: Namespace, A: Array, factors: Any, params: Params, one: Tangents, two: Tangents
    ) -> Array | None:
        out: Array = None
        if one.A is not None and two.A is not None:
            out = self.second_map(xp, factors, params, one.A, two.A)
        for of, along in ((one, two), (two, one)):
            if along.A is not None:
                varied = self._varied(xp, factors, params, of.params, along.A)
                out = varied if out is None else out if varied is None else out + varied
        return out

    def hvp(
        self, xp: Namespace, A: Array, factors: Any, params: Params, ct: Array, along: Tangents
    ) -> tuple[Array | None, Absent]:
        out = self._varied(xp, factors, params, along.params, ct)
        if along.A is None:
            return out, (None, None, None, None)
        T = self.second_map(xp, factors, params, along.A, ct)
        ct_f, ct_slope = self.weights(xp, factors, params, ct, along.A)
        return (T if out is None else T + out), (ct_f, ct_slope, None, None)

    def moved(self, xp: Namespace, params: Params, factors: Any, raw: Any) -> Params:
        if isinstance(factors, SVDFactors):
            d = factors.S - raw.S
        else:
            d = factors.eigenvalues - raw.eigenvalues
        f, slope, curvature, third = params
        known = xp.where(xp.isfinite(curvature), curvature, xp.zeros_like(curvature))
        next_one = xp.where(xp.isfinite(third), third, xp.zeros_like(third))
        half = 0.5 * d * d
        return (
            f + slope * d + known * half,
            slope + known * d + next_one * half,
            curvature + next_one * d,
            third,
        )


def _tangent_of_values(xp: Namespace, dparams: Absent) -> Array | None:
    """That of f, which may not depend on what f' depends on."""
    given = [d for d in dparams if d is not None]
    if dparams[0] is None and given:
        return xp.zeros_like(given[0])
    return dparams[0]


@dataclass(frozen=True)
class SingularValueJet(_OfJet, SpectralOperator):
    """``U diag(f(S)) Vh`` of a smooth function, ``params = (f, f', f'', f\'\'\')`` at S."""

    def loewner(self, xp: Namespace, factors: SVDFactors, params: Params) -> Loewner:
        return loewner_coefficients(xp, factors, params[0], params[1])

    def values(self, xp: Namespace, factors: SVDFactors, params: Params) -> Array:
        return params[0]

    def push(
        self,
        xp: Namespace,
        factors: SVDFactors,
        params: Params,
        dparams: Absent,
        dS: Array | None,
    ) -> Array | None:
        return _tangent_of_values(xp, dparams)

    def pull(
        self, xp: Namespace, factors: SVDFactors, params: Params, ct_f: Array
    ) -> tuple[Absent, Array | None]:
        return (ct_f, xp.zeros_like(ct_f), None, None), None

    def second_map(
        self, xp: Namespace, factors: SVDFactors, params: Params, X: Array, Y: Array
    ) -> Array:
        return second_of_jet(xp, factors, Jet(*params[:3]), X, Y)

    @staticmethod
    def _apart(xp: Namespace, factors: SVDFactors, params: Params) -> Array:
        return apart_pairs(xp, factors.S, params[0], params[1], first(factors.S))

    def of_variation(
        self,
        xp: Namespace,
        factors: SVDFactors,
        params: Params,
        df: Array,
        dslope: Array,
        X: Array,
    ) -> Array:
        apart = self._apart(xp, factors, params)
        loewner = loewner_coefficients(xp, factors, df, dslope, apart)
        return derivative_map(xp, factors, loewner, X)

    def weights(
        self, xp: Namespace, factors: SVDFactors, params: Params, G: Array, X: Array
    ) -> tuple[Array, Array]:
        return variation_weights(xp, factors, ~self._apart(xp, factors, params), G, X)


def variation_weights(
    xp: Namespace, factors: SVDFactors, near: Array, G: Array, X: Array
) -> tuple[Array, Array]:
    """The adjoint of ``(df, dslope) -> <G, D[X]>``, D of the variation of a function.

    `near` are the pairs whose ``plus`` is the slope.
    """
    pairs = Pairs.of(xp, factors.S, factors.U.shape[-2], factors.Vh.shape[-1], Pinv())
    of_G, of_X = (directional_core(xp, factors, Y) for Y in (G, X))
    (hG, aG), (hX, aX) = (
        (0.5 * (P + adjoint(xp, P)), 0.5 * (P - adjoint(xp, P))) for P in (of_G[0], of_X[0])
    )
    plus, minus = real_product(xp, hG, hX), real_product(xp, aG, aX)
    inverse_gap = reciprocal(xp, -pairs.gap, ~near)
    ct_f = 2.0 * xp.sum(plus * inverse_gap + minus * pairs.inverse_total, axis=-1)
    both_zero = xp.where(pairs.both_zero, minus, 0.0)
    ct_slope = xp.sum(xp.where(near, plus, 0.0) + both_zero, axis=-1)
    for side, axis in ((1, -2), (2, -1)):  # tall, wide
        if of_G[side] is not None:
            whole = xp.sum(real_product(xp, of_G[side], of_X[side]), axis=axis)
            within = xp.sum(real_product(xp, of_G[0], of_X[0]), axis=axis)
            outside = whole - within
            ct_f = ct_f + outside * pairs.inverse_values
            ct_slope = ct_slope + xp.where(pairs.inverse_values == 0, outside, 0.0)
    return ct_f, ct_slope


@dataclass(frozen=True)
class EigenvalueJet(_OfJet, HermitianOperator):
    """``Q diag(f(w)) Q^H`` of a smooth function, ``params = (f, f', f'', f\'\'\')`` at w."""

    def _map(self, xp: Namespace, factors: EighFactors, f: Array, slope: Array, X: Array) -> Array:
        gamma = eigenvalue_coefficients(xp, factors, f, slope)
        return self.conjugate(xp, factors, scale(xp, gamma, self.core(xp, factors, X)))

    def apply(self, xp: Namespace, A: Array, factors: EighFactors, params: Params) -> Array:
        return self.recompose(xp, factors, params[0])

    def jvp(
        self,
        xp: Namespace,
        A: Array,
        factors: EighFactors,
        params: Params,
        dA: Array | None,
        dparams: Absent,
    ) -> Array | None:
        out: Array = None
        if dA is not None:
            out = self._map(xp, factors, params[0], params[1], dA)
        df = _tangent_of_values(xp, dparams)
        if df is not None:
            varied = self.recompose(xp, factors, df)
            out = varied if out is None else out + varied
        return out

    def vjp(
        self, xp: Namespace, A: Array, factors: EighFactors, params: Params, ct: Array
    ) -> tuple[Array, Absent]:
        ct_f = real_diagonal(xp, self.core(xp, factors, ct))
        slopes = xp.zeros_like(ct_f)
        return self._map(xp, factors, params[0], params[1], ct), (ct_f, slopes, None, None)

    def second_map(
        self, xp: Namespace, factors: EighFactors, params: Params, X: Array, Y: Array
    ) -> Array:
        return second_of_eigenvalues(xp, factors, Jet(*params[:3]), X, Y)

    @staticmethod
    def _apart(xp: Namespace, factors: EighFactors, params: Params) -> Array:
        w = factors.eigenvalues
        return apart_pairs(xp, w, params[0], params[1], largest_eigenvalue(xp, w))

    def of_variation(
        self,
        xp: Namespace,
        factors: EighFactors,
        params: Params,
        df: Array,
        dslope: Array,
        X: Array,
    ) -> Array:
        apart = self._apart(xp, factors, params)
        gamma = eigenvalue_coefficients(xp, factors, df, dslope, apart)
        return self.conjugate(xp, factors, scale(xp, gamma, self.core(xp, factors, X)))

    def weights(
        self, xp: Namespace, factors: EighFactors, params: Params, G: Array, X: Array
    ) -> tuple[Array, Array]:
        apart = self._apart(xp, factors, params)
        product = real_product(xp, *(self.core(xp, factors, Y) for Y in (G, X)))
        w = factors.eigenvalues
        gap = xp.expand_dims(w, axis=-1) - xp.expand_dims(w, axis=-2)
        ct_f = 2.0 * xp.sum(product * reciprocal(xp, gap, apart), axis=-1)
        return ct_f, xp.sum(xp.where(apart, 0.0, product), axis=-1)
