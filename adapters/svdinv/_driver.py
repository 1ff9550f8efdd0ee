"""Which decomposition an operator's factors come from: ``driver="auto" | "svd" | "gram"``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from svdinv_core import Gram, Operator

from ._backend import Backend

__all__ = ["factors_for", "operate"]


def operate(
    backend: Backend, operator: Operator, x: Any, params: tuple[Any, ...] = (), driver: str = "svd"
) -> Any:
    """Value of an operator at x, decomposed once."""
    return backend.apply(operator, x, factors_for(backend, operator, x, params, driver), params)


def factors_for(
    backend: Backend, operator: Operator, x: Any, params: tuple[Any, ...], driver: str
) -> Any:
    """Factors of x for an operator, by the driver that was asked for."""
    decomposition: Any = operator.decomposition

    def by_svd(x: Any) -> Any:
        return decomposition.factors(*backend.factors(decomposition, x, accurate=True))

    def by(gram: Gram, x: Any) -> Any:
        found = backend.factors(replace(decomposition, gram=gram), x, accurate=False)
        return decomposition.factors(*found)

    def first_good_enough(grams: tuple[Gram, ...], x: Any, params: tuple[Any, ...]) -> Any:
        if not grams:
            return by_svd(x)
        gram, *others = grams
        found = by(gram, x)
        extent = operator.extent(backend.xp, found.S, params)

        def but_for_spoilt() -> Any:
            spoilt = ~backend.xp.all(backend.xp.isfinite(x), axis=(-2, -1))
            enough = gram.resolves(backend.xp, found.S, extent, spoilt)
            return backend.choose(
                enough, found, lambda: first_good_enough(tuple(others), x, params)
            )

        enough = gram.resolves(backend.xp, found.S, extent)
        return backend.choose(enough, found, but_for_spoilt)

    if driver == "gram":
        return by(replace(backend.gram, normalized=True), x)
    m, n = x.shape[-2:]  # checked to be known
    if driver == "svd" or not operator.suits_gram(m, n):
        return by_svd(x)
    grams = backend.drivers_to_try(x)
    return backend.over_whole_batch(
        lambda x, *params: first_good_enough(grams, x, params), x, params
    )
