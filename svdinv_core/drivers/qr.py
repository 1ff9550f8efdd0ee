r"""The small factor R of a tall matrix, and its singular value decomposition.

With ``A = Q R`` and ``R = U' diag(S) V^H``, S and V are those of A. The error of ``W = A V`` is
``eps S_1``, as for an SVD. Q is formed only if unit columns are requested.

R is computed from blocks of rows: the R of every block, and then the R of the stack of these
(Demmel, Grigori, Hoemmen & Langou, SIAM J. Sci. Comput. 34, 2012). One LAPACK QR of a long matrix
is slow, and the QRs of its blocks are not. Rows on several devices stay there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from ..arrays import adjoint, finite_matrices, scale
from ..namespace import Array, Namespace
from .driver import Driver, Long, safe_sizes
from .native import native

__all__ = ["BlockQR", "blocks"]

MOST_BLOCKS = 64
"""Largest number of blocks, unless there are more devices than that."""

SHORTEST_BLOCK = 16
"""Smallest number of rows of a block, as a multiple of its columns."""


def blocks(m: int, n: int, devices: int = 1) -> int:
    """The number of blocks of rows into which to split a matrix: `devices` times a power of two."""
    count = devices if m >= devices * n else 1  # with fewer rows a block is no larger than its R
    while 2 * count <= MOST_BLOCKS and m >= 2 * count * SHORTEST_BLOCK * n:
        count *= 2
    return count


@dataclass(frozen=True)
class BlockQR(Driver):
    """An SVD of R: accurate for every matrix, and cheap for one with many more rows than columns.

    Parameters
    ----------
    double : bool
        Compute R in double precision too.
    inner : Driver
        The driver for the SVD of R.
    normalized : bool
        Divide by the largest entry of A first, for a framework whose QR squares entries.
    devices : int
        Number of devices over which the rows may be distributed. If it is equally, every device
        has blocks of its own.
    whole : bool
        Do not split A, for a framework whose QR works by blocks itself.
    """

    inner: Driver = field(default_factory=native)
    normalized: bool = False
    devices: int = 1
    whole: bool = False
    name: ClassVar[str] = "qr"

    def of_tall(
        self, xp: Namespace, A: Array, *, long: Long, finite: bool
    ) -> tuple[Array | None, Array, Array]:
        """See `Driver.of_tall`."""
        if self.normalized:
            sizes = safe_sizes(xp, A)
            plain = replace(self, normalized=False)
            W, S, V = plain.of_tall(xp, scale(xp, 1.0 / sizes, A), long=long, finite=finite)
            return scale(xp, sizes, W) if long == "scaled" else W, S * sizes[..., 0], V
        unit = long == "unit"
        count = 1 if self.whole else blocks(A.shape[-2], A.shape[-1], self.devices)
        tree = None if count == 1 else _Tree.of(A, count)
        top = A if tree is None else tree.stack(xp, A, unit)
        Q, R = xp.linalg.qr(top, mode="reduced") if unit else (None, _triangular(xp, top))
        # If A has an infinite or NaN entry, so has R.
        values_usable, usable = finite_matrices(xp, R)
        R = xp.where(usable, R, xp.zeros_like(R))
        U, S, Vh = self.inner.compute(xp, R, long="unit", finite=True)
        nan = float("nan")  # not an array, which NaN debuggers would report
        S, V = xp.where(values_usable, S, nan), adjoint(xp, xp.where(usable, Vh, nan))
        if not unit:
            return xp.matmul(A, V) if long == "scaled" else None, S, V
        U = xp.matmul(Q, U)
        return xp.where(usable, U if tree is None else tree.back(xp, U), nan), S, V


class _Tree:
    """The first of two levels: the QRs of blocks of rows, with the blocks as one axis of a batch.

    The rows are first cut into equal parts, as many as divide their number, and each part into
    blocks. So a device that holds an equal share of the rows holds whole parts. The remaining rows
    of a part join the stack.
    """

    def __init__(self, batch: tuple[Any, ...], m: int, n: int, count: int) -> None:
        self.count, self.parts = count, math.gcd(m, count)
        self.rows = m // self.count
        self.used = self.rows * (self.count // self.parts)  # rows of a part that are in blocks
        self.left = m // self.parts - self.used
        self.batch, self.m, self.n = batch, m, n
        self.Q: Array = None

    @classmethod
    def of(cls, A: Array, count: int) -> _Tree | None:
        """The tree for A; None if a reshape is impossible, because two lengths are unknown."""
        *batch, m, n = A.shape
        if sum(length is None for length in batch) > 1:
            return None
        return cls(tuple(-1 if b is None else b for b in batch), m, n, count)

    def _shaped(self, xp: Namespace, X: Array, *rows: int) -> Array:
        return xp.reshape(X, (*self.batch, *rows, self.n))

    def stack(self, xp: Namespace, A: Array, unit: bool) -> Array:
        """The R factors of all blocks on top of each other, and the remaining rows."""
        parts = used = A
        if self.left:
            parts = self._shaped(xp, A, self.parts, self.used + self.left)
            used = parts[..., : self.used, :]
        split = self._shaped(xp, used, self.count, self.rows)
        if unit:
            self.Q, R = xp.linalg.qr(split, mode="reduced")
        else:
            R = _triangular(xp, split)
        top = self._shaped(xp, R, self.count * self.n)
        if not self.left:
            return top
        left = self._shaped(xp, parts[..., self.used :, :], self.parts * self.left)
        return xp.concat([top, left], axis=-2)

    def back(self, xp: Namespace, U: Array) -> Array:
        """Map columns of the stack to columns of A, by the Q of each block."""
        top = self.count * self.n
        out = xp.matmul(self.Q, self._shaped(xp, U[..., :top, :], self.count, self.n))
        if self.left:
            out = self._shaped(xp, out, self.parts, self.used)
            left = self._shaped(xp, U[..., top:, :], self.parts, self.left)
            out = xp.concat([out, left], axis=-2)
        return self._shaped(xp, out, self.m)


def _triangular(xp: Namespace, A: Array) -> Array:
    """R without Q, by the namespace's own function if it has one; the standard has none."""
    own = getattr(xp.linalg, "qr_r", None)
    return xp.linalg.qr(A, mode="reduced")[1] if own is None else own(A)
