"""What a user of svdinv.jax writes, with the types a checker has to find."""

from typing import assert_type

import jax
import jax.numpy as jnp
from svdinv.jax import PolarResult, SVDResult, polar, singular_value_map, svd, svt


def loss(x: jax.Array, tau: jax.Array) -> jax.Array:
    """The sum of the thresholded matrix."""
    out = svt(x, tau)
    assert_type(out, jax.Array)
    return out.sum()


def pieces(x: jax.Array) -> jax.Array:
    """Results by field and by position."""
    factors = svd(x, rule="pinv")
    assert_type(factors, SVDResult[jax.Array])
    U, S, Vh = factors
    assert_type(U, jax.Array)
    assert_type(factors.S, jax.Array)
    assert_type(Vh, jax.Array)
    assert_type(polar(x), PolarResult[jax.Array])
    assert_type(polar(x).unitary, jax.Array)
    assert_type(singular_value_map(x, jnp.tanh), jax.Array)
    return U * S @ Vh


if __name__ == "__main__":
    matrix = jnp.eye(3)
    assert bool(jnp.isfinite(jax.grad(loss)(matrix, jnp.asarray(0.5))).all())
    assert bool(jnp.allclose(pieces(matrix), matrix))
