"""One way to ask every framework for a vector-Jacobian and a Jacobian-vector product.

A driver has the framework's `module` of svdinv and its `tanh`, converts by `array` and `numpy`,
calls a function by `call`, and differentiates by `vjp` and `jvp`.

Arrays go in and come out as NumPy arrays; complex cotangents follow PyTorch's convention,
``dL = Re sum(conj(ct) * dx)``, in all of them. `args` are differentiated, `static` and keyword
arguments are not.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

FRAMEWORKS = ("numpy", "torch", "jax", "tensorflow", "autograd")
CONJUGATES = ("jax", "autograd")  # whose complex cotangents are the conjugates of PyTorch's


def _tuple(x: Any) -> tuple[Any, ...]:
    return tuple(x) if isinstance(x, tuple) else (x,)


class NumPyDriver:
    def __init__(self) -> None:
        import svdinv.numpy

        self.module, self.tanh = svdinv.numpy, np.tanh

    def array(self, x):
        return np.asarray(x)

    def numpy(self, x):
        return np.asarray(x)

    def call(self, name, args, static=(), **kwargs):
        out = getattr(self.module, name)(*map(self.array, args), *static, **kwargs)
        return tuple(map(self.numpy, _tuple(out)))

    def vjp(self, name, args, cts, static=(), **kwargs):
        fn = getattr(self.module, name)
        out, pullback = self.module.vjp(fn, *args, *static, **kwargs)
        return _tuple(out), pullback(cts if isinstance(out, tuple) else cts[0])

    def jvp(self, name, args, tangents, static=(), **kwargs):
        out, dout = self.module.jvp(
            getattr(self.module, name), (*args, *static), tangents, **kwargs
        )
        return _tuple(out), _tuple(dout)


class TorchDriver:
    def __init__(self) -> None:
        import svdinv.torch
        import torch

        self.module, self.torch, self.tanh = svdinv.torch, torch, torch.tanh

    def array(self, x):
        return self.torch.tensor(np.asarray(x))

    def numpy(self, x):
        return x.detach().resolve_conj().numpy()

    def call(self, name, args, static=(), **kwargs):
        out = getattr(self.module, name)(*map(self.array, args), *static, **kwargs)
        return tuple(map(self.numpy, _tuple(out)))

    def vjp(self, name, args, cts, static=(), **kwargs):
        leaves = [self.array(a).requires_grad_() for a in args]
        out = _tuple(getattr(self.module, name)(*leaves, *static, **kwargs))
        pairs = [(o, self.array(ct)) for o, ct in zip(out, cts, strict=True) if ct is not None]
        grads = self.torch.autograd.grad([o for o, _ in pairs], leaves, [ct for _, ct in pairs])
        return tuple(map(self.numpy, out)), tuple(map(self.numpy, grads))

    def jvp(self, name, args, tangents, static=(), **kwargs):
        fn = getattr(self.module, name)
        primals, tangents = (tuple(map(self.array, a)) for a in (args, tangents))
        out, dout = self.torch.func.jvp(
            lambda *a: tuple(_tuple(fn(*a, *static, **kwargs))), primals, tangents
        )
        return tuple(map(self.numpy, out)), tuple(map(self.numpy, dout))


class JaxDriver:
    """Compiled once for each function, its static arguments, and the shapes and dtypes it is given.

    Eager, each operation would be a program of its own; ``tests/transforms`` has that. What looks
    at values (`gauge`) runs eagerly here too.
    """

    def __init__(self) -> None:
        import jax
        import svdinv.jax

        self.module, self.jax, self.tanh = svdinv.jax, jax, jax.numpy.tanh
        self._program = cache(self._make_program)

    def array(self, x):
        return self.jax.numpy.asarray(x)

    def numpy(self, x):
        return np.asarray(x)

    def _make_program(self, mode, name, static, kwargs):
        jax, fn = self.jax, getattr(self.module, name)

        def value(*args):
            return _tuple(fn(*args, *static, **dict(kwargs)))

        def vjp(args, cts):
            out, pullback = jax.vjp(value, *args)
            cts = tuple(
                jax.numpy.zeros_like(o) if ct is None else ct.conj().astype(o.dtype)
                for o, ct in zip(out, cts, strict=True)
            )
            return out, tuple(map(jax.numpy.conj, pullback(cts)))

        def jvp(args, tangents):
            return jax.jvp(value, args, tangents)

        program = {"vjp": vjp, "jvp": jvp, "call": lambda args: value(*args)}[mode]
        return program if "gauge" in dict(kwargs) else jax.jit(program)

    def _run(self, mode, name, static, kwargs, *arrays):
        program = self._program(mode, name, tuple(static), tuple(kwargs.items()))
        return self.jax.tree.map(np.asarray, program(*self.jax.tree.map(self.array, arrays)))

    def call(self, name, args, static=(), **kwargs):
        return self._run("call", name, static, kwargs, tuple(args))

    def vjp(self, name, args, cts, static=(), **kwargs):
        return self._run("vjp", name, static, kwargs, tuple(args), tuple(cts))

    def jvp(self, name, args, tangents, static=(), **kwargs):
        return self._run("jvp", name, static, kwargs, tuple(args), tuple(tangents))


class TensorFlowDriver:
    def __init__(self) -> None:
        import svdinv.tensorflow
        import tensorflow as tf

        self.module, self.tf, self.tanh = svdinv.tensorflow, tf, tf.tanh

    def array(self, x):
        return self.tf.constant(np.asarray(x))

    def numpy(self, x):
        return x.numpy()

    def call(self, name, args, static=(), **kwargs):
        out = getattr(self.module, name)(*map(self.array, args), *static, **kwargs)
        return tuple(map(self.numpy, _tuple(out)))

    def vjp(self, name, args, cts, static=(), **kwargs):
        leaves = [self.array(a) for a in args]
        with self.tf.GradientTape() as tape:
            tape.watch(leaves)
            out = _tuple(getattr(self.module, name)(*leaves, *static, **kwargs))
        pairs = [(o, self.array(ct)) for o, ct in zip(out, cts, strict=True) if ct is not None]
        grads = tape.gradient(
            [o for o, _ in pairs], leaves, output_gradients=[ct for _, ct in pairs]
        )
        return tuple(o.numpy() for o in out), tuple(g.numpy() for g in grads)

    def jvp(self, name, args, tangents, static=(), **kwargs):
        primals, tangents = ([self.array(a) for a in b] for b in (args, tangents))
        with self.tf.autodiff.ForwardAccumulator(primals, tangents) as accumulator:
            out = _tuple(getattr(self.module, name)(*primals, *static, **kwargs))
        dout = [accumulator.jvp(o) for o in out]
        return tuple(o.numpy() for o in out), tuple(d.numpy() for d in dout)


class AutogradDriver:
    def __init__(self) -> None:
        import autograd.numpy
        import svdinv.autograd

        self.module, self.autograd = svdinv.autograd, autograd
        self.tanh = autograd.numpy.tanh

    def array(self, x):
        return np.asarray(x)

    def numpy(self, x):
        return np.asarray(x)

    def function(self, name, static, kwargs):
        """Of a tuple of arguments, with a tuple of outputs."""
        from autograd.builtins import tuple as autograd_tuple

        fn = getattr(self.module, name)
        return lambda args: autograd_tuple(_tuple(fn(*args, *static, **kwargs)))

    def call(self, name, args, static=(), **kwargs):
        out = getattr(self.module, name)(*map(self.array, args), *static, **kwargs)
        return tuple(map(self.numpy, _tuple(out)))

    def vjp(self, name, args, cts, static=(), **kwargs):
        args = tuple(map(self.array, args))
        pullback, out = self.autograd.make_vjp(self.function(name, static, kwargs))(args)
        cts = tuple(
            np.zeros_like(o) if ct is None else np.conj(ct).astype(o.dtype)
            for o, ct in zip(out, cts, strict=True)
        )
        return out, tuple(np.conj(g) for g in pullback(cts))

    def jvp(self, name, args, tangents, static=(), **kwargs):
        args, tangents = (tuple(map(self.array, a)) for a in (args, tangents))
        return self.autograd.make_jvp(self.function(name, static, kwargs))(args)(tangents)


_DRIVERS = {
    "numpy": NumPyDriver,
    "torch": TorchDriver,
    "jax": JaxDriver,
    "tensorflow": TensorFlowDriver,
    "autograd": AutogradDriver,
}


@cache
def driver(name: str):
    """The driver of a framework, which must be installed."""
    if name == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)
    return _DRIVERS[name]()
