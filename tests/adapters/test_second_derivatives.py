"""Hessian-vector products: right wherever there are any, at ties too; finite everywhere."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from support import drivers
from support.arrays import adjoint
from support.drivers import driver
from support.errors import norm
from support.family import Cell, draw, haar, normal
from support.namespaces import each
from support.operators import CASES

from svdinv_core import get_rule, rule_names

FRAMEWORKS = tuple(name for name in drivers.FRAMEWORKS if name != "numpy")
LINEAR = tuple(rule for rule in rule_names() if get_rule(rule).linear)
FUNCTIONS = (
    *CASES,
    "svdvals",
    *(f"{function} {rule}" for function in ("svd", "eigh") for rule in LINEAR),
)
SIZES = ((4, 4), (5, 3), (3, 5))


@cache
def derivatives(name, function):
    """Gradient and Hessian times direction of ``sum(W |B|^2)``, B being a function's value.

    For svd and eigh, B is ``U diag(tanh S) Vh``.
    """
    tested, (kind, *rule) = driver(name), function.split()
    bridge, module = tested.bridge, tested.module

    def value(x):
        if function == "svdvals":
            return module.svdvals(x)
        if kind == "svd":
            U, S, Vh = module.svd(x, rule=rule[0])
            return bridge.recompose(U, bridge.tanh(S), Vh)
        if kind == "eigh":
            w, Q = module.eigh(x, rule=rule[0])
            return bridge.recompose(Q, bridge.tanh(w), bridge.adjoint(Q))
        case = CASES[function]
        out = getattr(module, case.function)(x, *case.arguments(name, 1.0), **dict(case.kwargs))
        return out[case.output] if isinstance(out, tuple) else out

    def loss(x):
        B = value(x)
        W = np.random.default_rng(6).standard_normal(tuple(B.shape))
        return (bridge.real_sum(B * bridge.conj(B) * bridge.constant(W, B)),)

    one = (tested.array(np.ones(())),)

    def both(x, dx):
        return *bridge.vjp(loss, (x,), one)[1], *bridge.hvp(loss, (x,), one, (dx,))

    compute = bridge.prepare("value", both)
    return lambda x, dx: each(tested.numpy, compute(each(tested.array, (x, dx))))


def is_hermitian(function):
    return function.startswith("eigh") or (function in CASES and CASES[function].hermitian)


def fields(function, size):
    """Real and complex square matrices, and complex ones of other shapes, where there are."""
    if function in CASES and CASES[function].real:
        return (False,)
    return (False, True) if size[0] == size[1] else (True,)


def problem(function, size, is_complex):
    """A matrix with distinct values, and a direction."""
    rng = np.random.default_rng(7)
    if not is_hermitian(function):
        x = draw(Cell(size, "distinct", 1.0, is_complex), 1)[0][0]
        return x, normal(rng, size, is_complex)
    Q = haar(rng, (), *size, is_complex)
    x, dx = (Q * np.array([0.2, 0.4, 0.7, 1.0])) @ adjoint(Q), normal(rng, size, is_complex)
    return (x + adjoint(x)) / 2, (dx + adjoint(dx)) / 2


# with a polynomial in the place of 1/gap the first derivative is not the gradient of a function
@pytest.mark.parametrize("name", FRAMEWORKS)
@pytest.mark.parametrize("function", [f for f in FUNCTIONS if not f.endswith("taylor")])
def test_at_distinct_values_against_differences_of_the_gradient(hold, function, name):
    derive = derivatives(name, function)
    square = is_hermitian(function) or (function in CASES and CASES[function].square)
    for size in SIZES[:1] if square else SIZES:
        for is_complex in fields(function, size):
            x, dx = problem(function, size, is_complex)
            h = 1e-5
            ahead, behind = (derive(x + s * h * dx, dx)[0] for s in (1, -1))
            difference = (ahead - behind) / (2 * h)
            _, got = derive(x, dx)
            if is_hermitian(function):  # differences stay within Hermitian matrices
                got = (got + adjoint(got)) / 2
            error = norm(got - difference) / norm(difference)
            hold(f"{function}, second derivative, {name}", error, 1e-6, (size, is_complex))


DEGENERATE = {
    "identity": np.eye(4),
    "tie and zero": np.diag([1.0, 1.0, 0.5, 0.0]),
    "two zeros": np.diag([1.0, 0.5, 0.0, 0.0]),
    "zero": np.zeros((4, 4)),
    "tall": np.eye(5, 3),
    "wide": np.eye(3, 5),
}


FULL_RANK = {"identity", "tall", "wide"}
EXACT = {  # where there is a second derivative at these, and it is registered
    "soft threshold": set(DEGENERATE) - {"zero"},
    "nuclear norm": FULL_RANK,
    "unitary factor": FULL_RANK,
    "positive factor": FULL_RANK,
    "nearest unitary": FULL_RANK,
    "rotation": {"identity"},
}


def exact_second(function, x, dx):
    """That of the loss ``sum(W |B|^2)``, from the explicit derivatives of B."""
    case, numpy = CASES[function], driver("numpy").module
    fn, kwargs = getattr(numpy, case.function), dict(case.kwargs)
    arguments = case.arguments("numpy", 1.0)
    primals, tangents = (x, *arguments), (dx, *(None for _ in arguments))
    B, pullback = numpy.vjp(fn, *primals, **kwargs)
    _, dB = numpy.jvp(fn, primals, tangents, **kwargs)
    pair = isinstance(B, tuple)
    B, dB = (B[case.output], dB[case.output]) if pair else (B, dB)
    W = np.random.default_rng(6).standard_normal(B.shape)

    def cotangent(ct):
        return tuple(ct if i == case.output else None for i in range(2)) if pair else ct

    bent = numpy.hvp(fn, primals, tangents, cotangent(2 * W * B), **kwargs)[0]
    return bent + pullback(cotangent(2 * W * dB))[0]


@pytest.mark.parametrize("name", FRAMEWORKS)
@pytest.mark.parametrize("function", [f for f in FUNCTIONS if not f.endswith("plain")])
def test_at_ties_and_zeros(hold, function, name):
    derive = derivatives(name, function)
    square = is_hermitian(function) or (function in CASES and CASES[function].square)
    for case, x in DEGENERATE.items():
        if square and x.shape[0] != x.shape[1]:
            continue
        for is_complex in fields(function, x.shape):
            dx = normal(np.random.default_rng(8), x.shape, is_complex)
            _, second = derive(x.astype(dx.dtype), dx)
            assert np.isfinite(second).all(), (case, is_complex)
            if case in EXACT.get(function, ()):
                exact = exact_second(function, x.astype(dx.dtype), dx)
                error = norm(second - exact) / norm(exact)
                hold(f"{function}, second derivative at ties, {name}", error, 1e-12, case)
