"""An operator in JAX, with exact first and second derivatives.

The first derivative of an operator is a JAX primitive, linear in its last arguments. A function
with a `custom_jvp` is not enough: when JAX prepares a reverse pass, it replaces the function by its
operations, and an outer derivative differentiates those instead of using our rule.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad as _ad
from jax.interpreters import batching, mlir

from svdinv_core import Operator, Point, Pulled, Pushed, Tangents

from . import _jax_namespace

__all__ = ["apply", "batched"]

ad: Any = _ad  # JAX has no types for these
_xp: Any = _jax_namespace


@partial(jax.jit, static_argnums=(0, 1, 2))  # traced once, both for shapes and for lowering
def _results(operator: Operator, mode: str, given: tuple[bool, ...], arrays: Any) -> Any:
    """The derivative, forward ("push") or reverse ("pull"); None for a result that is zero.

    `arrays` are x, its factors, the parameters, and the tangents or cotangents that are not None.
    """
    x, *rest = arrays
    fields = operator.decomposition.Factors
    count, linear = len(fields._fields), sum(given)
    params = tuple(rest[count : len(rest) - linear])
    at = Point(_xp, x, fields(*rest[:count]), params)
    left = iter(rest[len(rest) - linear :])
    along = tuple(next(left) if g else None for g in given)
    with jax.default_matmul_precision("float32"):
        if mode == "push":
            return operator.jvp(at, Tangents(along[0], along[1:]))
        cts = tuple(ct if ct is None else jnp.conj(ct) for ct in along)
        ct_x, ct_params = operator.vjp(at, cts)
        return tuple(ct if ct is None else jnp.conj(ct) for ct in (ct_x, *ct_params))


@partial(jax.jit, static_argnames=("operator", "mode", "given", "wanted"))
def _reached(*arrays: Any, operator: Operator, mode: str, given: Any, wanted: Any) -> Any:
    """The results that are wanted, with zeros for None."""
    out = _results(operator, mode, given, arrays)
    if any(y is None for y, w in zip(out, wanted, strict=True) if w):
        x, *rest = arrays
        fields = operator.decomposition.Factors
        count = len(fields._fields)
        params = tuple(rest[count : len(rest) - sum(given)])
        like: Any = (x, *params)
        if mode == "push":
            like = operator.apply(Point(_xp, x, fields(*rest[:count]), params))
        out = tuple(jnp.zeros_like(z) if y is None else y for y, z in zip(out, like, strict=True))
    return tuple(y for y, w in zip(out, wanted, strict=True) if w)


_derivative: Any = Primitive("svdinv_derivative")
_derivative.multiple_results = True
_derivative.def_impl(_reached)
mlir.register_lowering(_derivative, mlir.lower_fun(_reached, multiple_results=True))


def _shapes(*avals: Any, **static: Any) -> Any:
    # With their shardings, and with the axes of a mesh along which they vary.
    return jax.make_jaxpr(partial(_reached, **static))(*avals).out_avals


_derivative.def_abstract_eval(_shapes)


def _differentiate(
    operator: Operator,
    mode: str,
    point: tuple[Any, ...],
    along: tuple[Any, ...],
    wanted: tuple[bool, ...] | None = None,
) -> tuple[Any, ...]:
    """The derivative at x, factors and parameters, along tangents or cotangents (None if absent).

    Returns a tuple with None for each result that is not wanted.
    """
    given = tuple(a is not None for a in along)
    arrays = (*point, *(a for a in along if a is not None))
    if wanted is None:
        outputs = jax.eval_shape(partial(_results, operator, mode, given), arrays)
        wanted = tuple(y is not None for y in outputs)
    found = iter(
        _derivative.bind(*arrays, operator=operator, mode=mode, given=given, wanted=wanted)
    )
    return tuple(next(found) if w else None for w in wanted)


def _derivative_jvp(
    primals: Any, tangents: Any, *, operator: Operator, mode: str, given: Any, wanted: Any
) -> Any:
    static = {"operator": operator, "mode": mode, "given": given, "wanted": wanted}
    out = _derivative.bind(*primals, **static)
    dout: list[Any] = [ad.Zero(y.aval) for y in out]
    start = len(primals) - sum(given)
    point, linear = primals[:start], primals[start:]
    moved = [None if isinstance(d, ad.Zero) else d for d in tangents]
    if any(d is not None for d in moved[start:]):
        left = iter(moved[start:])
        directions = tuple(next(left) if g else None for g in given)
        found = _differentiate(operator, mode, point, directions, wanted)
        dout = [y for y, w in zip(found, wanted, strict=True) if w]
    count = 1 + len(operator.decomposition.Factors._fields)
    dx, dparams = moved[0], tuple(moved[count:start])
    if dx is None and all(d is None for d in dparams):
        return out, dout
    x_raw, params = point[:count], point[count:]
    along = (dx, *(None for _ in linear), *dparams)
    more: Any
    if not operator.twice:
        more = _through_factors(point, linear, moved[:start], count, static)
    elif mode == "push":
        at = (*x_raw, *linear, *params)
        found = _differentiate(Pushed(operator, given), "push", at, along, wanted)
        more = [y for y, w in zip(found, wanted, strict=True) if w]
    else:
        at = (*x_raw, *map(jnp.conj, linear), *params)
        derivative = Pulled(operator, given, wanted[1:])
        everything = (True,) * derivative.outputs
        more = map(jnp.conj, _differentiate(derivative, "push", at, along, everything))
    return out, [ad.add_tangents(d, m) for d, m in zip(dout, more, strict=True)]


def _through_factors(
    point: Any, linear: Any, moved: Any, count: int, static: dict[str, Any]
) -> list[Any]:
    """The second derivative by differentiating the formulas, with the factors as functions of x."""
    from .jax import _decompose as decompose

    operator = static["operator"]
    fields = operator.decomposition.Factors
    raw = fields(*point[1:count])

    def value(x: Any, *params: Any) -> Any:
        factors = decompose(operator.decomposition, x, raw)
        params = operator.moved(_xp, params, factors, raw)
        return _reached(x, *factors, *params, *linear, **static)

    at = (point[0], *point[count:])
    given = (moved[0], *moved[count:])
    changes = tuple(jnp.zeros_like(p) if d is None else d for p, d in zip(at, given, strict=True))
    return list(jax.jvp(value, at, changes)[1])


def _derivative_transpose(
    cts: Any, *arrays: Any, operator: Operator, mode: str, given: Any, wanted: Any
) -> Any:
    start = len(arrays) - sum(given)
    left = iter(None if isinstance(ct, ad.Zero) else ct for ct in cts)
    along = tuple(next(left) if w else None for w in wanted)
    absent = [None] * start
    if all(a is None for a in along):
        return [
            *absent,
            *(ad.Zero(a.aval) if ad.is_undefined_primal(a) else None for a in arrays[start:]),
        ]
    other = "pull" if mode == "push" else "push"
    found = _differentiate(operator, other, arrays[:start], along)
    reached = (y for y, g in zip(found, given, strict=True) if g)
    out: list[Any] = [
        None if not ad.is_undefined_primal(a) else ad.Zero(a.aval) if y is None else y
        for a, y in zip(arrays[start:], reached, strict=True)
    ]
    return [*absent, *out]


def batched(primitive: Any, arrays: Any, axes: Any, **static: Any) -> Any:
    """Apply a primitive to a whole batch; the batch axis comes first in every array."""
    size = next(a.shape[axis] for a, axis in zip(arrays, axes, strict=True) if axis is not None)
    whole = (
        jnp.broadcast_to(a, (size, *a.shape)) if axis is None else jnp.moveaxis(a, axis, 0)
        for a, axis in zip(arrays, axes, strict=True)
    )
    out = primitive.bind(*whole, **static)
    return out, [0 for _ in out]


ad.primitive_jvps[_derivative] = _derivative_jvp
ad.primitive_transposes[_derivative] = _derivative_transpose
batching.primitive_batchers[_derivative] = partial(batched, _derivative)


@partial(jax.jit, static_argnums=0)  # eager JAX would dispatch every operation
def _value(operator: Operator, x: Any, raw: Any, params: Any) -> Any:
    with jax.default_matmul_precision("float32"):
        return operator.apply(Point(_xp, x, raw, params))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def apply(operator: Operator, x: Any, raw: Any, params: Any) -> Any:
    """An operator on the factors of x, with the operator's own derivative in x."""
    return _value(operator, x, raw, params)


@partial(apply.defjvp, symbolic_zeros=True)
def _apply_jvp(operator: Operator, primals: Any, tangents: Any) -> Any:
    x, raw, params = primals
    dx, _, dparams = tangents
    along = tuple(
        None if isinstance(d, jax.custom_derivatives.SymbolicZero) else d for d in (dx, *dparams)
    )
    out = apply(operator, x, raw, params)
    dout = tuple(map(jnp.zeros_like, out))
    if any(d is not None for d in along):
        dout = _differentiate(operator, "push", (x, *raw, *params), along, (True,) * len(out))
    return out, dout
