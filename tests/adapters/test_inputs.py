"""Which inputs are accepted, which are refused with which message, and the form of results."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import svdinv
from support.drivers import FRAMEWORKS, driver
from support.family import cells, draw, normal
from svdinv_conformance.frameworks import AUTODIFF

CALLS = {  # function and its further arguments
    "svd": {},
    "svdvals": {},
    "svt": {"tau": 0.3},
    "low_rank": {"rank": 3},
    "procrustes": {},
    "polar": {},
    "eigh": {},
}


def residual(framework, **instead):
    """`gauge_residual` of a decomposition, with some of the arguments replaced."""
    given = {"U": (4, 2), "S": (2,), "Vh": (2, 3), "ct_U": (4, 2), "ct_Vh": (2, 3)}
    arrays = {name: np.ones(shape) for name, shape in given.items()} | instead
    return framework.module.gauge_residual(*(framework.array(a) for a in arrays.values()))


BAD = {
    "integers": (
        TypeError,
        lambda f: f.module.svd(f.array(np.ones((2, 2), dtype=np.int64))),
        r"^x: expected a real or complex floating-point array \(.*\), got dtype int64; convert",
    ),
    "one dimension": (
        ValueError,
        lambda f: f.module.svt(f.array(np.ones(3)), 1.0),
        r"^x: expected at least 2 dimensions \(\.\.\., m, n\), got shape \(3,\); give a matrix",
    ),
    "unknown rule": (
        ValueError,
        lambda f: f.module.svd(f.array(np.eye(2)), rule="best"),
        r"^rule: unknown rule 'best'; use one of 'auto', 'inv', 'pinv', 'plain', 'tf', 'clip',",
    ),
    "full matrices": (
        ValueError,
        lambda f: f.module.svd(f.array(np.eye(2)), full_matrices=True),
        r"^full_matrices: got True, but only the thin factors .*use full_matrices=False",
    ),
    "tau of the wrong shape": (
        ValueError,
        lambda f: f.module.svt(f.array(np.ones((4, 3, 2))), f.array(np.ones(3))),
        r"^tau: shape \(3,\) does not broadcast to the batch shape \(4,\) of x with shape "
        r"\(4, 3, 2\); give a number, or one value for each matrix$",
    ),
    "tau with too many dimensions": (
        ValueError,
        lambda f: f.module.svt(f.array(np.ones((3, 2))), f.array(np.ones(1))),
        r"^tau: shape \(1,\) does not broadcast to the batch shape \(\) of x",
    ),
    "complex tau": (
        TypeError,
        lambda f: f.module.svt(f.array(np.eye(2)), 1j),
        r"^tau: expected a real number or array, got a complex one$",
    ),
    "tau of words": (
        TypeError,
        lambda f: f.module.svt(f.array(np.eye(2)), np.array("large")),
        r"^tau: expected a real number or array, got one of dtype str",
    ),
    "tau of objects": (
        TypeError,
        lambda f: f.module.svt(f.array(np.eye(2)), np.array(None)),
        r"^tau: expected a real number or array, got one of dtype object$",
    ),
    "complex array for tau": (
        TypeError,
        lambda f: f.module.svt(f.array(np.eye(2)), f.array(np.array(1j))),
        r"^tau: expected a real number or array, got a complex one$",
    ),
    "unknown gauge": (
        ValueError,
        lambda f: f.module.svd(f.array(np.eye(2)), gauge="look"),
        r"^gauge: expected 'ignore', 'warn' or 'raise', got 'look'$",
    ),
    "unknown driver": (
        ValueError,
        lambda f: f.module.svt(f.array(np.eye(2)), 1.0, driver="lapack"),
        r"^driver: expected 'auto', 'svd', 'gram', 'qr' or 'jacobi', got 'lapack'$",
    ),
    "negative rank": (
        ValueError,
        lambda f: f.module.low_rank(f.array(np.eye(2)), -1),
        r"^rank: expected an integer of at least 0, got -1$",
    ),
    "rank between integers": (
        TypeError,
        lambda f: f.module.low_rank(f.array(np.eye(2)), 1.5),
        r"^rank: expected an integer, got float$",
    ),
    "rotation of a complex matrix": (
        ValueError,
        lambda f: f.module.procrustes(f.array(np.eye(2) + 0j), special=True),
        r"^special: a rotation is real, got a matrix of dtype complex128; use special=False for",
    ),
    "rotation of a rectangle": (
        ValueError,
        lambda f: f.module.procrustes(f.array(np.ones((3, 2))), special=True),
        r"^x: expected square matrices \(\.\.\., n, n\), got shape \(3, 2\)$",
    ),
    "eigenvalues of a rectangle": (
        ValueError,
        lambda f: f.module.eigh(f.array(np.ones((3, 2)))),
        r"^x: expected square matrices \(\.\.\., n, n\), got shape \(3, 2\)$",
    ),
    "fn that changes the shape": (
        ValueError,
        lambda f: f.module.singular_value_map(f.array(np.eye(3)), lambda s: s[..., :1]),
        r"^fn: expected an array of the shape of its argument \(3,\), got shape \(1,\)",
    ),
    "negative tau": (
        ValueError,
        lambda f: f.module.svt(f.array(np.eye(2)), -0.5),
        r"^tau: expected a number of at least 0, got -0\.5$",
    ),
    "tau of NaN": (
        ValueError,
        lambda f: f.module.svt(f.array(np.eye(2)), np.float32("nan")),
        r"^tau: expected a number of at least 0, got nan$",
    ),
    "factors of integers": (
        TypeError,
        lambda f: residual(f, ct_Vh=np.ones((2, 3), dtype=np.int64)),
        r"^ct_Vh: expected a real or complex floating-point array \(.*\), got dtype int64; convert",
    ),
    "a complex cotangent of a real factor": (
        TypeError,
        lambda f: residual(f, ct_U=np.ones((4, 2), dtype=complex)),
        r"^ct_U: expected a real array here, got dtype complex128$",
    ),
    "a cotangent of another shape": (
        ValueError,
        lambda f: residual(f, ct_U=np.ones((3, 4))),
        r"^ct_U: expected shape \(4, 2\), got \(3, 4\)$",
    ),
    "factors that do not go together": (
        ValueError,
        lambda f: residual(f, Vh=np.ones((3, 3))),
        r"^Vh: expected shape \(2, 3\), got \(3, 3\)$",
    ),
    "tau of no kind": (
        TypeError,
        lambda f: f.module.svt(f.array(np.eye(2)), "large"),
        r"^tau: expected a number or an array, got str$",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_the_same_words_everywhere(framework, case):
    error, call, words = BAD[case]
    with pytest.raises(error, match=words):
        call(framework)


@pytest.fixture
def strict():
    """Arrays of the standard, by the functions of `svdinv` itself."""
    import array_api_strict

    return SimpleNamespace(module=svdinv, array=array_api_strict.asarray)


@pytest.mark.parametrize("case", BAD)
def test_the_words_do_not_depend_on_the_framework(case, strict):
    error, call, _ = BAD[case]
    said = set()
    for framework in (*map(driver, FRAMEWORKS), strict):
        with pytest.raises(error) as caught:
            call(framework)
        said.add(str(caught.value))
    assert len(said) == 1


@pytest.mark.parametrize("name", AUTODIFF)
def test_an_array_of_no_framework_is_refused(name):
    with pytest.raises(TypeError, match=r"^x: expected a .*, got list$"):
        driver(name).module.svd([[1.0, 2.0], [3.0, 4.0]])


@pytest.mark.parametrize("x", [None, "x", [["x"]], [[1.0], [2.0, 3.0]]], ids=str)
def test_numpy_takes_lists_of_numbers_and_refuses_others(x):
    np.testing.assert_allclose(svdinv.numpy.svdvals([[3.0, 0.0], [0.0, 1.0]]), [3, 1])
    with pytest.raises(TypeError, match=r"^x: expected a numpy.ndarray, got (NoneType|str|list)$"):
        svdinv.numpy.svd(x)


@pytest.mark.parametrize("name", ["numpy", "jax", "tensorflow", "autograd"])
@pytest.mark.parametrize("dtype", [object, str, np.longdouble])
def test_an_array_of_numpy_with_a_dtype_of_its_own_is_refused(name, dtype):
    words = r"^x: expected a real or complex floating-point array .*, got dtype .*; convert it"
    with pytest.raises(TypeError, match=words):
        driver(name).module.svd(np.ones((2, 2)).astype(dtype))


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_an_array_for_a_rank_is_refused_unless_it_is_an_integer(name):
    framework = driver(name)
    x = framework.array(np.eye(3))
    framework.module.low_rank(x, framework.array(np.array(2)))
    for rank in (np.array(2.0), np.array([1, 2])):
        with pytest.raises(TypeError, match=r"^rank: expected an integer, got "):
            framework.module.low_rank(x, framework.array(rank))


def test_strict_arrays_take_numbers_of_numpy_but_no_arrays_of_it(strict):
    x = strict.array(np.diag([3.0, 1.0]))
    for tau in (np.float64(2.0), np.float32(2.0), np.int64(2)):
        np.testing.assert_array_equal(np.asarray(svdinv.svt(x, tau)), np.diag([1.0, 0.0]))
    words = r"^tau: expected a number or a array_api_strict.Array, got ndarray$"
    with pytest.raises(TypeError, match=words):
        svdinv.svt(x, np.array(2.0))


def test_dispatch_refuses_what_is_no_array():
    with pytest.raises(TypeError, match=r"^x: expected an array of NumPy, .* got list$"):
        svdinv.svd([[1.0, 2.0], [3.0, 4.0]])


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("is_complex", [False, True])
def test_non_finite_matrices_do_not_spoil_their_batch(framework, call, is_complex):
    (cell,) = cells(sizes=[(5, 4)], spectra=["pair 0"], scales=[1.0], fields=[is_complex])
    x, _ = draw(cell, 5)
    spoilt = x.copy()
    spoilt[1:4, 2, 3] = np.nan, np.inf, -np.inf
    kwargs = CALLS[call]
    if call == "eigh":
        x, spoilt = x[:, :4, :], spoilt[:, :4, :]

    def run(x):
        out = framework.call(call, (x,), **kwargs)
        cts = tuple(normal(np.random.default_rng(0), o.shape, np.iscomplexobj(o)) for o in out)
        _, (g,) = framework.vjp(call, (x,), cts, **kwargs)
        return *out, g

    for got, clean in zip(run(spoilt), run(x), strict=True):
        assert np.isnan(got[1:4]).all()
        # Equal up to rounding, because the driver is chosen for the finite matrices.
        np.testing.assert_allclose(got[[0, 4]], clean[[0, 4]], rtol=1e-11, atol=1e-13)
        assert np.isfinite(clean).all()


@pytest.mark.parametrize(
    "shape", [(0, 3), (3, 0), (0, 0), (0, 4, 3), (2, 0, 3), (2, 3, 0)], ids=str
)
@pytest.mark.parametrize("dtype", ["float64", "complex64"])
def test_sizes_of_zero(framework, shape, dtype):
    x = np.zeros(shape, dtype=dtype)
    k = min(shape[-2:])
    U, S, Vh = framework.call("svd", (x,))
    assert (U.shape, U.dtype) == ((*shape[:-1], k), x.dtype)
    assert (S.shape, S.dtype) == ((*shape[:-2], k), x.real.dtype)
    assert (Vh.shape, Vh.dtype) == ((*shape[:-2], k, shape[-1]), x.dtype)
    _, (g,) = framework.vjp("svd", (x,), (np.zeros_like(U), np.zeros_like(S), np.zeros_like(Vh)))
    assert (g.shape, g.dtype) == (shape, x.dtype)
    (B,) = framework.call("svt", (x,), tau=0.5)
    assert (B.shape, B.dtype) == (shape, x.dtype)
    _, (g,) = framework.vjp("svt", (x,), (np.zeros_like(x),), tau=0.5)
    assert (g.shape, g.dtype) == (shape, x.dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_results_come_back_in_the_dtype_they_came_in(framework, dtype):
    real = np.zeros(1, dtype).real.dtype
    x = framework.array(np.eye(4, 3, dtype=dtype) * 2)
    U, S, Vh = map(framework.numpy, framework.module.svd(x))
    assert (U.dtype, S.dtype, Vh.dtype) == (np.dtype(dtype), real, np.dtype(dtype))
    np.testing.assert_allclose((U * S) @ Vh, np.eye(4, 3) * 2, atol=1e-6)
    B = framework.numpy(framework.module.svt(x, 0.5))
    assert B.dtype == np.dtype(dtype)
    np.testing.assert_allclose(B, np.eye(4, 3) * 1.5, atol=1e-6)
    assert framework.numpy(framework.module.svdvals(x)).dtype == real


def test_half_precision_is_computed_in_single():
    import jax.numpy as jnp
    import tensorflow as tf
    import torch

    x = np.random.default_rng(0).standard_normal((2, 5, 4)).astype("float32")
    for module, half in (
        (svdinv, torch.tensor(x).bfloat16()),
        (svdinv, torch.tensor(x).half()),
        (svdinv, jnp.asarray(x, dtype=jnp.bfloat16)),
        (svdinv, tf.cast(x, tf.bfloat16)),
        (svdinv, x.astype("float16")),
    ):
        B = module.svt(half, 0.5)
        assert B.dtype == half.dtype
        U, S, Vh = module.svd(half)
        assert U.dtype == S.dtype == Vh.dtype == half.dtype

    leaf = torch.tensor(x).bfloat16().requires_grad_()
    weights = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    (svdinv.svt(leaf, 0.5).float() * weights).sum().backward()
    single = leaf.detach().float().requires_grad_()
    (svdinv.svt(single, 0.5) * weights.bfloat16()).sum().backward()
    torch.testing.assert_close(leaf.grad.float(), single.grad, rtol=1e-2, atol=1e-2)


def test_inputs_and_cotangents_are_left_as_they_were(framework):
    (cell,) = cells(sizes=[(5, 4)], spectra=["pair 0"], scales=[1.0], fields=[True])
    x, tau = draw(cell, 3)
    arrays = [framework.array(x), framework.array(tau)]
    before = [framework.numpy(a).copy() for a in arrays]
    framework.module.svt(*arrays)
    framework.module.svd(arrays[0])
    for a, b in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(framework.numpy(a), b)
    W = normal(np.random.default_rng(1), x.shape, True)
    kept = x.copy(), tau.copy(), W.copy()
    framework.vjp("svt", (x, tau), (W,))
    framework.jvp("svt", (x, tau), (W, tau))
    for a, b in zip((x, tau, W), kept, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("tau_shape", [(), (1,), (2,), (3, 1), (1, 2), (3, 2)], ids=str)
def test_tau_broadcasts_and_its_gradient_comes_back_in_its_shape(framework, tau_shape):
    rng = np.random.default_rng(2)
    x, W = rng.standard_normal((3, 2, 5, 4)), rng.standard_normal((3, 2, 5, 4))
    tau = rng.uniform(0.3, 0.6, tau_shape)
    (B,), (g, g_tau) = framework.vjp("svt", (x, tau), (W,))
    whole = np.broadcast_to(tau, (3, 2)).copy()
    (B_whole,), (g_whole, g_tau_whole) = framework.vjp("svt", (x, whole), (W,))
    np.testing.assert_allclose(B, B_whole, atol=1e-14)
    np.testing.assert_allclose(g, g_whole, atol=1e-14)
    assert g_tau.shape == tau_shape
    lead = g_tau_whole.ndim - len(tau_shape)
    summed = g_tau_whole.sum(axis=tuple(range(lead)))
    summed = summed.sum(axis=tuple(i for i, n in enumerate(tau_shape) if n == 1), keepdims=True)
    np.testing.assert_allclose(g_tau, summed.reshape(tau_shape), atol=1e-13)


def test_relative_threshold_is_a_fraction_of_the_largest_value(framework):
    rng = np.random.default_rng(3)
    x, W = rng.standard_normal((3, 5, 4)), rng.standard_normal((3, 5, 4))
    S = np.linalg.svd(x, compute_uv=False)
    (B,), (g, g_tau) = framework.vjp("svt", (x, np.array(0.4)), (W,), relative=True)
    (expected,), (g_fixed, g_t) = framework.vjp("svt", (x, 0.4 * S[:, 0]), (W,))
    np.testing.assert_allclose(B, expected, atol=1e-14)
    U, _, Vh = np.linalg.svd(x, full_matrices=False)
    through = g_fixed + 0.4 * g_t[:, None, None] * U[:, :, :1] @ Vh[:, :1, :]
    np.testing.assert_allclose(g, through, atol=1e-13)
    np.testing.assert_allclose(g_tau, np.sum(g_t * S[:, 0]), atol=1e-12)


def test_relative_threshold_with_a_repeated_largest_value_does_not_depend_on_the_vectors():
    (cell,) = cells(sizes=[(6, 6)], spectra=["all equal"], scales=[3.0], fields=[True])
    x, _ = draw(cell, 20)
    W = normal(np.random.default_rng(4), x.shape, True)
    results = [driver(n).vjp("svt", (x, np.array(0.4)), (W,), relative=True)[1] for n in FRAMEWORKS]
    for g, g_tau in results[1:]:
        np.testing.assert_allclose(g, results[0][0], atol=1e-12)
        np.testing.assert_allclose(g_tau, results[0][1], atol=1e-11)


def test_numpy_vjp_takes_functions_of_svdinv_only():
    with pytest.raises(TypeError, match=r"^fn: expected a function of svdinv"):
        svdinv.numpy.vjp(np.linalg.svd, np.eye(2))


def test_numpy_takes_functions_of_the_package_as_well():
    x = np.random.default_rng(5).standard_normal((4, 3))
    out, pullback = svdinv.numpy.vjp(svdinv.svt, x, 0.5)
    expected, _ = svdinv.numpy.vjp(svdinv.numpy.svt, x, 0.5)
    np.testing.assert_array_equal(out, expected)
    assert len(pullback(x)) == 2
    assert len(svdinv.numpy.vjp(svdinv.svt, x, tau=0.5)[1](x)) == 1
