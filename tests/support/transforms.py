"""Cells of the matrix function x transform x framework, and how each is checked by value."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from svdinv import _api, _driver
from svdinv._limits import LIMITS

from svdinv_core import Point

from .observables import NUMPY, OBSERVABLES, TIED, problems

BOUND = {"float64": 1e-11, "float32": 1e-4}


@dataclass(frozen=True)
class Transform:
    """A way to differentiate or to run a function.

    `kind` says what `run` gives for a loss, a matrix and a direction: its "gradient", its
    "tangent", the product of its "second" derivative with the direction, or, for the observable
    in the place of the loss, its "value". `compiled`, where there is one, does all matrices of a
    cell in one program: it takes `run`, and then the losses, matrices and directions as tuples.
    `matrices` names those the transform is run on (None: all).
    """

    name: str
    kind: str
    run: Callable[..., Any]
    compiled: Callable[..., Any] | None = None
    matrices: tuple[str, ...] | None = None
    only: tuple[str, ...] | None = None  # functions it is for

    def __str__(self) -> str:
        return self.name

    def results(self, functions: Any, xs: Any, ds: Any) -> tuple[Any, ...]:
        """What it gives at each matrix."""
        if self.compiled is not None:
            return tuple(self.compiled(self.run)(functions, xs, ds))
        return tuple(map(self.run, functions, xs, ds))


def function_of(observable: str) -> str:
    """The public function an observable is of."""
    return observable.split()[0]


def limit(framework: str, transform: str, observable: str, is_complex: bool) -> Any:
    """The row of the table of limits that excludes a cell, or None."""
    for row in LIMITS:
        if row.excludes(framework, transform, observable, is_complex):
            return row
    return None


PATHS = ("svd", "svd tanh", "svt relative", "singular_value_map", "polar positive", "eigh")
"""One observable for each way through an adapter: factors, factors under the rule auto, an operator
with a parameter, a function of the caller, several results, a Hermitian matrix."""


def asked(transform: Transform, name: str, usual: tuple[str, ...]) -> bool:
    """Whether there is such a cell."""
    observable = OBSERVABLES[name]
    return (
        (transform.kind != "second" or observable.second)
        and (transform.only is None or name in transform.only)
        and (observable.everywhere or transform.name in usual)
    )


TWICE = ("svd", "svt relative", "eigh")
"""Of those, for second derivatives: `test_in_every_order` has every operator."""


def cells(transforms: Any, usual: tuple[str, ...]) -> list[Any]:
    """Every transform with every observable it applies to, as parameters of a test.

    Under second derivatives those beside :data:`TWICE`, and under other transforms that are not
    `usual` those beside :data:`PATHS`, are for `make family`.
    """

    def is_some(transform: Transform, name: str) -> bool:
        if transform.kind == "second":
            return name in TWICE
        return transform.name in usual or name in PATHS

    return [
        pytest.param(
            transform,
            name,
            id=f"{transform}-{name}",
            marks=()
            if is_some(transform, name) or transform.only is not None
            else pytest.mark.whole_family,
        )
        for transform in transforms
        for name in OBSERVABLES
        if asked(transform, name, usual)
    ]


def with_fewer_matrices(transforms: Any, usual: tuple[str, ...]) -> tuple[Transform, ...]:
    """The same, those that are not `usual` without the batch of tall matrices.

    Where every cell is a program to compile, matrices are what a cell costs.
    """
    first, second = ("identity", "twice a unitary"), ("twice a unitary", "distinct")
    return tuple(
        t
        if t.name in usual or t.matrices is not None
        else replace(t, matrices=second if t.kind == "second" else first)
        for t in transforms
    )


def relative(got: Any, expected: Any) -> float:
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape
    if np.iscomplexobj(expected):
        assert np.iscomplexobj(got)
    error = np.linalg.norm(np.ravel(got - expected)) / max(np.linalg.norm(np.ravel(expected)), 1)
    return float(error) if np.isfinite(error) else np.inf


def check(framework: Any, transform: Transform, name: str) -> None:
    """Hold a cell to the exact gradient (or value) at every matrix it is for."""
    wanted = transform.matrices or (None if transform.kind == "second" else TIED)
    chosen = [p for p in problems(name) if wanted is None or p.name in wanted]
    assert chosen
    possible = []
    for problem in chosen:
        row = limit(framework.name, transform.name, name, np.iscomplexobj(problem.x))
        if row is None:
            possible.append(problem)
        elif row.error is None:
            check_other(framework, transform, name, problem)
        else:
            with pytest.raises(row.error, match=row.pattern):
                errors(framework, transform, name, [problem])
    for problem, error in zip(possible, errors(framework, transform, name, possible), strict=True):
        assert error <= BOUND["float64"], f"{problem.name}: {error:.1e}"


def check_red(
    framework: Any, transform: Transform, name: str, without: Any, match: str = "inf"
) -> None:
    """Hold that a cell fails in a context in which its rule is taken away."""
    if transform.kind == "second":  # what is cached is right, whoever comes first
        for problem in problems(name):
            second(framework, name, problem.name)
    with without, pytest.raises(AssertionError, match=match):
        check(framework, transform, name)


def check_other(framework: Any, transform: Transform, name: str, problem: Any) -> None:
    """The answer is not the exact one, but that of the rule that a row of limits names."""
    by_rule = OBSERVABLES[name].by_rule
    x, d = framework.array(problem.x), framework.array(problem.direction)
    got, wanted = (
        framework.numpy(transform.results([framework.loss(which, problem.W)], [x], [d])[0])
        for which in (name, by_rule)
    )
    exact = problem.gradient
    if transform.kind == "tangent":
        exact = np.vdot(exact, problem.direction).real
    else:
        exact = framework.cotangent(exact)
    assert relative(got, wanted) <= BOUND["float64"], problem.name
    assert relative(got, exact) > 1e-3, problem.name  # or there would be nothing to say


def errors(framework: Any, transform: Transform, name: str, chosen: list[Any]) -> list[float]:
    """Relative error of a cell at each of some matrices."""
    if not chosen:
        return []
    losses = [framework.loss(name, problem.W) for problem in chosen]
    functions = [loss.observe if transform.kind == "value" else loss for loss in losses]
    if transform.kind == "second":
        functions = [
            loss if problem.name == "distinct" else in_one_basis(loss)
            for loss, problem in zip(losses, chosen, strict=True)
        ]
    xs, ds = (tuple(framework.array(a) for a in arrays) for arrays in (
        [p.x for p in chosen], [p.direction for p in chosen]
    ))  # fmt: skip
    found = transform.results(functions, xs, ds)
    return [
        _error(framework, transform.kind, name, framework.numpy(got), problem)
        for got, problem in zip(found, chosen, strict=True)
    ]


def _error(framework: Any, kind: str, name: str, got: Any, problem: Any) -> float:
    if kind == "gradient":
        return relative(framework.cotangent(got), problem.gradient)
    if kind == "tangent":
        return relative(got, np.vdot(problem.gradient, problem.direction).real)
    if kind == "value":
        return relative(got, value(name, problem))
    assert kind == "second"
    got, expected = framework.cotangent(got), second(framework, name, problem.name)
    if problem.name != "distinct":
        # What a rule says at a tie is no function's derivative: two orders of differentiation
        # give a matrix and its transpose, and agree on the curvature along a direction.
        got, expected = (np.vdot(h, problem.direction).real for h in (got, expected))
    return relative(got, expected)


@cache
def second(framework: Any, name: str, matrix: str) -> Any:
    """Hessian times direction of the registration-free form, the reference of every transform."""
    (problem,) = (p for p in problems(name) if p.name == matrix)
    loss = framework.loss(name, problem.W)
    return framework.second(loss if matrix == "distinct" else in_one_basis(loss), problem)


def in_one_basis(loss: Any) -> Callable[[Any], Any]:
    """A loss with tied singular vectors from one driver, on which second derivatives depend."""

    def call(x: Any) -> Any:
        with one_basis():
            return loss(x)

    return call


@contextlib.contextmanager
def one_basis() -> Any:
    """Every factor from one driver."""
    factors_for = _driver.factors_for

    def by_svd(backend: Any, operation: Any, x: Any, params: Any = (), driver: str = "") -> Any:
        own = "eigh" if operation.needs == "eigenvectors" else "svd"
        return factors_for(backend, operation, x, params, own)

    with pytest.MonkeyPatch.context() as patch:
        for module in (_api, _driver):
            patch.setattr(module, "factors_for", by_svd)
        yield


def value(name: str, problem: Any) -> Any:
    """The observable at a matrix, from NumPy."""
    import svdinv.numpy

    return OBSERVABLES[name].of(svdinv.numpy, NUMPY, problem.x)


def native(xp: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """What is left of an operator and of a decomposition when the rule is removed."""

    def apply(operator: Any, x: Any, raw: Any, params: Any) -> Any:
        return operator.apply(Point(xp, x, operator.decomposition.compute(xp, x), params))

    def decompose(decomposition: Any, x: Any, raw: Any) -> Any:
        return decomposition.compute(xp, x)

    return apply, decompose
