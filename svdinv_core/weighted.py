r"""Thresholding with a separate threshold for every singular value: the weighted nuclear norm.

``f_i = max(S_i - t_i, 0)``, and for two kept values

    plus_ij = (f_i - f_j)/(S_i - S_j) = 1 - (t_i - t_j)/(S_i - S_j)

which is 1 if the thresholds are equal, however near the values are. For equal values with different
thresholds the result depends on the choice of singular vectors, and there is no derivative; the
quotient is then left out. Second differences are quotients of these first ones, and 0 for three
values with the same threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .arrays import (
    added,
    over,
    real_diagonal,
    reciprocal,
    safe_size,
    scale_columns,
    sum_to_shape,
)
from .jets import variation_weights
from .namespace import Array, Namespace
from .operator import Arrays, Point, Some, Tangents
from .rules import difference_rtol
from .second import OfDifferences, second_two_sided
from .spectral import Loewner, SpectralOperator, derivative_map, pairs_of
from .svd import directional_core

__all__ = ["WeightedThreshold"]


@dataclass(frozen=True)
class WeightedThreshold(SpectralOperator):
    """Two parameters: tau, one per matrix, and weights ``(..., k)``; their product is t."""

    twice: ClassVar[bool] = True

    def extent(self, xp: Namespace, S: Array, params: Arrays) -> tuple[Array, Array]:
        return S[..., :1], S[..., -1:]

    @staticmethod
    def _thresholds(xp: Namespace, S: Array, params: Arrays) -> Array:
        tau, weights = params
        return xp.expand_dims(tau, axis=-1) * weights + xp.zeros_like(S)

    def values(self, at: Point) -> Array:
        S = at.factors.S
        return at.xp.maximum(S - self._thresholds(at.xp, S, at.params), at.xp.zeros_like(S))

    def _change(self, at: Point) -> tuple[Array, Array]:
        """``t_j - t_i``, and flags of the pairs whose quotients by ``S_j - S_i`` are used."""
        xp, pairs = at.xp, pairs_of(at.xp, at.factors)
        t = self._thresholds(xp, at.factors.S, at.params)
        change = xp.expand_dims(t, axis=-2) - xp.expand_dims(t, axis=-1)
        return change, (pairs.gap != 0) & (~pairs.tied | (change == 0))

    def loewner(self, at: Point) -> Loewner:
        xp, factors = at.xp, at.factors
        S, f = factors.S, self.values(at)
        kept = f != 0
        pairs = pairs_of(xp, factors)
        f_i, f_j = xp.expand_dims(f, axis=-1), xp.expand_dims(f, axis=-2)
        kept_i, kept_j = xp.expand_dims(kept, axis=-1), xp.expand_dims(kept, axis=-2)
        change, valid = self._change(at)
        gap = xp.where(valid, pairs.gap, 1.0)  # S_j - S_i
        zeros, ones = xp.zeros_like(pairs.gap), xp.ones_like(pairs.gap)
        both = ones - xp.where(valid, change / gap, zeros)
        across = xp.where(valid, (f_j - f_i) / gap, zeros)
        some = xp.where(kept_i | kept_j, pairs.total, 1.0)
        return Loewner(
            values=f,
            plus=xp.where(kept_i & kept_j, both, xp.where(kept_i | kept_j, across, zeros)),
            minus=(f_i + f_j) / some,
            ratio=f / xp.where(kept, S, 1.0),
        )

    @staticmethod
    def _kept(xp: Namespace, f: Array) -> Array:
        return xp.where(f != 0, xp.ones_like(f), 0.0)

    @staticmethod
    def _product(xp: Namespace, tau: Array | None, weights: Array | None) -> Array | None:
        """``tau * weights``; None stands for 0."""
        return None if tau is None or weights is None else xp.expand_dims(tau, axis=-1) * weights

    @staticmethod
    def _apart(at: Point, by: Some, ct_t: Array) -> tuple[Array | None, Array | None]:
        """Cotangents of tau and of the weights, where the other factor of `_product` is in `by`."""
        xp, (tau, weights), (by_tau, by_weights) = at.xp, at.params, by
        ct_tau: Array = None
        ct_weights: Array = None
        if by_weights is not None and at.wants(0):
            ct_tau = sum_to_shape(xp, xp.sum(ct_t * by_weights, axis=-1), tuple(tau.shape))
        if by_tau is not None and at.wants(1):
            ct_weights = sum_to_shape(
                xp, ct_t * xp.expand_dims(by_tau, axis=-1), tuple(weights.shape)
            )
        return ct_tau, ct_weights

    def push(
        self, at: Point, terms: Loewner, dparams: Some, diagonal: Array | None
    ) -> Array | None:
        return self._pushed(at, terms.values, dparams)

    def _pushed(self, at: Point, f: Array, dparams: Some) -> Array | None:
        xp, (tau, weights), (dtau, dweights) = at.xp, at.params, dparams
        dt = added(self._product(xp, dtau, weights), self._product(xp, tau, dweights))
        return None if dt is None else -dt * self._kept(xp, f)

    def pull(self, at: Point, terms: Loewner, diagonal: Array) -> tuple[Some, Array | None]:
        return self._apart(at, at.params, -diagonal * self._kept(at.xp, terms.values)), None

    def second_map(self, at: Point, X: Array, Y: Array) -> Array:
        xp, factors = at.xp, at.factors
        S, size, pairs = factors.S, safe_size(xp, factors.S), pairs_of(xp, factors)
        loewner = self.loewner(at)
        kept = loewner.values != 0
        change, valid = self._change(at)
        alike = (change == 0) & (xp.expand_dims(kept, axis=-1) == xp.expand_dims(kept, axis=-2))
        rtol = difference_rtol(float(xp.finfo(S.dtype).eps))
        close = xp.abs(pairs.gap) <= rtol * xp.expand_dims(size, axis=-1)
        odd = OfDifferences(
            xp,
            S / size,
            loewner.plus,
            loewner.minus,
            loewner.ratio,
            near=~valid | (alike & close),
            curvature=xp.zeros_like(S),
            small=pairs.inverse_values == 0,
        )
        return second_two_sided(xp, factors, odd, over(xp, X, size), Y)

    def _varied(self, at: Point, f: Array, dparams: Some, X: Array) -> Array | None:
        """``D[X]`` of the variation of f through the thresholds."""
        df = self._pushed(at, f, dparams)
        if df is None:
            return None
        xp, (_, valid), pairs = at.xp, self._change(at), pairs_of(at.xp, at.factors)
        df_i, df_j = xp.expand_dims(df, axis=-1), xp.expand_dims(df, axis=-2)
        loewner = Loewner(
            values=df,
            plus=(df_j - df_i) * reciprocal(xp, pairs.gap, valid),
            minus=(df_i + df_j) * pairs.inverse_total,
            ratio=df * pairs.inverse_values,
        )
        return derivative_map(xp, at.factors, loewner, X)

    def second(self, at: Point, one: Tangents, two: Tangents) -> Some:
        xp, f = at.xp, self.values(at)
        (out,) = super().second(at, one, two)
        for of, along in ((one, two), (two, one)):
            if along.A is not None:
                out = added(out, self._varied(at, f, of.params, along.A))
        (tau_1, weights_1), (tau_2, weights_2) = one.params, two.params
        bent = added(self._product(xp, tau_1, weights_2), self._product(xp, tau_2, weights_1))
        if bent is not None:
            bent = -bent * self._kept(xp, f)
            out = added(out, xp.matmul(scale_columns(xp, at.factors.U, bent), at.factors.Vh))
        return (out,)

    def hvp(self, at: Point, cts: Some, along: Tangents) -> Tangents:
        xp, (ct,), f = at.xp, cts, self.values(at)
        kept = self._kept(xp, f)
        out = self._varied(at, f, along.params, ct)
        ct_f = real_diagonal(xp, directional_core(xp, at.factors, ct)[0])
        ct_tau, ct_weights = self._apart(at, along.params, -ct_f * kept)
        if along.A is not None:
            out = added(out, self.second_map(at, along.A, ct))
            _, valid = self._change(at)
            ct_f, _ = variation_weights(xp, at.factors, ~valid, ct, along.A)
            more_tau, more_weights = self._apart(at, at.params, -ct_f * kept)
            ct_tau, ct_weights = added(ct_tau, more_tau), added(ct_weights, more_weights)
        return Tangents(out, (ct_tau, ct_weights))
