"""HIPS autograd."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bridge import Arrays, AutodiffBridge, Function

__all__ = ["Autograd"]


class Autograd(AutodiffBridge):
    """HIPS autograd: NumPy's arrays; second derivatives by two reverse passes."""

    name = "autograd"
    package = "autograd"
    conjugates = True
    no_derivative = (NotImplementedError,)

    def version(self) -> str:
        return importlib.metadata.version(self.package)

    @property
    def xp(self) -> Any:
        """NumPy as autograd wraps it."""
        return importlib.import_module("autograd.numpy")

    @contextlib.contextmanager
    def settings(
        self, device: str = "cpu", double: bool = True, full_products: bool = True
    ) -> Iterator[None]:
        """As the base class says; also without warnings about infinite numbers of its SVD."""
        with np.errstate(divide="ignore", invalid="ignore"):
            yield

    def _of_tuple(self, fn: Function) -> Function:
        """Make a function of a tuple of arguments, with a tuple of outputs, of autograd's kind."""
        pack = importlib.import_module("autograd.builtins").tuple
        return lambda x: pack(tuple(fn(*x)))

    # Cotangents of complex numbers are the conjugates, as in JAX.

    def _pulled(self, fn: Function, inputs: Arrays, cotangents: Sequence[Any]) -> Any:
        """Outputs, and cotangents of the inputs in autograd's convention."""
        pullback, out = self.module.make_vjp(self._of_tuple(fn))(tuple(inputs))
        cts = tuple(
            np.zeros(y.shape, y.dtype) if ct is None else np.conj(ct).astype(y.dtype)
            for ct, y in zip(cotangents, out, strict=True)
        )
        return tuple(out), pullback(cts)

    @contextlib.contextmanager
    def _quietly(self) -> Iterator[None]:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Output seems independent of input")  # it is zero
            yield

    def vjp(self, fn: Function, inputs: Arrays, cotangents: Sequence[Any]) -> tuple[Arrays, Arrays]:
        with self._quietly():
            out, grads = self._pulled(fn, inputs, cotangents)
            return out, tuple(map(np.conj, grads))

    def jvp(self, fn: Function, inputs: Arrays, tangents: Arrays) -> tuple[Arrays, Arrays]:
        with self._quietly():
            pushed = self.module.make_jvp(self._of_tuple(fn))(tuple(inputs))
            out, dout = pushed(tuple(tangents))
            return tuple(out), tuple(dout)

    def hvp(
        self, fn: Function, inputs: Arrays, cotangents: Sequence[Any], tangents: Arrays
    ) -> Arrays:
        with self._quietly():
            pulled = self.module.make_vjp(lambda x: self._pulled(fn, x, cotangents)[1])
            pullback, _ = pulled(tuple(inputs))
            return tuple(map(np.conj, pullback(tuple(tangents))))

    def as_type_of(self, s: Any, like: Any) -> Any:
        return s * np.ones((), like.dtype)  # its astype has no forward mode

    def constant(self, x: NDArray[Any], like: Any) -> Any:
        return np.asarray(x, dtype=like.dtype)

    def stop(self, x: Any) -> Any:
        return importlib.import_module("autograd.tracer").getval(x)
