"""NumPy, and CuPy, which has its interface: derivatives are the library's explicit ones."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..losses import NATIVE
from ..recomposition import pull_back
from .bridge import Bridge, Gradient, Problem, UnavailableError, first_line

__all__ = ["CuPy", "NumPy"]


class NumPy(Bridge):
    """NumPy, with the library's explicit ``vjp``; the chain rule of the loss is written here."""

    name = "numpy"
    package = "numpy"

    @property
    def xp(self) -> Any:
        """Its array functions, under the names of the array API standard."""
        return importlib.import_module(f"array_api_compat.{self.package}")

    def gradient(self, problem: Problem, method: str, device: str) -> Callable[[], Gradient]:
        if method == NATIVE:
            raise UnavailableError(f"{self.name} has no autodiff")
        soft = problem.loss == "soft"
        x, weights, tau = (self.array(a) for a in (problem.x, problem.weights, problem.tau))

        def run() -> Gradient:
            if method == "svt":
                _, pullback = self.library.vjp(self.library.svt, x, tau)
                ct_x, ct_tau = pullback(weights)
                grads = Gradient(ct_x, ct_tau)
            elif method == "svdvals":
                s, pullback = self.library.vjp(self.library.svdvals, x)
                (ct_x,) = pullback(self.module.ones_like(s))
                grads = Gradient(ct_x, None)
            else:
                (u, s, vh), pullback = self.library.vjp(self.library.svd, x, rule=method)
                *cts, ct_tau = self._cotangents(problem.loss, u, s, vh, weights, tau)
                (ct_x,) = pullback(tuple(cts))
                grads = Gradient(ct_x, ct_tau if soft else None)
            self.wait(grads.x)
            return grads

        return run

    def _cotangents(self, loss: str, u: Any, s: Any, vh: Any, w: Any, tau: Any) -> Any:
        """Cotangents of U, S, Vh and tau for ``L = Re <W, U diag(f(S)) Vh>``."""
        xp = self.xp
        if loss == "nuclear":
            return None, xp.ones_like(s), None, None
        f, slope = s, xp.ones_like(s)
        if loss in ("soft", "hard"):
            kept = s > tau[..., None]
            slope = xp.where(kept, slope, 0)
            f = xp.where(kept, s - tau[..., None] if loss == "soft" else s, 0)
        ct_u, ct_f, ct_vh = pull_back(xp, u, f, vh, w)
        ct_s = slope * ct_f
        return ct_u, ct_s, ct_vh, -xp.sum(ct_s, axis=-1)


class CuPy(NumPy):
    """CuPy: NumPy's interface on a GPU."""

    name = "cupy"
    package = "cupy"

    def check_device(self, device: str) -> None:
        if device != "cuda":
            raise UnavailableError("cupy computes on CUDA only")
        try:
            count = self.module.cuda.runtime.getDeviceCount()
        except Exception as error:
            raise UnavailableError(f"cupy sees no CUDA device ({first_line(error)})") from error
        if count == 0:
            raise UnavailableError("cupy sees no CUDA device")

    def array(self, x: NDArray[Any], device: str = "cuda") -> Any:
        return self.module.asarray(x)

    def numpy(self, x: Any) -> NDArray[Any]:
        return np.asarray(self.module.asnumpy(x))

    def device(self, x: Any) -> str:
        return "cuda"

    def wait(self, x: Any) -> Any:
        self.module.cuda.get_current_stream().synchronize()
        return x
