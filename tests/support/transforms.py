"""Cells of the matrix function x transform x framework, and how each is checked by value."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from svdinv import _api, _driver
from svdinv._limits import LIMITS

from .observables import OBSERVABLES, TIED, problems

BOUND = {"float64": 1e-11, "float32": 1e-4}


@dataclass(frozen=True)
class Transform:
    """A way to differentiate or to run a function.

    `kind` says what `run` gives for a loss, a matrix and a direction: its "gradient", its
    "tangent", the product of its "second" derivative with the direction, or, for the observable
    in the place of the loss, its "value". `matrices` names those it is run on (None: all).
    """

    name: str
    kind: str
    run: Callable[..., Any]
    matrices: tuple[str, ...] | None = None
    only: tuple[str, ...] | None = None  # functions it is for

    def __str__(self) -> str:
        return self.name


def function_of(observable: str) -> str:
    """The public function an observable is of."""
    return observable.split()[0]


def limit(framework: str, transform: str, observable: str, is_complex: bool) -> Any:
    """The row of the table of limits that excludes a cell, or None."""
    for row in LIMITS:
        if row.excludes(framework, transform, observable, is_complex):
            return row
    return None


def cells(transforms: Any) -> list[Any]:
    """Every transform with every observable it applies to, as parameters of a test."""
    return [
        pytest.param(transform, name, id=f"{transform}-{name}")
        for transform in transforms
        for name, observable in OBSERVABLES.items()
        if (transform.kind != "second" or observable.second)
        and (transform.only is None or name in transform.only)
    ]


def relative(got: Any, expected: Any) -> float:
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape
    if np.iscomplexobj(expected):
        assert np.iscomplexobj(got)
    error = np.linalg.norm(np.ravel(got - expected)) / max(np.linalg.norm(np.ravel(expected)), 1)
    return float(error) if np.isfinite(error) else np.inf


def check(framework: Any, transform: Transform, name: str) -> None:
    """Hold a cell to the exact gradient (or value) at every matrix it is for."""
    done = 0
    for problem in problems(name):
        wanted = transform.matrices or (None if transform.kind == "second" else TIED)
        if wanted is not None and problem.name not in wanted:
            continue
        is_complex = np.iscomplexobj(problem.x)
        row = limit(framework.name, transform.name, name, is_complex)
        if row is not None:
            with pytest.raises(row.error, match=row.pattern):
                one(framework, transform, name, problem)
            done += 1
            continue
        error = one(framework, transform, name, problem)
        assert error <= BOUND["float64"], f"{problem.name}: {error:.1e}"
        done += 1
    assert done


def one(framework: Any, transform: Transform, name: str, problem: Any) -> float:
    """Relative error of a cell at one matrix."""
    loss = framework.loss(name, problem.W)
    x, d = framework.array(problem.x), framework.array(problem.direction)
    function = loss.observe if transform.kind == "value" else loss
    if transform.kind == "second" and problem.name != "distinct":
        with one_basis():
            return _second(framework, transform.run(function, x, d), loss, problem)
    got = transform.run(function, x, d)
    if transform.kind == "second":
        return _second(framework, got, loss, problem)
    got = framework.numpy(got)
    if transform.kind == "gradient":
        return relative(framework.cotangent(got), problem.gradient)
    if transform.kind == "tangent":
        return relative(got, np.vdot(problem.gradient, problem.direction).real)
    if transform.kind == "value":
        return relative(got, value(name, problem))
    raise ValueError(transform.kind)


@contextlib.contextmanager
def one_basis() -> Any:
    """Tied singular vectors from one driver: a second derivative at a tie depends on them."""
    factors_for = _driver.factors_for
    with pytest.MonkeyPatch.context() as patch:
        for module in (_api, _driver):
            patch.setattr(module, "factors_for", lambda *args: factors_for(*args[:-1], "svd"))
        yield


def _second(framework: Any, got: Any, loss: Any, problem: Any) -> float:
    got, expected = framework.cotangent(framework.numpy(got)), framework.second(loss, problem)
    if problem.name != "distinct":
        # What a rule says at a tie is no function's derivative: two orders of differentiation
        # give a matrix and its transpose, and agree on the curvature along a direction.
        got, expected = (np.vdot(h, problem.direction).real for h in (got, expected))
    return relative(got, expected)


def value(name: str, problem: Any) -> Any:
    """The observable at a matrix, from NumPy."""
    import svdinv.numpy

    from .observables import NumPyOperations

    return OBSERVABLES[name].of(svdinv.numpy, NumPyOperations, problem.x)


def native(xp: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """What is left of an operator and of a decomposition when the rule is removed."""

    def apply(operator: Any, x: Any, raw: Any, params: Any) -> Any:
        return operator.apply(xp, x, operator.decomposition.compute(xp, x), params)

    def decompose(decomposition: Any, x: Any, raw: Any) -> Any:
        return decomposition.compute(xp, x)

    return apply, decompose
