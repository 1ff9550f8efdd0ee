r"""The nearest matrix whose nuclear norm is at most r: projection of the values onto a simplex.

This is soft thresholding with a threshold that depends on the values (Duchi et al., ICML 2008). Let
the values descend, let ``c_j`` be the sum of the first j, and let c be the last j with
``j S_j > c_j - r``. Then c values are kept, and

    t = (c_c - r)/c        dt = (sum of dS over the kept values - dr)/c

Inside the ball t is 0. Equal values have equal weight in t, so the derivative is exact at ties.
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
    """Projection onto a ball of the nuclear norm; one parameter, the radius."""

    def _kept(self, xp: Namespace, S: Array, radius: Array) -> tuple[Array, Array, Array]:
        """Flags of the values above the threshold, their number, and the sum of all minus r."""
        excess = xp.cumulative_sum(S, axis=-1) - self._column(xp, radius, S)
        count = counted(xp, S)
        # Outside the ball the first value is kept, whatever rounding says. Inside, none is.
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
