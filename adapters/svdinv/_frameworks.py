"""The frameworks, and how to find one from the type of an array without importing any."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

__all__ = ["BY_PACKAGE", "FRAMEWORKS", "Framework", "framework_of", "is_foreign"]


class Framework(NamedTuple):
    """A framework. Its module in svdinv has the name of its first package.

    `array` is the type of its arrays in annotations. `explicit` is true for a framework without
    automatic differentiation; its module has `vjp` and `jvp`.
    """

    title: str
    packages: tuple[str, ...]
    array: str = "Any"
    explicit: bool = False


FRAMEWORKS = {
    framework.packages[0]: framework
    for framework in (
        Framework("NumPy", ("numpy", "scipy"), "_Array", explicit=True),  # SciPy: sparse matrices
        Framework("PyTorch", ("torch",), "torch.Tensor"),
        Framework("JAX", ("jax", "jaxlib"), "jax.Array"),
        Framework("TensorFlow", ("tensorflow",)),
        Framework("autograd", ("autograd",)),
        Framework("CuPy", ("cupy",), explicit=True),
    )
}

# Module of svdinv by the top-level package that defines an array type.
BY_PACKAGE = {
    package: name for name, framework in FRAMEWORKS.items() for package in framework.packages
} | {"dask": "_dask"}


@cache
def framework_of(cls: Any) -> str | None:
    """Module of svdinv for a type of arrays; None for a type of no known framework."""
    for base in cls.__mro__:
        name = BY_PACKAGE.get(base.__module__.partition(".")[0])
        if name is not None:
            return name
    return None


def is_foreign(value: Any, *own: str) -> bool:
    """Whether a parameter is an array of a framework other than NumPy and those in `own`.

    The caller refuses it: as a constant it would silently get no gradient.
    """
    return framework_of(value.__class__) not in (None, "numpy", *own)
