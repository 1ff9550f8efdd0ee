"""TensorFlow."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bridge import Arrays, AutodiffBridge, Function, UnavailableError

__all__ = ["TensorFlow"]


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Discard everything written to file descriptor 2, including output of C++ code.

    Python exceptions are not affected.
    """
    try:
        saved = os.dup(2)
    except OSError:  # it is closed already
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


class TensorFlow(AutodiffBridge):
    """TensorFlow, eager; second derivatives by two tapes."""

    name = "tensorflow"
    package = "tensorflow"
    modes = ("eager", "compiled")

    def load(self) -> tuple[Any, Any]:
        if self._modules is None:
            # Log errors only. The library reads this when it is loaded, so it is set before the
            # import. Messages about missing GPUs are not affected.
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
            with _silenced():
                module, _ = super().load()
                module.config.list_logical_devices()
            module.get_logger().setLevel("ERROR")  # it warns about complex tangents, which work
        return super().load()

    @property
    def xp(self) -> Any:
        """TensorFlow."""
        return self.module

    def check_device(self, device: str) -> None:
        if device not in ("cpu", "cuda"):
            raise UnavailableError(f"tensorflow has no device {device!r} here; cpu or cuda")
        if device == "cuda" and not self.module.config.list_physical_devices("GPU"):
            raise UnavailableError("tensorflow sees no CUDA device")

    def _device(self, device: str) -> AbstractContextManager[Any]:
        place = "/GPU:0" if device == "cuda" else "/CPU:0"
        context: AbstractContextManager[Any] = self.module.device(place)
        return context

    @contextlib.contextmanager
    def settings(
        self, device: str = "cpu", double: bool = True, full_products: bool = True
    ) -> Iterator[None]:
        config = self.module.config.experimental
        before = config.tensor_float_32_execution_enabled()
        config.enable_tensor_float_32_execution(before and not full_products)
        try:
            with self._device(device):
                yield
        finally:
            config.enable_tensor_float_32_execution(before)

    def array(self, x: NDArray[Any], device: str = "cpu") -> Any:
        with self._device(device):
            return self.module.identity(self.module.constant(np.asarray(x)))

    def numpy(self, x: Any) -> NDArray[Any]:
        return np.asarray(x.numpy())

    def device(self, x: Any) -> str:
        return "cuda" if "GPU" in x.device else "cpu"

    def wait(self, x: Any) -> Any:
        if self.device(x) == "cuda":
            x.numpy()  # the only way to wait that every version has
        return x

    def _filled(self, grads: Sequence[Any], like: Sequence[Any]) -> Arrays:
        """Replace a missing gradient, of an input that nothing depends on, by zeros."""
        zeros = self.module.zeros_like
        return tuple(zeros(x) if g is None else g for g, x in zip(grads, like, strict=True))

    def vjp(self, fn: Function, inputs: Arrays, cotangents: Sequence[Any]) -> tuple[Arrays, Arrays]:
        with self.module.GradientTape() as tape:
            tape.watch(inputs)
            out = tuple(fn(*inputs))
        pairs = [(y, ct) for y, ct in zip(out, cotangents, strict=True) if ct is not None]
        outputs, cts = map(list, zip(*pairs, strict=True))
        return out, self._filled(tape.gradient(outputs, inputs, output_gradients=cts), inputs)

    def jvp(self, fn: Function, inputs: Arrays, tangents: Arrays) -> tuple[Arrays, Arrays]:
        accumulate = self.module.autodiff.ForwardAccumulator
        with accumulate(list(inputs), list(tangents)) as accumulator:
            out = tuple(fn(*inputs))
        return out, self._filled([accumulator.jvp(y) for y in out], out)

    def hvp(
        self, fn: Function, inputs: Arrays, cotangents: Sequence[Any], tangents: Arrays
    ) -> Arrays:
        with self.module.GradientTape() as tape:
            tape.watch(inputs)
            _, grads = self.vjp(fn, inputs, cotangents)
        second = tape.gradient(grads, inputs, output_gradients=list(tangents))
        return self._filled(second, inputs)

    def prepare(self, what: str, fn: Function, mode: str = "") -> Function:
        prepared = super().prepare(what, fn)
        return self.module.function(prepared) if mode == "compiled" else prepared

    def native_svd(self, x: Any) -> tuple[Any, Any, Any]:
        s, u, v = self.module.linalg.svd(x)
        return u, s, self.module.linalg.adjoint(v)

    def native(self) -> Any:
        tf = self.module

        def eigh(x: Any) -> Any:
            w, q = tf.linalg.eigh(x)
            return tf.math.real(w), q  # complex eigenvalues of a complex matrix

        return SimpleNamespace(
            svd=self.native_svd, svdvals=lambda x: tf.linalg.svd(x, compute_uv=False), eigh=eigh
        )

    def log(self, s: Any) -> Any:
        return self.module.math.log(s)

    def conj(self, x: Any) -> Any:
        return self.module.math.conj(x)

    def adjoint(self, x: Any) -> Any:
        return self.module.linalg.adjoint(x)

    def as_type_of(self, s: Any, like: Any) -> Any:
        if like.dtype.is_complex:  # not tf.cast, whose gradient warns about the imaginary part
            return self.module.complex(s, self.module.zeros_like(s))
        return s

    def above(self, s: Any, cut: Any) -> Any:
        return self.module.cast(s > cut, s.dtype)

    def constant(self, x: NDArray[Any], like: Any) -> Any:
        return self.module.cast(self.module.constant(x), like.dtype)

    def mean_over(self, s: Any, groups: list[list[int]]) -> Any:
        return super().mean_over(s[..., None, :], groups)[..., 0, :]

    def total(self, s: Any) -> Any:
        return self.module.reduce_sum(s, -1)

    def real_sum(self, x: Any) -> Any:
        return self.module.math.real(self.module.reduce_sum(x))

    def positive_part(self, s: Any) -> Any:
        return self.module.nn.relu(s)

    def stop(self, x: Any) -> Any:
        return self.module.stop_gradient(x)
