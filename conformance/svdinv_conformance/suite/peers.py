"""Truncated decompositions of other packages, as implementations to run.

``python -m svdinv_conformance run svdinv_conformance.suite.peers:svd_lowrank -k truncated``
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from .implementation import Implementation
from .named import implement

__all__ = ["jax_slices", "lobpcg", "svd_lowrank"]


def svd_lowrank() -> Implementation:
    """`torch.svd_lowrank`: a randomized projection, always the same here, then an SVD."""
    import torch

    def truncated(a: Any, rank: int) -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            u, s, v = torch.svd_lowrank(a, q=rank, niter=20)
        return u, s, v.mH

    return implement("torch", SimpleNamespace(truncated_svd=truncated), "torch.svd_lowrank")


def lobpcg() -> Implementation:
    """`torch.lobpcg` of ``A^H A``, which asks for three columns for each pair."""
    import torch

    def truncated(a: Any, rank: int) -> Any:
        squares, v = torch.lobpcg(a.mH @ a, k=rank, niter=200, tol=1e-14)
        s = squares.sqrt()
        return (a @ v) / s, s, v.mH

    return implement("torch", SimpleNamespace(truncated_svd=truncated), "torch.lobpcg")


def jax_slices() -> Implementation:
    """The first columns of `jax.numpy.linalg.svd`, which is how JAX's users truncate."""
    import jax.numpy as jnp

    def truncated(a: Any, rank: int) -> Any:
        u, s, vh = jnp.linalg.svd(a, full_matrices=False)
        return u[..., :rank], s[..., :rank], vh[..., :rank, :]

    return implement(
        "jax", SimpleNamespace(truncated_svd=truncated), "jax.numpy.linalg.svd, sliced"
    )
