r"""Thresholding by a threshold of its own for every singular value: the weighted nuclear norm.

``f_i = max(S_i - t_i, 0)``, and where two values are kept

    plus_ij = (f_i - f_j)/(S_i - S_j) = 1 - (t_i - t_j)/(S_i - S_j)

which is 1 where the thresholds are the same, however near the values are. Equal values with
different thresholds are told apart by the choice of singular vectors only, and there is no
derivative; there the quotient is left out. Second differences are quotients of these first ones,
and 0 for three values with the same threshold.
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
from .operator import Tangents
from .rules import difference_rtol
from .second import OfDifferences, second_two_sided
from .spectral import Loewner, SpectralOperator, derivative_map, pairs_of
from .svd import SVDFactors, directional_core

__all__ = ["WeightedThreshold"]


def _column(xp: Namespace, tau: Array) -> Array:
    return tau if isinstance(tau, (int, float)) else xp.expand_dims(tau, axis=-1)


@dataclass(frozen=True)
class WeightedThreshold(SpectralOperator):
    """Two parameters: tau, one for a matrix, and weights ``(..., k)``; the thresholds' factors."""

    twice: ClassVar[bool] = True

    def extent(self, xp: Namespace, S: Array, params: tuple[Array, ...]) -> tuple[Array, Array]:
        return S[..., :1], S[..., -1:]

    @staticmethod
    def _thresholds(xp: Namespace, S: Array, params: tuple[Array, ...]) -> Array:
        tau, weights = params
        return _column(xp, tau) * weights + xp.zeros_like(S)

    def values(self, xp: Namespace, factors: SVDFactors, params: tuple[Array, ...]) -> Array:
        d = factors.S - self._thresholds(xp, factors.S, params)
        return xp.maximum(d, xp.zeros_like(d))

    @staticmethod
    def _change(xp: Namespace, factors: SVDFactors, t: Array) -> tuple[Array, Array]:
        """``t_j - t_i``, and which quotients by ``S_j - S_i`` there are."""
        pairs = pairs_of(xp, factors)
        change = xp.expand_dims(t, axis=-2) - xp.expand_dims(t, axis=-1)
        return change, (pairs.gap != 0) & (~pairs.tied | (change == 0))

    def loewner(self, xp: Namespace, factors: SVDFactors, params: tuple[Array, ...]) -> Loewner:
        S = factors.S
        t = self._thresholds(xp, S, params)
        f = self.values(xp, factors, params)
        kept = f != 0
        pairs = pairs_of(xp, factors)
        f_i, f_j = xp.expand_dims(f, axis=-1), xp.expand_dims(f, axis=-2)
        kept_i, kept_j = xp.expand_dims(kept, axis=-1), xp.expand_dims(kept, axis=-2)
        change, valid = self._change(xp, factors, t)
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
        """``tau * weights``; absent ones are 0."""
        return None if tau is None or weights is None else _column(xp, tau) * weights

    @staticmethod
    def _apart(
        xp: Namespace,
        params: tuple[Array, ...],
        by: tuple[Array | None, Array | None],
        ct_t: Array,
    ) -> tuple[Array | None, Array | None]:
        """Cotangents of the parameters, of a `_product` with `by`."""
        (tau, weights), (by_tau, by_weights) = params, by
        ct_tau: Array = None
        ct_weights: Array = None
        if by_weights is not None and not isinstance(tau, (int, float)):
            ct_tau = sum_to_shape(xp, xp.sum(ct_t * by_weights, axis=-1), tuple(tau.shape))
        if by_tau is not None:
            ct_weights = sum_to_shape(xp, ct_t * _column(xp, by_tau), tuple(weights.shape))
        return ct_tau, ct_weights

    def push(
        self,
        xp: Namespace,
        factors: SVDFactors,
        params: tuple[Array, ...],
        dparams: tuple[Array | None, ...],
        dS: Array | None,
    ) -> Array | None:
        (tau, weights), (dtau, dweights) = params, dparams
        dt = added(self._product(xp, dtau, weights), self._product(xp, tau, dweights))
        return None if dt is None else -dt * self._kept(xp, self.values(xp, factors, params))

    def pull(
        self, xp: Namespace, factors: SVDFactors, params: tuple[Array, ...], ct_f: Array
    ) -> tuple[tuple[Array | None, ...], Array | None]:
        ct_t = -ct_f * self._kept(xp, self.values(xp, factors, params))
        return self._apart(xp, params, params, ct_t), None

    def second_map(
        self, xp: Namespace, factors: SVDFactors, params: tuple[Array, ...], X: Array, Y: Array
    ) -> Array:
        S = factors.S
        size = safe_size(xp, S)
        pairs = pairs_of(xp, factors)
        t = self._thresholds(xp, S, params)
        loewner = self.loewner(xp, factors, params)
        kept = loewner.values != 0
        change, valid = self._change(xp, factors, t)
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

    def _varied(
        self,
        xp: Namespace,
        factors: SVDFactors,
        params: tuple[Array, ...],
        dparams: tuple[Array | None, ...],
        X: Array,
    ) -> Array | None:
        """``D[X]`` of the variation of f through the thresholds."""
        df = self.push(xp, factors, params, dparams, None)
        if df is None:
            return None
        _, valid = self._change(xp, factors, self._thresholds(xp, factors.S, params))
        pairs = pairs_of(xp, factors)
        df_i, df_j = xp.expand_dims(df, axis=-1), xp.expand_dims(df, axis=-2)
        loewner = Loewner(
            values=df,
            plus=(df_j - df_i) * reciprocal(xp, pairs.gap, valid),
            minus=(df_i + df_j) * pairs.inverse_total,
            ratio=df * pairs.inverse_values,
        )
        return derivative_map(xp, factors, loewner, X)

    def second(
        self,
        xp: Namespace,
        A: Array,
        factors: SVDFactors,
        params: tuple[Array, ...],
        one: Tangents,
        two: Tangents,
    ) -> Array | None:
        out: Array = None
        if one.A is not None and two.A is not None:
            out = self.second_map(xp, factors, params, one.A, two.A)
        for of, along in ((one, two), (two, one)):
            if along.A is not None:
                out = added(out, self._varied(xp, factors, params, of.params, along.A))
        (tau_1, weights_1), (tau_2, weights_2) = one.params, two.params
        bent = added(self._product(xp, tau_1, weights_2), self._product(xp, tau_2, weights_1))
        if bent is not None:
            bent = -bent * self._kept(xp, self.values(xp, factors, params))
            out = added(out, xp.matmul(scale_columns(xp, factors.U, bent), factors.Vh))
        return out

    def hvp(
        self,
        xp: Namespace,
        A: Array,
        factors: SVDFactors,
        params: tuple[Array, ...],
        ct: Array,
        along: Tangents,
    ) -> tuple[Array | None, tuple[Array | None, ...]]:
        dtau, dweights = along.params or (None, None)
        kept = self._kept(xp, self.values(xp, factors, params))
        out = self._varied(xp, factors, params, (dtau, dweights), ct)
        ct_f = real_diagonal(xp, directional_core(xp, factors, ct)[0])
        ct_tau, ct_weights = self._apart(xp, params, (dtau, dweights), -ct_f * kept)
        if along.A is not None:
            out = added(out, self.second_map(xp, factors, params, along.A, ct))
            _, valid = self._change(xp, factors, self._thresholds(xp, factors.S, params))
            ct_f, _ = variation_weights(xp, factors, ~valid, ct, along.A)
            more_tau, more_weights = self.pull(xp, factors, params, ct_f)[0]
            ct_tau, ct_weights = added(ct_tau, more_tau), added(ct_weights, more_weights)
        return out, (ct_tau, ct_weights)
