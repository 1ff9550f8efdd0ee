"""One class per framework, for all code that compares, tests or times it.

A *bridge* loads a framework, moves arrays in and out of it, and differentiates functions of its
arrays, in PyTorch's convention for complex numbers, ``dL = Re sum(conj(ct) * dx)``. It uses public
interfaces only, as a user would. It imports the framework when this is first needed.

To add a framework, write a module next to this one with a class derived from :class:`Bridge` (or
from :class:`AutodiffBridge`, if it has automatic differentiation), and name it in
:data:`.FRAMEWORKS`.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Arrays",
    "AutodiffBridge",
    "Bridge",
    "Function",
    "UnavailableError",
    "averages",
    "first_line",
]

Arrays = tuple[Any, ...]
"""Arrays of a framework."""

Function = Callable[..., Any]
"""A function of arrays; its value is an array or a tuple of them."""


class UnavailableError(Exception):
    """A framework, a device or a method is not available; the message is the reason."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the error's name if it has none."""
    lines = str(error).strip().splitlines()
    text = lines[0].strip() if lines else ""
    return text or type(error).__name__


def averages(groups: list[list[int]], k: int) -> NDArray[Any]:
    """Weights ``(k, len(groups))`` whose columns average over groups of k numbers."""
    weights = np.zeros((k, len(groups)))
    for column, group in enumerate(groups):
        weights[group, column] = 1 / len(group)
    return weights


class Bridge(ABC):
    """A framework: its modules, its devices, its arrays."""

    name: ClassVar[str]
    """Its name for users."""
    adapter: ClassVar[str] = ""
    """The library's module for it; by default ``svdinv.`` and the name."""
    package: ClassVar[str]
    """The package to import."""
    execution: ClassVar[str] = "eager"
    """How `compare` runs it: one of :attr:`modes`."""
    conjugates: ClassVar[bool] = False
    """Whether its cotangents of complex arrays are the conjugates of PyTorch's."""
    modes: ClassVar[tuple[str, ...]] = ("eager",)
    """Ways to run a function: ``"eager"``, ``"compiled"``."""

    def __init__(self) -> None:
        self._modules: tuple[Any, Any] | None = None

    def load(self) -> tuple[Any, Any]:
        """Import the framework and the library's module for it.

        Raises
        ------
        UnavailableError
            If either cannot be imported.
        """
        if self._modules is None:
            if importlib.util.find_spec(self.package) is None:
                raise UnavailableError(f"{self.package} is not installed")
            names = self.package, self.adapter or f"svdinv.{self.name}"
            try:
                module, library = (importlib.import_module(loading := name) for name in names)
            except Exception as error:
                raise UnavailableError(
                    f"{loading} cannot be imported: {first_line(error)}"
                ) from error
            self._modules = module, library
        return self._modules

    @property
    def module(self) -> Any:
        """The framework."""
        return self.load()[0]

    @property
    def library(self) -> Any:
        """The library's module for the framework."""
        return self.load()[1]

    def version(self) -> str:
        """The framework's version."""
        return str(getattr(self.module, "__version__", "?"))

    def check_device(self, device: str) -> None:
        """Raise :class:`UnavailableError` if ``"cpu"`` or ``"cuda"`` cannot be computed on."""
        if device != "cpu":
            raise UnavailableError(f"{self.name} computes on the CPU only")

    def array(self, x: NDArray[Any], device: str = "cpu") -> Any:
        """Copy an array from NumPy."""
        return np.array(x)

    def numpy(self, x: Any) -> NDArray[Any]:
        """Copy an array to NumPy, once it is computed."""
        return np.asarray(x)

    def device(self, x: Any) -> str:
        """Name the device of an array."""
        return "cpu"

    def settings(
        self, device: str = "cpu", double: bool = True, full_products: bool = True
    ) -> AbstractContextManager[Any]:
        """Compute with full precision on a device, within a ``with`` block.

        Parameters
        ----------
        device
            Device of new arrays.
        double
            Whether to allow double precision, in a framework that has a switch for it.
        full_products
            Whether to switch off the reduced precision of matrix products on newer GPUs.
        """
        return contextlib.nullcontext()

    def wait(self, x: Any) -> Any:
        """Return an array when it is computed."""
        return x

    # Operations, in the spelling that most frameworks share with NumPy.

    @property
    @abstractmethod
    def xp(self) -> Any:
        """The namespace of the framework's array functions."""

    def tanh(self, s: Any) -> Any:
        """Elementwise."""
        return self.xp.tanh(s)

    def exp(self, s: Any) -> Any:
        """Elementwise."""
        return self.xp.exp(s)

    def log(self, s: Any) -> Any:
        """Elementwise."""
        return self.xp.log(s)

    def conj(self, x: Any) -> Any:
        """Elementwise."""
        return self.xp.conj(x)

    def adjoint(self, x: Any) -> Any:
        """Conjugate transpose of each matrix."""
        return self.xp.conj(self.xp.swapaxes(x, -1, -2))

    def as_type_of(self, s: Any, like: Any) -> Any:
        """Cast real numbers to the dtype of ``like``, which may be complex."""
        return s.astype(like.dtype)

    def above(self, s: Any, cut: Any) -> Any:
        """1 where ``s > cut``, else 0, in the dtype of ``s``."""
        return (s > cut).astype(s.dtype)

    def constant(self, x: NDArray[Any], like: Any) -> Any:
        """Convert an array of NumPy to the dtype and the device of ``like``."""
        return self.xp.asarray(x, dtype=like.dtype)

    def det(self, x: Any) -> Any:
        """Determinant of each matrix."""
        return self.xp.linalg.det(x)

    def first(self, s: Any, count: int) -> Any:
        """1 in the first ``count`` places of the last axis, else 0."""
        return self.constant(np.arange(s.shape[-1]) < count, s)

    def mean_over(self, s: Any, groups: list[list[int]]) -> Any:
        """Means over groups of indices of the last axis."""
        return s @ self.constant(averages(groups, s.shape[-1]), s)

    def total(self, s: Any) -> Any:
        """Sum over the last axis."""
        return s.sum(-1)

    def real_sum(self, x: Any) -> Any:
        """Real part of the sum of all entries."""
        return self.xp.real(self.xp.sum(x))

    def positive_part(self, s: Any) -> Any:
        """``max(s, 0)``, as the framework's users write it."""
        return self.xp.maximum(s, 0)

    def stop(self, x: Any) -> Any:
        """The same numbers, not differentiated."""
        raise NotImplementedError

    def scaled(self, u: Any, f: Any) -> Any:
        """``U diag(f)``, f real."""
        return u * self.as_type_of(f, u)[..., None, :]

    def recompose(self, u: Any, f: Any, vh: Any) -> Any:
        """``U diag(f) Vh``, f real."""
        return self.scaled(u, f) @ vh

    def pairing(self, weights: Any, value: Any) -> Any:
        """``Re sum(conj(weights) * value)``."""
        return self.real_sum(self.conj(weights) * value)


class AutodiffBridge(Bridge):
    """A framework with automatic differentiation.

    Functions to differentiate take arrays and return a tuple of arrays.
    """

    no_derivative: ClassVar[tuple[type[Exception], ...]] = ()
    """The exceptions that the framework raises if it has no derivative."""

    # Derivatives.

    @abstractmethod
    def vjp(self, fn: Function, inputs: Arrays, cotangents: Sequence[Any]) -> tuple[Arrays, Arrays]:
        """Differentiate in reverse mode: the outputs, and the cotangents of the inputs.

        A cotangent of an output may be None, for zero.
        """

    @abstractmethod
    def jvp(self, fn: Function, inputs: Arrays, tangents: Arrays) -> tuple[Arrays, Arrays]:
        """Differentiate in forward mode: the outputs, and their tangents."""

    @abstractmethod
    def hvp(
        self, fn: Function, inputs: Arrays, cotangents: Sequence[Any], tangents: Arrays
    ) -> Arrays:
        """Differentiate the cotangents of the inputs along the tangents."""

    def value(self, fn: Function, inputs: Arrays) -> Arrays:
        """Call a function."""
        return tuple(fn(*inputs))

    def prepare(self, what: str, fn: Function, mode: str = "") -> Function:
        """Make ``"value"``, ``"vjp"``, ``"jvp"`` or ``"hvp"`` of one function.

        Parameters
        ----------
        what
            The method. The result takes the method's arguments other than the function.
        fn
            The function.
        mode
            One of :attr:`modes`: ``"eager"``, or ``"compiled"`` at the first call with arrays of a
            shape and type. By default the mode that is fastest for a few small matrices.
        """
        return partial(getattr(self, what), fn)

    # The framework's own decompositions.

    def native_svd(self, x: Any) -> tuple[Any, Any, Any]:
        """Decompose with the framework's own function: thin U, S, Vh."""
        u, s, vh = self.xp.linalg.svd(x, full_matrices=False)
        return u, s, vh

    def native(self) -> Any:
        """The framework's own ``svd``, ``svdvals``, ``eigh``, as far as it has them."""
        return SimpleNamespace(svd=self.native_svd, eigh=self.xp.linalg.eigh)
