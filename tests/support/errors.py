"""Relative errors, per matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest


def norm(x: np.ndarray) -> np.ndarray:
    """Frobenius norm of each matrix; squares neither overflow nor underflow."""
    x = np.asarray(x)
    x = x.astype(np.clongdouble if np.iscomplexobj(x) else np.longdouble)
    return np.sqrt(np.sum(np.abs(x) ** 2, axis=(-2, -1)))


def relative_error(got: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """``|got - exact| / |exact|`` per matrix; 0 where both are zero; inf if not finite."""
    difference, size = norm(got - exact), norm(exact)
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.where(difference == 0, 0, difference / size)
    return np.where(np.isfinite(error), error, np.inf)


def rejected(error: type[Exception], argument: str, call: Callable[[], Any]) -> None:
    """Assert that an input is refused, with our message, which begins with the argument's name."""
    with pytest.raises(error, match=f"^{argument}: ") as raised:
        call()
    assert type(raised.value) is error
