"""Batched decompositions of NumPy, in threads.

NumPy passes the matrices of a batch to LAPACK one by one. For small matrices BLAS does not use
threads of its own, and ours help. For larger ones the two would compete, and BLAS's threads cannot
be limited for one caller only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import numpy as np

from ._threads import Workers

__all__ = ["LARGEST_EIGH", "LARGEST_SVD", "in_pieces", "threads"]

Decompose = Callable[[Any], Sequence[Any]]

WORTH_SPLITTING = 5e4
"""Entries times shorter side of a batch below which a second thread costs more than it saves."""

LARGEST_SVD, LARGEST_EIGH = 32, 16
"""Side of the largest matrix for which BLAS uses one thread only, in each decomposition."""

_workers = Workers("svdinv-numpy", lambda: None)


@cache
def threads() -> int:
    """Number of threads: that set for BLAS, else the number of cores this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    told = (os.environ.get(name, "") for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"))
    return min([cores or 1, *(int(number) for number in told if number.isdecimal())])


def in_pieces(fn: Decompose, x: Any, largest: int) -> Any:
    """``fn(x)`` for a batch (..., m, n), a tuple of arrays, split over threads."""
    *batch, m, n = x.shape
    small = x.size * min(m, n) < WORTH_SPLITTING or min(m, n) > largest or max(m, n) > 4 * largest
    flat = x.reshape(-1, m, n)
    if small or threads() == 1 or flat.shape[0] < threads():
        return fn(x)
    pieces = np.array_split(flat, threads())
    results = _workers.run([partial(fn, piece) for piece in pieces], threads() - 1, here=True)
    return tuple(
        np.concatenate(parts).reshape(*batch, *parts[0].shape[1:])
        for parts in zip(*results, strict=True)
    )
