"""`svt` against the exact gradient in every framework, over the whole family, ties included."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from support.drivers import FRAMEWORKS, driver
from support.errors import norm, relative_error
from support.family import SOME_SIZES, SPECTRA, cells, normal, stack
from svdinv_conformance.reference import decompose, exact_gradient

BOUND = {"float64": 1e-12, "float32": 1e-5}
DTYPES = {
    ("float64", False): "float64",
    ("float64", True): "complex128",
    ("float32", False): "float32",
    ("float32", True): "complex64",
}


def tau_error(got, exact, ct, singular_values, tau):
    """Error of the threshold's gradient, relative to the largest size that it can have.

    The gradient is a sum ``-<U_kept V_kept^H, ct>``, which may cancel; its natural scale is the
    norm of the first factor times that of the second.
    """
    kept = np.sum(singular_values > tau[..., None], axis=-1)
    scale = np.sqrt(kept) * norm(ct)
    return np.where(kept == 0, np.abs(got), np.abs(got - exact) / np.where(kept == 0, 1, scale))


def check(hold, family, precision, count, which):
    """Compare each framework with the exact gradient, and any two with each other."""
    A, tau = stack(family, count)
    dtype = DTYPES[precision, np.iscomplexobj(A)]
    A, tau = A.astype(dtype), tau.astype(precision)
    W = normal(np.random.default_rng(1), A.shape, np.iscomplexobj(A)).astype(dtype)
    factors = decompose(A)
    found = exact_gradient("soft", factors, W, tau)
    exact = (found.x, found.tau)

    def hold_all(what, got, expected):
        errors = np.maximum(
            relative_error(got[0], expected[0]), tau_error(got[1], expected[1], W, factors.S, tau)
        ).reshape(len(family), -1)
        worst = errors.max(axis=1).argmax()
        hold(f"svt {what}", errors[worst].max(), BOUND[precision], family[worst])

    results = {}
    for name in FRAMEWORKS:
        _, (g, g_tau) = results[name] = driver(name).vjp("svt", (A, tau), (W,), driver=which)
        assert g.dtype == A.dtype
        assert g.shape == A.shape
        assert g_tau.dtype == tau.dtype
        assert g_tau.shape == tau.shape
        hold_all(f"against the exact gradient, {precision}, {name}", (g, g_tau), exact)
    for a, b in combinations(FRAMEWORKS, 2):
        hold_all(f"between two frameworks, {precision}", results[a][1], results[b][1])


@pytest.mark.parametrize("precision", BOUND)
@pytest.mark.parametrize("size", SOME_SIZES, ids=str)
@pytest.mark.parametrize("is_complex", [False, True])
def test_svt_is_exact_over_the_whole_family(hold, count, is_complex, size, precision):
    check(hold, cells(sizes=[size], fields=[is_complex]), precision, count, "svd")
    for spectrum in SPECTRA:  # separately, because `auto` decides once for a whole batch
        family = cells(sizes=[size], spectra=[spectrum], fields=[is_complex])
        check(hold, family, precision, count, "auto")


def test_relative_error_sees_a_wrong_or_missing_value():
    exact = np.eye(3)
    wrong = exact + 1e-3 * np.eye(3)
    assert relative_error(exact, exact) == 0
    assert relative_error(wrong, exact) == pytest.approx(1e-3)
    assert relative_error(np.full((3, 3), np.nan), exact) == np.inf
    assert relative_error(exact, np.zeros((3, 3))) == np.inf
    assert relative_error(np.zeros((3, 3)), np.zeros((3, 3))) == 0
