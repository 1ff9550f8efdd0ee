"""The array functions of the core over autograd, which has no array API namespace.

Names and meanings are those of the array API standard (`svdinv_core.namespace` lists them). Most
are autograd's wrapped NumPy functions. Two are primitives defined here: autograd's `astype` has no
forward mode, and its `where` returns a cotangent of the wrong shape for an argument it broadcast.
"""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.extend import defjvp, defvjp, primitive
from autograd.numpy.numpy_vjps import unbroadcast_f
from autograd.tracer import getval

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
    "reshape",
    "sign",
    "sqrt",
    "sum",
    "where",
    "zeros_like",
]

float32, float64 = np.float32, np.float64
int32 = np.int32
complex64, complex128 = np.complex64, np.complex128
finfo, isdtype = np.finfo, np.isdtype

abs = anp.abs
all = anp.all
conj = anp.conj
copysign = np.copysign  # in a driver, which is not differentiated
exp = anp.exp
expm1 = anp.expm1
hypot = np.hypot
imag = anp.imag
isfinite = anp.isfinite
log = anp.log
log1p = anp.log1p
matmul = anp.matmul
max = anp.max
maximum = anp.maximum
ones_like = anp.ones_like
permute_dims = anp.transpose
real = anp.real
reshape = anp.reshape
sign = anp.sign
sqrt = anp.sqrt
sum = anp.sum
zeros_like = anp.zeros_like


@primitive  # type: ignore[untyped-decorator,unused-ignore]
def astype(x: Any, dtype: Any, /) -> Any:
    """Cast. From complex to real drops the imaginary part: the adjoint of the cast to complex."""
    x = np.asarray(x)
    if np.isdtype(x.dtype, "complex floating") and not np.isdtype(dtype, "complex floating"):
        x = x.real
    return x.astype(dtype)


defvjp(astype, lambda ans, x, dtype: lambda g: astype(g, np.result_type(x)))
defjvp(astype, "same")


@primitive  # type: ignore[untyped-decorator,unused-ignore]
def where(condition: Any, x1: Any, x2: Any, /) -> Any:
    return np.where(condition, x1, x2)


defvjp(
    where,
    None,
    lambda ans, c, x1, x2: unbroadcast_f(x1, lambda g: where(c, g, 0.0)),
    lambda ans, c, x1, x2: unbroadcast_f(x2, lambda g: where(c, 0.0, g)),
)
defjvp(
    where,
    None,
    lambda g, ans, c, x1, x2: where(c, g, zeros_like(ans)),
    lambda g, ans, c, x1, x2: where(c, zeros_like(ans), g),
)


def concat(arrays: Any, /, *, axis: int) -> Any:
    return anp.concatenate(arrays, axis)


def cumulative_sum(x: Any, /, *, axis: int) -> Any:
    return anp.cumsum(x, axis)


def expand_dims(x: Any, /, *, axis: int) -> Any:
    return anp.expand_dims(x, axis)


def matrix_transpose(x: Any, /) -> Any:
    return anp.swapaxes(x, -1, -2)


class linalg:
    """The functions below ``xp.linalg``."""

    svd, eigh, qr = anp.linalg.svd, anp.linalg.eigh, np.linalg.qr

    @staticmethod
    def det(x: Any, /) -> Any:
        """Without a derivative: the core needs the sign only, and autograd has no forward mode."""
        return np.linalg.det(getval(x))

    @staticmethod
    def diagonal(x: Any, /) -> Any:
        """By indexing: the derivative of autograd's own `diagonal` drops imaginary parts."""
        index = np.arange(x.shape[-1])
        return x[..., index, index]
