"""What other packages have for a truncated decomposition, as implementations to run.

``python -m svdinv_conformance run svdinv_conformance.suite.peers:svd_lowrank -k truncated``
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from .implementation import Implementation
from .named import implement

__all__ = ["lobpcg", "svd_lowrank"]


def _of_torch(name: str, truncated: Any) -> Implementation:
    return implement("torch", SimpleNamespace(truncated_svd=truncated), name)


def svd_lowrank() -> Implementation:
    """`torch.svd_lowrank`: a randomized projection, then an SVD."""
    import torch

    def truncated(a: Any, rank: int) -> Any:
        u, s, v = torch.svd_lowrank(a, q=rank, niter=20)
        return u, s, v.mH

    return _of_torch("torch.svd_lowrank", truncated)


def lobpcg() -> Implementation:
    """`torch.lobpcg` of ``A^H A``, which asks for three columns for each pair."""
    import torch

    def truncated(a: Any, rank: int) -> Any:
        squares, v = torch.lobpcg(a.mH @ a, k=rank, niter=200, tol=1e-14)
        s = squares.sqrt()
        return (a @ v) / s, s, v.mH

    return _of_torch("torch.lobpcg", truncated)
