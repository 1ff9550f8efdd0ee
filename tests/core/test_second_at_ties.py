"""Second derivatives where values are repeated: by value, in every order, at every scale.

The references are differences of the function's own value at 50 digits, in two directions. No
formula for a derivative is used.
"""

from __future__ import annotations

from functools import cache, partial

import mpmath as mp
import numpy as np
import pytest
import svdinv.numpy
from support.arrays import adjoint
from support.errors import norm
from support.family import haar, normal
from support.functions import NAMED, WEIGHTS
from support.namespaces import namespace
from support.operators import CASES, condition, from_mp, to_mp

from svdinv_core import (
    EigenvalueJet,
    LowRank,
    NuclearNorm,
    Point,
    Polar,
    SingularValueJet,
    SoftThreshold,
    Tangents,
    Unitary,
    pulled,
    pushed,
)

NP = namespace("numpy")[0]
STEP = mp.mpf(10) ** -13  # its square leaves 24 of the 50 digits, and is below double precision
SPECTRA = {
    "distinct": (1.0, 0.7, 0.15),
    "pair": (1.0, 1.0, 0.5),
    "pair of the smallest": (1.0, 0.5, 0.5),
    "all equal": (1.0, 1.0, 1.0),
    "near": (1.0, 1.0 - 1e-9, 1.0 - 1e-5),
    "not so near": (1.0, 1.0 - 1e-4, 1.0 - 1e-2),
    "zero": (1.0, 1.0, 0.0),
    "zeros": (1.0, 0.0, 0.0),
}
SIZES = ((3, 3), (4, 3), (3, 4))
BOUND = {"float64": 1e-10, "float32": 1e-4}
SYMMETRY = {"float64": 1e-12, "float32": 1e-5}


def tanh_jet(s, scale=1.0):
    t = np.tanh(s / scale)
    d = 1 - t * t
    return scale * t, d, -2 * t * d / scale, d * (6 * t * t - 2) / scale**2


def inverse_root_jet(w, scale=1.0):
    v = w / scale + 0.1
    return v**-0.5, -0.5 * v**-1.5 / scale, 0.75 * v**-2.5 / scale**2, -1.875 * v**-3.5 / scale**3


def no_params(factors, scale):
    return ()


OPERATORS = {
    "soft threshold": (SoftThreshold(), lambda factors, scale: (0.33 * scale,)),
    "rank 2": (LowRank(2), no_params),
    "nuclear norm": (NuclearNorm(), no_params),
    "unitary factor": (Polar(), no_params),
    "positive factor": (Polar(), no_params),
    "nearest unitary": (Unitary(), no_params),
    "rotation": (Unitary(special=True), no_params),
    "tanh": (SingularValueJet(), lambda factors, scale: tanh_jet(factors.S, scale)),
    "inverse root": (
        EigenvalueJet(),
        lambda factors, scale: inverse_root_jet(factors.eigenvalues, scale),
    ),
}


@cache
def problem(spectrum, size, is_complex, hermitian, scale=1.0):
    """A matrix and two directions; the first direction has the scale of the matrix."""
    rng = np.random.default_rng(len(spectrum))
    k = min(size)
    left, right = haar(rng, (), size[0], k, is_complex), haar(rng, (), size[1], k, is_complex)
    if hermitian:
        right = left
    x = scale * (left * np.array(SPECTRA[spectrum])) @ adjoint(right)
    X, Y = scale * normal(rng, size, is_complex), normal(rng, size, is_complex)
    if hermitian:
        x, X, Y = ((z + adjoint(z)) / 2 for z in (x, X, Y))
    return x, X, Y


@cache
def corners(*where):
    """Factors at 50 digits one step forward and back in each direction, and the signs."""
    (x, X, Y), (_, size, is_complex, hermitian, scale) = problem(*where), where
    A, dX, dY = to_mp(x) / scale, to_mp(X) / scale * STEP, to_mp(Y) * STEP
    found = []
    for s, t in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        moved = A + s * dX + t * dY
        if hermitian:
            w, Q = (mp.eighe if is_complex else mp.eigsy)(moved)
            found.append((s * t, (Q, [v * scale for v in w], None)))
        else:
            tall = moved.H if size[0] < size[1] else moved
            U, S, Vh = (mp.svd_c if is_complex else mp.svd_r)(tall)
            found.append((s * t, (U, [v * scale for v in S], Vh)))
    return found


def exact(case, *where):
    """The second derivative at 50 digits."""
    _, size, is_complex, _, scale = where
    (_, first), *others = corners(*where)
    total = case.value(*first, scale)
    for sign, factors in others:
        total = total + sign * case.value(*factors, scale)
    total = total / (4 * STEP * STEP * scale)
    return from_mp(total.H if size[0] < size[1] else total, is_complex)


def computed(name, x, X, Y, scale):
    operator, params_of = OPERATORS[name]
    factors = operator.decomposition.compute(NP, x)
    with np.errstate(all="ignore"):  # the third derivative, not used here, may overflow
        params = params_of(factors, np.float64(scale))
        params = tuple(np.asarray(p, x.real.dtype) for p in params)
    nothing = (None,) * len(params)
    along_X, along_Y = Tangents(X, nothing), Tangents(Y, nothing)
    with np.errstate(all="ignore"):
        at = Point(NP, x, factors, params)
        out = operator.second(at, along_X, along_Y)
        back = operator.second(at, along_Y, along_X)
    pick = CASES[name].output
    return out[pick], back[pick]


def check(hold, name, precision, *where):
    """Compare a second derivative with its reference; False if there is none."""
    case = CASES[name]
    spectrum, _, is_complex, _, scale = where
    x, X, Y = problem(*where)
    allowed = condition(case, x / scale) ** 2  # once for each derivative
    if allowed > 1e6 or (name, spectrum) == ("rank 2", "zeros"):  # a cut within a tie
        return False
    reference = np.squeeze(exact(case, *where))
    real = np.dtype(precision)
    dtype = np.result_type(real, np.complex64) if is_complex else real
    x, X, Y = (z.astype(dtype) for z in (x, X, Y))
    got, back = computed(name, x, X, Y, scale)
    assert got.real.dtype == real
    size = norm(np.atleast_2d(reference))
    if not reference.ndim:  # an inner product, which may cancel
        size = norm(X / scale) * norm(Y)
    bound = BOUND[precision]
    error = norm(np.atleast_2d(got - reference)) / size / allowed
    hold(f"{name}, second derivative, {precision}", error, bound, where)
    if "near" not in spectrum:
        error = norm(np.atleast_2d(got - back)) / size / allowed
        hold(f"{name}, second derivative, symmetry, {precision}", error, SYMMETRY[precision], where)
    return True


def fields(name):
    return (False,) if CASES[name].real else (False, True)


def sizes(name):
    return SIZES[:1] if CASES[name].hermitian or CASES[name].square else SIZES


@pytest.mark.parametrize("precision", BOUND)
@pytest.mark.parametrize("name", OPERATORS)
def test_they_are_the_50_digit_ones(hold, name, precision):
    seen = set()
    for spectrum in SPECTRA:
        for size in sizes(name):
            for is_complex in fields(name):
                if check(
                    hold, name, precision, spectrum, size, is_complex, CASES[name].hermitian, 1.0
                ):
                    seen.add(spectrum)
    assert "distinct" in seen
    assert seen & {"all equal", "pair"}, seen


@pytest.mark.parametrize(
    ("precision", "scale"),
    [("float64", 1e-150), ("float64", 1e150), ("float32", 1e-30), ("float32", 1e30)],
)
@pytest.mark.parametrize("name", OPERATORS)
def test_at_every_scale(hold, name, precision, scale):
    if name == "inverse root" and precision == "float32":
        pytest.skip(
            "its second derivative is of the scale squared, and no number of this precision"
        )
    for spectrum in ("distinct", "pair"):
        for size in sizes(name)[:2]:
            checked = check(
                hold,
                name,
                precision,
                spectrum,
                size,
                not CASES[name].real,
                CASES[name].hermitian,
                scale,
            )
            assert checked or (name, spectrum) == ("rank 2", "pair of the smallest")


# Named functions with the explicit derivatives of NumPy: the second derivative in two directions
# against the derivative of reverse mode along one of them, times the other.


@cache
def exact_named(name, *where):
    """The second derivative, both directions of the matrix's scale; None if it is 0."""
    _, size, is_complex, _, scale = where
    total = None
    for sign, (U, S, Vh) in corners(*where):
        factors = (Vh.H, S, U.H) if size[0] < size[1] else (U, S, Vh)
        value = NAMED[name].value(*factors, scale)
        total = sign * value if total is None else total + sign * value
    value, total = (from_mp(v, is_complex) for v in (value, total / (4 * STEP * STEP)))
    return total if np.abs(total).max() > 1e-20 * np.abs(value).max() else None


def check_named(hold, name, precision, *where):
    """As `check`; along one direction in reverse mode, times the other."""
    case = NAMED[name]
    spectrum, size, is_complex, hermitian, scale = where
    with np.errstate(divide="ignore"):
        values = np.array(SPECTRA[spectrum])
        allowed = max(case.condition(values[::-1] if hermitian else values), 1.0) ** 2
    if name == "powm of 2.5" and values[-1] == 0:
        allowed = np.inf  # f'' at a rounding error instead of 0 is not determined
    reference = exact_named(name, *where) if allowed <= 1e6 else None
    if reference is None:
        return False
    dtype = np.result_type(np.dtype(precision), np.complex64 if is_complex else np.float32)
    x, X, Y = problem(*where)
    x, X, Y = (z.astype(dtype) for z in (x, X, Y * scale))
    fn, kwargs = getattr(svdinv.numpy, case.function), dict(case.kwargs)
    arguments = case.arguments(scale)
    if "weights" in name:
        arguments = (*arguments, np.array(WEIGHTS[: min(size)]))
    nothing = (None,) * len(arguments)
    out = fn(x, *arguments, **kwargs)
    picked = out[case.output] if isinstance(out, tuple) else out
    rng = np.random.default_rng(5)
    for _ in range(3):
        ct = normal(rng, reference.shape, np.iscomplexobj(picked)) / norm(reference)
        given = ct.reshape(picked.shape).astype(picked.dtype)
        if isinstance(out, tuple):
            given = tuple(given if i == case.output else None for i in range(len(out)))

        def along(a, b, given=given):
            bent = svdinv.numpy.hvp(fn, (x, *arguments), (a, *nothing), given, **kwargs)[0]
            assert bent.dtype == dtype
            return np.vdot(b.astype(np.clongdouble), bent.astype(np.clongdouble)).real

        got, back = along(X, Y), along(Y, X)
        error = abs(got - np.vdot(ct, reference).real) / norm(ct) / norm(reference)
        hold(f"{name}, second derivative, {precision}", error / allowed, BOUND[precision], where)
        if "near" not in spectrum:
            error = abs(got - back) / norm(ct) / norm(reference) / allowed
            bound = SYMMETRY[precision]
            hold(f"{name}, second derivative, symmetry, {precision}", error, bound, where)
    return True


@pytest.mark.parametrize("precision", BOUND)
@pytest.mark.parametrize("name", NAMED)
def test_named_functions_have_the_50_digit_ones(hold, name, precision):
    hermitian = NAMED[name].hermitian
    seen = set()
    for spectrum in SPECTRA:
        for size in SIZES[:1] if hermitian else SIZES:
            for is_complex in (False, True):
                if check_named(hold, name, precision, spectrum, size, is_complex, hermitian, 1.0):
                    seen.add(spectrum)
    assert "distinct" in seen
    assert seen & {"all equal", "pair", "pair of the smallest"}, seen


@pytest.mark.parametrize(
    ("precision", "scale"),
    [("float64", 1e-150), ("float64", 1e150), ("float32", 1e-30), ("float32", 1e30)],
)
@pytest.mark.parametrize("name", [name for name, case in NAMED.items() if case.scales])
def test_named_functions_at_every_scale(hold, name, precision, scale):
    hermitian = NAMED[name].hermitian
    checked = [
        check_named(hold, name, precision, spectrum, size, True, hermitian, scale)
        for spectrum in ("distinct", "pair", "pair of the smallest")
        for size in (SIZES[:1] if hermitian else SIZES[:2])
    ]
    assert any(checked)


@pytest.mark.parametrize(
    ("precision", "gap"),
    [("float64", 1e-3), ("float64", 1e-5), ("float32", 0.1), ("float32", 0.01)],
)
def test_a_kink_between_near_values(hold, precision, gap):
    """The map of ``max(s - 0.5, 0)`` is the threshold, whose derivatives are closed forms."""

    def ramp(s):
        return np.where(s.real > 0.5, s - 0.5, 0 * s)

    rng = np.random.default_rng(4)
    U, V = haar(rng, (), 4, 3, True), haar(rng, (), 3, 3, True)
    x = (U * np.array([1.0, 0.5 + gap / 2, 0.5 - gap / 2])) @ adjoint(V)
    dtype = np.result_type(np.dtype(precision), np.complex64)
    x, X, ct = (z.astype(dtype) for z in (x, *normal(rng, (2, 4, 3), True)))
    module = svdinv.numpy
    got, exact = (
        module.hvp(fn, (x, given), (X, None), ct)[0]
        for fn, given in ((module.singular_value_map, ramp), (module.svt, 0.5))
    )
    if gap == 1e-5:  # within the complex step
        assert np.isnan(got).any()
        return
    error = norm(got - exact) / norm(exact) * gap  # the error of the values is divided by the gap
    hold(f"kink, second derivative, {precision}", error, BOUND[precision], gap)


def test_a_function_that_varies_faster_than_the_largest_value(hold):
    """``w^-0.5`` between eigenvalues far below the largest: first and second derivative."""
    rng = np.random.default_rng(5)
    x = np.diag([1.0, 3e-6, 2e-6])
    X, ct = (z + z.T for z in rng.standard_normal((2, 3, 3)))
    module = svdinv.numpy

    def both(fn, *given):
        first = module.vjp(fn, x, *given)[1](ct)[0]
        return first, module.hvp(fn, (x, *given), (X, *(None for _ in given)), ct)[0]

    mapped, named = both(module.eigenvalue_map, lambda w: w**-0.5), both(module.inv_sqrtm)
    for got, exact in zip(mapped, named, strict=True):
        hold("fast function", (np.abs(got - exact) / np.abs(exact)).max(), 1e-9)


WITH_PARAMETERS = {
    "soft threshold": (SoftThreshold(), (np.array(0.3),)),
    "relative threshold": (SoftThreshold(relative=True), (np.array(0.3),)),
    "tanh": (SingularValueJet(), None),
    "inverse root": (EigenvalueJet(), None),
}


def at(name, x, theta):
    """Factors and parameters; those of a function depend on theta as well."""
    operator, params = WITH_PARAMETERS[name]
    factors = operator.decomposition.compute(NP, x)
    if params is not None:
        return operator, factors, (np.asarray(params[0] + theta),)
    jet = (tanh_jet, inverse_root_jet)[name == "inverse root"]
    return operator, factors, jet(factors[1 if name == "tanh" else 0], 1.0 + theta)


def slopes_in_theta(name, x):
    """The tangent of the parameters in theta; exact to 1e-12."""
    if WITH_PARAMETERS[name][1] is not None:
        return (np.array(1.0),)
    h = 1e-4
    moved = [at(name, x, t * h)[2] for t in (-2, -1, 1, 2)]
    return tuple((a - 8 * b + 8 * c - d) / (12 * h) for a, b, c, d in zip(*moved, strict=True))


@pytest.mark.parametrize("size", SIZES[:2])
@pytest.mark.parametrize("name", WITH_PARAMETERS)
def test_with_their_parameters(name, size):
    """The derivative as an operator: against differences, and forward and reverse adjoint."""
    hermitian = name == "inverse root"
    if hermitian and size[0] != size[1]:
        return
    x, X, Y = problem("pair of the smallest", size, True, hermitian)
    theta = 0.7
    dparams = tuple(theta * d for d in slopes_in_theta(name, x))
    h = 1e-3

    def differences(value):
        a, b, c, d = (
            value(*at(name, x + t * h * X, t * h * theta), x + t * h * X) for t in (-2, -1, 1, 2)
        )
        return [(p - 8 * q + 8 * r - s) / (12 * h) for p, q, r, s in zip(a, b, c, d, strict=True)]

    operator, factors, params = at(name, x, 0.0)
    wanted = sum(operator.with_cotangent(params))
    one = (Y, tuple(0.4 * d for d in slopes_in_theta(name, x)))

    def pull(operator, factors, params, x):
        derivative, inputs = pulled(operator, params, (Y,))
        out = derivative.apply(Point(NP, x, factors, inputs))
        return out[:1] if name in ("tanh", "inverse root") else out

    def push(operator, factors, params, x):
        d = tuple(0.4 * d for d in slopes_in_theta(name, x))
        derivative, inputs = pushed(operator, params, Tangents(Y, d))
        return derivative.apply(Point(NP, x, factors, inputs))

    for make, expected in ((partial(pulled, cts=(Y,)), pull), (None, push)):
        if make is None:
            derivative, inputs = pushed(operator, params, Tangents(*one))
            first = len(inputs) - len(params)
            dgiven = [None] * first
            if name in ("tanh", "inverse root"):  # the tangents given depend on theta and x too
                continue
        else:
            derivative, inputs = make(operator, params)
            dgiven = [None]
        got = derivative.jvp(Point(NP, x, factors, inputs), Tangents(X, (*dgiven, *dparams)))
        for g, e in zip(got, differences(expected), strict=False):
            assert norm(np.atleast_2d(g - e)) < 1e-8 * norm(np.atleast_2d(e))

    derivative, inputs = pulled(operator, params, (Y,))
    rng = np.random.default_rng(3)
    ct = normal(rng, x.shape, True)
    if hermitian:
        ct = (ct + adjoint(ct)) / 2
    cts = (ct, *(rng.standard_normal(p.shape) for p in params[:wanted]))
    dY = normal(rng, x.shape, True)
    if hermitian:
        dY = (dY + adjoint(dY)) / 2
    at_x = Point(NP, x, factors, inputs)
    out = derivative.jvp(at_x, Tangents(X, (dY, *dparams)))
    ct_x, (ct_Y, *ct_params) = derivative.vjp(at_x, cts)
    forward = sum(np.vdot(a, b).real for a, b in zip(cts, out, strict=True))
    reverse = np.vdot(ct_x, X).real + np.vdot(ct_Y, dY).real
    reverse += sum(np.vdot(a, b) for a, b in zip(ct_params, dparams, strict=True) if a is not None)
    assert abs(forward - reverse) < 1e-11 * (abs(forward) + norm(ct) * norm(X))
