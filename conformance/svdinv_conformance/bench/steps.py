"""What is timed, in each framework: a function of no arguments for each side."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..frameworks import FRAMEWORKS, AutodiffFramework, Framework, UnavailableError
from ..frameworks import Jax as JaxFramework
from ..suite.case import Observable
from ..suite.implementation import Implementation

__all__ = ["WORKBENCHES", "Step", "Workbench", "of_implementation"]

Array = NDArray[Any]
Step = Callable[[], Any]
"""One step, finished when it returns; gives what it computed, the gradient in x last but one."""


class Workbench(ABC):
    """A framework in a mode, and the steps it takes.

    Parameters
    ----------
    mode
        ``"eager"`` or ``"compiled"``.
    driver
        Of svdinv's side.
    """

    framework: ClassVar[str]
    modes: ClassVar[tuple[str, ...]] = ("eager", "compiled")

    def __init__(self, mode: str, driver: str = "auto") -> None:
        if mode not in self.modes:
            raise UnavailableError(f"{self.framework} has no mode {mode}")
        self.mode, self.driver = mode, driver
        self.host: Framework = FRAMEWORKS[self.framework]()
        self.host.load()

    @abstractmethod
    def steps(self, x: Array, tau: Array, ct: Array, device: str) -> dict[str, Step]:
        """One step for each of ``svdinv``, ``native`` and ``svd`` that there is.

        Parameters
        ----------
        x, ct
            Matrices ``(..., m, n)`` and cotangents of the result.
        tau
            Thresholds ``(...)``.
        device
            ``"cpu"`` or ``"cuda"``.
        """

    def gradient(self, out: Any) -> Array:
        """The gradient in x of what svdinv's step gave, in PyTorch's convention."""
        return self.host.to_numpy(out[1])

    def svt(self, x: Any, tau: Any) -> Any:
        """Svdinv's side."""
        return self.host.library.svt(x, tau, driver=self.driver)


class _Autodiff(Workbench):
    host: AutodiffFramework

    def native(self, x: Any, tau: Any) -> Any:
        """The framework's own composition."""
        u, s, vh = self.host.native_svd(x)
        s = self.host.positive_part(s - tau[..., None])
        return self.host.scale_columns(u, s) @ vh


class Torch(_Autodiff):
    framework = "torch"

    def steps(self, x: Array, tau: Array, ct: Array, device: str) -> dict[str, Step]:
        torch = self.host.module
        X, T = (torch.tensor(a, device=device, requires_grad=True) for a in (x, tau))
        CT = torch.tensor(ct, device=device)

        def wait() -> None:
            if device == "cuda":
                torch.cuda.synchronize()

        def step(fn: Callable[..., Any]) -> Step:
            compiled = torch.compile(fn, fullgraph=True) if self.mode == "compiled" else fn

            def run() -> Any:
                out = compiled(X, T)
                grads = torch.autograd.grad(out, (X, T), CT)
                wait()
                return out, *grads

            return run

        bare = X.detach()

        def svd() -> Any:
            factors = self.host.native_svd(bare)
            wait()
            return factors

        return {"svdinv": step(self.svt), "native": step(self.native), "svd": svd}


class Jax(_Autodiff):
    framework = "jax"
    host: JaxFramework

    def steps(self, x: Array, tau: Array, ct: Array, device: str) -> dict[str, Step]:
        jax = self.host.module
        double = x.dtype.itemsize // (2 if x.dtype.kind == "c" else 1) == 8
        maybe = jax.jit if self.mode == "compiled" else lambda fn: fn

        def settings() -> Any:
            return self.host.double_precision(double)  # as users have it: off unless they need it

        with settings():
            X, T, CT = (jax.device_put(a, jax.devices(device)[0]) for a in (x, tau, ct))

        def step(fn: Callable[..., Any]) -> Step:
            def differentiated(x: Any, tau: Any, ct: Any) -> Any:
                out, pullback = jax.vjp(fn, x, tau)
                return out, *pullback(ct)

            ready = maybe(differentiated)

            def run() -> Any:
                with settings():
                    return jax.block_until_ready(ready(X, T, CT))

            return run

        decompose = maybe(self.host.native_svd)

        def svd() -> Any:
            with settings():
                return jax.block_until_ready(decompose(X))

        return {"svdinv": step(self.svt), "native": step(self.native), "svd": svd}


class TensorFlow(_Autodiff):
    framework = "tensorflow"

    def steps(self, x: Array, tau: Array, ct: Array, device: str) -> dict[str, Step]:
        tf = self.host.module
        place = "/GPU:0" if device == "cuda" else "/CPU:0"
        maybe = tf.function if self.mode == "compiled" else lambda fn: fn
        with tf.device(place):
            X, T, CT = map(tf.constant, (x, tau, ct))

        def wait(out: Any) -> Any:
            if device == "cuda":
                out[1].numpy()
            return out

        def step(fn: Callable[..., Any]) -> Step:
            def differentiated(x: Any, tau: Any, ct: Any) -> Any:
                with tf.GradientTape() as tape:
                    tape.watch((x, tau))
                    out = fn(x, tau)
                return out, *tape.gradient(out, (x, tau), output_gradients=ct)

            ready = maybe(differentiated)

            def run() -> Any:
                with tf.device(place):
                    return wait(ready(X, T, CT))

            return run

        decompose = maybe(self.host.native_svd)

        def svd() -> Any:
            with tf.device(place):
                return wait(decompose(X))

        return {"svdinv": step(self.svt), "native": step(self.native), "svd": svd}


class NumPy(Workbench):
    framework = "numpy"
    modes = ("eager",)

    def steps(self, x: Array, tau: Array, ct: Array, device: str) -> dict[str, Step]:
        xp = self.host.module
        X, T, CT = (xp.asarray(a) for a in (x, tau, ct))

        def svdinv() -> Any:
            out, pullback = self.host.library.vjp(self.host.library.svt, X, T, driver=self.driver)
            return out, *pullback(CT)

        return {"svdinv": svdinv, "svd": lambda: xp.linalg.svd(X, full_matrices=False)}


class CuPy(NumPy):
    framework = "cupy"

    def steps(self, x: Array, tau: Array, ct: Array, device: str) -> dict[str, Step]:
        stream = self.host.module.cuda.get_current_stream()

        def waiting(step: Step) -> Step:
            def run() -> Any:
                out = step()
                stream.synchronize()
                return out

            return run

        return {name: waiting(step) for name, step in super().steps(x, tau, ct, device).items()}


WORKBENCHES: dict[str, type[Workbench]] = {
    cls.framework: cls for cls in (NumPy, Torch, Jax, TensorFlow, CuPy)
}
"""The class of each framework."""


def of_implementation(
    implementation: Implementation, x: Array, tau: Array, ct: Array, device: str
) -> Step:
    """One step of any implementation: its gradient of the soft threshold."""
    soft = Observable("soft")
    inputs = tuple(implementation.array(a, device) for a in (x, np.asarray(tau)))
    cotangents = (implementation.array(ct, device),)

    def run() -> Any:
        grads = implementation.vjp(soft, inputs, cotangents)
        implementation.numpy(grads[0])  # waits
        return grads

    return run
