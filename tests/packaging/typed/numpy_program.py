"""What a user of svdinv.numpy writes, with the types a checker has to find."""

# pyright: strict

from collections.abc import Callable
from typing import Any, assert_type

import numpy as np
from svdinv import rules
from svdinv.numpy import PolarResult, SVDResult, polar, svd, svdvals, svt, vjp

Array = np.ndarray[Any, Any]


def gap(x: Array) -> Array:
    """The gap after the first singular value, by field and by position."""
    factors = svd(x, rule=rules.Inv(degeneracy_rtol=1e-6))
    assert_type(factors, SVDResult[Array])
    assert_type(factors.U, Array)
    _, S, Vh = factors
    assert_type(S, Array)
    assert_type(Vh, Array)
    assert_type(svdvals(x), Array)
    first: Array = S[..., 0] - S[..., 1]
    return first


def nearest(x: Array) -> Array:
    """The nearest matrix with orthonormal columns."""
    found = polar(x)
    assert_type(found, PolarResult[Array])
    assert_type(found.positive, Array)
    return found.unitary


def derivative(x: Array) -> Array:
    """The derivative of the sum of a thresholded matrix."""
    assert_type(svt(x, 0.5, relative=True, driver="svd"), Array)
    out, pullback = vjp(svt, x, 0.5)
    assert_type(pullback, Callable[[Any], Any])
    ct: Array
    ct, _ = pullback(np.ones_like(out))
    return ct


if __name__ == "__main__":
    matrix = np.diag([3.0, 2.0, 1.0])
    assert float(gap(matrix)) == 1.0
    assert np.allclose(nearest(matrix), np.eye(3))
    assert np.isfinite(derivative(matrix)).all()
