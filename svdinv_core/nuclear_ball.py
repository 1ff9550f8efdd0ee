r"""The nearest matrix whose nuclear norm is at most r: the values onto the simplex.

Soft thresholding whose threshold depends on the values (Duchi et al., ICML 2008): with the values
in descending order and ``c_j`` their sums, c of them are kept, the last with
``j S_j > c_j - r``, and

    t = (c_c - r)/c        dt = (sum of dS over the kept - dr)/c

Inside the ball t is 0. Equal values enter t alike, so that the derivative is exact at ties.
"""

from __future__ import annotations

from dataclasses import dataclass

from .arrays import counted
from .namespace import Array, Namespace
from .operator import Point
from .second_scaled import Cut, OneSided
from .soft_threshold import Change, SoftThreshold

__all__ = ["NuclearBall"]


@dataclass(frozen=True)
class NuclearBall(SoftThreshold):
    """Projection onto the ball of the nuclear norm; one parameter, its radius."""

    def _kept(self, xp: Namespace, S: Array, radius: Array) -> tuple[Array, Array, Array]:
        """Which values are above the threshold, their number, and the sum of all minus r."""
        excess = xp.cumulative_sum(S, axis=-1) - self._column(xp, radius, S)
        count = counted(xp, S)
        # The first one is, whatever rounding says; none is inside the ball.
        above = ((count * S > excess) | (count == 1)) & ~(excess[..., -1:] <= 0)
        kept = xp.where(above, xp.ones_like(S), 0.0)
        number = xp.sum(kept, axis=-1, keepdims=True)
        return kept, xp.where(number > 0, number, xp.ones_like(number)), excess[..., -1:]

    def _threshold(self, xp: Namespace, S: Array, tau: Array) -> Array:
        kept, number, excess = self._kept(xp, S, tau)
        t = (xp.sum(kept * S, axis=-1, keepdims=True) - self._column(xp, tau, S)) / number
        return xp.where(excess <= 0, xp.zeros_like(t), t)

    def _slopes(self, xp: Namespace, S: Array, tau: Array) -> tuple[Array | None, Array | None]:
        kept, number, excess = self._kept(xp, S, tau)
        weights = kept / number
        return weights, xp.where(excess <= 0, xp.zeros_like(excess), -1.0 / number)

    def cut(self, at: Point, side: OneSided) -> tuple[Cut, Array | None]:
        t = self._threshold(at.xp, side.s * side.size, at.params[0])
        return SoftThreshold().cut(at._replace(params=(at.xp.sum(t, axis=-1),)), side)

    def change(self, xp: Namespace, side: OneSided, tau: Array) -> Change:
        S = side.s * side.size
        kept, number, _ = self._kept(xp, S, tau)
        in_tau = self._slopes(xp, S, tau)[1]
        return Change(
            side.constant(kept, 1.0 / number), xp.ones_like(number), in_tau / side.size, 0.0
        )
