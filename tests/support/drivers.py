"""One way to compute vector-Jacobian and Jacobian-vector products in every framework.

A driver is a framework's bridge that knows the functions of `svdinv` by name: `call` calls one,
`vjp` and `jvp` differentiate it. Arrays are passed and returned as NumPy arrays. Complex cotangents
follow PyTorch's convention, ``dL = Re sum(conj(ct) * dx)``, in all frameworks. `args` are
differentiated; `static` and keyword arguments are not.

JAX compiles once for each function, its static arguments, shapes and dtypes. In eager mode each
operation would be a program of its own; ``tests/transforms`` tests that. Functions that read values
(`gauge`) are eager here too.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from svdinv_conformance import frameworks

from .namespaces import each

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

FRAMEWORKS = tuple(name for name in frameworks.FRAMEWORKS if name != "cupy")  # no GPU here


def _tuple(x: Any) -> tuple[Any, ...]:
    return tuple(x) if isinstance(x, tuple) else (x,)


class Driver:
    """The driver of a framework with automatic differentiation."""

    def __init__(self, bridge: Any) -> None:
        self.bridge, self.module = bridge, bridge.library
        self.array, self.numpy, self.tanh = bridge.array, bridge.numpy, bridge.xp.tanh
        self._prepared = cache(self._prepare)

    def _prepare(self, what, name, static, kwargs):
        fn, options = getattr(self.module, name), dict(kwargs)
        mode = "eager" if "gauge" in options else ""
        return self.bridge.prepare(what, lambda *x: _tuple(fn(*x, *static, **options)), mode)

    def _run(self, what, name, static, kwargs, *arrays):
        prepared = self._prepared(what, name, tuple(static), tuple(kwargs.items()))
        return each(self.numpy, prepared(*each(self.array, arrays)))

    def call(self, name, args, static=(), **kwargs):
        return self._run("value", name, static, kwargs, tuple(args))

    def vjp(self, name, args, cts, static=(), **kwargs):
        return self._run("vjp", name, static, kwargs, tuple(args), tuple(cts))

    def jvp(self, name, args, tangents, static=(), **kwargs):
        return self._run("jvp", name, static, kwargs, tuple(args), tuple(tangents))


class ExplicitDriver(Driver):
    """The driver of a framework whose derivatives are called by name."""

    def call(self, name, args, static=(), **kwargs):
        out = getattr(self.module, name)(*each(self.array, tuple(args)), *static, **kwargs)
        return each(self.numpy, _tuple(out))

    def vjp(self, name, args, cts, static=(), **kwargs):
        fn = getattr(self.module, name)
        args, cts = each(self.array, (tuple(args), tuple(cts)))
        out, pullback = self.module.vjp(fn, *args, *static, **kwargs)
        cts = pullback(cts if isinstance(out, tuple) else cts[0])
        return each(self.numpy, (_tuple(out), cts))

    def jvp(self, name, args, tangents, static=(), **kwargs):
        fn = getattr(self.module, name)
        args, tangents = each(self.array, (tuple(args), tuple(tangents)))
        out, dout = self.module.jvp(fn, (*args, *static), tangents, **kwargs)
        return each(self.numpy, (_tuple(out), _tuple(dout)))


@cache
def driver(name: str) -> Driver:
    """The driver of a framework, which must be installed."""
    bridge = frameworks.FRAMEWORKS[name]()
    bridge.load()
    if name == "jax":
        bridge.module.config.update("jax_enable_x64", True)
    kind = Driver if isinstance(bridge, frameworks.AutodiffBridge) else ExplicitDriver
    return kind(bridge)
