"""Hessian-vector products: right where the values are distinct, finite everywhere."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from support import drivers
from support.arrays import adjoint
from support.drivers import driver
from support.errors import norm
from support.family import Cell, draw, haar, normal
from support.operators import CASES

from svdinv_core import get_rule, rule_names

FRAMEWORKS = tuple(name for name in drivers.FRAMEWORKS if name != "numpy")
LINEAR = tuple(rule for rule in rule_names() if get_rule(rule).linear)
FUNCTIONS = (
    *CASES,
    "svdvals",
    *(f"{function} {rule}" for function in ("svd", "eigh") for rule in LINEAR),
)
SIZES = ((4, 4), (5, 3), (3, 5))


class Torch:
    def __init__(self):
        import torch

        self.torch, self.module = torch, driver("torch").module
        self.tanh, self.sum, self.abs_squared = torch.tanh, torch.sum, lambda B: (B * B.conj()).real
        self.adjoint = lambda x: x.mH

    def columns(self, U, f):
        return U * f.unsqueeze(-2)

    def gradient(self, loss, x):
        leaf = self.torch.tensor(x, requires_grad=True)
        (g,) = self.torch.autograd.grad(loss(leaf), leaf)
        return g.resolve_conj().numpy()

    def second(self, loss, x, dx):
        leaf = self.torch.tensor(x, requires_grad=True)
        (g,) = self.torch.autograd.grad(loss(leaf), leaf, create_graph=True)
        if not g.requires_grad:  # a constant gradient
            return np.zeros_like(x)
        (gg,) = self.torch.autograd.grad(g, leaf, self.torch.tensor(dx), materialize_grads=True)
        return gg.resolve_conj().numpy()


class Jax:
    def __init__(self):
        self.jax, self.module = driver("jax").jax, driver("jax").module
        jnp = self.jax.numpy
        self.tanh, self.sum, self.abs_squared = jnp.tanh, jnp.sum, lambda B: (B * B.conj()).real
        self.adjoint = lambda x: x.conj().swapaxes(-1, -2)
        self.compiled = cache(self._compiled)  # one program for each loss, shape and dtype

    def columns(self, U, f):
        return U * f[..., None, :]

    def _compiled(self, loss):
        jax = self.jax

        def both(x, dx):
            return jax.jvp(lambda y: jax.numpy.conj(jax.grad(loss)(y)), (x,), (dx,))

        return jax.jit(both)

    def gradient(self, loss, x):
        return np.asarray(self.compiled(loss)(x, np.zeros_like(x))[0])

    def second(self, loss, x, dx):
        return np.asarray(self.compiled(loss)(x, dx)[1])


class TensorFlow:
    def __init__(self):
        self.tf, self.module = driver("tensorflow").tf, driver("tensorflow").module
        self.tanh, self.sum = self.tf.tanh, self.tf.reduce_sum
        self.adjoint = self.tf.linalg.adjoint
        self.abs_squared = lambda B: self.tf.math.real(B * self.tf.math.conj(B))

    def columns(self, U, f):
        f = self.tf.complex(f, self.tf.zeros_like(f)) if U.dtype.is_complex else f
        return U * self.tf.expand_dims(f, -2)

    def _gradient(self, loss, x):
        with self.tf.GradientTape() as tape:
            tape.watch(x)
            value = loss(x)
        return tape.gradient(value, x)

    def gradient(self, loss, x):
        return self._gradient(loss, self.tf.constant(x)).numpy()

    def second(self, loss, x, dx):
        x = self.tf.constant(x)
        with self.tf.GradientTape() as tape:
            tape.watch(x)
            g = self._gradient(loss, x)
        gg = tape.gradient(g, x, output_gradients=self.tf.constant(dx))
        return np.zeros_like(dx) if gg is None else gg.numpy()


class Autograd:
    """Reverse over reverse."""

    def __init__(self):
        import autograd.numpy as anp

        self.autograd, self.module = driver("autograd").autograd, driver("autograd").module
        self.tanh, self.sum = anp.tanh, anp.sum
        self.abs_squared = lambda B: anp.real(B * anp.conj(B))
        self.adjoint = lambda x: anp.conj(anp.swapaxes(x, -1, -2))

    def columns(self, U, f):
        return U * f[..., None, :]

    def gradient(self, loss, x):
        return np.conj(self.autograd.grad(loss)(x))

    def second(self, loss, x, dx):
        product, _ = self.autograd.make_vjp(self.autograd.grad(loss))(x)
        return np.conj(product(dx))


@cache
def of_framework(name):
    return {"torch": Torch, "jax": Jax, "tensorflow": TensorFlow, "autograd": Autograd}[name]()


def make_loss(framework, name, function):
    """``sum(W |B|^2)`` of a function's value B; for svd and eigh of ``U diag(tanh S) Vh``."""
    module, (kind, *rule) = framework.module, function.split()

    def value(x):
        if function == "svdvals":
            return module.svdvals(x)
        if kind == "svd":
            U, S, Vh = module.svd(x, rule=rule[0])
            return framework.columns(U, framework.tanh(S)) @ Vh
        if kind == "eigh":
            w, Q = module.eigh(x, rule=rule[0])
            return framework.columns(Q, framework.tanh(w)) @ framework.adjoint(Q)
        case = CASES[function]
        out = getattr(module, case.function)(x, *case.arguments(name, 1.0), **dict(case.kwargs))
        return out[case.output] if isinstance(out, tuple) else out

    def loss(x):
        B = value(x)
        W = np.random.default_rng(6).standard_normal(tuple(B.shape))
        if name == "torch":
            W = framework.torch.tensor(W)
        return framework.sum(framework.abs_squared(B) * W)

    return loss


def is_hermitian(function):
    return function.startswith("eigh") or (function in CASES and CASES[function].hermitian)


def fields(function):
    return (False,) if function in CASES and CASES[function].real else (False, True)


def problem(function, size, is_complex):
    """A matrix with distinct values, and a direction."""
    rng = np.random.default_rng(7)
    if not is_hermitian(function):
        x = draw(Cell(size, "distinct", 1.0, is_complex), 1)[0][0]
        return x, normal(rng, size, is_complex)
    Q = haar(rng, (), *size, is_complex)
    x, dx = (Q * np.array([0.2, 0.4, 0.7, 1.0])) @ adjoint(Q), normal(rng, size, is_complex)
    return (x + adjoint(x)) / 2, (dx + adjoint(dx)) / 2


# with a polynomial in the place of 1/gap the first derivative is not the gradient of a function
@pytest.mark.parametrize("name", FRAMEWORKS)
@pytest.mark.parametrize("function", [f for f in FUNCTIONS if not f.endswith("taylor")])
def test_at_distinct_values_against_differences_of_the_gradient(hold, function, name):
    framework = of_framework(name)
    loss = make_loss(framework, name, function)
    square = is_hermitian(function) or (function in CASES and CASES[function].square)
    for size in SIZES[:1] if square else SIZES:
        for is_complex in fields(function):
            x, dx = problem(function, size, is_complex)
            h = 1e-5
            ahead, behind = (framework.gradient(loss, x + s * h * dx) for s in (1, -1))
            difference = (ahead - behind) / (2 * h)
            got = framework.second(loss, x, dx)
            if is_hermitian(function):  # differences stay within Hermitian matrices
                got = (got + adjoint(got)) / 2
            error = norm(got - difference) / norm(difference)
            hold(f"{function}, second derivative, {name}", error, 1e-6, (size, is_complex))


DEGENERATE = {
    "identity": np.eye(4),
    "tie and zero": np.diag([1.0, 1.0, 0.5, 0.0]),
    "two zeros": np.diag([1.0, 0.5, 0.0, 0.0]),
    "zero": np.zeros((4, 4)),
    "tall": np.eye(5, 3),
    "wide": np.eye(3, 5),
}


@pytest.mark.parametrize("name", FRAMEWORKS)
@pytest.mark.parametrize("function", [f for f in FUNCTIONS if not f.endswith("plain")])
def test_at_ties_and_zeros_they_are_finite(function, name):
    framework = of_framework(name)
    loss = make_loss(framework, name, function)
    square = is_hermitian(function) or (function in CASES and CASES[function].square)
    for case, x in DEGENERATE.items():
        if square and x.shape[0] != x.shape[1]:
            continue
        for is_complex in fields(function):
            dx = normal(np.random.default_rng(8), x.shape, is_complex)
            second = framework.second(loss, x.astype(dx.dtype), dx)
            assert np.isfinite(second).all(), (case, is_complex)
