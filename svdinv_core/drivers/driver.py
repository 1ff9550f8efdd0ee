r"""The base class of drivers, which compute the factors of a matrix.

For a matrix that is not wide, ``A = W V^H`` with ``W = U diag(S)``. A driver returns ``(W, S, V)``,
or ``(U, S, V)`` if unit columns are requested. For a wide matrix it takes the adjoint. A function
of a long matrix needs neither W nor U, and asks for S and V alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from ..arrays import (
    adjoint,
    cast_like,
    diagonal_matrix,
    finite_matrices,
    is_complex,
    real_like,
    scale_columns,
)
from ..namespace import Array, Namespace

__all__ = [
    "Driver",
    "Extent",
    "Long",
    "in_double",
    "orthogonal_or_nan",
    "safe_sizes",
    "unit_columns",
]

Extent = tuple[Array, Array]

Long = Literal["unit", "scaled", "none"]
"""The factor of the longer side: unit columns, columns times the values, or None in its place."""


@dataclass(frozen=True)
class Driver:
    """A way to compute factors.

    A driver derives from this class, has a `name`, and implements `of_tall`. A driver that is not
    accurate enough for every matrix sets ``exact = False`` and implements `resolves`.

    Parameters
    ----------
    double : bool
        Compute in double precision, whatever the precision of the matrix. The factors are returned
        in the precision of the matrix.
    guarded : bool
        Return NaN for a matrix for which the framework returns vectors that are not orthogonal.
    """

    double: bool = False
    guarded: bool = False
    name: ClassVar[str]
    exact: ClassVar[bool] = True

    def of_tall(
        self, xp: Namespace, A: Array, *, long: Long, finite: bool
    ) -> tuple[Array | None, Array, Array]:
        """``(W, S, V)`` of ``A (..., m, n)`` with m >= n; U or None in place of W as `long` says.

        S is descending, and NaN for a matrix with a non-finite entry. `finite` is true if the
        caller knows that there is no such matrix.
        """
        raise NotImplementedError

    def compute(
        self, xp: Namespace, A: Array, *, long: Long, finite: bool = False
    ) -> tuple[Array, Array, Array]:
        """``(left, S, right)`` of any matrix.

        With ``long="unit"``, ``A = left diag(S) right``, and both have orthonormal columns (rows).
        With "scaled", ``A = left @ right``, and the factor of the longer side is multiplied by the
        values. With "none" that factor is None.
        """
        X = in_double(xp, A) if self.double else A
        wide = bool(A.shape[-2] < A.shape[-1])
        W, S, V = self.of_tall(xp, adjoint(xp, X) if wide else X, long=long, finite=finite)
        S, V = real_like(xp, S, A), cast_like(xp, V, A)
        if W is not None:
            W = cast_like(xp, W, A)
            W = adjoint(xp, W) if wide else W
        return (V, S, W) if wide else (W, S, adjoint(xp, V))

    def eigh(self, xp: Namespace, H: Array, *, finite: bool = False) -> tuple[Array, Array]:
        """Eigenvalues, ascending, and eigenvectors of a Hermitian matrix, by ``xp.linalg.eigh``."""
        X = in_double(xp, H) if self.double else H
        if finite:
            w, Q = xp.linalg.eigh(X)
        else:
            values_usable, usable = finite_matrices(xp, X)
            w, Q = xp.linalg.eigh(xp.where(usable, X, xp.zeros_like(X)))
            nan = float("nan")  # not an array, which NaN debuggers would report
            w, Q = xp.where(values_usable, w, nan), xp.where(usable, Q, nan)
        if self.guarded:
            w, Q = orthogonal_or_nan(xp, (Q,), w, Q)
        return real_like(xp, w, H), cast_like(xp, Q, H)

    def resolves(
        self, xp: Namespace, S: Array, extent: Extent, spoilt: Array | None = None
    ) -> Array:
        """True if these factors are accurate enough for every matrix of the batch.

        Parameters
        ----------
        S : array (..., k)
            Singular values, in the precision of A.
        extent : (largest, smallest)
            The largest value and the smallest that matters, ``(..., 1)`` each.
        spoilt : array (...) of bool, optional
            Which matrices have a non-finite entry. Every driver gives NaN for these, so they are
            ignored. Without `spoilt` they count as not accurate enough.
        """
        raise NotImplementedError


def unit_columns(xp: Namespace, W: Array, S: Array) -> Array:
    """W with each column divided by its norm; a column of zeros stays zero."""
    return scale_columns(xp, W, 1.0 / xp.where(S != 0, S, 1.0))


def safe_sizes(xp: Namespace, A: Array) -> Array:
    """The largest entry of each matrix, ``(..., 1, 1)``, moved into the range of safe divisors."""
    info = xp.finfo(A.dtype)
    least, most = float(info.smallest_normal), float(info.max) / 8  # 1/most is normal too
    sizes = xp.max(xp.abs(A), axis=(-2, -1), keepdims=True)
    ones = xp.ones_like(sizes)
    sizes = xp.where(sizes >= least, sizes, least * ones)  # replaces NaN too
    return xp.where(sizes <= most, sizes, most * ones)


def in_double(xp: Namespace, A: Array) -> Array:
    return xp.astype(A, xp.complex128 if is_complex(xp, A) else xp.float64)


ORTHOGONAL = 200
"""Largest entry of ``V^H V - I``, in units of eps, with which V counts as orthogonal.

For LAPACK it stays below 30 up to 512 columns.
"""


def orthogonal_or_nan(
    xp: Namespace, sides: tuple[Array, ...], *factors: Array
) -> tuple[Array, ...]:
    """The factors ``(..., k)`` or ``(..., i, j)``, NaN for a matrix with a side not orthogonal."""
    if 0 in tuple(sides[0].shape):
        return factors
    good: Array = None
    for V in sides:
        product = xp.matmul(adjoint(xp, V), V)
        identity = diagonal_matrix(xp, xp.ones_like(xp.abs(V)[..., 0, :]), V.dtype)
        most = ORTHOGONAL * float(xp.finfo(V.dtype).eps)
        fine = xp.max(xp.abs(product - identity), axis=(-2, -1), keepdims=True) <= most
        good = fine if good is None else good & fine
    axes, nan = len(sides[0].shape), float("nan")  # not an array: NaN debuggers would report it
    return tuple(xp.where(good if len(x.shape) == axes else good[..., 0], x, nan) for x in factors)
