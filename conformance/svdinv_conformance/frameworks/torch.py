"""PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bridge import Arrays, AutodiffBridge, Function, UnavailableError

__all__ = ["Torch"]


class Torch(AutodiffBridge):
    """PyTorch, eager; second derivatives by two reverse passes."""

    name = "torch"
    package = "torch"
    modes = ("eager", "compiled")

    @property
    def xp(self) -> Any:
        """PyTorch."""
        return self.module

    def check_device(self, device: str) -> None:
        if device == "cuda" and not self.module.cuda.is_available():
            raise UnavailableError("torch sees no CUDA device")
        try:
            self.module.empty(0, device=device)
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            raise UnavailableError(f"torch has no device {device!r} here") from error

    def array(self, x: NDArray[Any], device: str = "cpu") -> Any:
        return self.module.tensor(np.asarray(x), device=device)

    def numpy(self, x: Any) -> NDArray[Any]:
        return np.asarray(x.detach().resolve_conj().cpu().numpy())

    def device(self, x: Any) -> str:
        return str(x.device.type)

    def wait(self, x: Any) -> Any:
        if self.device(x) == "cuda":
            self.module.cuda.synchronize()
        return x

    def _pulled(self, fn: Function, inputs: Arrays, cts: Sequence[Any], again: bool) -> Any:
        """Leaves, outputs, and gradients that are differentiable again or not."""
        # a new leaf that shares memory, so that the caller sees an in-place change of the input
        leaves = tuple(x.detach().requires_grad_() for x in inputs)
        out = tuple(fn(*leaves))
        pairs = [(y, ct) for y, ct in zip(out, cts, strict=True)
                 if ct is not None and y.requires_grad]  # fmt: skip
        return leaves, out, self._gradients(pairs, leaves, create_graph=again)

    def _gradients(self, pairs: list[tuple[Any, Any]], leaves: Arrays, **kwargs: Any) -> Arrays:
        """Gradients of the inputs; zero for an input that nothing depends on."""
        if not pairs:
            return tuple(map(self.module.zeros_like, leaves))
        outputs, cts = map(list, zip(*pairs, strict=True))
        grads: Arrays = self.module.autograd.grad(
            outputs, leaves, cts, allow_unused=True, materialize_grads=True, **kwargs
        )
        return grads

    def vjp(self, fn: Function, inputs: Arrays, cotangents: Sequence[Any]) -> tuple[Arrays, Arrays]:
        _, out, grads = self._pulled(fn, inputs, cotangents, again=False)
        return tuple(y.detach() for y in out), grads

    def jvp(self, fn: Function, inputs: Arrays, tangents: Arrays) -> tuple[Arrays, Arrays]:
        out, dout = self.module.func.jvp(lambda *x: tuple(fn(*x)), inputs, tangents)
        return out, dout

    def hvp(
        self, fn: Function, inputs: Arrays, cotangents: Sequence[Any], tangents: Arrays
    ) -> Arrays:
        leaves, _, grads = self._pulled(fn, inputs, cotangents, again=True)
        pairs = [(g, d) for g, d in zip(grads, tangents, strict=True) if g.requires_grad]
        return self._gradients(pairs, leaves)

    def prepare(self, what: str, fn: Function, mode: str = "") -> Function:
        compiled = self.module.compile(fn, fullgraph=True) if mode == "compiled" else fn
        return super().prepare(what, compiled)

    def native(self) -> Any:
        own = super().native()
        own.svdvals = self.module.linalg.svdvals
        return own

    def as_type_of(self, s: Any, like: Any) -> Any:
        return s.to(like.dtype)

    def above(self, s: Any, cut: Any) -> Any:
        return (s > cut).to(s.dtype)

    def constant(self, x: NDArray[Any], like: Any) -> Any:
        return self.module.tensor(x, dtype=like.dtype, device=like.device)

    def real_sum(self, x: Any) -> Any:
        return x.sum().real

    def positive_part(self, s: Any) -> Any:
        return s.clamp(min=0)

    def stop(self, x: Any) -> Any:
        return x.detach()
