"""The frameworks, with one class and one module for each. See :mod:`.bridge`."""

from .autograd import Autograd
from .bridge import AutodiffBridge, Bridge, UnavailableError, first_line
from .jax import Jax
from .numpy import ArrayApiStrict, CuPy, NumPy
from .tensorflow import TensorFlow
from .torch import Torch

__all__ = [
    "AUTODIFF",
    "FRAMEWORKS",
    "ArrayApiStrict",
    "AutodiffBridge",
    "Bridge",
    "NumPy",
    "UnavailableError",
    "first_line",
    "load",
]

AUTODIFF: dict[str, type[AutodiffBridge]] = {
    cls.name: cls for cls in (Torch, Jax, TensorFlow, Autograd)
}
"""The classes of frameworks with automatic differentiation."""

FRAMEWORKS: dict[str, type[Bridge]] = {"numpy": NumPy, **AUTODIFF, "cupy": CuPy}
"""The class of each framework, in the order of the table."""


def load(name: str, device: str | None = None) -> Bridge:
    """Make the bridge of a framework that is there, and computes on a device if one is named.

    Raises
    ------
    UnavailableError
        If it is not there.
    """
    bridge = FRAMEWORKS[name]()
    bridge.load()
    if device is not None:
        bridge.check_device(device)
    return bridge
