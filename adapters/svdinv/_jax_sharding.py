"""Explicit shardings of JAX, for matrices whose rows or columns are on several devices.

With automatic mesh axes the compiler decides. With explicit axes every product that sums over such
an axis would have to state the sharding of its result. So everything that is computed from such a
matrix is left to the compiler too, and only the shardings of the results are stated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from jax.sharding import PartitionSpec as _PartitionSpec

PartitionSpec: Any = _PartitionSpec  # its constructor has no types

__all__ = ["by_the_compiler", "devices", "factors_of", "is_spread", "whole"]


def _spec(x: Any) -> tuple[Any, ...]:
    """The explicit mesh axes of each axis of x; () in older versions of JAX, which have none."""
    sharding = getattr(getattr(x, "aval", x), "sharding", None)
    return tuple(getattr(sharding, "spec", ()))


def _mesh(x: Any) -> Any:
    """The mesh of an array: no mesh need be set."""
    sharding = getattr(x.aval if isinstance(x, jax.core.Tracer) else x, "sharding", None)
    mesh = getattr(sharding, "mesh", None)
    return None if mesh is None or mesh.empty else mesh


def is_spread(*arrays: Any) -> bool:
    """Whether a matrix has rows or columns on several devices, by explicit axes."""
    return any(x.ndim >= 2 and any(axis is not None for axis in _spec(x)[-2:]) for x in arrays)


def whole(arrays: Any) -> Any:
    """The same arrays, on every device: for a look at values, which is no part of a program."""

    reshard: Any = getattr(jax.sharding, "reshard", None)  # older versions have no explicit axes

    def gathered(x: Any) -> Any:
        if not is_spread(x):
            return x
        return reshard(x, PartitionSpec(*_spec(x)[:-2], None, None))

    return jax.tree.map(gathered, arrays)


def devices() -> int:
    """The number of devices that a tracer may be on: those of the current mesh, or all."""
    axis_types = getattr(jax.sharding, "AxisType", None)
    if axis_types is None:  # an older version of JAX
        return jax.device_count()
    mesh: Any = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return jax.device_count()
    free = (
        size
        for size, kind in zip(mesh.axis_sizes, mesh.axis_types, strict=True)
        if kind != axis_types.Manual  # along it, an array holds what one device has
    )
    return math.prod(free)


def _axes(part: Any) -> set[Any]:
    """The mesh axes over which one axis of an array is sharded."""
    return set(part) if isinstance(part, tuple) else {part} - {None}


def factors_of(arrays: Any, factors: Any) -> Any:
    """Shardings of factors of the first array: the left as its rows, the right as its columns."""
    x, *_ = arrays
    *batch, rows, columns = _spec(x)
    left = iter([(rows, None)])  # the first matrix; an eigendecomposition has no other

    def spec(factor: Any) -> Any:
        if factor.ndim < x.ndim:
            return PartitionSpec(*batch, *(None,) * (factor.ndim - len(batch)))
        return PartitionSpec(*batch, *next(left, (None, columns)))

    return jax.tree.map(spec, factors)


def results_of(arrays: Any, results: Any) -> Any:
    """Shardings of results: as an array of the same shape, or each axis as one of its length."""
    leaves = jax.tree.leaves(arrays)
    of_shape = {a.shape: _spec(a) for a in reversed(leaves)}
    of_length = {
        length: part
        for a in reversed(leaves)
        for length, part in zip(a.shape, _spec(a), strict=False)
        if part is not None
    }

    def spec(result: Any) -> Any:
        parts: list[Any] = []
        for length in result.shape:
            part = of_length.get(length)
            taken = set[Any]().union(*map(_axes, parts))  # a mesh axis may occur once
            parts.append(None if _axes(part) & taken else part)
        return PartitionSpec(*(of_shape.get(result.shape) or parts))

    return jax.tree.map(spec, results)


def by_the_compiler(
    function: Callable[..., Any], *arrays: Any, specs: Callable[[Any, Any], Any] = results_of
) -> Any:
    """``function(*arrays)`` with automatic axes; ``specs(arrays, results)`` says the shardings."""
    on_one: Any = jax.ShapeDtypeStruct
    plain = jax.tree.map(lambda a: on_one(a.shape, a.dtype), arrays)
    wanted = specs(arrays, jax.eval_shape(function, *plain))
    mesh = next(m for m in map(_mesh, jax.tree.leaves(arrays)) if m is not None)
    wanted = jax.tree.map(partial(jax.sharding.NamedSharding, mesh), wanted)
    automatic: Any = jax.sharding.auto_axes
    return automatic(function, out_sharding=wanted)(*arrays)
