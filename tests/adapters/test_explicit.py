"""Explicit derivatives: the complex step that stands for automatic differentiation."""

from __future__ import annotations

import array_api_strict as xp
import numpy as np
import pytest
import svdinv
import svdinv.numpy as sn


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
    words = r"^fn: gauge_residual is a measure, and has no derivative here$"
    with pytest.raises(TypeError, match=words):
        vjp(gauge_residual, U, S, Vh, U, Vh)
    with pytest.raises(TypeError, match=words):
        jvp(gauge_residual, (U, S, Vh, U, Vh), (U,))
