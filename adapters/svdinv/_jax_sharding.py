"""Explicit shardings of JAX, for matrices whose rows or columns are on several devices.

With automatic mesh axes the compiler decides, and nothing here is used. With explicit axes a
product that sums over such an axis has to state the sharding of its result. Decompositions are left
to the compiler.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import PartitionSpec as _PartitionSpec

PartitionSpec: Any = _PartitionSpec  # its constructor has no types

__all__ = ["by_the_compiler", "is_spread", "product_spec"]


def _spec(x: Any) -> tuple[Any, ...]:
    """The explicit mesh axes of each axis of x; () in older versions of JAX, which have none."""
    sharding = getattr(getattr(x, "aval", x), "sharding", None)
    return tuple(getattr(sharding, "spec", ()))


def is_spread(x: Any) -> bool:
    """Whether a matrix has rows or columns on several devices, along explicit mesh axes."""
    return x.ndim >= 2 and any(axis is not None for axis in _spec(x)[-2:])


def product_spec(a: Any, b: Any) -> Any:
    """The sharding of ``a @ b``; None where JAX can infer it."""
    of_a, of_b = _spec(a), _spec(b)
    if len(of_a) < 2 or len(of_b) < 2 or (of_a[-1] is None and of_b[-2] is None):
        return None
    batch = of_a[:-2] if a.ndim >= b.ndim else of_b[:-2]
    row, column = of_a[-2], of_b[-1]
    return PartitionSpec(*batch, row, None if column == row else column)


def by_the_compiler(function: Callable[..., Any], x: Any, *params: Any) -> Any:
    """``function(x, *params)`` with automatic axes; results are sharded as the sides of x are."""
    m, n = x.shape[-2:]
    *batch, rows, columns = _spec(x)

    def spec(out: Any) -> Any:
        if out.ndim < x.ndim:
            return PartitionSpec(*batch, *(None,) * (out.ndim - len(batch)))
        last = (rows if out.shape[-2] == m else None, columns if out.shape[-1] == n else None)
        return PartitionSpec(*batch, *last)

    on_one: Any = jax.ShapeDtypeStruct
    plain = (on_one(a.shape, a.dtype) for a in (x, *params))
    specs = jax.tree.map(spec, jax.eval_shape(function, *plain))
    automatic: Any = jax.sharding.auto_axes
    return automatic(function, out_sharding=specs)(x, *params)
