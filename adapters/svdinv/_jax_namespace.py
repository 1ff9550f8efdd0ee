"""The array functions of the core over JAX: `jax.numpy`, a safe `sum`, and a compiled loop.

From jaxlib 0.10.2 on, XLA's CPU compiler fuses a sum with the operations around it and passes them
to YNNPACK. From some 30,000 entries on this is silently wrong for some programs, such as
``sum(v * X, 0) * v`` with a broadcast v (https://github.com/jax-ml/jax/issues/39103). The `sum`
here rounds its argument and result to the precision they have already. That changes no value, but
prevents the fusion.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["for_each", "repeated", "settled", "sum", "until"]


def _apart(x: Any) -> Any:
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return x
    info: Any = np.finfo(x.dtype)
    return jax.lax.reduce_precision(x, int(info.nexp), int(info.nmant))


def sum(x: Any, /, *, axis: Any = None, keepdims: bool = False) -> Any:
    return _apart(jnp.sum(_apart(x), axis=axis, keepdims=keepdims))


def for_each(function: Callable[..., Any]) -> Any:
    return jax.vmap(function)


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
