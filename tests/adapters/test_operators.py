"""Every function of the singular values or eigenvalues: exact at ties, in every framework."""

from __future__ import annotations

import zlib
from functools import cache
from itertools import product

import mpmath as mp
import numpy as np
import pytest
from support.arrays import adjoint
from support.drivers import FRAMEWORKS, driver
from support.errors import norm, relative_error
from support.family import SCALES, SIZES, Cell, cells, draw, haar, normal, spectrum
from support.operators import CASES, Reference, condition, from_mp, to_mp
from svdinv_conformance.frameworks import AUTODIFF

TIED = {"pair 0", "pair 1e-16", "pair 1e-12", "triple", "all equal"}
APART = {"distinct", "pair 0.01", "pair 0.0001"}
BOUND = {"float64": 1e-10, "float32": 5e-5}
ADJOINT_BOUND = {"float64": 1e-12, "float32": 1e-5}
LARGEST_CONDITION = {"float64": 1e4, "float32": 1e3}  # beyond it the bound says nothing


def hermitian_part(x):
    return (x + adjoint(x)) / 2


def problem(cell, hermitian, precision):
    """A matrix (or batch) of a cell, and a direction, both exact in that precision."""
    rng = np.random.default_rng(zlib.crc32(f"{cell} {hermitian}".encode()))
    if hermitian:
        batch, n = cell.size[:-2], cell.size[-1]
        Q = haar(rng, batch, n, n, cell.complex)
        w = spectrum(rng, cell.spectrum, batch, n) * cell.scale
        x = hermitian_part((Q * w[..., None, :]) @ adjoint(Q))
        dx = hermitian_part(normal(rng, x.shape, cell.complex))
    else:
        x = draw(cell, 1)[0][0]
        dx = normal(rng, x.shape, cell.complex)
    real = {"float64": np.float64, "float32": np.float32}[precision]
    dtype = np.result_type(real, np.complex64) if cell.complex else real
    return x.astype(dtype), dx.astype(dtype)


def applies(case, cell):
    square = cell.size[-1] == cell.size[-2]
    return (square or not (case.hermitian or case.square)) and not (case.real and cell.complex)


def check_case(hold, case, name, family, x, dx, exact, bound):
    """Check a case in every framework: tangents at one matrix of each cell, cotangents at all."""
    scale, kwargs = family[0].scale, dict(case.kwargs)
    precision = "float32" if x.real.dtype == np.float32 else "float64"
    for framework in FRAMEWORKS:
        tested, static = driver(framework), case.arguments(framework, scale)
        _, douts = tested.jvp(case.function, (x,), (dx,), static=static, **kwargs)
        dout = douts[case.output]
        assert dout.real.dtype == x.real.dtype
        errors = relative_error(first(dout, x.ndim).reshape(exact.shape), exact) / bound
        what = f"{name}, derivative, {precision}, {framework}"
        hold(what, errors.max(), BOUND[precision], family[errors.argmax()])

        ct = normal(np.random.default_rng(1), dout.shape, np.iscomplexobj(dout)).astype(dout.dtype)
        cts = tuple(ct if i == case.output else None for i in range(len(douts)))
        _, (ct_x, *_) = tested.vjp(case.function, (x,), cts, static=static, **kwargs)
        gap = np.abs(inner(ct, dout, len(family)) - inner(ct_x, dx, len(family)))
        terms = np.maximum(size(ct, dout, len(family)), size(ct_x, dx, len(family)))
        what = f"{name}, forward and reverse adjoint, {precision}"
        errors = gap / np.maximum(terms, 1e-300)
        hold(what, errors.max(), ADJOINT_BOUND[precision], family[errors.argmax()])


def first(x, ndim):
    """The first matrix of each cell, from arrays for matrices ``(cells, ..., m, n)``."""
    return x[(slice(None), *(0,) * (ndim - 3))]


def inner(a, b, count):
    """``Re <a, b>``, for each cell."""
    return np.sum(np.real(np.conj(a) * b).reshape(count, -1), axis=1)


def size(a, b, count):
    return np.sqrt(inner(a, a, count) * inner(b, b, count))


def check_family(hold, family, precision):
    """Check every case in one batch of the cells where it has a derivative; return the cells."""
    differentiated = {}
    for hermitian in (False, True) if family[0].size[-2] == family[0].size[-1] else (False,):
        x, dx = map(
            np.stack, zip(*(problem(cell, hermitian, precision) for cell in family), strict=True)
        )
        references = [
            Reference(a, da, cell.scale, hermitian)
            for a, da, cell in zip(first(x, x.ndim), first(dx, x.ndim), family, strict=True)
        ]
        for name, case in CASES.items():
            if case.hermitian != hermitian or not applies(case, family[0]):
                continue
            bounds = np.array([condition(case, a) for a in first(x, x.ndim)])
            (there,) = np.nonzero(bounds < LARGEST_CONDITION[precision])
            if len(there) == 0:
                continue
            differentiated[name] = {family[i].spectrum for i in there}
            there = np.resize(there, len(family))  # some twice, for one shape and one program
            exact = np.stack([references[i].tangent(case) for i in there])
            bounds = bounds[there]
            if exact.shape[1:] == (1, 1):  # <U V^H, dx>, which may cancel: 5 times less if not
                terms = min(x.shape[-2:]) ** 0.5 * norm(first(dx, x.ndim)[there])
                bounds = bounds * terms / (5 * np.abs(exact[:, 0, 0]))
            cells = [family[i] for i in there]
            check_case(hold, case, name, cells, x[there], dx[there], exact, bounds)
    return differentiated


@pytest.mark.parametrize(
    ("size", "precision", "is_complex"),
    [
        pytest.param(
            size,
            precision,
            is_complex,
            id=f"{size}-{precision}-{'complex' if is_complex else 'real'}",
            # the square ones of a batch stand for larger ones; of wide ones, each kind once
            marks=pytest.mark.whole_family
            if size == (8, 8) or (size == (7, 12) and is_complex == (precision == "float32"))
            else (),
        )
        for size in SIZES
        for precision in BOUND
        for is_complex in (False, True)
    ],
)
def test_derivatives_are_the_50_digit_ones(hold, request, size, is_complex, precision):
    whole = request.config.getoption("--whole-family")
    turn = SIZES.index(size) + (precision == "float32") + is_complex
    for scale in SCALES if whole else SCALES[turn % len(SCALES) :][:1]:
        family = cells(sizes=[size], scales=[scale], fields=[is_complex])
        differentiated = check_family(hold, family, precision)
        for name, spectra in differentiated.items():
            assert spectra & APART, name
            assert spectra & TIED or name == "rank 2", name  # a tie may lie at the cut
        cases = {name for name, case in CASES.items() if applies(case, family[0])}
        assert set(differentiated) == cases


@cache
def whitener(framework, scale):
    """``A -> (A A^H/n + eps I)^(-1/2)`` and its tangent, in a framework."""
    tested = driver(framework)
    module, eps = tested.module, 0.1 * scale**2

    def fn(w):
        return (w + eps) ** -0.5

    if framework not in AUTODIFF:  # the operations around it have no derivative there

        def push(A, dA):
            n = A.shape[-1]
            dC = (dA @ adjoint(A) + A @ adjoint(dA)) / n
            return tested.jvp("eigenvalue_map", (A @ adjoint(A) / n,), (dC,), static=(fn,))[1][0]

        return push

    def whiten(A):
        return (module.eigenvalue_map(A @ tested.bridge.adjoint(A) / A.shape[-1], fn),)

    pushed = tested.bridge.prepare("jvp", whiten)

    def push(A, dA):
        return tested.numpy(pushed((tested.array(A),), (tested.array(dA),))[1][0])

    return push


def exact_whitener(A, dA, scale):
    """The tangent by a central difference at 50 digits."""
    step = mp.mpf(10) ** -20 * scale

    def whiten(A):
        n = A.cols
        w, Q = mp.eighe(A * A.H / n)
        return Q * mp.diag([(v + mp.mpf(0.1) * scale**2) ** mp.mpf(-0.5) for v in w]) * Q.H

    A, change = to_mp(A), to_mp(dA) * step
    return from_mp((whiten(A + change) - whiten(A - change)) / (2 * step), True)


@pytest.mark.parametrize("precision", BOUND)
@pytest.mark.parametrize("size", [(4, 6), (6, 4), (5, 5)], ids=str)
def test_whitening_with_repeated_eigenvalues(hold, size, precision):
    spectra = ["distinct", "pair 0", "triple", "all equal", "two zeros"]
    for scale, is_complex in product(SCALES, (False, True)):
        family = cells(sizes=[size], spectra=spectra, scales=[scale], fields=[is_complex])
        A, dA = map(
            np.stack, zip(*(problem(cell, False, precision) for cell in family), strict=True)
        )
        exact = np.stack([exact_whitener(a, da, scale) for a, da in zip(A, dA, strict=True)])
        for framework in FRAMEWORKS:
            errors = relative_error(whitener(framework, scale)(A, dA), exact)
            what = f"whitening, {precision}"
            hold(what, errors.max(), BOUND[precision], family[errors.argmax()])


def matrix(name, spectrum, is_complex, size):
    """One matrix for a case, and a direction."""
    cell = Cell(size, spectrum, 1.0, is_complex)
    return problem(cell, CASES[name].hermitian, "float64")


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("size", [(4, 4), (5, 3), (3, 5)], ids=str)
def test_polar_factors_and_their_derivatives(framework, size, is_complex):
    spectra = ["distinct", "pair 0", "pair 1e-12", "pair 1e-06", "triple", "all equal"]
    drawn = (matrix("unitary factor", spectrum, is_complex, size) for spectrum in spectra)
    x, dx = map(np.stack, zip(*drawn, strict=True))
    Q, H = framework.call("polar", (x,))
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
    forward = inner(cts[0], dQ, len(x)) + inner(cts[1], dH, len(x))
    np.testing.assert_allclose(inner(ct_x, dx, len(x)), forward, rtol=1e-10, atol=1e-10)


def test_nuclear_norm_and_its_least_subgradient(framework):
    x = np.diag([3.0, 3.0, 0.0])
    (value,), (g,) = framework.vjp("nuclear_norm", (x,), (np.array(1.0),))
    assert value == pytest.approx(6)
    np.testing.assert_allclose(g, np.diag([1.0, 1.0, 0.0]), atol=1e-15)


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("rule", ["inv", "pinv", "plain", "tf", "clip", "lorentzian"])
def test_eigh_of_distinct_values_under_every_rule(framework, rule, is_complex):
    rng = np.random.default_rng(3)
    x, dx = matrix("inverse root", "distinct", is_complex, (4, 4))
    w, Q = framework.call("eigh", (x,))
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


def truncated_cotangents(U, S, Vh, W, r):
    """Cotangents of the full factors for the loss ``Re <W, U[:, :r] diag(S[:r]) Vh[:r]>``."""
    cts = np.zeros_like(U), np.zeros_like(S), np.zeros_like(Vh)
    cts[0][:, :r] = (W @ adjoint(Vh) * S)[:, :r]
    cts[1][:r] = np.real(np.diagonal(adjoint(U) @ W @ adjoint(Vh)))[:r]
    cts[2][:r] = (S[:, None] * (adjoint(U) @ W))[:r]
    return cts


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("size", [(5, 4), (4, 5), (4, 4)], ids=str)
def test_truncated_factors_of_svd_have_the_exact_gradient(framework, size, is_complex):
    """Ties within the kept or dropped part do no harm; a cut through one gives finite numbers."""
    rng = np.random.default_rng(7)
    numpy = driver("numpy").module
    for values in ([3.0, 2.0, 1.0, 0.5], [3.0, 3.0, 1.0, 0.5], [3.0, 2.0, 1.0, 1.0], [3, 2, 2, 1]):
        U, V = haar(rng, (), size[0], 4, is_complex), haar(rng, (), size[1], 4, is_complex)
        x = (U * np.array(values)) @ adjoint(V)
        W = normal(rng, x.shape, is_complex)
        factors = framework.call("svd", (x,))
        _, (got,) = framework.vjp("svd", (x,), truncated_cotangents(*factors, W, 2))
        if values[1] == values[2]:
            assert np.abs(got).max() < 100
        else:
            (exact,) = numpy.vjp(numpy.low_rank, x, 2)[1](W)
            np.testing.assert_allclose(got, exact, atol=1e-11)


def test_numpy_says_when_fn_is_not_complex():
    from svdinv.numpy import singular_value_map, vjp

    _, pullback = vjp(singular_value_map, np.eye(2), np.abs)
    with pytest.raises(TypeError, match=r"^fn: expected a function that takes and returns complex"):
        pullback(np.eye(2))


def test_cell_of_the_family_is_what_it_says():
    x, _ = draw(Cell((5, 3), "triple", 1.0, False), 1)
    S = np.linalg.svd(x[0], compute_uv=False)
    assert np.ptp(S) < 1e-14
