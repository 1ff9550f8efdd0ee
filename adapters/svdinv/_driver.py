"""Factors of a matrix, by the driver that the caller or the core chooses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from svdinv_core import Decomposition, Operator, by_name, compute_factors, select

from ._backend import Backend

__all__ = ["factors_for", "operate"]


def operate(
    backend: Backend, operator: Operator, x: Any, params: tuple[Any, ...] = (), driver: str = "auto"
) -> Any:
    """Value of an operator at x, decomposed once."""
    return backend.apply(operator, x, factors_for(backend, operator, x, params, driver), params)


def factors_for(
    backend: Backend,
    operation: Operator | Decomposition,
    x: Any,
    params: tuple[Any, ...] = (),
    driver: str = "auto",
) -> Any:
    """Factors of x with its gradient stopped, for an operator or for a decomposition itself."""
    return backend.of_values(_Factors(backend, operation, driver), x, params)


@dataclass(frozen=True)
class _Factors:
    """The function ``(x, *params) -> factors``; equal to one that does the same."""

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
        if driver == "auto":
            drivers = select(situation, needs, exact=exact)
        else:
            drivers = (by_name(driver, situation, needs, exact=exact),)
        return compute_factors(
            xp,
            decomposition,
            drivers,
            x,
            None if operator is None else lambda S: operator.extent(xp, S, params),
            choose=backend.choose,
            look=situation.looks == "free",
        )
