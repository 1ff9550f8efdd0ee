"""Every function under every transform of TensorFlow, by value at exact ties."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import svdinv.numpy
import svdinv.tensorflow
from support import tensorflow_operations
from support.family import normal
from support.tensorflow_operations import gradient, hessian_product, tf
from support.transforms import (
    Transform,
    cells,
    check,
    check_red,
    native,
    relative,
    with_fewer_matrices,
)
from svdinv import _tensorflow_namespace


def tangent(loss, x, d):
    with tf.autodiff.ForwardAccumulator(x, d) as accumulator:
        value = loss(x)
    return accumulator.jvp(value, unconnected_gradients="zero")


def forward_over_reverse(loss, x, d):
    with tf.autodiff.ForwardAccumulator(x, d) as accumulator:
        g = gradient(loss, x)
    return accumulator.jvp(g, unconnected_gradients="zero")


def in_function(run, **kwargs):
    """Run all matrices of a cell in one function."""

    def results(functions, xs, ds):
        return tf.function(lambda xs, ds: tuple(map(run, functions, xs, ds)), **kwargs)(xs, ds)

    return results


def in_xla(run):
    return in_function(run, jit_compile=True, autograph=False)


def specs(xs, lead=()):
    return [tf.TensorSpec([*lead, *x.shape], x.dtype) for x in xs]


def unknown_batch(run):
    """Run three matrices of unknown batch length; one loss for each, with its own weights."""

    def results(functions, xs, ds):
        f = tf.function(
            lambda *Xs: tuple(map(run, functions, Xs, ds)), input_signature=specs(xs, [None])
        )
        return [G[2] for G in f(*(tf.stack([x, x, x]) for x in xs))]

    return results


def tangents_of_a_function(run):
    def results(functions, xs, ds):
        f = tf.function(lambda *xs: tuple(map(run, functions, xs, ds)))
        with tf.autodiff.ForwardAccumulator(list(xs), list(ds)) as accumulator:
            values = f(*xs)
        return [accumulator.jvp(value, unconnected_gradients="zero") for value in values]

    return results


def gradients_of_a_function(run):
    def results(functions, xs, ds):
        f = tf.function(lambda *xs: tuple(map(run, functions, xs, ds)))
        return gradients(f, xs)

    return results


def gradients(f, xs):
    """The gradients of a sum of values, one for each matrix."""
    with tf.GradientTape() as tape:
        tape.watch(xs)
        values = f(*xs)
    return tape.gradient(list(values), xs)


def persistent(loss, x, d):
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        value = loss(x)
    tape.gradient(value, x)
    return tape.gradient(value, x)


def jacobian(loss, x, d):
    """The Jacobian of the losses of two matrices; its diagonal blocks are the gradients."""
    X = tf.stack([x, x])
    with tf.GradientTape() as tape:
        tape.watch(X)
        values = tf.stack([loss(X[0]), loss(X[1])])
    return tape.jacobian(values, X)[1, 1]


def mapped(loss, x, d):
    return tf.vectorized_map(lambda y: gradient(loss, y), tf.stack([x, x]))[1]


def saved(functions, xs, run, options=None):
    """The results of a saved and loaded model, as a function of the matrices."""

    class Program(tf.Module):
        @tf.function(input_signature=specs(xs), autograph=False)
        def call(self, *ys):
            return tuple(map(run, functions, ys))

    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(Program(), folder, options=options)
        return tf.saved_model.load(folder).call


def saved_gradient(run):
    return lambda functions, xs, ds: saved(functions, xs, gradient)(*xs)


def saved_forward(run):
    """Only the value is saved, and the loaded model has to contain its gradient."""
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=True)
    value = lambda loss, x: loss(x)  # noqa: E731
    return lambda functions, xs, ds: gradients(saved(functions, xs, value, options), xs)


def of_loss(loss, x, d):
    return gradient(loss, x)


def value_of(loss, x, d):
    return loss(x)


ALL_TRANSFORMS = (
    Transform("GradientTape", "gradient", of_loss),
    Transform("GradientTape, persistent", "gradient", persistent),
    Transform("jacobian", "gradient", jacobian),
    Transform("ForwardAccumulator", "tangent", tangent),
    Transform("function", "gradient", of_loss, in_function),
    Transform("function, unknown batch", "gradient", of_loss, unknown_batch),
    Transform("function(ForwardAccumulator)", "tangent", tangent, in_function),
    Transform("ForwardAccumulator of a function", "tangent", value_of, tangents_of_a_function),
    Transform("gradient of a function", "gradient", value_of, gradients_of_a_function),
    Transform("XLA", "gradient", of_loss, in_xla),
    Transform("vectorized_map", "gradient", mapped),
    Transform("SavedModel of the gradient", "gradient", of_loss, saved_gradient),
    Transform("SavedModel, then gradient", "gradient", value_of, saved_forward),
    Transform("nested GradientTape", "second", hessian_product),
    Transform("ForwardAccumulator over GradientTape", "second", forward_over_reverse),
    Transform("function(nested GradientTape)", "second", hessian_product, in_function),
)


USUAL = ("GradientTape", "ForwardAccumulator", "function", "nested GradientTape")
TRANSFORMS = with_fewer_matrices(ALL_TRANSFORMS, USUAL)


def apart(cell):
    """Mark a cell for a separate process: XLA's programs and loaded models are never freed."""
    if not str(cell.values[0]).startswith(("XLA", "SavedModel")):
        return cell
    return pytest.param(*cell.values, id=cell.id, marks=[*cell.marks, pytest.mark.apart])


@pytest.mark.parametrize(("transform", "observable"), list(map(apart, cells(TRANSFORMS, USUAL))))
def test_cell(transform, observable, whole_family):
    check(tensorflow_operations, transform, observable, whole_family)


@pytest.mark.apart
@pytest.mark.parametrize("observable", ["svt", "svd"])
def test_a_batch_of_tall_matrices_in_xla(observable):
    (transform,) = (t for t in TRANSFORMS if t.name == "XLA")
    check(tensorflow_operations, replace(transform, matrices=("tall batch",)), observable)


@pytest.mark.apart
def test_xla_in_double_precision():
    """XLA's own decompositions stop at an error of 1e-6."""
    A = normal(np.random.default_rng(0), (2, 9, 6), False)
    H = A @ np.conj(np.swapaxes(A, -1, -2))

    @tf.function(jit_compile=True)
    def program(x, h):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = svdinv.tensorflow.svt(x, 1.0)
            loss = tf.reduce_sum(tf.math.real(y * tf.math.conj(y)))
        return y, tape.gradient(loss, x), svdinv.tensorflow.svd(x), svdinv.tensorflow.eigh(h)

    out = program(tf.constant(A), tf.constant(H))
    y, ct, (U, S, Vh), (w, Q) = tf.nest.map_structure(lambda z: z.numpy(), out)
    expected, pullback = svdinv.numpy.vjp(svdinv.numpy.svt, A, 1.0)
    np.testing.assert_allclose(y, expected, atol=1e-13)
    np.testing.assert_allclose(ct, pullback(2 * expected)[0], atol=1e-12)
    np.testing.assert_allclose((U * S[:, None, :]) @ Vh, A, atol=1e-13)
    np.testing.assert_allclose((Q * w[:, None, :]) @ np.conj(np.swapaxes(Q, -1, -2)), H, atol=1e-12)


def programs(function, *args):
    """How many programs of XLA a traced function calls."""
    operations = function.get_concrete_function(*args).graph.get_operations()
    return sum("_XlaMustCompile" in operation.node_def.attr for operation in operations)


@pytest.mark.apart
def test_many_small_matrices_in_a_function_are_compiled_by_xla(tmp_path):
    """Ties, a zero matrix, and one with a NaN, which does not change the others."""
    rng = np.random.default_rng(0)
    A, W, D = (normal(rng, (1024, 3, 3), False) for _ in range(3))
    A[:3] = np.eye(3), np.zeros((3, 3)), np.diag([2.0, 1, 1])
    A[3, 0, 0] = np.nan
    good = np.arange(1024) != 3
    tau = np.full(1024, 0.5)
    B, pullback = svdinv.numpy.vjp(svdinv.numpy.svt, A, tau)
    cts = pullback(W)
    along = (D, np.zeros_like(tau))
    tangent = svdinv.numpy.jvp(svdinv.numpy.svt, (A, tau), along)[1]
    second = svdinv.numpy.hvp(svdinv.numpy.svt, (A, tau), along, W)

    def check_results(results, expected):
        for got, exact in zip(results, expected, strict=True):
            assert relative(got.numpy()[good], exact[good]) < 1e-12
            assert np.isnan(got.numpy()[3]).all()

    def step(x, tau):
        with tf.GradientTape() as tape:
            tape.watch([x, tau])
            y = svdinv.tensorflow.svt(x, tau)
        return y, *tape.gradient(y, [x, tau], W)

    def second_step(x, tau):
        with tf.GradientTape() as tape:
            tape.watch([x, tau])
            ct = step(x, tau)[1]
        with tf.autodiff.ForwardAccumulator(x, tf.constant(D)) as accumulator:
            y = svdinv.tensorflow.svt(x, tau)
        return *tape.gradient(ct, [x, tau], D), accumulator.jvp(y)

    args = tf.constant(A), tf.constant(tau)
    plain = {"autograph": False}
    signature = [tf.TensorSpec([None, *x.shape[1:]], x.dtype) for x in args]
    fused = tf.function(step, **plain)
    in_xla = tf.function(step, jit_compile=True, **plain)
    unknown = tf.function(step, input_signature=signature, **plain)
    assert programs(fused, *args) == 3
    assert programs(in_xla, *args) == programs(unknown, *args) == 0
    model = tf.Module()
    model.call = fused
    tf.saved_model.save(model, tmp_path)
    for function in (fused, in_xla, unknown, tf.saved_model.load(tmp_path).call):
        check_results(function(*args), (B, *cts))
    check_results(tf.function(second_step, **plain)(*args), (*second, tangent))

    # A persistent tape also asks for the derivatives of what lies between the operations.
    of_function = tf.function(svdinv.tensorflow.svt, **plain)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(args[0])
        y = of_function(*args)
    check_results([tape.gradient(y, args[0], W)], cts[:1])


@pytest.mark.apart
@pytest.mark.parametrize("n", [3, 5])
def test_many_rotations_in_a_function(n):
    """TensorFlow's XLA has no determinant."""
    A, W = (normal(np.random.default_rng(n), (1024, n, n), False) for _ in range(2))
    R, pullback = svdinv.numpy.vjp(svdinv.numpy.procrustes, A, special=True)
    (ct,) = pullback(W)

    @tf.function
    def step(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = svdinv.tensorflow.procrustes(x, special=True)
        return y, tape.gradient(y, x, W)

    x = tf.constant(A)
    assert programs(step, x) == 3
    y, got = step(x)
    assert relative(y.numpy(), R) < 1e-9
    assert relative(got.numpy(), ct) < 1e-9


@pytest.mark.slow
def test_what_stays_in_memory(request):
    """The cells of XLA and of saved models, in a separate process."""
    whole = ["--whole-family"] if request.config.getoption("--whole-family") else []
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--apart",
            *whole,
            __file__,
        ],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-4000:]
    assert int(re.search(r"([0-9]+) passed", run.stdout)[1]) > 15


class Thresholded(tf.keras.layers.Layer):
    """``svt`` of a trained matrix plus the input, with a trained threshold."""

    def build(self, shape):
        self.matrix = self.add_weight(shape=shape[1:], initializer="zeros", name="matrix")
        self.tau = self.add_weight(shape=(), initializer=lambda *a, **k: 0.25, name="tau")

    def call(self, x):
        return svdinv.tensorflow.svt(x + self.matrix, self.tau)


@pytest.mark.parametrize("eagerly", [False, True])
def test_a_keras_layer_trains_and_its_step_is_the_exact_one(eagerly):
    """One step of gradient descent from exact ties, against the explicit derivative."""
    tf.keras.utils.set_random_seed(0)
    x = np.stack([np.eye(4), 2 * np.eye(4)]).astype("float32")
    target = np.random.default_rng(0).standard_normal(x.shape).astype("float32")
    model = tf.keras.Sequential([tf.keras.Input((4, 4)), Thresholded()])
    model.compile(tf.keras.optimizers.SGD(0.5), "mse", run_eagerly=eagerly, jit_compile=False)
    model.fit(x, target, epochs=1, batch_size=2, verbose=0)
    B, pullback = svdinv.numpy.vjp(svdinv.numpy.svt, x, np.float32(0.25))
    ct_x, ct_tau = pullback(2 * (B - target) / B.size)
    layer = model.layers[0]
    assert relative(layer.matrix.numpy(), -0.5 * ct_x.sum(axis=0)) < 1e-5
    assert relative(layer.tau.numpy(), 0.25 - 0.5 * np.sum(ct_tau)) < 1e-5
    before = model.evaluate(x, target, verbose=0)
    model.fit(x, target, epochs=20, batch_size=2, verbose=0)
    assert model.evaluate(x, target, verbose=0) < before
    assert all(np.isfinite(w).all() for w in model.get_weights())


@pytest.mark.parametrize("observable", ["svt", "svd"])
@pytest.mark.parametrize("name", ["GradientTape", "function", "nested GradientTape"])
def test_a_cell_goes_red_without_its_rule(name, observable):
    """TensorFlow's own gradient is finite at a tie, and wrong."""
    (transform,) = (t for t in TRANSFORMS if t.name == name)
    without = tensorflow_operations.registrations(*native(_tensorflow_namespace))
    check_red(tensorflow_operations, transform, observable, without, r"(identity|unitary): \d")


@pytest.mark.parametrize("observable", ["svt", "svd"])
def test_forward_mode_in_a_function_goes_red_with_the_custom_gradient(monkeypatch, observable):
    """There TensorFlow silently ignores custom gradients."""
    (transform,) = (t for t in TRANSFORMS if t.name == "function(ForwardAccumulator)")
    monkeypatch.setattr(svdinv.tensorflow, "_passed_over", lambda *tensors: False)
    with pytest.raises(AssertionError, match=r"unitary: \d"):
        check(tensorflow_operations, transform, observable)


def test_a_graph_of_version_1_is_refused():
    with tf.Graph().as_default(), pytest.raises(NotImplementedError, match=r"use a tf\.function"):
        svdinv.tensorflow.svt(tf.eye(3), 0.5)


def test_it_says_what_it_needs_when_a_size_is_unknown():
    for shape in ([None, 4], [2, 3, None], None):
        traced = tf.function(
            svdinv.tensorflow.svd, input_signature=[tf.TensorSpec(shape, tf.float64)]
        )
        with pytest.raises(ValueError, match=r"x: .* (is|are) not known here"):
            traced.get_concrete_function()
