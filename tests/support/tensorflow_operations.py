"""Observables and losses in TensorFlow."""

from __future__ import annotations

import contextlib
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import svdinv.tensorflow
import tensorflow as tf
from svdinv import _tensorflow_namespace

from svdinv_core import Point, Tangents, apply_at_midpoint, decompose_at_midpoint

from .drivers import driver
from .observables import Operations, observable

name = "tensorflow"


OPERATIONS = Operations(driver("tensorflow").bridge)


class Loss:
    """``Re <W, B(x)>``."""

    def __init__(self, observable, W):
        self.observable, self.weights = observable, tf.constant(W)

    def observe(self, x):
        return observable(self.observable).of(svdinv.tensorflow, OPERATIONS, x)

    def __call__(self, x):
        return tf.reduce_sum(tf.math.real(tf.math.conj(self.weights) * self.observe(x)))


loss = Loss
array = tf.constant


def numpy(x):
    return x.numpy()


def cotangent(g):
    return g


def gradient(loss, x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = loss(x)
    return tape.gradient(value, x)


def hessian_product(loss, x, d):
    """Reverse over reverse; an unconnected gradient is zero."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        g = gradient(loss, x)
    return tape.gradient(g, x, output_gradients=d, unconnected_gradients="zero")


def _at_midpoint(operator, x, raw, params):
    factors, fixed = operator.decomposition.Factors(*raw), tuple(map(tf.stop_gradient, params))
    changes = tuple(p - q for p, q in zip(params, fixed, strict=True))
    at = Point(_tensorflow_namespace, tf.stop_gradient(x), factors, fixed)
    return apply_at_midpoint(operator, at, Tangents(x - at.A, changes))


def _decomposed_at_midpoint(decomposition, x, raw):
    factors = decomposition.Factors(*raw)
    dx = x - tf.stop_gradient(x)
    return decompose_at_midpoint(_tensorflow_namespace, decomposition, factors, dx)


@contextlib.contextmanager
def registrations(apply, decompose):
    """Replace the two custom derivatives."""
    before = svdinv.tensorflow._apply, svdinv.tensorflow._decompose
    svdinv.tensorflow._apply, svdinv.tensorflow._decompose = apply, decompose
    try:
        yield
    finally:
        svdinv.tensorflow._apply, svdinv.tensorflow._decompose = before


def second(loss, problem):
    """Hessian times direction of the form without registration."""
    with registrations(_at_midpoint, _decomposed_at_midpoint):
        return numpy(hessian_product(loss, array(problem.x), array(problem.direction)))
