"""Decompositions that raise for a whole batch because of one matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["apart"]

Decompose = Callable[[Any], Any]


def apart(
    xp: Any,
    fn: Decompose,
    x: Any,
    failure: type[Exception],
    easier: Callable[[Any], Any] | None = None,
) -> Any:
    """``fn(x)`` for a batch (..., m, n), as a tuple of arrays.

    If `fn` raises for a matrix, it is tried once more on `easier` of that matrix. If that raises
    too, the matrix gets NaN.
    """
    try:
        return tuple(fn(x))
    except failure:
        *batch, m, n = x.shape
    flat = xp.reshape(x, (-1, m, n))
    parts = _halves(xp, fn, flat, failure, easier)
    return tuple(xp.reshape(part, (*batch, *part.shape[1:])) for part in parts)


def _halves(
    xp: Any,
    fn: Decompose,
    x: Any,
    failure: type[Exception],
    easier: Callable[[Any], Any] | None = None,
) -> tuple[Any, ...]:
    count = x.shape[0]
    try:
        return tuple(fn(x))
    except failure:
        if count == 1:
            if easier is not None:
                return _halves(xp, fn, easier(x), failure)
            return tuple(part + float("nan") for part in fn(xp.zeros_like(x)))
    halves = (_halves(xp, fn, half, failure, easier) for half in (x[: count // 2], x[count // 2 :]))
    return tuple(xp.concat(parts, axis=0) for parts in zip(*halves, strict=True))
