"""The named functions are exact at ties, near them and at any scale."""

from __future__ import annotations

import itertools
import re

import mpmath as mp
import numpy as np
import pytest
from support.arrays import adjoint
from support.drivers import driver
from support.family import Cell, cells, draw, haar, normal, spectrum
from support.functions import CALLS, NAMED, REAL_CALLS, WEIGHTS, Exact
from support.operators import from_mp, to_mp

import svdinv_core

NUMPY = driver("numpy")
SPECTRA = ("distinct", "pair 0", "pair 1e-12", "pair 1e-06", "triple", "all equal", "two zeros")
BOUND = {"float64": 1e-11, "float32": 2e-5}
LARGEST_CONDITION = {"float64": 1e4, "float32": 1e3}


def single(x):
    return x.astype(np.complex64 if np.iscomplexobj(x) else np.float32)


def in_precision(x, precision):
    return single(x) if precision == "float32" else x


def semidefinite(cell):
    rng = cell.rng()
    n = cell.size[-1]
    Q = haar(rng, (), n, n, cell.complex)
    w = spectrum(rng, cell.spectrum, (), n) * cell.scale
    x = (Q * w) @ adjoint(Q)
    return (x + adjoint(x)) / 2


def hold_case(hold, name, case, cell, precision, x, dx, exact, bound):
    static = case.arguments(cell.scale)
    args, tangents = (x,), (dx,)
    if "weights" in name:
        static = (*static, np.array(WEIGHTS[: min(cell.size)]))
    _, douts = NUMPY.jvp(case.function, args, tangents, static=static, **dict(case.kwargs))
    dout = douts[case.output]
    assert dout.real.dtype == x.real.dtype
    dout = dout if dout.ndim > 1 else dout[..., None, None]
    error = np.linalg.norm(dout - exact) / max(np.linalg.norm(exact), 1e-3 * abs(cell.scale))
    hold(f"{name}, derivative, {precision}", error / bound, BOUND[precision], cell)

    ct = normal(np.random.default_rng(1), dout.shape, np.iscomplexobj(dout)) * cell.scale
    ct = in_precision(ct, precision)
    cts = tuple(ct.reshape(d.shape) if i == case.output else None for i, d in enumerate(douts))
    _, (ct_x, *_) = NUMPY.vjp(case.function, args, cts, static=static, **dict(case.kwargs))
    ct, ct_x, dout, dx = (np.asarray(a, np.complex128) for a in (ct, ct_x, dout, dx))
    gap = abs(np.vdot(ct, dout).real - np.vdot(ct_x, dx).real)
    size = np.linalg.norm(ct) * np.linalg.norm(dout) + np.linalg.norm(ct_x) * np.linalg.norm(dx)
    hold(
        f"{name}, adjoint, {precision}", gap / size, {"float64": 1e-13, "float32": 1e-5}[precision]
    )


@pytest.mark.parametrize("precision", BOUND)
@pytest.mark.parametrize("size", [(4, 4), (4, 3), (3, 4)], ids=str)
def test_derivatives_at_50_digits(hold, size, precision):
    """Over spectra and scales; each spectrum has one scale, because scales matter alone."""
    seen = {}
    for i, cell in enumerate(cells(sizes=[size], spectra=SPECTRA, scales=[1.0])):
        scale = (1e-30, 1.0, 1e30)[i % 3]
        for hermitian in (False, True) if size[0] == size[1] else (False,):
            for unit in (True, False):
                at = Cell(size, cell.spectrum, 1.0 if unit else scale, cell.complex)
                if not unit and scale == 1.0:
                    continue
                x = semidefinite(at) if hermitian else draw(at, 1)[0][0]
                dx = normal(np.random.default_rng(i), x.shape, at.complex)
                dx = (dx + adjoint(dx)) / 2 if hermitian else dx
                x, dx = (in_precision(a, precision) for a in (x, dx * at.scale))
                s = np.linalg.eigvalsh(x) if hermitian else np.linalg.svd(x, compute_uv=False)
                exact = Exact(x, dx, at.scale, hermitian)
                for name, case in NAMED.items():
                    if case.hermitian != hermitian or not (case.scales or unit):
                        continue
                    with np.errstate(divide="ignore"):
                        bound = max(case.condition(s / np.abs(s).max()), 1.0)
                    if bound < LARGEST_CONDITION[precision]:
                        tangent = exact.tangent(case)
                        hold_case(hold, name, case, at, precision, x, dx, tangent, bound)
                        seen.setdefault(name, set()).add(at.spectrum)
    for name, spectra in seen.items():
        assert "distinct" in spectra, name
        assert spectra & {"pair 0", "triple", "all equal"}, name
    if size[0] == size[1]:
        assert set(seen) == set(NAMED)


# Every function in every framework: one program with all of them, against NumPy's one by one.


def inputs(is_complex):
    """Matrices with ties, by the name of the input."""
    rng = np.random.default_rng(8)
    U, V = haar(rng, (), 4, 3, is_complex), haar(rng, (), 3, 3, is_complex)
    Q, R = haar(rng, (), 3, 3, is_complex), haar(rng, (), 3, 3, is_complex)
    x = (U * np.array([1.0, 1.0, 0.5])) @ adjoint(V)
    h = (Q * np.array([2.0, 2.0, 0.5])) @ adjoint(Q)
    d = (R * np.array([2.0, 1.0, -0.5])) @ adjoint(R)
    given = {"x": x, "h": (h + adjoint(h)) / 2, "d": (d + adjoint(d)) / 2}
    given |= {"b": normal(rng, (4, 2), is_complex), "z": normal(rng, (2, 3, 3), is_complex)}
    given |= {"t": np.array(0.7), "w": np.array([0.5, 0.5, 0.9])}
    if not is_complex:
        corners = np.array([[a, b, c] for a in (-1.0, 1) for b in (-1.0, 1) for c in (-1.0, 1)])
        turn = haar(rng, (), 3, 3, False)
        turn[:, 0] *= np.linalg.det(turn)
        q = corners @ turn.T + 0.3 * rng.standard_normal((8, 3))
        given |= {"p": corners, "q": q, "u": np.linspace(1.0, 2.0, 8)}
    return given


def weighted(out, rng):
    """A random weight for each output that has a derivative, None for the others."""
    exact = [np.issubdtype(np.asarray(y).dtype, np.inexact) for y in out]
    draws = [normal(rng, np.shape(y), np.iscomplexobj(y)) for y in map(np.asarray, out)]
    return tuple(W if keep else None for W, keep in zip(draws, exact, strict=True))


def expected(calls, given, tangents):
    """Weights, gradients of the weighted sum by the inputs, and its tangent, from NumPy."""
    rng = np.random.default_rng(9)
    weights, gradients, total = [], {k: np.zeros_like(v) for k, v in given.items()}, 0.0
    for call in calls:
        arguments = tuple(given[i] for i in call.inputs)
        fn = getattr(NUMPY.module, call.function)
        out, pullback = NUMPY.module.vjp(fn, *arguments, *call.static, **call.options())
        several = isinstance(out, tuple)
        W = weighted(out if several else (out,), rng)
        if call.function == "align_points":
            W = (*W[:3], None)  # the margin has no derivative
        if call.function == "lstsq":
            W[-1][:2] = 1.0  # the two values are one
        weights.append(W)
        for i, ct in zip(call.inputs, pullback(W if several else W[0]), strict=False):
            gradients[i] = gradients[i] + ct
            total += np.vdot(ct, tangents[i]).real
    return weights, gradients, total


def loss_of(calls, weights, module, given, times):
    """``Re sum conj(W) y`` over all outputs."""
    total = 0.0
    for call, W in zip(calls, weights, strict=True):
        for weight, y in zip(W, call(module, given), strict=True):
            if weight is not None:
                total = total + times(weight, y)
    return total


def differentiated(framework, loss, given, tangents):
    """Gradients by the inputs, as NumPy arrays, and the tangent."""
    names = tuple(given)
    if framework == "torch":
        import torch

        leaves = [torch.tensor(given[n], requires_grad=True) for n in names]
        total = loss(driver("torch").module, dict(zip(names, leaves, strict=True)), torch_times)
        gradients = torch.autograd.grad(total, leaves)

        def of(*arrays):
            return loss(driver("torch").module, dict(zip(names, arrays, strict=True)), torch_times)

        primals = tuple(leaf.detach() for leaf in leaves)
        directions = tuple(torch.tensor(tangents[n]) for n in names)
        tangent = torch.func.jvp(of, primals, directions)[1]
        return {n: g.numpy() for n, g in zip(names, gradients, strict=True)}, float(tangent)
    if framework == "jax":
        import jax

        module = driver("jax").module

        def times(W, y):
            return jax.numpy.sum(jax.numpy.real(np.conj(W) * y))

        gradients = jax.jit(jax.grad(lambda arrays: loss(module, arrays, times)))(given)
        return {n: np.conj(g) for n, g in gradients.items()}, None  # its transpose
    if framework == "tensorflow":
        import tensorflow as tf

        module = driver("tensorflow").module
        leaves = {n: tf.constant(given[n]) for n in names}
        directions = [tf.constant(tangents[n]) for n in names]

        def times(W, y):
            return tf.reduce_sum(tf.math.real(tf.constant(np.conj(W)) * y))

        with tf.GradientTape() as tape:
            tape.watch(leaves)
            total = loss(module, leaves, times)
        gradients = tape.gradient(total, leaves)
        with tf.autodiff.ForwardAccumulator(list(leaves.values()), directions) as accumulator:
            total = loss(module, leaves, times)
        return {n: g.numpy() for n, g in gradients.items()}, float(accumulator.jvp(total))
    import autograd
    import autograd.numpy as anp

    module = driver("autograd").module

    def of(arrays):
        given = dict(zip(names, arrays, strict=True))
        return loss(module, given, lambda W, y: anp.sum(anp.real(np.conj(W) * y)))

    arrays = tuple(given[n] for n in names)
    gradients = autograd.grad(of)(arrays)
    _, tangent = autograd.make_jvp(of)(arrays)(tuple(tangents[n] for n in names))
    return {n: np.conj(g) for n, g in zip(names, gradients, strict=True)}, float(tangent)


def distance(got, expected):
    return np.linalg.norm(np.ravel(got - expected)) / np.linalg.norm(np.ravel(expected))


def torch_times(W, y):
    import torch

    product = torch.tensor(np.conj(W)) * y
    return (product.real if product.is_complex() else product).sum()


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("name", ["torch", "jax", "tensorflow", "autograd"])
def test_every_framework_has_the_derivatives_of_numpy(hold, name, is_complex):
    given = inputs(is_complex)
    rng = np.random.default_rng(10)
    tangents = {k: normal(rng, v.shape, np.iscomplexobj(v)) for k, v in given.items()}
    for k in ("h", "d"):
        tangents[k] = (tangents[k] + adjoint(tangents[k])) / 2
    tangents["w"][:2] = 1.0  # at a tie weights have a derivative together
    calls = CALLS if is_complex else CALLS + REAL_CALLS
    weights, gradients, total = expected(calls, given, tangents)

    def loss(module, arrays, times):
        return loss_of(calls, weights, module, arrays, times)

    found, tangent = differentiated(name, loss, given, tangents)
    for key, gradient in gradients.items():
        got = (found[key] + adjoint(found[key])) / 2 if key in "hd" else found[key]
        if key == "w":
            got, gradient = (np.array([g[0] + g[1], g[2]]) for g in (got, gradient))
        hold(f"gradient by {key}, {name}", distance(got, gradient), 1e-12)
    if tangent is not None:
        hold(f"tangent, {name}", abs(tangent - total) / abs(total), 1e-12)


# Further promises of single functions.


def of_rank(rng, m, n, values, is_complex):
    """A matrix of a given rank as a product, and a direction that keeps the rank."""
    B = haar(rng, (), m, len(values), is_complex) * np.array(values)
    C = adjoint(haar(rng, (), n, len(values), is_complex))
    dB, dC = normal(rng, B.shape, is_complex), normal(rng, C.shape, is_complex)
    return B, C, dB, dC


def exact_inverse(B, C):
    """``pinv(B C)`` of factors of full rank."""
    return C.H * mp.inverse(C * C.H) * mp.inverse(B.H * B) * B.H


@pytest.mark.parametrize("precision", BOUND)
@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("size", [(5, 5), (6, 4), (4, 6)], ids=str)
def test_inverses_at_constant_rank_with_ties(hold, size, is_complex, precision):
    rng = np.random.default_rng(3)
    h = mp.mpf(10) ** -20
    for values in ([1.0, 1.0, 0.5], [1.0, 1.0, 1.0], [1.0, 0.5, 0.5]):
        B, C, dB, dC = of_rank(rng, *size, values, is_complex)
        x, dx = (in_precision(a, precision) for a in (B @ C, dB @ C + B @ dC))
        mB, mC, mdB, mdC = map(to_mp, (B, C, dB, dC))
        ahead, behind = ((mB + s * mdB, mC + s * mdC) for s in (h, -h))

        def change(f, ahead=ahead, behind=behind):
            return from_mp((f(*ahead) - f(*behind)) / (2 * h), is_complex)

        condition = 2.0 if precision == "float64" else 2.0**2  # x itself is rounded
        _, (dP,) = NUMPY.jvp("pinv", (x,), (dx,))
        hold(
            f"pinv, {precision}", distance(dP, change(exact_inverse)) / condition, BOUND[precision]
        )
        _, (dR,) = NUMPY.jvp("range_projector", (x,), (dx,))
        exact = change(lambda B, C: B * mp.inverse(B.H * B) * B.H)
        hold(f"range_projector, {precision}", distance(dR, exact) / condition, BOUND[precision])

        b, db = (in_precision(normal(rng, size[:1], is_complex), precision) for _ in range(2))
        (y, residuals, rank, s), (dy, dres, _, _) = NUMPY.jvp("lstsq", (x, b), (dx, db))
        assert rank == 3
        np.testing.assert_allclose(s[:3], values, rtol=1e-6)
        mb, mdb = to_mp(b[:, None]), to_mp(db[:, None])
        ends = [exact_inverse(*e) * (mb + t * mdb) for e, t in ((ahead, h), (behind, -h))]
        exact = from_mp((ends[0] - ends[1]) / (2 * h), is_complex)[:, 0]
        hold(f"lstsq, {precision}", distance(dy, exact) / condition, BOUND[precision])
        r = b - x @ y
        np.testing.assert_allclose(residuals, np.vdot(r, r).real, rtol=1e-4)
        dr = db - dx @ y - x @ dy
        np.testing.assert_allclose(dres, 2 * np.vdot(r, dr).real, rtol=1e-3)


def test_least_squares_as_numpy_has_it(framework):
    rng = np.random.default_rng(4)
    a, b = rng.standard_normal((6, 3)), rng.standard_normal((6, 2))
    expected = np.linalg.lstsq(a, b)
    got = framework.module.lstsq(framework.array(a), framework.array(b))
    for field, value in zip(("x", "residuals", "rank", "s"), expected, strict=True):
        np.testing.assert_allclose(framework.numpy(getattr(got, field)), value, rtol=1e-12)
    vector = framework.module.lstsq(framework.array(a), framework.array(b[:, 0]))
    np.testing.assert_allclose(framework.numpy(vector.x), expected[0][:, 0], rtol=1e-12)
    assert framework.numpy(vector.residuals).shape == ()


def covariance(rng, n, rank):
    y = rng.standard_normal((n, rank))
    return y, y @ y.T / rank


def test_trace_of_a_root_of_covariances_of_low_rank():
    """As in the Frechet distance: rank 3 in 20 dimensions, float32."""
    import torch
    from svdinv.torch import sqrtm

    rng = np.random.default_rng(5)
    (y, _), (_, B) = covariance(rng, 20, 3), covariance(rng, 20, 3)

    def loss(y, B):
        root = sqrtm(y @ y.T / 3)
        return torch.trace(sqrtm(root @ B @ root))

    w, Q = np.linalg.eigh(B)
    z = Q[:, -3:] * np.sqrt(w[-3:])  # the trace is the nuclear norm of the factors' product
    U, S, Vh = np.linalg.svd(y.T @ z / np.sqrt(3))
    exact, gradient = S.sum(), z @ (U @ Vh).T / np.sqrt(3)
    leaf = torch.tensor(y, dtype=torch.float32, requires_grad=True)
    value = loss(leaf, torch.tensor(B, dtype=torch.float32))
    value.backward()
    assert value.item() == pytest.approx(exact, rel=1e-3)
    assert distance(leaf.grad.numpy(), gradient) < 1e-3


@pytest.mark.parametrize("is_complex", [False, True])
def test_functions_undo_each_other(hold, is_complex):
    """The composition is the identity, and so are the gradients."""
    cell = Cell((4, 4), "pair 0", 1.0, is_complex)
    x = semidefinite(cell) + 0.1 * np.eye(4)
    dx = normal(np.random.default_rng(6), x.shape, is_complex)
    dx = (dx + adjoint(dx)) / 2
    for precision, bound in {"float64": 1e-11, "float32": 1e-5}.items():
        y, dy = (in_precision(a, precision) for a in (x, dx))
        condition = np.linalg.cond(x)

        def push(name, x, dx, *static, **kwargs):
            out, dout = NUMPY.module.jvp(getattr(NUMPY.module, name), (x, *static), (dx,), **kwargs)
            return out, dout

        def same(what, got, expected, bound=bound * condition, precision=precision):
            hold(f"{what}, {precision}", distance(got, expected), bound)

        log = push("expm", *push("logm", y, dy))
        same("expm of logm", log[0], y)
        same("its derivative", log[1], dy)
        grown = push("expm", y, dy)
        back = push("logm", *grown)
        loose = bound * np.linalg.cond(grown[0])
        same("logm of expm", back[0], y, loose)
        same("its derivative", back[1], dy, loose)
        root, droot = push("sqrtm", y, dy)
        same("square of sqrtm", root @ root, y)
        same("its derivative", droot @ root + root @ droot, dy)
        inverse, dinverse = push("inv_sqrtm", y, dy)
        same("inv_sqrtm", inverse @ y @ inverse, np.eye(4))
        same("its derivative", dinverse, -inverse @ droot @ inverse)
        cube = push("powm", *push("powm", y, dy, 3.0), 1 / 3)
        same("cube root of the cube", cube[0], y)
        same("its derivative", cube[1], dy)


def umeyama(p, q, w, scale):
    """The closed form of 1991, for one pair of sets."""
    w = w / w.sum()
    p0, q0 = w @ p, w @ q
    M = (q - q0).T @ ((p - p0) * w[:, None])
    U, S, Vh = np.linalg.svd(M)
    signs = np.ones(len(S))
    signs[-1] = np.sign(np.linalg.det(U) * np.linalg.det(Vh))
    R = (U * signs) @ Vh
    s = (S @ signs) / (w @ np.sum((p - p0) ** 2, axis=1)) if scale else 1.0
    return R, q0 - s * R @ p0, s


def shape_of_points(name, d):
    """Sets of points with repeated or few singular values."""
    if name == "cube":
        if d > 4:  # its dual, which has fewer corners
            return np.concatenate([np.eye(d), -np.eye(d)])
        return np.array(list(itertools.product((-1.0, 1.0), repeat=d)))
    if name == "square":
        flat = np.zeros((4, d))
        flat[:, :2] = [[1, 1], [1, -1], [-1, -1], [-1, 1]]
        return flat
    line = np.zeros((5, d))
    line[:, 0] = [-2, -1, 0, 1, 2]
    return line


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("name", ["cube", "square", "line"])
def test_alignment_is_umeyamas(hold, name, mirrored):
    """Values agree, and derivatives agree with differences, if the margin says it is unique."""
    jvp, align = NUMPY.module.jvp, NUMPY.module.align_points
    for d in range(2, 9):
        rng = np.random.default_rng(d)
        p = np.concatenate([shape_of_points(name, d), rng.standard_normal((1, d))])
        turn = haar(rng, (), d, d, False)
        turn[:, 0] *= np.linalg.det(turn) * (-1 if mirrored else 1)
        q = 1.7 * p @ turn.T + rng.standard_normal(d)
        w = np.ones(len(p))
        w[-1] = 0.0  # the set is as symmetric as without this point
        R, t, s, margin = align(p, q, w, scale=True)
        assert np.linalg.det(R) == pytest.approx(1.0)
        expected = umeyama(p, q, w, True)
        error = np.sum(w * np.sum((s * p @ R.T + t - q) ** 2, axis=1))
        best = np.sum(w * np.sum((expected[2] * p @ expected[0].T + expected[1] - q) ** 2, axis=1))
        assert error <= best + 1e-12
        if margin < 1e-6:
            assert name != "cube" or mirrored
            continue
        for got, value in zip((R, t, s), expected, strict=True):
            hold("alignment", np.abs(got - value).max(), 1e-9)
        direction = [rng.standard_normal(a.shape) for a in (p, q)]
        _, tangent = jvp(align, (p, q, w), tuple(direction), scale=True)
        h = 1e-4

        def along(step, p=p, q=q, w=w, direction=direction):
            return umeyama(p + step * direction[0], q + step * direction[1], w, True)

        near, far = ([along(k * h), along(-k * h)] for k in (1, 2))
        for i, got in enumerate(tangent[:3]):
            difference = (8 * (near[0][i] - near[1][i]) - (far[0][i] - far[1][i])) / (12 * h)
            hold("its derivative", np.abs(got - difference).max() * margin**2, 1e-9)


def test_margin_says_whether_a_rotation_is_unique():
    align = NUMPY.module.align_points
    cube, square, line = (shape_of_points(name, 3) for name in ("cube", "square", "line"))
    assert align(cube, cube).margin == pytest.approx(2.0)
    assert align(square, square).margin == pytest.approx(1.0)
    assert align(line, line).margin < 1e-12
    mirror = np.array([-1.0, 1.0, 1.0])
    assert align(cube, cube * mirror).margin < 1e-12
    reflected = align(cube, cube * mirror, reflection=True)
    assert reflected.margin == pytest.approx(1.0)
    np.testing.assert_allclose(reflected.rotation, np.diag(mirror), atol=1e-12)
    same = np.ones((3, 3))
    assert align(same, same + 1, scale=True).scale == 1.0
    assert align(np.ones((4, 1)), np.zeros((4, 1))).margin == 1.0


@pytest.mark.parametrize("length", [1, 2, 5, 6])
def test_tensor_thresholding_is_that_of_its_slices(length):
    svt, tensor_svt, vjp = NUMPY.module.svt, NUMPY.module.tensor_svt, NUMPY.module.vjp
    rng = np.random.default_rng(7)
    for is_complex in (False, True):
        x = normal(rng, (2, 4, 3, length), is_complex)
        slices = np.moveaxis(np.fft.fft(x, axis=-1), -1, 0)
        tau = 2.5
        expected = np.fft.ifft(np.moveaxis(svt(slices, tau), 0, -1), axis=-1)
        out, pullback = vjp(tensor_svt, x, tau)
        np.testing.assert_allclose(out, expected, atol=1e-13)
        np.testing.assert_allclose(tensor_svt(np.moveaxis(x, -1, 1), tau, axis=1),
                                   np.moveaxis(out, -1, 1), atol=1e-13)  # fmt: skip
        W = normal(rng, x.shape, is_complex)
        # The derivative in every slice, and transformed back: F^H = l F^-1.
        ct = np.moveaxis(np.fft.fft(W, axis=-1), -1, 0) / length
        ct_slices, ct_tau = vjp(svt, slices, tau)[1](ct)
        ct_x = np.fft.ifft(np.moveaxis(ct_slices, 0, -1), axis=-1) * length
        got_x, got_tau = pullback(W)
        np.testing.assert_allclose(got_x, ct_x if is_complex else ct_x.real, atol=1e-12)
        assert got_tau == pytest.approx(float(ct_tau))


def test_transforms_of_a_tensor():
    from scipy.fft import dct, idct

    tensor_svt, svt = NUMPY.module.tensor_svt, NUMPY.module.svt
    x = np.random.default_rng(8).standard_normal((4, 3, 5))
    slices = np.moveaxis(dct(x, norm="ortho"), -1, 0)
    expected = idct(np.moveaxis(svt(slices, 1.0), 0, -1), norm="ortho")
    np.testing.assert_allclose(tensor_svt(x, 1.0, transform="dct"), expected, atol=1e-13)
    matrix = dct(np.eye(5), axis=0, norm="ortho")
    np.testing.assert_allclose(tensor_svt(x, 1.0, transform=matrix), expected, atol=1e-13)
    pair = (lambda y: dct(y, norm="ortho"), lambda y: idct(y, norm="ortho"))
    np.testing.assert_allclose(tensor_svt(x, 1.0, transform=pair), expected, atol=1e-13)
    with pytest.raises(TypeError, match=r"^transform: a pair of functions has no derivative here"):
        NUMPY.module.vjp(tensor_svt, x, 1.0, transform=pair)


def test_projections_are_the_nearest_matrices():
    clip, ball = NUMPY.module.singular_value_clip, NUMPY.module.project_nuclear_ball
    x = draw(Cell((5, 3), "triple", 1.0, True), 1)[0][0]
    np.testing.assert_allclose(clip(x, 0.4), x - NUMPY.module.svt(x, 0.4), atol=1e-15)
    np.testing.assert_allclose(clip(x, 2.0), x, atol=1e-15)
    np.testing.assert_allclose(ball(x, 9.0), x, atol=1e-15)
    inside = ball(x, 1.5)
    assert NUMPY.module.nuclear_norm(inside) == pytest.approx(1.5)
    dropped = x - inside  # a multiple of a subgradient of the norm: optimal
    S = np.linalg.svd(inside, compute_uv=False)
    most = np.linalg.norm(dropped, 2)
    assert np.vdot(inside, dropped).real == pytest.approx(most * S.sum())
    np.testing.assert_array_equal(ball(x, 0.0), np.zeros_like(x))
    np.testing.assert_array_equal(clip(x, 0.0), np.zeros_like(x))


def test_subgradients_of_least_norm():
    vjp, module = NUMPY.module.vjp, NUMPY.module
    x = np.diag([3.0, 3.0, 0.0])
    _, pullback = vjp(module.spectral_norm, x)
    np.testing.assert_allclose(pullback(np.array(1.0))[0], np.diag([0.5, 0.5, 0.0]), atol=1e-15)
    for p in (0.5, 1, 1.5):
        _, pullback = vjp(module.schatten_norm, x, p)
        expected = np.diag([1.0, 1.0, 0.0]) * 2 ** (1 / p - 1)
        np.testing.assert_allclose(pullback(np.array(1.0))[0], expected, atol=1e-14)
    assert module.schatten_norm(x, float("inf")) == 3.0
    assert module.schatten_norm(1e300 * x, 2) == pytest.approx(np.sqrt(18) * 1e300)


def test_weights_of_repeated_values():
    svt = NUMPY.module.svt
    _, (dB,) = NUMPY.jvp(
        "svt", (np.eye(3),), (np.ones((3, 3)),), static=(1.0, np.array([0.1, 0.2, 0.3]))
    )
    assert np.isfinite(dB).all()
    x = np.diag([2.0, 1.5, 1.0])
    np.testing.assert_allclose(
        svt(x, 1.0, np.array([0.0, 1.0, 2.0])), np.diag([2.0, 0.5, 0.0]), atol=1e-15
    )


def test_signs_of_eigenvalues():
    """A negative eigenvalue within rounding counts as 0; a larger one gives NaN for its matrix."""
    module = NUMPY.module
    x = np.stack([np.diag([1.0, -1e-17]), np.diag([1.0, -1e-3]), np.eye(2)])
    root = module.sqrtm(x)
    np.testing.assert_array_equal(root[0], np.diag([1.0, 0.0]))
    assert np.isnan(root[1]).all()
    np.testing.assert_array_equal(root[2], np.eye(2))
    np.testing.assert_array_equal(module.sqrtm(x[1], rtol=1e-2), np.diag([1.0, 0.0]))
    for name, argument in (("inv_sqrtm", ()), ("logm", ()), ("powm", (-0.5,))):
        out = getattr(module, name)(np.stack([np.diag([1.0, 0.0]), np.eye(2)]), *argument)
        assert np.isnan(out[0]).all()
        assert np.isfinite(out[1]).all()
    np.testing.assert_array_equal(module.powm(np.diag([2.0, 0.0]), 0), np.eye(2))
    _, (droot,) = NUMPY.jvp("sqrtm", (np.diag([1.0, 0.0, 0.0]),), (np.ones((3, 3)),))
    np.testing.assert_array_equal(droot, [[0.5, 1, 1], [1, 0, 0], [1, 0, 0]])


HOSTILE = (
    ("pinv", (), {"rtol": "a"}, TypeError, "rtol: expected a real number, got str"),
    ("pinv", (), {"rtol": -1.0}, ValueError, "rtol: expected a number of at least 0, got -1"),
    ("sqrtm", (), {}, ValueError, "x: expected square matrices"),
    ("inv_sqrtm", (), {"floor": 0.0}, ValueError, "floor: expected a number greater than 0, got 0"),
    ("powm", (1j,), {}, TypeError, "p: expected a real number, got complex"),
    ("powm", (float("nan"),), {}, ValueError, "p: expected a finite number, got nan"),
    ("schatten_norm", (0,), {}, ValueError, "p: expected a number greater than 0, got 0"),
    ("range_projector", (), {"rank": 1, "rtol": 0.1}, ValueError, "rank: got 1 beside rtol=0.1"),
    ("singular_value_clip", (-1.0,), {}, ValueError, "maximum: expected a number of at least 0"),
    ("project_nuclear_ball", ("a",), {}, TypeError, "radius: expected a number or an array"),
    ("polar", (), {"side": "up"}, ValueError, "side: expected 'auto', 'right' or 'left', got 'up'"),
    ("tensor_svt", (1.0,), {}, ValueError, "x: expected at least 3 dimensions"),
    ("svt", (1.0, 2.0), {}, TypeError, "weights: expected an array, got float"),
)


def test_bad_arguments_are_refused_in_the_same_words(framework):
    module, x = framework.module, framework.array(np.ones((3, 2)))
    for name, arguments, kwargs, error, message in HOSTILE:
        with pytest.raises(error, match="^" + re.escape(message)):
            getattr(module, name)(x, *arguments, **kwargs)
    with pytest.raises(ValueError, match=r"^b: expected shape \(3,\) or \(3, \?\), got \(\)"):
        module.lstsq(x, framework.array(np.ones(())))
    with pytest.raises(ValueError, match=r"^b: expected shape \(3, \?\), got \(2, 2\)"):
        module.lstsq(x, framework.array(np.ones((2, 2))))
    with pytest.raises(ValueError, match=r"^q: expected shape \(3, 2\), got \(2, 2\)"):
        module.align_points(x, framework.array(np.ones((2, 2))))
    with pytest.raises(ValueError, match=r"^weights: shape \(2,\) does not broadcast to \(3,\)"):
        module.align_points(x, x, framework.array(np.ones(2)))
    tensor = framework.array(np.ones((2, 2, 3)))
    for transform, error in (("dft", ValueError), (3, TypeError), ((len,), TypeError)):
        with pytest.raises(error, match=r"^transform: "):
            module.tensor_svt(tensor, 1.0, transform=transform)
    with pytest.raises(ValueError, match=r"^axis: expected an integer from -3 to 2, got 3"):
        module.tensor_svt(tensor, 1.0, axis=3)


def test_one_bad_matrix_spoils_no_other(framework):
    x = np.stack([np.eye(3), np.full((3, 3), np.nan)])
    for call in CALLS:
        if call.inputs not in ("x", "xt", "h"):
            continue
        name, arguments = call.function, (0.5,) if "t" in call.inputs else call.static
        if name == "polar":
            continue  # two results
        out = framework.numpy(getattr(framework.module, name)(framework.array(x), *arguments))
        assert np.isfinite(out[0]).all(), name
        assert np.isnan(out[1]).all(), name


def test_empty_and_half_precision(framework):
    module = framework.module
    for shape in ((0, 3), (3, 0), (0, 2, 2), (0, 0)):
        x = framework.array(np.zeros(shape))
        assert framework.numpy(module.pinv(x)).shape == (*shape[:-2], shape[-1], shape[-2])
        assert framework.numpy(module.spectral_norm(x)).shape == shape[:-2]
        assert framework.numpy(module.singular_value_clip(x, 1.0)).shape == shape
        if shape[-1] == shape[-2]:
            assert framework.numpy(module.expm(x)).shape == shape
    half = framework.array(np.eye(2, dtype=np.float16))
    assert framework.numpy(module.sqrtm(half)).dtype == np.float16
    assert framework.numpy(module.lstsq(half, half).x).dtype == np.float16


OPERATORS = (
    svdinv_core.Pseudoinverse(1e-3),
    svdinv_core.RangeProjector(rank=2),
    svdinv_core.SpectralNorm(),
    svdinv_core.SchattenNorm(0.5),
    svdinv_core.SingularValueClip(),
    svdinv_core.NuclearBall(),
    svdinv_core.WeightedThreshold(),
    svdinv_core.Polar(side="left"),
    svdinv_core.Overlap(special=False),
    svdinv_core.SquareRoot(),
    svdinv_core.InverseSquareRoot(floor=0.1),
    svdinv_core.Logarithm(),
    svdinv_core.Exponential(),
    svdinv_core.Power(-1.5),
)


@pytest.mark.parametrize("operator", OPERATORS, ids=str)
def test_a_compiled_program_of_pytorch_holds_the_operator(operator):
    """For a compiled program, only writing and reading the string depends on the operator."""
    from svdinv._torch_library import describe, restore

    assert restore(describe(operator)) == operator
    assert hash(operator) == hash(restore(describe(operator)))


MU, KAPPA = 1.3, 4.0


def neo_hookean(log):
    """Energy of the principal stretches, for a framework's logarithm."""

    def energy(s):
        volume = log(s).sum(-1)
        return MU / 2 * ((s * s).sum(-1) - 3) - MU * volume + KAPPA / 2 * volume * volume

    return energy


def stress_and_tangent(F, dF):
    """The analytic stress and tangent, from the deformation gradient itself."""
    inverse = np.linalg.inv(F)
    volume = np.log(np.linalg.det(F))
    turned = inverse.T @ dF.T @ inverse.T
    stress = MU * F + (KAPPA * volume - MU) * inverse.T
    tangent = MU * dF + (MU - KAPPA * volume) * turned
    return stress, tangent + KAPPA * np.sum(inverse.T * dF) * inverse.T


def test_tangent_of_a_neo_hookean_energy(hold):
    """In the undeformed state, and at uniaxial and equibiaxial stretch."""
    import torch
    from svdinv.torch import spectral_function

    rng = np.random.default_rng(11)
    U, V = haar(rng, (), 3, 3, False), haar(rng, (), 3, 3, False)
    U[:, 0] *= np.linalg.det(U) * np.linalg.det(V)
    energy = neo_hookean(torch.log)
    for turned in (np.eye(3), U):
        for stretches in ((1, 1, 1), (1.4, 0.9, 0.9), (1.2, 1.2, 0.7), (1.3, 1.0, 0.8)):
            F = turned @ np.diag(stretches) @ (V.T if turned is U else np.eye(3))
            dF = rng.standard_normal((3, 3))
            stress, tangent = stress_and_tangent(F, dF)
            x = torch.tensor(F, requires_grad=True)
            (found,) = torch.autograd.grad(spectral_function(x, energy), x, create_graph=True)
            (second,) = torch.autograd.grad(found, x, torch.tensor(dF))
            scale = np.linalg.norm(tangent)
            hold("stress", np.linalg.norm(found.detach().numpy() - stress) / scale, 1e-13)
            hold("tangent", np.linalg.norm(second.numpy() - tangent) / scale, 1e-10)
    _, pullback = NUMPY.module.vjp(NUMPY.module.spectral_function, F, neo_hookean(np.log))
    np.testing.assert_allclose(pullback(np.array(1.0))[0], stress, atol=1e-12)
