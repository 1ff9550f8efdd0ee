"""Sparse matrices of SciPy; derivatives are with respect to the stored entries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .operators import LinearOperator

__all__ = ["is_sparse", "operator_of"]


def is_sparse(x: Any) -> bool:
    """Whether `x` is a sparse matrix or array of SciPy. This does not import SciPy."""
    return type(x).__module__.startswith("scipy.sparse") and hasattr(x, "tocsr")


@dataclass(frozen=True, eq=False)
class _Csr:
    """The products of a sparse matrix or its adjoint, the stored entries as the one parameter."""

    like: Any
    adjoint: bool = False

    def _with(self, data: Any) -> Any:
        return type(self.like)((data, self.like.indices, self.like.indptr), self.like.shape)

    def _product(self, data: Any, X: Any, adjoint: bool) -> Any:
        return self._with(data.conj()).T @ X if adjoint else self._with(data) @ X

    def matmul(self, xp: Any, arrays: tuple[Any, ...], X: Any) -> Any:
        return self._product(arrays[0], X, self.adjoint)

    def rmatmul(self, xp: Any, arrays: tuple[Any, ...], Y: Any) -> Any:
        return self._product(arrays[0], Y, not self.adjoint)

    def pull(
        self, xp: Any, arrays: tuple[Any, ...], X: Any, ct: Any, adjoint: bool
    ) -> tuple[Any, ...]:
        """Cotangent of the stored entries."""
        import numpy as np

        left, right = (X, ct) if adjoint != self.adjoint else (ct, X)
        rows = np.repeat(np.arange(self.like.shape[0]), np.diff(self.like.indptr))
        out = np.zeros_like(arrays[0])
        for j in range(X.shape[-1]):  # one column at a time, to need no more memory than the matrix
            out += left[rows, j] * np.conj(right[self.like.indices, j])
        return (out,)


@dataclass(frozen=True, eq=False)
class _Product:
    linear: _Csr

    def __call__(self, X: Any, data: Any) -> Any:
        return self.linear.matmul(None, (data,), X)


def operator_of(x: Any) -> LinearOperator:
    """A sparse matrix as an operator."""
    like = x.tocsr()
    m, n = x.shape
    there, back = (_Product(_Csr(like, adjoint)) for adjoint in (False, True))
    return LinearOperator((int(m), int(n)), x.dtype, there, back, (like.data,))
