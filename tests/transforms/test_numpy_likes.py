"""Every function on the arrays of frameworks that do not differentiate by themselves."""

from __future__ import annotations

import importlib

import array_api_strict
import dask.array as da
import numpy as np
import pytest
import svdinv
import svdinv.numpy
from support.observables import TIED, problems
from support.transforms import relative

TAU = 0.4


def tanh(xp):
    """``tanh`` from exponentials, which the array API standard has for complex arrays."""
    return lambda s: 1 - 2 / (xp.exp(2 * s) + 1)


# name: positional arguments for a namespace, and whether the matrix is Hermitian
CALLS = {
    "svd": (lambda xp: (), False),
    "svdvals": (lambda xp: (), False),
    "svt": (lambda xp: (TAU,), False),
    "singular_value_map": (lambda xp: (tanh(xp),), False),
    "low_rank": (lambda xp: (2,), False),
    "nuclear_norm": (lambda xp: (), False),
    "polar": (lambda xp: (), False),
    "procrustes": (lambda xp: (), False),
    "eigh": (lambda xp: (), True),
    "eigenvalue_map": (lambda xp: (tanh(xp),), True),
}


def matrices(hermitian, is_complex):
    """A batch with exact ties: of four, the first the identity, the others twice a unitary."""
    name = "eigenvalue_map" if hermitian else "svt"
    found = {p.name: p.x for p in problems(name) if p.name in TIED}
    unitary = found["twice a unitary"]
    x = np.stack([found["identity"] + 0 * unitary, unitary, 2 * unitary, unitary])
    return x if is_complex else np.stack([np.eye(4), 2 * np.eye(4), 3 * np.eye(4), np.eye(4)])


def as_tuple(y):
    return tuple(y) if isinstance(y, tuple) else (y,)


def expected(name, x):
    """Value, cotangent and tangent in NumPy."""
    arguments, _ = CALLS[name]
    given = arguments(np)
    out, pullback = svdinv.numpy.vjp(getattr(svdinv.numpy, name), x, *given)
    cts = as_tuple(out)  # no function here depends on the choice of vectors through its results
    (ct_x, *_) = pullback(cts if isinstance(out, tuple) else cts[0])
    dout = svdinv.numpy.jvp(getattr(svdinv.numpy, name), (x, *given), (x, *map(none, given)))[1]
    return as_tuple(out), cts, ct_x, as_tuple(dout)


def none(_):
    return None


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("name", CALLS)
def test_dask_is_lazy_forward_and_backward(name, is_complex):
    arguments, hermitian = CALLS[name]
    x = matrices(hermitian, is_complex)
    out, cts, ct_x, dout = expected(name, x)
    X = da.from_array(x, chunks=(2, 4, 4))
    lazy, pullback = svdinv.vjp(getattr(svdinv, name), X, *arguments(da))
    lazies = as_tuple(lazy)
    assert all(isinstance(y, da.Array) for y in lazies)
    pulled = as_tuple(
        pullback(tuple(map(da.asarray, cts)) if isinstance(lazy, tuple) else da.asarray(cts[0]))
    )[0]
    assert isinstance(pulled, da.Array)
    assert pulled.chunks[0] == (2, 2)
    _, pushed = svdinv.jvp(
        getattr(svdinv, name), (X, *arguments(da)), (X, *map(none, arguments(da)))
    )
    for got, wanted in zip((*lazies, pulled, *as_tuple(pushed)), (*out, ct_x, *dout), strict=True):
        assert relative(got.compute(scheduler="synchronous"), wanted) < 1e-12


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("name", ["svt", "svt of small values", "pinv", "nuclear_norm"])
def test_dask_keeps_the_longer_side_in_its_chunks(name, wide):
    """One matrix with a tie and a zero value, in uneven chunks, one of them shorter than wide."""
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.standard_normal((n, 4)))[0] for n in (100, 4))
    x = left * np.array([2.0, 1.0, 1.0, 0.0]) @ right
    x, chunks = (x.T, (-1, (40, 3, 57))) if wide else (x, ((40, 3, 57), -1))
    X, dx = da.from_array(x, chunks=chunks), rng.standard_normal(x.shape)
    function = getattr(svdinv, name.partition(" ")[0])
    arguments = {"svt": (0.5,), "svt of small values": (1e-9,)}.get(name, ())
    out, pullback = svdinv.vjp(function, x, *arguments)
    lazy, lazy_pullback = svdinv.vjp(function, X, *arguments)
    ct = rng.standard_normal(np.shape(out))
    pulled = lazy_pullback(da.from_array(ct, chunks=lazy.chunks))[0]
    _, pushed = svdinv.jvp(function, (X, *arguments), (da.from_array(dx, chunks=chunks),))
    assert pulled.chunks == X.chunks
    assert [len(c) for c in lazy.chunks] == {
        "nuclear_norm": [],
        "pinv": [3, 1] if wide else [1, 3],
    }.get(name, [len(c) for c in X.chunks])
    expected = svdinv.jvp(function, (x, *arguments), (dx,))[1]
    for got, wanted in ((lazy, out), (pulled, pullback(ct)[0]), (pushed, expected)):
        assert relative(got.compute(scheduler="synchronous"), wanted) < 1e-12


def test_dask_brings_other_matrices_into_one_chunk():
    x = np.random.default_rng(0).standard_normal((2, 6, 5))
    X = da.from_array(x, chunks=(1, 3, 2))
    got = svdinv.svdvals(X).compute(scheduler="synchronous")
    assert relative(got, np.linalg.svd(x)[1]) < 1e-12


def test_dask_computes_nothing_before_it_is_asked():
    def refuse(block):
        raise AssertionError("computed")

    X = da.from_array(np.zeros((4, 3, 3)), chunks=(1, 3, 3)).map_blocks(refuse, dtype=float)
    out, pullback = svdinv.vjp(svdinv.svt, X, 0.5)
    pullback(X)
    with pytest.raises(AssertionError, match="computed"):
        out.compute(scheduler="synchronous")


@pytest.mark.parametrize("device", ["CPU_DEVICE", "device1"])
@pytest.mark.parametrize("version", ["2024.12", "2025.12"])
@pytest.mark.parametrize("name", [n for n in CALLS if n != "eigenvalue_map"])
def test_array_api_strict_with_its_flags(name, version, device):
    """No indexing by mask, no shape that depends on data, and the device kept."""
    arguments, hermitian = CALLS[name]
    xp, device = array_api_strict, array_api_strict.Device(device)
    x = matrices(hermitian, True)
    out, cts, ct_x, dout = expected(name, x)

    def to(a):
        return xp.asarray(a, device=device)

    with xp.ArrayAPIStrictFlags(
        api_version=version, boolean_indexing=False, data_dependent_shapes=False
    ):
        X = to(x)
        got, pullback = svdinv.vjp(getattr(svdinv, name), X, *arguments(xp))
        pulled = pullback(tuple(map(to, cts)) if isinstance(got, tuple) else to(cts[0]))[0]
        pushed = svdinv.jvp(
            getattr(svdinv, name), (X, *arguments(xp)), (X, *map(none, arguments(xp)))
        )[1]
    results = (*as_tuple(got), pulled, *as_tuple(pushed))
    assert all(y.device == device for y in results)
    for y, wanted in zip(results, (*out, ct_x, *dout), strict=True):
        assert relative(np.asarray(y.to_device(xp.Device("CPU_DEVICE"))), wanted) < 1e-12


@pytest.mark.parametrize("package", ["torch", "jax.numpy", "tensorflow"])
def test_a_framework_that_differentiates_is_told_to(package):
    x = importlib.import_module(package).eye(2)
    for function in (svdinv.vjp, svdinv.jvp):
        with pytest.raises(TypeError, match="automatic differentiation of its own"):
            function(svdinv.svt, x, 0.5) if function is svdinv.vjp else function(
                svdinv.svt, (x,), (x,), tau=0.5
            )
