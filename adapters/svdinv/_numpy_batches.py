"""Batched decompositions of NumPy, in threads.

NumPy hands LAPACK one matrix of a batch after another. Matrices so small that BLAS does not use
threads of its own gain from ours; for larger ones the two would be in each other's way, and BLAS's
threads cannot be held back for one caller alone.
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
"""Entries times shorter side of a batch below which a second thread costs more than it gains."""

LARGEST_SVD, LARGEST_EIGH = 32, 16
"""Sides of the largest matrices that BLAS leaves to one thread, in either decomposition."""

_workers = Workers("svdinv-numpy", lambda: None)


@cache
def threads() -> int:
    """How many to use: one for each core this process may use, or what BLAS has been told."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    told = (os.environ.get(name, "") for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"))
    return min([cores or 1, *(int(number) for number in told if number.isdecimal())])


def in_pieces(fn: Decompose, x: Any, largest: int) -> Any:
    """``fn(x)`` of a batch (..., m, n), a tuple of arrays, in the caller's thread and in others."""
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
