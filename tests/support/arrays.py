"""Small things over NumPy arrays."""

from __future__ import annotations

import numpy as np


def adjoint(x: np.ndarray) -> np.ndarray:
    """Conjugate transpose of the last two axes."""
    return np.conj(np.swapaxes(x, -1, -2))


def single(x: np.ndarray) -> np.ndarray:
    """The same numbers in single precision."""
    return x.astype(np.complex64 if np.iscomplexobj(x) else np.float32)
