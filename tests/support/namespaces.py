"""Every array namespace on which the core is tested, with conversions from and to NumPy."""

from __future__ import annotations

import os
from functools import cache

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

NAMESPACES = ("numpy", "torch", "torch-compat", "jax", "tensorflow", "autograd", "strict")


@cache
def namespace(name: str):
    """``(xp, from_numpy, to_numpy)``."""
    if name == "numpy":
        import array_api_compat.numpy as xp

        return xp, np.asarray, np.asarray
    if name.startswith("torch"):
        import array_api_compat.torch
        import svdinv._torch_namespace
        import torch

        xp = svdinv._torch_namespace if name == "torch" else array_api_compat.torch
        return xp, lambda x: torch.tensor(np.asarray(x)), lambda x: x.resolve_conj().numpy()
    if name == "jax":
        import jax
        import svdinv._jax_namespace

        jax.config.update("jax_enable_x64", True)
        return svdinv._jax_namespace, jax.numpy.asarray, np.asarray
    if name == "tensorflow":
        import svdinv._tensorflow_namespace
        import tensorflow as tf

        return svdinv._tensorflow_namespace, tf.constant, lambda x: x.numpy()
    if name == "autograd":
        import svdinv._autograd_namespace

        return svdinv._autograd_namespace, np.asarray, np.asarray
    import array_api_strict

    return array_api_strict, array_api_strict.asarray, np.asarray


def each(f, x):
    """Apply f to every array in a (nested) tuple, named or not; None stays None."""
    if isinstance(x, tuple):
        parts = (each(f, y) for y in x)
        return type(x)(*parts) if hasattr(x, "_fields") else tuple(parts)
    return None if x is None else f(x)


@cache
def _program(name: str, owner, method: str):
    xp, *_ = namespace(name)

    def call(*arrays):
        return getattr(owner, method)(xp, *arrays)

    if name == "jax":  # jitted, because in eager mode each operation is a program of its own
        import jax

        return jax.jit(call)
    return call


def evaluate(name: str, owner, method: str, *arrays):
    """``owner.method(xp, *arrays)`` in a namespace, from NumPy's arrays to NumPy's."""
    _, from_numpy, to_numpy = namespace(name)
    return each(to_numpy, _program(name, owner, method)(*each(from_numpy, arrays)))
