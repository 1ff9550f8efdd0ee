"""Observables and losses in autograd."""

from __future__ import annotations

import contextlib

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
import svdinv.autograd
from autograd.tracer import getval
from svdinv import _autograd_namespace

from svdinv_core import Point, Tangents, apply_at_midpoint, decompose_at_midpoint

from .drivers import driver
from .observables import Operations, observable

name = "autograd"


OPERATIONS = Operations(driver("autograd").bridge)


class Loss:
    """``Re <W, B(x)>``."""

    def __init__(self, observable, W):
        self.observable, self.weights = observable, W

    def observe(self, x):
        return observable(self.observable).of(svdinv.autograd, OPERATIONS, x)

    def __call__(self, x):
        return anp.sum(anp.real(np.conj(self.weights) * self.observe(x)))


loss = Loss
array = numpy = np.asarray
cotangent = np.conj


def realified(loss, x):
    """Make a loss of real arrays, for transforms that take no others, and map gradients back."""
    if not np.iscomplexobj(x):
        return loss, x, lambda g: g
    return (
        lambda r: loss(r[..., 0] + 1j * r[..., 1]),
        np.stack([x.real, x.imag], axis=-1),
        lambda g: g[..., 0] - 1j * g[..., 1],  # autograd's gradient of a complex argument
    )


def _at_midpoint(operator, x, raw, params):
    factors, fixed = operator.decomposition.Factors(*raw), tuple(map(getval, params))
    changes = tuple(p - q for p, q in zip(params, fixed, strict=True))
    at = Point(_autograd_namespace, getval(x), factors, fixed)
    return apply_at_midpoint(operator, at, Tangents(x - at.A, changes))


def _decomposed_at_midpoint(decomposition, x, raw):
    xp, factors = _autograd_namespace, decomposition.Factors(*raw)
    return decompose_at_midpoint(xp, decomposition, factors, x - getval(x))


@contextlib.contextmanager
def registrations(apply, decompose):
    """Replace the two primitives by ordinary operations, in one trace."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(svdinv.autograd, "_apply", apply)
        patch.setattr(svdinv.autograd, "_decompose", decompose)
        patch.setattr(svdinv.autograd._backend, "held_for_derivative", lambda value: value)
        yield


def second(loss, problem):
    """Hessian times direction of the form without registration, forward over reverse."""
    with registrations(_at_midpoint, _decomposed_at_midpoint):
        tangent = autograd.make_jvp(autograd.grad(loss))(problem.x)(problem.direction)[1]
        return cotangent(tangent)
