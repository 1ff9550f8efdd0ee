"""The functions of the singular values and eigenvalues, and their derivatives at 50 digits.

The reference is a central difference of the function itself in 50-digit arithmetic. No formula for
a derivative is used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import mpmath as mp
import numpy as np

from .drivers import driver

mp.mp.dps = 50
_STEP = mp.mpf(10) ** -20  # its square is below double precision, and its inverse leaves 30 digits


@cache  # the same function object for the same arguments, so that its compiled program is reused
def tanh(framework, scale=1.0):
    """``scale tanh(s/scale)`` in a framework's operations (also of complex arrays, for NumPy's)."""
    function = driver(framework).tanh
    return lambda s: function(s / scale) * scale


@cache
def inverse_root(framework, scale=1.0):
    return lambda w: (w / scale + 0.1) ** -0.5


@dataclass(frozen=True)
class Case:
    """A public function: how to call it, and its value at 50 digits.

    `value` computes it from the factors ``U, S, Vh`` of a tall or square matrix (eigenvectors,
    eigenvalues and None for a Hermitian one), at a given scale of the matrix. `condition`, from
    the singular values and the matrix, bounds the size of the derivative relative to its argument.
    """

    function: str
    value: Callable[[Any, list[Any], Any, float], Any]
    arguments: Callable[[str, float], tuple[Any, ...]] = lambda framework, scale: ()
    condition: Callable[[Any, Any], float] = lambda S, x: 1.0
    output: int = 0
    hermitian: bool = False
    square: bool = False
    real: bool = False
    kwargs: tuple[tuple[str, object], ...] = ()


def spectral(f):
    """``U diag(f(S)) Vh`` for f of the list of values, the scale, U and Vh."""
    return lambda U, S, Vh, scale: U * mp.diag(f(S, scale, U, Vh)) * Vh


def mp_tanh(S, scale, *_):
    return [scale * mp.tanh(s / scale) for s in S]


def rotation_signs(S, scale, U, Vh):
    return [mp.mpf(1)] * (len(S) - 1) + [mp.sign(mp.det(U * Vh))]


def smallest(S, x):
    return S[0] / S[-1]


def cut(S, x):
    return S[1] / (S[1] - S[2])


def last_two(S, x):
    return S[0] / (S[-2] + np.linalg.slogdet(x)[0] * S[-1])


CASES = {
    "soft threshold": Case(
        "svt",
        spectral(lambda S, scale, *_: [max(s - mp.mpf(0.33) * scale, mp.mpf(0)) for s in S]),
        lambda framework, scale: (0.33 * scale,),
        lambda S, x: 1.0 if np.abs(S / S[0] - 0.33).min() > 1e-2 else np.inf,
    ),
    "tanh": Case("singular_value_map", spectral(mp_tanh), lambda f, scale: (tanh(f, scale),)),
    "rank 2": Case(
        "low_rank",
        spectral(lambda S, *_: [s if i < 2 else mp.mpf(0) for i, s in enumerate(S)]),
        lambda framework, scale: (2,),
        cut,
    ),
    "nuclear norm": Case(
        "nuclear_norm",
        lambda U, S, Vh, scale: mp.matrix([[sum(S)]]),
        condition=lambda S, x: 1.0 if S[-1] > 1e-6 * S[0] else np.inf,
    ),
    "unitary factor": Case(
        "polar", spectral(lambda S, *_: [mp.mpf(1)] * len(S)), condition=smallest
    ),
    "positive factor": Case(
        "polar", lambda U, S, Vh, scale: Vh.H * mp.diag(S) * Vh, condition=smallest, output=1
    ),
    "nearest unitary": Case(
        "procrustes", spectral(lambda S, *_: [mp.mpf(1)] * len(S)), condition=smallest
    ),
    "rotation": Case(
        "procrustes",
        spectral(rotation_signs),
        condition=last_two,
        square=True,
        real=True,
        kwargs=(("special", True),),
    ),
    "inverse root": Case(
        "eigenvalue_map",
        lambda Q, w, _, scale: (
            Q * mp.diag([(v / scale + mp.mpf(0.1)) ** mp.mpf(-0.5) for v in w]) * Q.H
        ),
        lambda framework, scale: (inverse_root(framework, scale),),
        hermitian=True,
    ),
}


def condition(case, x):
    """The function's own condition at a matrix; infinite where there is no derivative."""
    with np.errstate(divide="ignore", invalid="ignore"):  # a cut or a sign within a tie
        value = case.condition(np.linalg.svd(x, compute_uv=False), x)
    return value if np.isfinite(value) and value > 0 else np.inf


def to_mp(x):
    x = np.asarray(x)
    x = x.astype(np.complex128 if np.iscomplexobj(x) else np.float64)  # exact
    entry = (lambda v: mp.mpc(v.real, v.imag)) if np.iscomplexobj(x) else mp.mpf
    return mp.matrix([[entry(v) for v in row] for row in x])


def from_mp(x, is_complex):
    get = complex if is_complex else (lambda v: float(mp.re(v)))
    return np.array([[get(x[i, j]) for j in range(x.cols)] for i in range(x.rows)])


class Reference:
    """Tangents of every case at one matrix in one direction, from two decompositions in all."""

    def __init__(self, x, dx, scale=1.0, hermitian=False):
        self.is_complex, self.scale, self.hermitian = np.iscomplexobj(x), scale, hermitian
        self.wide = x.shape[0] < x.shape[1]
        A, self.step = to_mp(x), _STEP * scale
        change = to_mp(dx) * self.step
        self.factors = [self._decompose(A + change), self._decompose(A - change)]

    def _decompose(self, A):
        if self.hermitian:
            w, Q = mp.eighe(A) if self.is_complex else mp.eigsy(A)
            return Q, list(w), None
        U, S, Vh = (mp.svd_c if self.is_complex else mp.svd_r)(A.H if self.wide else A)
        return U, list(S), Vh

    def tangent(self, case):
        """``(f(x + h dx) - f(x - h dx))/(2h)``."""
        ahead, behind = (case.value(*factors, self.scale) for factors in self.factors)
        difference = (ahead - behind) / (2 * self.step)
        return from_mp(difference.H if self.wide else difference, self.is_complex)
