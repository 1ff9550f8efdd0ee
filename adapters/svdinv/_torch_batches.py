"""Batched decompositions of PyTorch on a CPU, in threads with one BLAS thread each.

PyTorch decomposes the matrices of a batch one by one. The other operations of a step have threads
of their own, and were no faster in these, because of Python's global lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from ._threads import Workers

__all__ = ["in_pieces", "is_plain", "waits", "work"]

Decompose = Callable[[torch.Tensor], Sequence[torch.Tensor]]

WORTH_SPLITTING = 1e5
"""Entries times shorter side of a batch below which a second thread costs more than it saves."""

LARGEST_SPLIT = 256
"""Shorter side of a matrix above which BLAS's own threads are as fast."""

_settings = threading.Lock()


def _one_thread() -> None:
    """Use one BLAS thread in this thread, and leave the number for new threads as it was.

    PyTorch keeps a number for each thread and a default for new threads. Setting the first also
    sets the default, so a helper thread, whose own number does not matter, sets the default back.
    """
    with _settings:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        restorer = threading.Thread(target=torch.set_num_threads, args=(before,))
        restorer.start()
        restorer.join()


_workers = Workers("svdinv-torch", _one_thread)


def work(x: torch.Tensor) -> int:
    """Entries of a batch (..., m, n) times the shorter side: the cost of its decompositions."""
    return x.numel() * min(x.shape[-2:])


def is_plain(x: torch.Tensor) -> bool:
    """Whether a tensor has values on a CPU, with no compiler, transform or mode active."""
    return x.device.type == "cpu" and _is_eager(x)


def waits(x: torch.Tensor) -> bool:
    """As `is_plain`, for a CUDA or ROCm device, where reading values waits for the device.

    A decomposition waits anyway, because PyTorch reads from the device whether it converged. False
    while a CUDA graph is captured.
    """
    return x.device.type == "cuda" and _is_eager(x) and not torch.cuda.is_current_stream_capturing()


def _is_eager(x: torch.Tensor) -> bool:
    if torch.compiler.is_compiling():
        return False
    return (
        type(x) in (torch.Tensor, torch.nn.Parameter)
        and not torch._C._are_functorch_transforms_active()
        and torch._C._len_torch_dispatch_stack() == 0
        and torch._C._len_torch_function_stack() == 0
    )


def _quietly(fn: Decompose, x: torch.Tensor) -> Sequence[torch.Tensor]:
    with torch.no_grad():  # again, because each thread has its own setting
        return fn(x)


def in_pieces(fn: Decompose, x: torch.Tensor) -> Any:
    """``fn(x)`` for a batch (..., m, n), a tuple of tensors, split over threads. No gradient.

    Runs in the caller's thread if the work is small, if the caller allows one thread only, or if a
    compiler, a transform or a mode is active, because other threads would not see these.
    """
    if torch.compiler.is_compiling() or x.ndim == 2:
        return fn(x)
    *batch, m, n = x.shape
    if work(x) < WORTH_SPLITTING or min(m, n) > LARGEST_SPLIT or not is_plain(x):
        return fn(x)
    threads = torch.get_num_threads()
    flat = x.reshape(-1, m, n)
    if threads == 1 or flat.shape[0] < threads:
        return fn(x)
    pieces = [partial(_quietly, fn, piece) for piece in flat.tensor_split(threads)]
    results = _workers.run(pieces, threads)
    return tuple(
        torch.cat(parts).reshape(*batch, *parts[0].shape[1:])
        for parts in zip(*results, strict=True)
    )
