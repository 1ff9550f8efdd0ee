"""Explicit derivatives: `hvp`, and the complex step that replaces automatic differentiation."""

from __future__ import annotations

import array_api_strict as xp
import numpy as np
import pytest
import svdinv
import svdinv.numpy as sn
import svdinv.torch
import torch
from support.family import haar


@pytest.mark.parametrize("scale", [2.0**-498, 1.0, 2.0**498])
def test_the_slope_of_a_function_does_not_depend_on_the_scale(scale):
    """A step of 1e-100 is not small beside values of 1e-150."""
    x = scale * np.diag([2.0, 1.0, 0.0])
    _, pullback = sn.vjp(sn.singular_value_map, x, lambda s: scale * np.tanh(s / scale))
    (ct,) = pullback(np.eye(3))
    np.testing.assert_allclose(np.diagonal(ct), np.cosh([2.0, 1.0, 0.0]) ** -2, rtol=1e-14)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (2, 0, 3)])
def test_empty_matrices_of_a_strict_namespace(shape):
    """No slice past the end of an axis: the standard leaves it undefined."""
    x = xp.zeros(shape)
    for out, pullback in (
        svdinv.vjp(svdinv.svt, x, 0.5),
        svdinv.vjp(svdinv.low_rank, x, 1),
        svdinv.vjp(svdinv.singular_value_map, x, lambda s: s * s),
    ):
        assert out.shape == shape
        assert pullback(x)[0].shape == shape
    args = (svdinv.spectral_function, (x, lambda s: xp.sum(s * s, axis=-1)), (x, None))
    assert svdinv.hvp(*args, xp.zeros(shape[:-2]))[0].shape == shape


def test_the_gauge_is_reported_for_a_strict_namespace():
    x = xp.asarray(np.diag([2.0, 1.0, 1.0]))
    (U, S, Vh), pullback = svdinv.vjp(svdinv.svd, x, gauge="raise")
    ct = xp.asarray(np.arange(9.0).reshape(3, 3) ** 2)
    with pytest.raises(svdinv.GaugeError):
        pullback((ct, S, None))
    pullback((U, S, Vh))


def test_a_measure_has_no_derivative():
    from svdinv.numpy import gauge_residual, jvp, svd, vjp

    U, S, Vh = svd(np.eye(2))
    words = r"^fn: svdinv defines no derivative for gauge_residual, which is a diagnostic$"
    with pytest.raises(TypeError, match=words):
        vjp(gauge_residual, U, S, Vh, U, Vh)
    with pytest.raises(TypeError, match=words):
        jvp(gauge_residual, (U, S, Vh, U, Vh), (U,))


def both(name, arguments, torch_arguments, tangents, cts, **kwargs):
    """`hvp` of NumPy, and the same by differentiating twice in PyTorch."""
    fn = getattr(sn, name)
    out = fn(*arguments, **kwargs)
    many = isinstance(out, tuple)
    ours = sn.hvp(fn, arguments, tangents, cts if many else cts[0], **kwargs)

    xs = tuple(torch.tensor(a, requires_grad=True) for a in torch_arguments[0])
    y = getattr(svdinv.torch, name)(*xs, *torch_arguments[1], **kwargs)
    ys = [v for v, ct in zip(y if many else (y,), cts, strict=True) if ct is not None]
    given = [torch.tensor(ct) for ct in cts if ct is not None]
    grads = torch.autograd.grad(ys, xs, given, create_graph=True, allow_unused=True)
    along = [torch.tensor(d) for d in tangents if d is not None]
    inner = sum((g.conj() * d).real.sum() for g, d in zip(grads, along, strict=True))
    return ours[: len(xs)], torch.autograd.grad(inner, xs, allow_unused=True)


def case(name):
    rng = np.random.default_rng(5)

    def of(*shape):
        return rng.standard_normal(shape)

    if name == "spectral_function":
        U, V = haar(rng, (4,), 5, 3, False), haar(rng, (4,), 3, 3, False)
        S = np.array([[3.0, 2.0, 0.5], [2.0, 2.0, 0.5], [1.5, 1.5, 1.5], [2.0, 1.0, 1e-8]])
        x = (U * S[:, None]) @ np.swapaxes(V, -1, -2)

        def energy(s):
            return (s**2).sum(-1) ** 2 + (s**4).sum(-1) * 0.5

        return ((x, energy), ((x,), (energy,)), (of(4, 5, 3), None), (of(4),)), {}
    if name == "lstsq":
        a, b = of(2, 5, 3) + 1j * of(2, 5, 3), of(2, 5, 2) + 1j * of(2, 5, 2)
        a[1, :, 2] = a[1, :, 0]  # of rank 2
        da = of(2, 5, 3) + 1j * of(2, 5, 3)
        da[1, :, 2] = da[1, :, 0]
        cts = (of(2, 3, 2) + 1j * of(2, 3, 2), of(2, 2), None, None)
        return ((a, b), ((a, b), ()), (da, of(2, 5, 2) + 1j * of(2, 5, 2)), cts), {}
    if name == "align_points":
        p, q, w = of(2, 6, 3), of(2, 6, 3), rng.random((2, 6)) + 0.5
        cts = (of(2, 3, 3), of(2, 3), of(2), None)
        tangents = (of(2, 6, 3), of(2, 6, 3), of(2, 6))
        return ((p, q, w), ((p, q, w), ()), tangents, cts), {"scale": True}
    x = of(2, 4, 5, 4)
    return ((x, 0.7), ((x,), (0.7,)), (of(2, 4, 5, 4), None), (of(2, 4, 5, 4),)), {}


@pytest.mark.parametrize("name", ["spectral_function", "lstsq", "align_points", "tensor_svt"])
def test_second_derivatives_are_those_that_pytorch_finds_by_itself(name):
    arguments, kwargs = case(name)
    ours, theirs = both(name, *arguments, **kwargs)
    assert len(ours) == len(theirs)
    for got, wanted in zip(ours, theirs, strict=True):
        expected = wanted.numpy()
        assert np.linalg.norm(expected) > 1e-3
        np.testing.assert_allclose(got, expected, atol=1e-8 * np.abs(expected).max())
