"""The cells function x transform x framework, and how each is checked by value."""

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

    `kind` says what `run` computes for a loss, a matrix and a direction: its "gradient", its
    "tangent", the product of its "second" derivative with the direction, or, for the observable
    instead of the loss, its "value". `compiled`, if given, runs all matrices of a cell in one
    program: it takes `run`, and then the losses, matrices and directions as tuples. `matrices`
    names those the transform is run on (None: all), and `sample` those of `make test`.
    """

    name: str
    kind: str
    run: Callable[..., Any]
    compiled: Callable[..., Any] | None = None
    matrices: tuple[str, ...] | None = None
    sample: tuple[str, ...] | None = None
    only: tuple[str, ...] | None = None  # functions it is for

    def __str__(self) -> str:
        return self.name

    def results(self, functions: Any, xs: Any, ds: Any) -> tuple[Any, ...]:
        """The results at each matrix."""
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
"""One observable for each path through an adapter: factors, factors under the rule auto, an
operator with a parameter, a function of the caller, several results, a Hermitian matrix."""


def asked(transform: Transform, name: str, usual: tuple[str, ...]) -> bool:
    """Whether there is such a cell."""
    observable = OBSERVABLES[name]
    return (
        (transform.kind != "second" or observable.second)
        and (transform.only is None or name in transform.only)
        and (observable.everywhere or transform.name in usual)
    )


TWICE = ("svd", "svt relative", "eigh")
"""The same for second derivatives; `test_in_every_order` tests every operator."""


def cells(
    transforms: Any, usual: tuple[str, ...], few: dict[str, tuple[str, ...]] | None = None
) -> list[Any]:
    """Every transform with every observable it applies to, as parameters of a test.

    Only `make family` runs observables outside :data:`TWICE` for second derivatives, and outside
    :data:`PATHS` for other transforms that are not `usual`; for those named in `few`, outside of
    what it says.
    """

    def is_some(transform: Transform, name: str) -> bool:
        if few is not None and transform.name in few:
            return name in few[transform.name]
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
    """The transforms, those that are not `usual` with a complex matrix for a sample.

    If every cell is a program to compile, the number of matrices decides what it costs.
    """
    first, second = ("twice a unitary",), ("twice a unitary", "distinct")
    return tuple(
        t if t.name in usual else replace(t, sample=second if t.kind == "second" else first)
        for t in transforms
    )


def relative(got: Any, expected: Any) -> float:
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape
    if np.iscomplexobj(expected):
        assert np.iscomplexobj(got)
    error = np.linalg.norm(np.ravel(got - expected)) / max(np.linalg.norm(np.ravel(expected)), 1)
    return float(error) if np.isfinite(error) else np.inf


def check(framework: Any, transform: Transform, name: str, whole: bool = False) -> None:
    """Compare a cell with the exact gradient (or value) at its sample of matrices, or at all."""

    def row_of(problem: Any) -> Any:
        return limit(framework.name, transform.name, name, np.iscomplexobj(problem.x))

    wanted = transform.matrices or (None if transform.kind == "second" else TIED)
    chosen = [p for p in problems(name) if wanted is None or p.name in wanted]
    if not whole and transform.sample is not None:
        some = [p for p in chosen if p.name in transform.sample]
        chosen = some if any(row_of(p) is None for p in some) else chosen[:1] + some
    assert chosen
    possible = []
    for problem in chosen:
        row = row_of(problem)
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
    """Assert that a cell fails in a context that takes its rule away."""
    if transform.kind == "second":  # cache the reference before the rule is taken away
        for problem in problems(name):
            second(framework, name, problem.name)
    with without, pytest.raises(AssertionError, match=match):
        check(framework, transform, name)


def check_other(framework: Any, transform: Transform, name: str, problem: Any) -> None:
    """Assert that the result is not the exact one, but that of the rule in the row of limits."""
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
    assert relative(got, exact) > 1e-3, problem.name  # else the row of limits is not needed


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
        # At a tie a rule is not the derivative of a function: two orders of differentiation give a
        # matrix and its transpose, and agree on the curvature along a direction.
        got, expected = (np.vdot(h, problem.direction).real for h in (got, expected))
    return relative(got, expected)


@cache
def second(framework: Any, name: str, matrix: str) -> Any:
    """Hessian times direction of the form without registration, the reference for transforms."""
    (problem,) = (p for p in problems(name) if p.name == matrix)
    loss = framework.loss(name, problem.W)
    return framework.second(loss if matrix == "distinct" else in_one_basis(loss), problem)


def in_one_basis(loss: Any) -> Callable[[Any], Any]:
    """Fix the driver of a loss: second derivatives at ties depend on the basis it finds."""

    def call(x: Any) -> Any:
        with one_basis():
            return loss(x)

    return call


@contextlib.contextmanager
def one_basis() -> Any:
    """Compute all factors by one driver."""
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
    """An operator and a decomposition without their rules."""

    def apply(operator: Any, x: Any, raw: Any, params: Any) -> Any:
        return operator.apply(Point(xp, x, operator.decomposition.compute(xp, x), params))

    def decompose(decomposition: Any, x: Any, raw: Any) -> Any:
        return decomposition.compute(xp, x)

    return apply, decompose
