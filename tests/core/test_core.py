"""The core imports the standard library only, runs on strict namespaces, makes no large arrays."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import array_api_strict
import numpy as np
import pytest
import svdinv
from support import transform_tables
from support.arrays import adjoint
from support.drivers import FRAMEWORKS, driver
from support.family import cells, draw, normal
from support.namespaces import namespace
from svdinv._dispatch import ADAPTERS
from svdinv._frameworks import FRAMEWORKS as TABLE
from svdinv_conformance import frameworks as conformance

import svdinv_core
from svdinv_core import (
    SVD,
    Eigh,
    Gram,
    LowRank,
    Native,
    NuclearNorm,
    Point,
    Polar,
    Recompose,
    RecomposeHermitian,
    ScaledSVD,
    SingularValues,
    SoftThreshold,
    Tangents,
    Unitary,
    eigenvalue_coefficients,
    get_rule,
    loewner_coefficients,
    rule_names,
)
from svdinv_core.arrays import determinant, orthogonal_determinant

CORE = Path(svdinv_core.__file__).parent


def imports_from_outside(text, depth):
    """Imports of a file that are neither of the standard library nor inside the copied folder.

    `depth` is the number of folders between the two; a relative import with more dots leaves it.
    """
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = ["." * node.level + (node.module or "")]
        else:
            continue
        for name in names:
            dots = len(name) - len(name.lstrip("."))
            inside = dots <= depth + 1 if dots else name.split(".")[0] in sys.stdlib_module_names
            if not inside:
                yield name


def test_core_imports_the_standard_library_and_itself_only():
    files = sorted(CORE.rglob("*.py"))
    assert len(files) >= 5
    for file in files:
        depth = len(file.relative_to(CORE).parts) - 1
        assert list(imports_from_outside(file.read_text(), depth)) == [], file.name


@pytest.mark.parametrize(
    "text",
    ["import numpy", "from svdinv_core import SVD", "from .. import x", "from ..svd import y"],
)
def test_an_import_from_outside_is_found_at_any_level(text):
    assert len(list(imports_from_outside(text, 0))) == 1
    inside = "from . import a\nfrom .svd import b\nimport math\nfrom typing import Any"
    assert list(imports_from_outside(inside, 0)) == []


@pytest.mark.parametrize("device", ["CPU_DEVICE", "device1"])
@pytest.mark.parametrize("is_complex", [False, True])
def test_core_under_array_api_strict_stays_on_the_device(device, is_complex):
    device = array_api_strict.Device(device)
    xp = array_api_strict
    for cell in cells(
        spectra=["distinct", "triple", "two zeros"], scales=[1.0], fields=[is_complex]
    ):
        x, tau = draw(cell, 2)
        to = lambda a: xp.asarray(a, device=device)  # noqa: E731
        A, t = to(x), to(tau)
        W = normal(np.random.default_rng(0), x.shape, is_complex)
        for rule in rule_names():
            if rule == "plain" and cell.spectrum != "distinct":
                continue
            decomposition = SVD(get_rule(rule))
            factors = decomposition.compute(xp, A)
            tangents = decomposition.jvp(xp, factors, to(W)) if decomposition.linear else factors
            ct = decomposition.vjp(xp, factors, tuple(tangents))
            assert all(y.device == device for y in (*factors, *tangents, ct))
        for scaled in (ScaledSVD(), ScaledSVD(Gram()), ScaledSVD(Gram(True, True, True))):
            factors = scaled.compute(xp, A)
            tangents = scaled.jvp(xp, factors, to(W))
            ct = scaled.vjp(xp, factors, tuple(tangents))
            assert all(y.device == device for y in (*factors, *tangents, ct))
        by_gram = SVD(driver=Gram(True, True)).compute(xp, A)
        assert all(y.device == device for y in by_gram)
        for operator, params in (
            (SoftThreshold(), (t,)),
            (SoftThreshold(relative=True), (t,)),
            (SingularValues(), ()),
            (NuclearNorm(), ()),
            (LowRank(2), ()),
            (Unitary(), ()),
        ):
            factors = operator.decomposition.compute(xp, A)
            extent = operator.extent(xp, factors.S, params)
            assert Gram().resolves(xp, factors.S, extent).device == device
            at = Point(xp, A, factors, params)
            (out,) = operator.apply(at)
            (dout,) = operator.jvp(at, Tangents(to(W), params))
            ct_x, ct_params = operator.vjp(at, (dout,))
            assert all(y.device == device for y in (out, dout, ct_x, *ct_params))
            plain, *_ = namespace("numpy")
            on_cpu = [np.asarray(f.to_device(xp.Device("CPU_DEVICE"))) for f in (*factors, dout)]
            there = Point(plain, x, type(factors)(*on_cpu[:-1]), (tau,) * len(params))
            expected, _ = operator.vjp(there, (on_cpu[-1],))
            got = np.asarray(ct_x.to_device(xp.Device("CPU_DEVICE")))
            np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("device", ["CPU_DEVICE", "device1"])
@pytest.mark.parametrize("is_complex", [False, True])
def test_hermitian_and_two_output_operators_under_array_api_strict(device, is_complex):
    xp, device = array_api_strict, array_api_strict.Device(device)
    rng = np.random.default_rng(0)
    x, dx = (xp.asarray(normal(rng, (2, 4, 4), is_complex), device=device) for _ in range(2))

    decomposition = Eigh()
    factors = decomposition.compute(xp, x)
    tangents = decomposition.jvp(xp, factors, dx)
    ct = decomposition.vjp(xp, factors, tuple(tangents))
    f = factors.eigenvalues
    gamma = eigenvalue_coefficients(xp, factors, f, xp.ones_like(f))
    operator = RecomposeHermitian()
    at = Point(xp, x, factors, (f, gamma))
    out = operator.apply(at)
    ct_x, _ = operator.vjp(at, out)
    dout = operator.jvp(at, Tangents(dx, (f, None)))
    assert all(y.device == device for y in (*factors, *tangents, ct, *out, ct_x, *dout))

    raw = SVD().compute(xp, x)
    at = Point(xp, x, raw)
    both = Polar().apply(at)
    tangents = Polar().jvp(at, Tangents(dx, ()))
    ct_x, _ = Polar().vjp(at, both)
    coefficients = loewner_coefficients(xp, raw, raw.S, xp.ones_like(raw.S))
    along = Tangents(dx, (raw.S, None, None, None))
    dout = Recompose().jvp(at._replace(params=coefficients), along)
    rotated = Unitary(special=not is_complex).apply(at)
    assert all(y.device == device for y in (*both, *tangents, ct_x, *dout, *rotated))


class Recording:
    """A namespace that remembers the largest array that passed through it."""

    def __init__(self, xp):
        self._xp, self.largest = xp, 0
        self.linalg = xp.linalg

    def __getattr__(self, name):
        function = getattr(self._xp, name)
        if not callable(function):
            return function

        def call(*args, **kwargs):
            result = function(*args, **kwargs)
            self.largest = max(self.largest, getattr(result, "size", 0))
            return result

        return call


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6])
def test_determinants(n):
    """Those written out, of any matrix; those by reflections, of an orthogonal one."""
    xp, to, back = namespace("strict")
    A = np.random.default_rng(n).standard_normal((30, n, n))
    Q = np.linalg.qr(A)[0]
    Q[:3] = np.eye(n), -np.eye(n), np.eye(n)[::-1]
    exact = np.linalg.det(Q)
    assert {-1.0, 1.0} == set(np.round(exact))
    np.testing.assert_allclose(back(determinant(xp, to(A))), np.linalg.det(A), rtol=1e-10)
    np.testing.assert_array_equal(back(orthogonal_determinant(xp, to(Q))), np.round(exact))


@pytest.mark.parametrize("shape", [(1000, 4), (4, 1000)], ids=str)
def test_no_square_temporary_on_the_long_side(shape):
    plain, *_ = namespace("numpy")
    xp = Recording(plain)
    rng = np.random.default_rng(0)
    A = rng.standard_normal(shape)
    gram = Gram(normalized=True)
    for decomposition in (SVD(), SVD(driver=gram), ScaledSVD(), ScaledSVD(gram)):
        factors = decomposition.compute(xp, A)
        decomposition.vjp(xp, factors, decomposition.jvp(xp, factors, A))
    for operator, params in (
        (SoftThreshold(relative=True), (np.asarray(0.5),)),
        (SingularValues(), ()),
        (LowRank(2), ()),
        (Unitary(), ()),
        (Polar(), ()),
    ):
        factors = operator.decomposition.compute(xp, A)
        at = Point(xp, A, factors, params)
        operator.jvp(at, Tangents(A, (None,) * len(params)))
        operator.vjp(at, operator.apply(at))
    assert xp.largest == A.size


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("shape", [(6, 5), (5, 6), (24, 5), (5, 24)], ids=str)
def test_derivative_of_scaled_factors(shape, is_complex):
    """Against differences, and adjoint; a long matrix is a factor itself."""
    xp, *_ = namespace("numpy")
    rng = np.random.default_rng(0)
    A, dA = normal(rng, (2, *shape), is_complex), normal(rng, (2, *shape), is_complex)
    scaled = ScaledSVD()

    def observed(factors):
        """S, a sum of projectors, and the matrix: none depends on phases of vectors."""
        left, S, right = factors
        V = left if factors.wide else adjoint(right)
        whole = (right if factors.wide else left)[..., 0] if factors.long else left @ right
        return S, (V * np.arange(1.0, 6.0)) @ adjoint(V), whole

    h = 1e-5
    factors = scaled.compute(xp, A)
    assert factors.long == (max(shape) == 24)
    tangents = scaled.jvp(xp, factors, dA)
    ahead, behind = (
        observed(type(factors)(*(f + s * h * d for f, d in zip(factors, tangents, strict=True))))
        for s in (1, -1)
    )
    there, back = (observed(scaled.compute(xp, A + s * h * dA)) for s in (1, -1))
    for a, b, c, d in zip(ahead, behind, there, back, strict=True):
        np.testing.assert_allclose((a - b) / (2 * h), (c - d) / (2 * h), atol=1e-7)
    cts = [normal(rng, f.shape, is_complex and f.ndim > 2) for f in factors]
    for some in ((0, 1, 2), (0,), (1,), (2,)):
        given = tuple(ct if i in some else None for i, ct in enumerate(cts))
        ct_A = scaled.vjp(xp, factors, given)
        pairs = zip(given, tangents, strict=True)
        ours = sum((ct.conj() * d).real.sum() for ct, d in pairs if ct is not None)
        np.testing.assert_allclose((ct_A.conj() * dA).real.sum(), ours, rtol=1e-10)


@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("shape", [(80, 18), (18, 80)], ids=str)
def test_a_long_matrix_has_the_derivatives_of_any_other(shape, is_complex, monkeypatch):
    """With and without the vectors of the longer side, at ties and a zero value."""
    xp, *_ = namespace("numpy")
    rng = np.random.default_rng(0)
    long, k = max(shape), min(shape)
    U, V = (np.linalg.qr(normal(rng, (2, n, k), is_complex))[0] for n in (long, k))
    S = np.sort(np.r_[np.repeat([3.0, 2.0], 3), rng.uniform(0.1, 1, k - 7), 0.0])[::-1]
    A, (X, G) = (U * S) @ V, normal(rng, (2, 2, long, k), is_complex)
    if shape[0] < shape[1]:
        A, X, G = adjoint(A), adjoint(X), adjoint(G)

    def everything():
        for operator, params in (
            (SoftThreshold(), (np.array(0.5),)),
            (SoftThreshold(ordinary=True), (np.array([0.5, 0.7]),)),
            (SoftThreshold(kept=6, ordinary=True), (np.array(1.5),)),
            (SoftThreshold(relative=True), (np.array(0.3),)),
            (SoftThreshold(relative=True, ordinary=True), (np.array(0.3),)),
            (LowRank(6), ()),
            (LowRank(12), ()),
        ):
            for by in (Gram(), Native()):
                factors = ScaledSVD(by).compute(xp, A)
                at = Point(xp, A, factors, params)
                along = Tangents(X, tuple(np.ones_like(t) for t in params))
                yield from operator.apply(at)
                yield from operator.jvp(at, along)
                yield from operator.jvp(at, Tangents(X, (None,) * len(params)))
                for ct_A, ct_params in (operator.vjp(at, (G,)), operator.hvp(at, (G,), along)):
                    yield from (ct_A, *ct_params)

    assert ScaledSVD().compute(xp, A).long
    found = list(everything())
    monkeypatch.setattr("svdinv_core.scaled.TALL", 100)
    assert not ScaledSVD().compute(xp, A).long
    for one, other in zip(found, everything(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9 * np.abs(other).max())


def test_the_namespace_protocol_names_all_that_is_used():
    """Run on a namespace with the listed names and no other."""
    from svdinv_core.namespace import LinalgNamespace, Namespace

    plain, *_ = namespace("numpy")

    class Listed:
        class linalg:  # noqa: N801
            pass

    for name in vars(Namespace):
        if not name.startswith("_") and name != "linalg":
            setattr(Listed, name, staticmethod(getattr(plain, name)))
    Listed.complex128, Listed.float64 = plain.complex128, plain.float64
    for name in vars(LinalgNamespace):
        if not name.startswith("_"):
            setattr(Listed.linalg, name, staticmethod(getattr(plain.linalg, name)))
    A = np.random.default_rng(0).standard_normal((2, 5, 4)) + 1j
    for rule in rule_names():
        decomposition = SVD(get_rule(rule))
        factors = decomposition.compute(Listed, A)
        if decomposition.linear:
            decomposition.jvp(Listed, factors, A)
        decomposition.vjp(Listed, factors, factors)
    tau = np.ones(2)
    gram = Gram(double=True, normalized=True)
    for scaled in (ScaledSVD().compute(Listed, A), ScaledSVD(gram).compute(Listed, A)):
        assert gram.resolves(Listed, scaled.S, SoftThreshold().extent(Listed, scaled.S, (tau,)))
        LowRank(2).vjp(Point(Listed, A, scaled), (A,))
        at = Point(Listed, A, scaled, (tau,))
        SoftThreshold(relative=True).vjp(at, (A,))
        SoftThreshold(relative=True).jvp(at, Tangents(A, (tau,)))
    assert gram.resolves(Listed, scaled.S, LowRank(2).extent(Listed, scaled.S, ()))
    ScaledSVD().vjp(Listed, scaled, ScaledSVD().jvp(Listed, scaled, A))
    SVD(driver=gram).compute(Listed, A)
    at = Point(Listed, A, factors)
    Polar().vjp(at, Polar().apply(at))
    square = A[..., :4, :].real
    at = Point(Listed, square, SVD().compute(Listed, square))
    Unitary(special=True).vjp(at, (square,))
    Eigh().vjp(Listed, Eigh().compute(Listed, square), Eigh().compute(Listed, square))


def test_import_of_svdinv_loads_no_framework():
    program = """
import sys
import svdinv
frameworks = {"numpy", "torch", "jax", "tensorflow", "cupy", "autograd", "dask", "scipy"}
print(sorted(frameworks & set(sys.modules)))
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["torch", "jax", "tensorflow", "numpy"])
def test_a_call_loads_the_framework_of_its_array_only(name):
    make = {
        "torch": "import torch; x = torch.eye(2)",
        "jax": "import jax.numpy; x = jax.numpy.eye(2)",
        "tensorflow": "import tensorflow; x = tensorflow.eye(2)",
        "numpy": "import numpy; x = numpy.eye(2)",
    }[name]
    program = f"""
import sys
{make}
before = set(sys.modules)
import svdinv
svdinv.svt(x, 0.5)
others = {{"torch", "jax", "tensorflow", "cupy", "autograd"}} - {{{name!r}}}
print(sorted(others & (set(sys.modules) - before)))
"""
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip().splitlines()[-1] == "[]"


def test_public_names_are_the_ones_declared():
    modules = [svdinv, *(driver(n).module for n in FRAMEWORKS)]
    for module in modules:
        for name in module.__all__:
            assert getattr(module, name) is not None
    shared = set(svdinv.__all__) - {
        "ConvergenceWarning",
        "GaugeError",
        "GaugeWarning",
        "hvp",
        "jvp",
        "vjp",
    }
    for module in modules[1:]:
        assert set(module.__all__) - {"hvp", "jvp", "vjp"} == shared, module.__name__


def test_cupy_imports_without_a_gpu_and_has_the_same_names():
    import svdinv.cupy
    import svdinv.numpy

    assert set(svdinv.cupy.__all__) == set(svdinv.numpy.__all__)


def test_imports_go_upwards_in_the_list_of_contributing():
    """Each module of the core imports only those above it in the list of CONTRIBUTING.md."""
    text = (CORE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    core = text[text.index("svdinv_core ") : text.index("adapters/")]
    lines = re.findall(r"^ {6,8}(\w+(?:\.py|/)(?:, \w+\.py)*)(?:  |$)", core, re.M)
    listed = [name for line in lines for name in re.findall(r"(\w+)(?:\.py|/)", line)]
    folders = {path.parent.name: path.parent for path in CORE.glob("*/__init__.py")}
    modules = {path.stem: [path] for path in CORE.glob("*.py") if path.stem != "__init__"}
    modules |= {name: sorted(folder.glob("[!_]*.py")) for name, folder in folders.items()}
    assert listed == list(dict.fromkeys(listed))
    assert set(listed) == set(modules)
    for name in listed:
        beside = {path.stem for path in modules[name]} if name in folders else set()
        above = set(listed[: listed.index(name)]) | beside
        inside = {path.stem: relative_imports(path) for path in modules[name]}
        for imported in inside.values():
            assert imported <= above, name
        tuple(TopologicalSorter({k: v & beside for k, v in inside.items()}).static_order())


def relative_imports(path):
    """The last part of each module that is imported from beside or above."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    return {node.module.rpartition(".")[2] for node in nodes if node.level}


@pytest.mark.parametrize("name", ADAPTERS)
def test_every_framework_is_named_where_its_users_look(name):
    root = Path(__file__).parents[2]
    read = lambda path: (root / path).read_text()  # noqa: E731
    assert name in (*FRAMEWORKS, "cupy")  # CuPy is not tested, because there is no GPU
    assert name in conformance.FRAMEWORKS
    assert f"svdinv.{name}" in read("README.md") or f" .{name}" in read("README.md")
    extras = tomllib.loads(read("pyproject.toml"))["project"]["optional-dependencies"]
    assert name in extras
    assert name == "cupy" or name in extras["all"][0]
    if not TABLE[name].explicit:  # explicit derivatives have no transforms
        assert f"## {transform_tables.FRAMEWORKS[name]}\n" in read("docs/transforms.md")
        assert name in conformance.AUTODIFF
