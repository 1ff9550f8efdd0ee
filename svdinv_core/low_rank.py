r"""The best approximation of a lower rank: the largest values are kept, the others dropped.

g        = 1 for a kept value, 0 for a dropped one
Gamma_ij = 1/(S_i^2 - S_j^2) for i kept and j dropped, 0 within either part
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from .arrays import counted, first, reciprocal, unit
from .namespace import Array, Namespace
from .operator import Arrays, Point
from .rules import Pairs, Pinv
from .scaled import Divided, ScaledOperator, at_values
from .second_scaled import Cut, OneSided
from .selection import Selection

__all__ = ["LowRank"]


class _Kept(NamedTuple):
    """g, which is 1 on kept values and 0 on the others; and the `unit` of the values."""

    g: Array
    unit: Array


@dataclass(frozen=True)
class LowRank(ScaledOperator):
    """Truncation to the `rank` largest values, or to those of them that `selection` keeps.

    Where the cut splits a tie the derivative does not exist; Gamma is 0 there, so that the result
    is finite.
    """

    rank: int
    selection: Selection | None = None

    def leading(self, k: int) -> int:
        return min(self.rank, k)

    def extent(self, xp: Namespace, S: Array, params: Arrays) -> tuple[Array, Array]:
        largest = first(S)
        if self.selection is not None:
            chosen = self.selection
            above, below = chosen.edges(xp, S, chosen.weights(xp, S))
            cut = xp.sqrt(xp.maximum(above - below, xp.zeros_like(above))) * xp.sqrt(above + below)
            cut = xp.where(above > 0, cut, largest)  # if nothing is kept
            finest = chosen.finest(xp, S)
            return largest, cut if finest is None else xp.where(finest < cut, finest, cut)
        if self.rank == 0 or self.rank >= S.shape[-1]:
            return largest, largest
        above, below = S[..., self.rank - 1 : self.rank], S[..., self.rank : self.rank + 1]
        return largest, xp.sqrt(above - below) * xp.sqrt(above + below)

    def terms(self, at: Point) -> _Kept:
        xp, S = at.xp, at.factors.S
        if self.selection is None:
            g = xp.where(counted(xp, S) <= self.rank, xp.ones_like(S), 0.0)
            g = xp.where(S >= 0, g, S)  # NaN stays NaN
        else:
            g = self.selection.weights(xp, S)
        return _Kept(g, unit(xp, first(S)))

    def divided(self, at: Point, terms: _Kept, r: int) -> Divided:
        xp, S = at.xp, at.factors.S
        k = S.shape[-1]
        pairs = Pairs.of(xp, S * terms.unit, k, k, Pinv())
        g = terms.g
        across = xp.expand_dims(g, axis=-1) - xp.expand_dims(g, axis=-2)
        apart = (across != 0) & ~pairs.tied
        return Divided(
            first=(-across * reciprocal(xp, pairs.gap, apart))[..., :r],
            second=reciprocal(xp, pairs.total, apart)[..., :r],
        )

    def cut(self, at: Point, side: OneSided) -> tuple[Cut, Array | None]:
        xp, inside = at.xp, at_values(at, side.s)
        terms = self.terms(inside)
        divided = self.divided(inside, terms, side.s.shape[-1])
        gamma = divided.first * divided.second
        kept_i, kept_j = xp.expand_dims(terms.g, axis=-1), xp.expand_dims(terms.g, axis=-2)
        return Cut(terms.g, terms.g, gamma, (kept_i - kept_j) * gamma), None
