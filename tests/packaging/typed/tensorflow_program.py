"""What a user of svdinv.tensorflow writes; TensorFlow has no types, so arrays are Any."""

from typing import Any, assert_type

import tensorflow as tf  # type: ignore[import-untyped]
from svdinv.tensorflow import PolarResult, SVDResult, polar, svd, svt


def pieces(x: Any) -> Any:
    """Results by field and by position."""
    factors = svd(x, rule="pinv")
    assert_type(factors, SVDResult[Any])
    U, S, Vh = factors
    assert_type(polar(x), PolarResult[Any])
    assert_type(factors.S, Any)
    assert_type(svt(x, 0.5), Any)
    return U * S[..., None, :] @ Vh


if __name__ == "__main__":
    matrix = tf.eye(3)
    assert bool(tf.reduce_all(abs(pieces(matrix) - matrix) < 1e-6))
