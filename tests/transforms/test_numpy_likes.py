"""Every function on arrays of frameworks without automatic differentiation."""

from __future__ import annotations

import importlib
import weakref

import array_api_strict
import dask
import dask.array as da
import distributed
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
    cts = as_tuple(out)  # a loss with these cotangents does not depend on the choice of vectors
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
    """One matrix with a tie and a zero value, in uneven chunks, one of them wider than tall."""
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


class Read:
    """An array that is read chunk by chunk, and knows how many of its chunks are in memory."""

    ndim = 2

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        self.held = self.most = self.times = 0

    def __getitem__(self, index):
        chunk = self.array[index].copy()
        weakref.finalize(chunk, self.forget)
        self.held, self.times = self.held + 1, self.times + 1
        self.most = max(self.most, self.held)
        return chunk

    def forget(self):
        self.held -= 1


@pytest.mark.parametrize(
    ("name", "arguments", "passes"), [("svt", (20.0,), (2, 2)), ("procrustes", (), (2, 3))]
)
def test_dask_reads_chunks_again_rather_than_hold_them(name, arguments, passes):
    """Few passes for a value and for a gradient, and never more than two chunks at once."""
    x, ct = np.random.default_rng(0).standard_normal((2, 400, 4))
    X, CT = Read(x), Read(ct)
    function = getattr(svdinv, name)
    out, pullback = svdinv.vjp(
        function, da.from_array(X, chunks=(20, 4), inline_array=True), *arguments
    )
    (pulled, *_) = pullback(da.from_array(CT, chunks=(20, 4), inline_array=True))
    expected, expected_pullback = svdinv.vjp(function, x, *arguments)
    wanted = expected, expected_pullback(ct)[0]
    for got, exact, times in zip((out, pulled), wanted, passes, strict=True):
        X.times = 0
        assert relative(got.compute(scheduler="synchronous"), exact) < 1e-12
        assert X.times == 20 * times
        assert max(X.most, CT.most) <= 2


def test_dask_on_worker_processes():
    """svt at a tie and a zero value, and svd at distinct values: values, vjp and jvp."""
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.standard_normal((n, 4)))[0] for n in (3000, 4))
    tied, distinct = (left * np.array(s) @ right for s in ([2.0, 1, 1, 0], [4.0, 3, 2, 1]))
    ct, dx = rng.standard_normal((2, *tied.shape))

    def derivatives(tied, distinct, ct, dx):
        out, pullback = svdinv.vjp(svdinv.svt, tied, 0.5)
        yield out
        yield from pullback(ct)
        yield svdinv.jvp(svdinv.svt, (tied, 0.5), (dx,))[1]
        (U, S, Vh), pullback = svdinv.vjp(svdinv.svd, distinct)
        yield U * S**2 @ Vh
        # of sum(ct * (U * S**2 @ Vh))
        yield pullback(
            (ct @ Vh.T * S**2, 2 * S * (U * (ct @ Vh.T)).sum(axis=0), S[:, None] ** 2 * (U.T @ ct))
        )[0]
        dU, dS, dVh = svdinv.jvp(svdinv.svd, (distinct,), (dx,))[1]
        yield (dU * S**2 + U * (2 * S * dS)) @ Vh + U * S**2 @ dVh

    lazy = derivatives(*(da.from_array(a, chunks=(500, 4)) for a in (tied, distinct, ct, dx)))
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, memory_limit="600MB", dashboard_address=":0"
        ) as workers,
        distributed.Client(workers),
    ):
        results = dask.compute(*lazy)
    expected = tuple(derivatives(tied, distinct, ct, dx))
    for got, wanted in zip(results, expected, strict=True):
        assert relative(got, wanted) < 1e-12


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
    """No indexing by a mask, no shape that depends on data, and the device does not change."""
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
