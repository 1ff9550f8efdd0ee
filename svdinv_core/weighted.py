r"""Thresholding by a threshold of its own for every singular value: the weighted nuclear norm.

``f_i = max(S_i - t_i, 0)``, and where two values are kept

    plus_ij = (f_i - f_j)/(S_i - S_j) = 1 - (t_i - t_j)/(S_i - S_j)

which is 1 where the thresholds are the same, however near the values are. Equal values with
different thresholds are told apart by the choice of singular vectors only, and there is no
derivative; there the quotient is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

from .arrays import sum_to_shape
from .namespace import Array, Namespace
from .spectral import Loewner, SpectralOperator, pairs_of
from .svd import SVDFactors

__all__ = ["WeightedThreshold"]


def _column(xp: Namespace, tau: Array) -> Array:
    return tau if isinstance(tau, (int, float)) else xp.expand_dims(tau, axis=-1)


@dataclass(frozen=True)
class WeightedThreshold(SpectralOperator):
    """Two parameters: tau, one for a matrix, and weights ``(..., k)``; the thresholds' factors."""

    def extent(self, xp: Namespace, S: Array, params: tuple[Array, ...]) -> tuple[Array, Array]:
        return S[..., :1], S[..., -1:]

    @staticmethod
    def _thresholds(xp: Namespace, S: Array, params: tuple[Array, ...]) -> Array:
        tau, weights = params
        return _column(xp, tau) * weights + xp.zeros_like(S)

    def values(self, xp: Namespace, factors: SVDFactors, params: tuple[Array, ...]) -> Array:
        d = factors.S - self._thresholds(xp, factors.S, params)
        return xp.maximum(d, xp.zeros_like(d))

    def loewner(self, xp: Namespace, factors: SVDFactors, params: tuple[Array, ...]) -> Loewner:
        S = factors.S
        t = self._thresholds(xp, S, params)
        f = self.values(xp, factors, params)
        kept = f != 0
        pairs = pairs_of(xp, factors)
        f_i, f_j = xp.expand_dims(f, axis=-1), xp.expand_dims(f, axis=-2)
        kept_i, kept_j = xp.expand_dims(kept, axis=-1), xp.expand_dims(kept, axis=-2)
        change = xp.expand_dims(t, axis=-2) - xp.expand_dims(t, axis=-1)  # t_j - t_i
        valid = (pairs.gap != 0) & (~pairs.tied | (change == 0))
        gap = xp.where(valid, pairs.gap, 1.0)  # S_j - S_i
        zeros, ones = xp.zeros_like(pairs.gap), xp.ones_like(pairs.gap)
        both = ones - xp.where(valid, change / gap, zeros)
        across = xp.where(valid, (f_j - f_i) / gap, zeros)
        total = xp.where(kept_i | kept_j, pairs.total, 1.0)
        return Loewner(
            values=f,
            plus=xp.where(kept_i & kept_j, both, xp.where(kept_i | kept_j, across, zeros)),
            minus=(f_i + f_j) / total,
            ratio=f / xp.where(kept, S, 1.0),
        )

    @staticmethod
    def _kept(xp: Namespace, f: Array) -> Array:
        return xp.where(f != 0, xp.ones_like(f), 0.0)

    def push(
        self,
        xp: Namespace,
        factors: SVDFactors,
        params: tuple[Array, ...],
        dparams: tuple[Array | None, ...],
        dS: Array | None,
    ) -> Array | None:
        (tau, weights), (dtau, dweights) = params, dparams
        dt: Array = None
        if dtau is not None:
            dt = xp.expand_dims(dtau, axis=-1) * weights
        if dweights is not None:
            through = _column(xp, tau) * dweights
            dt = through if dt is None else dt + through
        return None if dt is None else -dt * self._kept(xp, self.values(xp, factors, params))

    def pull(
        self, xp: Namespace, factors: SVDFactors, params: tuple[Array, ...], ct_f: Array
    ) -> tuple[tuple[Array | None, ...], Array | None]:
        tau, weights = params
        ct_t = -ct_f * self._kept(xp, self.values(xp, factors, params))
        ct_tau: Array = None
        if not isinstance(tau, (int, float)):
            ct_tau = sum_to_shape(xp, xp.sum(ct_t * weights, axis=-1), tuple(tau.shape))
        ct_weights = sum_to_shape(xp, ct_t * _column(xp, tau), tuple(weights.shape))
        return (ct_tau, ct_weights), None
