"""Matrices that are known by their products: :class:`LinearOperator`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from svdinv_core import Dense, Given, Linear

from ._checks import check_operator, check_product

__all__ = ["LinearOperator"]

Product = Callable[..., Any]


@dataclass(frozen=True, eq=False)
class LinearOperator:
    """An m-by-n matrix that is known by its products with a few columns.

    `truncated_svd` needs no more than these. ``A + B``, ``A - B``, ``A @ B``, ``2.0 * A`` and
    ``A.H`` are operators too; for example ``A + of(U) @ of(V).H`` is a low-rank update.

    Parameters
    ----------
    shape : (int, int)
        m and n.
    dtype
        Dtype of the products: a dtype of the framework, its scalar type (``jax.numpy.float64``) or
        its name.
    matmul : callable
        ``matmul(X, *params)``, which is ``A @ X`` for ``X (n, r)``.
    rmatmul : callable
        ``rmatmul(Y, *params)``, which is ``A^H @ Y`` for ``Y (m, r)``.
    params : tuple of arrays
        Arrays of the framework, at least one of them of floating point. These get the gradients,
        so everything you differentiate has to be among them, and in JAX everything that is traced.
        JAX compiles once for each pair of functions: do not create new functions at every step.
        `torch.compile` calls the functions outside of its program.

    Raises
    ------
    TypeError, ValueError
        If `shape` is not a pair of integers, a product is not a function, or `params` is not a
        tuple of arrays; from `truncated_svd`, if a product has another shape or dtype than the
        operator states.

    Examples
    --------
    >>> import numpy as np
    >>> import svdinv
    >>> from svdinv.operators import LinearOperator
    >>> d = np.array([3.0, 2.0, 1.0])
    >>> def scale(X, d):
    ...     return d[:, None] * X
    >>> A = LinearOperator((3, 3), d.dtype, scale, scale, (d,))
    >>> svdinv.truncated_svd(A + A, 2).S
    array([6., 4.])
    """

    shape: tuple[int, int]
    dtype: Any
    matmul: Product
    rmatmul: Product
    params: tuple[Any, ...]

    def __post_init__(self) -> None:
        check_operator(self.shape, (self.matmul, self.rmatmul), self.params)

    @property
    def linear(self) -> Linear:
        """What the core takes: the functions, unless they come with a derivative of their own."""
        own: Linear | None = getattr(self.matmul, "linear", None)
        if own is not None:
            return own
        m, n = self.shape
        return Given(_Checked("matmul", self.matmul, m), _Checked("rmatmul", self.rmatmul, n))

    @staticmethod
    def of(x: Any) -> LinearOperator:
        """Make an operator of an array ``(m, n)``, a sparse matrix or an operator."""
        if isinstance(x, LinearOperator):
            return x
        from ._dispatch import find_backend

        backend = find_backend(x)
        sparse = backend.sparse(x)
        if sparse is not None:
            return sparse
        array = backend.asarray(x)
        shape = None if array is None else backend.shape(array)
        if shape is None or len(shape) != 2:
            raise ValueError(f"x: expected a matrix (m, n), got {type(x).__name__} {shape}")
        m, n = (int(length) for length in shape if length is not None)
        there, back = (_DenseProduct(adjoint) for adjoint in (False, True))
        return LinearOperator((m, n), array.dtype, there, back, (array,))

    @property
    def H(self) -> LinearOperator:
        """The adjoint."""
        m, n = self.shape
        return LinearOperator((n, m), self.dtype, self.rmatmul, self.matmul, self.params)

    def __add__(self, other: LinearOperator) -> LinearOperator:
        if not isinstance(other, LinearOperator):
            return NotImplemented
        if other.shape != self.shape:
            raise ValueError(f"other: expected shape {self.shape}, got {other.shape}")
        count = len(self.params)
        return LinearOperator(
            self.shape,
            self.dtype,
            _Sum(self.matmul, other.matmul, count),
            _Sum(self.rmatmul, other.rmatmul, count),
            self.params + other.params,
        )

    def __matmul__(self, other: LinearOperator) -> LinearOperator:
        if not isinstance(other, LinearOperator):
            return NotImplemented
        if other.shape[0] != self.shape[1]:
            raise ValueError(f"other: expected shape ({self.shape[1]}, ...), got {other.shape}")
        count = len(self.params)
        return LinearOperator(
            (self.shape[0], other.shape[1]),
            self.dtype,
            _Chain(self.matmul, other.matmul, count, second_first=True),
            _Chain(self.rmatmul, other.rmatmul, count, second_first=False),
            self.params + other.params,
        )

    def __rmul__(self, factor: complex) -> LinearOperator:
        if not isinstance(factor, (int, float, complex)):
            return NotImplemented
        return LinearOperator(
            self.shape,
            self.dtype,
            _Times(self.matmul, factor),
            _Times(self.rmatmul, factor.conjugate()),
            self.params,
        )

    def __neg__(self) -> LinearOperator:
        return -1.0 * self

    def __sub__(self, other: LinearOperator) -> LinearOperator:
        return self + (-other) if isinstance(other, LinearOperator) else NotImplemented


# Classes instead of closures: two objects with equal fields are equal, so that JAX finds the
# program it compiled for the first one.


@dataclass(frozen=True)
class _Checked:
    name: str
    product: Product
    rows: int

    def __call__(self, X: Any, *params: Any) -> Any:
        out = self.product(X, *params)
        expected = (self.rows, X.shape[-1])
        check_product(self.name, tuple(out.shape), expected, out.dtype, X.dtype)
        return out


@dataclass(frozen=True)
class _DenseProduct:
    adjoint: bool

    def __call__(self, X: Any, A: Any) -> Any:
        from ._dispatch import find_backend

        product = Dense().rmatmul if self.adjoint else Dense().matmul
        return product(find_backend(A).xp, (A,), X)


@dataclass(frozen=True)
class _Sum:
    one: Product
    two: Product
    count: int

    def __call__(self, X: Any, *params: Any) -> Any:
        return self.one(X, *params[: self.count]) + self.two(X, *params[self.count :])


@dataclass(frozen=True)
class _Chain:
    one: Product
    two: Product
    count: int
    second_first: bool

    def __call__(self, X: Any, *params: Any) -> Any:
        of_one, of_two = params[: self.count], params[self.count :]
        if self.second_first:
            return self.one(self.two(X, *of_two), *of_one)
        return self.two(self.one(X, *of_one), *of_two)


@dataclass(frozen=True)
class _Times:
    one: Product
    factor: complex

    def __call__(self, X: Any, *params: Any) -> Any:
        return self.factor * self.one(X, *params)
