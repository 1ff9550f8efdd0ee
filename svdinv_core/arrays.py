"""Small array functions that the formulas share."""

from __future__ import annotations

from collections.abc import Callable
from math import frexp
from typing import Any

from .namespace import Array, Namespace

__all__ = [
    "add_product",
    "added",
    "adjoint",
    "cast_like",
    "counted",
    "determinant",
    "diagonal_matrix",
    "finite_matrices",
    "first",
    "inner",
    "is_complex",
    "last",
    "leading",
    "order_sign",
    "orthogonal_determinant",
    "over",
    "real_diagonal",
    "real_like",
    "real_product",
    "reciprocal",
    "repeated",
    "rounding",
    "safe_size",
    "scale",
    "scale_columns",
    "scale_rows",
    "sum_to_shape",
    "unit",
]


def is_complex(xp: Namespace, x: Array) -> bool:
    """Whether `x` has a complex dtype."""
    return bool(xp.isdtype(x.dtype, "complex floating"))


def adjoint(xp: Namespace, x: Array) -> Array:
    """Conjugate transpose of the last two axes."""
    xt = xp.matrix_transpose(x)
    return xp.conj(xt) if is_complex(xp, x) else xt


def cast_like(xp: Namespace, x: Array, A: Array) -> Array:
    """Cast x to the dtype of A."""
    return x if x.dtype == A.dtype else xp.astype(x, A.dtype)


def real_like(xp: Namespace, S: Array, A: Array) -> Array:
    """Cast the real array S to the precision of A."""
    return cast_like(xp, S, xp.real(A) if is_complex(xp, A) else A)


def scale(xp: Namespace, weights: Array, x: Array) -> Array:
    """``weights * x`` with real weights and a real or complex `x`.

    The weights are cast first: the array API standard does not promise a product of a real and a
    complex array, and TensorFlow has none.
    """
    if is_complex(xp, x):
        weights = xp.astype(weights, x.dtype)
    return weights * x


def first(x: Array) -> Array:
    """The first entry of the last axis, kept as an axis; an empty axis stays empty.

    The standard does not define a slice past the end of an axis.
    """
    return x[..., : min(1, x.shape[-1])]


def last(x: Array) -> Array:
    """The last entry of the last axis, kept as an axis; an empty axis stays empty."""
    return x[..., -1:] if x.shape[-1] else x


def leading(x: Array, r: int) -> Array:
    """The first r entries of the last axis."""
    return x if x.shape[-1] == r else x[..., :r]


def scale_columns(xp: Namespace, x: Array, weights: Array) -> Array:
    """``x @ diag(weights)``, weights of shape ``(..., k)``."""
    return scale(xp, xp.expand_dims(weights, axis=-2), x)


def scale_rows(xp: Namespace, weights: Array, x: Array) -> Array:
    """``diag(weights) @ x``, weights of shape ``(..., k)``."""
    return scale(xp, xp.expand_dims(weights, axis=-1), x)


def real_diagonal(xp: Namespace, x: Array) -> Array:
    """``Re diag(x)`` over the last two axes."""
    d = xp.linalg.diagonal(x)
    return xp.real(d) if is_complex(xp, x) else d


def real_product(xp: Namespace, X: Array, Y: Array) -> Array:
    """``Re(conj(X) * Y)``, entry by entry."""
    return xp.real(xp.conj(X) * Y) if is_complex(xp, X) else X * Y


def inner(xp: Namespace, X: Array, Y: Array) -> Array:
    """``Re tr(X^H Y)``."""
    return xp.sum(real_product(xp, X, Y), axis=(-2, -1))


def safe_size(xp: Namespace, S: Array) -> Array:
    """The first value ``(..., 1)`` as a divisor: 1 where it is 0 or does not exist."""
    largest = first(S) if S.shape[-1] else xp.sum(S, axis=-1, keepdims=True)
    return xp.where(largest == 0, xp.ones_like(largest), largest)


def over(xp: Namespace, X: Array, size: Array) -> Array:
    """``X/size`` for X ``(..., m, n)`` and size ``(..., 1)``."""
    return scale(xp, xp.expand_dims(1.0 / size, axis=-1), X)


def counted(xp: Namespace, x: Array) -> Array:
    """``1, 2, ..., k`` along the last axis, with the dtype and on the device of the real `x`."""
    return xp.cumulative_sum(xp.ones_like(x), axis=-1)


def finite_matrices(xp: Namespace, A: Array) -> tuple[Array, Array]:
    """Flags of the matrices with finite entries only, ``(..., 1)`` and ``(..., 1, 1)``."""
    finite = xp.expand_dims(xp.all(xp.isfinite(A), axis=(-2, -1)), axis=-1)
    return finite, xp.expand_dims(finite, axis=-1)


def order_sign(xp: Namespace, d: Array) -> Array:
    """1 below the diagonal, -1 above it, 0 on it: ``(..., k, k)`` for ``d (..., k)``."""
    index = counted(xp, d)
    return xp.sign(xp.expand_dims(index, axis=-1) - xp.expand_dims(index, axis=-2))


def determinant(xp: Namespace, A: Array) -> Array:
    """Determinants ``(...)`` of real orthogonal matrices.

    Those of small matrices by the rule of Sarrus, for all at once.
    """
    n = A.shape[-1]
    if not isinstance(n, int) or not 0 < n <= 3:
        det = xp.linalg.det(A)
        return orthogonal_determinant(xp, A) if det is None else det
    if n == 1:
        return A[..., 0, 0]
    if n == 2:
        return A[..., 0, 0] * A[..., 1, 1] - A[..., 0, 1] * A[..., 1, 0]
    X = xp.concat([A, A[..., :2]], axis=-1)
    middle = X[..., 1, 1:4]
    falling, rising = X[..., 0, :3] * X[..., 2, 2:], X[..., 0, 2:] * X[..., 2, :3]
    return xp.sum((falling - rising) * middle, axis=-1)


def orthogonal_determinant(xp: Namespace, Q: Array) -> Array:
    """The determinant, 1 or -1, of real orthogonal matrices, for a namespace that has none.

    A reflection maps each column x to ``-p |x| e``, with p the sign of its entry on the diagonal.
    It has determinant -1, so the result is the product of all p.
    """
    index = counted(xp, Q[..., 0])

    def reflected(state: tuple[Array, ...]) -> tuple[Array, ...]:
        place, X, det = state
        e = xp.where(index == place, xp.ones_like(index), 0.0)
        x = xp.where(index >= place, xp.sum(X * xp.expand_dims(e, axis=-2), axis=-1), 0.0)
        size = xp.sqrt(xp.sum(x * x, axis=-1))
        negative = xp.sum(x * e, axis=-1) < 0
        v = x + e * xp.expand_dims(xp.where(negative, -size, size), axis=-1)
        w = xp.expand_dims(v * xp.expand_dims(2.0 / xp.sum(v * v, axis=-1), axis=-1), axis=-1)
        along = xp.sum(X * xp.expand_dims(v, axis=-1), axis=-2, keepdims=True)
        return place + 1.0, X - w * along, xp.where(negative, -det, det)

    one = xp.ones_like(index)
    state = (one, Q, one[..., 0])
    return repeated(xp, Q.shape[-1], reflected, state)[2]


def repeated(
    xp: Namespace, count: int, body: Callable[[Any], Any], state: tuple[Array, ...]
) -> tuple[Array, ...]:
    """`body` applied `count` times, by the namespace's own loop if it has one."""
    loop: Any = getattr(xp, "repeated", None)
    if loop is not None and count > 1:
        result: tuple[Array, ...] = loop(count, body, state)
        return result
    for _ in range(count):
        state = body(state)
    return state


def diagonal_matrix(xp: Namespace, d: Array, dtype: object) -> Array:
    """``diag(d)`` as a ``(..., k, k)`` matrix of the given dtype, from real ``d (..., k)``."""
    order = order_sign(xp, d)
    matrix = xp.where(order == 0, xp.expand_dims(d, axis=-1), xp.zeros_like(order))
    return matrix if matrix.dtype == dtype else xp.astype(matrix, dtype)


def reciprocal(xp: Namespace, x: Array, valid: Array) -> Array:
    """``1 / x`` where `valid`, 0 elsewhere.

    The divisor is replaced before the division, so that the derivative of this expression is finite
    too.
    """
    one = xp.ones_like(x)  # torch.func.jvp widens the tangent of 1.0/x where x has no dimensions
    quotient = one / xp.where(valid, x, one)
    return xp.where(valid, quotient, xp.zeros_like(quotient))


def rounding(xp: Namespace, eps: float, x: Array | None) -> Array | float:
    """Size ``(..., 1, 1)`` of rounding errors in ``Q^H x``, for Q with orthonormal columns."""
    if x is None:
        return 0.0
    size = xp.abs(x)
    largest = xp.max(size, axis=(-2, -1), keepdims=True)
    size = size * reciprocal(xp, largest, largest != 0)
    column = xp.max(xp.sum(size * size, axis=-2, keepdims=True), axis=-1, keepdims=True)
    return eps * largest * xp.sqrt(column)


def unit(xp: Namespace, largest: Array) -> Array:
    """A power of two that scales values whose largest is `largest (..., 1)`; 1 for ordinary values.

    Derivatives contain squares of reciprocals of the values. After scaling, these neither overflow
    nor underflow. The power of two has no derivative.
    """
    if largest.shape[-1] == 0:  # there are no values
        largest = xp.sum(largest, axis=-1, keepdims=True)
    bits = -frexp(float(xp.finfo(largest.dtype).smallest_normal))[1]  # 125, or 1021
    edge, shift = 2.0 ** (3 * bits // 8), 2.0 ** (11 * bits // 16)
    not_huge = xp.where(largest < edge, xp.ones_like(largest), 1.0 / shift)
    return xp.where(largest >= 1.0 / edge, not_huge, shift)


def sum_to_shape(xp: Namespace, x: Array, shape: tuple[int | None, ...]) -> Array:
    """Sum x to `shape`: the adjoint of broadcasting from `shape` to ``x.shape``."""
    lead = len(x.shape) - len(shape)
    if lead:
        x = xp.sum(x, axis=tuple(range(lead)))
    axes = tuple(i for i, n in enumerate(shape) if n == 1 and x.shape[i] != 1)
    return xp.sum(x, axis=axes, keepdims=True) if axes else x


def add_product(xp: Namespace, x: Array, x1: Array, x2: Array) -> Array:
    """``x + x1 @ x2``, in the memory of x if the namespace has a function for that.

    So x must be an array that nothing else uses.
    """
    own = getattr(xp, "add_product", None)
    return x + xp.matmul(x1, x2) if own is None else own(x, x1, x2)


def added(x: Array | None, y: Array | None) -> Array | None:
    """The sum of two terms; None stands for 0."""
    return y if x is None else x if y is None else x + y
