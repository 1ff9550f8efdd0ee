"""Every function of the singular values or eigenvalues: exact at ties, in every framework."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import mpmath as mp
import numpy as np
import pytest
from support.drivers import FRAMEWORKS, driver
from support.errors import norm
from support.family import Cell, cells, draw, haar, normal

mp.mp.dps = 50
SPECTRA = ("distinct", "pair 0", "pair 1e-12", "pair 1e-06", "triple", "all equal")


def adjoint(x):
    return np.conj(np.swapaxes(x, -1, -2))


def tanh(framework):
    """tanh in the operations of a framework (also of complex arrays, for NumPy's step)."""
    return {
        "numpy": np.tanh,
        "torch": lambda s: s.tanh(),
        "jax": lambda s: __import__("jax").numpy.tanh(s),
        "tensorflow": lambda s: __import__("tensorflow").tanh(s),
    }[framework]


def inverse_root(framework):
    return lambda w: (w + 0.1) ** -0.5


@dataclass(frozen=True)
class Case:
    """A public function, its further arguments, and its value at 50 digits."""

    function: str
    arguments: object  # framework name -> further positional arguments
    values: object  # (singular values, U, Vh) -> f(S), all mpmath; None for other kinds
    condition: object = lambda S, x: 1.0  # (singular values, matrix)
    hermitian: bool = False
    real_square: bool = False
    kwargs: tuple = ()


def kept(S, rank):
    return [s if i < rank else mp.mpf(0) for i, s in enumerate(S)]


def rotation_values(S, U, Vh):
    sign = 1 if mp.det(U * Vh) > 0 else -1
    return [mp.mpf(1)] * (len(S) - 1) + [mp.mpf(sign)]


CASES = {
    "soft threshold": Case(
        "svt", lambda f: (0.3,), lambda S, U, Vh: [max(s - mp.mpf(0.3), mp.mpf(0)) for s in S]
    ),
    "tanh": Case(
        "singular_value_map", lambda f: (tanh(f),), lambda S, U, Vh: list(map(mp.tanh, S))
    ),
    "rank 2": Case(
        "low_rank",
        lambda f: (2,),
        lambda S, U, Vh: kept(S, 2),
        lambda S, x: S[1] / (S[1] - S[2]),
    ),
    "unitary factor": Case(
        "procrustes",
        lambda f: (),
        lambda S, U, Vh: [mp.mpf(1)] * len(S),
        lambda S, x: S[0] / S[-1],
    ),
    "rotation": Case(
        "procrustes",
        lambda f: (),
        rotation_values,
        lambda S, x: S[0] / (S[-2] + np.sign(np.linalg.det(x)) * S[-1]),
        real_square=True,
        kwargs=(("special", True),),
    ),
    "inverse root": Case(
        "eigenvalue_map",
        lambda f: (inverse_root(f),),
        lambda w, U, Vh: [(v + mp.mpf(0.1)) ** mp.mpf(-0.5) for v in w],
        hermitian=True,
    ),
}


def to_mp(x):
    rows, columns = x.shape
    cast = mp.mpc if np.iscomplexobj(x) else mp.mpf
    entry = (lambda v: cast(v.real, v.imag)) if np.iscomplexobj(x) else cast
    return mp.matrix([[entry(x[i, j]) for j in range(columns)] for i in range(rows)])


def from_mp(x, like):
    get = (lambda v: complex(v)) if np.iscomplexobj(like) else (lambda v: float(mp.re(v)))
    return np.array([[get(x[i, j]) for j in range(x.cols)] for i in range(x.rows)])


def operator(case, A):
    """The function itself at 50 digits."""
    is_complex = any(mp.im(v) != 0 for v in A)
    if case.hermitian:
        w, Q = mp.eighe(A) if is_complex else mp.eigsy(A)
        return Q * mp.diag(case.values(list(w), None, None)) * Q.H
    if A.rows < A.cols:
        return operator(case, A.H).H
    U, S, V = mp.svd_c(A) if is_complex else mp.svd_r(A)
    return U * mp.diag(case.values(list(S), U, V)) * V


def exact_tangent(case, x, dx):
    """Central difference of the function in 50-digit arithmetic, with a step of 1e-17."""
    A, dA, h = to_mp(x), to_mp(dx), mp.mpf(10) ** -17
    difference = operator(case, A + h * dA) - operator(case, A - h * dA)
    return from_mp(difference / (2 * h), dx)


def matrix(case, spectrum, is_complex, size):
    rng = np.random.default_rng(sum(map(ord, f"{spectrum}{is_complex}{size}")))
    (cell,) = cells(sizes=[size], spectra=[spectrum], scales=[1.0], fields=[is_complex])
    if case.hermitian:
        n = size[0]
        w = {
            "distinct": np.linspace(0.2, 1, n),
            "pair 0": np.array([0.3, 0.3, 0.8, 1.0][:n]),
            "pair 1e-12": np.array([0.3, 0.3 + 1e-12, 0.8, 1.0][:n]),
            "pair 1e-06": np.array([0.3, 0.3 + 1e-6, 0.8, 1.0][:n]),
            "triple": np.array([0.3, 0.3, 0.3, 1.0][:n]),
            "all equal": np.ones(n),
        }[spectrum]
        Q = haar(rng, (), n, n, is_complex)
        x = (Q * w) @ adjoint(Q)
        return (x + adjoint(x)) / 2, normal(rng, (n, n), is_complex)
    return draw(cell, 1)[0][0], normal(rng, draw(cell, 1)[0][0].shape, is_complex)


def exists(name, spectrum, is_complex, size):
    """Whether the function takes such a matrix, and has a derivative there."""
    case = CASES[name]
    if case.real_square and (is_complex or size[0] != size[1]):
        return False
    if case.hermitian and size[0] != size[1]:
        return False
    return condition(case, matrix(case, spectrum, is_complex, size)[0]) < 1e4


def condition(case, x):
    """The function's own condition: how far its derivative can exceed its argument."""
    with np.errstate(divide="ignore", invalid="ignore"):  # a cut or a sign within a tie: infinite
        return case.condition(np.linalg.svd(x, compute_uv=False), x)


EXISTING = [
    combination
    for combination in product(CASES, SPECTRA, (False, True), ((4, 4), (5, 3), (3, 5)))
    if exists(*combination)
]


def test_every_function_is_differentiated_at_a_tie():
    for name in CASES:
        spectra = {spectrum for case, spectrum, *_ in EXISTING if case == name}
        assert "distinct" in spectra
        assert spectra & {"pair 0", "triple", "all equal"}, name


@pytest.mark.parametrize(("name", "spectrum", "is_complex", "size"), EXISTING)
def test_derivative_is_the_50_digit_one(hold, name, spectrum, is_complex, size):
    case = CASES[name]
    x, dx = matrix(case, spectrum, is_complex, size)
    if case.hermitian:
        dx = (dx + adjoint(dx)) / 2
    exact, bound = exact_tangent(case, x, dx), condition(case, x)
    kwargs = dict(case.kwargs)
    ct = normal(np.random.default_rng(1), x.shape, is_complex)
    for framework in FRAMEWORKS:
        tested, static = driver(framework), case.arguments(framework)
        _, (dout,) = tested.jvp(case.function, (x,), (dx,), static=static, **kwargs)
        error = norm(dout - exact) / norm(exact)
        hold(f"{name}, derivative, {framework}", error / bound, 1e-10, (spectrum, size))

        _, (ct_x, *_) = tested.vjp(case.function, (x,), (ct,), static=static, **kwargs)
        gap = abs(np.vdot(ct, dout).real - np.vdot(ct_x, dx).real)
        size_of_terms = max(norm(ct_x) * norm(dx), norm(ct) * norm(dout))
        hold(f"{name}, forward and reverse adjoint", gap / size_of_terms, 1e-12)


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("size", [(4, 4), (5, 3), (3, 5)], ids=str)
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_polar_factors_and_their_derivatives(framework, spectrum, size, is_complex):
    x, dx = matrix(CASES["unitary factor"], spectrum, is_complex, size)
    Q, H = map(framework.numpy, framework.module.polar(framework.array(x)))
    product = Q @ H if size[0] >= size[1] else H @ Q
    np.testing.assert_allclose(product, x, atol=1e-13)
    np.testing.assert_allclose(H, adjoint(H), atol=1e-14)
    assert np.linalg.eigvalsh(H).min() > 0
    (_, _), (dQ, dH) = framework.jvp("polar", (x,), (dx,))
    product = dQ @ H + Q @ dH if size[0] >= size[1] else dH @ Q + H @ dQ
    np.testing.assert_allclose(product, dx, atol=1e-11)  # d(Q H) = dx
    np.testing.assert_allclose(dH, adjoint(dH), atol=1e-12)
    cts = (
        normal(np.random.default_rng(1), Q.shape, is_complex),
        normal(np.random.default_rng(2), H.shape, is_complex),
    )
    _, (ct_x,) = framework.vjp("polar", (x,), cts)
    forward = np.vdot(cts[0], dQ).real + np.vdot(cts[1], dH).real
    assert np.vdot(ct_x, dx).real == pytest.approx(forward, rel=1e-10, abs=1e-10)


def test_nuclear_norm_and_its_least_subgradient(framework):
    x = np.diag([3.0, 3.0, 0.0])
    (value,), (g,) = framework.vjp("nuclear_norm", (x,), (np.array(1.0),))
    assert value == pytest.approx(6)
    np.testing.assert_allclose(g, np.diag([1.0, 1.0, 0.0]), atol=1e-15)


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("rule", ["inv", "pinv", "plain", "tf", "clip", "lorentzian"])
def test_eigh_of_distinct_values_under_every_rule(framework, rule, is_complex):
    rng = np.random.default_rng(3)
    x, dx = matrix(CASES["inverse root"], "distinct", is_complex, (4, 4))
    w, Q = map(framework.numpy, framework.module.eigh(framework.array(x)))
    np.testing.assert_allclose((Q * w) @ adjoint(Q), x, atol=1e-14)
    W = normal(rng, x.shape, is_complex)
    f, df = np.tanh(w), 1 - np.tanh(w) ** 2
    # cotangents of Re <W, Q tanh(w) Q^H>
    ct_w = np.real(np.diagonal(adjoint(Q) @ W @ Q)) * df
    ct_Q = ((W + adjoint(W)) @ Q) * f
    _, (ct_x,) = framework.vjp("eigh", (x,), (ct_w, ct_Q), rule=rule)
    np.testing.assert_allclose(ct_x, adjoint(ct_x), atol=1e-13)
    gamma = np.array(
        [[df[i] if i == j else (f[i] - f[j]) / (w[i] - w[j]) for j in range(4)] for i in range(4)]
    )
    expected = Q @ (gamma * (adjoint(Q) @ (W + adjoint(W)) @ Q / 2)) @ adjoint(Q)
    np.testing.assert_allclose(ct_x, expected, atol=1e-12)
    _, (dw, dQ) = framework.jvp("eigh", (x,), (dx,), rule=rule)
    forward = np.sum(ct_w * dw) + np.vdot(ct_Q, dQ).real
    assert np.vdot(ct_x, dx).real == pytest.approx(forward, rel=1e-11)


@pytest.mark.parametrize("rule", ["inv", "pinv", "tf", "clip", "taylor", "lorentzian"])
@pytest.mark.parametrize("x", [np.eye(3), np.zeros((3, 3)), np.diag([-1.0, 1.0, 1.0])], ids=str)
def test_eigh_is_finite_at_ties(framework, rule, x):
    rng = np.random.default_rng(4)
    cts = rng.standard_normal(3), rng.standard_normal((3, 3))
    _, (ct_x,) = framework.vjp("eigh", (x,), cts, rule=rule)
    assert np.isfinite(ct_x).all()


@pytest.mark.parametrize("name", ["torch", "jax", "tensorflow"])
def test_a_parameter_in_fn_gets_its_gradient(name):
    """``U diag(S**p) Vh`` at a tie: dB/dp = U diag(S**p log S) Vh."""
    x = 2 * np.eye(3)
    W = np.random.default_rng(5).standard_normal((3, 3))
    expected = np.sum(W * np.eye(3) * 8 * np.log(2))
    module = driver(name).module
    if name == "torch":
        import torch

        p = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
        B = module.singular_value_map(torch.tensor(x), lambda s: s**p)
        (B * torch.tensor(W)).sum().backward()
        got = p.grad.item()
    elif name == "jax":
        import jax

        def loss(p):
            return jax.numpy.sum(module.singular_value_map(x, lambda s: s**p) * W)

        got = float(jax.jit(jax.grad(loss))(3.0))
    else:
        import tensorflow as tf

        p = tf.Variable(3.0, dtype=tf.float64)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(module.singular_value_map(tf.constant(x), lambda s: s**p) * W)
        got = float(tape.gradient(loss, p))
    assert got == pytest.approx(expected, rel=1e-12)


HVP_CASES = ("soft threshold", "tanh", "rank 2", "unitary factor", "rotation", "inverse root")


def gradients(name, case):
    """``x -> gradient of sum(B**2 * W)`` in a framework, and its directional derivative."""
    kwargs, arguments = dict(case.kwargs), case.arguments(name)

    if name == "torch":
        import torch

        module = driver(name).module

        def loss(x, W):
            return (getattr(module, case.function)(x, *arguments, **kwargs) ** 2 * W).sum()

        def gradient(x, W):
            return torch.func.grad(loss)(torch.tensor(x), torch.tensor(W)).numpy()

        def second(x, dx, W):
            leaf = torch.tensor(x, requires_grad=True)
            (g,) = torch.autograd.grad(loss(leaf, torch.tensor(W)), leaf, create_graph=True)
            return torch.autograd.grad((g * torch.tensor(dx)).sum(), leaf)[0].numpy()

    elif name == "jax":
        jax = driver(name).jax
        module = driver(name).module

        def loss(x, W):
            return jax.numpy.sum(getattr(module, case.function)(x, *arguments, **kwargs) ** 2 * W)

        def gradient(x, W):
            return np.asarray(jax.grad(loss)(jax.numpy.asarray(x), W))

        def second(x, dx, W):
            return np.asarray(
                jax.jit(lambda x: jax.jvp(lambda y: jax.grad(loss)(y, W), (x,), (dx,))[1])(
                    jax.numpy.asarray(x)
                )
            )

    else:
        import tensorflow as tf

        module = driver(name).module

        def first(x, W):
            with tf.GradientTape() as tape:
                tape.watch(x)
                B = getattr(module, case.function)(x, *arguments, **kwargs)
                loss = tf.reduce_sum(B**2 * W)
            return tape.gradient(loss, x)

        def gradient(x, W):
            return first(tf.constant(x), W).numpy()

        def second(x, dx, W):
            x = tf.constant(x)
            with tf.GradientTape() as tape:
                tape.watch(x)
                slope = tf.reduce_sum(first(x, W) * dx)
            return tape.gradient(slope, x, unconnected_gradients="zero").numpy()

    return gradient, second


@pytest.mark.parametrize("framework_name", ["torch", "jax", "tensorflow"])
@pytest.mark.parametrize("case_name", HVP_CASES)
def test_second_derivative_matches_differences_and_is_finite_at_ties(
    hold, framework_name, case_name
):
    case = CASES[case_name]
    gradient, second = gradients(framework_name, case)
    x, dx = matrix(case, "distinct", False, (4, 4))
    if case.hermitian:
        dx = (dx + dx.T) / 2
    W = np.random.default_rng(6).standard_normal(x.shape)
    h = 1e-5
    difference = (gradient(x + h * dx, W) - gradient(x - h * dx, W)) / (2 * h)
    got = second(x, dx, W)
    if case.hermitian:
        got = (got + got.T) / 2
    hold(f"{case_name}, second derivative", norm(got - difference) / norm(difference), 1e-6)
    for tied in (np.eye(4), np.diag([1.0, 1.0, 0.5, 0.0]), np.zeros((4, 4))):
        assert np.isfinite(second(tied, dx, W)).all()


def test_truncated_factors_of_svd_have_the_exact_gradient(framework):
    """A loss of ``U[:, :r], S[:r], Vh[:r]`` that is the rank-r part, ties in and below it."""
    rng = np.random.default_rng(7)
    for values in ([3.0, 2.0, 1.0, 0.5], [3.0, 3.0, 1.0, 0.5], [3.0, 2.0, 1.0, 1.0]):
        U, V = haar(rng, (), 5, 4, False), haar(rng, (), 4, 4, False)
        x = (U * np.array(values)) @ V.T
        W = rng.standard_normal(x.shape)
        U, S, Vh = map(framework.numpy, framework.module.svd(framework.array(x)))
        r = 2
        cts = np.zeros_like(U), np.zeros_like(S), np.zeros_like(Vh)
        cts[0][:, :r] = (W @ Vh.T * S)[:, :r]
        cts[1][:r] = np.diagonal(U.T @ W @ Vh.T)[:r]
        cts[2][:r] = (S[:, None] * (U.T @ W))[:r]
        _, (got,) = framework.vjp("svd", (x,), cts)
        _, pullback = driver("numpy").module.vjp(driver("numpy").module.low_rank, x, r)
        (exact,) = pullback(W)
        np.testing.assert_allclose(got, exact, atol=1e-11)


BAD = {
    "rank": (ValueError, lambda m, x: m.low_rank(x, -1), r"^rank: .* at least 0, got -1$"),
    "rank of no integer": (TypeError, lambda m, x: m.low_rank(x, 1.5), r"^rank: .* got float$"),
    "special": (
        ValueError,
        lambda m, x: m.procrustes(x[..., :2], special=True),
        r"^x: expected square matrices \(\.\.\., n, n\), got shape \(3, 2\)$",
    ),
    "eigh": (ValueError, lambda m, x: m.eigh(x[..., :2]), r"^x: expected square matrices"),
    "fn": (
        ValueError,
        lambda m, x: m.singular_value_map(x, lambda s: s[..., :1]),
        r"^fn: expected an array of the shape of its argument \(3,\), got shape \(1,\)",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_refused(framework, case):
    error, call, words = BAD[case]
    with pytest.raises(error, match=words):
        call(framework.module, framework.array(np.eye(3)))


def test_a_complex_rotation_is_refused(framework):
    with pytest.raises(ValueError, match=r"^special: a rotation is real, got .* complex128"):
        framework.module.procrustes(framework.array(np.eye(3) + 0j), special=True)


def test_numpy_says_when_fn_is_not_complex():
    from svdinv.numpy import singular_value_map, vjp

    _, pullback = vjp(singular_value_map, np.eye(2), np.abs)
    with pytest.raises(TypeError, match=r"^fn: expected a function that takes and returns complex"):
        pullback(np.eye(2))


def test_cell_of_the_family_is_what_it_says():
    x, _ = draw(Cell((5, 3), "triple", 1.0, False), 1)
    S = np.linalg.svd(x[0], compute_uv=False)
    assert np.ptp(S) < 1e-14
