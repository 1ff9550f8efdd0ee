r"""The small factor R of a tall matrix, and its singular value decomposition.

``A = Q R`` and ``R = U' diag(S) V^H``: the values and V are those of A. ``W = A V`` is off by
``eps S_1``, as that of an SVD is. Q is formed only where unit columns are asked for.

R is computed by blocks of rows: the R of every block, and the R of the stack of these (Demmel,
Grigori, Hoemmen & Langou, SIAM J. Sci. Comput. 34, 2012). One LAPACK QR of a long matrix is slow,
those of its blocks are not, and rows that lie on several devices stay there.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from ..arrays import adjoint, finite_matrices, scale
from ..namespace import Array, Namespace
from .driver import Driver, safe_sizes
from .native import native

__all__ = ["BlockQR", "blocks"]

MOST_BLOCKS = 64
"""A power of two, and so a multiple of most numbers of devices."""

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
    """

    inner: Driver = field(default_factory=native)
    normalized: bool = False
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
        tree = _Tree.of(A) if blocks(*A.shape[-2:]) > 1 else None
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
    """The first of two levels: the QR of blocks of rows, which are one axis of a batch."""

    def __init__(self, batch: tuple[Any, ...], count: int, rows: int, n: int) -> None:
        self.batch, self.count, self.rows, self.n = batch, count, rows, n
        self.Q: Array = None

    @classmethod
    def of(cls, A: Array) -> _Tree | None:
        """None where a reshape is not possible: more than one length is not known yet."""
        *batch, m, n = A.shape
        if sum(length is None for length in batch) > 1:
            return None
        count = blocks(m, n)
        return cls(tuple(-1 if b is None else b for b in batch), count, m // count, n)

    def stack(self, xp: Namespace, A: Array, unit: bool) -> Array:
        """The R of every block, one below the other, and the rows that are left over."""
        used = self.count * self.rows
        split = xp.reshape(A[..., :used, :], (*self.batch, self.count, self.rows, self.n))
        if unit:
            self.Q, R = xp.linalg.qr(split, mode="reduced")
        else:
            R = _triangular(xp, split)
        top = xp.reshape(R, (*self.batch, self.count * self.n, self.n))
        return top if used == A.shape[-2] else xp.concat([top, A[..., used:, :]], axis=-2)

    def back(self, xp: Namespace, U: Array) -> Array:
        """Columns of A from those of the stack."""
        top = self.count * self.n
        inner = xp.reshape(U[..., :top, :], (*self.batch, self.count, self.n, self.n))
        out = xp.matmul(self.Q, inner)
        out = xp.reshape(out, (*self.batch, self.count * self.rows, self.n))
        return out if top == U.shape[-2] else xp.concat([out, U[..., top:, :]], axis=-2)


def _triangular(xp: Namespace, A: Array) -> Array:
    """R alone, which the array API standard has no mode for."""
    own = getattr(xp.linalg, "qr_r", None)
    return xp.linalg.qr(A, mode="reduced")[1] if own is None else own(A)
