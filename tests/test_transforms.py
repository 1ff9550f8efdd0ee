"""Second derivatives against each other and against differences; what a transform must not do.

`tests/transforms` has every function under every transform.
"""

from __future__ import annotations

import numpy as np
import pytest
from support.drivers import driver
from support.family import cells, draw, normal


def distinct(is_complex, size=(5, 4)):
    (cell,) = cells(sizes=[size], spectra=["distinct"], scales=[1.0], fields=[is_complex])
    return draw(cell, 1)[0][0]


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("shape", [(3, 3), (2, 4, 3), (2, 3)], ids=str)
@pytest.mark.parametrize("relative", [False, True])
def test_torch_gradcheck_of_svt(dtype, shape, relative):
    import torch
    from svdinv.torch import svt

    torch.manual_seed(0)
    x = torch.randn(shape, dtype=getattr(torch, dtype), requires_grad=True)
    tau = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)

    def fn(x, tau):
        return svt(x, tau, relative=relative)

    assert torch.autograd.gradcheck(
        fn,
        (x, tau),
        check_forward_ad=True,
        check_batched_grad=True,
        check_batched_forward_grad=True,
    )
    assert torch.autograd.gradgradcheck(
        fn, (x, tau), check_fwd_over_rev=True, check_rev_over_rev=True, fast_mode=True
    )


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("shape", [(3, 3), (2, 4, 3), (2, 3)], ids=str)
@pytest.mark.parametrize("rule", ["inv", "pinv", "plain", "tf", "clip", "lorentzian"])
def test_torch_gradcheck_of_svd(dtype, shape, rule):
    import torch
    from svdinv.torch import svd

    torch.manual_seed(0)
    x = torch.randn(shape, dtype=getattr(torch, dtype), requires_grad=True)

    def fn(x):
        U, S, Vh = svd(x, rule=rule)
        return (U * torch.tanh(S)[..., None, :]) @ Vh

    assert torch.autograd.gradcheck(fn, (x,), check_forward_ad=True, fast_mode=True)
    assert torch.autograd.gradgradcheck(fn, (x,), check_fwd_over_rev=True, fast_mode=True)


def test_jax_without_double_precision():
    jax = driver("jax").jax
    from svdinv.jax import svt

    with jax.enable_x64(False):
        grad = jax.jit(jax.grad(lambda x: svt(x, 0.5).sum()))(jax.numpy.eye(4))
        assert grad.dtype == np.float32
        np.testing.assert_allclose(grad, np.ones((4, 4)), atol=1e-6)


def test_tensorflow_says_what_it_needs_when_a_size_is_unknown():
    tf = driver("tensorflow").tf
    from svdinv.tensorflow import svd

    for shape in ([None, 4], [2, 3, None], None):
        traced = tf.function(svd, input_signature=[tf.TensorSpec(shape, tf.float64)])
        with pytest.raises(ValueError, match=r"x: .* (is|are) not known here"):
            traced.get_concrete_function()


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("function", ["svt", "svd"])
def test_second_derivatives_agree_and_match_differences(function, is_complex):
    x = distinct(is_complex)
    dx = normal(np.random.default_rng(3), x.shape, is_complex)
    W = normal(np.random.default_rng(4), x.shape, is_complex)

    def hvp_torch():
        import torch
        from svdinv.torch import svd, svt

        leaf = torch.tensor(x, requires_grad=True)
        if function == "svt":
            B = svt(leaf, 0.3)
        else:
            U, S, Vh = svd(leaf)
            B = (U * torch.tanh(S)[..., None, :]) @ Vh
        loss = ((B * torch.tensor(W).conj()).real ** 2).sum()
        (grad,) = torch.autograd.grad(loss, leaf, create_graph=True)
        slope = (grad * torch.tensor(dx).conj()).real.sum()
        return torch.autograd.grad(slope, leaf)[0].resolve_conj().numpy()

    def gradient_jax(y):
        jax = driver("jax").jax
        import jax.numpy as jnp
        from svdinv.jax import svd, svt

        def loss(x):
            if function == "svt":
                B = svt(x, 0.3)
            else:
                U, S, Vh = svd(x)
                B = (U * jnp.tanh(S)[..., None, :]) @ Vh
            return jnp.sum(jnp.real(B * np.conj(W)) ** 2)

        return jnp.conj(jax.grad(loss)(y))

    def hvp_tensorflow():
        tf = driver("tensorflow").tf
        from svdinv.tensorflow import svd, svt

        leaf = tf.constant(x)
        with tf.GradientTape() as outer:
            outer.watch(leaf)
            with tf.GradientTape() as inner:
                inner.watch(leaf)
                if function == "svt":
                    B = svt(leaf, 0.3)
                else:
                    U, S, Vh = svd(leaf)
                    f = tf.tanh(S)[..., None, :]
                    f = tf.complex(f, tf.zeros_like(f)) if is_complex else f
                    B = tf.matmul(U * f, Vh)
                loss = tf.reduce_sum(tf.math.real(B * np.conj(W)) ** 2)
            grad = inner.gradient(loss, leaf)
            slope = tf.reduce_sum(tf.math.real(grad * np.conj(dx)))
        return outer.gradient(slope, leaf).numpy()

    jax = driver("jax").jax
    hvp_jax = np.asarray(jax.jvp(gradient_jax, (jax.numpy.asarray(x),), (dx,))[1])
    h = 1e-5
    difference = (gradient_jax(x + h * dx) - gradient_jax(x - h * dx)) / (2 * h)
    np.testing.assert_allclose(hvp_jax, difference, rtol=1e-6, atol=1e-6 * np.abs(difference).max())
    scale = np.abs(hvp_jax).max()
    np.testing.assert_allclose(hvp_torch(), hvp_jax, atol=1e-11 * scale)
    np.testing.assert_allclose(hvp_tensorflow(), hvp_jax, atol=1e-11 * scale)


@pytest.mark.parametrize("x", [np.eye(4), np.zeros((4, 3)), np.diag([1.0, 1.0, 0.0])], ids=str)
def test_second_derivatives_are_finite_at_ties_and_zeros(x):
    import torch
    from svdinv.torch import svd, svt

    jax = driver("jax").jax
    import svdinv.jax

    for fn in (lambda m, y: m.svt(y, 0.5).sum() ** 2, lambda m, y: m.svd(y).U.sum() ** 2):
        leaf = torch.tensor(x, requires_grad=True)
        module = type("module", (), {"svt": staticmethod(svt), "svd": staticmethod(svd)})
        (grad,) = torch.autograd.grad(fn(module, leaf), leaf, create_graph=True)
        if grad.requires_grad:
            (second,) = torch.autograd.grad((grad**2).sum(), leaf)
            assert torch.isfinite(second).all()
        hessian = jax.hessian(lambda y, fn=fn: fn(svdinv.jax, y))(jax.numpy.asarray(x))
        assert np.isfinite(hessian).all()


def test_autocast_does_not_reach_the_derivative():
    import torch
    from svdinv.torch import svt

    x = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
    grads = []
    for enabled in (False, True):
        leaf = x.clone().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            out = svt(leaf, 0.5)
            assert out.dtype == torch.float32
            (out * x).sum().backward()
        grads.append(leaf.grad)
    torch.testing.assert_close(*grads, rtol=1e-6, atol=1e-6)
