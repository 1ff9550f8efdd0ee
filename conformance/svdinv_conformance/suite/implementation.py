"""The interface that the checks need from an implementation.

An implementation evaluates an :class:`~.case.Observable` and differentiates it. It has its own
arrays; :meth:`Implementation.array` and :meth:`Implementation.numpy` convert. Complex cotangents
follow ``dL = Re sum(conj(ct) * dx)``, as in PyTorch and TensorFlow; JAX has the conjugates.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

from ..frameworks import Bridge, UnavailableError
from .case import Observable

__all__ = ["Arrays", "Functions", "Implementation", "NotApplicable", "OnBridge", "UnavailableError"]

Arrays = tuple[Any, ...]
"""Arrays of an implementation; None stands for one it has no answer for."""


class NotApplicable(Exception):  # noqa: N818 - an answer, not an error
    """An implementation has no such function, derivative or dtype; the message is the reason."""


class Implementation(Protocol):
    """A way to compute observables and their derivatives.

    Every method that computes may raise :class:`NotApplicable`. ``inputs`` are ``(a,)`` or
    ``(a, tau)``, ``a`` of shape ``(..., m, n)``.
    """

    @property
    def name(self) -> str:
        """Its name in reports."""

    def __hash__(self) -> int:
        """Hash by identity: the answers of an object to a case are kept for the next check."""

    def versions(self) -> Mapping[str, str]:
        """Version of each package that is involved."""

    def check_device(self, device: str) -> None:
        """Raise :class:`UnavailableError` if a device, ``"cpu"``, ``"cuda"``, ..., is missing."""

    def array(self, x: NDArray[Any], device: str) -> Any:
        """Convert to an array of its own, with the dtype of ``x``."""

    def numpy(self, x: Any) -> NDArray[Any]:
        """Back to NumPy."""

    def device(self, x: Any) -> str:
        """The device an array lies on."""

    def value(self, observable: Observable, inputs: Arrays) -> Arrays:
        """The outputs."""

    def vjp(self, observable: Observable, inputs: Arrays, cotangents: Arrays) -> Arrays:
        """Cotangents of the inputs, from those of the outputs."""

    def jvp(self, observable: Observable, inputs: Arrays, tangents: Arrays) -> Arrays:
        """Tangents of the outputs, from those of the inputs."""

    def hvp(
        self, observable: Observable, inputs: Arrays, cotangents: Arrays, tangents: Arrays
    ) -> Arrays:
        """Derivative of :meth:`vjp` along the tangents."""


class Functions:
    """A module's functions by name; one that is missing is a reason, not an error.

    Parameters
    ----------
    module
        Exports ``svd`` (``x -> U, S, Vh``, thin), and if it has them ``svt(x, tau)``,
        ``svdvals(x)``, ``nuclear_norm(x)``, ``singular_value_map(x, fn)``, ``low_rank(x, rank)``,
        ``polar(x)``, ``eigh(x)``, ``eigenvalue_map(x, fn)``, and those of
        :data:`~.observables.NAMED`.
    """

    def __init__(self, module: Any) -> None:
        self.module = module

    def __contains__(self, name: str) -> bool:
        return callable(getattr(self.module, name, None))

    def __getattr__(self, name: str) -> Any:
        function = getattr(self.module, name, None)
        if not callable(function):
            raise NotApplicable(f"no {name}")
        return function


class OnBridge:
    """Base of implementations over a bridge.

    Parameters
    ----------
    bridge
        The framework.
    module
        See :class:`Functions`.
    name
        What reports call it.
    versions
        Version of each further package that takes part.
    """

    def __init__(
        self, bridge: Bridge, module: Any, name: str, versions: Mapping[str, str] | None = None
    ) -> None:
        self.bridge, self.functions, self.name = bridge, Functions(module), name
        self.array, self.numpy, self.device = bridge.array, bridge.numpy, bridge.device
        self.check_device = bridge.check_device
        self._versions = {bridge.name: bridge.version(), **(versions or {})}

    def versions(self) -> Mapping[str, str]:
        """Version of each package that takes part."""
        return self._versions
