"""Print, as JSON, the results of functions of a batch sharded over eight host devices.

An argument is a mesh and a function: ``python -m support.jax_sharded "explicit svt"``.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import sys
import warnings
from functools import partial

import jax
import numpy as np
import svdinv.jax as jaxs
import svdinv.numpy as numpys
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from svdinv.jax import low_rank as jax_low_rank
from svdinv.numpy import low_rank, vjp

from .jax_operations import Loss
from .observables import problems
from .transforms import relative, value


def batch(name):
    """Eight copies of a matrix with an exact tie, with its weights and gradient."""
    (problem,) = (p for p in problems(name) if p.name == "twice a unitary")
    eight = (np.stack([a] * 8) for a in (problem.x, problem.W, problem.gradient))
    return *eight, np.stack([value(name, problem)] * 8)


def check(name, kind):
    x, W, gradient, expected = batch(name)
    explicit = AxisType.Explicit if kind == "explicit" else AxisType.Auto
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(explicit,))
    spec = PartitionSpec("batch")
    with jax.set_mesh(mesh):
        X, weights = (jax.device_put(a, NamedSharding(mesh, spec)) for a in (x, W))

        def observe(y):
            return Loss(name, W).observe(y)

        def grad(y, w):
            return jax.grad(lambda z: _paired(w, Loss(name, W).observe(z)))(y)

        if kind == "shard_map":
            observe = jax.shard_map(observe, mesh=mesh, in_specs=spec, out_specs=spec)
            grad = jax.shard_map(grad, mesh=mesh, in_specs=(spec, spec), out_specs=spec)
        compiled = jax.jit(observe).lower(X).compile(), jax.jit(grad).lower(X, weights).compile()
        got, g = compiled[0](X), compiled[1](X, weights)
    return {
        "value": relative(got, expected),
        "gradient": relative(np.conj(g), gradient),
        "devices": len(g.sharding.device_set),
        "gathers": [
            line for c in compiled for line in c.as_text().split("\n") if "all-gather" in line
        ],
    }


def eager(name):
    """Operation by operation, where decisions about values are not traced."""
    x, W, gradient, expected = batch(name)
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(AxisType.Auto,))
    X = jax.device_put(x, NamedSharding(mesh, PartitionSpec("batch")))
    loss = Loss(name, W)
    got, g = loss.observe(X), jax.grad(lambda y: _paired(W, loss.observe(y)))(X)
    return {"value": relative(got, expected), "gradient": relative(np.conj(g), gradient)}


def both_axes(kind):
    """One matrix whose rows and columns lie on several devices: by its leading part, and whole."""
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.standard_normal((128, 128)))[0] for _ in range(2))
    x, W = left / np.arange(1, 129) @ right, rng.standard_normal((128, 128))
    _, pullback = vjp(low_rank, x, 5)
    mesh = jax.make_mesh((4, 2), ("rows", "columns"), axis_types=(getattr(AxisType, kind),) * 2)
    sharding = NamedSharding(mesh, PartitionSpec("rows", "columns"))

    def grad(y, w, driver="krylov"):
        return jax.grad(lambda z: _paired(w, jax_low_rank(z, 5, driver=driver)))(y)

    with jax.set_mesh(mesh):
        X, weights = (jax.device_put(a, sharding) for a in (x, W))
        compiled = jax.jit(grad).lower(X, weights).compile()
        g = compiled(X, weights)
        whole = grad(X, weights, "svd")
    lines = compiled.as_text().split("\n")
    return {
        "gradient": max(relative(z, pullback(W)[0]) for z in (g, whole)),
        "devices": len(g.sharding.device_set),
        "gathers": [line for line in lines if "all-gather" in line and "[128,128]" in line],
    }


def recomposed(x):
    U, S, Vh = jaxs.svd(x)
    return (U * S**2) @ Vh


SPREAD = {
    "svt": (lambda x: jaxs.svt(x, 0.1, relative=True), (numpys.svt, 0.1, {"relative": True})),
    "svd": (recomposed, (numpys.singular_value_map, np.square, {})),
    "svdvals": (jaxs.svdvals, (numpys.svdvals, None, {})),
    "procrustes": (jaxs.procrustes, (numpys.procrustes, None, {})),
    "pinv": (jaxs.pinv, (numpys.pinv, None, {})),
    "nuclear_norm": (jaxs.nuclear_norm, (numpys.nuclear_norm, None, {})),
    "range_projector": (jaxs.range_projector, (numpys.range_projector, None, {})),
}
"""Functions of a matrix that lies on several devices: one for each way to decompose it."""

CASES = {
    f"{name} of a {which} matrix, {kind}": (name, which, kind)
    for which, names, kind in (
        ("tall", SPREAD, "Explicit"),
        ("wide", ("svt", "svd"), "Explicit"),
        ("square", ("svt", "svd"), "Explicit"),
        ("short", ("svt",), "Explicit"),
        ("tall", ("svt", "svd"), "Auto"),
        ("wide", ("svt",), "Auto"),
        ("short", ("procrustes",), "Auto"),
    )
    for name in names
}


def spread(name, which, kind):
    """Value and gradient of one such matrix, and the largest array that is gathered for them."""
    function, (reference, argument, kwargs) = SPREAD[name]
    # 1032 are 129 rows a device: a row of each is left over by its blocks. 120 are 20 on each of
    # six, fewer than a block would have on one.
    rows, devices = {"square": (8, 8), "short": (120, 6)}.get(which, (1032, 8))
    columns = rows if which == "square" else 4
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.standard_normal((n, columns)))[0] for n in (rows, columns))
    x = (left * np.resize([2.0, 1.0, 1.0, 0.5], columns)) @ right  # tied
    x = x.T if which == "wide" else x
    arguments = (x,) if argument is None else (x, argument)
    expected, pullback = vjp(reference, *arguments, **kwargs)
    W = rng.standard_normal(np.shape(expected))
    W = np.sort(W) if name == "svdvals" else W
    kinds = (getattr(AxisType, kind),)
    mesh = jax.make_mesh((devices,), ("long",), kinds, devices=jax.devices()[:devices])
    # An explicit mesh need not be set.
    with contextlib.nullcontext() if (which, kind) == ("wide", "Explicit") else jax.set_mesh(mesh):
        spec = PartitionSpec(None, "long") if which == "wide" else PartitionSpec("long", None)
        X = jax.device_put(x, NamedSharding(mesh, spec))

        def both(x):
            y, pull = jax.vjp(function, x)
            return y, pull(jax.sharding.reshard(jax.numpy.asarray(W), jax.typeof(y).sharding))[0]

        compiled = jax.jit(both).lower(X).compile()
        y, g = compiled(X)
    gathers = [line for line in compiled.as_text().split("\n") if "all-gather" in line]
    return {
        "value": relative(y, expected),
        "gradient": relative(g, pullback(W)[0]),
        "on": [len(a.sharding.device_set) if not a.is_fully_replicated else 1 for a in (y, g)],
        "gathered": max(map(_entries, gathers), default=0) / max(x.size, y.size),
    }


def watched():
    """The residual that `gauge="warn"` tells of, for a loss of one vector of a sharded matrix."""
    mesh = jax.make_mesh((8,), ("rows",))
    sharding = NamedSharding(mesh, PartitionSpec("rows", None))
    x = np.linalg.qr(np.random.default_rng(0).standard_normal((64, 3)))[0]  # all values are tied
    with jax.set_mesh(mesh), warnings.catch_warnings(record=True) as told:
        jax.grad(lambda x: jaxs.svd(x, gauge="warn").Vh[0].sum())(jax.device_put(x, sharding))
    return [str(warning.message) for warning in told]


def memory(count):
    """Bytes of each of so many devices for value and gradient of a long matrix, as compiled."""
    mesh = jax.make_mesh((count,), ("rows",), devices=jax.devices()[:count])
    with jax.set_mesh(mesh):
        spec = NamedSharding(mesh, PartitionSpec("rows", None))
        x = jax.ShapeDtypeStruct((2**16, 4), np.float32, sharding=spec)
        both = jax.jit(lambda x, ct: jax.vjp(partial(jaxs.svt, tau=1.0), x)[1](ct))
        used = both.lower(x, x).compile().memory_analysis()
    return sum(getattr(used, f"{part}_size_in_bytes") for part in ("argument", "output", "temp"))


def _entries(line):
    """Of the largest array of a line of compiled text."""
    return max(math.prod(map(int, s.split(","))) for s in re.findall(r"\[([\d,]+)\]", line))


def _paired(w, y):
    return jax.numpy.real(jax.numpy.conj(w) * y).sum()


if __name__ == "__main__":
    print(
        json.dumps(
            {
                f"{name}, {kind}": check(name, kind)
                for kind, name in (wanted.split(maxsplit=1) for wanted in sys.argv[1:])
            }
            | {f"both axes, {kind}": both_axes(kind) for kind in ("Auto", "Explicit")}
            | {case: spread(*of) for case, of in CASES.items()}
            | {"watched": watched()}
            | {"memory": [memory(4), memory(8)]}
            | {f"{name}, eager": eager(name) for name in ("svt", "svt relative")}
        )
    )
