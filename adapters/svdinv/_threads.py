"""A batch of decompositions, split over threads of one BLAS thread each.

PyTorch and NumPy hand LAPACK one matrix of a batch after another, and small matrices gain nothing
from BLAS's own threads. The threads here are few, started once, and made again in a forked process.
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
    """A pool of threads that forks safely.

    Parameters
    ----------
    name
        Of the threads.
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
        """The threads of the parent process do not exist in a forked one."""
        self._lock = threading.Lock()
        self._pool, self._size = None, 0

    def _threads(self, size: int) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None or self._size < size:
                # An earlier, smaller pool ends by itself when its last task has.
                self._pool = ThreadPoolExecutor(size, self._name, self._prepare)
                self._size = size
            return self._pool

    def run(self, tasks: Sequence[Callable[[], T]], size: int, *, here: bool = False) -> list[T]:
        """Results of the tasks, run by `size` threads; an exception of one is raised here.

        With `here` the caller's thread runs the first task itself.
        """
        pool = self._threads(size)
        try:
            given = [pool.submit(task) for task in (tasks[1:] if here else tasks)]
        except RuntimeError:  # the interpreter ends, and starts no threads any more
            return [task() for task in tasks]
        own = [tasks[0]()] if here else []
        return own + [future.result() for future in given]
