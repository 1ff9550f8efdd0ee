"""The namespace's own decompositions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..arrays import adjoint, cast_like, finite_matrices, real_like, scale_columns, scale_rows
from ..namespace import Array, Namespace
from .driver import Driver, Long, in_double, orthogonal_or_nan

__all__ = ["Native", "native"]


@dataclass(frozen=True)
class Native(Driver):
    """``xp.linalg.svd``, for matrices of any shape; ``xp.linalg.eigh``."""

    name: ClassVar[str] = "svd"

    def compute(
        self, xp: Namespace, A: Array, *, long: Long, finite: bool = False
    ) -> tuple[Array, Array, Array]:
        """See `Driver.compute`.

        LAPACK never gets a matrix with a non-finite entry. In some frameworks it would raise for
        the whole batch, in others it would not return.
        """
        X = in_double(xp, A) if self.double else A
        if finite:
            U, S, Vh = xp.linalg.svd(X, full_matrices=False)
        else:
            values_usable, usable = finite_matrices(xp, X)
            U, S, Vh = xp.linalg.svd(xp.where(usable, X, xp.zeros_like(X)), full_matrices=False)
            nan = float("nan")  # not an array, which NaN debuggers would report
            U, S, Vh = (
                xp.where(usable, U, nan),
                xp.where(values_usable, S, nan),
                xp.where(usable, Vh, nan),
            )
        if self.guarded:
            U, S, Vh = orthogonal_or_nan(xp, (U, adjoint(xp, Vh)), U, S, Vh)
        U, S, Vh = cast_like(xp, U, A), real_like(xp, S, A), cast_like(xp, Vh, A)
        tall = A.shape[-2] >= A.shape[-1]
        if long == "none":
            return (None, S, Vh) if tall else (U, S, None)
        if long == "unit":
            return U, S, Vh
        return (scale_columns(xp, U, S), S, Vh) if tall else (U, S, scale_rows(xp, S, Vh))


def native() -> Native:
    """The default driver of every decomposition: a function, because compilers can trace it."""
    return Native()
