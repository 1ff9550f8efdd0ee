"""The default rule: right at ties for every loss whose gradient the cotangents determine."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import svdinv.numpy
from support.arrays import adjoint, single
from support.drivers import driver
from support.errors import norm, relative_error
from support.family import haar, normal
from support.namespaces import NAMESPACES, evaluate, namespace
from support.spectral_losses import CUT, LOSSES, cotangents, gradient, weights
from svdinv import rules
from svdinv_conformance.frameworks import AUTODIFF

from svdinv_core import SVD, Eigh, EighFactors, SVDFactors

SPECTRA = {
    "pair": [1.0, 1.0, 0.6, 0.2],
    "triple": [1.0, 0.8, 0.8, 0.8, 0.2],
    "all equal": [0.9] * 4,
    "two pairs": [1.0, 1.0, 0.5, 0.5, 0.2],
    "pair and triple": [1.0, 1.0, 0.7, 0.7, 0.7],
}
# Two functions that contribute the same matrix, so that the cotangents do not tell them apart.
PRODUCTS = ("c S", "S^3", "soft", "tanh", "1/S", "U Vh")
LEFT = ("left projector", "(US)(US)^H", "U^H U")
AUTO, AUTO_EIGH = SVD(rules.Auto()), Eigh(rules.Auto())
BOUND = {"float64": 1e-9, "float32": 1e-4}


def determined(losses):
    return len(losses) == 1 or not any(set(losses) <= set(group) for group in (PRODUCTS, LEFT))


SUMS = [pair for pair in combinations(LOSSES, 2) if determined(pair)]


def matrices(rng, spectrum, shape, is_complex, count):
    values = np.array(SPECTRA[spectrum])
    k = len(values)
    m, n = shape[0] + k, shape[1] + k
    U, V = haar(rng, (count,), m, k, is_complex), haar(rng, (count,), n, k, is_complex)
    S = np.broadcast_to(values, (count, k))
    return SVDFactors(U, S, adjoint(V)), (U * values) @ adjoint(V)


def ask(framework, losses, spectrum, shape, is_complex, precision, rule="auto", count=20):
    """Gradient through svd, the exact one, and the size that the error is relative to."""
    rng = np.random.default_rng(0)
    exact, x = matrices(rng, spectrum, shape, is_complex, count)
    x = single(x) if precision == "float32" else x
    factors = SVDFactors(*framework.call("svd", (x,)))
    wanted, cts = 0, [0, 0, 0]
    for loss in losses:
        W = weights(rng, loss, x)
        wanted = wanted + gradient(loss, *exact, W)
        cts = [a + b for a, b in zip(cts, cotangents(loss, *factors, W), strict=True)]
    cts = tuple(ct.astype(y.dtype) for ct, y in zip(cts, factors, strict=True))
    got = framework.vjp("svd", (x,), cts, rule=rule)[1][0]
    size = norm(cts[0]) + norm(cts[2]) + np.sqrt(np.sum(cts[1] ** 2, axis=-1))
    return got, wanted, np.maximum(norm(wanted), 0.1 * size), (x, cts)


def errors(*args, **kwargs):
    got, wanted, size, _ = ask(*args, **kwargs)
    return norm(got - wanted) / size


@pytest.mark.parametrize("precision", BOUND)
@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_every_loss_and_every_sum_of_two_at_a_tie(hold, spectrum, is_complex, precision):
    """In NumPy; the other frameworks run the same formulas.

    Two parts whose diagonals happen to be almost parallel cannot be separated after rounding. In
    single precision one draw of 20,000 is wrong for this reason, but none of these.
    """
    found = []
    for losses in [(loss,) for loss in LOSSES] + SUMS:
        for shape in ((0, 0), (2, 0), (0, 3)):
            found.append(errors(driver("numpy"), losses, spectrum, shape, is_complex, precision))
    hold(f"svd auto, at a tie, {precision}, worst", np.max(found), BOUND[precision])


@pytest.mark.parametrize(
    "losses", [("tanh",), ("S^3", "left projector"), ("U Vh", "values")], ids=str
)
def test_every_framework_at_a_tie(hold, framework, losses):
    for spectrum, is_complex, precision in (
        ("two pairs", False, "float64"),
        ("triple", True, "float32"),
    ):
        found = errors(framework, losses, spectrum, (1, 0), is_complex, precision).max()
        hold(f"svd auto, at a tie, {precision}, worst", found, BOUND[precision], losses)


def mode_product(xp, M, T, mode):
    """M times the unfolding of T in a mode, folded again."""
    to, back = UNFOLDED[mode], FOLDED[mode]
    shape = [T.shape[axis] for axis in to]
    product = xp.matmul(M, unfolded(xp, T, mode))
    return xp.permute_dims(xp.reshape(product, (M.shape[0], *shape[1:])), back)


def unfolded(xp, T, mode):
    shape = [T.shape[axis] for axis in UNFOLDED[mode]]
    return xp.reshape(xp.permute_dims(T, UNFOLDED[mode]), (shape[0], shape[1] * shape[2]))


UNFOLDED = ((0, 1, 2), (1, 0, 2), (2, 0, 1))
FOLDED = ((0, 1, 2), (1, 0, 2), (1, 2, 0))


@pytest.mark.parametrize(("is_complex", "precision"), [(False, "float64"), (True, "float32")])
def test_a_higher_order_svd_with_tied_unfoldings(hold, framework, is_complex, precision):
    """``Re <W, truncated reconstruction>`` and a function of the values, by all three factors."""
    for spectrum in SPECTRA if precision == "float64" else ("triple", "two pairs"):
        values = SPECTRA[spectrum]
        found = higher_order_error(framework, np.array(values), is_complex, precision)
        hold(f"svd auto, higher-order, {precision}, worst", found, BOUND[precision], spectrum)


def higher_order_error(framework, values, is_complex, precision):
    rng = np.random.default_rng(8)
    k, large = len(values), values > CUT
    kept = np.count_nonzero(large)
    factors = [haar(rng, (), k, k, is_complex) for _ in range(3)]
    T = np.einsum("a,ia,ja,ka->ijk", values, *factors)
    W = normal(rng, T.shape, is_complex)

    # d Re <W, T x P x P x P> = Re <W x P x P x P, dT> and, by mode, Re <of_P, dP>
    P = [Q[:, large] @ adjoint(Q[:, large]) for Q in factors]
    direct, wanted, of_P = W, 0, []
    for mode, Q in enumerate(factors):
        direct = mode_product(np, P[mode], direct, mode)
        rest = T
        for other in {0, 1, 2} - {mode}:
            rest = mode_product(np, P[other], rest, other)
        of_P.append(unfolded(np, W, mode) @ adjoint(unfolded(np, rest, mode)))
        Vh = adjoint(Q) @ unfolded(np, T, mode) / values[:, None]
        by_mode = gradient("left projector", Q, values, Vh, of_P[mode])
        by_mode = by_mode + gradient("values", Q, values, Vh, None)
        wanted = wanted + folded(by_mode, mode)
    wanted = wanted + direct

    if precision == "float32":
        T, W = single(T), single(W)
    if framework.bridge.name not in AUTODIFF:  # by hand, one cotangent after the other
        got = direct
        for mode in range(3):
            x = unfolded(np, T, mode)
            U, S, Vh = framework.call("svd", (x,))
            terms = (("left projector", of_P[mode].astype(x.dtype)), ("values", None))
            cts = (cotangents(loss, U, S, Vh, w) for loss, w in terms)
            cts = tuple(a + b for a, b in zip(*cts, strict=True))
            got = got + folded(framework.vjp("svd", (x,), cts)[1][0], mode)
    else:
        xp, *_ = namespace(framework.module.__name__.rpartition(".")[2])

        def loss(T):
            svds = [framework.module.svd(unfolded(xp, T, mode)) for mode in range(3)]
            core = T
            for mode, (U, _, _) in enumerate(svds):
                core = mode_product(xp, xp.conj(xp.matrix_transpose(U)), core, mode)
            # The core tensor has one number for each triple of vectors, so small values are cut.
            for mode in range(3):
                core = mode_product(xp, xp.astype(keep, core.dtype), core, mode)
            for mode, (U, _, _) in enumerate(svds):
                core = mode_product(xp, U, core, mode)
            return core, *(S for _, S, _ in svds)

        keep = framework.array(np.diag(np.arange(k) < kept).astype(W.real.dtype))
        given = (W, *([1 - np.tanh(values).astype(W.real.dtype) ** 2] * 3))
        vjp = framework.bridge.prepare("vjp", loss)
        (_, (got,)) = vjp((framework.array(T),), tuple(map(framework.array, given)))
        got = framework.numpy(got)
    return np.linalg.norm(got - wanted) / np.linalg.norm(wanted)


def folded(X, mode):
    k = X.shape[0]
    return X.reshape(k, k, k).transpose(FOLDED[mode])


def test_it_is_the_default(framework):
    got, wanted, _, (x, cts) = ask(framework, ("tanh",), "pair", (0, 0), False, "float64", count=2)
    np.testing.assert_allclose(framework.vjp("svd", (x,), cts)[1][0], wanted, atol=1e-12)
    np.testing.assert_allclose(got, wanted, atol=1e-12)


@pytest.mark.parametrize("losses", [("c S", "tanh"), ("S^3", "U Vh")], ids=str)
@pytest.mark.parametrize("spectrum", ["pair", "triple", "two pairs"])
def test_what_is_not_determined_is_no_worse_than_under_inv(losses, spectrum):
    for is_complex in (False, True):
        median = {}
        for rule in ("auto", "inv"):
            got, wanted, size, _ = ask(
                driver("numpy"), losses, spectrum, (0, 0), is_complex, "float64", rule, 200
            )
            median[rule] = np.median(norm(got - wanted) / size)
        assert median["auto"] < 2 * median["inv"]
        assert median["auto"] > 1e-3  # else it should be in the other list


GAPS = (1e-15, 1e-14, 1e-12, 3e-12, 1e-10, 1e-8, 1e-5, 1e-2)


@pytest.mark.parametrize("losses", [("tanh",), ("S^3", "left projector"), ("c S", "tanh")], ids=str)
def test_beside_a_tie_it_is_no_worse_than_inv(losses):
    """Also where the cotangents do not determine the gradient at the tie."""
    rng = np.random.default_rng(1)
    numpy = svdinv.numpy
    for gap in GAPS if determined(losses) else GAPS[2:]:  # the first two are ties
        errors_of = {"auto": [], "inv": []}
        for is_complex in (False, True):
            U, V = (haar(rng, (200,), 4, 4, is_complex) for _ in range(2))
            x = (U * np.array([1.0, 1.0 - gap, 0.6, 0.2])) @ adjoint(V)
            out, pullback = {}, {}
            for rule in errors_of:
                out[rule], pullback[rule] = numpy.vjp(numpy.svd, x, rule=rule)
            factors, wanted, cts = tuple(out["auto"]), 0, [0, 0, 0]
            for loss in losses:
                W = weights(rng, loss, x)
                wanted = wanted + gradient(loss, *factors, W)
                cts = [a + b for a, b in zip(cts, cotangents(loss, *factors, W), strict=True)]
            for rule, found in errors_of.items():
                found.append(relative_error(pullback[rule](tuple(cts))[0], wanted))
        for percentile in (50, 95):
            auto, inv = (np.percentile(np.concatenate(e), percentile) for e in errors_of.values())
            # the reference is only as accurate as the divided differences of its values
            noise = 1e-13 + 4e-16 / gap
            assert auto < 2 * max(inv, noise), (gap, percentile, auto, inv)


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize(
    "values", [[0.5, 1.0, 1.0, 2.0], [1.0] * 4, [-1.0, 0.0, 0.0, 0.0]], ids=str
)
def test_eigh_at_a_tie(framework, values, is_complex):
    """For ``Re <W, Q exp(w) Q^H>``, for ``Q Q^H``, and for the first plus a term of the values."""
    rng = np.random.default_rng(6)
    Q = haar(rng, (), 4, 4, is_complex)
    x = (Q * np.array(values)) @ adjoint(Q)
    w, Q = framework.call("eigh", (x,))
    W = normal(rng, x.shape, is_complex)
    W = W + adjoint(W)
    numpy = svdinv.numpy
    for f, slope, extra in (
        (np.exp, np.exp, 0),
        (np.ones_like, np.zeros_like, 0),
        (np.exp, np.exp, 1),
    ):
        ct_w = slope(w) * np.real(np.sum(np.conj(Q) * (W @ Q), axis=-2)) + extra
        exact = numpy.vjp(numpy.eigenvalue_map, x, np.exp)[1](W)[0] if slope is np.exp else 0 * x
        exact = exact + extra * np.eye(4)
        got = framework.vjp("eigh", (x,), (ct_w, 2 * W @ Q * f(w)))[1][0]
        assert norm(got - exact) <= 1e-11 * max(norm(exact), norm(W))


@pytest.mark.parametrize("scale", [2.0**-500, 2.0**500])
def test_cotangents_and_values_of_any_size(scale):
    xp, *_ = namespace("numpy")
    for losses in (("tanh",), ("S^3", "left projector")):
        _, wanted, _, (x, cts) = ask(driver("numpy"), losses, "pair", (1, 0), True, "float64")
        U, S, Vh = np.linalg.svd(x, full_matrices=False)
        for of_x, of_ct in ((1.0, scale), (scale, 1.0)):
            given = (of_ct * cts[0], of_ct * cts[1] / of_x, of_ct * cts[2])
            got = AUTO.vjp(xp, SVDFactors(U, of_x * S, Vh), given)
            np.testing.assert_allclose(got * of_x / of_ct, wanted, atol=1e-11)


@pytest.mark.parametrize("x", [np.zeros((4, 3)), np.diag([1.0, 1.0, 0.0, 0.0])], ids=str)
def test_zero_values_get_no_term(x):
    framework = driver("numpy")
    cts = [normal(np.random.default_rng(5), np.shape(y), False) for y in np.linalg.svd(x, False)]
    auto, inv = (framework.vjp("svd", (x,), cts, rule=rule)[1][0] for rule in ("auto", "pinv"))
    assert np.isfinite(auto).all()
    U, _, Vh = np.linalg.svd(x, full_matrices=False)
    core, other = U.T @ auto @ Vh.T, U.T @ inv @ Vh.T
    np.testing.assert_allclose(core[-2:, -2:], other[-2:, -2:], atol=1e-14)


def test_products_at_the_identity_without_anything_on_the_diagonal(framework):
    """Without evidence it acts as for f(S) = c S if X and Y are alike, and adds nothing if not."""
    x, W = np.eye(3), np.array([[0.0, 1.0, 2.0], [3.0, 0.0, 0.0], [0.5, 0.0, 0.0]])
    U, S, Vh = framework.call("svd", (x,))
    got = framework.vjp("svd", (x,), cotangents("c S", U, S, Vh, W))[1][0]
    np.testing.assert_allclose(got, W, atol=1e-13)
    got = framework.vjp("svd", (x,), cotangents("left projector", U, S, Vh, W))[1][0]
    np.testing.assert_allclose(got, 0 * x, atol=1e-13)


@pytest.mark.parametrize("name", ["torch", "jax", "tensorflow", "autograd"])
def test_forward_mode_and_second_derivatives_are_those_of_inv(name):
    tested = driver(name)
    rng = np.random.default_rng(2)
    _, x = matrices(rng, "pair", (1, 0), True, 2)
    dx = normal(rng, x.shape, True)
    for rule in ("auto", "fit"):
        given, expected = (tested.jvp("svd", (x,), (dx,), rule=r)[1] for r in (rule, "inv"))
        for a, b in zip(given, expected, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-13)


@pytest.mark.parametrize("precision", BOUND)
@pytest.mark.parametrize("spectrum", ["pair", "all equal"])
def test_the_same_numbers_in_every_namespace(hold, spectrum, precision):
    for losses in (("tanh",), ("S^3", "left projector"), ("U Vh", "values")):
        _, _, _, (x, cts) = ask(driver("numpy"), losses, spectrum, (1, 0), True, precision, count=5)
        factors = SVDFactors(*np.linalg.svd(x, full_matrices=False))
        results = [evaluate(name, AUTO, "vjp", factors, cts) for name in NAMESPACES]
        for other in results[1:]:
            found = 2 * relative_error(other, results[0]).max()
            bound = {"float64": 1e-11, "float32": 1e-4}[precision]
            hold(f"svd auto, same factors, {precision}", found, bound, losses)


def test_eigh_runs_in_every_namespace():
    rng = np.random.default_rng(3)
    Q = haar(rng, (2,), 3, 3, True)
    w = np.broadcast_to(np.array([1.0, 1.0, 2.0]), (2, 3))
    cts = (rng.standard_normal((2, 3)), normal(rng, Q.shape, True))
    factors = EighFactors(w, Q)
    results = [evaluate(name, AUTO_EIGH, "vjp", factors, cts) for name in NAMESPACES]
    for other in results[1:]:
        np.testing.assert_allclose(other, results[0], atol=1e-12)


def test_one_bad_matrix_leaves_the_rest_alone():
    framework = driver("numpy")
    _, wanted, _, (x, cts) = ask(framework, ("tanh",), "pair", (0, 0), False, "float64")
    cts = [np.array(ct) for ct in cts]
    cts[0][3, 0, 0] = np.inf
    x[5, 0, 0] = np.nan
    got = framework.vjp("svd", (x,), tuple(cts))[1][0]
    assert not np.isfinite(got[[3, 5]]).all(axis=(-2, -1)).any()
    good = [i for i in range(len(x)) if i not in (3, 5)]
    np.testing.assert_allclose(got[good], wanted[good], atol=1e-12)
