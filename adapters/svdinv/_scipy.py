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
    """The products of a sparse matrix, with its stored entries as the one parameter."""

    like: Any

    def _with(self, data: Any) -> Any:
        return type(self.like)((data, self.like.indices, self.like.indptr), self.like.shape)

    def matmul(self, xp: Any, arrays: tuple[Any, ...], X: Any) -> Any:
        return self._with(arrays[0]) @ X

    def rmatmul(self, xp: Any, arrays: tuple[Any, ...], Y: Any) -> Any:
        return self._with(arrays[0].conj()).T @ Y

    def pull(
        self, xp: Any, arrays: tuple[Any, ...], X: Any, ct: Any, adjoint: bool
    ) -> tuple[Any, ...]:
        """Cotangent of the stored entries."""
        import numpy as np

        left, right = (X, ct) if adjoint else (ct, X)
        rows = np.repeat(np.arange(self.like.shape[0]), np.diff(self.like.indptr))
        out = np.zeros_like(arrays[0])
        for j in range(X.shape[-1]):  # one column at a time, to need no more memory than the matrix
            out += left[rows, j] * np.conj(right[self.like.indices, j])
        return (out,)


@dataclass(frozen=True, eq=False)
class _Product:
    linear: _Csr
    adjoint: bool

    def __call__(self, X: Any, data: Any) -> Any:
        product = self.linear.rmatmul if self.adjoint else self.linear.matmul
        return product(None, (data,), X)


def operator_of(x: Any) -> LinearOperator:
    """A sparse matrix as an operator."""
    linear = _Csr(x.tocsr())
    m, n = x.shape
    there, back = (_Product(linear, adjoint) for adjoint in (False, True))
    return LinearOperator((int(m), int(n)), x.dtype, there, back, (linear.like.data,))
