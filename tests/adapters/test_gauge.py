"""Losses that depend on the choice of singular vectors are detected, and no others."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import svdinv
from support import spectral_losses as spectral
from support.arrays import adjoint
from support.drivers import FRAMEWORKS, driver
from support.family import SIZES, cells, draw, haar, normal, stack
from support.namespaces import NAMESPACES, evaluate, namespace

from svdinv_core import SVDFactors, gauge
from svdinv_core.gauge import gauge_residual


def spectral_cotangents(U, S, Vh, W):
    """Cotangents of ``Re <W, U tanh(S) Vh>``, which no choice of vectors changes."""
    f = np.tanh(S / np.where(S[..., :1] > 0, S[..., :1], 1))
    return (W @ adjoint(Vh)) * f[..., None, :], f[..., :, None] * (adjoint(U) @ W)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", NAMESPACES)
def test_residual_of_a_spectral_function_is_rounding(name, size):
    for is_complex in (False, True):
        family = cells(sizes=[size], scales=[1e-12, 1.0], fields=[is_complex])
        x, _ = stack(family, 2)
        factors = SVDFactors(*np.linalg.svd(x, full_matrices=False))
        cts = spectral_cotangents(*factors, normal(np.random.default_rng(0), x.shape, is_complex))
        residual = evaluate(name, gauge, "gauge_residual", factors, *cts)
        assert residual.shape == x.shape[:-2]
        # within the tolerance of a tie the sum has the size of the gap, not of eps
        worst = residual.reshape(len(family), -1).max(axis=1)
        assert worst.max() < 5e-12, family[worst.argmax()]


@pytest.mark.parametrize(
    ("spectrum", "is_complex"),
    [("distinct", True), ("pair 0", False), ("triple", True), ("two zeros", False), ("zero", True)],
)
def test_residual_of_a_loss_of_single_vectors_is_large(spectrum, is_complex):
    xp, *_ = namespace("numpy")
    for cell in cells(spectra=[spectrum], scales=[1e-150, 1.0, 1e150], fields=[is_complex]):
        x, _ = draw(cell, 100)
        U, S, Vh = np.linalg.svd(x, full_matrices=False)
        rng = np.random.default_rng(1)
        for scale in (1e-160, 1.0, 1e160):
            cts = (scale * normal(rng, y.shape, is_complex) for y in (U, Vh))
            residual = gauge_residual(xp, SVDFactors(U, S, Vh), *cts)
            # one pair of 64 contributes little, and a draw may hardly depend on the choice
            assert np.median(residual) > 0.05, str(cell)
            assert residual.min() > 1e-6, str(cell)
            assert residual.max() < 2, str(cell)


def test_residual_is_zero_without_cotangents_and_without_entries():
    xp, *_ = namespace("numpy")
    for shape in ((2, 3, 3), (2, 0, 3), (0, 3, 3)):
        U, S, Vh = svdinv.svd(np.zeros(shape))
        residual = gauge_residual(xp, SVDFactors(U, S, Vh), 0 * U, 0 * Vh)
        np.testing.assert_array_equal(residual, np.zeros(shape[:-2]))


@pytest.mark.parametrize("is_complex", [False, True])
def test_public_residual_takes_the_framework_s_own_cotangents(is_complex):
    """Some frameworks conjugate complex cotangents, but the residual has to be the same."""
    (cell,) = cells(sizes=[(4, 3)], spectra=["pair 0"], scales=[1.0], fields=[is_complex])
    x, _ = draw(cell, 2)
    W = normal(np.random.default_rng(2), x.shape, is_complex)
    factors = np.linalg.svd(x, full_matrices=False)
    for invariant in (True, False):
        cts = spectral_cotangents(*factors, W)
        if not invariant:
            cts = cts[0], np.zeros_like(cts[1])
        for name in FRAMEWORKS:
            tested = driver(name)
            own = [np.conj(ct) if driver(name).bridge.conjugates else ct for ct in cts]
            residual = tested.module.gauge_residual(*map(tested.array, (*factors, *own)))
            assert (tested.numpy(residual).max() < 1e-14) == invariant


@pytest.mark.parametrize("name", NAMESPACES)
def test_rule_residual_is_what_rules_differ_by(name):
    """For a spectral function it is 0 without a tie of nonzero values, and not 0 with one."""
    ties = ("triple", "all equal", "pair 0", "pair 1e-16", "pair 1e-12")
    for size, is_complex in product([(5, 5), (6, 4), (4, 6)], (False, True)):
        family = cells(sizes=[size], scales=[1e-12, 1.0], fields=[is_complex])
        x, _ = stack(family, 5)
        factors = SVDFactors(*np.linalg.svd(x, full_matrices=False))
        W = normal(np.random.default_rng(0), x.shape, is_complex)
        for scale in (1e-160, 1.0, 1e160):
            cts = (scale * ct for ct in spectral_cotangents(*factors, W))
            residual = evaluate(name, gauge, "rule_residual", factors, *cts)
            assert residual.shape == x.shape[:-2]
            for cell, found in zip(family, residual, strict=True):
                if cell.spectrum in ties:
                    assert found.min() > 1e-3, str(cell)
                    assert found.max() < 2, str(cell)
                elif cell.spectrum != "two zeros":
                    np.testing.assert_array_equal(found, 0 * found)
                else:
                    assert found.max() < 1e-15


def test_no_rule_has_a_say_where_rule_residual_is_zero(framework):
    """The residual is zero for a projector onto a distinct vector; then all rules agree."""
    x = np.diag([3.0, 2.0, 2.0])
    U, S, Vh = np.linalg.svd(x)
    rng = np.random.default_rng(4)
    W = normal(rng, (3, 3), False)
    for kept, is_zero in (([1, 0, 0], True), ([1, 1, 0], False)):
        ct_U = (W + W.T) @ U * np.array(kept)
        cts = (ct_U, np.zeros(3), np.zeros((3, 3)))
        measure = framework.module.rule_residual
        residual = framework.numpy(measure(*map(framework.array, (U, S, Vh, ct_U, cts[2]))))
        assert (residual == 0) == is_zero
        inv, pinv = (framework.vjp("svd", (x,), cts, rule=rule)[1][0] for rule in ("inv", "pinv"))
        assert (np.abs(inv - pinv).max() < 1e-15) == is_zero


@pytest.mark.parametrize("is_complex", [False, True])
def test_rule_residual_with_ct_S_flags_what_auto_cannot_check(framework, is_complex):
    """Every loss at a triple, and sums whose matrices differ, are checked; two products are not."""
    rng = np.random.default_rng(5)
    U, V = haar(rng, (), 5, 5, is_complex), haar(rng, (), 5, 5, is_complex)
    x = (U * np.array([1.0, 0.8, 0.8, 0.8, 0.2])) @ adjoint(V)
    U, S, Vh = np.linalg.svd(x)
    pair = SVDFactors(U, np.array([1.0, 1.0, 0.7, 0.5, 0.2]), Vh)
    conjugate = np.conj if framework.bridge.conjugates else np.asarray
    for losses, triple, checked in (
        *((((loss,), True, True)) for loss in spectral.LOSSES),
        (("S^3", "left projector"), True, True),
        (("tanh", "values"), True, True),
        (("tanh",), False, True),
        (("U Vh",), False, True),
        (("c S", "tanh"), True, False),
        (("S^3", "U Vh"), True, False),
        (("S^3", "U Vh"), False, False),
        (("S^3", "left projector"), False, True),
        (("tanh", "values"), False, False),  # right, but it cannot be checked at a pair
    ):
        factors = SVDFactors(U, S, Vh) if triple else pair
        cts = [0, 0, 0]
        for loss in losses:
            W = spectral.weights(rng, loss, x)
            ct = spectral.cotangents(loss, *factors, W)
            cts = [a + b for a, b in zip(cts, ct, strict=True)]
        ct_U, ct_S, ct_Vh = cts
        given = map(framework.array, (*factors, conjugate(ct_U), conjugate(ct_Vh)))
        measure = framework.module.rule_residual
        residual = framework.numpy(measure(*given, ct_S=framework.array(ct_S)))
        assert (residual < 1e-13) == checked, (losses, triple, residual)
        assert (residual > 1e-2) != checked, (losses, triple, residual)


def test_auto_is_quiet_where_it_is_right(framework):
    x = np.stack([np.diag([2.0, 2.0, 1.0]), np.diag([3.0, 2.0, 1.0])])
    U, S, Vh = framework.call("svd", (x,))
    W = normal(np.random.default_rng(3), x.shape, False)
    cts = spectral.cotangents("tanh", U, S, Vh, W)
    framework.vjp("svd", (x,), cts, gauge="raise")
    more = spectral.cotangents("c S", U, S, Vh, normal(np.random.default_rng(4), x.shape, False))
    cts = tuple(a + b for a, b in zip(cts, more, strict=True))
    with pytest.raises(svdinv.GaugeError, match=r"depends on the rule, here 'auto'.* in 1 of 2"):
        framework.vjp("svd", (x,), cts, gauge="raise")


def run(tested, x, dependent, mode):
    """Reverse mode of svd for a loss that does, or does not, depend on the choice of vectors."""
    U, S, Vh = tested.call("svd", (x,))
    ct_U, ct_Vh = spectral_cotangents(
        U, S, Vh, normal(np.random.default_rng(3), x.shape, True).real
    )
    if dependent:
        ct_Vh = np.zeros_like(ct_Vh)
    cts = (ct_U, np.zeros_like(S), ct_Vh)
    return tested.vjp("svd", (x,), cts, gauge=mode, rule="inv")[1][0]


def test_svd_warns_or_raises_when_asked(framework):
    x = np.stack([np.diag([2.0, 2.0, 1.0]), np.diag([3.0, 2.0, 1.0])])
    distinct = x[1:]
    quiet = run(framework, distinct, False, "ignore")
    for mode in ("warn", "raise"):
        np.testing.assert_allclose(run(framework, distinct, False, mode), quiet, atol=1e-14)
    for dependent, words in (
        (
            True,
            r"depends on the choice of singular vectors \(gauge residual up to .* in 1 of 2",
        ),
        (False, r"depends on the rule, here 'inv' \(rule residual up to .* in 1 of 2"),
    ):
        run(framework, x, dependent, "ignore")
        with pytest.warns(svdinv.GaugeWarning, match=words):
            run(framework, x, dependent, "warn")
        with pytest.raises(svdinv.GaugeError, match=words):
            run(framework, x, dependent, "raise")


def test_modes_that_look_at_values_say_so_when_traced():
    jax, tf = driver("jax").bridge.module, driver("tensorflow").bridge.module
    import svdinv.jax
    import svdinv.tensorflow

    with pytest.raises(ValueError, match="gauge: 'raise' reads values"):
        jax.jit(jax.grad(lambda x: svdinv.jax.svd(x, gauge="raise").U.sum()))(jax.numpy.eye(3))

    @tf.function
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(svdinv.tensorflow.svd(x, gauge="warn").U)
        return tape.gradient(loss, x)

    with pytest.raises(ValueError, match="gauge: 'warn' reads values"):
        gradient(tf.eye(3, dtype=tf.float64))
