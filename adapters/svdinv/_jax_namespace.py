"""The array functions of the core over JAX: `jax.numpy`, and a loop of the compiled program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

__all__ = ["repeated", "settled", "until"]


def repeated(count: int, body: Callable[[Any], Any], state: Any) -> Any:
    return jax.lax.fori_loop(0, count, lambda _, state: body(state), state)


def settled(x: Any) -> Any:
    barrier: Any = jax.lax.optimization_barrier
    return barrier(x)


def until(limit: int, going: Callable[..., Any], body: Callable[..., Any], state: Any) -> Any:
    def more(counted: Any) -> Any:
        count, *state = counted
        return (count < limit) & going(*state)

    def step(counted: Any) -> Any:
        count, *state = counted
        return (count + 1, *body(*state))

    return tuple(jax.lax.while_loop(more, step, (0, *state))[1:])


def __getattr__(name: str) -> Any:
    return getattr(jnp, name)
