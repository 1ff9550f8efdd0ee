"""The drivers: their accuracy, the choices of `auto`, and threads."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import svdinv.jax
import svdinv.numpy
import svdinv.torch
import torch
from support.drivers import FRAMEWORKS, driver
from support.errors import relative_error
from support.family import KINDS, haar, normal
from support.namespaces import namespace
from svdinv import _numpy_batches, _torch_batches, rules

from svdinv_core import (
    SVD,
    Gram,
    LowRank,
    Point,
    ScaledSVD,
    SoftThreshold,
    SVDFactors,
    Tangents,
    scaled,
)

SIZES = ((5, 5), (40, 4), (4, 40), (3, 9, 6))
GRAM_BOUND = {"float64": 1e-13, "float32": 2e-5}


def matrices(size, is_complex, precision):
    """Values 1, 1, 1/2, ... with a tie, and one that is zero."""
    *batch, m, n = size
    rng = np.random.default_rng(0)
    k = min(m, n)
    S = np.array([1.0, 1.0, *np.linspace(0.5, 0.0, k - 2)])
    A = haar(rng, tuple(batch), m, k, is_complex) * S
    A = A @ np.conj(np.swapaxes(haar(rng, tuple(batch), n, k, is_complex), -1, -2))
    dtype = np.result_type(precision, np.complex64) if is_complex else np.dtype(precision)
    return A.astype(dtype), normal(rng, A.shape, is_complex).astype(dtype)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_gram_agrees_with_svd(framework, precision, is_complex, size):
    A, W = matrices(size, is_complex, precision)
    tau = np.full(size[:-2], 0.12, dtype=precision)
    wide = [x.astype(complex if is_complex else float) for x in (A, W)]
    (out,), exact = driver("numpy").vjp(
        "svt", (wide[0], tau.astype(float)), (wide[1],), driver="svd"
    )
    for which in ("svd", "gram", "auto"):
        (got,), grads = driver(framework).vjp("svt", (A, tau), (W,), driver=which)
        assert got.dtype == A.dtype
        assert relative_error(got, out).max() < GRAM_BOUND[precision]
        assert relative_error(grads[0], exact[0]).max() < GRAM_BOUND[precision]
        np.testing.assert_allclose(grads[1], exact[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("tau", [0.5, 0.1, 1e-2, 1e-4, 1e-6, 1e-9, 0.0])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_auto_keeps_its_promise_for_small_thresholds(framework, tau, precision):
    """Where the Gram matrix cannot tell small values from zero, it is not used."""
    rng = np.random.default_rng(0)
    S = np.array([1.0, 0.3, 0.04, 3e-3, 2e-5, 4e-8])
    A = (haar(rng, (2,), 8, 6, False) * S) @ np.swapaxes(haar(rng, (2,), 6, 6, False), -1, -2)
    A, W = A.astype(precision), normal(rng, A.shape, False).astype(precision)
    t = np.full(2, tau, dtype=precision)
    exact = driver("numpy").vjp(
        "svt", (A.astype(float), t.astype(float)), (W.astype(float),), driver="svd"
    )[1][0]
    got = driver(framework).vjp("svt", (A, t), (W,))[1][0]
    by_svd = driver(framework).vjp("svt", (A, t), (W,), driver="svd")[1][0]
    # values below the rounding of the matrix itself are nobody's to tell from zero
    allowed = max({"float32": 1e-5, "float64": 1e-12}[precision], 3 * relative_error(
        by_svd, exact).max())  # fmt: skip
    assert relative_error(got, exact).max() <= allowed


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("relative", [False, True])
def test_ordinary_values_need_no_guards(precision, relative):
    """Values and derivatives agree at both ends of the ordinary range, with zeros and ties."""
    import array_api_compat.numpy as xp

    A, G = matrices((3, 9, 6), False, precision)
    info = np.finfo(precision)
    edge = 2.0 ** (3 * 125 // 8) if precision == "float32" else 2.0 ** (3 * 1021 // 8)
    for scale in (1.0, 1e-2 * edge, 1e3 / edge):
        for tau in (0.5, 0.25, 1.0, 3.0):  # on values, between them, above all
            x = (scale * A).astype(precision)
            t = np.full(3, tau if relative else tau * scale, dtype=precision)
            factors = ScaledSVD().compute(xp, x)
            given = (tau * scale,) * 2
            extremes = float(factors.S.min()), float(factors.S.max())
            assert SoftThreshold.is_ordinary(float(info.smallest_normal), extremes, given)
            found, expected = (
                everything(xp, SoftThreshold(relative=relative, ordinary=known), x, factors, t, G)
                for known in (True, False)
            )
            for y, z in zip(found, expected, strict=True):
                np.testing.assert_allclose(y, z, rtol=0, atol=40 * info.eps * np.abs(z).max())
    for values, thresholds in (
        ((0.0, 1.0), (0.0, 0.0)),
        ((0.0, 1.0), (0.5 / edge, 1.0)),
        ((0.0, 2 * edge), (1.0, 1.0)),
        ((0.0, 1.0), (1.0, np.inf)),
        ((np.nan, np.nan), (1.0, 1.0)),
        ((0.5, 1.0), (np.nan, np.nan)),
    ):
        assert not SoftThreshold.is_ordinary(float(info.smallest_normal), values, thresholds)


def everything(xp, operator, x, factors, t, G):
    """Value, both directions, and the derivative in the threshold."""
    at, dt = Point(xp, x, factors, (t,)), np.ones_like(t)
    ct, (ct_t,) = operator.vjp(at, (G,))
    return (
        *operator.apply(at),
        ct,
        ct_t,
        *operator.jvp(at, Tangents(G, (dt,))),
        *operator.jvp(at, Tangents(None, (dt,))),
    )


def test_a_step_of_a_small_matrix_is_few_operations():
    """About as many as the framework's own composition, by PyTorch's profiler."""
    x = torch.randn(8, 8, dtype=torch.float64, requires_grad=True)
    ct, tau = torch.randn(8, 8, dtype=torch.float64), torch.tensor(0.5, dtype=torch.float64)

    def native():
        U, S, Vh = torch.linalg.svd(x, full_matrices=False)
        return (U * torch.relu(S - tau).unsqueeze(-2)) @ Vh

    events = []
    for forward in (lambda: svdinv.torch.svt(x, tau), native):
        torch.autograd.grad(forward(), x, ct)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
            torch.autograd.grad(forward(), x, ct)
        events.append(len(seen.events()))
    assert events[0] <= 1.25 * events[1]


def test_what_auto_decides():
    import array_api_compat.numpy as xp

    A, _ = matrices((4, 4), False, "float64")
    by_gram = ScaledSVD(Gram())
    factors = by_gram.compute(xp, A)

    def enough(operator, *params, S=factors.S):
        return bool(Gram().resolves(xp, S, operator.extent(xp, S, tuple(map(np.asarray, params)))))

    assert enough(SoftThreshold(), 0.12)
    assert enough(SoftThreshold(), 0.02)
    assert not enough(SoftThreshold(), 0.01)  # eps/tau^2 is over 1e-12
    assert not enough(SoftThreshold(), 0.0)
    with np.errstate(all="ignore"):
        tiny, huge = by_gram.compute(xp, 1e-160 * A), by_gram.compute(xp, 1e160 * A)
    assert not enough(SoftThreshold(), 0.12e-160, S=tiny.S)  # squares underflow
    assert not enough(SoftThreshold(), 0.12e160, S=huge.S)  # and overflow
    assert enough(LowRank(2))  # between 1 and 1/2
    assert not enough(LowRank(1))  # a tie
    assert enough(LowRank(0))
    assert enough(LowRank(4))


# Matrices of full rank with one side at least twice the other.
OTHERS = (
    ("singular_value_map", (lambda s: s * s,)),
    ("low_rank", (2,)),
    ("nuclear_norm", ()),
    ("polar", ()),
    ("procrustes", ()),
)


def full_rank(size, is_complex, precision, smallest):
    """Values 1, 1, 1/2, ... down to `smallest`, and one cotangent for each of two outputs."""
    m, n = size
    rng = np.random.default_rng(0)
    k = min(m, n)
    S = np.array([1.0, 1.0, *np.geomspace(0.5, smallest, k - 2)])
    A = haar(rng, (3,), m, k, is_complex) * S
    A = A @ np.conj(np.swapaxes(haar(rng, (3,), n, k, is_complex), -1, -2))
    dtype = np.result_type(precision, np.complex64) if is_complex else np.dtype(precision)
    return A.astype(dtype), rng


def pulled(framework, name, A, static, cts, **kwargs):
    (*out,), (g,) = driver(framework).vjp(name, (A,), cts, static=static, **kwargs)
    return [*out, g]


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(("precision", "is_complex"), KINDS)
@pytest.mark.parametrize("size", [(40, 4), (4, 9)], ids=str)
@pytest.mark.parametrize("smallest", [0.3, 1e-3])
def test_other_operators_by_every_driver(framework, precision, is_complex, size, smallest):
    """`gram` is accurate if all values are large; `auto` is as accurate as `svd` always."""
    A, rng = full_rank(size, is_complex, precision, smallest)
    exactly = A.astype(np.result_type(A.dtype, np.float64))
    promise = {"float32": 1e-5, "float64": 1e-12}[precision]
    for name, static in OTHERS:
        out = getattr(svdinv.numpy, name)(exactly, *static)
        outs = tuple(out) if isinstance(out, tuple) else (out,)
        cts = tuple(normal(rng, y.shape, np.iscomplexobj(y)) for y in outs)
        exact = pulled("numpy", name, exactly, static, cts, driver="svd")
        cts = tuple(ct.astype(A.dtype if np.iscomplexobj(ct) else precision) for ct in cts)
        by = {d: pulled(framework, name, A, static, cts, driver=d) for d in ("svd", "auto", "gram")}
        for i, expected in enumerate(exact):
            error = {d: _worst(found[i], expected) for d, found in by.items()}
            assert by["auto"][i].dtype == by["svd"][i].dtype
            assert error["auto"] <= max(promise, 3 * error["svd"]), (name, i, error)
            if smallest == 0.3:
                assert error["gram"] <= promise, (name, i, error)


def _worst(got, expected):
    """The largest error of an array, or of the matrices of a batch, relative to the norm."""
    if expected.ndim < 2:
        return np.max(np.abs(got - expected) / np.abs(expected))
    return relative_error(got, expected).max()


def test_where_auto_does_not_try(monkeypatch):
    """Where all values count and the matrix is nearly square, because one would be too small."""
    tried = []
    compute = Gram.of_tall
    monkeypatch.setattr(
        Gram, "of_tall", lambda *args, **kwargs: tried.append(1) or compute(*args, **kwargs)
    )
    rng = np.random.default_rng(0)
    svdinv.numpy.polar(rng.standard_normal((6, 4)))
    assert not tried
    svdinv.numpy.polar(rng.standard_normal((8, 4)))
    assert len(tried) == 1
    svdinv.numpy.low_rank(rng.standard_normal((6, 6)), 2)
    assert len(tried) == 2


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_by_gram_a_matrix_with_a_nan_leaves_the_others_alone(framework):
    A, _ = full_rank((9, 4), False, "float64", 0.3)
    spoilt = A.copy()
    spoilt[1, 0, 0] = np.nan
    cts = (np.ones_like(A), np.ones((3, 4, 4)))
    for which in ("auto", "gram"):
        got = pulled(framework, "polar", spoilt, (), cts, driver=which)
        expected = pulled(framework, "polar", A, (), cts, driver=which)
        for y, z in zip(got, expected, strict=True):
            assert np.isnan(y[1]).all()
            np.testing.assert_allclose(y[[0, 2]], z[[0, 2]], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("scale", [1e-160, 1e160])
def test_squares_that_overflow_do_not_matter(framework, scale):
    A, W = matrices((4, 4), False, "float64")
    for which in ("auto", "gram"):
        (out,), (g, _) = driver(framework).vjp(
            "svt", (scale * A, np.array(0.12 * scale)), (W,), driver=which
        )
        (unit,), (g_unit, _) = driver(framework).vjp("svt", (A, np.array(0.12)), (W,))
        assert relative_error(out / scale, unit).max() < 1e-13
        assert relative_error(g, g_unit).max() < 1e-13


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("size", [(2, 20, 20), (2, 90, 18), (2, 18, 24)], ids=str)
@pytest.mark.parametrize("by", [ScaledSVD(), ScaledSVD(Gram())], ids=["svd", "gram"])
def test_leaving_out_dropped_columns_changes_nothing(size, is_complex, by, monkeypatch):
    """Value and both modes, with a different threshold for each matrix and ties among dropped."""
    import array_api_compat.numpy as xp

    rng = np.random.default_rng(0)
    k = min(size[1:])
    S = np.array([1.0, 1.0, 0.8, 0.7, *np.full(3, 0.3), *np.linspace(0.25, 0.0, k - 7)])
    A = haar(rng, (2,), size[1], k, is_complex) * S
    A = A @ np.conj(np.swapaxes(haar(rng, (2,), size[2], k, is_complex), -1, -2))
    G = normal(rng, A.shape, is_complex)
    factors, tau, dtau = by.compute(xp, A), np.array([0.5, 0.75]), np.array([0.3, -2.0])
    products = []
    monkeypatch.setattr(xp, "matmul", lambda a, b: products.append(a.shape) or np.matmul(a, b))
    for operator, params, dparams in (
        (SoftThreshold(kept=4), (tau,), (dtau,)),
        (SoftThreshold(relative=True, kept=4), (tau,), (dtau,)),
        (LowRank(4), (), ()),
    ):

        def everything(operator=operator, params=params, dparams=dparams):
            at = Point(xp, A, factors, params)
            ct, ct_params = operator.vjp(at, (G,))
            out = [*operator.apply(at), ct, *ct_params]
            out += operator.jvp(at, Tangents(G, dparams))
            return out + list(operator.jvp(at, Tangents(None, dparams))) if params else out

        products.clear()
        monkeypatch.setattr(scaled, "SMALLEST_SPLIT", 16)
        got, counted = everything(), len(products)
        assert any(4 in shape[-2:] for shape in products)
        monkeypatch.setattr(scaled, "SMALLEST_SPLIT", 1000)
        expected = everything()
        assert not any(4 in shape[-2:] for shape in products[counted:])
        for y, z in zip(got, expected, strict=True):
            np.testing.assert_allclose(y, z, rtol=0, atol=1e-13 * np.linalg.norm(G))


def test_the_columns_to_leave_out_are_counted_where_that_is_free():
    """At most 3 kept values are counted in PyTorch and NumPy, but not under a transform."""
    rng = np.random.default_rng(0)
    S = np.array([[3.0, 2, 1.5, *np.full(97, 0.5)], [3.0, 2, *np.full(98, 0.5)]])
    A = haar(rng, (2,), 100, 100, False) * S[:, None] @ haar(rng, (2,), 100, 100, False)
    x = torch.tensor(A)
    svt, seen = svdinv.torch.svt, []

    class Watched(SoftThreshold):
        def leading(self, k):
            seen.append(self.kept)
            return super().leading(k)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("svdinv._api.SoftThreshold", Watched)
        found = svt(x, 1.0)
        values = svdinv.numpy.svt(A, 1.0)
        assert set(seen) == {3}
        seen.clear()
        torch.func.vmap(lambda y: svt(y, 1.0))(x)
        assert set(seen) == {None}
    expected = svdinv.numpy.svt(A, 1.0, driver="svd")
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(values, expected, atol=1e-12)


def test_polishing_restores_lost_orthogonality():
    """Polishing repairs the vectors of an eigensolver that are only nearly orthogonal."""
    import array_api_compat.numpy as xp

    class Sloppy:
        def __getattr__(self, name):
            return getattr(xp, name)

        class linalg:  # noqa: N801
            diagonal = staticmethod(xp.linalg.diagonal)

            @staticmethod
            def eigh(x):
                w, V = np.linalg.eigh(x)
                E = 1e-6 * np.random.default_rng(1).standard_normal(V.shape)
                return w * (1 + 1e-6), V @ (np.eye(len(w.T)) + E + np.swapaxes(E, -1, -2))

    A, W = matrices((6, 8, 5), False, "float64")
    operator, exact = SoftThreshold(), ScaledSVD().compute(xp, A)
    tau = (np.asarray(0.12),)
    expected, _ = operator.vjp(Point(xp, A, exact, tau), (W,))
    error = {}
    for polished in (False, True):
        factors = ScaledSVD(Gram(polished=polished)).compute(Sloppy(), A)
        got, _ = operator.vjp(Point(xp, A, factors, tau), (W,))
        error[polished] = relative_error(got, expected).max()
    assert error[False] > 1e-7
    assert error[True] < 1e-10


def test_single_precision_of_every_framework_at_256():
    """TensorFlow's eigensolver alone has an error of 1.4e-5 here; the promise is 1e-5."""
    rng = np.random.default_rng(0)
    A, W = (rng.standard_normal((256, 256)) for _ in range(2))
    tau = np.array(0.5 * np.linalg.norm(A, 2))
    exact = driver("numpy").vjp("svt", (A, tau), (W,), driver="svd")[1][0]
    single = [y.astype(np.float32) for y in (A, tau, W)]
    for framework in FRAMEWORKS:
        got = driver(framework).vjp("svt", tuple(single[:2]), (single[2],))[1][0]
        assert relative_error(got, exact).max() < 1e-5, framework


@pytest.mark.parametrize(("shape", "by"), [((3000, 7, 4), "jacobi"), ((300, 300), "auto")])
def test_jax_compiles_sums_of_many_numbers(shape, by):
    """XLA's CPU compiler gets these sums wrong from some 30,000 numbers on (`test_upstream`)."""
    rng = np.random.default_rng(0)
    U, S, Vh = np.linalg.svd(rng.standard_normal(shape), full_matrices=False)
    S[..., 1] = S[..., 0]
    x, W = ((U * S[..., None, :]) @ Vh).astype("f4"), rng.standard_normal(shape).astype("f4")
    U, S, Vh = driver("jax").call("svd", (x,), driver=by)
    V = np.swapaxes(Vh, -1, -2)
    assert np.abs((U * S[..., None, :]) @ Vh - x).max() < 1e-5 * S.max()
    for Q in (U, V):
        assert np.abs(np.swapaxes(Q, -1, -2) @ Q - np.eye(S.shape[-1])).max() < 1e-5

    exact, got = (driver(f).vjp("svt", (x,), (W,), (0.1,))[1][0] for f in ("numpy", "jax"))
    assert relative_error(got, exact).max() < 1e-4
    cts = (W @ V * np.tanh(S)[..., None, :], 0 * S, 0 * Vh)
    got = driver("jax").vjp("svd", (x,), cts, driver=by)[1][0]
    exact = SVD(rules.Auto()).vjp(namespace("numpy")[0], SVDFactors(U, S, Vh), cts)
    assert np.median(relative_error(got, exact)) < 1e-5  # some values are close


def test_jax_takes_one_driver_under_vmap():
    """`cond` does not become a `select`, whether matrices, thresholds or both are mapped."""
    driver("jax")  # in double precision, also when this test runs alone
    rng = np.random.default_rng(0)
    A, tau = jnp.asarray(rng.standard_normal((3, 4, 6, 5))), jnp.asarray([0.5, 1.0, 2.0])
    expected = svdinv.jax.svt(A, tau[:, None])

    def inner(a, t):
        return jax.vmap(lambda one: svdinv.jax.svt(one, t))(a)

    cases = [
        (jax.vmap(inner), (A, tau), expected),
        (jax.vmap(inner, (0, None)), (A, tau[0]), svdinv.jax.svt(A, tau[0])),
        (
            jax.vmap(inner, (None, 0)),
            (A[0], tau),
            svdinv.jax.svt(jnp.broadcast_to(A[0], A.shape), tau[:, None]),
        ),
        (jax.vmap(svdinv.jax.svt), (A, jnp.ones((3, 4))), svdinv.jax.svt(A, 1.0)),
    ]
    for fn, args, wanted in cases:
        np.testing.assert_allclose(fn(*args), wanted, atol=1e-13)
        jaxpr = str(jax.make_jaxpr(fn)(*args))
        assert "cond[" in jaxpr
        program = jax.jit(fn).lower(*args).as_text()
        assert "stablehlo.case" in program or "stablehlo.if" in program
    g = jax.vmap(jax.grad(lambda a, t: jnp.sum(svdinv.jax.svt(a, t)), (0, 1)))
    by_batch = jax.grad(lambda a, t: jnp.sum(svdinv.jax.svt(a, t)), (0, 1))
    for y, z in zip(g(A[:, 0], tau), by_batch(A[:, 0], tau), strict=True):
        np.testing.assert_allclose(y, z, atol=1e-13)


@pytest.fixture
def numpy_threads(monkeypatch):
    """Two threads for NumPy, and the names of those that decompose."""
    monkeypatch.setattr(_numpy_batches, "threads", lambda: 2)
    names = set()
    svd, eigh = np.linalg.svd, np.linalg.eigh

    def watched(fn):
        def called(*args, **kwargs):
            names.add(threading.current_thread().name.partition("_")[0])
            return fn(*args, **kwargs)

        return called

    monkeypatch.setattr(np.linalg, "svd", watched(svd))
    monkeypatch.setattr(np.linalg, "eigh", watched(eigh))
    return names


def test_numpy_decomposes_small_matrices_in_threads(numpy_threads):
    x = np.random.default_rng(0).standard_normal((5, 301, 6, 4))
    U, S, Vh = svdinv.numpy.svd(x, driver="svd")
    assert numpy_threads == {"MainThread", "svdinv-numpy"}
    np.testing.assert_allclose((U * S[..., None, :]) @ Vh, x, atol=1e-12)
    assert U.shape == (5, 301, 6, 4)
    numpy_threads.clear()
    w, Q = svdinv.numpy.eigh(x[..., :4, :], driver="eigh")
    assert numpy_threads == {"MainThread", "svdinv-numpy"}
    symmetric = (x[..., :4, :] + np.swapaxes(x[..., :4, :], -1, -2)) / 2
    np.testing.assert_allclose(
        (Q * w[..., None, :]) @ np.swapaxes(Q, -1, -2), symmetric, atol=1e-12
    )
    numpy_threads.clear()
    for large_or_few in (x[0, :3], np.ones((16, 64, 64)), x[0, 0]):
        svdinv.numpy.svdvals(large_or_few)
    assert numpy_threads == {"MainThread"}


@pytest.mark.parametrize(("told", "expected"), [("1", 1), ("2", 2), ("many", 8), ("", 8)])
def test_numpy_has_no_more_threads_than_blas_is_told(monkeypatch, told, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", told)
    assert _numpy_batches.threads.__wrapped__() == expected


@pytest.mark.parametrize("which", ["auto", "svd", "gram"])
def test_a_compiler_multiplies_no_denominators(which):
    """``a/b/c`` is ``a/(b c)`` to XLA, whose denominator overflows here in single precision."""
    A, W = matrices((5, 5), False, "float32")

    def gradient(scale):
        x, tau = (jnp.asarray(np.float32(scale) * y) for y in (A, np.float32(0.12)))
        loss = jax.jit(jax.grad(lambda x: jnp.sum(W * svdinv.jax.svt(x, tau, driver=which))))
        return np.asarray(loss(x))

    for scale in (1e-30, 1e30):
        assert relative_error(gradient(scale), gradient(1.0)).max() < 1e-5


def batch():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(256, 32, 32, generator=generator)
    assert x.numel() * 32 > _torch_batches.WORTH_SPLITTING
    return x


def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    return before


@pytest.fixture
def threads():
    before = two_threads()
    yield
    torch.set_num_threads(before)


def used(monkeypatch):
    """The names of the threads that decompose."""
    names = set()
    quietly = _torch_batches._quietly

    def watched(fn, x):
        names.add(threading.current_thread().name)
        return quietly(fn, x)

    monkeypatch.setattr(_torch_batches, "_quietly", watched)
    return names


def test_a_batch_is_split_without_touching_the_callers_threads(threads, monkeypatch):
    names = used(monkeypatch)
    x = batch().requires_grad_()
    svdinv.torch.svt(x, 1.0).sum().backward()
    assert {name.partition("_")[0] for name in names} == {"svdinv-torch"}
    assert torch.get_num_threads() == 2
    inherited = []
    later = threading.Thread(target=lambda: inherited.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert inherited == [2]
    parts = torch.cat([svdinv.torch.svt(piece, 1.0) for piece in x.detach().split(1)])
    torch.testing.assert_close(svdinv.torch.svt(x.detach(), 1.0), parts, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("how", ["one thread", "small", "vmap", "mode", "compile"])
def test_where_a_batch_is_not_split(threads, monkeypatch, how):
    from torch.utils.flop_counter import FlopCounterMode

    names = used(monkeypatch)
    x = batch()
    if how == "one thread":
        torch.set_num_threads(1)
        svdinv.torch.svdvals(x)
    elif how == "small":
        svdinv.torch.svdvals(x[:2])
    elif how == "vmap":
        torch.func.vmap(svdinv.torch.svdvals)(x)
    elif how == "mode":
        with FlopCounterMode(display=False):
            svdinv.torch.svdvals(x)
    else:
        torch.compile(svdinv.torch.svdvals, backend="eager", fullgraph=True)(x)
    assert not names


def test_many_callers_at_once(threads):
    x = batch()
    expected = svdinv.torch.svt(x, 1.0)
    results = []
    callers = [
        threading.Thread(target=lambda: results.append(svdinv.torch.svt(x, 1.0))) for _ in range(6)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(results) == 6
    assert all(torch.allclose(result, expected, atol=1e-5) for result in results)


FORK = """
import os, torch, svdinv.torch
torch.set_num_threads(2)
x = torch.randn(256, 32, 32)
svdinv.torch.svdvals(x)          # the threads exist
child = os.fork()
if child == 0:
    torch.set_num_threads(2)
    from svdinv import _torch_batches
    assert _torch_batches._workers._pool is None
    from concurrent.futures import ThreadPoolExecutor
    done = _torch_batches._workers.run([lambda: 1, lambda: 2], 2)
    os._exit(0 if done == [1, 2] else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_process_has_threads_of_its_own():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FORK], timeout=900)
    assert done.returncode == 0


def test_an_error_in_a_thread_is_raised_in_the_caller(threads):
    def fail(x):
        raise RuntimeError("in a thread")

    with pytest.raises(RuntimeError, match="in a thread"):
        _torch_batches.in_pieces(fail, batch())


@pytest.mark.slow
def test_the_memory_of_a_long_matrix():
    """The step needs no more than six times its input, backward included; no 200000 x 200000."""
    from svdinv_conformance.bench.measure import peak_memory

    generator = torch.Generator().manual_seed(0)
    x, ct = (
        torch.randn(1, 200_000, 16, dtype=torch.complex64, generator=generator) for _ in range(2)
    )
    tau = 0.12 * torch.linalg.svdvals(x)[..., 0]
    x.requires_grad_()

    def step():
        return torch.autograd.grad(svdinv.torch.svt(x, tau), x, ct)

    step()
    peak = peak_memory(step)
    if peak is None:
        pytest.skip("the system does not tell the peak of a process")
    assert peak < 6 * x.numel() * x.element_size()
