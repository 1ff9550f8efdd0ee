"""The array functions of the core over TensorFlow, which has no array API namespace.

Names and meanings are those of the array API standard (`svdinv_core.namespace` lists them). Each
function is a line or two of `tf`.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext

from ._failures import apart

__all__ = [
    "abs",
    "all",
    "astype",
    "complex128",
    "concat",
    "conj",
    "copysign",
    "cumulative_sum",
    "exp",
    "expand_dims",
    "expm1",
    "finfo",
    "float64",
    "hypot",
    "imag",
    "int32",
    "isdtype",
    "isfinite",
    "linalg",
    "log",
    "log1p",
    "matmul",
    "matrix_transpose",
    "max",
    "maximum",
    "ones_like",
    "permute_dims",
    "real",
    "repeated",
    "reshape",
    "sign",
    "sqrt",
    "sum",
    "until",
    "where",
    "zeros_like",
]

float32, float64 = tf.float32, tf.float64
int32 = tf.int32
complex64, complex128 = tf.complex64, tf.complex128

WRITTEN_OUT = 1000
"""Number of multiplications up to which a product of two matrices is written out in XLA."""

abs = tf.math.abs
conj = tf.math.conj
exp = tf.math.exp
expm1 = tf.math.expm1
imag = tf.math.imag
log = tf.math.log
log1p = tf.math.log1p
matrix_transpose = tf.linalg.matrix_transpose
maximum = tf.math.maximum
sqrt = tf.math.sqrt
ones_like = tf.ones_like
permute_dims = tf.transpose
real = tf.math.real
reshape = tf.reshape
sign = tf.math.sign
zeros_like = tf.zeros_like


def all(x: Any, /, *, axis: Any) -> Any:
    return tf.reduce_all(x, axis=axis)


def astype(x: Any, dtype: Any, /) -> Any:
    if dtype.is_complex and not x.dtype.is_complex:
        # The derivative of tf.cast from real to complex warns about a lost imaginary part.
        x = tf.cast(x, dtype.real_dtype)
        return tf.complex(x, tf.zeros_like(x))
    return tf.cast(x, dtype)


def concat(arrays: Any, /, *, axis: int) -> Any:
    return tf.concat(arrays, axis)


def repeated(count: int, body: Any, state: Any) -> Any:
    """A loop: `tf.while_loop` in a traced function, else a loop of Python."""
    if tf.executing_eagerly():
        for _ in range(count):
            state = body(state)
        return state
    return tf.while_loop(
        lambda *_: True,
        lambda *state: body(state),
        state,
        parallel_iterations=1,
        maximum_iterations=count,
    )


def until(limit: int, going: Any, body: Any, state: Any) -> Any:
    """A `tf.while_loop` in a traced function; None in eager mode, where Python can read values."""
    if tf.executing_eagerly():
        return None
    return tf.while_loop(going, body, state, parallel_iterations=1, maximum_iterations=limit)


def compiled_by_xla() -> bool:
    """Whether XLA compiles the traced function (there is no public function for this)."""
    return not tf.executing_eagerly() and bool(
        GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())
    )


def cumulative_sum(x: Any, /, *, axis: int) -> Any:
    return tf.math.cumsum(x, axis=axis)


def copysign(x1: Any, x2: Any, /) -> Any:
    """As in the standard, except that the sign of -0.0 is that of 0.0."""
    size = tf.math.abs(x1)
    return tf.where(x2 < 0, -size, size)


def expand_dims(x: Any, /, *, axis: int) -> Any:
    return tf.expand_dims(x, axis)


def finfo(dtype: Any, /) -> Any:
    return np.finfo(dtype.real_dtype.as_numpy_dtype)


def hypot(x1: Any, x2: Any, /) -> Any:
    one, two = tf.math.abs(x1), tf.math.abs(x2)
    larger = tf.math.maximum(one, two)
    ratio = tf.math.divide_no_nan(tf.math.minimum(one, two), larger)
    return larger * tf.math.sqrt(1.0 + ratio * ratio)


def isdtype(dtype: Any, kind: str) -> bool:
    kinds = {"complex floating": dtype.is_complex, "real floating": dtype.is_floating}
    return bool(kinds[kind])


def isfinite(x: Any, /) -> Any:
    if x.dtype.is_complex:
        return tf.math.is_finite(tf.math.real(x)) & tf.math.is_finite(tf.math.imag(x))
    return tf.math.is_finite(x)


def matmul(x1: Any, x2: Any, /) -> Any:
    """The product; in XLA, whose own is slow for small matrices, theirs is written out."""
    sides = (*x1.shape[-2:], x2.shape[-1])
    if None in sides or math.prod(sides) > WRITTEN_OUT or not compiled_by_xla():
        return tf.linalg.matmul(x1, x2)
    return tf.reduce_sum(x1[..., :, :, None] * x2[..., None, :, :], axis=-2)


def max(x: Any, /, *, axis: Any = None, keepdims: bool = False) -> Any:
    return tf.reduce_max(x, axis=axis, keepdims=keepdims)


def sum(x: Any, /, *, axis: Any = None, keepdims: bool = False) -> Any:
    return tf.reduce_sum(x, axis=axis, keepdims=keepdims)


def where(condition: Any, x1: Any, x2: Any, /) -> Any:
    if not tf.is_tensor(x1):
        x1 = tf.constant(x1, x2.dtype)
    return tf.where(condition, x1, x2 if tf.is_tensor(x2) else tf.constant(x2, x1.dtype))


class linalg:
    """The functions below ``xp.linalg``."""

    @staticmethod
    def svd(x: Any, /, *, full_matrices: bool = True) -> tuple[Any, Any, Any]:
        if x.dtype.is_complex and compiled_by_xla():
            raise NotImplementedError(
                "driver: TensorFlow's XLA has no singular value decomposition of complex matrices; "
                "use 'auto' or 'jacobi' with jit_compile=True"
            )
        S, U, V = tf.linalg.svd(x, full_matrices=full_matrices)
        return U, tf.math.real(S), tf.linalg.adjoint(V)

    @staticmethod
    def eigh(x: Any, /) -> tuple[Any, Any]:
        if tf.executing_eagerly():
            failure = tf.errors.InvalidArgumentError
            w, Q = apart(sys.modules[__name__], tf.linalg.eigh, x, failure)
        else:
            w, Q = tf.linalg.eigh(x)
        return tf.math.real(w), Q

    @staticmethod
    def qr(x: Any, /, *, mode: str) -> tuple[Any, Any]:
        Q, R = tf.linalg.qr(x)
        return Q, R

    @staticmethod
    def det(x: Any, /) -> Any:
        return None if compiled_by_xla() else tf.linalg.det(x)  # XLA has none

    @staticmethod
    def diagonal(x: Any, /) -> Any:
        return tf.linalg.diag_part(x)
