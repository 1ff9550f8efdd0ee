"""The rules of `svd`: what they are at ties, and that every namespace computes the same."""

from __future__ import annotations

from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import svdinv
from support.arrays import adjoint, single
from support.drivers import FRAMEWORKS, driver
from support.errors import norm, relative_error
from support.family import SIZES, SOME_SIZES, cells, draw, haar, normal, scales, stack
from support.namespaces import NAMESPACES, evaluate, namespace
from svdinv import rules
from svdinv_conformance.compare import methods

import svdinv_core
from svdinv_core import SVD, SVDFactors, get_rule, rule_names
from svdinv_core.rules import Pairs

BOUND = {"float64": 1e-12, "float32": 1e-5}
LINEAR = tuple(name for name in rule_names() if get_rule(name).linear and name != "plain")


def factors_and_cotangents(family, count, precision):
    """Of all cells of a family of one size and field."""
    A, _ = stack(family, count)
    U, S, Vh = np.linalg.svd(A, full_matrices=False)
    rng = np.random.default_rng(2)
    cts = (
        normal(rng, U.shape, np.iscomplexobj(A)),
        normal(rng, S.shape, False),
        normal(rng, Vh.shape, np.iscomplexobj(A)),
    )
    arrays = (U, S, Vh, *cts)
    return tuple(map(single, arrays)) if precision == "float32" else arrays


def expected_size(factors, cts, rule):
    """The norm of the gradient, on average over random cotangents of this size.

    Errors are relative to this. Relative to the gradient's own norm, the rounding errors of a draw
    in which the large term happens to cancel would look like an error of the result.
    """
    xp, *_ = namespace("numpy")
    U, S, Vh = factors
    rule = get_rule(rule)
    coefficients = rule.coefficients(xp, Pairs.of(xp, S, U.shape[-2], Vh.shape[-1], rule))
    squares = sum(norm(c) ** 2 for c in coefficients if c is not None)
    return np.sqrt(squares * sum(norm(ct) ** 2 for ct in (cts[0], cts[2]))) / S.shape[-1]


@pytest.mark.parametrize("precision", BOUND)
@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("size", SOME_SIZES, ids=str)
def test_same_factors_give_the_same_gradient_in_every_namespace(
    hold, count, size, is_complex, precision
):
    family = cells(sizes=[size], fields=[is_complex])
    U, S, Vh, *cts = factors_and_cotangents(family, count, precision)
    factors, cts = SVDFactors(U, S, Vh), tuple(cts)
    for rule in LINEAR:  # "fit" has its own test: it needs cotangents that a function explains
        reference, *others = (
            evaluate(name, SVD(get_rule(rule)), "vjp", factors, cts) for name in NAMESPACES
        )
        size = np.maximum(norm(reference), expected_size(factors, cts, rule))
        for name, other in zip(NAMESPACES[1:], others, strict=True):
            errors = (norm(other - reference) / size).reshape(len(family), -1).max(axis=1)
            worst = errors.argmax()
            what = f"svd {rule}, same factors, {precision}"
            # any two may differ by twice the bound
            hold(what, 2 * errors[worst], BOUND[precision], (str(family[worst]), name))


@cache
def native_gradient(name):
    """Gradient of Re <W, U tanh(S) Vh> through the framework's own SVD, a function of x and W."""
    bridge = driver(name).bridge

    def value(x, W):
        U, S, Vh = bridge.native_svd(x)
        return (bridge.pairing(W, bridge.recompose(U, bridge.tanh(S), Vh)),)

    return bridge.prepare("vjp", value)


def cotangents_of_tanh(U, S, Vh, W):
    """Cotangents of ``Re <W, U tanh(S) Vh>``."""
    f = np.tanh(S)
    P = adjoint(U) @ W @ adjoint(Vh)
    ct_S = np.real(np.diagonal(P, axis1=-2, axis2=-1)) * (1 - f * f)
    return (W @ adjoint(Vh)) * f[..., None, :], ct_S, f[..., :, None] * (adjoint(U) @ W)


@pytest.mark.parametrize("precision", BOUND)
@pytest.mark.parametrize(
    ("framework", "is_complex"),
    # TensorFlow's own complex SVD has no gradient.
    [("torch", False), ("torch", True), ("jax", False), ("jax", True), ("tensorflow", False)],
)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_plain_is_the_native_gradient_where_values_are_distinct(
    hold, size, framework, is_complex, precision
):
    (cell,) = cells(sizes=[size], spectra=["distinct"], scales=[1.0], fields=[is_complex])
    x, _ = draw(cell, 200)
    W = normal(np.random.default_rng(3), x.shape, is_complex)
    if precision == "float32":
        x, W = single(x), single(W)
    module_driver = driver(framework)
    U, S, Vh = module_driver.call("svd", (x,))
    _, (ours,) = module_driver.vjp("svd", (x,), cotangents_of_tanh(U, S, Vh, W), rule="plain")
    # Both sides divide by the smallest gap, and by the smallest value outside the factors.
    arrays, one = map(module_driver.array, (x, W)), np.ones((), dtype=precision)
    pulled = native_gradient(framework)(tuple(arrays), (module_driver.array(one),))
    native = module_driver.numpy(pulled[1][0])
    what = f"svd plain against the native gradient, {precision}, {framework}"
    hold(what, relative_error(ours, native).max(), BOUND[precision])


def test_gradient_of_the_reconstruction_at_the_identity_is_all_ones(hold, framework):
    x = np.eye(8)
    U, S, Vh = framework.call("svd", (x,))
    ones = np.ones_like(x)
    cts = (ones @ Vh.T * S, np.diagonal(U.T @ ones @ Vh.T), S[:, None] * (U.T @ ones))
    _, (g,) = framework.vjp("svd", (x,), cts)
    hold("svd inv, reconstruction at the identity", np.abs(g - ones).max(), 1e-12)


SOME_RULES = ("inv", "lorentzian")
"""The rules for frameworks that compile; to them a rule is only an object to pass on."""


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        pytest.param(
            name,
            rule,
            marks=pytest.mark.whole_family
            if name in ("jax", "tensorflow") and rule not in SOME_RULES
            else (),
        )
        for name in FRAMEWORKS
        for rule in LINEAR
    ],
)
def test_forward_and_reverse_mode_are_adjoint(hold, name, rule, sizes):
    framework = driver(name)
    for size in sizes:
        for is_complex in (False, True):
            check_adjoint(hold, framework, cells(sizes=[size], fields=[is_complex]), rule)


@pytest.mark.parametrize("is_complex", [False, True])
def test_forward_and_reverse_mode_of_plain_are_adjoint(hold, framework, is_complex, sizes):
    for size in sizes:
        family = cells(sizes=[size], spectra=["distinct"], scales=[1.0], fields=[is_complex])
        check_adjoint(hold, framework, family, "plain")


def inner(a, b, dims=2):
    """``Re <a, b>`` of each matrix, or of each vector."""
    return np.sum(np.real(np.conj(a) * b), axis=tuple(range(-dims, 0)))


def length(a, dims=2):
    return np.sqrt(inner(a, a, dims))


def check_adjoint(hold, framework, family, rule):
    rng = np.random.default_rng(4)
    x, _ = stack(family, 2)
    dx = normal(rng, x.shape, np.iscomplexobj(x))
    out, dout = framework.jvp("svd", (x,), (dx,), rule=rule)
    cts = tuple(normal(rng, o.shape, np.iscomplexobj(o)) for o in out)
    _, (ct_x,) = framework.vjp("svd", (x,), cts, rule=rule)
    terms = list(zip(cts, dout, (2, 1, 2), strict=True))
    forward, reverse = sum(inner(*term) for term in terms), inner(ct_x, dx)
    sizes = (length(ct, dims) * length(d, dims) for ct, d, dims in terms)
    size = np.maximum.reduce([length(ct_x) * length(dx), *sizes])
    assert np.isfinite(forward).all()
    assert np.isfinite(ct_x).all()
    errors = (np.abs(forward - reverse) / size).reshape(len(family), -1).max(axis=1)
    worst = errors.argmax()
    hold(f"svd {rule}, forward and reverse adjoint", errors[worst], 1e-12, family[worst])


@pytest.mark.parametrize("driver", ["svd", "gram"])
@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("is_complex", [False, True])
def test_forward_and_reverse_mode_of_svt_are_adjoint(hold, framework, is_complex, relative, driver):
    """With one driver: if the largest value nearly ties, two drivers differ by eps/gap."""
    rng = np.random.default_rng(5)
    for size in SIZES[1:3]:
        family = cells(sizes=[size], fields=[is_complex])
        x, tau = stack(family, 2)
        if relative:
            tau = tau / scales(family, tau.ndim)
        dx = scales(family, x.ndim) * normal(rng, x.shape, is_complex)
        dtau = rng.standard_normal(tau.shape)
        dtau = dtau if relative else scales(family, tau.ndim) * dtau
        W = normal(rng, x.shape, is_complex)
        how = {"relative": relative, "driver": driver}
        _, (dB,) = framework.jvp("svt", (x, tau), (dx, dtau), **how)
        _, (ct_x, ct_tau) = framework.vjp("svt", (x, tau), (W,), **how)
        difference = np.abs(inner(W, dB) - inner(ct_x, dx) - ct_tau * dtau)
        errors = (difference / (length(W) * length(dx))).max(axis=-1)
        worst = errors.argmax()
        hold(f"svt {driver}, forward and reverse adjoint", errors[worst], 1e-12, family[worst])


def test_inv_hardly_changes_from_a_tie_to_a_near_tie(hold, framework):
    gradients = []
    for corner in (2.0, 2.0001):
        x = np.array([[2.0, 4.0], [-4.0, corner]])
        U, S, Vh = framework.call("svd", (x,))
        ones, f = np.ones_like(x), S + 0.1
        cts = (ones @ Vh.T * f, np.diagonal(U.T @ ones @ Vh.T), f[:, None] * (U.T @ ones))
        gradients.append(framework.vjp("svd", (x,), cts, rule="inv")[1][0])
    at_tie, near_tie = gradients
    hold("svd inv, tie against near tie", relative_error(at_tie, near_tie), 1e-2)


def pair_with_gap(gap, is_complex=False):
    rng = np.random.default_rng(6)
    U, V = haar(rng, (), 5, 5, is_complex), haar(rng, (), 5, 5, is_complex)
    return SVDFactors(U, np.array([2.0, 1.0, 1.0 - gap, 0.5, 0.25]), adjoint(V))


@pytest.mark.parametrize("is_complex", [False, True])
def test_inv_and_pinv_at_a_tie_are_the_solutions_they_are_said_to_be(is_complex):
    xp, *_ = namespace("numpy")
    factors = pair_with_gap(0.0, is_complex)
    U, _, Vh = factors
    V = adjoint(Vh)
    dA = normal(np.random.default_rng(7), (5, 5), is_complex)
    dP = adjoint(U) @ dA @ V
    tie, sigma = (1, 2), 1.0

    dU, _, dVh = SVD(rules.Inv()).jvp(xp, factors, dA)
    assert (adjoint(U) @ dU)[tie] == pytest.approx(dP[tie] / sigma)
    assert (adjoint(V) @ adjoint(dVh))[tie] == pytest.approx(0, abs=1e-14)

    dU, _, dVh = SVD(rules.Pinv()).jvp(xp, factors, dA)
    expected = (dP - adjoint(dP))[tie] / (4 * sigma)
    assert (adjoint(U) @ dU)[tie] == pytest.approx(expected)
    assert (adjoint(V) @ adjoint(dVh))[tie] == pytest.approx(-expected)
    # the minimum-norm solution of eq. (22), by an independent pseudoinverse
    system = sigma * np.array([[1, -1], [-1, 1]])
    solution = np.linalg.pinv(system) @ np.array([dP[tie], np.conj(dP[tie[::-1]])])
    assert solution[0] == pytest.approx(expected)


def test_tf_leaves_nothing_at_a_tie_and_clip_leaves_its_limit():
    xp, *_ = namespace("numpy")
    factors = pair_with_gap(0.0)
    X = np.zeros((5, 5))
    X[1, 2] = 1.0
    core = {
        rule: factors.U.T
        @ SVD(get_rule(rule)).vjp(xp, factors, (factors.U @ X, None, None))
        @ factors.Vh.T
        for rule in ("tf", "clip")
    }
    np.testing.assert_allclose(core["tf"], 0, atol=1e-14)
    # F = limit, so the term is F (X - X^T) S with S = 1
    assert abs(core["clip"][1, 2]) == pytest.approx(1e16, rel=1e-10)


def test_taylor_is_the_polynomial_it_is_said_to_be():
    xp, *_ = namespace("numpy")
    factors = pair_with_gap(0.1)
    q = 0.9**2
    F = sum(q**power for power in range(10))  # 1/(1 - 0.81), cut after the ninth power
    X = np.zeros((5, 5))
    X[1, 2] = 1.0
    ct = SVD(rules.Taylor(terms=9)).vjp(xp, factors, (factors.U @ X, None, None))
    core = factors.U.T @ ct @ factors.Vh.T
    # F_ij (X - X^T)_ij S_j with F_12 = 1/(S_2^2 - S_1^2) < 0
    assert core[1, 2] == pytest.approx(-F * 0.9, rel=1e-12)
    assert core[2, 1] == pytest.approx(-F * 1.0, rel=1e-12)


def test_lorentzian_is_the_broadened_reciprocal():
    xp, *_ = namespace("numpy")
    gap, width = 1e-3, 1e-3
    factors = pair_with_gap(gap)
    X = np.zeros((5, 5))
    X[1, 2] = 1.0
    ct = SVD(rules.Lorentzian(broadening=width)).vjp(xp, factors, (factors.U @ X, None, None))
    core = factors.U.T @ ct @ factors.Vh.T
    broadened = -gap / (gap**2 + (2 * width) ** 2)  # the largest value is 2
    assert core[1, 2] == pytest.approx((broadened + 1 / (2 - gap)) / 2, rel=1e-10)


def test_literal_criterion_of_the_paper_ties_bit_equal_values_only():
    xp, *_ = namespace("numpy")
    literal = SVD(rules.Inv(degeneracy_rtol=0, limit=1e30))
    rng = np.random.default_rng(8)
    for gap, other in ((0.0, rules.Inv()), (1e-14, rules.Plain())):
        factors = pair_with_gap(gap)
        cts = (rng.standard_normal((5, 5)), None, rng.standard_normal((5, 5)))
        np.testing.assert_allclose(
            literal.vjp(xp, factors, cts), SVD(other).vjp(xp, factors, cts), rtol=1e-12
        )


def test_tolerances_are_relative():
    xp, *_ = namespace("numpy")
    rng = np.random.default_rng(9)
    cts = (rng.standard_normal((5, 5)), None, rng.standard_normal((5, 5)))
    for rule in (rules.Inv(), rules.Pinv(), rules.Tf(), rules.Taylor(), rules.Lorentzian()):
        U, S, Vh = pair_with_gap(1e-13)
        reference = SVD(rule).vjp(xp, SVDFactors(U, S, Vh), cts)
        for scale in (2.0**-500, 2.0**500):
            scaled = SVD(rule).vjp(xp, SVDFactors(U, S * scale, Vh), cts)
            np.testing.assert_allclose(scaled * scale, reference, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("rule", ["inv", "pinv", "plain", "tf", "clip", "lorentzian"])
@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("size", SIZES[:3], ids=str)
def test_derivative_of_a_gauge_invariant_function_matches_central_differences(
    size, is_complex, rule
):
    (cell,) = cells(sizes=[size], spectra=["distinct"], scales=[1.0], fields=[is_complex])
    x = draw(cell, 1)[0][0]
    rng = np.random.default_rng(10)
    W, dx = normal(rng, x.shape, is_complex), normal(rng, x.shape, is_complex)

    def value(x):
        U, S, Vh = np.linalg.svd(x, full_matrices=False)
        return np.vdot(W, (U * np.tanh(S)) @ Vh).real

    U, S, Vh = map(np.asarray, driver("numpy").module.svd(x))
    _, (g,) = driver("numpy").vjp("svd", (x,), cotangents_of_tanh(U, S, Vh, W), rule=rule)
    h = 1e-5
    difference = (value(x + h * dx) - value(x - h * dx)) / (2 * h)
    assert np.vdot(g, dx).real == pytest.approx(difference, rel=1e-7)


@pytest.mark.parametrize("rule", rule_names())
@pytest.mark.parametrize("size", SIZES[:3], ids=str)
def test_an_absent_cotangent_is_a_zero_one(size, rule):
    xp, *_ = namespace("numpy")
    family = cells(sizes=[size], spectra=["distinct"], scales=[1.0], fields=[True])
    U, S, Vh, *cts = factors_and_cotangents(family, 2, "float64")
    factors, decomposition = SVDFactors(U, S, Vh), SVD(get_rule(rule))
    for present in range(8):
        some = tuple(ct if present >> i & 1 else None for i, ct in enumerate(cts))
        zeros = tuple(np.zeros_like(c) if s is None else s for c, s in zip(cts, some, strict=True))
        got, expected = decomposition.vjp(xp, factors, some), decomposition.vjp(xp, factors, zeros)
        if present == 0:
            assert got is None
        else:
            np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


def test_fit_is_finite_on_the_whole_family(framework):
    """The test of adjointness shows the same for linear rules."""
    for size, is_complex in product(SIZES[1:3], (False, True)):
        x, _ = stack(cells(sizes=[size], scales=[1.0], fields=[is_complex]), 2)
        rng = np.random.default_rng(11)
        out = framework.call("svd", (x,))
        cts = tuple(normal(rng, o.shape, np.iscomplexobj(o)) for o in out)
        _, (g,) = framework.vjp("svd", (x,), cts, rule="fit")
        assert np.isfinite(g).all(), (size, is_complex)


def test_plain_is_not_finite_at_a_tie():
    xp, *_ = namespace("numpy")
    ct = np.random.default_rng(12).standard_normal((5, 5))
    with np.errstate(divide="ignore", invalid="ignore"):
        g = SVD(rules.Plain()).vjp(xp, pair_with_gap(0.0), (ct, None, None))
    assert not np.isfinite(g).all()


def test_every_rule_is_reached_by_its_name():
    for name in rule_names():
        assert get_rule(name).name == name
        assert isinstance(get_rule(name), rules.Rule)


@pytest.mark.parametrize("rule", rule_names())
def test_every_rule_is_named_where_its_users_look(rule):
    root = Path(__file__).parents[2]
    name = type(get_rule(rule)).__name__
    assert name in svdinv_core.__all__  # compiled programs look it up there
    assert name in svdinv.rules.__all__
    assert rule in methods.RULES
    assert f'"{rule}"' in svdinv.svd.__doc__
    assert f"`{rule}`" in (root / "README.md").read_text()
