"""Find a framework's module from the type of an array, without importing any other framework."""

from __future__ import annotations

import importlib
from typing import Any

from array_api_compat import array_namespace

from ._backend import Backend
from ._explicit import ExplicitBackend
from ._frameworks import FRAMEWORKS, framework_of
from .operators import LinearOperator

__all__ = ["ADAPTERS", "find_backend", "find_explicit"]

ADAPTERS = tuple(FRAMEWORKS)


def find_backend(x: Any) -> Backend:
    """Backend for an array: its framework's, or one over the array API standard.

    Raises
    ------
    TypeError
        If `x` is not an array of any known framework.
    """
    if isinstance(x, LinearOperator):
        x = x.params[0]
    adapter = framework_of(x.__class__)
    if adapter is not None:
        backend: Backend = importlib.import_module(f"svdinv.{adapter}")._backend
        return backend
    try:
        xp = array_namespace(x)
    except TypeError:
        known = ", ".join(framework.title for framework in FRAMEWORKS.values())
        raise TypeError(
            f"x: expected an array of {known}, Dask or the array API standard, got "
            f"{type(x).__name__}"
        ) from None
    cls = type(x)

    def own(y: Any) -> Any:
        return y if isinstance(y, cls) else None

    return ExplicitBackend(xp, f"{cls.__module__.partition('.')[0]}.{cls.__name__}", own)


def find_explicit(x: Any) -> ExplicitBackend:
    """Backend for an array whose framework does not differentiate by itself.

    Raises
    ------
    TypeError
        If `x` is not an array of any known framework, or its framework does.
    """
    backend = find_backend(x)
    if not isinstance(backend, ExplicitBackend):
        raise TypeError(
            f"x: a {backend.array_name} has automatic differentiation of its own; use that, or "
            "convert x to NumPy"
        )
    return backend
