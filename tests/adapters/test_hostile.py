"""A short hostile run; `make hostile` is the long one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import svdinv
from support import hostile
from support.drivers import driver
from svdinv.numpy import spectral_function, truncated_svd, vjp


@pytest.mark.parametrize("framework", ["numpy", "torch"])
def test_hostile_matrices(framework):
    tallies = hostile.run(1800, 300, [framework], seed=1)
    faults = [fault for tally in tallies.values() for fault in tally.faults]
    assert faults == []
    assert min(tally.asked for tally in tallies.values()) >= 600
    assert min(tally.compared for tally in tallies.values()) > 250


def test_every_function_is_asked():
    asked = {question.function for question in hostile.QUESTIONS.values()}
    results = {name for name in svdinv.__all__ if name[0].isupper()}
    helpers = {"gauge_residual", "rule_residual", "rules", "vjp", "jvp", "hvp"}
    assert asked == set(svdinv.__all__) - results - helpers


def test_hostile_matrices_in_jax():
    tallies = hostile.run(600, 100, ["jax"], names=["svt"], seed=2)
    (tally,) = tallies.values()
    assert tally.faults == []
    assert tally.compared > 500


def test_a_wrong_derivative_is_found(monkeypatch):
    """The examination can fail: soft thresholding with twice its threshold in the formula."""
    monkeypatch.setattr(hostile, "TAU", 0.3)
    rng = np.random.default_rng(0)
    batch = hostile.draw(rng, 50, (4, 4), False, np.float64)
    tally = hostile.Tally()
    question = replace(hostile.QUESTIONS["svt"], exact=lambda b, G: 1.001 * G)
    monkeypatch.setitem(hostile.QUESTIONS, "svt", question)
    with np.errstate(all="ignore"):
        hostile.examine("svt", "numpy", batch, tally)
    assert any("gradient is off" in fault for fault in tally.faults)


def test_values_alone_of_a_subnormal_matrix():
    """A cotangent of 0 meets the reciprocal of a subnormal gap, which overflows."""
    x = np.diag([1, 0.8, 0.1]).astype(np.float32) * np.float32(1e-38)
    out, pullback = vjp(truncated_svd, x, 2)
    cts = tuple(np.ones_like(out.S) if name == "S" else None for name in out._fields)
    np.testing.assert_allclose(pullback(cts)[0], np.diag([1, 1, 0]), atol=1e-6)


def test_a_function_of_values_far_apart_of_a_tiny_matrix():
    """The complex steps are not proportional to the values, and fn mixes the values."""
    scale = 1e-270
    x = np.diag([1, 0.5, 1e-22]) * scale
    _, pullback = vjp(spectral_function, x, lambda s: (s * (s / scale)).sum(axis=-1))
    np.testing.assert_allclose(pullback(1.0)[0], np.diag([2, 1, 2e-22]), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("framework", ["numpy", "torch"])
def test_root_of_many_singular_matrices(framework):
    """Rotations give eigenvalues of 0 with an error of up to 3 n eps, of either sign."""
    run = driver(framework)
    y = np.random.default_rng(0).standard_normal((1500, 8, 4)).astype(np.float32)
    x = y @ y.swapaxes(-1, -2)
    (root,), (ct,) = run.vjp("sqrtm", (x,), (np.ones_like(x),))
    size = np.abs(x).max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(root @ root / size, x / size, atol=1e-5)
    wide = y.astype(np.float64)
    wide = wide @ wide.swapaxes(-1, -2)
    exact = run.vjp("sqrtm", (wide,), (np.ones(x.shape),), driver="eigh")[1][0]
    # What of it reaches y: that between two eigenvalues of 0 does not.
    error = np.linalg.norm((ct - exact) @ y, axis=(1, 2)) / np.linalg.norm(exact @ y, axis=(1, 2))
    assert error.max() < 1e-3
