"""Second derivatives in every framework: at ties those of NumPy, in every order of nesting.

``tests/core/test_second_at_ties.py`` compares NumPy's explicit ones with 50 digits.
"""

from __future__ import annotations

import sys
from functools import cache

import numpy as np
import pytest
import svdinv.torch
import torch
from support.arrays import adjoint
from support.drivers import driver
from support.errors import norm
from support.family import haar, normal
from support.functions import CALLS
from support.namespaces import each
from svdinv_conformance.frameworks import AUTODIFF

from svdinv_core import get_rule, rule_names

LINEAR = tuple(rule for rule in rule_names() if get_rule(rule).linear)
SPECTRA = np.array([(1.0, 0.7, 0.2), (1.0, 1.0, 0.5), (0.8, 0.8, 0.8)])  # the last: the identity
WEIGHTS = np.array([0.3, 0.3, 0.4])


def inverse_root(w):
    return (w + 0.3) ** -0.5


# A function of x, of a Hermitian h or of a real square r: its arguments, given the framework's own
# tanh, and whether it has no derivative where all values are the same.
FUNCTIONS = {
    "svt": ("x", lambda tanh: (0.3,), {}, False),
    "svt relative": ("x", lambda tanh: (0.3,), {"relative": True}, True),
    "svt weighted": ("x", lambda tanh: (0.7, WEIGHTS), {}, True),
    "low_rank": ("x", lambda tanh: (2,), {}, True),
    "singular_value_map": ("x", lambda tanh: (tanh,), {}, False),
    "nuclear_norm": ("x", lambda tanh: (), {}, False),
    "polar": ("x", lambda tanh: (), {}, False),
    "procrustes": ("x", lambda tanh: (), {}, False),
    "procrustes special": ("r", lambda tanh: (), {"special": True}, False),
    "eigenvalue_map": ("h", lambda tanh: (inverse_root,), {}, False),
}
PARAMETERS = {"t": 0.6}


def row_of(call):
    arguments = (*(PARAMETERS[i] for i in call.inputs[1:]), *call.static)
    return call.inputs[0], lambda tanh: arguments, dict(call.kwargs), call.hessian == "apart"


FUNCTIONS |= {call.function: row_of(call) for call in CALLS if call.hessian}


@cache
def matrices():
    rng = np.random.default_rng(3)
    U, V = haar(rng, (3,), 4, 3, True), haar(rng, (3,), 3, 3, True)
    U[2], V[2] = np.eye(4, 3), np.eye(3)
    h, r = ((Q * SPECTRA[:, None]) @ adjoint(Q) for Q in (V, V.real))
    r = np.concatenate([(haar(rng, (2,), 3, 3, False) * SPECTRA[:2, None]) @ r[:2], r[2:]])
    r[0] *= np.sign(np.linalg.det(r[0]))  # at a tie of the last two values a reflection has none
    r[1] *= np.sign(np.linalg.det(r[1]))
    return {"x": (U * SPECTRA[:, None]) @ adjoint(V), "h": (h + adjoint(h)) / 2, "r": r}


def named(name):
    return name.split()[0]


def plain(out):
    return tuple(out) if isinstance(out, tuple) else (out,)


@cache
def problem(name):
    """The matrices, a direction, cotangents, and NumPy's product of the Hessian with it."""
    kind, arguments, kwargs, _ = FUNCTIONS[name]
    rng = np.random.default_rng(len(name))
    module = driver("numpy").module
    fn, x = getattr(module, named(name)), matrices()[kind]
    dx = normal(rng, x.shape, np.iscomplexobj(x))
    if kind == "h":
        dx = (dx + adjoint(dx)) / 2
    arguments = arguments(np.tanh)
    out = fn(x, *arguments, **kwargs)
    cts = tuple(normal(rng, y.shape, np.iscomplexobj(y)) for y in plain(out))
    if kind == "h":
        cts = tuple((ct + adjoint(ct)) / 2 for ct in cts)
    nothing = (None,) * len(arguments)
    ct = cts if isinstance(out, tuple) else cts[0]
    bent = module.hvp(fn, (x, *arguments), (dx, *nothing), ct, **kwargs)[0]
    return x, dx, cts, bent


@pytest.mark.parametrize("name", AUTODIFF)
def test_at_ties_they_are_those_of_numpy(hold, name):
    """One program of all functions."""
    tested = driver(name)
    bridge, module = tested.bridge, tested.module

    def bent(function, x, dx, cts):
        _, arguments, kwargs, _ = FUNCTIONS[function]
        # The choice of a driver is tested elsewhere, and takes long to compile.
        kwargs = kwargs | ({} if FUNCTIONS[function][0] == "h" else {"driver": "svd"})
        given = (tested.array(a) if hasattr(a, "shape") else a for a in arguments(tested.tanh))
        given = tuple(given)

        def value(x):
            return plain(getattr(module, named(function))(x, *given, **kwargs))

        return bridge.hvp(value, (x,), cts, (dx,))[0]

    def all_of_them(*arrays):
        left = iter(arrays)
        found = []
        for function in FUNCTIONS:
            x, dx = next(left), next(left)
            found.append(bent(function, x, dx, tuple(next(left) for _ in problem(function)[2])))
        return tuple(found)

    arrays = []
    for function in FUNCTIONS:
        x, dx, cts, _ = problem(function)
        arrays += [x, dx, *cts]
    arrays = each(tested.array, tuple(arrays))
    found = each(tested.numpy, bridge.prepare("value", all_of_them)(arrays))
    for function, got in zip(FUNCTIONS, found, strict=True):
        kind, _, _, not_all_equal = FUNCTIONS[function]
        exact = problem(function)[3]
        if kind == "h":
            got, exact = ((z + adjoint(z)) / 2 for z in (got, exact))
        count = 2 if not_all_equal else 3
        got, exact = got[:count], exact[:count]
        error = (norm(got - exact) / norm(exact)).max()
        bound = 1e-10 if function.endswith("_map") else 1e-12  # by a complex step in NumPy
        hold(f"{function}, second derivative at ties, {name}", error, bound)


@pytest.mark.parametrize("function", [name for name, case in FUNCTIONS.items() if not case[3]])
def test_gradgradcheck_at_the_identity(function):
    import torch

    driver("torch")
    kind, arguments, kwargs, _ = FUNCTIONS[function]
    fn = getattr(driver("torch").module, named(function))

    def value(x):
        x = (x + x.mT) / 2 if kind == "h" else x
        return fn(x, *arguments(torch.tanh), **kwargs)

    x = torch.eye(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(value, (x,), check_fwd_over_rev=True)


# Every order of nesting, eager and compiled, for a sum of two functions with a parameter t, which
# is a threshold in one and closed over by a caller's function in the other.

X = np.diag([1.0, 1.0, 0.5])
Z = np.diag([1.0, 0.7, 0.0])
T = np.array(0.3)


def energy(module, tanh, W, x, t):
    return (W * (module.svt(x, t) + module.singular_value_map(x, lambda s: tanh(s * t)))).sum()


def torch_orders():
    import svdinv.torch as module
    import torch

    def loss(W):
        return lambda x, t: energy(module, torch.tanh, W, x, t)

    def gradient(f):
        return torch.func.grad(f, argnums=(0, 1))

    def along(f, dx, dt):
        return lambda x, t: torch.func.jvp(f, (x, t), (dx, dt))[1]

    def compiled(f):
        return torch.compile(f, backend="eager", fullgraph=True)

    return loss, gradient, along, torch.tensor, compiled


def jax_orders():
    import jax
    import svdinv.jax as module

    def loss(W):
        return lambda x, t: energy(module, jax.numpy.tanh, W, x, t)

    def gradient(f):
        return jax.grad(f, argnums=(0, 1))

    def along(f, dx, dt):
        return lambda x, t: jax.jvp(f, (x, t), (dx, dt))[1]

    return loss, gradient, along, jax.numpy.asarray, jax.jit


def tensorflow_orders():
    import svdinv.tensorflow as module
    import tensorflow as tf

    def loss(W):
        def value(x, t):
            mapped = module.singular_value_map(x, lambda s: tf.tanh(s * t))
            return tf.reduce_sum(W * (module.svt(x, t) + mapped))

        return value

    def gradient(f):
        def of(x, t):
            with tf.GradientTape() as tape:
                tape.watch((x, t))
                value = f(x, t)
            return tape.gradient(value, (x, t), unconnected_gradients="zero")

        return of

    def along(f, dx, dt):
        def of(x, t):
            with tf.autodiff.ForwardAccumulator((x, t), (dx, dt)) as forward:
                value = f(x, t)
            return tf.nest.map_structure(lambda v: forward.jvp(v, "zero"), value)

        return of

    return loss, gradient, along, tf.constant, tf.function


def autograd_orders():
    import autograd
    import autograd.numpy as anp
    import svdinv.autograd as module

    def loss(W):
        return lambda x, t: energy(module, anp.tanh, W, x, t)

    def gradient(f):
        return lambda x, t: (autograd.grad(f, 0)(x, t), autograd.grad(f, 1)(x, t))

    def along(f, dx, dt):
        def of(x, t):
            def on_the_line(s):
                out = f(x + s * dx, t + s * dt)
                return autograd.builtins.tuple(out) if isinstance(out, tuple) else out

            return autograd.make_jvp(on_the_line)(0.0)(1.0)[1]

        return of

    return loss, gradient, along, np.asarray, None


ORDERS = {
    "torch": torch_orders,
    "jax": jax_orders,
    "tensorflow": tensorflow_orders,
    "autograd": autograd_orders,
}


def by_numpy(W, d1, d2):
    """The second derivative along both directions, from NumPy's for the threshold and maps."""
    module = driver("numpy").module
    (dx, dt), (ex, et) = d1, d2
    of_x, of_t = module.hvp(module.svt, (X, T), (dx, dt), W)
    t = float(T)

    def mapped(fn, *more):
        _, pullback = module.vjp(module.singular_value_map, X, fn)
        return np.vdot(pullback(W)[0], *more)

    bent = module.hvp(module.singular_value_map, (X, lambda s: np.tanh(s * t)), (dx, None), W)[0]
    mixed = lambda s: s * (1 - np.tanh(s * t) ** 2)  # noqa: E731
    S = np.diag(X)
    twice = -2 * S**2 * np.tanh(S * t) * (1 - np.tanh(S * t) ** 2)
    return (
        np.vdot(of_x, ex)
        + of_t * et
        + np.vdot(bent, ex)
        + dt * mapped(mixed, ex)
        + et * mapped(mixed, dx)
        + dt * et * np.vdot(W, np.diag(twice))
    )


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("name", AUTODIFF)
def test_in_every_order(hold, name, compiled):
    driver(name)
    loss, gradient, along, array, compile_ = ORDERS[name]()
    if compiled and compile_ is None:
        pytest.skip("nothing compiles")
    rng = np.random.default_rng(2)
    W, dx, ex = rng.standard_normal((3, 3, 3))
    dt, et = np.array(0.4), np.array(-0.7)
    exact = by_numpy(W, (dx, dt), (ex, et))
    f = loss(array(W))
    d, e = (array(dx), array(dt)), (array(ex), array(et))

    def inner(g, e):
        return (g[0] * e[0]).sum() + g[1] * e[1] if name != "tensorflow" else tensorflow_inner(g, e)

    def reverse_over_reverse(x, t):
        return inner(gradient(lambda x, t: inner(gradient(f)(x, t), d))(x, t), e)

    def forward_over_reverse(x, t):
        return inner(along(gradient(f), *d)(x, t), e)

    def reverse_over_forward(x, t):
        return inner(gradient(along(f, *d))(x, t), e)

    def forward_over_forward(x, t):
        return along(along(f, *d), *e)(x, t)

    orders = (
        reverse_over_reverse,
        forward_over_reverse,
        reverse_over_forward,
        forward_over_forward,
    )
    if compiled and name in ("torch", "tensorflow"):
        orders = orders[:3]  # nested forward mode under their compilers raises an error
    for order in orders:
        run = compile_(order) if compiled else order
        got = float(run(array(X), array(T)))
        error = abs(got - exact) / abs(exact)
        hold(f"second derivative, {order.__name__}, {name}", error, 1e-10, compiled)


def tensorflow_internal_error():
    tf = sys.modules.get("tensorflow")
    return tf.errors.InternalError if tf else IndexError


def tensorflow_inner(g, e):
    import tensorflow as tf

    return tf.reduce_sum(g[0] * e[0]) + g[1] * e[1]


# Functions of more than one array, in NumPy.

RNG = np.random.default_rng(12)
CUBE = np.array([[x, y, z] for x in (0.0, 1.0) for y in (0.0, 1.0) for z in (0.0, 1.0)])
TALL = np.linalg.qr(RNG.standard_normal((5, 3)) + 1j * RNG.standard_normal((5, 3)))[0]
SEVERAL = {
    "lstsq": ((TALL, normal(RNG, (5, 2), True)), {}),
    "lstsq vector": ((TALL.real @ np.diag([1, 1, 0.5]), normal(RNG, (5,), False)), {}),
    "align_points": ((CUBE, 1 + CUBE, np.ones(8)), {"scale": True}),
    "align_points turned": (
        (CUBE, CUBE[:, [1, 0, 2]] + 0.1 * normal(RNG, (8, 3), False), RNG.uniform(1, 2, 8)),
        {"scale": True, "reflection": True},
    ),
    "tensor_svt": ((normal(RNG, (2, 4, 3, 5), False), np.array([0.5, 0.4])), {"axis": 1}),
    "tensor_svt complex": ((normal(RNG, (4, 3, 5), True), 0.5), {"transform": "dct"}),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_they_are_those_of_several_arrays(hold, name):
    """All tangents at once, against differences of the gradients."""
    module, (primals, kwargs) = driver("numpy").module, SEVERAL[name]
    primals = tuple(map(np.asarray, primals))
    fn, rng = getattr(module, named(name)), np.random.default_rng(len(name))
    along = [normal(rng, x.shape, np.iscomplexobj(x)) for x in primals]
    if name == "tensor_svt":
        along[1] = np.array([0.3, -0.2])
    out = fn(*primals, **kwargs)
    cts = [normal(rng, np.shape(y), np.iscomplexobj(y)) for y in plain(out)]
    unmoved = ("rank", "s", "margin")
    fields = getattr(out, "_fields", ("",))
    ct = tuple(None if f in unmoved else c for f, c in zip(fields, cts, strict=True))
    ct = ct if isinstance(out, tuple) else ct[0]
    h = 2e-4

    def gradients(step):
        moved = (x + step * h * d for x, d in zip(primals, along, strict=True))
        return module.vjp(fn, *moved, **kwargs)[1](ct)

    steps = zip(*map(gradients, (-2, -1, 1, 2)), strict=True)
    got = module.hvp(fn, primals, tuple(along), ct, **kwargs)
    for second, (a, b, c, d) in zip(got, steps, strict=True):
        difference = (a - 8 * b + 8 * c - d) / (12 * h)
        error = np.linalg.norm(second - difference) / np.linalg.norm(difference)
        hold("several arrays", error, 1e-9)


def test_a_factor_beside_them_has_none():
    module, ones = driver("numpy").module, np.ones(3)
    with pytest.raises(TypeError, match="lstsq has no second derivative"):
        module.hvp(module.lstsq, (np.eye(3), ones), (np.eye(3), None), (None, None, None, ones))


def test_they_are_those_of_a_function_of_all_values(hold):
    """The norm is known by formula; the other numbers are of size 1, or almost not there."""
    module, X = driver("numpy").module, normal(np.random.default_rng(4), (4, 3), True)

    def cubic(s):
        return (s**3).sum(axis=-1) ** (1 / 3)

    U, V = haar(np.random.default_rng(5), (), 4, 3, True), np.eye(3)
    for spectrum in ([1.0, 0.7, 0.2], [1.0, 1.0, 0.5], [0.8, 0.8, 0.8], [1.0, 1.0, 1e-17]):
        for scale in (1e-50, 1.0, 1e50):
            x, dx, one = scale * U * np.array(spectrum) @ V, scale * X, np.array(1.0)
            got = module.hvp(module.spectral_function, (x, cubic), (dx, None), one)[0]
            exact = module.hvp(module.schatten_norm, (x, 3.0), (dx, None), one)[0]
            hold("of all values", norm(got - exact) / norm(exact), 1e-10)

    # Along a change of the values alone, of a diagonal matrix: no rounding over a small value.
    G = np.eye(4, 3)
    for small in (1e-3, 1e-6, 1e-9, 1e-14):
        x = G * np.array([1.0, 0.5, small])
        got = module.hvp(
            module.spectral_function, (x, lambda s: s.sum(axis=-1) ** 2), (G, None), one
        )[0]
        hold("beside a small value", norm(got - 6 * G) / norm(6 * G), 1e-9)
        got = module.hvp(
            module.spectral_function, (x, lambda s: np.log(s).sum(axis=-1)), (G, None), one
        )[0]
        exact = -G / np.array([1.0, 0.5, small]) ** 2
        hold("that varies fast at small values", norm(got - exact) / norm(exact), 1e-9)

    def bent(s):  # it has no second derivative at 0.7
        return (np.where(s.real > 0.7, s, 1.4 - s) ** 3).sum(axis=-1)

    x = U * np.array([1.0, 0.7002, 0.2]) @ V
    got = module.hvp(module.spectral_function, (x, bent), (X, None), np.array(1.0))[0]
    assert np.isnan(got).any()


# Functions without a second derivative at a tie, and third derivatives.


@pytest.mark.parametrize("function", ["singular_value_map", "eigenvalue_map"])
@pytest.mark.parametrize("name", AUTODIFF)
@np.errstate(all="ignore")  # autograd's operations are those of NumPy
def test_of_a_function_that_mixes_the_values(name, function):
    """Right for distinct values; NaN at a tie and at a zero, for that matrix only."""
    tested = driver(name)
    bridge, module = tested.bridge, tested.module
    spectra = ([1.0, 0.7, 0.2], [1.0, 1.0, 0.5], [1.0, 0.7, 0.0])
    x = np.stack(list(map(np.diag, spectra[: 3 if function == "singular_value_map" else 2])))
    dx = normal(np.random.default_rng(4), x.shape, False)
    dx = dx + adjoint(dx)
    ct = normal(np.random.default_rng(5), x.shape, False)

    def value(x):
        fn = getattr(module, function)
        return (fn(x, lambda s: s * s / bridge.total(s)[..., None], elementwise=False),)

    def both(x, dx, ct):
        return *bridge.vjp(value, (x,), (ct,))[1], *bridge.hvp(value, (x,), (ct,), (dx,))

    compute = bridge.prepare("value", both)
    run = lambda x: each(tested.numpy, compute(each(tested.array, (x, dx, ct))))  # noqa: E731
    h = 1e-5
    difference = (run(x + h * dx)[0] - run(x - h * dx)[0]) / (2 * h)
    first, second = run(x)
    assert np.isfinite(first).all()
    assert norm(second[0] - difference[0]) < 1e-6 * norm(difference[0])
    assert np.isnan(second[1:]).any(axis=(-2, -1)).all()


@pytest.mark.parametrize(
    ("name", "function"),
    [
        (name, function)
        for name in AUTODIFF
        for function in ("svt", "singular_value_map")
        if name not in ("jax", "tensorflow") or function == "svt"
    ],
)
@np.errstate(all="ignore")  # autograd's operations are those of NumPy
def test_third_derivatives_are_right_or_nan(name, function):
    tested = driver(name)
    _, gradient, along, array, _ = ORDERS[name]()
    rng = np.random.default_rng(6)
    W, dx = rng.standard_normal((2, 3, 3))
    given, explicit = ((0.3,), (0.3,)) if function == "svt" else ((tested.tanh,), (np.tanh,))
    d, weights = (array(dx), array(np.array(0.0))), array(W)

    def loss(x, t):
        return tested.bridge.real_sum(weights * getattr(tested.module, function)(x, *given)) + t**4

    def derive(x, order):
        return np.asarray(order(x)[0])

    t = array(np.array(0.0))
    orders = {
        "forward over forward over reverse": lambda x: along(along(gradient(loss), *d), *d)(x, t),
        "reverse over forward over forward": lambda x: gradient(along(along(loss, *d), *d))(x, t),
    }
    module = driver("numpy").module
    fn, x, h = getattr(module, function), np.diag([1.0, 0.7, 0.2]), 1e-3

    def bent(s):
        return module.hvp(fn, (x + s * h * dx, *explicit), (dx, None), W)[0]

    difference = (bent(-2) - 8 * bent(-1) + 8 * bent(1) - bent(2)) / (12 * h)
    for label, order in orders.items():
        try:
            got = derive(array(x), order)
        except (IndexError, tensorflow_internal_error()):  # TensorFlow's accumulators
            assert name == "tensorflow"
            continue
        right = norm(got - difference) < 1e-6 * norm(difference)
        assert right or not np.isfinite(got).any(), label
        for without in (X, *([Z] if function == "singular_value_map" else [])):
            assert not np.isfinite(derive(array(without), order)).all(), label


# The decompositions themselves: right for distinct values, finite at ties.


OF_DECOMPOSITIONS = ["svdvals", *(f"{d} {r}" for d in ("svd", "eigh") for r in LINEAR)]


@pytest.mark.parametrize(
    ("name", "function"),
    [
        (name, function)
        for name in AUTODIFF
        for function in OF_DECOMPOSITIONS
        # to those that compile, rules are objects to hand on
        if name not in ("jax", "tensorflow") or function.split()[-1] in ("svdvals", "inv", "clip")
    ],
)
@np.errstate(all="ignore")
def test_of_decompositions(hold, name, function):
    """For ``sum(W |B|^2)`` with B = ``U diag(tanh S) Vh``, or B = the values."""
    tested, (kind, *rule) = driver(name), function.split()
    bridge, module = tested.bridge, tested.module
    hermitian = kind == "eigh"
    rng = np.random.default_rng(7)
    sizes = ((4, 4), (5, 3), (3, 5)) if rule == ["inv"] and not hermitian else ((4, 4),)
    for m, n in sizes:
        k = min(m, n)
        spectra = np.array([[1.0, 0.7, 0.4, 0.2], [1, 1, 1, 1], [1, 1, 0.5, 0], [1, 0.5, 0, 0]])
        spectra = np.concatenate([spectra[:, :k], np.zeros((1, k))])
        U, V = haar(rng, (5,), m, k, True), haar(rng, (5,), n, k, True)
        U[1:], V[1:] = np.eye(m, k), np.eye(n, k)
        x = (U * spectra[:, None]) @ adjoint(U if hermitian else V)
        dx = normal(rng, x.shape, True)
        if hermitian:
            x, dx = ((z + adjoint(z)) / 2 for z in (x, dx))
        W = np.random.default_rng(6).standard_normal(
            x.shape[:1] + ((k,) if kind == "svdvals" else (m, n))
        )

        def loss(x, W=W):
            if kind == "svdvals":
                B = module.svdvals(x)
            elif kind == "svd":
                U, S, Vh = module.svd(x, rule=rule[0])
                B = bridge.recompose(U, bridge.tanh(S), Vh)
            else:
                w, Q = module.eigh(x, rule=rule[0])
                B = bridge.recompose(Q, bridge.tanh(w), bridge.adjoint(Q))
            return (bridge.real_sum(B * bridge.conj(B) * bridge.constant(W, B)),)

        one = (tested.array(np.ones(())),)

        def both(x, dx, loss=loss, one=one):
            return *bridge.vjp(loss, (x,), one)[1], *bridge.hvp(loss, (x,), one, (dx,))

        compute = bridge.prepare("value", both)
        run = lambda x, dx=dx, c=compute: each(tested.numpy, c(each(tested.array, (x, dx))))  # noqa: E731
        h = 1e-5
        difference = ((run(x + h * dx)[0] - run(x - h * dx)[0]) / (2 * h))[0]
        second = run(x)[1]
        got = (second[0] + adjoint(second[0])) / 2 if hermitian else second[0]
        if rule != ["taylor"]:  # whose first derivative is not the gradient of a function
            error = norm(got - difference) / norm(difference)
            hold(f"{function}, second derivative, {name}", error, 1e-6, (m, n))
        if rule != ["plain"]:
            assert np.isfinite(second).all()


@pytest.mark.parametrize("gap", [2.0**-20, 2.0**-30, 2.0**-48])
@pytest.mark.parametrize("name", ["singular_value_map", "eigenvalue_map"])
def test_a_kink_that_moves_between_values_at_the_same_distance(name, gap):
    """The mean of the slopes equals the quotient there, but the variation of fn jumps."""
    rng = np.random.default_rng(0)
    W, D = rng.standard_normal((2, 3, 3))
    W, D = (W + W.T, D + D.T) if name == "eigenvalue_map" else (W, D)
    values = np.array([1 + gap, 1 - gap, 0.25])
    x = torch.tensor(np.diag(values), requires_grad=True)
    kink = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    function = getattr(svdinv.torch, name)
    loss = (function(x, lambda s: torch.relu(s - kink)) * torch.tensor(W)).sum()
    (of_x,) = torch.autograd.grad(loss, x, create_graph=True)
    (mixed,) = torch.autograd.grad((of_x * torch.tensor(D)).sum(), kink, retain_graph=True)
    loss = (function(x, lambda s: torch.relu(s - kink)) * torch.tensor(W)).sum()
    (of_kink,) = torch.autograd.grad(loss, kink, create_graph=True)
    (other,) = torch.autograd.grad(of_kink, x)

    jump = -(values > 1).astype(float)
    total = values[:, None] + values
    difference = values[:, None] - values + np.eye(3)
    plus, minus = (jump[:, None] - jump) / difference, (jump[:, None] + jump) / total
    symmetric, skew = (D + D.T) / 2, (D - D.T) / 2
    expected = np.sum(W * (plus * symmetric + minus * skew))
    assert mixed.item() == pytest.approx(expected, rel=1e-8)
    assert np.sum(other.numpy() * D) == pytest.approx(expected, rel=1e-8)


def test_third_derivatives_of_a_scalar_are_right_at_distinct_values():
    """Of ``sum(s^4)``, a polynomial of the entries. At a tie and at a zero they are NaN."""
    rng = np.random.default_rng(0)
    x, d = np.diag([1.0, 0.7, 0.2]), rng.standard_normal((3, 3))

    def slopes(x):
        """Of order 0 to 3 along d."""
        along, A = torch.tensor(d), torch.tensor(x, requires_grad=True)
        slope = svdinv.torch.spectral_function(A, lambda s: (s**4).sum(-1))
        yield slope.item()
        for _ in range(3):
            (g,) = torch.autograd.grad(slope, A, create_graph=True)
            slope = (g * along).sum()
            yield slope.item()

    def expected(x):
        steps = np.arange(-4, 5) / 4
        values = [np.linalg.norm((x + t * d).T @ (x + t * d)) ** 2 for t in steps]
        return [1, 1, 2, 6] * np.polyfit(steps, values, 4)[:0:-1]

    assert list(slopes(x)) == pytest.approx(expected(x), rel=1e-10)
    for at in (X, Z):
        *finite, third = slopes(at)
        assert finite == pytest.approx(expected(at)[:3], rel=1e-10)
        assert not np.isfinite(third)
