"""Every driver over the hostile family, in every framework; and the choices of `auto`."""

from __future__ import annotations

import array_api_compat.numpy as xp
import numpy as np
import pytest
import svdinv.numpy
from rich.console import Console
from support.drivers import FRAMEWORKS, driver
from support.errors import relative_error
from support.family import SPECTRA, Cell, draw, haar, normal
from support.functions import CALLS
from svdinv.drivers import NEEDS, explain
from svdinv_conformance import __main__ as program

from svdinv_core import (
    SVD,
    BlockQR,
    Gram,
    Jacobi,
    Point,
    ScaledSVD,
    Situation,
    SoftThreshold,
    by_name,
    select,
)
from svdinv_core.drivers import BY_NAME
from svdinv_core.drivers import jacobi as jacobi_module
from svdinv_core.drivers import qr as qr_module

SITUATION = Situation((4, 4), single=False, looks="never")
DRIVERS = {name: by_name(name, SITUATION, "factors", exact=False) for name in BY_NAME}
EXACT = {name: which for name, which in DRIVERS.items() if which.exact}
OURS = [name for name in EXACT if name != "svd"]
BOUND = {"float64": 1e-12, "float32": 1e-5}


def adjoint(X):
    return np.conj(np.swapaxes(X, -1, -2))


def hostile(size, is_complex, precision, count=4):
    """Matrices of every spectrum and of graded values, thresholds and cotangents, as one batch."""
    drawn = [draw(Cell(size, spectrum, 1.0, is_complex), count) for spectrum in SPECTRA]
    x, tau = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
    rng, (m, n) = np.random.default_rng(0), size
    k = min(m, n)
    graded = haar(rng, (count,), m, k, is_complex) * np.geomspace(1.0, 1e-9, k)
    x = np.concatenate([x, graded @ adjoint(haar(rng, (count,), n, k, is_complex))])
    tau = np.concatenate([tau, np.full(count, 0.5)])
    W = normal(rng, x.shape, is_complex)
    dtype = np.result_type(precision, np.complex64) if is_complex else np.dtype(precision)
    return x.astype(dtype), tau.astype(precision), W.astype(dtype)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("size", [(3, 3), (4, 4), (5, 8), (8, 8), (17, 9), (200, 4)], ids=str)
@pytest.mark.parametrize("which", EXACT)
def test_factors_over_the_hostile_family(which, size, is_complex, precision, hold):
    """Product, orthogonality and values, for matrices of all scales that have a reciprocal."""
    if min(size) == 3:
        rng = np.random.default_rng(0)
        A = np.stack([np.eye(3), np.diag([1.0, 1, 0]), np.ones((3, 3)), np.zeros((3, 3))])
        A = np.concatenate([A, normal(rng, (40, 3, 3), False)]).astype(precision)
    else:
        A, _, _ = hostile(size, is_complex, precision)
    bound = {"float64": 2e-14, "float32": 1e-5}[precision]
    for scale in (1.0, 1e-36, 1e36):
        x = (A * scale).astype(A.dtype)
        wide = x.astype(np.complex128 if is_complex else np.float64)
        size_of = np.maximum(np.abs(wide).max(axis=(-2, -1)), 1e-300)[:, None, None]
        with np.errstate(over="ignore"):  # of the cotangent of an angle
            U, S, Vh = SVD(driver=EXACT[which]).compute(xp, x)
            left, _, right = EXACT[which].compute(xp, x, long="scaled")
        assert S.dtype == precision
        assert U.dtype == x.dtype
        assert (np.diff(S) <= 0).all()
        exact = np.linalg.svd(wide, compute_uv=False)
        found = (U * S.astype(float)[:, None, :]) @ Vh
        hold(f"{which}: product", np.max(np.abs(found - wide) / size_of), bound)
        hold(f"{which}: values", np.max(np.abs(S - exact) / size_of[..., 0]), bound)
        identity = np.eye(S.shape[-1])
        lost = max(
            np.abs(adjoint(U) @ U - identity).max(), np.abs(Vh @ adjoint(Vh) - identity).max()
        )
        hold(f"{which}: orthogonality", lost, bound)
        found = left.astype(wide.dtype) @ right
        hold(f"{which}: scaled product", np.max(np.abs(found - wide) / size_of), bound)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("which", OURS)
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_svt_over_the_hostile_family(framework, which, precision, hold):
    """Complex in double precision, real in single: the promise of every exact operator."""
    is_complex = precision == "float64"
    x, tau, W = hostile((6, 5), is_complex, precision, count=3)
    wide = [y.astype(complex if is_complex else float) for y in (x, W)]
    (out,), exact = driver("numpy").vjp(
        "svt", (wide[0], tau.astype(float)), (wide[1],), driver="svd"
    )
    (got,), grads = driver(framework).vjp("svt", (x, tau), (W,), driver=which)
    assert got.dtype == x.dtype
    bound = BOUND[precision]
    hold(f"svt by {which}: value, {precision}", relative_error(got, out).max(), bound)
    hold(f"svt by {which}: gradient, {precision}", relative_error(grads[0], exact[0]).max(), bound)
    # A power of two changes the value by itself, and the gradient not at all.
    for power in (-100, 100) if precision == "float32" else (-950, 950):
        scaled = (np.ldexp(1.0, power) * x).astype(x.dtype), np.ldexp(tau, power)
        (got,), grads = driver(framework).vjp("svt", scaled, (W,), driver=which)
        error = relative_error(got / np.ldexp(1.0, power), out).max()
        hold(f"svt by {which}: value, {precision}, huge or tiny", error, bound)
        error = relative_error(grads[0], exact[0]).max()
        hold(f"svt by {which}: gradient, {precision}, huge or tiny", error, bound)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("which", OURS)
@pytest.mark.parametrize("size", [(4, 4), (8, 8), (90, 5)], ids=str)
def test_subnormal_and_huge_matrices(size, which, precision, hold):
    """The product is right to rounding of the largest entry, or of the smallest number."""
    A, _, _ = hostile(size, False, "float64", count=2)
    largest = np.abs(A).max(axis=(-2, -1), keepdims=True)
    A = A / np.where(largest > 0, largest, 1.0)
    info = np.finfo(precision)
    for size_of in (float(info.smallest_normal) / 1024, float(info.max) / (4 * size[0])):
        x = (A * size_of).astype(precision)
        with np.errstate(over="ignore"):  # of the cotangent of an angle
            U, S, Vh = SVD(driver=EXACT[which]).compute(xp, x)
        assert np.isfinite(S).all()
        lost = max(
            np.abs(np.swapaxes(U, -1, -2) @ U - np.eye(size[1])).max(),
            np.abs(Vh @ np.swapaxes(Vh, -1, -2) - np.eye(size[1])).max(),
        )
        bound = BOUND[precision]
        hold(f"{which}: orthogonality, subnormal or huge", lost, bound)
        power = -int(np.floor(np.log2(size_of)))  # by which both are about 1

        def lifted(y, power=power):
            return np.ldexp(np.ldexp(y.astype(float), power // 2), power - power // 2)

        found = (U.astype(float) * lifted(S)[:, None, :]) @ Vh
        least = 8 * lifted(info.smallest_subnormal)
        error = np.abs(found - lifted(x)).max() / (1 + least / bound)
        hold(f"{which}: product, subnormal or huge", error, bound)


@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("is_complex", [False, True])
def test_a_long_matrix_is_rotated_through_its_triangle(is_complex, unit, monkeypatch):
    """R, which has fewer rows, is rotated instead; the factors are those of the matrix."""
    A = normal(np.random.default_rng(0), (2, 3, 20, 5), is_complex)
    A[0, 0, :, 1] = A[0, 0, :, 0]  # of lower rank
    A[1, 1] = 0.0
    seen = []
    rotate = jacobi_module._orthogonalized
    monkeypatch.setattr(
        jacobi_module, "_orthogonalized", lambda xp, X: seen.append(X.shape) or rotate(xp, X)
    )
    for x in (A, adjoint(A)):
        left, S, right = Jacobi().compute(xp, x, long="unit" if unit else "scaled")
        product = (left * S[..., None, :] if unit else left) @ right
        np.testing.assert_allclose(product, x, atol=1e-13)
        np.testing.assert_allclose(S, np.linalg.svd(A, compute_uv=False), atol=1e-13)
        if unit:
            for Q in (left, adjoint(right)):
                np.testing.assert_allclose(adjoint(Q) @ Q, np.eye(5) + 0 * S[..., None], atol=1e-13)
    Jacobi().compute(xp, A[..., :19, :], long="unit" if unit else "scaled")
    assert seen == [(2, 3, 5, 5)] * 2 + [(2, 3, 19, 5)]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_eigh_by_jacobi(framework, hold):
    """Eigenvalues of both signs and equal size, in a batch with one matrix that has a NaN."""
    rng = np.random.default_rng(0)
    Q = haar(rng, (4,), 5, 5, True)
    w = np.array([[-1.0, -1, 0, 1, 1], [-2, -1, 1, 2, 2], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1 + 1e-9]])
    A = (Q * w[:, None, :]) @ adjoint(Q)
    spoilt = A.copy()
    spoilt[2, 0, 0] = np.nan
    f = driver(framework)
    values, vectors = map(f.numpy, f.module.eigh(f.array(spoilt), driver="jacobi"))
    assert np.isnan(values[2]).all()
    assert np.isnan(vectors[2]).all()
    kept = [0, 1, 3]
    hold("eigh by jacobi: values", np.abs(values[kept] - w[kept]).max(), 1e-13)
    found = (vectors * values[:, None, :]) @ adjoint(vectors)
    hold("eigh by jacobi: product", np.abs(found - A)[kept].max(), 1e-13)
    hold(
        "eigh by jacobi: unitary", np.abs(adjoint(vectors) @ vectors - np.eye(5))[kept].max(), 1e-13
    )


ROOTS = {call.function: call.static for call in CALLS if call.inputs in "dh"} | {
    "eigenvalue_map": (np.cosh,)
}


def test_functions_of_a_hermitian_matrix_by_every_driver(monkeypatch):
    """The same values; by `jacobi` without an eigendecomposition of NumPy's, and refusals."""
    rng = np.random.default_rng(0)
    Q = haar(rng, (3,), 4, 4, True)
    A = (Q * np.array([1.0, 1.0, 2.0, 3.0])) @ adjoint(Q)
    expected = {name: getattr(svdinv.numpy, name)(A, *args) for name, args in ROOTS.items()}
    for name, args in ROOTS.items():
        np.testing.assert_array_equal(
            getattr(svdinv.numpy, name)(A, *args, driver="eigh"), expected[name]
        )
    monkeypatch.setattr(np.linalg, "eigh", None)
    for name, args in ROOTS.items():
        found = getattr(svdinv.numpy, name)(A, *args, driver="jacobi")
        np.testing.assert_allclose(found, expected[name], atol=1e-13)
        with pytest.raises(ValueError, match=r"^driver: expected 'auto', 'eigh' or 'jacobi', got "):
            getattr(svdinv.numpy, name)(A, *args, driver="svd")


def test_points_aligned_by_every_driver(monkeypatch):
    """Including points in a plane: their covariance is singular, where `gram` lacks a vector."""
    p = np.random.default_rng(0).standard_normal((2, 9, 3))
    p[1, :, 2] = 0.0
    R = haar(np.random.default_rng(1), (2,), 3, 3, False)
    q = p @ np.swapaxes(R * np.linalg.det(R)[:, None, None], -1, -2)
    expected = svdinv.numpy.align_points(p, q, driver="svd")
    for which in ("auto", "qr", "gram"):
        kept = slice(0, 1 if which == "gram" else 2)
        found = svdinv.numpy.align_points(p, q, driver=which)
        for y, z in zip(found, expected, strict=True):
            np.testing.assert_allclose(y[kept], z[kept], atol=1e-13)
    monkeypatch.setattr(np.linalg, "svd", None)
    for y, z in zip(svdinv.numpy.align_points(p, q, driver="jacobi"), expected, strict=True):
        np.testing.assert_allclose(y, z, atol=1e-13)
    many = np.concatenate([p] * 512)
    found = svdinv.numpy.align_points(many, np.concatenate([q] * 512))  # "auto" rotates as well
    np.testing.assert_allclose(found.rotation[-2:], expected.rotation, atol=1e-13)


@pytest.mark.parametrize("which", OURS)
@pytest.mark.parametrize("shape", [(3, 300, 4), (3, 4, 300), (3, 3, 3)], ids=str)
def test_a_spoilt_matrix_leaves_the_others_alone(which, shape):
    A = np.random.default_rng(0).standard_normal(shape)
    expected = SVD(driver=EXACT[which]).compute(xp, A)
    for bad in (np.nan, np.inf, -np.inf):
        x = A.copy()
        x[1, -1, -1] = bad
        with np.errstate(all="ignore"):
            found = SVD(driver=EXACT[which]).compute(xp, x)
        for y, z in zip(found, expected, strict=True):
            assert np.isnan(y[1]).all()
            np.testing.assert_array_equal(y[[0, 2]], z[[0, 2]])


@pytest.mark.parametrize("rows", [4096, 4096 + 37])
def test_blocks_of_rows_change_nothing(rows, monkeypatch):
    """Also if rows remain, which go to the second level unchanged."""
    A = np.random.default_rng(0).standard_normal((2, rows, 5))
    assert qr_module.blocks(rows, 5) == 32
    split = [SVD(driver=BlockQR()).compute(xp, A), BlockQR().compute(xp, A, long="scaled")]
    monkeypatch.setattr(qr_module, "MOST_BLOCKS", 1)
    whole = [SVD(driver=BlockQR()).compute(xp, A), BlockQR().compute(xp, A, long="scaled")]
    for found, expected in zip(split, whole, strict=True):
        np.testing.assert_allclose(found[1], expected[1], rtol=1e-13)
    U, S, Vh = split[0]
    np.testing.assert_allclose((U * S[:, None, :]) @ Vh, A, atol=1e-12)
    np.testing.assert_allclose(split[1][0] @ split[1][2], A, atol=1e-12)


@pytest.mark.parametrize("name", ["svt", "low_rank", "polar", "svd", "svdvals"])
def test_a_tall_matrix_never_meets_a_long_svd(name, monkeypatch):
    """With a threshold below the accuracy of the Gram matrix, so that `auto` goes on to `qr`."""
    seen = []
    svd = np.linalg.svd
    monkeypatch.setattr(
        np.linalg, "svd", lambda x, **kwargs: seen.append(x.shape) or svd(x, **kwargs)
    )
    A = np.random.default_rng(0).standard_normal((2, 60, 5)) * np.geomspace(1, 1e-12, 5)
    args = {"svt": (1e-9,), "low_rank": (4,)}.get(name, ())
    for x in (A, np.swapaxes(A, -1, -2)):
        getattr(svdinv.numpy, name)(x, *args)
    assert seen == [(2, 5, 5)] * 2


@pytest.mark.parametrize("smallest", [0.9, 0.12])
@pytest.mark.parametrize("tau", [0.0, 1e-5, 0.1])
def test_the_gram_matrix_is_enough_where_all_values_are_large(smallest, tau, hold):
    """Whatever the threshold is, because no value has to be compared with it accurately."""
    rng, operator = np.random.default_rng(0), SoftThreshold()
    S = np.array([1.0, 1.0, (1 + smallest) / 2, smallest, smallest])
    A = (haar(rng, (100,), 7, 5, False) * S) @ haar(rng, (100,), 5, 5, False)
    W = rng.standard_normal(A.shape)
    single = A.astype("float32")
    factors = ScaledSVD(driver=Gram()).compute(xp, single)
    params = (np.float32(tau),)
    assert Gram().resolves(xp, factors.S, operator.extent(xp, factors.S, params))
    small = factors._replace(S=factors.S * np.array([1, 1, 1, 1, 0.1], "float32"))
    assert not Gram().resolves(xp, small.S, operator.extent(xp, small.S, params))
    got, _ = operator.vjp(Point(xp, single, factors, params), (W.astype("float32"),))
    exact, _ = operator.vjp(Point(xp, A, ScaledSVD().compute(xp, A), (np.asarray(tau),)), (W,))
    hold("svt by gram of large values: gradient, float32", relative_error(got, exact).max(), 1e-5)


def test_what_is_selected():
    def names(shape, needs="large values", **given):
        situation = Situation(shape, single=given.pop("single", False), **given)
        drivers = select(situation, needs, exact=True)
        assert all(not d.exact for d in drivers[:-1])
        assert drivers[-1].exact
        return [d.name + ("2" if d.double else "") for d in drivers]

    free = {"looks": "free"}
    assert names((8, 8)) == ["svd"]
    assert names((8, 8), **free) == ["gram", "svd"]
    assert names((8, 8), single=True, doubles="operators", **free) == ["gram", "gram2", "svd2"]
    assert names((8, 8), worth_a_choice=1e3, **free) == ["svd"]
    assert names((80, 8), **free) == ["gram", "qr"]
    assert names((8, 80)) == ["qr"]
    assert names((8, 6), "all values", **free) == ["svd"]
    assert names((12, 6), "all values", **free) == ["gram", "svd"]
    assert names((80, 8), "factors", **free) == ["qr"]
    assert names((8, 8), "eigenvectors", **free) == ["svd"]
    assert names((4096, 3, 3)) == names((4096, 3, 3), "eigenvectors") == ["jacobi"]
    assert names((None, 3, 3)) == names((4096, 5, 5)) == ["svd"]
    assert names((4096, 5, 5), largest_jacobi=8) == ["jacobi"]
    assert names((2, 9, 9), has_svd=False, looks="program") == ["jacobi"]
    assert names((2, 9, 9), "eigenvectors", has_svd=False) == ["svd"]
    assert names((2, 9, 9), "eigenvectors", has_eigh=False) == ["jacobi"]
    assert names((2, 90, 9), has_svd=False, looks="program") == ["qr"]


def test_the_choice_explained(capsys, monkeypatch):
    tried = [step.driver for step in explain(np.ones((4096, 3, 3))) if step.tried]
    assert tried == ["jacobi"]
    with pytest.raises(ValueError, match=r"^function: expected one of align_points, .*, got 'qr'$"):
        explain(np.eye(2), "qr")
    assert set(NEEDS) == {n for n in svdinv.__all__ if "driver" in _keywords(n)}
    monkeypatch.setattr(program, "Console", lambda *a, **k: Console(width=200))
    command = ["bench", "--framework", "numpy", "--explain", "4x2048x64", "float32"]
    assert program.main(command) == 0
    out = capsys.readouterr().out
    assert "numpy, svt of 4x2048x64 float32:" in out
    assert [line.split()[2] for line in out.splitlines() if " tried " in line] == ["gram", "qr"]


def _keywords(name):
    import inspect

    member = getattr(svdinv, name)
    return inspect.signature(member).parameters if inspect.isfunction(member) else ()


def test_gram_says_where_it_is_not_enough():
    """Only `gram` has `resolves`; `qr` and `jacobi` are accurate for every matrix."""
    assert not Gram.exact
    with pytest.raises(NotImplementedError):
        Jacobi().resolves(xp, np.ones(2), (np.ones(1), np.ones(1)))
