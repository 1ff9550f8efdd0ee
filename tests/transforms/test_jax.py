"""Every function under every transform of JAX, by value at exact ties."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import svdinv.jax
import svdinv.numpy
from jax import export
from support import jax_operations, jax_sharded
from support.observables import OBSERVABLES, problems
from support.transforms import (
    PATHS,
    TWICE,
    Transform,
    cells,
    check,
    check_red,
    native,
    relative,
    with_fewer_matrices,
)


def realified(loss, x):
    """Make a loss of real arrays, for transforms that take no others, and map gradients back."""
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

    return jax.grad(total)(x)


def jitted(run):
    """All matrices of a cell in one program."""

    def results(functions, xs, ds):
        return jax.jit(lambda xs, ds: tuple(map(run, functions, xs, ds)))(xs, ds)

    return results


def without_nans(run):
    def results(functions, xs, ds):
        with jax.debug_nans(True):
            return run(functions, xs, ds)

    return results


def shapes(xs):
    return tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in xs)


def reloaded(run):
    """Exported functions, serialized and loaded, with their own first derivatives."""

    def results(functions, xs, ds):
        program = jax.jit(lambda *xs: tuple(map(run, functions, xs, ds)))
        written = export.export(program)(*shapes(xs)).serialize(vjp_order=1)
        return jax.grad(lambda xs: sum(export.deserialize(written).call(*xs)))(xs)

    return results


PLATFORMS = ("cuda", "rocm", "tpu")


def lowered(run):
    """The gradient, lowered for devices that are not available, and its value on the CPU."""

    def results(functions, xs, ds):
        program = jax.jit(lambda *xs: tuple(map(run, functions, xs, ds)))
        exported = export.export(program, platforms=[*PLATFORMS, "cpu"])(*shapes(xs))
        assert set(PLATFORMS) < set(exported.platforms)
        return exported.call(*xs)

    return results


def gradient(loss, x, d):
    return jax.grad(loss)(x)


ALL_TRANSFORMS = (
    Transform("grad", "gradient", gradient),
    Transform("value_and_grad", "gradient", lambda loss, x, d: jax.value_and_grad(loss)(x)[1]),
    Transform("vjp", "gradient", pulled_back),
    Transform("jvp", "tangent", tangent_of),
    Transform("linearize", "tangent", lambda loss, x, d: jax.linearize(loss, x)[1](d)),
    Transform("jit", "value", lambda value, x, d: value(x), jitted),
    Transform("jit(grad)", "gradient", gradient, jitted),
    Transform("jit(jvp)", "tangent", tangent_of, jitted),
    Transform("vmap", "value", lambda value, x, d: jax.vmap(value)(jnp.stack([x, x]))[1]),
    Transform(
        "vmap(grad)",
        "gradient",
        lambda loss, x, d: jax.vmap(jax.grad(loss))(jnp.stack([x, x]))[1],
        jitted,
    ),
    Transform(
        "grad(vmap)",
        "gradient",
        lambda loss, x, d: jax.grad(lambda y: jax.vmap(loss)(y).sum())(jnp.stack([x, x]))[1],
        jitted,
    ),
    Transform(
        "vmap(jvp)",
        "tangent",
        lambda loss, x, d: jax.vmap(lambda y: tangent_of(loss, y, d))(jnp.stack([x, x]))[1],
        jitted,
    ),
    Transform("jacrev", "gradient", jacobian(jax.jacrev), jitted),
    Transform("jacfwd", "gradient", jacobian(jax.jacfwd), jitted),
    Transform("checkpoint", "gradient", lambda loss, x, d: jax.grad(jax.checkpoint(loss))(x)),
    Transform(
        "jit(grad(checkpoint))",
        "gradient",
        lambda loss, x, d: jax.grad(jax.checkpoint(loss))(x),
        jitted,
    ),
    Transform("lax.scan", "gradient", scanned, jitted),
    Transform(
        "lax.map",
        "gradient",
        lambda loss, x, d: jax.lax.map(jax.grad(loss), jnp.stack([x, x]))[1],
        jitted,
    ),
    Transform("debug_nans", "gradient", gradient, lambda run: without_nans(partial(map, run))),
    Transform("debug_nans, jit", "gradient", gradient, lambda run: without_nans(jitted(run))),
    Transform("export, serialize, grad", "gradient", lambda loss, x, d: loss(x), reloaded),
    Transform(f"export for {', '.join(PLATFORMS)}", "gradient", gradient, lowered),
    Transform(
        "jvp(grad)", "second", lambda loss, x, d: jax.jvp(jax.grad(loss), (x,), (d,))[1], jitted
    ),
    Transform(
        "grad(jvp)",
        "second",
        lambda loss, x, d: jax.grad(lambda y: tangent_of(loss, y, d))(x),
        jitted,
    ),
    Transform("hessian", "second", hessian_product(jax.hessian), jitted),
    Transform(
        "jacrev(jacrev)", "second", hessian_product(lambda f: jax.jacrev(jax.jacrev(f))), jitted
    ),
    Transform(
        "jacrev(jacfwd)", "second", hessian_product(lambda f: jax.jacrev(jax.jacfwd(f))), jitted
    ),
    Transform(
        "jacfwd(jacfwd)", "second", hessian_product(lambda f: jax.jacfwd(jax.jacfwd(f))), jitted
    ),
)


USUAL = ("grad", "jit(grad)", "vmap(grad)", "jvp", "jvp(grad)")
"""Under which every function is asked."""
FEW = dict.fromkeys(("grad", "vmap(grad)"), PATHS)
TRANSFORMS = with_fewer_matrices(ALL_TRANSFORMS, ("jit(grad)",))  # every matrix


@pytest.mark.parametrize(("transform", "observable"), cells(TRANSFORMS, USUAL, FEW))
def test_cell(transform, observable, whole_family):
    check(jax_operations, transform, observable, whole_family)


JITTED = [t for t in TRANSFORMS if t.compiled is jitted]


@pytest.mark.parametrize(
    ("transform", "observable"),
    [
        *(pytest.param(t, "svt", id=f"{t}-svt") for t in JITTED),
        *(pytest.param(t, "svd", id=f"{t}-svd") for t in JITTED if t.name.startswith("jit")),
    ],
)
def test_outside_jit(transform, observable):
    """In eager mode the results are the same as in the compiled cells."""
    eager = replace(transform, compiled=None, matrices=("twice a unitary",))
    check(jax_operations, eager, observable)


@pytest.mark.slow
def test_with_all_optimizations():
    """As for users, in a separate process; the other tests compile without optimization."""
    root = Path(__file__).parents[2]
    chosen = "test_cell and grad and jit and svt or multiplies_no_denominators"
    files = [__file__, *root.rglob("test_drivers.py")]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen, *files],
        cwd=root,
        env={**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "0", "XLA_FLAGS": ""},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-2000:]
    assert re.search(r"[1-9][0-9]* passed", run.stdout)


@pytest.mark.parametrize("relative_threshold", [False, True])
def test_vmap_over_the_threshold(relative_threshold):
    """One matrix with an exact tie, several thresholds; and the gradient in each."""
    x = 2 * np.eye(4)
    W = np.random.default_rng(0).standard_normal((4, 4))
    taus = np.array([0.1, 0.4, 0.7])

    def loss(x, tau):
        return jnp.sum(W * svdinv.jax.svt(x, tau, relative=relative_threshold))

    both = jax.vmap(jax.grad(loss, argnums=(0, 1)), in_axes=(None, 0))
    for run in (both, jax.jit(both)):
        ct_x, ct_tau = run(x, taus)
        for i, tau in enumerate(taus):
            _, pullback = svdinv.numpy.vjp(
                svdinv.numpy.svt, x, np.array(tau), relative=relative_threshold
            )
            for got, expected in zip((ct_x[i], ct_tau[i]), pullback(W), strict=True):
                assert relative(got, expected) < 1e-12


def test_without_double_precision():
    with jax.enable_x64(False):
        for name in TWICE:
            for problem in problems(name):
                is_complex = np.iscomplexobj(problem.x)
                if problem.name not in ("twice a unitary", "tall batch"):
                    continue
                W, x = (
                    a.astype(np.complex64 if np.iscomplexobj(a) else np.float32)
                    for a in (problem.W, problem.x)
                )
                g = jax.jit(jax.grad(jax_operations.Loss(name, W)))(x)
                assert g.dtype == (np.complex64 if is_complex else np.float32)
                assert relative(np.conj(g), problem.gradient) < 2e-5, (name, problem.name)


MESHES = [
    pytest.param(
        name,
        mesh,
        id=f"{name}-{mesh}",
        marks=() if name in PATHS else pytest.mark.whole_family,
    )
    for name, observable in OBSERVABLES.items()
    for mesh in ("auto", "explicit", "shard_map")
    if observable.everywhere
]


EIGHT_DEVICES = " --xla_force_host_platform_device_count=8"


@pytest.fixture(scope="module")
def sharded(request):
    """Every function on eight host devices, in a process of its own."""
    whole = request.config.getoption("--whole-family")
    wanted = [" ".join(m.values[::-1]) for m in MESHES if whole or not m.marks]
    run = subprocess.run(
        [sys.executable, "-m", "support.jax_sharded", *wanted],
        cwd=os.path.dirname(os.path.dirname(__file__)),
        env={**os.environ, "XLA_FLAGS": os.environ["XLA_FLAGS"] + EIGHT_DEVICES},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    return json.loads(run.stdout)


@pytest.mark.parametrize(("observable", "mesh"), MESHES)
def test_batch_sharded_over_eight_devices(sharded, observable, mesh):
    result = sharded[f"{observable}, {mesh}"]
    assert result["value"] < 1e-12
    assert result["gradient"] < 1e-12
    assert result["devices"] == 8
    assert not result["gathers"]


@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
def test_one_matrix_sharded_in_both_directions_is_gathered_nowhere(sharded, kind):
    result = sharded[f"both axes, {kind}"]
    assert result["gradient"] < 1e-12
    assert result["devices"] == 8
    assert not result["gathers"]


@pytest.mark.parametrize("case", jax_sharded.CASES)
def test_a_matrix_whose_long_side_is_spread_out_stays_where_it_is(sharded, case):
    """What is gathered are triangles of the shorter side; left factors and maps lie as x does."""
    result = sharded[case]
    name, which, _ = jax_sharded.CASES[case]
    assert result["value"] < 1e-12
    assert result["gradient"] < 1e-12
    devices = 6 if which == "short" else 8
    scalar = name in ("nuclear_norm", "svdvals")
    assert result["on"] == [1 if scalar else devices, devices]
    if which != "square":
        assert result["gathered"] <= (1 / 5 if which == "short" else 1 / 8)


def test_a_look_at_the_gauge_of_a_sharded_matrix(sharded):
    (message,) = sharded["watched"]
    assert "gauge residual" in message


def test_twice_the_devices_take_half_of_the_memory_each(sharded):
    of_four, of_eight = sharded["memory"]
    assert of_eight <= 0.55 * of_four


DISTRIBUTED = """
import sys
import jax, numpy as np
from jax.sharding import NamedSharding, PartitionSpec

rank, address = int(sys.argv[1]), sys.argv[2]
jax.config.update("jax_enable_x64", True)
jax.distributed.initialize(address, num_processes=2, process_id=rank)
import svdinv.jax, svdinv.numpy

x = np.random.default_rng(0).standard_normal((64, 4))
sharding = NamedSharding(jax.make_mesh((2,), ("rows",)), PartitionSpec("rows", None))
X = jax.make_array_from_callback(x.shape, sharding, lambda rows: x[rows])
assert not X.is_fully_addressable
out, pullback = svdinv.numpy.vjp(svdinv.numpy.svt, x, 1.0)
lazy = jax.jit(jax.grad(lambda x: (svdinv.jax.svt(x, 1.0) ** 3).sum()))
for got, wanted in (lazy(X), pullback(3 * out**2)[0]), (svdinv.jax.svt(X, 1.0), out):
    (mine,) = got.addressable_shards
    assert mine.data.shape == (32, 4)
    np.testing.assert_allclose(mine.data, wanted[mine.index], atol=1e-12)
"""


def test_two_processes_hold_half_of_the_rows_each():
    """Of the gradient in a compiled program, and of the value without one."""
    with socket.create_server(("localhost", 0)) as server:
        address = f"localhost:{server.getsockname()[1]}"
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", DISTRIBUTED, str(rank), address],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for run in runs:
        _, errors = run.communicate(timeout=300)
        assert run.returncode == 0, errors[-2000:]


@pytest.mark.parametrize("observable", ["svt", "svt relative"])
def test_a_sharded_batch_outside_jit(sharded, observable):
    result = sharded[f"{observable}, eager"]
    assert result["value"] < 1e-12
    assert result["gradient"] < 1e-12


@pytest.mark.parametrize("observable", ["svt", "svd"])
@pytest.mark.parametrize("name", ["grad", "jit(jvp)", "hessian"])
def test_a_cell_goes_red_without_its_rule(name, observable):
    (transform,) = (t for t in TRANSFORMS if t.name == name)
    without = jax_operations.registrations(*native(jnp))
    check_red(jax_operations, transform, observable, without)
