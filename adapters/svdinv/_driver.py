"""Factors of a matrix, computed by the driver that the caller or the core chooses."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from svdinv_core import (
    Decomposition,
    Dense,
    Krylov,
    Operator,
    Situation,
    by_name,
    compute_factors,
    leading,
    select,
)
from svdinv_core.drivers import Needs, rescue, rescuers

from ._backend import Backend

__all__ = ["Factors", "Leading", "factors_for", "operate"]


def operate(
    backend: Backend, operator: Operator, x: Any, params: tuple[Any, ...] = (), driver: str = "auto"
) -> tuple[Any, ...]:
    """Values of an operator at x; decomposes x once."""
    return backend.apply(operator, x, factors_for(backend, operator, x, params, driver), params)


def factors_for(
    backend: Backend,
    operation: Operator | Decomposition,
    x: Any,
    params: tuple[Any, ...] = (),
    driver: str = "auto",
) -> Any:
    """Factors of x without a gradient, for an operator or for the decomposition itself."""
    factors = backend.of_values(Factors(backend, operation, driver), x, params)
    # In every decomposition the last factor but one holds the values.
    return _rescued(backend, operation, x, factors) if backend.failed(factors[-2]) else factors


def _rescued(backend: Backend, operation: Operator | Decomposition, x: Any, factors: Any) -> Any:
    """The factors, recomputed by other drivers for each finite matrix at which the first failed."""
    decomposition = operation.decomposition if isinstance(operation, Operator) else operation
    drivers = rescuers(backend.situation(x), operation.needs)
    xp, some = backend.values_xp, backend.some
    factors, failed = backend.of_values(
        lambda x: rescue(xp, decomposition, drivers, x, factors, some, backend.compute), x, ()
    )
    if some(failed):
        warnings.warn(
            "x: contains a matrix that no driver can decompose; its results are NaN",
            RuntimeWarning,
            stacklevel=5,
        )
    return factors


def _drivers(name: str, situation: Situation, needs: Needs, exact: bool) -> tuple[Any, ...]:
    if name == "auto":
        return select(situation, needs, exact=exact)
    return (by_name(name, situation, needs, exact=exact),)


_known = lru_cache(1024)(_drivers)


@dataclass(frozen=True)
class Factors:
    """The function ``(x, *params) -> factors``. Compared by its fields, so that JAX caches it."""

    backend: Backend
    operation: Operator | Decomposition
    driver: str

    def __call__(self, x: Any, *params: Any) -> Any:
        backend, operation, driver = self.backend, self.operation, self.driver
        operator = operation if isinstance(operation, Operator) else None
        decomposition: Any = operation if operator is None else operator.decomposition
        exact = operator is not None
        xp, needs = backend.values_xp, operation.needs
        situation = backend.situation(x)
        free = situation.looks == "free"  # false under a compiler, which has no use for a cache
        drivers = (_known if free else _drivers)(driver, situation, needs, exact)

        def compute(x: Any) -> Any:
            return compute_factors(
                xp,
                decomposition,
                drivers,
                x,
                None if operator is None else lambda S: operator.extent(xp, S, params),
                choose=backend.choose,
                look=free,
            )

        return backend.fused(compute, x) if drivers[0].name == "jacobi" else compute(x)


@dataclass(frozen=True)
class Leading:
    """The function ``(x, *params) -> Triples``. Compared by its fields, so that JAX caches it."""

    backend: Backend
    operation: Krylov

    def __call__(self, x: Any, *params: Any) -> Any:
        backend, krylov = self.backend, self.operation
        xp = backend.values_xp
        if not isinstance(krylov.linear, Dense):
            return leading(xp, krylov, x, *params)
        found = leading(xp, krylov, x[..., :1, :1], x)
        if not krylov.tried:
            return found
        return backend.choose(
            krylov.enough(xp, found), found, lambda: krylov.of_whole(xp, x, backend.situation(x))
        )
