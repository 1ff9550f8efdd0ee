r"""Which singular values are kept: by number, by tolerance, or by energy.

The result is a mask over the values, so that shapes stay static. A multiplet is a run of values
each of which is tied to the next (:func:`.rules.default_degeneracy_rtol`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from .arrays import counted, first, order_sign, reciprocal, safe_size
from .namespace import Array, Namespace
from .rules import default_degeneracy_rtol

__all__ = ["Kept", "Selection"]


class Kept(NamedTuple):
    """Which values of S ``(..., k)`` are kept, and how well they are separated from the rest.

    Attributes
    ----------
    weights : (..., k), 1 on kept values and 0 on the others; NaN where S is NaN
    rank : (...), number of kept values, int32
    error : (...), Frobenius norm of the dropped part, relative to that of the whole
    gap : (...), ``(S_r - S_{r+1})/S_r`` at the cut; 1 where nothing is dropped
    """

    weights: Array
    rank: Array
    error: Array
    gap: Array


@dataclass(frozen=True)
class Selection:
    """Keep the largest values: at most `rank` of them, and only those that every criterion keeps.

    Parameters
    ----------
    rank : int, optional
        Largest number of values to keep.
    rtol, atol : float, optional
        Values of at most ``rtol`` times the largest, or of at most `atol`, are dropped.
    energy : float, optional
        The smallest number of values is kept whose squares add up to this fraction of the sum of
        all squares.
    multiplets : {"keep", "drop", "cut"}
        What to do if the cut goes through a multiplet: keep all of it, if `rank` has room; drop all
        of it; or cut where the criteria say.
    """

    rank: int | None = None
    rtol: float | None = None
    atol: float | None = None
    energy: float | None = None
    multiplets: str = "keep"
    MODES: ClassVar[tuple[str, ...]] = ("keep", "drop", "cut")

    @property
    def by_value(self) -> bool:
        """Whether the number of kept values depends on the values."""
        tolerances = (self.rtol, self.atol, self.energy)
        return any(t is not None for t in tolerances) or self.multiplets == "drop"

    def most(self, k: int) -> int:
        """Largest number of kept values, out of k."""
        return k if self.rank is None else min(self.rank, k)

    def weights(self, xp: Namespace, S: Array, rest: Array | None = None) -> Array:
        """1 on kept values, 0 on the others, NaN where S is NaN.

        Parameters
        ----------
        S : (..., k)
            The largest values, descending, including the first one beyond `rank` if there is one.
        rest : (...), optional
            Frobenius norm of the part that is not in S.
        """
        number = counted(xp, S)
        kept = number <= self.most(S.shape[-1])
        room = kept
        size = safe_size(xp, S)
        relative = S / size
        if self.rtol is not None:
            kept = kept & (relative > self.rtol)
        if self.atol is not None:
            kept = kept & (self.atol < S)
        if self.energy is not None:
            squares = relative * relative
            after = order_sign(xp, S) <= 0  # the value itself and all smaller ones
            below = xp.expand_dims(squares, axis=-2)
            tail = xp.sum(xp.where(after, below, xp.zeros_like(below)), axis=-1)
            if rest is not None:
                left = xp.expand_dims(rest, axis=-1) / size
                tail = tail + left * left
            kept = kept & (tail > (1.0 - self.energy) * first(tail))
        if self.multiplets != "cut" and S.shape[-1] > 1:
            kept = self._whole(xp, relative, number, kept, room)
        weights = xp.where(kept, xp.ones_like(S), xp.zeros_like(S))
        return xp.where(S >= 0, weights, S)

    def _whole(
        self, xp: Namespace, relative: Array, number: Array, kept: Array, room: Array
    ) -> Array:
        """`kept`, with the multiplet at the cut kept or dropped as a whole."""
        rtol = default_degeneracy_rtol(float(xp.finfo(relative.dtype).eps))
        apart = relative[..., :-1] - relative[..., 1:] > rtol
        steps = xp.where(apart, xp.ones_like(relative[..., 1:]), 0.0)
        zero = xp.zeros_like(relative[..., :1])
        multiplet = xp.concat([zero, xp.cumulative_sum(steps, axis=-1)], axis=-1)
        if self.multiplets == "drop":
            beyond = relative.shape[-1] + 1.0
            lowest = -xp.max(xp.where(kept, -beyond, -multiplet), axis=-1, keepdims=True)
            return multiplet < lowest
        last = xp.max(xp.where(kept, multiplet, -1.0), axis=-1, keepdims=True)
        wider = multiplet <= last
        outside = xp.where(wider & ~room, xp.ones_like(number), 0.0)
        fits = xp.max(outside, axis=-1, keepdims=True) == 0
        return xp.where(fits, wider, kept)

    def edges(self, xp: Namespace, S: Array, weights: Array) -> tuple[Array, Array]:
        """The smallest kept value (0 if none is kept) and the largest dropped one, ``(..., 1)``."""
        if S.shape[-1] == 0:
            return first(S), first(S)
        kept = weights != 0
        largest = first(S)
        above = -xp.max(xp.where(kept, -S, -largest), axis=-1, keepdims=True)
        some = xp.max(weights, axis=-1, keepdims=True)
        below = xp.max(xp.where(kept, xp.zeros_like(S), S), axis=-1, keepdims=True)
        return above * some, below

    def finest(self, xp: Namespace, S: Array) -> Array | None:
        """The smallest value ``(..., 1)`` whose accuracy matters to the criteria."""
        bounds = [] if self.rtol is None else [self.rtol * first(S)]
        if self.atol is not None:
            bounds.append(xp.where(first(S) > self.atol, self.atol, first(S)))
        if self.energy is not None:
            bounds.append((1.0 - self.energy) ** 0.5 * first(S))
        if not bounds:
            return None
        finest = bounds[0]
        for bound in bounds[1:]:
            finest = xp.where(bound < finest, bound, finest)
        return finest

    def of(self, xp: Namespace, S: Array, rest: Array | None = None) -> Kept:
        """Apply the criteria to S; `rest` is as for `weights`."""
        weights = self.weights(xp, S, rest)
        size = safe_size(xp, S)
        relative = S / size
        squares = relative * relative
        dropped = xp.sum((1.0 - weights) * squares, axis=-1)
        total = xp.sum(squares, axis=-1)
        if rest is not None:
            left = rest / size[..., 0]
            dropped, total = dropped + left * left, total + left * left
        error = xp.sqrt(dropped * reciprocal(xp, total, total != 0))
        above, below = self.edges(xp, S, weights)
        gap = xp.sum((above - below) * reciprocal(xp, above, above != 0), axis=-1)
        count = xp.sum(xp.where(weights == 1, xp.ones_like(S), 0.0), axis=-1)
        return Kept(weights, xp.astype(count, xp.int32), error, gap)
