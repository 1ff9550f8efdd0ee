"""`truncated_svd` and the keywords of `low_rank`: values, derivatives, and which are kept."""

from __future__ import annotations

import operator
import pickle
import re
import tracemalloc
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import svdinv
import svdinv.numpy as sn
from support.drivers import FRAMEWORKS, driver
from support.family import haar
from svdinv.operators import LinearOperator
from svdinv_conformance.frameworks import AUTODIFF
from svdinv_conformance.suite import load_cases, plan
from svdinv_conformance.suite.named import implement

import svdinv_core as core
from svdinv_core import truncated
from svdinv_core.drivers.krylov import _start

GAPS = (1e-1, 1e-2, 1e-3, 1e-4)
RANK = 6
KEPT = np.array([3.0, 3.0, 2.0, 1.5, 1.5, 1.0])
DISTINCT = np.array([3.0, 2.6, 2.0, 1.7, 1.4, 1.0])


def relative(x, y):
    return np.linalg.norm(x - y, axis=(-2, -1)) / np.linalg.norm(y, axis=(-2, -1))


def matrices(m, n, is_complex, kept=KEPT, dtype=None):
    """One matrix for each gap at the cut, with ties in the dropped part."""
    rng = np.random.default_rng(m + n + is_complex)
    k = min(m, n)
    out = []
    for gap in GAPS:
        S = np.concatenate([kept, (1 - gap) * np.array([1, 1, 0.9]), np.linspace(0.8, 0, k - 9)])
        U, V = (haar(rng, (), size, k, is_complex) for size in (m, n))
        out.append(U * S @ V.conj().T)
    return np.stack(out).astype(dtype or (complex if is_complex else float))


def normal(rng, shape, like):
    x = rng.standard_normal(shape)
    x = x + 1j * rng.standard_normal(shape) if np.iscomplexobj(like) else x
    return x.astype(like.dtype)


def projector_gradient(A, H):
    """The gradient of ``Re tr(H^H U_r U_r^H)`` from all singular vectors."""
    U, S, _ = np.linalg.svd(A, full_matrices=True)
    S = np.concatenate([S, np.zeros((*S.shape[:-1], U.shape[-1] - S.shape[-1]))], axis=-1)
    kept = np.arange(S.shape[-1]) < RANK
    across = kept[:, None] != kept
    gap = (S[..., :, None] - S[..., None, :]) * (S[..., :, None] + S[..., None, :])
    sign = np.where(kept[:, None], 1.0, -1.0)
    F = np.where(across, sign / np.where(across, gap, 1.0), 0.0)
    Uh = np.conj(np.swapaxes(U, -1, -2))
    H = (H + np.conj(np.swapaxes(H, -1, -2))) / 2
    return 2 * U @ (F * (Uh @ H @ U)) @ Uh @ A


CELLS = [
    ("float64", 26, 20),
    ("complex128", 20, 26),
    ("float32", 20, 26),
    ("complex64", 26, 20),
]


@pytest.mark.parametrize(("dtype", "m", "n"), CELLS)
def test_krylov_has_the_gradient_and_tangent_of_the_whole_decomposition(framework, dtype, m, n):
    run = framework
    A = matrices(m, n, "complex" in dtype, dtype=dtype)
    rng = np.random.default_rng(0)
    G, D = normal(rng, A.shape, A), normal(rng, A.shape, A)
    wide = A.astype(complex if "complex" in dtype else float)
    value, pullback = sn.vjp(sn.low_rank, wide, RANK)
    (exact, *_) = pullback(G.astype(wide.dtype))
    _, tangent = sn.jvp(sn.low_rank, (wide,), (D.astype(wide.dtype),), rank=RANK)
    (out,), (ct,) = run.vjp("low_rank", (A,), (G,), (RANK,), driver="krylov")
    _, (d,) = run.jvp("low_rank", (A,), (D,), (RANK,), driver="krylov")
    bound = (5e-5 if dtype in ("float32", "complex64") else 1e-10) / np.array(GAPS)
    assert (relative(out, value) <= bound).all()
    assert (relative(ct, exact) <= bound).all()
    assert (relative(d, tangent) <= bound).all()
    assert ct.dtype == d.dtype == out.dtype == A.dtype


@pytest.mark.parametrize("how", ["svd", "krylov"])
def test_projector_onto_the_kept_vectors(framework, how):
    A = matrices(26, 20, True)
    H = normal(np.random.default_rng(1), (len(GAPS), 26, 26), A)
    if framework.bridge.name not in AUTODIFF:
        U, *others = framework.call("truncated_svd", (A,), (RANK,), driver=how)
        cts = (H + np.conj(np.swapaxes(H, -1, -2))) @ U, *[None] * len(others)
        _, (ct, *_) = framework.vjp("truncated_svd", (A,), cts, (RANK,), driver=how)
    else:
        bridge = framework.bridge

        def projector(x):
            U = bridge.library.truncated_svd(x, RANK, driver=how).U
            return (U @ bridge.adjoint(U),)

        prepared = bridge.prepare("vjp", projector)
        _, (ct,) = prepared((bridge.array(A),), (bridge.array(H),))
        ct = bridge.numpy(ct)
    assert (relative(ct, projector_gradient(A, H)) <= 1e-10 / np.array(GAPS)).all()


@pytest.mark.parametrize("rule", ["inv", "pinv", "plain", "tf", "clip", "taylor", "lorentzian"])
def test_forward_and_reverse_of_krylov_are_adjoint(rule):
    rng = np.random.default_rng(2)
    kept = DISTINCT if rule in ("plain", "clip") else KEPT
    for shape in ((26, 20), (20, 26)):
        A = matrices(*shape, True, kept)
        D = normal(rng, A.shape, A)
        options = {"rule": rule, "driver": "krylov"}
        out, pullback = sn.vjp(sn.truncated_svd, A, RANK, **options)
        _, d = sn.jvp(sn.truncated_svd, (A,), (D,), rank=RANK, **options)
        cts = (normal(rng, out.U.shape, A), rng.standard_normal(out.S.shape), None)
        cts = (*cts[:2], normal(rng, out.Vh.shape, A), None, None, None, None)
        (ct, *_) = pullback(cts)
        for i, gap in enumerate(GAPS):
            one = np.vdot(ct[i], D[i]).real
            two = sum(np.vdot(c[i], dx[i]).real for c, dx in zip(cts[:3], d[:3], strict=True))
            assert abs(one - two) <= 1e-10 * np.linalg.norm(ct[i]) * np.linalg.norm(D[i]) / gap


SPECTRUM = np.array([4.0, 2.0, 2.0, 1.0, 1.0, 1.0, 0.25, 0.0])
KEEPS = [
    ({"rank": 5}, 5),
    ({"rank": 5, "multiplets": "drop"}, 3),
    ({"rank": 2, "multiplets": "drop"}, 1),
    ({"rank": 6, "energy": 0.9}, 6),
    ({"rank": 5, "energy": 0.9}, 4),
    ({"rank": 6, "energy": 0.9, "multiplets": "cut"}, 4),
    ({"rank": 6, "energy": 0.9, "multiplets": "drop"}, 3),
    ({"rank": 6, "energy": 1.0}, 6),
    ({"energy": 1.0}, 7),
    ({"rtol": 0.3}, 3),
    ({"rtol": 0.25}, 3),
    ({"rank": 7, "atol": 0.5}, 6),
    ({"rank": 4, "atol": 0.5}, 4),
    ({"rank": 4, "atol": 0.5, "multiplets": "drop"}, 3),
    ({"rank": 3, "rtol": 2.0}, 0),
    ({"rank": 0}, 0),
    ({}, 8),
]


@pytest.mark.parametrize(("options", "count"), KEEPS)
@pytest.mark.parametrize("how", ["svd", "krylov"])
def test_what_is_kept(options, count, how):
    if how == "krylov" and "rank" not in options:
        with pytest.raises(ValueError, match="rank: 'krylov' needs"):
            svdinv.truncated_svd(np.eye(3), driver=how, **options)
        return
    A = np.diag(SPECTRUM) + 0.0
    U, S, Vh, rank, error, gap, residual = svdinv.truncated_svd(A, driver=how, **options)
    length = options.get("rank", 8)
    assert U.shape == (8, length)
    assert Vh.shape == (length, 8)
    expected = np.where(np.arange(8) < count, SPECTRUM, 0.0)
    assert int(rank) == count
    np.testing.assert_allclose(S, expected[:length], atol=1e-13)
    whole = count in (0, 8) or SPECTRUM[count - 1] != SPECTRUM[count]  # no tie is cut
    if whole:
        np.testing.assert_allclose((U * S) @ Vh, np.diag(expected), atol=1e-13)
    assert not U[:, count:].any()
    assert not Vh[count:].any()
    left = np.linalg.norm(SPECTRUM[count:]) / np.linalg.norm(SPECTRUM)
    np.testing.assert_allclose(error, left, atol=1e-13)
    if 0 < count < 8:
        np.testing.assert_allclose(gap, 1 - SPECTRUM[count] / SPECTRUM[count - 1], atol=1e-13)
    assert residual <= 1e-13
    B = svdinv.low_rank(A, driver=how, **options)
    np.testing.assert_allclose(np.linalg.norm(B), np.linalg.norm(expected), atol=1e-13)
    if whole:
        np.testing.assert_allclose(B, np.diag(expected), atol=1e-13)


def test_a_tolerance_keeps_another_number_of_each_matrix(framework):
    """The derivative is that for this number; a matrix of NaN does not affect the others."""
    run = framework
    A, rng = matrices(12, 12, True), np.random.default_rng(3)
    A = A * 1.0 / np.array([1.0, 2.0, 4.0, 1.0])[:, None, None]
    A[3, 0, 0] = np.nan
    G = normal(rng, A.shape, A)
    counts = [6, 3, 0]  # values above 0.99
    for options in ({"driver": "svd"}, {"driver": "krylov"}, {"driver": "gram"}):
        (out,), (ct,) = run.vjp("low_rank", (A,), (G,), (8,), atol=0.99, **options)
        assert np.isnan(out[3]).all()
        assert np.isnan(ct[3]).all()
        for i, count in enumerate(counts):
            expected, pullback = sn.vjp(sn.low_rank, A[i], count)
            np.testing.assert_allclose(out[i], expected, atol=1e-11)
            np.testing.assert_allclose(ct[i], pullback(G[i])[0], atol=1e-11)


def test_a_cut_through_a_tie_is_finite_and_says_so():
    rng = np.random.default_rng(12)
    S = np.concatenate([[2, 1, 1], np.linspace(0.8, 0.01, 37)])
    A = haar(rng, (), 40, 40, False) * S @ haar(rng, (), 40, 40, False)
    G = rng.standard_normal(A.shape)
    for how in ("svd", "krylov"):
        for dtype in (np.float32, np.float64):
            out = sn.truncated_svd(A.astype(dtype), 2, driver=how)
            assert abs(out.gap) <= 100 * np.finfo(dtype).eps
            for function in (sn.low_rank, sn.range_projector):
                _, pullback = sn.vjp(function, A.astype(dtype), rank=2, driver=how)
                (ct, *_) = pullback(G.astype(dtype))
                assert np.linalg.norm(ct) <= 10 * np.linalg.norm(G)


def test_a_ceiling_is_warned_of():
    """For values that decrease so slowly that a block of this size gains little."""
    S = np.linspace(1, 0.9, 520)
    with pytest.warns(svdinv.ConvergenceWarning, match="singular triples did not converge") as seen:
        out = svdinv.truncated_svd(np.diag(S), 2, driver="krylov")
    left = np.linalg.norm(S[:, None] * out.U - out.Vh.T * out.S, axis=0).max() / out.S[0]
    assert out.residual > 1e-13
    np.testing.assert_allclose([out.residual, seen[0].message.residual], left, rtol=1e-3)


def residual_of_the_derivative(A, G, ct):
    """The largest residual of a column, from the definition, with L taken from the gradient."""
    U, S, Vh = np.linalg.svd(A)
    U, S, V = U[:, :RANK], S[:RANK], Vh[:RANK].conj().T
    off_u, off_v = np.eye(len(A)) - U @ U.conj().T, np.eye(len(V)) - V @ V.conj().T
    R, L = off_u @ A, off_v @ ct.conj().T @ U
    rhs = off_v @ G.conj().T @ U + R.conj().T @ off_u @ G @ V / S
    left = np.linalg.norm(rhs - L + R.conj().T @ (R @ L) / S**2, axis=0)
    return (left / np.linalg.norm(rhs, axis=0)).max()


def test_the_residual_of_a_derivative_that_does_not_converge(monkeypatch):
    """The warning has the largest residual of the batch, without a matrix of NaN."""
    monkeypatch.setattr(truncated, "STEPS", 3)
    A = matrices(26, 20, True, DISTINCT)
    G = normal(np.random.default_rng(13), A.shape, A)
    A[3, 0, 0] = np.nan
    for name in set(FRAMEWORKS) - {"jax"}:
        words = "derivative did not converge within 3 iterations, which left a residual of"
        with pytest.warns(svdinv.ConvergenceWarning, match=words) as seen:
            _, (ct,) = driver(name).vjp("low_rank", (A,), (G,), (RANK,), driver="krylov")
        expected = max(map(residual_of_the_derivative, A[:3], G, ct))
        assert expected > 0.1
        np.testing.assert_allclose(seen[0].message.residual, expected, rtol=1e-6)
    monkeypatch.undo()
    _, pullback = sn.vjp(sn.low_rank, A[0], RANK, driver="krylov")
    assert residual_of_the_derivative(A[0], G[0], pullback(G[0])[0]) <= 1e-12


def test_auto_takes_krylov_for_one_large_matrix_and_goes_back_where_it_does_not_converge():
    rng = np.random.default_rng(4)
    Q = haar(rng, (), 520, 520, False)
    steep, flat = 1.0 / np.arange(1, 521), np.linspace(1, 0.9, 520)
    for S, converges in ((steep, True), (flat, False)):
        out = svdinv.truncated_svd(Q * S @ Q.T, 4)  # without a warning
        assert (out.residual > 0) == converges
        np.testing.assert_allclose(out.S, S[:4], rtol=1e-12)
    assert svdinv.truncated_svd(np.stack([Q * steep @ Q.T] * 2), 4).residual.max() == 0


def of_scaled(bridge, d, W):
    """The leading part of ``diag(d) W``, which is known by its products."""

    def scaled(X, d, W):
        return d[:, None] * (W @ X)

    def back(Y, d, W):
        return bridge.adjoint(W) @ (d[:, None] * Y)

    A = LinearOperator(tuple(W.shape), d.dtype, scaled, back, (d, W))
    U, S, Vh, *_ = bridge.library.truncated_svd(A, 3)
    return bridge.recompose(U, S, Vh)


@pytest.mark.parametrize("name", ["torch", "tensorflow", "autograd"])  # and JAX, below
def test_gradients_of_an_operator_arrive_in_its_parameters(name):
    rng, bridge = np.random.default_rng(5), driver(name).bridge
    d, W = rng.uniform(0.5, 2.0, 24), rng.standard_normal((24, 18)) * 1.5 ** -np.arange(18.0)
    C = rng.standard_normal((24, 18))
    value, pullback = sn.vjp(sn.low_rank, d[:, None] * W, 3)
    ct_A = pullback(C)[0]
    prepared = bridge.prepare("vjp", lambda d, W: (of_scaled(bridge, d, W),))
    (out,), (ct_d, ct_W) = prepared(tuple(map(bridge.array, (d, W))), (bridge.array(C),))
    np.testing.assert_allclose(bridge.numpy(out), value, atol=1e-12)
    np.testing.assert_allclose(bridge.numpy(ct_d), np.sum(ct_A * W, axis=1), atol=1e-11)
    np.testing.assert_allclose(bridge.numpy(ct_W), d[:, None] * ct_A, atol=1e-11)


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # of PyTorch, after a break
def test_a_compiled_program_of_torch_calls_an_operator_outside_of_itself():
    rng, bridge = np.random.default_rng(5), driver("torch").bridge
    torch = bridge.module
    d = bridge.array(rng.uniform(0.5, 2.0, 12)).requires_grad_()
    W = bridge.array(rng.standard_normal((12, 9)))

    def loss(d):
        return 2.0 * bridge.real_sum(of_scaled(bridge, d, W) ** 3)

    (expected,) = torch.autograd.grad(loss(d), d)
    with pytest.raises(RuntimeError, match="the functions of a LinearOperator outside of compiled"):
        torch.compile(loss, backend="aot_eager", fullgraph=True)(d)
    (ct,) = torch.autograd.grad(torch.compile(loss, backend="aot_eager")(d), d)
    torch.testing.assert_close(ct, expected)


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_an_operator_under_vmap_knows_of_no_batch(name):
    """With as many matrices as rows, so that a confusion of the axes would not raise."""
    rng, bridge = np.random.default_rng(14), driver(name).bridge
    D, W = rng.uniform(0.5, 2.0, (14, 14)), rng.standard_normal((14, 14)) * 1.5 ** -np.arange(14.0)
    values, pullback = sn.vjp(sn.low_rank, D[..., None] * W, 3)
    cts = pullback(3 * values**2)[0]
    ct_D, ct_W = np.sum(cts * W, axis=-1), np.sum(cts * D[..., None], axis=0)
    transforms = bridge.module.func if name == "torch" else bridge.module
    vmap, grad, jvp = transforms.vmap, transforms.grad, transforms.jvp

    def loss(d, W):
        return bridge.real_sum(of_scaled(bridge, d, W) ** 3)

    def found(D, W):
        of_all = grad(lambda D, W: vmap(loss, (1, None))(D, W).sum(), argnums=(0, 1))
        tangents = vmap(lambda d: jvp(lambda d: loss(d, W), (d,), (d,))[1])
        return *vmap(of_all, (None, 0))(D.T, W[None]), tangents(D)

    found = bridge.module.jit(found) if name == "jax" else found
    (got_D,), (got_W,), d = map(bridge.numpy, found(*map(bridge.array, (D, W))))
    np.testing.assert_allclose(got_D.T, ct_D, atol=1e-11)
    np.testing.assert_allclose(got_W, ct_W, atol=1e-11)
    np.testing.assert_allclose(d, np.sum(D * ct_D, axis=1), atol=1e-10)


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_the_dtype_of_an_operator_is_the_one_that_is_said(name):
    """By name, as a scalar type, and whatever the first parameter is."""
    bridge = driver(name).bridge
    take = bridge.module.gather if name == "tensorflow" else operator.getitem

    def gathered(X, places, d):
        return take(d, places)[:, None] * X

    arrays = tuple(map(bridge.array, (np.arange(3), np.array([3.0, 2.0, 1.0]))))
    for dtype in ("float64", np.float64, arrays[1].dtype):
        A = LinearOperator((3, 3), dtype, gathered, gathered, arrays)
        S = bridge.numpy(bridge.library.truncated_svd(A, 2).S)
        assert S.dtype == np.float64
        np.testing.assert_allclose(S, [3, 2], rtol=1e-14)
    A = LinearOperator((3, 3), "float32", gathered, gathered, arrays)
    if name != "tensorflow":  # which does not mix dtypes
        with pytest.raises(TypeError, match=r"^matmul: expected dtype float32, as the operator"):
            bridge.library.truncated_svd(A, 2)


def scale_rows(X, d):
    return d[:, None] * X


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"shape": 3}, ValueError, "shape: expected two integers (m, n), got 3"),
        ({"shape": (3, 2.0)}, ValueError, "shape: expected two integers (m, n), got (3, 2.0)"),
        ({"shape": (3, -1)}, ValueError, "shape: expected two integers of at least 0, got (3, -1)"),
        ({"shape": (4, 3)}, ValueError, "matmul: expected shape (4, 3), got (3, 3)"),
        ({"shape": (3, 4)}, ValueError, "rmatmul: expected shape (4, 3), got (3, 3)"),
        ({"matmul": None}, TypeError, "matmul: expected a function, got NoneType"),
        ({"rmatmul": 1}, TypeError, "rmatmul: expected a function, got int"),
        ({"params": [np.ones(3)]}, TypeError, "params: expected a tuple of arrays, got list"),
        ({"params": (3.0,)}, TypeError, "params: expected arrays, got float"),
        ({"params": ()}, TypeError, "params: expected a floating-point array among them, got none"),
        ({"params": (np.arange(3),)}, TypeError, "params: expected a floating-point array among"),
        ({"dtype": float}, TypeError, "x: expected an operator in float32, float64, complex64 or"),
        ({"dtype": np.float16}, TypeError, "complex64 or complex128, got dtype float16"),
        ({"dtype": None}, TypeError, "complex64 or complex128, got dtype None"),
    ],
)
def test_an_operator_that_is_refused(change, error, words):
    given = {"shape": (3, 3), "dtype": "float64", "matmul": scale_rows, "rmatmul": scale_rows}
    with pytest.raises(error, match=re.escape(words)):
        sn.truncated_svd(LinearOperator(**{**given, "params": (np.ones(3),), **change}), 2)


def test_parameters_of_another_framework_are_refused():
    A = LinearOperator(
        (3, 3), "float64", scale_rows, scale_rows, (driver("torch").array(np.ones(3)),)
    )
    with pytest.raises(TypeError, match=r"^params: expected a jax.Array, got Tensor$"):
        driver("jax").module.truncated_svd(A, 2)


def test_operators_are_put_together():
    rng = np.random.default_rng(6)
    M, U, V = (rng.standard_normal(s) + 1j for s in ((9, 7), (9, 2), (7, 2)))
    of = LinearOperator.of
    A = of(M) + 2j * (of(U) @ of(V).H) - of(M + M)
    dense = M + 2j * U @ V.conj().T - 2 * M
    X, Y = rng.standard_normal((7, 3)) + 0j, rng.standard_normal((9, 3)) + 0j
    np.testing.assert_allclose(A.matmul(X, *A.params), dense @ X)
    np.testing.assert_allclose(A.rmatmul(Y, *A.params), dense.conj().T @ Y)
    np.testing.assert_allclose(
        svdinv.truncated_svd(A, 3).S, np.linalg.svd(dense, compute_uv=False)[:3]
    )
    assert (of(M) + of(M)).matmul == (of(M) + of(M)).matmul  # a compiler knows it again


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_second_derivatives_of_krylov_are_refused(name):
    x = np.diag([4.0, 3.0, 2.0, 1.0])
    bridge = driver(name).bridge
    x, module = bridge.array(x), bridge.library
    if name not in AUTODIFF:
        with pytest.raises(TypeError, match="low_rank has no second derivative"):
            module.hvp(module.low_rank, (x,), (x,), x, rank=1, driver="krylov")
        return
    with pytest.raises(NotImplementedError, match="driver: 'krylov' has no second derivatives"):
        bridge.hvp(lambda x: (module.low_rank(x, 1, driver="krylov") ** 2,), (x,), (x,), (x,))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"rank": -1}, ValueError, "rank: expected an integer of at least 0, got -1"),
        ({"rank": 1.5}, TypeError, "rank: expected an integer, got float"),
        ({"rtol": -1.0}, ValueError, "rtol: expected a number of at least 0, got -1"),
        ({"atol": "no"}, TypeError, "atol: expected a real number, got str"),
        ({"energy": 0.0}, ValueError, "energy: expected a number greater than 0, got 0"),
        ({"energy": 1.5}, ValueError, "energy: expected a number of at most 1, got 1.5"),
        ({"multiplets": "x"}, ValueError, "multiplets: expected 'keep', 'drop' or 'cut', got 'x'"),
        ({"driver": "krylov"}, ValueError, "rank: 'krylov' needs the largest number of vectors"),
    ],
)
def test_what_is_refused(framework, options, error, words):
    bridge = framework.bridge
    x = bridge.array(np.eye(3))
    for name in ("truncated_svd", "low_rank"):
        with pytest.raises(error, match=re.escape(words)):
            getattr(bridge.library, name)(x, **options)


def _sparse(name, A):
    """A sparse matrix of a framework, and the function of its entries that makes it."""
    bridge = driver(name).bridge
    places = np.argwhere(A)
    entries = A[tuple(places.T)]
    if name == "torch":
        coo = bridge.module.sparse_coo_tensor
        return entries, lambda v: coo(places.T, v, A.shape, check_invariants=True)
    if name == "tensorflow":
        return entries, lambda v: bridge.module.sparse.SparseTensor(places, v, A.shape)
    from jax.experimental.sparse import BCOO

    return entries, lambda v: BCOO((v, bridge.array(places)), shape=A.shape)


@pytest.mark.parametrize("name", ["numpy", "torch", "jax", "tensorflow"])
def test_sparse_matrices_and_the_gradient_of_their_entries(name):
    rng = np.random.default_rng(7)
    A = matrices(26, 20, True)[0] * (rng.uniform(size=(26, 20)) < 0.5)
    C = normal(rng, A.shape, A)
    value, pullback = sn.vjp(sn.low_rank, A, 3)
    ct_A = pullback(C)[0]
    if name == "numpy":
        sparse = pytest.importorskip("scipy.sparse").csr_array(A)
        out, pullback = sn.vjp(svdinv.truncated_svd, sparse, 3, driver="krylov")
        ct_U = C @ np.conj(out.Vh.T) * out.S
        ct_S = np.real(np.sum(np.conj(out.U) * (C @ np.conj(out.Vh.T)), axis=0))
        ct_Vh = out.S[:, None] * (np.conj(out.U.T) @ C)
        (ct, *_) = pullback((ct_U, ct_S, ct_Vh, *[None] * 4))
        d = normal(rng, ct.shape, ct)
        _, tangent = sn.jvp(svdinv.truncated_svd, (sparse,), (d,), rank=3)
        np.testing.assert_allclose(
            np.vdot(ct, d).real,
            sum(np.vdot(*pair).real for pair in zip((ct_U, ct_S, ct_Vh), tangent, strict=False)),
        )
        out = (out.U * out.S) @ out.Vh
        adjoint = LinearOperator.of(sparse).H
        U, S, Vh, *_ = svdinv.truncated_svd(adjoint, 3)
        np.testing.assert_allclose((U * S) @ Vh, np.conj(value.T), atol=1e-11)
        with pytest.raises(TypeError, match=r"^x: a LinearOperator has no derivative here"):
            sn.vjp(svdinv.truncated_svd, adjoint, 3)
    else:
        bridge = driver(name).bridge
        entries, make = _sparse(name, A)

        def product(entries):
            U, S, Vh, *_ = svdinv.truncated_svd(make(entries), 3)
            return (bridge.recompose(U, S, Vh),)

        prepared = bridge.prepare("vjp", product)
        (out,), (ct,) = prepared((bridge.array(entries),), (bridge.array(C),))
        out, ct = bridge.numpy(out), bridge.numpy(ct)
    np.testing.assert_allclose(out, value, atol=1e-11)
    np.testing.assert_allclose(ct, ct_A[A != 0], atol=1e-10)


@pytest.mark.parametrize("how", ["svd", "krylov"])
def test_a_long_chain_of_truncations_with_exact_multiplets(how):
    """Every value appears twice, as in corner transfer matrices with a symmetry."""
    bridge = driver("torch").bridge
    torch, st = bridge.module, bridge.library
    rng = np.random.default_rng(8)
    K, W, D = (normal(rng, (6, 6), np.zeros(0, complex)) for _ in range(3))
    Q = haar(rng, (), 6, 6, True)
    K = Q * np.array([1.0, 0.9, 0.8, 0.5, 0.3, 0.2]) @ Q.conj().T + 0.02 * K
    two, start = torch.eye(2, dtype=torch.complex128), bridge.array(np.kron(Q, np.eye(2)))
    W, D = bridge.array(np.kron(W, np.eye(2))), bridge.array(D)

    def loss(K):
        step, B = torch.kron(K.contiguous(), two), start
        for _ in range(200):
            out = st.truncated_svd(
                step @ B @ step.mH + 0.3 * start, 7, multiplets="drop", driver=how
            )
            B = (out.U * out.S) @ out.Vh / torch.linalg.vector_norm(out.S)
            counts.append(int(out.rank))
        return (W.conj() * B).sum().real

    counts = []
    leaf = bridge.array(K).requires_grad_()
    (ct,) = torch.autograd.grad(loss(leaf), leaf)
    assert set(counts) == {6}
    with torch.no_grad():
        h = 1e-5
        difference = (loss(bridge.array(K) + h * D) - loss(bridge.array(K) - h * D)) / (2 * h)
    expected = (ct.conj() * D).sum().real
    assert abs(expected - difference) <= 1e-6 * ct.norm() * D.norm()


def test_reverse_mode_of_an_operator_needs_no_memory_of_its_size():
    """No array is larger than the basis of a cycle of the iteration."""
    torch, st = driver("torch").bridge.module, driver("torch").bridge.library
    from torch.utils._python_dispatch import TorchDispatchMode

    n, largest = 4000, []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            several = out if isinstance(out, (tuple, list)) else (out,)
            largest.extend(y.numel() for y in several if isinstance(y, torch.Tensor))
            return out

    d = (1.5 ** -torch.arange(n, dtype=torch.float64)).requires_grad_()

    def scaled(X, d):
        return d[:, None] * X

    A = LinearOperator((n, n), d.dtype, scaled, scaled, (d,))
    with Watch():
        out = st.truncated_svd(A, 3)
        (out.S**2).sum().backward()
        ct, d.grad = d.grad, None
        st.truncated_svd(A, 3).U[:3].square().sum().backward()
    torch.testing.assert_close(ct[:4], torch.tensor([2.0, 4 / 3, 8 / 9, 0.0], dtype=torch.float64))
    assert max(largest) <= 4 * n * 11  # 4 blocks of 3 + 8 columns


def test_reverse_mode_of_a_sparse_matrix_needs_seven_times_its_factors():
    """All arrays at once, whatever m, n and r are."""
    scipy_sparse = pytest.importorskip("scipy.sparse")
    for m, n, r in ((6000, 4000, 3), (4000, 4000, 6)):
        k, values = np.arange(1000), 1.5 ** -np.arange(1000.0)
        A = scipy_sparse.coo_array((values, (k, k)), shape=(m, n))
        out, pullback = sn.vjp(svdinv.truncated_svd, A, r)
        cts = (np.ones_like(out.U), np.ones(r), np.ones_like(out.Vh), *[None] * 4)
        tracemalloc.start()
        (ct, *_) = pullback(cts)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert np.isfinite(ct).all()
        assert 2 * 8 * (m + n) * r <= peak <= 7 * 8 * (m + n) * r


def _of_parts(bridge, x, how="krylov"):
    """A loss of both projectors and of the values."""
    U, S, Vh, *_ = bridge.library.truncated_svd(x, 5, driver=how)
    left, right = U @ bridge.adjoint(U), bridge.adjoint(Vh) @ Vh
    total = bridge.real_sum
    return total(left[..., :3, :]) + total(right[..., 1, :]) + total(S**3)


def _of_parts_by_the_whole():
    """A batch, and the gradient by the whole decomposition in PyTorch, eager."""
    x, bridge = matrices(26, 20, False, DISTINCT), driver("torch").bridge
    leaf = bridge.array(x).requires_grad_()
    (expected,) = bridge.module.autograd.grad(_of_parts(bridge, leaf, "svd"), leaf)
    return x, expected


def test_krylov_under_transforms_of_torch():
    bridge = driver("torch").bridge
    torch, loss = bridge.module, partial(_of_parts, bridge)
    x, expected = _of_parts_by_the_whole()
    x = bridge.array(x)
    d = torch.ones_like(x)
    close = partial(torch.testing.assert_close, rtol=0, atol=1e-9)
    close(torch.func.vmap(torch.func.grad(loss))(x), expected)
    moved = torch.func.vmap(torch.func.grad(loss), in_dims=2, out_dims=2)(x.permute(1, 2, 0))
    close(moved.permute(2, 0, 1), expected)
    tangent = torch.func.vmap(lambda x, d: torch.func.jvp(loss, (x,), (d,))[1])(x, d)
    close(tangent, (expected * d).sum((-2, -1)))
    leaf = x.clone().requires_grad_()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    close(torch.autograd.grad(compiled(leaf), leaf)[0], expected)


def test_krylov_under_transforms_of_jax():
    x, expected = _of_parts_by_the_whole()
    bridge = driver("jax").bridge
    jax, loss = bridge.module, partial(_of_parts, bridge)
    found = jax.jit(jax.vmap(jax.grad(loss)))(x)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_krylov_in_a_function_of_tensorflow():
    x, expected = _of_parts_by_the_whole()
    bridge = driver("tensorflow").bridge
    tf = bridge.module

    @tf.function(autograph=False)
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = _of_parts(bridge, x)
        return tape.gradient(value, x)

    np.testing.assert_allclose(gradient(tf.constant(x)), expected, atol=1e-9)


@pytest.mark.parametrize("is_complex", [False, True])
def test_core_under_array_api_strict_stays_on_the_device(is_complex):
    xp = pytest.importorskip("array_api_strict")
    A = xp.asarray(matrices(26, 20, is_complex), device=xp.Device("device1"))
    chosen = core.Selection(RANK, 1e-3, 1e-9, 0.9999, "drop")
    found = core.Krylov(core.Dense(), 26, 20, chosen)(xp, A[..., :1, :1], A)
    factors = core.SVDFactors(*found[:3])
    AV = A @ core.adjoint(xp, factors.Vh)
    AHU = core.adjoint(xp, A) @ factors.U
    leading, best = (
        core.LeadingFactors(core.Dense(), core.Inv()),
        core.BestApproximation(core.Dense()),
    )
    at = core.Point(xp, AV, factors, (AHU, found.gap, A))
    ct_AV, (ct_AHU, *_) = leading.vjp(at, tuple(factors))
    tangents = leading.jvp(at, core.Tangents(AV, (AHU, None, None)))
    ct_best, _ = best.vjp(at, (A,))
    whole = core.Point(xp, A, core.ScaledSVD().compute(xp, A))
    (masked,) = core.LowRank(RANK, chosen).apply(whole)
    for array in (*found, ct_AV, ct_AHU, *tangents, ct_best, masked):
        assert array.device == xp.Device("device1")
    (B,) = best.apply(at)
    np.testing.assert_allclose(
        *(np.asarray(xp.asarray(x, device=xp.Device("CPU_DEVICE"))) for x in (B, masked)),
        atol=1e-11,
    )


@pytest.mark.parametrize("shape", [(0, 3), (2, 3, 0), (0, 4, 3)])
def test_matrices_without_entries(framework, shape):
    x = np.zeros(shape)
    k = min(2, *shape[-2:])
    for how in ("auto", "krylov"):
        U, S, Vh, *measures = framework.call("truncated_svd", (x,), (2,), driver=how)
        assert U.shape == (*shape[:-1], k)
        assert S.shape == (*shape[:-2], k)
        assert Vh.shape == (*shape[:-2], k, shape[-1])
        assert all(y.shape == shape[:-2] for y in measures)


def test_scales_at_which_squares_overflow_or_underflow():
    for size in (1e200, 1e-200):
        A = np.diag([3.0, 2.0, 1.0, 0.5]) * size
        (ct,) = sn.vjp(sn.low_rank, A, 2, driver="krylov")[1](np.ones((4, 4)))[:1]
        (exact,) = sn.vjp(sn.low_rank, A, 2, driver="svd")[1](np.ones((4, 4)))[:1]
        np.testing.assert_allclose(ct, exact, atol=1e-13)


def test_an_operator_of_an_array_pickles():
    A = LinearOperator.of(np.diag([3.0, 2.0, 1.0]))
    again = pickle.loads(pickle.dumps(2.0 * A))
    np.testing.assert_allclose(svdinv.truncated_svd(again, 2).S, [6.0, 4.0])


def test_a_lazy_array_cannot_be_iterated_over():
    dask = pytest.importorskip("dask.array")
    x = dask.ones((2, 4, 3), chunks=(1, 4, 3))
    with pytest.raises(ValueError, match=r"driver: 'krylov' reads values, which a dask"):
        svdinv.truncated_svd(x, 2, driver="krylov")
    out = svdinv.truncated_svd(x, 2, rtol=1e-6)
    np.testing.assert_allclose(out.S.compute(), [[12**0.5, 0]] * 2, atol=1e-12)
    np.testing.assert_array_equal(out.rank.compute(), [1, 1])


def test_half_precision_is_computed_in_single():
    bridge = driver("torch").bridge
    x = bridge.array(matrices(26, 20, False)).half()
    for how in ("svd", "krylov"):
        out = bridge.library.truncated_svd(x, 3, driver=how)
        assert {y.dtype for y in (*out[:3], *out[4:])} == {x.dtype}
        assert out.rank.dtype == bridge.module.int32
        np.testing.assert_allclose(out.S, [[3, 3, 2]] * 4, rtol=2e-3)


def test_range_projector_by_krylov_has_both_derivatives_at_ties(framework):
    for is_complex, shape in ((False, (20, 26)), (True, (26, 20))):
        A, rng = matrices(*shape, is_complex), np.random.default_rng(9)
        G, D = normal(rng, (len(GAPS), shape[0], shape[0]), A), normal(rng, A.shape, A)
        value, pullback = sn.vjp(sn.range_projector, A, rank=RANK)
        (exact,) = pullback(G)
        _, tangent = sn.jvp(sn.range_projector, (A,), (D,), rank=RANK)
        options = {"rank": RANK, "driver": "krylov"}
        (out,), (ct,) = framework.vjp("range_projector", (A,), (G,), **options)
        _, (d,) = framework.jvp("range_projector", (A,), (D,), **options)
        bound = 1e-10 / np.array(GAPS)
        assert (relative(exact, projector_gradient(A, G)) <= bound).all()
        assert (relative(out, value) <= bound).all()
        assert (relative(ct, exact) <= bound).all()
        assert (relative(d, tangent) <= bound).all()


def test_krylov_has_the_derivatives_of_the_conformance_cases():
    """The cases of `low_rank`: at ties, near them and at every scale, against 50 digits."""
    low_rank = partial(driver("torch").module.low_rank, driver="krylov")
    module = SimpleNamespace(svd=None, low_rank=low_rank)
    implementation = implement("torch", module, "krylov")
    tests = [
        test
        for test in plan(load_cases(["float32", "complex64", "float64", "complex128"]))
        if test.case.observable.kind == "low_rank" and test.check != "hvp"
    ]
    assert len(tests) > 400
    for test in tests:
        assert test.run(implementation, "cpu") <= 1, test.id


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_orthogonal_matrix_all_of_whose_values_are_tied(dtype):
    """As for orthogonal initial weights: no derivative at the cut, but moderate numbers."""
    A = haar(np.random.default_rng(10), (), 520, 520, False).astype(dtype)
    G = np.random.default_rng(11).standard_normal(A.shape).astype(dtype)
    for how in ("auto", "krylov"):
        out, pullback = sn.vjp(sn.low_rank, A, 4, driver=how)
        (ct, *_) = pullback(G)
        np.testing.assert_allclose(np.linalg.norm(out), 2.0, rtol=1e-5)
        assert np.linalg.norm(ct) <= 10 * np.linalg.norm(G)


def test_a_seed_chooses_another_block_to_begin_with():
    """One iteration shows the difference; after convergence the triples are the same."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 200)) * 0.9 ** np.arange(200)
    module = driver("numpy").module
    found = [module.truncated_svd(x, 4, driver="krylov", seed=seed) for seed in (0, 0, 7)]
    blocks = [_start(np, np.ones((1, 1)), 200, 8, seed) for seed in (0, 0, 7)]
    np.testing.assert_array_equal(blocks[0], blocks[1])
    assert np.abs(blocks[0] - blocks[2]).mean() > 0.3
    np.testing.assert_array_equal(found[0].U, found[1].U)
    assert (found[0].U != found[2].U).any()
    for other in found[1:]:
        np.testing.assert_allclose(other.S, np.linalg.svd(x)[1][:4], rtol=1e-13)
    with pytest.raises(ValueError, match=r"^seed: expected an integer of at least 0, got -1$"):
        module.truncated_svd(x, 4, seed=-1)


def test_a_compiled_derivative_that_does_not_converge_is_nan(monkeypatch):
    """A compiled program cannot warn, so the derivative is NaN instead of wrong."""
    import jax
    import svdinv.jax

    x = np.random.default_rng(0).standard_normal((41, 31))
    monkeypatch.setattr(truncated, "STEPS", 3)
    gradient = jax.jit(jax.grad(lambda x: svdinv.jax.low_rank(x, 3, driver="krylov")[0].sum()))
    assert np.isnan(np.asarray(gradient(x))).all(axis=None)
