r"""The small factor R of a tall matrix, and its singular value decomposition.

``A = Q R`` and ``R = U' diag(S) V^H``: the values and V are those of A. ``W = A V`` is off by
``eps S_1``, as that of an SVD is. Q is formed only where unit columns are asked for.

R is computed by blocks of rows: the R of every block, and the R of the stack of these (Demmel,
Grigori, Hoemmen & Langou, SIAM J. Sci. Comput. 34, 2012). One LAPACK QR of a long matrix is slow,
those of its blocks are not, and rows that lie on several devices stay there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from ..arrays import adjoint, finite_matrices, scale
from ..namespace import Array, Namespace
from .driver import Driver, safe_sizes
from .native import native

__all__ = ["BlockQR", "blocks"]

MOST_BLOCKS = 64
"""A power of two, as most numbers of devices are."""

SHORTEST_BLOCK = 16
"""Rows of a block for each of its columns, at least."""


def blocks(m: int, n: int) -> int:
    """Into how many blocks of rows to split a matrix: a power of two."""
    count = 1
    while 2 * count <= MOST_BLOCKS and m >= 2 * count * SHORTEST_BLOCK * n:
        count *= 2
    return count


@dataclass(frozen=True)
class BlockQR(Driver):
    """An SVD of R: good enough for every matrix, and cheap for one with many more rows.

    Parameters
    ----------
    double : bool
        Compute R in double precision too.
    inner : Driver
        For the SVD of R.
    normalized : bool
        Divide by the largest entry of A first: for a framework whose QR squares entries.
    whole : bool
        Hand A over as it is: to a framework whose QR goes by blocks itself.
    """

    inner: Driver = field(default_factory=native)
    normalized: bool = False
    whole: bool = False
    name: ClassVar[str] = "qr"

    def of_tall(
        self, xp: Namespace, A: Array, *, unit: bool, finite: bool
    ) -> tuple[Array, Array, Array]:
        """See `Driver.of_tall`."""
        if self.normalized:
            sizes = safe_sizes(xp, A)
            plain = replace(self, normalized=False)
            long, S, V = plain.of_tall(xp, scale(xp, 1.0 / sizes, A), unit=unit, finite=finite)
            return long if unit else scale(xp, sizes, long), S * sizes[..., 0], V
        tree = None if self.whole or blocks(*A.shape[-2:]) == 1 else _Tree.of(A)
        top = A if tree is None else tree.stack(xp, A, unit)
        Q, R = xp.linalg.qr(top, mode="reduced") if unit else (None, _triangular(xp, top))
        # An infinite or NaN entry of A is one of R too.
        values_usable, usable = finite_matrices(xp, R)
        R = xp.where(usable, R, xp.zeros_like(R))
        U, S, Vh = self.inner.compute(xp, R, unit=True, finite=True)
        nan = float("nan")  # no array of it: debuggers would take it for a result
        S, V = xp.where(values_usable, S, nan), adjoint(xp, xp.where(usable, Vh, nan))
        if not unit:
            return xp.matmul(A, V), S, V
        U = xp.matmul(Q, U)
        return xp.where(usable, U if tree is None else tree.back(xp, U), nan), S, V


class _Tree:
    """The first of two levels: the QR of blocks of rows, which are one axis of a batch.

    The rows are cut into equal parts first, as many as divide them, and each part into blocks, so
    that what a device holds of evenly distributed rows is whole parts. Rows of a part that are left
    over join the stack.
    """

    def __init__(self, batch: tuple[Any, ...], m: int, n: int) -> None:
        self.count = blocks(m, n)
        self.parts = math.gcd(m, self.count)
        self.rows = m // self.count
        self.used = self.rows * (self.count // self.parts)  # of a part
        self.left = m // self.parts - self.used
        self.batch, self.m, self.n = batch, m, n
        self.Q: Array = None

    @classmethod
    def of(cls, A: Array) -> _Tree | None:
        """None where a reshape is not possible: more than one length is not known yet."""
        *batch, m, n = A.shape
        if sum(length is None for length in batch) > 1:
            return None
        return cls(tuple(-1 if b is None else b for b in batch), m, n)

    def _shaped(self, xp: Namespace, X: Array, *rows: int) -> Array:
        return xp.reshape(X, (*self.batch, *rows, self.n))

    def stack(self, xp: Namespace, A: Array, unit: bool) -> Array:
        """The R of every block, one below the other, and the rows that are left over."""
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
        """Columns of A from those of the stack."""
        top = self.count * self.n
        out = xp.matmul(self.Q, self._shaped(xp, U[..., :top, :], self.count, self.n))
        if self.left:
            out = self._shaped(xp, out, self.parts, self.used)
            left = self._shaped(xp, U[..., top:, :], self.parts, self.left)
            out = xp.concat([out, left], axis=-2)
        return self._shaped(xp, out, self.m)


def _triangular(xp: Namespace, A: Array) -> Array:
    """R alone, which the array API standard has no mode for."""
    own = getattr(xp.linalg, "qr_r", None)
    return xp.linalg.qr(A, mode="reduced")[1] if own is None else own(A)
