"""JAX."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bridge import Arrays, AutodiffBridge, Function, UnavailableError

__all__ = ["Jax"]


class Jax(AutodiffBridge):
    """JAX, compiled; float64 is switched on for the time of a call only."""

    name = "jax"
    package = "jax"
    conjugates = True
    execution = "compiled"
    modes = ("eager", "compiled")

    @property
    def xp(self) -> Any:
        """The array functions of JAX."""
        return self.module.numpy

    def check_device(self, device: str) -> None:
        try:
            self.module.devices(device)
        except RuntimeError:
            raise UnavailableError(f"jax sees no {device.upper()} device") from None

    def double_precision(self, on: bool) -> AbstractContextManager[Any]:
        """Switch float64 on or off; older versions of JAX have the switch elsewhere."""
        home = self.module
        if not hasattr(home, "enable_x64"):
            home = importlib.import_module("jax.experimental")
        switched: AbstractContextManager[Any] = home.enable_x64(on)
        return switched

    @contextlib.contextmanager
    def settings(
        self, device: str = "cpu", double: bool = True, full_products: bool = True
    ) -> Iterator[None]:
        jax = self.module
        with (
            self.double_precision(double),
            jax.default_matmul_precision("float32" if full_products else None),
            jax.default_device(jax.devices(device)[0]),
        ):
            yield

    def array(self, x: NDArray[Any], device: str = "cpu") -> Any:
        with self.double_precision(True):  # the dtype is kept
            return self.module.device_put(np.asarray(x), self.module.devices(device)[0])

    def device(self, x: Any) -> str:
        (device,) = x.devices()
        return {"gpu": "cuda"}.get(device.platform, str(device.platform))

    def wait(self, x: Any) -> Any:
        return self.module.block_until_ready(x)

    # JAX's cotangents of complex numbers are the conjugates.

    def vjp(self, fn: Function, inputs: Arrays, cotangents: Sequence[Any]) -> tuple[Arrays, Arrays]:
        conj = self.xp.conj
        out, pullback = self.module.vjp(lambda *x: tuple(fn(*x)), *inputs)
        cts = tuple(
            self.xp.zeros_like(y) if ct is None else conj(ct).astype(y.dtype)
            for ct, y in zip(cotangents, out, strict=True)
        )
        return out, tuple(map(conj, pullback(cts)))

    def jvp(self, fn: Function, inputs: Arrays, tangents: Arrays) -> tuple[Arrays, Arrays]:
        out, dout = self.module.jvp(lambda *x: tuple(fn(*x)), tuple(inputs), tuple(tangents))
        return out, dout

    def hvp(
        self, fn: Function, inputs: Arrays, cotangents: Sequence[Any], tangents: Arrays
    ) -> Arrays:
        def gradient(*x: Any) -> Arrays:
            return self.vjp(fn, x, cotangents)[1]

        return self.jvp(gradient, inputs, tangents)[1]

    def prepare(self, what: str, fn: Function, mode: str = "") -> Function:
        prepared = super().prepare(what, fn)
        if mode == "eager":
            return prepared
        # for small matrices on a CPU nearly all the time goes into compiling
        quick = mode == "" and self.module.default_backend() == "cpu"
        options = {"xla_backend_optimization_level": 0} if quick else None
        compiled: Function = self.module.jit(prepared, compiler_options=options)
        return compiled

    def native(self) -> Any:
        own = super().native()
        own.svdvals = partial(self.xp.linalg.svd, compute_uv=False)
        return own

    def stop(self, x: Any) -> Any:
        return self.module.lax.stop_gradient(x)
