"""Threads for a batch of decompositions, each with one BLAS thread.

PyTorch and NumPy pass the matrices of a batch to LAPACK one by one, and small matrices gain nothing
from BLAS's own threads. The threads here are few. They are started once, and again in a forked
process.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["Workers"]

T = TypeVar("T")


class Workers:
    """A pool of threads that works after a fork.

    Parameters
    ----------
    name
        Name of the threads.
    prepare
        Called in each thread before its first task.
    """

    def __init__(self, name: str, prepare: Callable[[], None]) -> None:
        self._name, self._prepare = name, prepare
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._size = 0
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        """Drop the pool in a forked process, where the threads of the parent do not exist."""
        self._lock = threading.Lock()
        self._pool, self._size = None, 0

    def _threads(self, size: int) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None or self._size < size:
                # An earlier, smaller pool ends by itself after its last task.
                self._pool = ThreadPoolExecutor(size, self._name, self._prepare)
                self._size = size
            return self._pool

    def run(self, tasks: Sequence[Callable[[], T]], size: int, *, here: bool = False) -> list[T]:
        """Run the tasks in `size` threads, return their results, and raise the exception of one.

        With `here` the caller's thread runs the first task itself.
        """
        pool = self._threads(size)
        try:
            given = [pool.submit(task) for task in (tasks[1:] if here else tasks)]
        except RuntimeError:  # the interpreter is shutting down and starts no more threads
            return [task() for task in tasks]
        own = [tasks[0]()] if here else []
        return own + [future.result() for future in given]
