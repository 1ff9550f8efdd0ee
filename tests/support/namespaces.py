"""Every array namespace the core is run on, with the way in and out of it."""

from __future__ import annotations

import os

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

NAMESPACES = ("numpy", "torch", "torch-compat", "jax", "tensorflow", "autograd", "strict")


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

        jax.config.update("jax_enable_x64", True)
        return jax.numpy, jax.numpy.asarray, np.asarray
    if name == "tensorflow":
        import svdinv._tensorflow_namespace
        import tensorflow as tf

        return svdinv._tensorflow_namespace, tf.constant, lambda x: x.numpy()
    if name == "autograd":
        import svdinv._autograd_namespace

        return svdinv._autograd_namespace, np.asarray, np.asarray
    import array_api_strict

    return array_api_strict, array_api_strict.asarray, np.asarray
