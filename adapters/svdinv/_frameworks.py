"""From an array's type to its framework, without importing any."""

from __future__ import annotations

from functools import cache
from typing import Any

__all__ = ["BY_PACKAGE", "framework_of", "is_foreign"]

# Module of svdinv by the top-level package that defines an array type.
BY_PACKAGE = {
    "numpy": "numpy",
    "scipy": "numpy",  # sparse matrices
    "torch": "torch",
    "jax": "jax",
    "jaxlib": "jax",
    "tensorflow": "tensorflow",
    "cupy": "cupy",
    "autograd": "autograd",
    "dask": "_dask",
}


@cache
def framework_of(cls: Any) -> str | None:
    """Module of svdinv for a type of arrays; None for a type of no known framework."""
    for base in cls.__mro__:
        name = BY_PACKAGE.get(base.__module__.partition(".")[0])
        if name is not None:
            return name
    return None


def is_foreign(value: Any, *own: str) -> bool:
    """Whether a parameter is an array of a framework that is not NumPy nor one of `own`.

    It would be taken for a constant, and its gradient would be lost.
    """
    return framework_of(value.__class__) not in (None, "numpy", *own)
