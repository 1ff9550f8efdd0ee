"""``svdinv_conformance.check`` accepts right derivatives and finds wrong ones, in one line."""

from __future__ import annotations

import doctest

import mpmath as mp
import numpy as np
import pytest
from support import defects
from support.drivers import driver
from svdinv_conformance import DerivativeError, check, derivative_check
from svdinv_conformance.suite import Observable

FRAMEWORKS = ("torch", "jax", "tensorflow", "autograd")
SOME = ["at x", "where two singular values are equal"]  # of eager JAX every operation is a program


def matrix(m=4, n=3, is_complex=False):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((m, n))
    return x + 1j * rng.standard_normal((m, n)) if is_complex else x


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_svt_and_its_threshold(framework):
    module, array = driver(framework).module, driver(framework).array
    where = {"where": SOME} if framework == "jax" else {}
    tau = array(np.array(0.5))
    check(module.svt, array(matrix()), "svt", tau=tau, framework=framework, **where)


@pytest.mark.parametrize("second", [False, True])
def test_functions_of_pytorch(second):
    module, array = driver("torch").module, driver("torch").array
    for is_complex in (False, True):
        x = array(matrix(3, 4, is_complex))
        check(module.nuclear_norm, x, "nuclear_norm", second=second)
        check(lambda x: module.polar(x).unitary, x, "polar", second=second)
        check(lambda x: module.low_rank(x, 2), x, "low_rank", rank=2, second=second)
        check(lambda x: module.svt(x, 0.5), x, "svt", tau=0.5, batched=True)
    x = array(matrix(3, 3))
    check(lambda x: x @ x @ x, x, lambda A: A**3, second=second)
    tanh = driver("torch").tanh
    single = array(matrix().astype(np.float32))
    check(lambda x: module.singular_value_map(x, tanh), single, "singular_value_map", f=mp.tanh)


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_native_gradient_is_right_at_distinct_values_and_wrong_at_a_tie(framework):
    bridge, array = driver(framework).bridge, driver(framework).array

    def by_hand(x):
        u, s, vh = bridge.native_svd(x)
        return bridge.recompose(u, bridge.positive_part(s - 0.5), vh)

    ahead = {"jvp": None, "vjp": lambda x, ct: bridge.vjp(lambda y: (by_hand(y),), (x,), (ct,))[1]}
    for x, where in ((matrix(), ["at x"]), (matrix(), SOME[1:]), (np.eye(3), ["at x"])):

        def ask(x=x, where=where):
            check(by_hand, array(x), "svt", tau=0.5, where=where, framework=framework, **ahead)

        if where == ["at x"] and x.shape == (4, 3):
            ask()
        else:
            with pytest.raises(DerivativeError, match=r"the gradient .* is (wrong|not finite)"):
                ask()


SOFT, REBUILT = Observable("soft"), Observable("reconstruction")
SMOOTH = Observable("smooth", {"function": "tanh", "scale": 1.0})
LEFT = 3  # of the outputs of "factors"


def left_projector(A):
    u, s, _ = mp.svd_c(A)
    return u * mp.diag([mp.mpf(x > 0.625) for x in s]) * u.H


def of(defect, observable, output=0):
    """The derivatives of an implementation, passed as derivatives written by hand."""
    implementation = defect()

    def value(*inputs):
        return implementation.value(observable, inputs)[output]

    def vjp(*arrays):
        *inputs, ct = arrays
        outputs = implementation.value(observable, tuple(inputs))
        cts = tuple(ct if i == output else 0 * y for i, y in enumerate(outputs))
        return implementation.vjp(observable, tuple(inputs), cts)

    def jvp(*arrays):
        n = len(arrays) // 2
        return implementation.jvp(observable, arrays[:n], arrays[n:])

    return value, {"vjp": vjp, "jvp": jvp}


TAU = np.array(0.5)
FOUND = {
    "ZeroedOnTies": (REBUILT, lambda A: A, matrix(), {"where": SOME}),
    "NoPhase": (REBUILT, lambda A: A, matrix(3, 3, True), {"where": SOME}),
    "NoConjugate": (SOFT, "svt", matrix(3, 3, True), {"tau": TAU}),
    "NoTau": (SOFT, "svt", matrix(), {"tau": TAU}),
    "NoComplement": (SOFT, "svt", matrix(), {"tau": TAU}),
    "WideAsTall": (SOFT, "svt", matrix(3, 4), {"tau": TAU}),
    "AbsoluteTolerance": (Observable("nuclear"), "nuclear_norm", matrix(), {}),
    "SingleInside": (SMOOTH, "singular_value_map", matrix(), {"f": mp.tanh}),
    "NotAdjoint": (SOFT, "svt", matrix(), {"tau": TAU}),
    "SpoiltBatch": (SOFT, "svt", matrix(), {"tau": TAU, "batched": True}),
    "InPlace": (SOFT, "svt", matrix(3, 3), {"tau": TAU}),
}
"""All defects except one about devices and one about projectors, which has its own test."""


@pytest.mark.parametrize("name", FOUND)
def test_every_planted_defect_is_found(name):
    observable, like, x, more = FOUND[name]
    value, derivatives = of(defects.Sound, observable)
    check(value, x, like, **derivatives, **more)
    value, derivatives = of(getattr(defects, name), observable)
    with pytest.raises(DerivativeError):
        check(value, x, like, **derivatives, **more)


def test_a_projector_by_a_linear_rule_is_found():
    """In reverse mode; in forward mode every implementation uses a linear rule at a tie."""
    factors = Observable("factors", {"cut": 0.625})
    q, _ = np.linalg.qr(matrix(4, 4))
    x = q[:, :3] @ np.diag([2.0, 1.0, 0.3])
    for defect in (defects.Sound, defects.FromTheRule):
        value, derivatives = of(defect, factors, LEFT)

        def ask(value=value, vjp=derivatives["vjp"]):
            check(value, x, left_projector, where=SOME[1:], vjp=vjp)

        if defect is defects.Sound:
            ask()
        else:
            with pytest.raises(DerivativeError, match="where two singular values are equal is"):
                ask()


def test_what_is_asked_for_wrongly():
    x = matrix()
    for words, error, given in (
        ("like: want 'svt', ", ValueError, (x, "soft")),
        ("x: want a matrix", TypeError, (x[0], "svt")),
        ("x: want an array of torch", TypeError, ("x", "svt")),
    ):
        with pytest.raises(error, match=words):
            check(lambda x: x, *given)
    with pytest.raises(ValueError, match="where: want 'at x', "):
        check(lambda x: x, x, "svt", tau=0.5, where=["there"])
    with pytest.raises(ValueError, match="where: the function has no derivative at any of these"):
        check(lambda x: x, np.eye(3), "svt", tau=1.0, where=["at x"])


def test_its_examples_run():
    found = doctest.testmod(derivative_check)
    assert found.attempted > 5
    assert found.failed == 0
