"""The exact gradient against 50-digit arithmetic, and its parts against their definitions."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest
from svdinv_conformance import reference
from svdinv_conformance.reference import decompose, exact_gradient, extended_precision, jacobi_svd

STEP = mpmath.mpf(10) ** -16
# Rounding of a short computation in longdouble; a central difference at 50 digits adds 1e-32.
TOLERANCE = 200 * float(np.finfo(np.longdouble).eps)


def _factor(rng: np.random.Generator, m: int, k: int, is_complex: bool) -> np.ndarray:
    g = rng.standard_normal((m, k)) + (1j * rng.standard_normal((m, k)) if is_complex else 0)
    return np.linalg.qr(g)[0]


def matrix(m: int, n: int, values: list[float], is_complex: bool) -> np.ndarray:
    rng = np.random.default_rng(3)
    k = min(m, n)
    u, v = _factor(rng, m, k, is_complex), _factor(rng, n, k, is_complex)
    return (u * np.array(values)) @ np.conj(v.T)


EXACT_TIE = np.kron(np.eye(2), np.array([[2.0, 1.0], [0.5, -1.0]]))
"""Two equal blocks: every value exactly twice, also after rounding."""

MATRICES = {
    "distinct": lambda c: matrix(3, 3, [3.0, 2.0, 1.0], c),
    "rounded tie": lambda c: matrix(3, 3, [2.0, 2.0, 1.0], c),
    "exact tie": lambda c: EXACT_TIE * (1j if c else 1),
    "identity": lambda c: np.eye(3) * (1j if c else 1),
    "tall with a tie": lambda c: matrix(4, 2, [2.0, 2.0], c),
    "wide with a tie": lambda c: matrix(2, 4, [2.0, 2.0], c),
    "tall": lambda c: matrix(4, 2, [2.0, 0.25], c),
    "exact zeros": lambda c: np.diag([2.0, 1.5, 0.0, 0.0]) * (1j if c else 1),
    "tall with zeros": lambda c: (
        np.concatenate([np.diag([2.0, 0.0]), np.zeros((2, 2))]) * (1j if c else 1)
    ),
    "tiny": lambda c: 1e-12 * matrix(3, 3, [2.0, 2.0, 1.0], c),
}


def to_mp(x: np.ndarray) -> mpmath.matrix:
    rows = [[mpmath.mpc(complex(v)) for v in row] for row in x]
    return mpmath.matrix(rows)


def mp_loss(loss: str, a: mpmath.matrix, w: mpmath.matrix, tau: mpmath.mpf) -> mpmath.mpf:
    if a.rows < a.cols:
        a, w = a.H, w.H
    u, s, vh = mpmath.svd_c(a, full_matrices=False)
    if loss == "nuclear":
        return mpmath.fsum(s)
    if loss == "soft":
        f = [max(v - tau, mpmath.mpf(0)) for v in s]
    elif loss == "hard":
        f = [v if v > tau else mpmath.mpf(0) for v in s]
    else:
        f = list(s)
    b = u * mpmath.diag(f) * vh
    return mpmath.re(mpmath.fsum(mpmath.conj(x) * y for x, y in zip(w, b, strict=True)))


def to_longdouble(v: mpmath.mpf) -> np.longdouble:
    return np.longdouble(mpmath.nstr(v, 30))


def mp_gradient(loss: str, x: np.ndarray, w: np.ndarray, tau: float) -> np.ndarray:
    """Central differences, in PyTorch's convention: dL/dRe + i dL/dIm."""
    a, mw, mtau = to_mp(x), to_mp(w), mpmath.mpf(tau)
    step = STEP * mpmath.mpf(float(np.max(np.abs(x))))
    grad = np.zeros(x.shape, dtype=np.clongdouble)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            for unit in (mpmath.mpc(1), mpmath.mpc(0, 1)):
                if not np.iscomplexobj(x) and unit != 1:
                    continue
                up, down = a.copy(), a.copy()
                up[i, j] += unit * step
                down[i, j] -= unit * step
                slope = (mp_loss(loss, up, mw, mtau) - mp_loss(loss, down, mw, mtau)) / (2 * step)
                grad[i, j] += to_longdouble(slope) * (1 if unit == 1 else 1j)
    return grad


@pytest.mark.skipif(not extended_precision(), reason="longdouble is no wider than float64 here")
@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize(
    ("loss", "name"),
    [
        (loss, name)
        for loss in ("soft", "hard", "nuclear", "reconstruction")
        for name in MATRICES
        if not (loss == "nuclear" and "zeros" in name)  # has no gradient at a zero value
    ],
)
def test_against_fifty_digits(loss: str, name: str, is_complex: bool) -> None:
    x = MATRICES[name](is_complex)
    rng = np.random.default_rng(5)
    w = rng.standard_normal(x.shape)
    if is_complex:
        w = w + 1j * rng.standard_normal(x.shape)
    tau = 0.3 * float(np.linalg.norm(x, 2))
    with mpmath.workdps(50):
        expected = mp_gradient(loss, x, w, tau)
    got = exact_gradient(loss, decompose(x), w, tau).x
    error = np.linalg.norm((got - expected).astype(np.clongdouble).view(np.longdouble))
    assert error <= TOLERANCE * np.sqrt(np.sum(np.abs(w) ** 2)), error


@pytest.mark.skipif(not extended_precision(), reason="longdouble is no wider than float64 here")
@pytest.mark.parametrize("name", ["exact tie", "tall", "exact zeros", "wide with a tie"])
def test_threshold_against_fifty_digits(name: str) -> None:
    x = MATRICES[name](True)
    rng = np.random.default_rng(5)
    w = rng.standard_normal(x.shape) + 1j * rng.standard_normal(x.shape)
    tau = 0.3
    with mpmath.workdps(50):
        a, mw, mtau = to_mp(x), to_mp(w), mpmath.mpf(tau)
        up, down = mp_loss("soft", a, mw, mtau + STEP), mp_loss("soft", a, mw, mtau - STEP)
        expected = to_longdouble((up - down) / (2 * STEP))
    got = exact_gradient("soft", decompose(x), w, tau).tau
    assert got is not None
    assert abs(got - expected) <= TOLERANCE * abs(expected)


@pytest.mark.parametrize("is_complex", [False, True], ids=["real", "complex"])
@pytest.mark.parametrize(
    "shape", [(1, 1), (5, 1), (4, 4), (9, 6), (2, 3, 8, 8), (33, 32), (0, 3, 2)]
)
def test_jacobi_is_a_decomposition(shape: tuple[int, ...], is_complex: bool) -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal(shape) + (1j * rng.standard_normal(shape) if is_complex else 0)
    u, s, vh = jacobi_svd(a)
    eps = float(np.finfo(np.longdouble).eps)
    limit = 4 * max(shape[-2:]) * eps
    one = np.eye(shape[-1])
    assert u.dtype == (np.clongdouble if is_complex else np.longdouble)
    assert np.max(np.abs((u * s[..., None, :]) @ vh - a), initial=0) <= limit * np.max(s, initial=0)
    assert np.max(np.abs(np.conj(np.swapaxes(u, -1, -2)) @ u - one), initial=0) <= limit
    assert np.max(np.abs(vh @ np.conj(np.swapaxes(vh, -1, -2)) - one), initial=0) <= limit
    assert np.all(np.diff(s, axis=-1) <= 0)
    assert np.allclose(s.astype(float), np.linalg.svd(a, compute_uv=False), rtol=1e-12)


def test_jacobi_finds_small_values_to_full_relative_accuracy() -> None:
    scale = np.array([1.0, 1e-6, 1e-12, 1e-17])
    rng = np.random.default_rng(1)
    q = np.linalg.qr(rng.standard_normal((6, 4)))[0]
    q = q.astype(np.longdouble)
    q = q @ (3 * np.eye(4) - q.T @ q) / 2
    _, s, _ = jacobi_svd(q * scale)
    assert np.max(np.abs(s / scale - 1)) < 1e-17 or not extended_precision()


def test_zero_matrices_and_ranges() -> None:
    a = np.zeros((4, 3, 3))
    a[1] = np.eye(3)
    a[2, 0, 0] = 1e-300
    a[3] = 1e300 * np.eye(3)
    u, s, _ = jacobi_svd(a)
    assert np.array_equal(s[0], np.zeros(3))
    assert np.array_equal(u[0], np.zeros((3, 3)))
    assert np.array_equal(s[1], np.ones(3))
    assert s[2, 0] == np.longdouble(1e-300)
    assert np.array_equal(s[3], np.full(3, np.longdouble(1e300)))


def test_large_matrices_fall_back(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).standard_normal((5, 12, 9))
    w = np.random.default_rng(1).standard_normal(x.shape)
    fine = decompose(x)
    monkeypatch.setattr(reference, "EXTENDED_LIMIT", 4)
    coarse = decompose(x)
    assert fine.extended
    assert not coarse.extended
    a, b = (exact_gradient("soft", f, w, 1.0).x for f in (fine, coarse))
    assert np.max(np.abs(a - b)) < 1e-12


def test_threshold_of_zero_is_the_identity() -> None:
    x = np.zeros((3, 4))
    w = np.random.default_rng(0).standard_normal((3, 4))
    for loss in ("soft", "hard"):
        assert np.array_equal(exact_gradient(loss, decompose(x), w, 0.0).x, w)


@pytest.mark.parametrize(
    ("loss", "weights", "tau", "message"),
    [
        ("cubic", np.eye(2), 0.1, "unknown loss"),
        ("soft", None, 0.1, "needs weights"),
        ("soft", np.eye(2), -0.1, "not be negative"),
    ],
)
def test_misuse(loss: str, weights: Any, tau: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        exact_gradient(loss, decompose(np.eye(2)), weights, tau)


def test_jacobi_refuses_wide() -> None:
    with pytest.raises(ValueError, match="as many rows"):
        jacobi_svd(np.ones((2, 3)))
