"""The array functions of the core over NumPy: array-api-compat, with decompositions in threads."""

from __future__ import annotations

from functools import partial
from typing import Any

import array_api_compat.numpy as _compat
import numpy as np
from array_api_compat.numpy import *  # noqa: F403

from ._failures import apart
from ._numpy_batches import LARGEST_EIGH, LARGEST_SVD, in_pieces


def permute_dims(x: Any, axes: tuple[int, ...], /) -> Any:
    return np.ascontiguousarray(np.transpose(x, axes))  # the next operations use the new last axis


def _converging(fn: Any, x: Any, largest: int) -> Any:
    """``fn(x)`` for a batch, with NaN for a matrix on which LAPACK does not converge."""
    try:
        return in_pieces(fn, x, largest)
    except np.linalg.LinAlgError:
        return apart(_compat, fn, x, np.linalg.LinAlgError)


class linalg:
    """The functions below ``xp.linalg``."""

    det = staticmethod(np.linalg.det)
    diagonal = staticmethod(partial(np.diagonal, axis1=-2, axis2=-1))

    qr = staticmethod(np.linalg.qr)

    @staticmethod
    def qr_r(x: Any, /) -> Any:
        return np.linalg.qr(x, mode="r")

    @staticmethod
    def svd(x: Any, /, *, full_matrices: bool = True) -> Any:
        return _converging(partial(np.linalg.svd, full_matrices=full_matrices), x, LARGEST_SVD)

    @staticmethod
    def eigh(x: Any, /) -> Any:
        return _converging(np.linalg.eigh, x, LARGEST_EIGH)
