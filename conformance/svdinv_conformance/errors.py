"""Relative errors in the Frobenius norm, one matrix of a batch at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["finite", "norms", "relative_difference"]

Array = NDArray[Any]


def norms(x: Array, axes: int = 2) -> Array:
    """Compute the Frobenius norm of each matrix, in extended precision.

    Squares neither overflow nor underflow.

    Parameters
    ----------
    x
        ``(..., m, n)``.
    axes
        Number of axes at the end that make up a matrix.

    Returns
    -------
    array
        ``(...)``; NaN where an entry is not finite.
    """
    last = tuple(range(x.ndim - axes, x.ndim))
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        size = np.abs(x.astype(np.clongdouble if np.iscomplexobj(x) else np.longdouble))
        largest = np.max(size, axis=last, keepdims=True, initial=0)
        unit = size / np.where(largest > 0, largest, 1)
        norm = np.sqrt(np.sum(unit * unit, axis=last)) * np.squeeze(largest, axis=last)
    return np.where(np.isfinite(x).all(axis=last), norm, np.nan)


def relative_difference(a: Array, b: Array, scale: Array | None = None, axes: int = 2) -> Array:
    """Compare two results matrix by matrix.

    Parameters
    ----------
    a, b
        ``(..., m, n)``.
    scale
        Norms ``(...)`` to divide by; by default the larger one of the two.
    axes
        Number of axes at the end that make up a matrix.

    Returns
    -------
    array
        ``|a - b| / scale``, 0 where both are equal, NaN where an entry is not finite.
    """
    if scale is None:
        scale = np.maximum(norms(a, axes), norms(b, axes))
    with np.errstate(invalid="ignore", over="ignore", under="ignore", divide="ignore"):
        difference = norms(a - b, axes)
        return np.where(difference == 0, 0, difference / scale)


def finite(value: float | None) -> float | None:
    """Convert a number for JSON: None if it is not finite."""
    return None if value is None or not math.isfinite(value) else value
