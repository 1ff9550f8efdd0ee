"""A test for each reported fault, in our own words.

First come the faults of this library that were found with public reports and hostile input, F1 to
S1; then public reports about singular values, vectors and their gradients, each with its number. A
docstring says what was wrong, if the fault was ours, and the test asserts what is right.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
import svdinv
import svdinv.numpy as sn
import svdinv.torch as st
import torch
from support.drivers import driver
from support.errors import rejected
from svdinv import rules
from torch.autograd import forward_ad

A = np.array([[4.0, 1.0, 0.0], [1.0, 3.0, 1.0], [0.0, 1.0, 2.0]])
EAGER = ("numpy", "torch", "autograd")


def gradient(framework, name, x, *static, ct=None, **kwargs):
    """Gradient of the sum of a result, or of another linear function of it."""
    run = driver(framework)
    out = run.call(name, (x,), static, **kwargs)
    cts = tuple(np.ones_like(y) for y in out) if ct is None else ct
    return run.vjp(name, (x,), cts, static, **kwargs)[1][0]


def hessian(fn, x):
    return torch.autograd.functional.hessian(fn, torch.tensor(x)).numpy().astype(np.float64)


# ---------------------------------------------------------------- F: wrong numbers


SCALAR_OF_VALUES = {
    "nuclear_norm": lambda x, c: st.nuclear_norm(x),
    "positive": lambda x, c: st.polar(x).positive[0, 1],
    "svt": lambda x, c: st.svt(x, 0.5, relative=True)[0, 1],
    "low_rank": lambda x, c: st.low_rank(x, 2)[0, 1],
    "map": lambda x, c: st.singular_value_map(x, lambda s: s * (s / c))[0, 1],
}


@pytest.mark.parametrize("scale", [1e-20, 1e20, 1e30])
@pytest.mark.parametrize("name", SCALAR_OF_VALUES)
def test_f1_second_derivatives_do_not_depend_on_the_scale(name, scale):
    """NaN at 1e-20, twice too large at 1e30: the derivative of 1/x was formed as 1/x^2."""
    fn = SCALAR_OF_VALUES[name]
    exact = hessian(lambda x: fn(x, 1.0), A)
    found = hessian(lambda x: fn(x, scale), (scale * A).astype(np.float32)) * scale
    np.testing.assert_allclose(found, exact, atol=1e-5 * np.abs(exact).max())


@pytest.mark.parametrize("framework", EAGER)
def test_f2_subnormal_values(framework):
    for tiny, dtype in ((1e-40, np.float32), (1e-310, np.float64)):
        beside_one = np.diag([1, tiny]).astype(dtype)
        np.testing.assert_allclose(gradient(framework, "svt", beside_one, 0.0), 1.0, rtol=1e-6)
        alone = np.diag([2 * tiny, tiny]).astype(dtype)
        np.testing.assert_allclose(gradient(framework, "nuclear_norm", alone), np.eye(2), atol=1e-6)
        np.testing.assert_allclose(
            gradient(framework, "svt", alone, 0.25, relative=True), [[0.5, 1], [1, 1]], rtol=1e-4
        )
        # 2/(2 + 1) above the diagonal for plus and minus alike: 2/(2 - 1) and 2/(2 + 1), meaned.
        np.testing.assert_allclose(
            gradient(framework, "low_rank", alone, 1), [[1, 2], [2, 0]], rtol=1e-3
        )
        for name in ("singular_value_map", "eigenvalue_map"):
            np.testing.assert_allclose(
                gradient(framework, name, alone, lambda s: 2 * s), 2.0, rtol=1e-4
            )


TIED = np.diag([2.0, 2.0, 1.0])
OFF_DIAGONAL = np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize("name", ["eigenvalue_map", "singular_value_map"])
@pytest.mark.parametrize("framework", EAGER)
def test_f3_a_function_that_mixes_the_values(framework, name):
    """Entry (0, 1) was 0, and 1/5 is right: the slope is only a part of the derivative."""
    run = driver(framework)

    def share(w):
        return w / w.sum(-1)[..., None]

    _, (ct,) = run.vjp(name, (TIED,), (OFF_DIAGONAL,), (share,), elementwise=False)
    np.testing.assert_allclose(ct[:2, :2], [[0, 0.2], [0.2, 0]], atol=1e-14)
    _, (dout,) = run.jvp(name, (TIED,), (OFF_DIAGONAL,), (share,), elementwise=False)
    np.testing.assert_allclose(dout[:2, :2], [[0, 0.2], [0.2, 0]], atol=1e-14)
    with pytest.raises(ValueError, match=r"^fn: a result depends on other values .* elementwise"):
        run.vjp(name, (TIED,), (OFF_DIAGONAL,), (share,))


def test_f3_under_a_compiler_the_gradient_is_nan():
    import jax
    import svdinv.jax as sj

    @jax.jit
    def both(x):
        def loss(x, **kwargs):
            return (sj.eigenvalue_map(x, lambda w: w / w.sum(), **kwargs) * OFF_DIAGONAL).sum()

        return jax.grad(loss)(x), jax.grad(lambda x: loss(x, elementwise=False))(x)

    mixed, right = both(TIED)
    assert np.isnan(mixed).all()
    np.testing.assert_allclose(right[0, 1], 0.2, rtol=1e-6)


def test_f3_in_a_tensorflow_function_the_gradient_is_nan():
    import svdinv.tensorflow as stf
    import tensorflow as tf

    @tf.function
    def both(x):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            mixed, right = (
                tf.reduce_sum(
                    OFF_DIAGONAL
                    * stf.singular_value_map(
                        x, lambda s: s / tf.reduce_sum(s), elementwise=elementwise
                    )
                )
                for elementwise in (True, False)
            )
        return tape.gradient(mixed, x), tape.gradient(right, x)

    mixed, right = both(tf.constant(TIED))
    assert np.isnan(mixed.numpy()).all()
    np.testing.assert_allclose(right.numpy()[0, 1], 0.2, rtol=1e-12)


@pytest.mark.parametrize("name", ["singular_value_map", "eigenvalue_map"])
@pytest.mark.parametrize(
    "fn", [lambda s: s * abs(s), lambda s: s * np.conj(s), lambda s: s / (s.real + 1)]
)
def test_f4_a_function_that_takes_complex_numbers_and_is_not_analytic(fn, name):
    """The slopes were [2, 1], [0, 0] and [.33, .5]."""
    _, pullback = sn.vjp(getattr(sn, name), np.diag([2.0, 1.0]), fn)
    with pytest.raises(ValueError, match=r"^fn: .* is not analytic"):
        pullback(np.eye(2))


@pytest.mark.parametrize("framework", EAGER)
def test_f5_an_infinite_threshold(framework):
    for relative in (False, True):
        for x in (A, np.zeros((3, 3))):
            ct = gradient(framework, "svt", x, np.inf, relative=relative)
            np.testing.assert_array_equal(ct, 0)


@pytest.mark.parametrize("framework", EAGER)
def test_f6_just_below_overflow(framework):
    """The error of the positive factor's gradient was 20 %, and a relative threshold gave NaN."""
    large = (np.float32(5e37) * A).astype(np.float32)
    ct = (np.zeros((3, 3), np.float32), np.eye(3, dtype=np.float32)[[1, 0, 2]])
    run = driver(framework)
    for name, static, kwargs, cts in (
        ("polar", (), {}, ct),
        ("svt", (0.3,), {"relative": True}, ct[1:]),
        ("low_rank", (1,), {}, ct[1:]),
    ):
        exact = run.vjp(name, (A,), tuple(c.astype(np.float64) for c in cts), static, **kwargs)
        found = run.vjp(name, (large,), cts, static, **kwargs)
        np.testing.assert_allclose(found[1][0], exact[1][0], atol=2e-6)


def test_f7_second_derivatives_at_a_tie():
    assert hessian(st.nuclear_norm, np.eye(2))[0, 1, 0, 1] == pytest.approx(0.5)


@pytest.mark.parametrize("framework", EAGER)
def test_f8_an_infinite_cotangent_is_not_passed_over(framework):
    run = driver(framework)
    cts = (np.full((2, 2), np.inf), np.zeros(2), np.zeros((2, 2)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(svdinv.GaugeError):
            run.vjp("svd", (np.eye(2),), cts, gauge="raise")


@pytest.mark.parametrize(
    ("rule", "arguments", "error", "words"),
    [
        ("Inv", {"degeneracy_rtol": -1}, ValueError, "degeneracy_rtol: .* at least 0, got -1"),
        ("Inv", {"degeneracy_rtol": "a"}, TypeError, "degeneracy_rtol: .* number, got str"),
        ("Pinv", {"rank_rtol": float("nan")}, ValueError, "rank_rtol: .* got nan"),
        ("Lorentzian", {"broadening": 0}, ValueError, "broadening: .* above 0, got 0"),
        ("Inv", {"limit": 0}, ValueError, "limit: .* above 0, got 0"),
        ("Clip", {"limit": -1}, ValueError, "limit: .* above 0, got -1"),
        ("Clip", {"limit": None}, TypeError, "limit: .* number, got NoneType"),
        ("Taylor", {"terms": 2.5}, TypeError, "terms: .* integer, got float"),
        ("Taylor", {"terms": -1}, ValueError, "terms: .* at least 0, got -1"),
    ],
)
def test_f9_rules_with_impossible_numbers(rule, arguments, error, words):
    with pytest.raises(error, match=f"^{words}"):
        getattr(rules, rule)(**arguments)


def test_f10_a_threshold_of_another_framework():
    """It was accepted, and its gradient lost. A NumPy array has no gradient to lose."""
    import jax.numpy as jnp
    import svdinv.autograd as sa
    import svdinv.jax as sj
    import svdinv.tensorflow as stf
    import tensorflow as tf

    own = {
        sn: (np.eye(2), np.asarray(0.5)),
        sa: (np.eye(2), np.asarray(0.5)),
        st: (torch.eye(2), torch.tensor(0.5)),
        sj: (jnp.eye(2), jnp.asarray(0.5)),
        stf: (tf.eye(2), tf.constant(0.5)),
    }
    for module, (x, tau) in own.items():
        for number in (tau, np.asarray(0.5), np.float32(0.5), 0.5):
            assert float(module.svt(x, number)[0, 0]) == pytest.approx(0.5)
        for other in (torch.tensor(0.5), jnp.asarray(0.5), tf.constant(0.5)):
            if type(other) is not type(tau):
                with pytest.raises(TypeError, match=r"^tau: expected a number or a "):
                    module.svt(x, other)


@pytest.mark.parametrize("shape", [(0, 0), (0, 3, 3), (3, 0)])
def test_f12_forward_mode_of_an_empty_complex_matrix(shape):
    x = torch.zeros(shape, dtype=torch.complex128)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x, x.clone())
        maps = [st.singular_value_map, *([st.eigenvalue_map] if shape[-1] == shape[-2] else [])]
        for function in maps:
            tangent = forward_ad.unpack_dual(function(dual, lambda s: s * s)).tangent
            assert (tangent.shape, tangent.dtype) == (shape, torch.complex128)


@pytest.mark.parametrize("framework", EAGER)
def test_f13_a_threshold_in_the_shape_of_an_image(framework):
    rng = np.random.default_rng(0)
    images, W = rng.standard_normal((2, 2, 3, 4, 5))
    tau = rng.uniform(0.1, 0.5, (2, 1, 1, 1))
    run = driver(framework)
    (out,), (ct_x, ct_tau) = run.vjp("svt", (images, tau), (W,))
    (same,), (same_x, same_tau) = run.vjp("svt", (images, tau[..., 0, 0]), (W,))
    np.testing.assert_array_equal(out, same)
    np.testing.assert_array_equal(ct_x, same_x)
    assert ct_tau.shape == tau.shape
    np.testing.assert_array_equal(ct_tau[..., 0, 0], same_tau)
    rejected(ValueError, "tau", lambda: run.call("svt", (images, np.ones((4, 1)))))


# ---------------------------------------------------------------- C: crashes


def test_c1_functions_pickle():
    """`tests/test_public.py` has every function of every module."""
    assert pickle.loads(pickle.dumps(st.svt)) is st.svt
    with pytest.raises(TypeError, match=r"^svt\(\) missing 1 required positional argument: 'tau'$"):
        st.svt(torch.eye(2))


class Program(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize("function", [lambda x: st.svt(x, 0.3), lambda x: st.low_rank(x, 1)])
def test_c2_export_with_a_batch_of_any_length(function):
    """The library compared the number of operations with a bound, which limited the program."""
    batch = torch.export.Dim("batch")
    example = torch.randn(4, 3, 3, generator=torch.Generator().manual_seed(0))
    exported = torch.export.export(
        Program(function), (example,), dynamic_shapes={"x": {0: batch}}
    ).module()
    large = torch.randn(1500, 3, 3, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(exported(large), function(large), rtol=0, atol=1e-4)


def test_c3_a_threshold_that_changes_under_a_compiler():
    torch._dynamo.reset()
    count = 0

    def backend(graph, _inputs):
        nonlocal count
        count += 1
        return graph.forward

    compiled = torch.compile(st.svt, fullgraph=True, backend=backend)
    x = torch.tensor(A)
    for tau in (0.5, 0.4, 0.3, 0.2):
        torch.testing.assert_close(compiled(x, tau), st.svt(x, tau))
    assert count == 2


@pytest.mark.parametrize("name", ["singular_value_map", "eigenvalue_map"])
def test_c4_what_inference_mode_made(name):
    with torch.inference_mode():
        x = torch.tensor(A)
        inside = getattr(st, name)(x, torch.tanh)
    outside = getattr(st, name)(x, torch.tanh)
    torch.testing.assert_close(outside, inside.clone())
    assert not outside.requires_grad


AT_EXIT = """
import atexit, sys
import numpy as np
import svdinv.{module} as module
{setup}
x = {array}
if sys.argv[1:]:
    module.svdvals(x)
atexit.register(lambda: print(float(module.svdvals(x).sum())))
"""


@pytest.mark.parametrize("before", [[], ["before"]])
@pytest.mark.parametrize("module", ["torch", "numpy"])
def test_c5_values_while_the_interpreter_ends(module, before):
    matrices = "np.random.default_rng(0).standard_normal((64, 32, 32))"
    setup, array = {
        "torch": ("import torch; torch.set_num_threads(2)", f"torch.tensor({matrices})"),
        "numpy": ("from svdinv import _numpy_batches as b; b.threads = lambda: 2", matrices),
    }[module]
    program = AT_EXIT.format(module=module, setup=setup, array=array)
    done = subprocess.run(
        [sys.executable, "-c", program, *before], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    expected = np.linalg.svd(np.random.default_rng(0).standard_normal((64, 32, 32)))[1].sum()
    assert float(done.stdout) == pytest.approx(expected), done.stderr


def test_c6_no_ranks_are_promoted():
    import jax
    import jax.numpy as jnp
    import svdinv.jax as sj

    x = jnp.asarray(np.stack([A, 2 * A]))

    @jax.jit
    def program(x):
        def loss(x):
            soft = sj.svt(x, 0.5) + sj.svt(x, jnp.ones(2)) + sj.svt(x, 0.5, relative=True)
            maps = sj.singular_value_map(x, jnp.tanh) + sj.eigenvalue_map(x, jnp.tanh)
            return jnp.sum(soft) + jnp.sum(maps) + jnp.sum(sj.polar(x).positive)

        return jax.value_and_grad(loss)(x)

    expected = program(x)
    jax.clear_caches()
    with jax.numpy_rank_promotion("raise"):
        found = program(x)
    np.testing.assert_array_equal(found[1], expected[1])


def test_c7_export_with_a_symbolic_length():
    import jax
    import svdinv.jax as sj
    from jax import export

    def program(x):
        return sj.svd(x).S, sj.svt(x, 0.3)

    shape = export.symbolic_shape("m, 4", constraints=["m >= 4"])
    exported = export.export(jax.jit(program))(jax.ShapeDtypeStruct(shape, np.float64))
    x = np.random.default_rng(0).standard_normal((7, 4))
    for found, expected in zip(exported.call(x), program(x), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-12)
    unknown = jax.ShapeDtypeStruct(export.symbolic_shape("m, 4"), np.float64)
    with pytest.raises(ValueError, match=r"^x: it is not known here which of m and n is larger"):
        export.export(jax.jit(program))(unknown)


def test_c8_cotangents_and_tangents_of_every_kind():
    x = np.diag([3.0, 1.0])
    _, pullback = sn.vjp(sn.nuclear_norm, x)
    np.testing.assert_allclose(pullback(1.0)[0], np.eye(2), atol=1e-15)
    rejected(TypeError, "ct_out", lambda: pullback(1j))
    rejected(TypeError, "ct_out", lambda: pullback("a"))
    rejected(ValueError, "ct_out", lambda: pullback([1.0]))
    _, pullback = sn.vjp(sn.svt, x, 0.5)
    np.testing.assert_allclose(pullback([[1, 0], [0, 1]])[0], np.eye(2), atol=1e-15)
    rejected(ValueError, "ct_out", lambda: pullback(np.ones((3, 3))))
    rejected(ValueError, "ct_out", lambda: pullback(np.ones((1, 2, 2))))
    _, pullback = sn.vjp(sn.svd, x)
    np.testing.assert_allclose(pullback((None, [1, 1], None))[0], np.eye(2), atol=1e-15)
    rejected(ValueError, "ct_S", lambda: pullback((None, [1], None)))
    rejected(TypeError, "ct_out", lambda: pullback(np.ones(3)))
    rejected(TypeError, "tangents", lambda: sn.jvp(sn.svt, (x, 0.5), (x, None, None)))
    rejected(TypeError, "tangents", lambda: sn.jvp(sn.svt, (x,), (x, 1.0), tau=0.5))
    rejected(TypeError, r"tangents\[1\]", lambda: sn.jvp(sn.low_rank, (x, 1), (x, 1.0)))
    rejected(ValueError, r"tangents\[0\]", lambda: sn.jvp(sn.svdvals, (x,), (np.ones(2),)))
    np.testing.assert_allclose(sn.jvp(sn.svt, (x, 0.5), ([[0, 0], [0, 0]], 1.0))[1], -np.eye(2))


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4)])
def test_c9_complex_results_are_not_yet_to_be_conjugated(shape):
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.standard_normal(shape) + 1j * rng.standard_normal(shape))
    x.requires_grad_()
    functions = [
        lambda x: st.svt(x, 0.3),
        lambda x: st.svt(x, 0.3, driver="gram"),
        lambda x: st.low_rank(x, 1),
        lambda x: st.singular_value_map(x, torch.tanh),
        lambda x: st.polar(x)[0],
        lambda x: st.polar(x)[1],
        lambda x: st.svd(x).U,
        lambda x: st.svd(x).Vh,
    ]
    for function in functions:
        out = function(x)
        (ct,) = torch.autograd.grad(out, x, torch.ones_like(out))
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(x.detach(), torch.ones_like(x))
            tangent = forward_ad.unpack_dual(function(dual)).tangent
        for tensor in (out.detach(), ct, tangent.detach()):
            assert not tensor.is_conj()
            assert not tensor.is_neg()
            tensor.numpy()


@pytest.mark.filterwarnings("ignore::UserWarning")  # sparse and nested tensors are in beta state
def test_c10_what_is_not_a_batch_of_matrices():
    import dask.array as da
    import svdinv.tensorflow as stf
    import tensorflow as tf

    eye = torch.eye(2)
    rejected(TypeError, "x", lambda: st.svt(eye.to_sparse_csr(), 0.5))
    rejected(TypeError, "x", lambda: st.svd(torch.nested.nested_tensor([eye, eye])))
    ragged = tf.ragged.constant([[[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]]])
    rejected(TypeError, "x", lambda: stf.svt(ragged, 0.5))
    unknown = da.from_array(np.ones((4, 2, 2)), chunks=(2, 2, 2))
    rejected(ValueError, "x", lambda: svdinv.svt(unknown[unknown[:, 0, 0] > 0], 0.5))
    traced = tf.function(stf.svt, input_signature=[tf.TensorSpec((2, 2)), tf.TensorSpec(None)])
    with pytest.raises(ValueError, match="tau: the number of dimensions is not known here"):
        traced(tf.eye(2), tf.constant(0.5))
    torch.testing.assert_close(st.low_rank(eye, 2**70), eye)


# ---------------------------------------------------------------- public reports


def rotation(rng, count, n=3):
    Q = np.linalg.qr(rng.standard_normal((count, n, n)))[0]
    return Q * np.sign(np.linalg.det(Q))[:, None, None]


def test_jax_40185_one_over_x_is_differentiated_at_any_scale():
    """1/x has a derivative of 1/x^2, which overflows long before the answer does."""
    exact = hessian(st.nuclear_norm, A)
    found = hessian(st.nuclear_norm, 1e-200 * A) * 1e-200
    np.testing.assert_allclose(found, exact, atol=1e-12)


@pytest.mark.parametrize("framework", EAGER)
def test_jax_8732_gradient_of_the_nuclear_norm_with_tied_values(framework):
    """It was NaN; the right gradient is the unitary polar factor."""
    for x in (np.eye(3), -2 * np.eye(3), np.diag([3.0, 3.0, 1.0])):
        np.testing.assert_allclose(gradient(framework, "nuclear_norm", x), np.sign(x), atol=1e-14)


@pytest.mark.parametrize("framework", EAGER)
def test_jax_508_and_keras_13759_the_projector_on_the_range(framework):
    """Users asked for the derivative of full matrices; the projector is what depends on A."""
    rng = np.random.default_rng(0)
    x, dx, W = rng.standard_normal((3, 5, 2))
    out, (dout,) = (
        driver(framework).jvp("polar", (x,), (dx,))[0],
        driver(framework).jvp("polar", (x,), (dx,))[1][:1],
    )
    Q = out[0]
    projector = Q @ Q.T
    change = dout @ Q.T + Q @ dout.T
    h = 1e-6
    ahead, behind = (np.linalg.qr(x + s * h * dx)[0] for s in (1, -1))
    difference = (ahead @ ahead.T - behind @ behind.T) / (2 * h)
    np.testing.assert_allclose(projector, x @ np.linalg.pinv(x), atol=1e-12)
    np.testing.assert_allclose(change, difference, atol=1e-8)
    assert W.shape == x.shape


@pytest.mark.parametrize("framework", EAGER)
def test_pytorch_65911_and_jax_2792_pseudoinverse(framework):
    """The gradient was NaN for tied values; f(s) = 1/s is one of the functions of the values."""
    x = np.diag([2.0, 2.0, 0.5])[:, [1, 2, 0]]
    W = np.random.default_rng(0).standard_normal((3, 3))
    (out,), (ct,) = driver(framework).vjp("singular_value_map", (x,), (W,), (lambda s: 1 / s,))
    inverse = np.linalg.inv(x)
    np.testing.assert_allclose(out, inverse.T, atol=1e-13)
    np.testing.assert_allclose(ct, -inverse.T @ W.T @ inverse.T, atol=1e-8)


@pytest.mark.parametrize("framework", EAGER)
def test_pytorch_25481_torchmetrics_1705_dynamiqs_237_square_root_of_a_matrix(framework):
    """Through eigh, the gradient for a covariance with tied eigenvalues was NaN."""
    x = np.diag([4.0, 4.0, 1.0])
    W = np.random.default_rng(0).standard_normal((3, 3))
    W = W + W.T
    (out,), (ct,) = driver(framework).vjp("eigenvalue_map", (x,), (W,), (lambda w: w**0.5,))
    root = np.diag(np.sqrt(np.diag(x)))
    np.testing.assert_allclose(out, root, atol=1e-14)
    # X with X root + root X = W
    exact = W / (np.diag(root)[:, None] + np.diag(root)[None, :])
    np.testing.assert_allclose(ct, exact, atol=1e-9)


@pytest.mark.parametrize("framework", EAGER)
def test_torchvision_8577_torchmetrics_2691_roma_6_rotation_between_point_sets(framework):
    """The Kabsch rotation of sets that are mirrored, or lie in a plane."""
    rng = np.random.default_rng(0)
    points = rng.standard_normal((4, 10, 3))
    points[1, :, 2] = 0  # in a plane
    R = rotation(rng, 4)
    moved = points @ R.swapaxes(-1, -2)
    covariance = moved.swapaxes(-1, -2) @ points
    run = driver(framework)
    (found,) = run.call("procrustes", (covariance,), special=True)
    np.testing.assert_allclose(found, R, atol=1e-12)
    W = rng.standard_normal((4, 3, 3))
    _, (ct,) = run.vjp("procrustes", (covariance,), (W,), special=True)
    direction = rng.standard_normal((4, 3, 3))
    h = 1e-6
    ahead, behind = (
        run.call("procrustes", (covariance + s * h * direction,), special=True)[0] for s in (1, -1)
    )
    np.testing.assert_allclose(
        np.sum(ct * direction, axis=(1, 2)),
        np.sum(W * (ahead - behind), axis=(1, 2)) / (2 * h),
        atol=1e-7,
    )


@pytest.mark.parametrize("framework", EAGER)
def test_pyproximal_52_the_proximal_operator_of_the_nuclear_norm(framework):
    """A minimum of ``|B - A|^2/2 + tau |B|_*`` has ``A - B`` in tau times the subdifferential."""
    x = np.random.default_rng(0).standard_normal((4, 3))
    tau = 0.8
    (B,) = driver(framework).call("svt", (x,), (tau,))
    S = np.linalg.svd(x - B)[1]
    assert S[0] <= tau * (1 + 1e-12)
    assert np.sum((x - B) * B) == pytest.approx(tau * np.linalg.svd(B)[1].sum())


@pytest.mark.parametrize("framework", EAGER)
def test_optax_1100_a_matrix_clipped_to_a_spectral_norm(framework):
    """No value is above the bound, and the gradient is exact at ties."""
    x = np.diag([3.0, 3.0, 0.5])
    (B,) = driver(framework).call("svt", (x,), (1.0,))
    np.testing.assert_allclose(x - B, np.diag([1.0, 1.0, 0.5]), atol=1e-14)
    W = np.random.default_rng(0).standard_normal((3, 3))
    ct = W - driver(framework).vjp("svt", (x,), (W,), (1.0,))[1][0]
    np.testing.assert_allclose(ct[:2, :2], (W - W.T)[:2, :2] / 6, atol=1e-13)
    assert ct[2, 2] == pytest.approx(W[2, 2])


def test_felupe_67_energy_of_the_undeformed_state():
    """Principal stretches all 1: the stress of ``sum (s - 1)^2`` is 0, of ``sum s`` is I."""
    F = torch.eye(3, dtype=torch.float64, requires_grad=True)
    S = st.svdvals(F)
    (stress,) = torch.autograd.grad(((S - 1) ** 2).sum(), F)
    np.testing.assert_array_equal(stress, 0)
    np.testing.assert_allclose(gradient("torch", "nuclear_norm", np.eye(3)), np.eye(3), atol=1e-15)


@pytest.mark.parametrize("framework", EAGER)
def test_pytorch_69531_and_quimb_396_gradient_of_a_truncation(framework):
    """The part through the dropped vectors was missing."""
    rng = np.random.default_rng(0)
    x, W, direction = rng.standard_normal((3, 6, 4))
    run = driver(framework)
    _, (ct,) = run.vjp("low_rank", (x,), (W,), (2,))
    h = 1e-6
    ahead, behind = (run.call("low_rank", (x + s * h * direction,), (2,))[0] for s in (1, -1))
    assert np.sum(ct * direction) == pytest.approx(np.sum(W * (ahead - behind)) / (2 * h), rel=1e-7)


@pytest.mark.parametrize("framework", EAGER)
def test_krylovkit_110_ties_within_what_is_kept_and_what_is_dropped(framework):
    x = np.diag([3.0, 3.0, 1.0, 1.0])
    W = np.random.default_rng(0).standard_normal((4, 4))
    _, (ct,) = driver(framework).vjp("low_rank", (x,), (W,), (2,))
    np.testing.assert_allclose(ct[:2, :2], W[:2, :2], atol=1e-14)
    np.testing.assert_array_equal(ct[2:, 2:], 0)
    # kept by dropped: plus is 3/(3 - 1), minus 3/(3 + 1)
    P, Q = W[:2, 2:], W[2:, :2].T
    np.testing.assert_allclose(ct[:2, 2:], 0.75 * (P + Q) + 0.375 * (P - Q), atol=1e-13)


@pytest.mark.parametrize("framework", EAGER)
def test_tensorly_30_and_527_a_threshold_for_every_slice(framework):
    """One call for all slices of a tensor, each with its own threshold."""
    rng = np.random.default_rng(0)
    tensor, tau = rng.standard_normal((5, 4, 3)), rng.uniform(0.1, 2, 5)
    (out,) = driver(framework).call("svt", (tensor, tau))
    for matrix, t, found in zip(tensor, tau, out, strict=True):
        U, S, Vh = np.linalg.svd(matrix, full_matrices=False)
        np.testing.assert_allclose(found, U * np.maximum(S - t, 0) @ Vh, atol=1e-12)


def test_pytorch_86234_one_bad_matrix_does_not_spoil_its_batch():
    """A batch in which one matrix has a NaN raised an error for all."""
    x = torch.stack([torch.tensor(A), torch.full((3, 3), torch.nan, dtype=torch.float64)])
    U, S, Vh = st.svd(x)
    torch.testing.assert_close((U[0] * S[0]) @ Vh[0], x[0])
    assert S[1].isnan().all()
    # Nor does a matrix with subnormal entries besides a 1, for which LAPACK does not converge.
    y = torch.zeros(1, 6, 3, dtype=torch.complex64)
    y[0, 1, 0], y[0, 3, 2], y[0, 4, 1] = -7.3e-11, 1.4e-45, 1
    torch.testing.assert_close(st.svd(y).S[0], torch.tensor([1, 7.3e-11, 0]))


@pytest.mark.parametrize("count", [1, 300])
def test_pytorch_174674_many_small_matrices_are_the_same_as_one(count):
    """A batch is decomposed in pieces; whatever the pieces, the numbers are the same."""
    x = np.broadcast_to(A, (count, 3, 3)).copy()
    w, Q = st.eigh(torch.tensor(x))
    recomposed = ((Q * w[:, None]) @ Q.mT).numpy()
    np.testing.assert_allclose(recomposed, x, atol=1e-13)
