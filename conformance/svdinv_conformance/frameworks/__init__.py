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
]

AUTODIFF: dict[str, type[AutodiffBridge]] = {
    cls.name: cls for cls in (Torch, Jax, TensorFlow, Autograd)
}
"""The classes of frameworks with automatic differentiation."""

FRAMEWORKS: dict[str, type[Bridge]] = {"numpy": NumPy, **AUTODIFF, "cupy": CuPy}
"""The class of each framework, in the order of the table."""
