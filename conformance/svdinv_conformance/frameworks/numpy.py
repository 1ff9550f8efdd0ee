"""NumPy, and libraries with its interface: CuPy, and array-api-strict, which has fake devices."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .bridge import Bridge, UnavailableError, first_line

__all__ = ["ArrayApiStrict", "CuPy", "NumPy"]


class NumPy(Bridge):
    """NumPy, by the names of the array API standard; the library's derivatives are explicit."""

    name = "numpy"
    package = "numpy"

    @cached_property
    def xp(self) -> Any:
        """The array functions, under the names of the array API standard."""
        return importlib.import_module(f"array_api_compat.{self.package}")

    def adjoint(self, x: Any) -> Any:
        return self.xp.conj(self.xp.matrix_transpose(x))

    def as_type_of(self, s: Any, like: Any) -> Any:
        return self.xp.astype(s, like.dtype)

    def above(self, s: Any, cut: Any) -> Any:
        xp = self.xp  # a complex step of a caller's function passes through here
        real = xp.real(s) if xp.isdtype(s.dtype, "complex floating") else s
        return xp.astype(real > cut, s.dtype)

    def constant(self, x: NDArray[Any], like: Any) -> Any:
        return self.xp.asarray(x, dtype=like.dtype, device=like.device)

    def total(self, s: Any) -> Any:
        return self.xp.sum(s, axis=-1)

    def pull_back(self, u: Any, f: Any, vh: Any, ct: Any) -> tuple[Any, Any, Any]:
        """Pull a cotangent of :meth:`recompose` back to U, f and Vh.

        Parameters
        ----------
        u, f, vh
            ``(..., m, k)``, ``(..., k)`` real, ``(..., k, n)``.
        ct
            ``(..., m, n)``.
        """
        xp, ct_v = self.xp, ct @ self.adjoint(vh)
        inner = xp.conj(u) * ct_v
        real = xp.real(inner) if xp.isdtype(inner.dtype, "complex floating") else inner
        ct_vh = self.adjoint(self.scaled(self.adjoint(ct) @ u, f))
        return self.scaled(ct_v, f), xp.sum(real, axis=-2), ct_vh


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


class ArrayApiStrict(NumPy):
    """array-api-strict, whose fake devices are kept apart; `svdinv` itself takes its arrays."""

    name = "array_api_strict"
    package = "array_api_strict"
    adapter = "svdinv"

    DEVICES: ClassVar[Mapping[str, str]] = {"cpu": "CPU_DEVICE", "device1": "device1"}

    @property
    def xp(self) -> Any:
        """The framework itself."""
        return self.module

    def check_device(self, device: str) -> None:
        if device not in self.DEVICES:
            raise UnavailableError("array-api-strict has the devices cpu and device1")

    def array(self, x: NDArray[Any], device: str = "cpu") -> Any:
        return self.xp.asarray(x, device=self.xp.Device(self.DEVICES[device]))

    def numpy(self, x: Any) -> NDArray[Any]:
        return np.asarray(x.to_device(self.xp.Device("CPU_DEVICE")))

    def device(self, x: Any) -> str:
        return next(name for name, own in self.DEVICES.items() if x.device == self.xp.Device(own))
