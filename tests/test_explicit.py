"""Explicit derivatives: the complex step that stands for automatic differentiation."""

from __future__ import annotations

import numpy as np
import pytest
import svdinv.numpy as sn


@pytest.mark.parametrize("scale", [2.0**-498, 1.0, 2.0**498])
def test_the_slope_of_a_function_does_not_depend_on_the_scale(scale):
    """A step of 1e-100 is not small beside values of 1e-150."""
    x = scale * np.diag([2.0, 1.0, 0.0])
    _, pullback = sn.vjp(sn.singular_value_map, x, lambda s: scale * np.tanh(s / scale))
    (ct,) = pullback(np.eye(3))
    np.testing.assert_allclose(np.diagonal(ct), np.cosh([2.0, 1.0, 0.0]) ** -2, rtol=1e-14)
