"""The array functions of the core over PyTorch.

`array_api_compat.torch` has them too. These call the operator that has a batching rule under every
transform (``mT`` rather than ``swapaxes``), and are faster for small matrices.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import torch

from ._failures import apart
from ._torch_batches import in_pieces, is_plain
from ._torch_sharding import by_shards, summed

__all__ = [
    "abs",
    "add_product",
    "all",
    "as_one",
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
    "for_each",
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

float32, float64 = torch.float32, torch.float64
int32 = torch.int32
_LinAlgError: Any = torch.linalg.LinAlgError  # type: ignore[attr-defined,unused-ignore]
complex64, complex128 = torch.complex64, torch.complex128

abs = torch.abs
conj = torch.conj
copysign = torch.copysign
finfo = torch.finfo
exp = torch.exp
expm1 = torch.expm1
hypot = torch.hypot
imag = torch.imag
isfinite = torch.isfinite
log = torch.log
log1p = torch.log1p
sqrt = torch.sqrt
ones_like = torch.ones_like
real = torch.real
reshape = torch.reshape
sign = torch.sign
where = torch.where
zeros_like = torch.zeros_like


def all(x: torch.Tensor, /, *, axis: tuple[int, ...]) -> torch.Tensor:
    return torch.all(x, dim=axis)


def as_one(function: Any, *arrays: torch.Tensor) -> Any:
    """Run an iteration as one function of PyTorch if a transform or a compiler is active."""
    if torch.compiler.is_compiling():
        from . import _torch_library

        return _torch_library.iterated(function, arrays)
    if torch._C._are_functorch_transforms_active():
        from . import _torch_function

        return _torch_function.iterated(function, *arrays)
    return None


def astype(x: torch.Tensor, dtype: torch.dtype, /) -> torch.Tensor:
    return x.to(dtype)


def concat(arrays: list[torch.Tensor], /, *, axis: int) -> torch.Tensor:
    return torch.cat(arrays, dim=axis)


def cumulative_sum(x: torch.Tensor, /, *, axis: int) -> torch.Tensor:
    return torch.cumsum(x, dim=axis)


def expand_dims(x: torch.Tensor, /, *, axis: int) -> torch.Tensor:
    return x.unsqueeze(axis)


def isdtype(dtype: torch.dtype, kind: str) -> bool:
    kinds = {"complex floating": dtype.is_complex, "real floating": dtype.is_floating_point}
    return kinds[kind]


def for_each(function: Any) -> Any:
    return torch.func.vmap(function)


def max(x: torch.Tensor, /, *, axis: tuple[int, ...], keepdims: bool = False) -> torch.Tensor:
    return torch.amax(x, dim=axis, keepdim=keepdims)


def maximum(x1: torch.Tensor, x2: torch.Tensor | float, /) -> torch.Tensor:
    """Elementwise maximum; the second argument may be a number."""
    return torch.maximum(x1, x2) if isinstance(x2, torch.Tensor) else x1.clamp(min=x2)


def permute_dims(x: torch.Tensor, axes: tuple[int, ...], /) -> torch.Tensor:
    return x.permute(axes).contiguous()  # the next operations use the new last axis


def matmul(x1: torch.Tensor, x2: torch.Tensor, /) -> torch.Tensor:
    if x1.is_complex() and is_plain(x1) and (x1.is_conj() or x2.is_conj()):
        if x1.ndim == 3 and x1.shape[0] == x2.shape[0] == 1:
            return torch.mm(x1[0], x2[0]).unsqueeze(0)  # BLAS conjugates
        x1, x2 = _conjugated(x1), _conjugated(x2)
    product: torch.Tensor = summed(torch.matmul(x1, x2))
    return product


def _conjugated(x: torch.Tensor) -> torch.Tensor:
    """Carry out a pending conjugation without changing the order of the entries in memory.

    A batched product would copy a transposed matrix in the other order, which takes as long as the
    product.
    """
    return torch.conj_physical(x.conj()) if x.is_conj() else x


def add_product(x: torch.Tensor, x1: torch.Tensor, x2: torch.Tensor, /) -> torch.Tensor:
    """``x + x1 @ x2``, in place where that is visible to nobody; new memory costs page faults."""
    if not is_plain(x):
        return x + matmul(x1, x2)
    if x.ndim == 2:
        return x.addmm_(x1, x2)
    if x.ndim == 3 and x1.shape[0] == x2.shape[0] == x.shape[0]:
        return x.baddbmm_(x1, x2)
    return x.add_(torch.matmul(x1, x2))


def matrix_transpose(x: torch.Tensor, /) -> torch.Tensor:
    return x.mT


def sum(x: torch.Tensor, /, *, axis: int | tuple[int, ...], keepdims: bool = False) -> torch.Tensor:
    return torch.sum(x, dim=axis, keepdim=keepdims)


def _without_small_entries(x: torch.Tensor, *, subnormal_only: bool) -> torch.Tensor:
    """Replace entries far below the rounding error of the largest by 0.

    All of these, or with `subnormal_only` the (nearly) subnormal ones only.
    """
    size = x.abs()
    if size.numel() == 0:
        return x
    info = torch.finfo(x.dtype)
    small = size < 0.01 * info.eps * size.amax(dim=(-2, -1), keepdim=True)
    if subnormal_only:
        small = small & (size < 128 * info.smallest_normal)
    return torch.where(small, torch.zeros_like(x), x)


def _has_nan(factors: Any) -> bool:
    return any(bool(torch.isnan(factor.sum())) for factor in factors)


def _converging(fn: Any, x: torch.Tensor) -> Any:
    """``fn(x)``; if LAPACK does not converge, again without the smallest entries.

    One such matrix makes `torch.linalg` raise for its whole batch. A matrix that fails again gets
    NaN. In complex64 LAPACK may return NaN without an error, if all entries of a column are
    subnormal; these entries are removed beforehand where NaN cannot be noticed.
    """
    reads = is_plain(x)
    if x.dtype == torch.complex64 and not reads:
        x = _without_small_entries(x, subnormal_only=True)
    if torch.compiler.is_compiling():
        return in_pieces(fn, x)
    try:
        found = in_pieces(fn, x)
        if x.dtype == torch.complex64 and reads and _has_nan(found):
            return in_pieces(fn, _without_small_entries(x, subnormal_only=True))
        return found
    except _LinAlgError:
        easier = partial(_without_small_entries, subnormal_only=False)
        if torch._C._are_functorch_transforms_active():
            return fn(easier(x))  # under vmap, what looks like one matrix may be many
        return apart(sys.modules[__name__], fn, x, _LinAlgError, easier)


class linalg:
    """The functions below ``xp.linalg``."""

    @staticmethod
    def svd(x: torch.Tensor, /, *, full_matrices: bool = True) -> Any:
        svd = partial(torch.linalg.svd, full_matrices=full_matrices)
        return by_shards(partial(_converging, svd), x)

    @staticmethod
    def eigh(x: torch.Tensor, /) -> Any:
        return by_shards(partial(_converging, torch.linalg.eigh), x)

    @staticmethod
    def qr(x: torch.Tensor, /, *, mode: str) -> Any:
        return by_shards(partial(in_pieces, partial(torch.linalg.qr, mode=mode)), x)

    @staticmethod
    def qr_r(x: torch.Tensor, /) -> Any:
        return by_shards(partial(in_pieces, partial(torch.linalg.qr, mode="r")), x)[1]

    @staticmethod
    def det(x: torch.Tensor, /) -> torch.Tensor:
        det: torch.Tensor = torch.linalg.det(x)
        return det

    @staticmethod
    def diagonal(x: torch.Tensor, /) -> torch.Tensor:
        diagonal: torch.Tensor = by_shards(_diagonal, x)[0]
        return diagonal


def _diagonal(x: torch.Tensor) -> tuple[torch.Tensor]:
    return (torch.diagonal(x, dim1=-2, dim2=-1),)
