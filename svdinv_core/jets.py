r"""Functions of the values that a framework differentiates, given by their derivatives (a jet).

A function of the caller may close over other arrays, so the parameters are ``(f, f', f'', f''')``
at the values, as functions of those arrays only. How each one depends on A follows from the next
one, so derivatives in A go up to the third. D and T are linear in the jet. So a mixed derivative is
D of the variation of f, or the adjoint of that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .arrays import added, adjoint, first, real_product, reciprocal
from .hermitian import (
    HermitianMatrixFunction,
    eigenvalue_coefficients,
    largest_eigenvalue,
    second_of_eigenvalues,
)
from .namespace import Array, Namespace
from .operator import Arrays, MatrixFunction, Point, Some, Tangents
from .rules import Pairs, Pinv, difference_rtol
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


class _OfJet(MatrixFunction):
    """Second derivatives from the fact that D is linear in f: D of a variation, and its adjoint.

    The cotangent of the slope is 0, but the derivative of that cotangent in A is not.
    """

    twice: ClassVar[bool] = True

    def with_cotangent(self, params: Arrays) -> tuple[bool, ...]:
        return (True, True, False, False)

    def of_variation(self, at: Point, df: Array, dslope: Array, X: Array) -> Array:
        """``D[X]`` of the function with values df and slopes dslope."""
        raise NotImplementedError

    def weights(self, at: Point, G: Array, X: Array) -> tuple[Array, Array]:
        """The adjoint of ``(df, dslope) -> <G, D[X]>``."""
        raise NotImplementedError

    def push(self, at: Point, terms: Any, dparams: Some, diagonal: Array | None) -> Array | None:
        """The tangent of f, or None: f may not depend on the arrays that f' depends on."""
        given = [d for d in dparams if d is not None]
        if dparams[0] is None and given:
            return at.xp.zeros_like(given[0])
        return dparams[0]

    def pull(self, at: Point, terms: Any, diagonal: Array) -> tuple[Some, Array | None]:
        return (diagonal, at.xp.zeros_like(diagonal), None, None), None

    def _varied(self, at: Point, dparams: Some, X: Array) -> Array | None:
        df, dslope = dparams[:2]
        if df is None and dslope is None:
            return None
        df = at.xp.zeros_like(dslope) if df is None else df
        dslope = at.xp.zeros_like(df) if dslope is None else dslope
        return self.of_variation(at, df, dslope, X)

    def second(self, at: Point, one: Tangents, two: Tangents) -> Some:
        (out,) = super().second(at, one, two)
        for of, along in ((one, two), (two, one)):
            if along.A is not None:
                out = added(out, self._varied(at, of.params, along.A))
        return (out,)

    def hvp(self, at: Point, cts: Some, along: Tangents) -> Tangents:
        out = self._varied(at, along.params, cts[0])
        if along.A is None:
            return Tangents(out, (None, None, None, None))
        T = self.second_map(at, along.A, cts[0])
        ct_f, ct_slope = self.weights(at, cts[0], along.A)
        return Tangents(added(T, out), (ct_f, ct_slope, None, None))

    def moved(self, xp: Namespace, params: Arrays, factors: Any, raw: Any) -> Arrays:
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


@dataclass(frozen=True)
class SingularValueJet(_OfJet, SpectralOperator):
    """``U diag(f(S)) Vh`` of a smooth function, ``params = (f, f', f'', f\'\'\')`` at S."""

    def loewner(self, at: Point) -> Loewner:
        return loewner_coefficients(at.xp, at.factors, at.params[0], at.params[1])

    def values(self, at: Point) -> Array:
        return at.params[0]

    def second_map(self, at: Point, X: Array, Y: Array) -> Array:
        return second_of_jet(at.xp, at.factors, Jet(*at.params[:3]), X, Y)

    @staticmethod
    def _apart(at: Point) -> Array:
        S = at.factors.S
        apart = apart_pairs(at.xp, S, at.params[0], at.params[1], first(S))
        return apart | _bent_between(at.xp, S, at.params)

    def of_variation(self, at: Point, df: Array, dslope: Array, X: Array) -> Array:
        loewner = loewner_coefficients(at.xp, at.factors, df, dslope, self._apart(at))
        return derivative_map(at.xp, at.factors, loewner, X)

    def weights(self, at: Point, G: Array, X: Array) -> tuple[Array, Array]:
        return variation_weights(at.xp, at.factors, ~self._apart(at), G, X)


def _bent_between(xp: Namespace, v: Array, params: Arrays) -> Array:
    """Flags of pairs between which the slope changes more than the curvature explains: a kink.

    For two values at the same distance from a kink, on both sides, the mean of the slopes happens
    to equal the difference quotient. For the variation of f when the kink moves it does not.
    """
    (v_i, v_j), (s_i, s_j), (c_i, c_j) = (
        (xp.expand_dims(x, axis=-1), xp.expand_dims(x, axis=-2)) for x in (v, *params[1:3])
    )
    rounding = difference_rtol(float(xp.finfo(v.dtype).eps)) * (xp.abs(s_i) + xp.abs(s_j))
    smooth = 4.0 * (xp.abs(c_i) + xp.abs(c_j)) * xp.abs(v_i - v_j)
    return (v_i != v_j) & (xp.abs(s_i - s_j) > smooth + rounding)


def variation_weights(
    xp: Namespace, factors: SVDFactors, near: Array, G: Array, X: Array
) -> tuple[Array, Array]:
    """The adjoint of ``(df, dslope) -> <G, D[X]>``, with D of the variation of a function.

    `near` flags the pairs whose ``plus`` is the slope.
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
class EigenvalueJet(_OfJet, HermitianMatrixFunction):
    """``Q diag(f(w)) Q^H`` of a smooth function, ``params = (f, f', f'', f\'\'\')`` at w."""

    def values_at(self, at: Point) -> Array:
        return at.params[0]

    def terms(self, at: Point) -> Arrays:
        return (eigenvalue_coefficients(at.xp, at.factors, at.params[0], at.params[1]),)

    def second_map(self, at: Point, X: Array, Y: Array) -> Array:
        return second_of_eigenvalues(at.xp, at.factors, Jet(*at.params[:3]), X, Y)

    @staticmethod
    def _apart(at: Point) -> Array:
        w = at.factors.eigenvalues
        largest = largest_eigenvalue(at.xp, w)
        apart = apart_pairs(at.xp, w, at.params[0], at.params[1], largest)
        return apart | _bent_between(at.xp, w, at.params)

    def of_variation(self, at: Point, df: Array, dslope: Array, X: Array) -> Array:
        gamma = eigenvalue_coefficients(at.xp, at.factors, df, dslope, self._apart(at))
        return self.direction(at, (gamma,), X).map()

    def weights(self, at: Point, G: Array, X: Array) -> tuple[Array, Array]:
        xp, apart = at.xp, self._apart(at)
        product = real_product(xp, *(self.core(xp, at.factors, Y) for Y in (G, X)))
        w = at.factors.eigenvalues
        gap = xp.expand_dims(w, axis=-1) - xp.expand_dims(w, axis=-2)
        ct_f = 2.0 * xp.sum(product * reciprocal(xp, gap, apart), axis=-1)
        return ct_f, xp.sum(xp.where(apart, 0.0, product), axis=-1)
