"""PyTorch's distributed tensors: what `DTensor` asks for beyond what it does by itself.

Other tensors pass through everything here as they are, and `torch.distributed` is not imported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

__all__ = ["by_shards", "summed", "with_long_side_split"]


def with_long_side_split(x: Any) -> Any:
    """x; for a `DTensor`, split along the batch and the longer side of its matrices at most.

    Its gradient is distributed as x is, which is what optimizers and `fully_shard` expect.
    """
    if getattr(x, "placements", None) is None or x.ndim < 2:
        return x
    short = x.ndim - 1 if x.shape[-2] >= x.shape[-1] else x.ndim - 2
    return _replicated(x, lambda p: p.is_partial() or (p.is_shard() and p.dim == short))


def by_shards(fn: Any, x: Any) -> Any:
    """``fn(x)``; for a `DTensor` that is not split within matrices, each process does its own."""
    placements = getattr(x, "placements", None)
    if placements is None or not all(
        p.is_replicate() or (p.is_shard() and p.dim < x.ndim - 2) for p in placements
    ):
        return fn(x)
    from torch.distributed.tensor import DTensor

    batch = tuple(x.shape[:-2])

    def whole(part: torch.Tensor) -> Any:
        if part.ndim < len(batch):  # the Q of a QR that was not requested
            return part
        shape = torch.Size((*batch, *part.shape[len(batch) :]))
        stride = torch.empty(shape, device="meta").stride()
        return DTensor.from_local(
            part.contiguous(),
            x.device_mesh,
            placements,
            run_check=False,
            shape=shape,
            stride=stride,
        )

    return tuple(map(whole, fn(x.to_local())))


def summed(x: Any) -> Any:
    """x; if it is a `DTensor` that is a sum over processes, that sum.

    A sum that is left open meets a long matrix next, and PyTorch then gathers the long one.
    """
    placements = getattr(x, "placements", None)
    if placements is None or not any(p.is_partial() for p in placements):
        return x
    return _replicated(x, lambda p: p.is_partial())


def _replicated(x: Any, chosen: Callable[[Any], bool]) -> Any:
    """A `DTensor`, whole on every process along the dimensions of the mesh that are chosen."""
    from torch.distributed.tensor import Replicate

    return x.redistribute(placements=[Replicate() if chosen(p) else p for p in x.placements])
