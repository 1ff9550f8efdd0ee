"""Observables and losses in JAX."""

from __future__ import annotations

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import svdinv.jax

from svdinv_core import Point, Tangents, apply_at_midpoint, decompose_at_midpoint

from .drivers import driver
from .observables import Operations, observable

jax.config.update("jax_enable_x64", True)
name = "jax"


OPERATIONS = Operations(driver("jax").bridge)


class Loss:
    """``Re <W, B(x)>``."""

    def __init__(self, observable, W):
        self.observable, self.weights = observable, jnp.asarray(W)

    def observe(self, x):
        return observable(self.observable).of(svdinv.jax, OPERATIONS, x)

    def __call__(self, x):
        return jnp.real(jnp.conj(self.weights.astype(x.dtype)) * self.observe(x)).sum()


loss = Loss
array = jnp.asarray
numpy = np.asarray
cotangent = np.conj


def _at_midpoint(operator, x, raw, params):
    fixed = jax.lax.stop_gradient((x, params))
    dx, dparams = jax.tree.map(jnp.subtract, (x, params), fixed)
    at = Point(jnp, fixed[0], raw, fixed[1])
    return apply_at_midpoint(operator, at, Tangents(dx, dparams))


def _decomposed_at_midpoint(decomposition, x, raw):
    return decompose_at_midpoint(jnp, decomposition, raw, x - jax.lax.stop_gradient(x))


@contextlib.contextmanager
def registrations(apply, decompose):
    """Replace the two custom derivatives."""
    before = svdinv.jax._apply, svdinv.jax._decompose
    svdinv.jax._apply, svdinv.jax._decompose = apply, decompose
    try:
        yield
    finally:
        svdinv.jax._apply, svdinv.jax._decompose = before


def second(loss, problem):
    """Hessian times direction of the form without registration, forward over reverse."""
    with registrations(_at_midpoint, _decomposed_at_midpoint):
        product = jax.jit(lambda x, d: jax.jvp(jax.grad(loss), (x,), (d,))[1])
        return cotangent(product(problem.x, problem.direction))
