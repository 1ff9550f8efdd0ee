"""One array and one loss for each public function, to test it under every transform.

An observable ``B(x)`` of a function is chosen so that its gradient exists at an exact tie and is
known there. The loss is ``L = Re <W, B(x)>``, and the reference is the explicit derivative in
NumPy, which other tests compare with 50 digits. A dropped rule gives NaN, zero or another number
there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import svdinv.numpy
from svdinv.numpy import vjp
from svdinv_conformance.frameworks import FRAMEWORKS

from .arrays import adjoint
from .family import haar, normal

TAU = 0.4
TIED = ("identity", "twice a unitary", "tall batch")


@dataclass(frozen=True)
class Observable:
    """`of` computes B from a framework's module, its operations and x; `gradient` from x and W."""

    of: Callable[[Any, Any, Any], Any]
    gradient: Callable[[Any, Any], Any]
    hermitian: bool = False
    real: bool = False
    second: bool = True  # whether it has second derivatives
    everywhere: bool = True  # False: tested under the most used transforms only
    by_rule: str | None = None  # observable with the gradient that a limit may put in the place


def rank_of(x):
    """2 if the third value differs, else the number of all values."""
    return 2 if x.shape[-1] == 3 else 4


def _slope(s):
    return 1 - np.tanh(s) ** 2


def _svdvals(x, W):
    S, pullback = vjp(svdinv.numpy.svdvals, x)
    return pullback(W[..., None] * _slope(S))[0]


def _skew(k):
    K = np.arange(k * k).reshape(k, k) / k**2
    return K - K.T


SKEW = {k: _skew(k) for k in (3, 4)}


def _residual(m, o, x):
    U, S, Vh = m.svd(o.stop(x))
    K = o.skew(U.shape[-1], like=U)
    return x * o.scalars(m.gauge_residual(U, S, Vh, o.cotangent(U @ K), 0 * Vh), like=x)


def _residual_gradient(x, W):
    U, S, Vh = svdinv.numpy.svd(x)
    ct_U = U @ SKEW[x.shape[-1]]
    return W * svdinv.numpy.gauge_residual(U, S, Vh, ct_U, 0 * Vh)[..., None, None]


def _operator(name, *arguments, output=None, **kwargs):
    """The observable of one call, and its gradient by the explicit derivative of the same."""

    def of(m, o, x):
        given = [a(o, x) if callable(a) else a for a in arguments]
        out = getattr(m, name)(x, *given, **kwargs)
        return out if output is None else out[output]

    def gradient(x, W):
        given = [a(NUMPY, x) if callable(a) else a for a in arguments]
        out, pullback = vjp(getattr(svdinv.numpy, name), x, *given, **kwargs)
        return pullback(W if output is None else _only(W, output, len(out)))[0]

    return of, gradient


def _mixes(o):
    return lambda s: o.total(o.tanh(s) ** 2) * o.total(s * s)


def _named(m, o, x):
    """An inverse, and a function that mixes the values: one program for both."""
    return o.adjoint(m.pinv(x)) + o.scalars(m.spectral_function(x, _mixes(o)), like=x)


def _named_gradient(x, W):
    total = np.real(np.sum(W, axis=(-2, -1)))
    of_pinv = vjp(svdinv.numpy.pinv, x)[1](adjoint(W))[0]
    return of_pinv + vjp(svdinv.numpy.spectral_function, x, _mixes(NUMPY))[1](total)[0]


def _roots(m, o, x):
    """The argument of the logarithm and of the root is positive definite."""
    y = m.expm(x / 4)
    return m.logm(y) + m.sqrtm(y)


def _roots_gradient(x, W):
    y, pullback = vjp(svdinv.numpy.expm, x / 4)
    ct_y = sum(vjp(f, y)[1](W)[0] for f in (svdinv.numpy.logm, svdinv.numpy.sqrtm))
    return pullback(ct_y)[0] / 4


def _only(W, index, count):
    return tuple(W if i == index else None for i in range(count))


class Operations:
    """The operations in which observables are written: a framework's, and a few made of them."""

    def __init__(self, bridge):
        self.bridge, self.conjugates = bridge, bridge.conjugates

    def __getattr__(self, name):
        return getattr(self.bridge, name)

    def inverse_root(self, w):
        return (w + 3.0) ** -0.5

    def skew(self, k, like):
        return self.bridge.constant(SKEW[k], like)

    def scalars(self, s, like):
        return self.bridge.as_type_of(s, like)[..., None, None]

    def cotangent(self, ct):
        """Convert a cotangent to the framework's own convention."""
        return self.bridge.conj(ct) if self.conjugates else ct


NUMPY = Operations(FRAMEWORKS["autograd"]())  # whose functions are NumPy's
NUMPY.conjugates = False


def _tanh(o, x):
    return o.tanh


def _inverse_root(o, x):
    return o.inverse_root


OBSERVABLES = {
    "svd": Observable(
        lambda m, o, x: o.recompose(*m.svd(x)), lambda x, W: W
    ),  # exact under the rule inv, too
    "svd tanh": Observable(
        lambda m, o, x: _tanh_of_factors(o, *m.svd(x)),
        _operator("singular_value_map", _tanh)[1],
        by_rule="svd tanh by inv",
        second=False,
    ),
    "svdvals": Observable(lambda m, o, x: o.total(o.tanh(m.svdvals(x))), _svdvals),
    "svt": Observable(*_operator("svt", TAU)),
    "svt relative": Observable(*_operator("svt", TAU, relative=True)),
    "singular_value_map": Observable(*_operator("singular_value_map", _tanh)),
    "low_rank": Observable(*_operator("low_rank", lambda o, x: rank_of(x))),
    "nuclear_norm": Observable(*_operator("nuclear_norm")),
    "polar unitary": Observable(*_operator("polar", output=0)),
    "polar positive": Observable(*_operator("polar", output=1)),
    "procrustes": Observable(*_operator("procrustes")),
    "procrustes special": Observable(*_operator("procrustes", special=True), real=True),
    "eigh": Observable(
        lambda m, o, x: _tanh_of_eigenvectors(o, *m.eigh(x)),
        _operator("eigenvalue_map", _tanh)[1],
        hermitian=True,
    ),
    "eigenvalue_map": Observable(*_operator("eigenvalue_map", _inverse_root), hermitian=True),
    "named": Observable(_named, _named_gradient, everywhere=False),
    "roots": Observable(_roots, _roots_gradient, hermitian=True, everywhere=False),
    "gauge_residual": Observable(_residual, _residual_gradient, second=False),
}


BY_RULE = {
    "svd tanh by inv": Observable(
        lambda m, o, x: _tanh_of_factors(o, *m.svd(x, rule="inv")),
        OBSERVABLES["svd tanh"].gradient,
    )
}


def observable(name):
    """The observable of that name."""
    return OBSERVABLES[name] if name in OBSERVABLES else BY_RULE[name]


def _tanh_of_factors(o, U, S, Vh):
    return o.recompose(U, o.tanh(S), Vh)


def _tanh_of_eigenvectors(o, w, Q):
    return o.recompose(Q, o.tanh(w), o.adjoint(Q))


@dataclass(frozen=True)
class Problem:
    """A matrix (or batch) with ties, the weights of the loss, and the exact gradient."""

    name: str
    x: Any
    W: Any
    gradient: Any
    direction: Any


def _inputs(observable):
    rng = np.random.default_rng(0)
    unitary = haar(rng, (), 4, 4, not observable.real)
    if observable.real:  # its nearest rotation is unique
        unitary[:, 0] *= np.linalg.det(unitary)
    if observable.hermitian:
        v = unitary[:, :1]
        reflection = np.eye(4) - 2 * v @ adjoint(v)
        distinct = (unitary * np.array([2.0, 1.1, 0.7, -0.5])) @ adjoint(unitary)
        return {"identity": np.eye(4), "twice a unitary": 2 * reflection, "distinct": distinct}
    U, V = haar(rng, (2,), 5, 3, False), haar(rng, (2,), 3, 3, False)
    tall = (U * np.array([2.0, 2.0, 0.7])) @ adjoint(V)
    distinct = unitary @ np.diag([2.0, 1.1, 0.7, 0.5]) @ adjoint(haar(rng, (), 4, 4, False))
    if observable.real:
        distinct *= np.sign(np.linalg.det(distinct))
    inputs = {"identity": np.eye(4), "twice a unitary": 2 * unitary, "distinct": distinct}
    return inputs if observable.real else {**inputs, "tall batch": tall}


def _weights(observable, x, name):
    """Random weights of the observable's shape; for eigh without the part a tie leaves open."""
    rng = np.random.default_rng(1)
    value = np.asarray(observable.of(svdinv.numpy, NUMPY, x))
    W = normal(rng, value.shape, np.iscomplexobj(value))
    if name == "eigh":
        w, Q = np.linalg.eigh(x)
        W = adjoint(Q) @ (W + adjoint(W)) @ Q
        tied = np.abs(w[:, None] - w) < 1e-9
        W = Q @ np.where(tied, np.diag(np.where(w > 0, 1.5, -0.5)), W) @ adjoint(Q)
    return W


@cache
def problems(name):
    """The problems of an observable."""
    return tuple(_problems(name))


def _problems(name):
    observable = OBSERVABLES[name]
    for matrix, x in _inputs(observable).items():
        W = _weights(observable, x, name)
        direction = normal(np.random.default_rng(2), x.shape, np.iscomplexobj(x))
        if observable.hermitian:
            direction = (direction + adjoint(direction)) / 2
        gradient = observable.gradient(x, W)
        yield Problem(matrix, x, W, gradient, direction)
