"""Every function under every transform of autograd, by value at exact ties."""

from __future__ import annotations

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
import svdinv
import svdinv.autograd
from autograd.differential_operators import hessian_vector_product, make_jvp_reversemode
from support import autograd_operations
from support.autograd_operations import realified
from support.observables import OBSERVABLES, problems
from support.transforms import Transform, cells, check, check_red, native, relative
from svdinv import _autograd_namespace


def tangent(loss, x, d):
    return autograd.make_jvp(loss)(x)(d)[1]


def pulled_back(loss, x, d):
    pullback, value = autograd.make_vjp(loss)(x)
    return pullback(np.ones_like(value))


def elementwise(loss, x, d):
    """The gradient of the losses of two matrices, one of which is not differentiated."""
    return autograd.elementwise_grad(lambda y: anp.stack([loss(y), loss(x)]))(x)


def jacobian(loss, x, d):
    """The Jacobian of the losses of two matrices; its diagonal blocks are the gradients."""
    X = np.stack([x, x])
    return autograd.jacobian(lambda Y: anp.stack([loss(Y[0]), loss(Y[1])]))(X)[1, 1]


def in_a_tuple(loss, x, d):
    return autograd.grad(lambda both: loss(both[0]) + anp.sum(both[1]))((x, np.ones(2)))[0]


def second_by_hand(of):
    """Second derivatives by a transform that takes real arrays only."""

    def run(loss, x, d):
        loss, pairs, back = realified(loss, x)
        return back(of(loss, pairs, realified(loss, d)[1]))

    return run


def forward_of_forward(loss, x, d):
    """The derivative of the tangent along every entry."""

    def along(e):
        return autograd.make_jvp(lambda y: tangent(loss, y, d))(x)(e)[1]

    return np.reshape([along(e) for e in np.eye(x.size).reshape(-1, *x.shape)], x.shape)


TRANSFORMS = (
    Transform("grad", "gradient", lambda loss, x, d: autograd.grad(loss)(x)),
    Transform("value_and_grad", "gradient", lambda loss, x, d: autograd.value_and_grad(loss)(x)[1]),
    Transform("make_vjp", "gradient", pulled_back),
    Transform("elementwise_grad", "gradient", elementwise),
    Transform("jacobian", "gradient", jacobian),
    Transform("grad of a tuple", "gradient", in_a_tuple),
    Transform(
        "checkpoint", "gradient", lambda loss, x, d: autograd.grad(autograd.checkpoint(loss))(x)
    ),
    Transform("make_jvp", "tangent", tangent),
    Transform(
        "make_jvp_reversemode", "tangent", lambda loss, x, d: make_jvp_reversemode(loss)(x)(d)
    ),
    Transform(
        "make_jvp of checkpoint",
        "tangent",
        lambda loss, x, d: tangent(autograd.checkpoint(loss), x, d),
    ),
    # A Hessian is symmetric, so a direction can be used as a cotangent of the gradient.
    Transform("make_hvp", "second", lambda loss, x, d: autograd.make_hvp(loss)(x)[0](d)),
    Transform(
        "make_jvp(grad)",
        "second",
        lambda loss, x, d: autograd.make_jvp(autograd.grad(loss))(x)(d)[1],
    ),
    Transform(
        "grad(make_jvp)",
        "second",
        lambda loss, x, d: autograd.grad(lambda y: tangent(loss, y, d))(x),
    ),
    Transform("make_jvp(make_jvp)", "second", second_by_hand(forward_of_forward)),
    Transform(
        "hessian",
        "second",
        second_by_hand(lambda loss, x, d: np.tensordot(autograd.hessian(loss)(x), d, d.ndim)),
    ),
    Transform(
        "hessian_vector_product",
        "second",
        second_by_hand(lambda loss, x, d: hessian_vector_product(loss)(x, d)),
    ),
)


USUAL = ("grad", "jacobian", "make_jvp", "make_hvp")


@pytest.mark.parametrize(("transform", "observable"), cells(TRANSFORMS, USUAL))
def test_cell(transform, observable, whole_family):
    check(autograd_operations, transform, observable, whole_family)


@pytest.mark.parametrize("observable", ["svt", "svd"])
@pytest.mark.parametrize("name", ["grad", "make_hvp"])
def test_a_cell_goes_red_without_its_rule(name, observable):
    """Without it autograd's own rule divides by the gaps."""
    (transform,) = (t for t in TRANSFORMS if t.name == name)
    without = autograd_operations.registrations(*native(_autograd_namespace))
    with np.errstate(all="ignore"):
        check_red(autograd_operations, transform, observable, without)


def test_the_functions_that_look_at_the_type_take_what_is_inside_a_trace():
    x = np.diag([3.0, 3.0, 1.0])

    def gradient(module):
        return autograd.grad(lambda y: anp.sum(module.svt(y, 0.5)) + module.nuclear_norm(y))(x)

    np.testing.assert_array_equal(gradient(svdinv), gradient(svdinv.autograd))
    # The matrix decides: for a matrix of NumPy, a traced threshold is of another framework.
    with pytest.raises(
        TypeError, match=r"^tau: expected a number or a numpy.ndarray, got ArrayBox"
    ):
        autograd.grad(lambda tau: anp.sum(svdinv.svt(x, tau)))(0.5)
    assert autograd.grad(lambda tau: anp.sum(svdinv.autograd.svt(x, tau)))(0.5) == -3


def test_single_precision_stays():
    """Also if weights in double precision make double cotangents, which autograd does not cast."""
    for name in OBSERVABLES:
        for problem in problems(name):
            if problem.name == "distinct" or name == "gauge_residual":  # autograd's own product
                continue
            x, d = (
                a.astype(np.complex64 if np.iscomplexobj(a) else np.float32)
                for a in (problem.x, problem.direction)
            )
            loss = autograd_operations.Loss(name, problem.W)
            g = autograd.grad(loss)(x)
            assert g.dtype == x.dtype
            assert relative(np.conj(g), problem.gradient) < 2e-5, (name, problem.name)
            if OBSERVABLES[name].second:
                assert autograd.make_hvp(loss)(x)[0](d).dtype == x.dtype
