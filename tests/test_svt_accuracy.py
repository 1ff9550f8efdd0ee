"""`svt` against the exact gradient, over every cell of the family."""

from __future__ import annotations

import numpy as np
import pytest
from support.drivers import FRAMEWORKS, driver
from support.errors import norm, relative_error
from support.family import SIZES, SPECTRA, cells, draw, normal
from svdinv_conformance.reference import decompose, exact_gradient

BOUND = {"float64": 1e-12, "float32": 1e-5}
DTYPES = {
    ("float64", False): "float64",
    ("float64", True): "complex128",
    ("float32", False): "float32",
    ("float32", True): "complex64",
}


def tau_error(got, exact, ct, singular_values, tau):
    """Error of the threshold's gradient against the size its terms can add up to.

    It is a sum ``-<U_kept V_kept^H, ct>``, which may cancel; its natural scale is the norm of
    the first factor times that of the second.
    """
    kept = np.sum(singular_values > tau[..., None], axis=-1)
    scale = np.sqrt(kept) * norm(ct)
    return np.where(kept == 0, np.abs(got), np.abs(got - exact) / np.where(kept == 0, 1, scale))


def worst_over(cell, precision, count):
    """Worst error of each framework, and worst difference of two, over `count` matrices."""
    dtype = DTYPES[precision, cell.complex]
    A, tau = draw(cell, count)
    A = A.astype(dtype)
    tau = tau.astype(precision)
    W = normal(np.random.default_rng(1), A.shape, cell.complex).astype(dtype)
    factors = decompose(A)
    exact = exact_gradient("soft", factors, W, tau)
    against_exact, results = {}, {}
    for name in FRAMEWORKS:
        _, (g, g_tau) = driver(name).vjp("svt", (A, tau), (W,))
        assert g.dtype == A.dtype
        assert g.shape == A.shape
        assert g_tau.dtype == tau.dtype
        assert g_tau.shape == tau.shape
        against_exact[name] = max(
            relative_error(g, exact.x).max(),
            tau_error(g_tau, exact.tau, W, factors.S, tau).max(),
        )
        results[name] = g, g_tau
    between = max(
        max(
            relative_error(results[a][0], results[b][0]).max(),
            tau_error(results[a][1], results[b][1], W, factors.S, tau).max(),
        )
        for a in FRAMEWORKS
        for b in FRAMEWORKS
        if a < b
    )
    return against_exact, between


def check(hold, cell, precision, count):
    against_exact, between = worst_over(cell, precision, count)
    for name, error in against_exact.items():
        hold(f"svt against the exact gradient, {precision}, {name}", error, BOUND[precision], cell)
    hold(f"svt between two frameworks, {precision}", between, BOUND[precision], cell)


@pytest.mark.sample
@pytest.mark.parametrize("precision", BOUND)
@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_svt_is_exact_everywhere(hold, size, spectrum, precision):
    for cell in cells(sizes=[size], spectra=[spectrum], scales=[1.0]):
        check(hold, cell, precision, 5)


@pytest.mark.slow
@pytest.mark.parametrize("precision", BOUND)
@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_svt_is_exact_over_the_whole_family(hold, size, spectrum, precision):
    for cell in cells(sizes=[size], spectra=[spectrum]):
        check(hold, cell, precision, 200)


def test_relative_error_sees_a_wrong_or_missing_value():
    exact = np.eye(3)
    wrong = exact + 1e-3 * np.eye(3)
    assert relative_error(exact, exact) == 0
    assert relative_error(wrong, exact) == pytest.approx(1e-3)
    assert relative_error(np.full((3, 3), np.nan), exact) == np.inf
    assert relative_error(exact, np.zeros((3, 3))) == np.inf
    assert relative_error(np.zeros((3, 3)), np.zeros((3, 3))) == 0
