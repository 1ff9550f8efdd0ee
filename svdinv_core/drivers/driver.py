r"""What a driver is: a way from a matrix to its factors.

For a matrix that is not wide, ``A = W V^H`` with ``W = U diag(S)``. A driver gives ``(W, S, V)``,
or ``(U, S, V)`` where unit columns are asked for. A wide matrix is treated by its adjoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

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

__all__ = ["Driver", "Extent", "in_double", "orthogonal_or_nan", "safe_sizes", "unit_columns"]

Extent = tuple[Array, Array]


@dataclass(frozen=True)
class Driver:
    """A way to compute factors.

    Derive from it, give it a `name`, and write `of_tall`. One that is not good enough for every
    matrix says ``exact = False`` and writes `resolves`.

    Parameters
    ----------
    double : bool
        Compute in double precision whatever the precision of the matrix. The factors come back in
        that of the matrix.
    guarded : bool
        Give NaN for a matrix whose vectors come back from the framework not orthogonal.
    """

    double: bool = False
    guarded: bool = False
    name: ClassVar[str]
    exact: ClassVar[bool] = True

    def of_tall(
        self, xp: Namespace, A: Array, *, unit: bool, finite: bool
    ) -> tuple[Array, Array, Array]:
        """``(W, S, V)`` of ``A (..., m, n)`` with m >= n, or ``(U, S, V)`` with `unit`.

        S is descending, and NaN for a matrix with a non-finite entry. `finite` says that there is
        no such matrix.
        """
        raise NotImplementedError

    def compute(
        self, xp: Namespace, A: Array, *, unit: bool, finite: bool = False
    ) -> tuple[Array, Array, Array]:
        """``(left, S, right)`` of any matrix.

        With `unit` ``A = left diag(S) right``, and both have orthonormal columns (rows). Without
        it ``A = left @ right``, and the longer side has the values in it.
        """
        X = in_double(xp, A) if self.double else A
        wide = bool(A.shape[-2] < A.shape[-1])
        long, S, V = self.of_tall(xp, adjoint(xp, X) if wide else X, unit=unit, finite=finite)
        long, S, V = cast_like(xp, long, A), real_like(xp, S, A), cast_like(xp, V, A)
        return (V, S, adjoint(xp, long)) if wide else (long, S, adjoint(xp, V))

    def eigh(self, xp: Namespace, H: Array, *, finite: bool = False) -> tuple[Array, Array]:
        """Eigenvalues, ascending, and eigenvectors of a Hermitian matrix: the namespace's own."""
        X = in_double(xp, H) if self.double else H
        if finite:
            w, Q = xp.linalg.eigh(X)
        else:
            values_usable, usable = finite_matrices(xp, X)
            w, Q = xp.linalg.eigh(xp.where(usable, X, xp.zeros_like(X)))
            nan = float("nan")  # no array of it: debuggers would take it for a result
            w, Q = xp.where(values_usable, w, nan), xp.where(usable, Q, nan)
        if self.guarded:
            w, Q = orthogonal_or_nan(xp, (Q,), w, Q)
        return real_like(xp, w, H), cast_like(xp, Q, H)

    def resolves(
        self, xp: Namespace, S: Array, extent: Extent, spoilt: Array | None = None
    ) -> Array:
        """Whether these factors are good enough: one truth value for the whole batch.

        Parameters
        ----------
        S : array (..., k)
            Singular values, in the precision of A.
        extent : (largest, smallest)
            The largest value and the smallest that matters, ``(..., 1)`` each.
        spoilt : array (...) of bool, optional
            Matrices with a non-finite entry, whose factors are NaN by any driver. Without it they
            count as not resolved.
        """
        raise NotImplementedError


def unit_columns(xp: Namespace, W: Array, S: Array) -> Array:
    """W with each column over its norm; a column of zeros stays one."""
    return scale_columns(xp, W, 1.0 / xp.where(S != 0, S, 1.0))


def safe_sizes(xp: Namespace, A: Array) -> Array:
    """The largest entry of each matrix, ``(..., 1, 1)``, or a number that may be divided by."""
    info = xp.finfo(A.dtype)
    least, most = float(info.smallest_normal), float(info.max) / 8  # 1/most is normal too
    sizes = xp.max(xp.abs(A), axis=(-2, -1), keepdims=True)
    ones = xp.ones_like(sizes)
    sizes = xp.where(sizes >= least, sizes, least * ones)  # of NaN too
    return xp.where(sizes <= most, sizes, most * ones)


def in_double(xp: Namespace, A: Array) -> Array:
    return xp.astype(A, xp.complex128 if is_complex(xp, A) else xp.float64)


ORTHOGONAL = 200
"""Up to which entry of ``V^H V - I``, in units of the precision, V counts as orthogonal.

LAPACK's stay below 30 up to 512 columns.
"""


def orthogonal_or_nan(
    xp: Namespace, sides: tuple[Array, ...], *factors: Array
) -> tuple[Array, ...]:
    """Factors ``(..., k)`` or ``(..., i, j)``; NaN of a matrix where a side is not orthogonal."""
    if 0 in tuple(sides[0].shape):
        return factors
    good: Array = None
    for V in sides:
        product = xp.matmul(adjoint(xp, V), V)
        identity = diagonal_matrix(xp, xp.ones_like(xp.abs(V)[..., 0, :]), V.dtype)
        most = ORTHOGONAL * float(xp.finfo(V.dtype).eps)
        fine = xp.max(xp.abs(product - identity), axis=(-2, -1), keepdims=True) <= most
        good = fine if good is None else good & fine
    axes, nan = len(sides[0].shape), float("nan")  # no array of it: debuggers take it for a result
    return tuple(xp.where(good if len(x.shape) == axes else good[..., 0], x, nan) for x in factors)
