"""Dask arrays in many chunks: lazy values, and lazy `svdinv.vjp`, `svdinv.jvp` and `svdinv.hvp`.

NumPy decomposes each chunk of a batch. A single matrix with one side at least four times the other
may have its longer side in many chunks; `dask.array.linalg.qr` reduces them to one small triangle.
The two axes of other matrices are brought into one chunk.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from itertools import accumulate
from typing import Any

import array_api_compat.dask.array as _dask
import array_api_compat.numpy as _numpy
import dask.array as da
import numpy as np
from dask.blockwise import Blockwise
from dask.graph_manipulation import clone
from dask.layers import ArrayBlockIdDep

from svdinv_core import Situation

from ._explicit import ExplicitBackend

__all__: list[str] = []


def _svd(x: Any) -> Any:
    return tuple(_numpy.linalg.svd(x, full_matrices=False))


def _eigh(x: Any) -> Any:
    return tuple(_numpy.linalg.eigh(x))


def _qr(x: Any) -> Any:
    return tuple(np.linalg.qr(x))


def _blockwise(
    function: Any, signature: str, x: Any, *results: tuple[Any, int], **sizes: int
) -> Any:
    """Apply a function of matrices to every chunk; `results` has dtype and axes of each result."""
    meta = [np.empty((0,) * (x.ndim - 2 + axes), dtype) for dtype, axes in results]
    return da.apply_gufunc(
        function,
        signature,
        x,
        output_sizes=sizes,
        meta=tuple(meta) if len(meta) > 1 else meta[0],
        allow_rechunk=True,
    )


def _real(dtype: Any) -> Any:
    return np.zeros(0, dtype).real.dtype


def _again(x: Any) -> Any:
    """x for one pass over it: its chunks are computed again, not held until the next pass.

    Only where x is read, or made chunk by chunk from one array that is read and from single chunks.
    """
    graph, name = x.dask, x.name
    small = []
    while isinstance(graph.layers.get(name), Blockwise):
        long = []
        for dependency in graph.dependencies[name]:
            keys = graph.layers[dependency].get_output_keys()
            if len(keys) > 1:
                long.append(dependency)
            else:
                chunks = ((1,),) * (len(next(iter(keys))) - 1)
                small.append(da.Array(graph, dependency, chunks, dtype=x.dtype))
        if not long:
            return clone(x, omit=small or None)
        if len(long) > 1:
            break
        (name,) = long
    return x


def _r(a: Any) -> Any:
    return np.linalg.qr(a, mode="r")


def _q(a: Any, of_stack: Any, block: tuple[int, ...], *, ends: tuple[int, ...]) -> Any:
    """Rows of Q, from a chunk and what its R becomes in the QR of all of them."""
    end = ends[block[0]]
    Q = np.linalg.qr(a)[0]
    return Q @ of_stack[end - Q.shape[1] : end]


def _stack(x: Any) -> tuple[Any, tuple[int, ...]]:
    """The R of every chunk of rows, one below the other in one chunk, and their lengths."""
    axes, n = (0, 1), x.shape[1]
    rows = tuple(min(length, n) for length in x.chunks[0])
    stack = da.blockwise(_r, axes, _again(x), axes, dtype=x.dtype, adjust_chunks={0: rows})
    return stack.rechunk(-1), rows


def _qr_read_again(x: Any) -> tuple[Any, Any]:
    """``(Q, R)`` as those of `dask.array.linalg.qr`; Q comes from the chunks, read again.

    So no chunk of Q waits for the QR of the stack.
    """
    axes = (0, 1)
    stack, rows = _stack(x)
    of_stack, R = _Linalg.qr(stack, mode="reduced")
    made = partial(_q, ends=tuple(accumulate(rows)))
    arguments = (x, axes, of_stack, axes, ArrayBlockIdDep(x.chunks), axes)
    return da.blockwise(made, axes, *arguments, dtype=x.dtype, align_arrays=False), R


class _Linalg:
    """The functions below ``xp.linalg``."""

    @staticmethod
    def svd(x: Any, /, *, full_matrices: bool) -> Any:
        factors = (x.dtype, 2), (_real(x.dtype), 1), (x.dtype, 2)
        return _blockwise(_svd, "(m,n)->(m,k),(k),(k,n)", x, *factors, k=min(x.shape[-2:]))

    @staticmethod
    def eigh(x: Any, /) -> Any:
        return _blockwise(_eigh, "(n,n)->(n),(n,n)", x, (_real(x.dtype), 1), (x.dtype, 2))

    @staticmethod
    def qr(x: Any, /, *, mode: str) -> Any:
        if x.ndim == 2 and x.numblocks[0] > 1:
            x = x.rechunk({1: -1})
            return da.linalg.qr(x) if _again(x) is x else _qr_read_again(x)
        return _blockwise(
            _qr, "(m,n)->(m,k),(k,n)", x, (x.dtype, 2), (x.dtype, 2), k=min(x.shape[-2:])
        )

    @staticmethod
    def qr_r(x: Any, /) -> Any:
        if x.ndim == 2 and x.numblocks[0] > 1:
            x, _ = _stack(x.rechunk({1: -1}))
        return _blockwise(_r, "(m,n)->(k,n)", x, (x.dtype, 2), k=min(x.shape[-2:]))

    @staticmethod
    def det(x: Any, /) -> Any:
        return _blockwise(np.linalg.det, "(n,n)->()", x, (x.dtype, 0))

    @staticmethod
    def diagonal(x: Any, /) -> Any:
        diagonal = partial(np.diagonal, axis1=-2, axis2=-1)
        return _blockwise(diagonal, "(n,n)->(n)", x, (x.dtype, 1))


class _Namespace:
    linalg = _Linalg

    @staticmethod
    def matmul(a: Any, b: Any, /) -> Any:
        if a.numblocks[-1] > 1:  # a sum over chunks
            return da.matmul(_again(a), _again(b))
        if a.ndim != b.ndim or a.chunks[:-2] != b.chunks[:-2] or b.numblocks[-2] > 1:
            return da.matmul(a, b)
        # As da.matmul, but in one layer that does not reduce, which Dask fuses with its neighbours.
        # The axes that are summed over are in one chunk, and stand for the outer ones.
        axes = tuple(range(a.ndim))
        return da.blockwise(
            np.matmul,
            axes,
            *(a, axes, b, axes),
            dtype=np.result_type(a, b),
            adjust_chunks=dict(zip(axes[-2:], (a.chunks[-2], b.chunks[-1]), strict=True)),
            align_arrays=False,
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(_dask, name)


def _asarray(x: Any) -> Any:
    array = da.asarray(x)
    if any(math.isnan(n) for n in array.shape):
        raise ValueError("x: has chunks of unknown sizes; call x.compute_chunk_sizes() first")
    return array


class _DaskBackend(ExplicitBackend):
    iterates = False  # values are lazy

    def situation(self, x: Any) -> Situation:
        # A batch is not split within its matrices.
        return replace(super().situation(x), splits=True)


_backend = _DaskBackend(_Namespace(), "dask.array.Array", _asarray)
