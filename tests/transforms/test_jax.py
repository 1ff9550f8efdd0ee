"""Every function under every transform of JAX, by value at exact ties."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from jax import export
from support import jax_operations
from support.transforms import Transform, cells, check


def realified(loss, x):
    """A loss of real arrays, and the way back, for what takes real arrays only."""
    if not jnp.iscomplexobj(x):
        return loss, x, lambda g: g
    pairs = jnp.stack([x.real, x.imag], axis=-1)
    # from the pair's gradient to JAX's gradient of a complex argument
    return (
        lambda r: loss(jax.lax.complex(r[..., 0], r[..., 1])),
        pairs,
        lambda g: g[..., 0] - 1j * g[..., 1],
    )


def jacobian(of):
    def run(loss, x, d):
        loss, x, back = realified(loss, x)
        return back(of(loss)(x))

    return run


def hessian_product(of):
    def run(loss, x, d):
        loss, pairs, back = realified(loss, x)
        direction = realified(loss, d)[1]
        return back(jnp.tensordot(of(loss)(pairs), direction, axes=pairs.ndim))

    return run


def tangent_of(loss, x, d):
    return jax.jvp(loss, (x,), (d,))[1]


def pulled_back(loss, x, d):
    y, pullback = jax.vjp(loss, x)
    return pullback(jnp.ones_like(y))[0]


def scanned(loss, x, d):
    def total(y):
        return jax.lax.scan(lambda carry, _: (carry + loss(y), None), 0.0, None, length=2)[0] / 2

    return jax.jit(jax.grad(total))(x)


def without_nans(loss, x, d):
    with jax.debug_nans(True):
        return jax.grad(loss)(x), jax.jit(jax.grad(loss))(x)


def reloaded(loss, x, d):
    """An exported function, written and read again, with its own derivative of first order."""
    exported = export.export(jax.jit(loss))(jax.ShapeDtypeStruct(x.shape, x.dtype))
    return jax.grad(export.deserialize(exported.serialize(vjp_order=1)).call)(x)


def lowered(platform):
    """The gradient lowered for a device that is not here; and its value on the one that is."""

    def run(loss, x, d):
        argument = jax.ShapeDtypeStruct(x.shape, x.dtype)
        program = export.export(jax.jit(jax.grad(loss)), platforms=[platform, "cpu"])(argument)
        assert platform in program.platforms
        return program.call(x)

    return run


TRANSFORMS = (
    Transform("grad", "gradient", lambda loss, x, d: jax.grad(loss)(x)),
    Transform("value_and_grad", "gradient", lambda loss, x, d: jax.value_and_grad(loss)(x)[1]),
    Transform("vjp", "gradient", pulled_back),
    Transform("jvp", "tangent", tangent_of),
    Transform("linearize", "tangent", lambda loss, x, d: jax.linearize(loss, x)[1](d)),
    Transform("jit", "value", lambda value, x, d: jax.jit(value)(x)),
    Transform("jit(grad)", "gradient", lambda loss, x, d: jax.jit(jax.grad(loss))(x)),
    Transform(
        "jit(jvp)", "tangent", lambda loss, x, d: jax.jit(lambda y: tangent_of(loss, y, d))(x)
    ),
    Transform("vmap", "value", lambda value, x, d: jax.vmap(value)(jnp.stack([x, x]))[1]),
    Transform(
        "vmap(grad)", "gradient", lambda loss, x, d: jax.vmap(jax.grad(loss))(jnp.stack([x, x]))[1]
    ),
    Transform(
        "grad(vmap)",
        "gradient",
        lambda loss, x, d: jax.grad(lambda y: jax.vmap(loss)(y).sum())(jnp.stack([x, x]))[1],
    ),
    Transform(
        "vmap(jvp)",
        "tangent",
        lambda loss, x, d: jax.vmap(lambda y: tangent_of(loss, y, d))(jnp.stack([x, x]))[1],
    ),
    Transform("jacrev", "gradient", jacobian(jax.jacrev)),
    Transform("jacfwd", "gradient", jacobian(jax.jacfwd)),
    Transform("checkpoint", "gradient", lambda loss, x, d: jax.grad(jax.checkpoint(loss))(x)),
    Transform(
        "jit(grad(checkpoint))",
        "gradient",
        lambda loss, x, d: jax.jit(jax.grad(jax.checkpoint(loss)))(x),
    ),
    Transform("lax.scan", "gradient", scanned),
    Transform(
        "lax.map", "gradient", lambda loss, x, d: jax.lax.map(jax.grad(loss), jnp.stack([x, x]))[1]
    ),
    Transform("debug_nans", "gradient", lambda *a: without_nans(*a)[0]),
    Transform("debug_nans, jit", "gradient", lambda *a: without_nans(*a)[1]),
    Transform("export, serialize, grad", "gradient", reloaded),
    *(Transform(f"export for {p}", "gradient", lowered(p)) for p in ("cuda", "rocm", "tpu")),
    Transform("jvp(grad)", "second", lambda loss, x, d: jax.jvp(jax.grad(loss), (x,), (d,))[1]),
    Transform(
        "grad(jvp)", "second", lambda loss, x, d: jax.grad(lambda y: tangent_of(loss, y, d))(x)
    ),
    Transform("hessian", "second", hessian_product(jax.hessian)),
    Transform("jacrev(jacrev)", "second", hessian_product(lambda f: jax.jacrev(jax.jacrev(f)))),
    Transform("jacrev(jacfwd)", "second", hessian_product(lambda f: jax.jacrev(jax.jacfwd(f)))),
    Transform("jacfwd(jacfwd)", "second", hessian_product(lambda f: jax.jacfwd(jax.jacfwd(f)))),
)


@pytest.mark.parametrize(("transform", "observable"), cells(TRANSFORMS))
def test_cell(transform, observable):
    check(jax_operations, transform, observable)
