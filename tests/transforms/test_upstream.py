"""Faults of frameworks that the library works around, those of each framework in a process.

A test fails when its fault is gone. Then the workaround that it names can be removed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

SINE = """
import torch

class Sine(torch.autograd.Function):
    # the derivative is 7 wherever it is kept
    generate_vmap_rule = True
    @staticmethod
    def forward(x):
        return x.sin()
    @staticmethod
    def setup_context(ctx, inputs, output):
        pass
    @staticmethod
    def backward(ctx, g):
        return 7 * g
"""
SQUARE = """
import torch

class Square(torch.autograd.Function):
    generate_vmap_rule = True
    @staticmethod
    def forward(x):
        return x * x
    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_forward(*inputs)
    @staticmethod
    def jvp(ctx, dx):
        (x,) = ctx.saved_tensors
        return 2 * x * dx
"""

# what is wrong, where it is worked around: program, and what it prints while the fault is there
FAULTS = {
    "pytorch#193279: compiled func.grad drops a backward (torch._dropped)": (
        SINE
        + """
f = torch.compile(torch.func.grad(lambda x: Sine.apply(x).sum()), backend="eager")
print(f(torch.zeros(1)).item())
""",
        "1.0",
    ),
    "pytorch#192985: compiled func.jvp drops a jvp (torch._dropped)": (
        SQUARE.replace("2 * x * dx", "7 * dx")
        + """
f = torch.compile(lambda x: torch.func.jvp(Square.apply, (x,), (x,))[1], backend="eager")
print(f(torch.ones(1)).item())
""",
        "2.0",
    ),
    "pytorch#197867: jacfwd of jacfwd through an autograd function (torch._forward_of_forward)": (
        SQUARE
        + """
jacfwd = torch.func.jacfwd
print(jacfwd(jacfwd(lambda x: Square.apply(x).sum()))(torch.ones(1)).item())
""",
        "0.0",
    ),
    "functorch#993: torch.func.grad refuses the hooks of a checkpoint (torch._eager_slope)": (
        """
import torch
from torch.utils.checkpoint import checkpoint
try:
    checkpoint(torch.func.grad(torch.sum), torch.ones(1, requires_grad=True), use_reentrant=False)
except RuntimeError as error:
    print("saved tensor hooks" in str(error))
""",
        "True",
    ),
    "torch.export holds tensors without values for torch.func.grad (torch._exported_slope)": (
        """
import torch
class Model(torch.nn.Module):
    def forward(self, x):
        s = 2 * x
        return torch.func.grad(lambda t: t.tanh().sum())(s)
x = torch.ones(2, requires_grad=True)
out = torch.export.export(Model(), (x,)).module()(x)
print(type(out).__name__)
""",
        "FakeTensor",
    ),
    "jax#39103: sums that XLA hands to YNNPACK with their neighbours (_jax_namespace.sum)": (
        """
import jax, numpy
v = numpy.ones((7, 2500), "f4") * numpy.arange(7, dtype="f4")[:, None]
x = numpy.arange(4, dtype="f4")[:, None, None] * numpy.ones((7, 2500), "f4")
product = lambda v, x: (v * x).sum(axis=1)[:, None] * v
print(bool((jax.jit(product)(v, x) == product(v, x)).all()))
""",
        "False",
    ),
    "TensorFlow: forward mode in a function passes custom gradients over (_passed_over)": (
        """
import tensorflow as tf
@tf.custom_gradient
def sine(x):
    return tf.sin(tf.stop_gradient(x)), lambda g: 7 * g
@tf.function
def tangent(x):
    with tf.autodiff.ForwardAccumulator(x, tf.ones_like(x)) as accumulator:
        y = sine(x)
    return accumulator.jvp(y, unconnected_gradients="zero")
print(tangent(tf.zeros(1)).numpy().item())
""",
        "0.0",
    ),
    "TensorFlow: forward mode differentiates what is inside a custom gradient (_apply)": (
        """
import tensorflow as tf
@tf.custom_gradient
def sine(x):
    return tf.sin(x), lambda g: 7 * g
x = tf.zeros(1)
with tf.autodiff.ForwardAccumulator(x, tf.ones_like(x)) as accumulator:
    y = sine(x)
print(accumulator.jvp(y).numpy().item())
""",
        "1.0",
    ),
    "TensorFlow: no complex singular values in XLA (Situation.has_svd)": (
        """
import tensorflow as tf
svd = tf.function(tf.linalg.svd, jit_compile=True)
try:
    svd(tf.eye(2, dtype=tf.complex128))
except tf.errors.InvalidArgumentError as error:
    print("No registered 'Svd' OpKernel" in str(error))
""",
        "True",
    ),
    "TensorFlow: no determinant in XLA (det of _tensorflow_namespace)": (
        """
import tensorflow as tf
det = tf.function(tf.linalg.det, jit_compile=True)
try:
    det(tf.eye(2))
except tf.errors.InvalidArgumentError as error:
    print("MatrixDeterminant" in str(error))
""",
        "True",
    ),
}


EACH = """
import contextlib, io, json, traceback

def run(program):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            exec(program, globals())
        except Exception:
            traceback.print_exc(file=out)
    return out.getvalue().strip()

print(json.dumps({fault: run(program) for fault, program in json.loads(input()).items()}))
"""


MODULES = ("torch", "jax", "tensorflow")


@pytest.mark.parametrize("module", MODULES)
def test_the_faults_are_still_there(module):
    faults = {name: fault for name, fault in FAULTS.items() if f"import {module}" in fault[0]}
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", EACH],
        input=json.dumps({name: program for name, (program, _) in faults.items()}),
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert json.loads(run.stdout) == {name: printed for name, (_, printed) in faults.items()}


def test_every_fault_has_a_framework():
    for name, (program, _) in FAULTS.items():
        assert sum(f"import {module}" in program for module in MODULES) == 1, name
