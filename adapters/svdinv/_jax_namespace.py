"""The array functions of the core over JAX: `jax.numpy`, and a loop of the compiled program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["repeated"]


def repeated(count: int, body: Callable[[Any], Any], state: Any) -> Any:
    return jax.lax.fori_loop(0, count, lambda _, state: body(state), state)


def __getattr__(name: str) -> Any:
    return getattr(jnp, name)
