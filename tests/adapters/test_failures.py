"""If a decomposition fails for one matrix of a batch, that matrix is decomposed in another way."""

from __future__ import annotations

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow as tf
import torch
from support.drivers import driver
from svdinv._explicit import ExplicitBackend
from svdinv._failures import apart
from svdinv.torch import _TorchBackend

from svdinv_core import Jacobi

# The function of each framework that decomposes, and how it fails: with an exception or with NaN.
RAISES = {
    "numpy": (np.linalg, np.linalg.LinAlgError),
    "autograd": (np.linalg, np.linalg.LinAlgError),
    "torch": (torch.linalg, torch.linalg.LinAlgError),
}
FRAMEWORKS = ("numpy", "autograd", "torch", "jax", "tensorflow")
MARK = 977.0


def marked(x):
    """Matrices with this entry, of which R has none."""
    return np.asarray(x)[..., 0, 0] == MARK


def sized(x):
    """Matrices with this Frobenius norm, which R has too."""
    return np.abs(np.linalg.norm(np.asarray(x), axis=(-2, -1)) - MARK) < 1e-3


def spoil(monkeypatch, framework, function, fails):
    """Let a framework's `svd` or `eigh` fail at some matrices."""
    if framework == "jax":
        real = getattr(jnp.linalg, function)

        def gives_nan(x, **kwargs):
            assert fails is not sized
            bad = (jnp.abs(x[..., 0, 0]) == MARK)[..., None]
            first, *rest = real(x, **kwargs)
            return [
                jnp.where(bad if y.ndim < x.ndim else bad[..., None], jnp.nan, y)
                for y in (first, *rest)
            ]

        return monkeypatch.setattr(jnp.linalg, function, gives_nan)
    if framework == "tensorflow":
        real = getattr(tf.linalg, function)

        def gives_nan(x, **kwargs):
            bad = np.asarray(fails(x))[..., None]
            if function == "eigh" and bad.any():
                raise tf.errors.InvalidArgumentError(None, None, "not successful")
            out = real(x, **kwargs)
            return [
                tf.where(
                    bad if len(y.shape) < len(x.shape) else bad[..., None],
                    tf.constant(np.nan, y.dtype),
                    y,
                )
                for y in out
            ]

        return monkeypatch.setattr(tf.linalg, function, gives_nan)
    module, error = RAISES[framework]
    real = getattr(module, function)

    def raises(x, **kwargs):
        if fails(x).any():
            raise error("did not converge")
        return real(x, **kwargs)

    return monkeypatch.setattr(module, function, raises)


def batch(shape=(5, 13, 11)):
    """Matrices of which the third will fail."""
    x = np.random.default_rng(0).standard_normal(shape)
    x[2] *= 100.0
    return x


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_an_svd_that_fails_is_taken_from_another_driver(framework, precision, monkeypatch):
    """The failed matrix is decomposed by its R; the other matrices are the same as without it."""
    x = batch()
    x[2, 0, 0] = MARK
    x = x.astype(precision)
    f = driver(framework)
    others = [0, 1, 3, 4]
    expected = [np.asarray(f.numpy(y)) for y in f.module.svd(f.array(x[others]), driver="svd")]
    bound = {"float64": 1e-13, "float32": 1e-5}[precision]
    spoil(monkeypatch, framework, "svd", marked)
    U, S, Vh = (np.asarray(f.numpy(y)) for y in f.module.svd(f.array(x), driver="svd"))
    assert S.dtype == precision
    for found, wanted in zip((U, S, Vh), expected, strict=True):
        np.testing.assert_allclose(found[others], wanted, atol=bound)
    np.testing.assert_allclose((U * S[:, None, :]) @ Vh / MARK, x / MARK, atol=bound)
    np.testing.assert_allclose(
        np.swapaxes(U, -1, -2) @ U, np.broadcast_to(np.eye(11), (5, 11, 11)), atol=bound
    )


@pytest.mark.parametrize("shape", [(5, 13, 11), (5, 60, 5), (5, 5, 60)], ids=str)
@pytest.mark.parametrize("framework", ["numpy", "torch", "tensorflow"])
def test_rotations_come_last(framework, shape, monkeypatch):
    """If R fails too, because it has the same norm, rotations decompose; gradients are right."""
    x = batch(shape)
    x[2] *= MARK / np.linalg.norm(x[2])
    W = np.random.default_rng(1).standard_normal(x.shape)
    args = (x, np.full(5, 1.0)), (W,)
    f = driver(framework)
    expected = f.vjp("svt", *args, driver="svd")
    spoil(monkeypatch, framework, "svd", sized)
    found = f.vjp("svt", *args, driver="svd")
    (value,), grads = found
    np.testing.assert_allclose(value, expected[0][0], atol=1e-10)
    for got, wanted in zip(grads, expected[1], strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-10)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_an_eigh_that_fails_is_taken_from_rotations(framework, monkeypatch):
    x = batch((5, 13, 13))
    x = x + np.swapaxes(x, -1, -2)
    x[2, 0, 0] = MARK
    f = driver(framework)
    spoil(monkeypatch, framework, "eigh", marked)
    w, Q = (np.asarray(f.numpy(y)) for y in f.module.eigh(f.array(x)))
    np.testing.assert_allclose((Q * w[:, None, :]) @ np.swapaxes(Q, -1, -2), x, atol=1e-10)


@pytest.fixture(params=["numpy", "torch"])
def skewed(request, monkeypatch):
    """A framework whose SVD and `eigh` give one vector that is not orthogonal to the others."""
    f = driver(request.param)
    module = {"numpy": np.linalg, "torch": torch.linalg}[request.param]
    for name in ("svd", "eigh"):
        real = getattr(module, name)

        def fake(x, real=real, **kwargs):
            *others, vectors = real(x, **kwargs)
            vectors[..., 1, :] += 1e-4 * vectors[..., 0, :]
            return (*others, vectors)

        monkeypatch.setattr(module, name, fake)
    return f


def guard(monkeypatch, on):
    for backend in (ExplicitBackend, _TorchBackend):

        def situation(self, x, of=backend.situation):
            return replace(of(self, x), guarded=on)

        monkeypatch.setattr(backend, "situation", situation)


@pytest.mark.parametrize("shape", [(3, 7, 5), (3, 5, 7), (3, 5, 5)])
@pytest.mark.parametrize("on", [True, False])
def test_vectors_that_are_not_orthogonal_are_found_where_they_are_looked_for(
    skewed, shape, on, monkeypatch
):
    """A simulation on a CPU of what GPUs do; the factors are then those of rotations."""
    guard(monkeypatch, on)
    x = np.random.default_rng(0).standard_normal(shape)
    H = np.swapaxes(x, -1, -2) @ x
    U, S, Vh = (np.asarray(y) for y in skewed.module.svd(skewed.array(x)))
    w, Q = (np.asarray(y) for y in skewed.module.eigh(skewed.array(H)))
    by_svd, by_gram = (
        np.asarray(skewed.module.svt(skewed.array(x), 0.5, driver=name)) for name in ("svd", "gram")
    )
    exact = np.asarray(skewed.module.svt(skewed.array(x), 0.5, driver="jacobi"))

    def far(columns):
        product = np.swapaxes(columns, -1, -2) @ columns
        return np.abs(product - np.eye(columns.shape[-1])).max()

    found = max(far(U), far(np.swapaxes(Vh, -1, -2)), far(Q))
    assert (found < 1e-13) == on
    for y in (by_svd, by_gram):
        assert on == (np.abs(y - exact).max() < 1e-12)
    assert on == (np.abs((U * S[:, None]) @ Vh - x).max() < 1e-12)
    assert on == (np.abs((Q * w[:, None]) @ np.swapaxes(Q, -1, -2) - H).max() < 1e-11)


@pytest.mark.parametrize("framework", ["numpy", "torch"])
def test_a_matrix_that_no_driver_can_do_is_nan_and_says_so(framework, monkeypatch):
    x = batch()
    x[2] *= MARK / np.linalg.norm(x[2])
    spoil(monkeypatch, framework, "svd", sized)
    compute = Jacobi.of_tall

    def gives_nan(self, xp, A, **kwargs):
        return tuple(y + float("nan") for y in compute(self, xp, A, **kwargs))

    monkeypatch.setattr(Jacobi, "of_tall", gives_nan)
    f = driver(framework)
    with pytest.warns(RuntimeWarning, match="^x: contains a matrix that no driver can decompose"):
        S = np.asarray(f.module.svdvals(f.array(x), driver="svd"))
    assert np.isnan(S).all(axis=-1).tolist() == [False, False, True, False, False]


def test_a_matrix_with_a_nan_warns_nobody():
    x = batch()
    x[1, 0, 0] = np.nan
    for f in map(driver, FRAMEWORKS):
        assert np.isnan(np.asarray(f.module.svdvals(f.array(x)))).any(axis=-1).sum() == 1


def graded(seed, n=8):
    """A Gram matrix with entries of all sizes down to zero: LAPACK fails at some of these."""
    rng = np.random.default_rng(seed)
    size = 10.0 ** np.add.outer(-22 * rng.random(n), -22 * rng.random(n))
    A = (rng.standard_normal((n, n)) * size).astype("float32")
    A[rng.random((n, n)) < 0.6] = 0
    return A @ A.T


def test_graded_matrices_of_single_precision():
    """`torch.linalg.eigh` fails for the first eight of these on one kind of processor."""
    seeds = [53, 779, 1878, 2583, 4984, 5830, 5873, 5907, *range(40)]
    x = np.stack([graded(seed) for seed in seeds])
    x = x[np.abs(x).max(axis=(-2, -1)) > 1e-25]  # XLA takes subnormal numbers for 0
    assert len(x) > 40
    wide = x.astype(float)
    for f in map(driver, FRAMEWORKS):
        w, Q = (np.asarray(f.numpy(y)).astype(float) for y in f.module.eigh(f.array(x)))
        error = np.abs((Q * w[:, None, :]) @ np.swapaxes(Q, -1, -2) - wide).max(axis=(-2, -1))
        assert (error <= 1e-5 * np.abs(wide).max(axis=(-2, -1))).all()
        U, S, Vh = (np.asarray(f.numpy(y)).astype(float) for y in f.module.svd(f.array(x)))
        error = np.abs((U * S[:, None, :]) @ Vh - wide).max(axis=(-2, -1))
        assert (error <= 1e-5 * np.abs(wide).max(axis=(-2, -1))).all()


def test_an_easier_matrix_is_tried_first():
    """The others of the batch do not change."""
    x = np.arange(1.0, 6.0)[:, None, None] * np.eye(2)
    seen = []

    def fn(y):
        seen.append(len(y))
        if (y[:, 0, 0] == 4).any():
            raise np.linalg.LinAlgError
        return (2 * y,)

    (found,) = apart(np, fn, x, np.linalg.LinAlgError, lambda y: y + 0.25)
    np.testing.assert_array_equal(found[[0, 1, 2, 4]], 2 * x[[0, 1, 2, 4]])
    np.testing.assert_array_equal(found[3], 2 * x[3] + 0.5)
    assert seen == [5, 5, 2, 3, 1, 2, 1, 1, 1]  # the last but one: the easier matrix
