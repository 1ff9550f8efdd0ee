"""The rule "fit": exact at ties for one spectral function, and accurate near them."""

from __future__ import annotations

import numpy as np
import pytest
from support.arrays import adjoint, single
from support.drivers import FRAMEWORKS, driver
from support.errors import norm, relative_error
from support.family import SIZES, Cell, cells, draw, haar, normal, stack
from support.namespaces import NAMESPACES, evaluate
from svdinv import rules
from svdinv_conformance.reference import decompose, spectral_gradient

from svdinv_core import SVD, SVDFactors

THRESHOLD = 0.35


def kept(s):
    return (s > THRESHOLD).astype(s.dtype)


# f and its derivative
FUNCTIONS = {
    "soft": (lambda s: kept(s) * (s - s.dtype.type(THRESHOLD)), kept),
    "cube": (lambda s: s**3, lambda s: 3 * s**2),
    "inverse": (lambda s: 1 / s, lambda s: -1 / s**2),
    "tanh": (np.tanh, lambda s: 1 - np.tanh(s) ** 2),
}
GAPS = (0.0, *(float(g) for g in np.logspace(-8, -1, 29)))


def cotangents(f, slope, U, S, Vh, W):
    """Cotangents for the loss ``Re <W, U diag(f(S)) Vh>``, in the dtype of the factors."""
    W_V = W @ adjoint(Vh)
    ct_S = slope(S) * np.real(np.sum(np.conj(U) * W_V, axis=-2))
    return W_V * f(S)[..., None, :], ct_S, f(S)[..., :, None] * (adjoint(U) @ W)


def gradient(framework, A, W, f, slope, extra=0.0, rule="fit"):
    """The gradient through svd; `extra` is the weight of a nuclear norm added to the loss."""
    factors = framework.call("svd", (A,))
    ct_U, ct_S, ct_Vh = cotangents(f, slope, *factors, W)
    return framework.vjp("svd", (A,), (ct_U, ct_S + ct_S.dtype.type(extra), ct_Vh), rule=rule)[1][0]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("is_complex", [False, True])
def test_one_spectral_function_at_every_gap(hold, request, size, is_complex):
    """Median and 95th percentile over the draws at each gap, in single precision."""
    whole = request.config.getoption("--whole-family")
    spectra = [f"pair {gap:g}" for gap in (GAPS if whole else GAPS[::4])]
    gaps = cells(sizes=[size], spectra=spectra, scales=[1.0], fields=[is_complex])
    A, _ = stack(gaps, 200 if whole else 100 if len(size) == 2 else 10)
    A, W = single(A), single(normal(np.random.default_rng(1), A.shape, is_complex))
    factors = decompose(A)
    for name, (f, slope) in FUNCTIONS.items():
        exact = spectral_gradient(f, slope, factors, W)
        # soft has no derivative at the threshold
        exists = (np.abs(factors.S - THRESHOLD) > 1e-3).all(axis=-1) | (name != "soft")
        for framework in FRAMEWORKS:
            got = gradient(driver(framework), A, W, f, slope)
            for cell, errors, there in zip(gaps, relative_error(got, exact), exists, strict=True):
                error = errors[there]
                hold(f"svd fit, {name}, float32, median", np.median(error), 1e-4, cell)
                hold(f"svd fit, {name}, float32, 95 %", np.percentile(error, 95), 2e-3, cell)


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("spectrum", ["pair 0", "triple", "all equal"])
def test_one_spectral_function_at_a_tie_is_exact(hold, framework, spectrum, is_complex):
    for size in ((5, 5), (6, 4), (4, 6)):
        A, _ = draw(Cell(size, spectrum, 1.0, is_complex), 5)
        W = normal(np.random.default_rng(2), A.shape, is_complex)
        for f, slope in FUNCTIONS.values():
            exact = spectral_gradient(f, slope, decompose(A), W)
            hold(
                "svd fit, at a tie, float64",
                relative_error(gradient(framework, A, W, f, slope), exact).max(),
                1e-12,
                (spectrum, size),
            )


def test_a_nuclear_norm_beside_it_is_told_apart(framework):
    A, _ = draw(Cell((6, 4), "triple", 1.0, False), 200)
    W = normal(np.random.default_rng(3), A.shape, False)
    f, slope = FUNCTIONS["tanh"]
    U, _, Vh = np.linalg.svd(A, full_matrices=False)
    exact = spectral_gradient(f, slope, decompose(A), W) + U @ Vh
    error = {
        rule: np.median(relative_error(gradient(framework, A, W, f, slope, 1.0, rule), exact))
        for rule in ("fit", "inv")
    }
    assert error["fit"] < 2e-3
    assert error["fit"] < 0.1 * error["inv"]


@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_cotangents_of_any_size(framework, scale):
    x = 2 * np.eye(3)
    W = normal(np.random.default_rng(4), x.shape, False)
    f, slope = FUNCTIONS["tanh"]
    exact = spectral_gradient(f, slope, decompose(x), W)
    got = gradient(framework, x, scale * W, f, slope) / scale
    np.testing.assert_allclose(got, exact.astype(float), atol=1e-13)


@pytest.mark.parametrize("x", [np.zeros((4, 3)), np.diag([1.0, 1.0, 0.0, 0.0])], ids=str)
def test_zero_values_get_no_term(framework, x):
    cts = [normal(np.random.default_rng(5), np.shape(y), False) for y in np.linalg.svd(x, False)]
    (fit,) = framework.vjp("svd", (x,), cts, rule="fit")[1]
    assert np.isfinite(fit).all()
    if not x.any():
        np.testing.assert_array_equal(fit, framework.vjp("svd", (x,), cts, rule="pinv")[1][0])


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("values", [[0.5, 1.0, 1.0, 2.0], [1.0] * 4, [-1.0, 0.5, 0.5, 0.5]])
def test_eigh_at_a_tie_is_exact(framework, values, is_complex):
    """The gradient of ``Re <W, Q exp(w) Q^H>`` agrees with that of `eigenvalue_map`."""
    rng = np.random.default_rng(6)
    Q = haar(rng, (), 4, 4, is_complex)
    x = (Q * np.array(values)) @ adjoint(Q)
    W = normal(rng, x.shape, is_complex)
    numpy = driver("numpy").module
    (exact,) = numpy.vjp(numpy.eigenvalue_map, x, np.exp)[1](W)
    w, Q = framework.call("eigh", (x,))
    ct_Q = ((W + adjoint(W)) @ Q) * np.exp(w)
    ct_w = np.exp(w) * np.real(np.sum(np.conj(Q) * (W @ Q), axis=-2))
    (got,) = framework.vjp("eigh", (x,), (ct_w, ct_Q), rule="fit")[1]
    assert norm(got - exact) <= 1e-11 * norm(exact)


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("size", [(8, 8), (6, 4)], ids=str)
@pytest.mark.parametrize("is_complex", [False, True])
def test_the_same_numbers_in_every_namespace(hold, size, is_complex, precision):
    """For the same factors and the cotangents of a spectral function."""
    f, slope = FUNCTIONS["tanh"]
    spectra = ["pair 0", "pair 1e-08", "triple", "all equal", "distinct"]
    family = cells(sizes=[size], spectra=spectra, fields=[is_complex])
    A, _ = stack(family, 5)
    factors = np.linalg.svd(A, full_matrices=False)
    W = normal(np.random.default_rng(7), A.shape, is_complex)
    arrays = (*factors, *cotangents(f, slope, *factors, W))
    U, S, Vh, *cts = map(single, arrays) if precision == "float32" else arrays
    reference, *others = (
        evaluate(name, SVD(rules.Fit()), "vjp", SVDFactors(U, S, Vh), tuple(cts))
        for name in NAMESPACES
    )
    for other in others:
        error = 2 * relative_error(other, reference).max()  # any two differ by twice
        hold(
            f"svd fit, same factors, {precision}",
            error,
            {"float64": 1e-12, "float32": 1e-5}[precision],
        )
