"""Functions with a name (inverses, roots, norms, projections): their values at 50 digits.

A value is computed from the factors ``U, S, Vh`` of the matrix, or from its eigenvectors and
eigenvalues. The tangent is a central difference of it. No formula for a derivative is used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath as mp
import numpy as np

from .operators import Reference, from_mp


@dataclass(frozen=True)
class Named:
    """A public function: how to call it at a scale, its value, and its condition.

    The condition depends on the singular values or eigenvalues relative to the largest. It is
    infinite where there is no derivative.
    """

    function: str
    value: Callable[[Any, list[Any], Any, float], Any]
    arguments: Callable[[float], tuple[Any, ...]] = lambda scale: ()
    condition: Callable[[Any], float] = lambda s: 1.0
    kwargs: tuple[tuple[str, object], ...] = ()
    output: int = 0
    hermitian: bool = False
    scales: bool = True  # whether it can be called at any scale


class Exact(Reference):
    """Tangents of the functions here, for tall and for wide matrices."""

    def __init__(self, x, dx, scale, hermitian):
        super().__init__(x, dx, hermitian=hermitian)
        self.at_scale = scale

    def tangent(self, case):
        ahead, behind = (case.value(*self._turned(f), self.at_scale) for f in self.factors)
        return from_mp((ahead - behind) / (2 * self.step), self.is_complex)

    def _turned(self, factors):
        U, S, Vh = factors
        return (Vh.H, S, U.H) if self.wide else (U, S, Vh)


def spectral(f):
    return lambda U, S, Vh, scale: U * mp.diag(f(S, scale)) * Vh


def of_eigenvalues(f):
    return lambda Q, w, _, scale: Q * mp.diag([f(v) for v in w]) * Q.H


def on_simplex(S, radius):
    if sum(S) <= radius:
        return S
    for count in range(len(S), 0, -1):
        t = (sum(S[:count]) - radius) / count
        if S[count - 1] > t:
            return [max(s - t, mp.mpf(0)) for s in S]
    raise AssertionError


def scalar(f):
    return lambda U, S, Vh, scale: mp.matrix([[f(S)]])


WEIGHTS = (0.0, 0.3, 0.3, 1.0)  # of singular values, those of a tie the same or not


def weights_apart(s):
    thresholds = 0.7 * np.array(WEIGHTS[: len(s)])
    different = np.diff(thresholds) != 0
    gaps = (s[:-1] - s[1:])[different]
    if np.abs(s - thresholds).min() < 1e-2 or np.min(gaps, initial=1.0) < 1e-4:
        return np.inf
    return 1 / np.min(gaps, initial=1.0)


def clear_of(t):
    return lambda s: 1.0 if np.abs(s - t).min() > 1e-2 else np.inf


def smallest(s):
    return s[0] / s[-1]


def smallest_eigenvalue(w):
    return w[-1] / w[0] if w[0] > 1e-9 else np.inf


NAMED = {
    "pinv": Named(
        "pinv", lambda U, S, Vh, _: Vh.H * mp.diag([1 / s for s in S]) * U.H, condition=smallest
    ),
    "range_projector of rank 2": Named(
        "range_projector",
        lambda U, S, Vh, _: U[:, :2] * U[:, :2].H,
        condition=lambda s: 1 / (s[1] - s[2]),
        kwargs=(("rank", 2),),
    ),
    "spectral_norm": Named(
        "spectral_norm",
        scalar(lambda S: S[0]),
        condition=lambda s: 1.0 if s[0] - s[1] > 1e-3 else np.inf,
    ),
    "schatten_norm of 3": Named(
        "schatten_norm", scalar(lambda S: mp.cbrt(sum(s**3 for s in S))), lambda scale: (3,)
    ),
    "schatten_norm of 1/2": Named(
        "schatten_norm",
        scalar(lambda S: sum(mp.sqrt(s) for s in S) ** 2),
        lambda scale: (0.5,),
        smallest,
    ),
    "singular_value_clip": Named(
        "singular_value_clip",
        spectral(lambda S, scale: [min(s, mp.mpf(0.33 * scale)) for s in S]),
        lambda scale: (0.33 * scale,),
        clear_of(0.33),
    ),
    "project_nuclear_ball": Named(
        "project_nuclear_ball",
        spectral(lambda S, scale: on_simplex(S, mp.mpf(1.3 * scale))),
        lambda scale: (1.3 * scale,),
        lambda s: clear_of((s[:3].sum() - 1.3) / 3)(s) if s[2] > (s[:3].sum() - 1.3) / 3 else 1.0,
    ),
    "svt with weights": Named(
        "svt",
        spectral(
            lambda S, scale: [
                max(s - mp.mpf(0.7 * scale) * mp.mpf(w), mp.mpf(0))
                for s, w in zip(S, WEIGHTS, strict=False)
            ]
        ),
        lambda scale: (0.7 * scale,),
        weights_apart,
    ),
    "polar, positive on the left": Named(
        "polar",
        lambda U, S, Vh, _: U * mp.diag(S) * U.H,
        condition=smallest,
        kwargs=(("side", "left"),),
        output=1,
    ),
    "polar, positive on the right": Named(
        "polar",
        lambda U, S, Vh, _: Vh.H * mp.diag(S) * Vh,
        condition=smallest,
        kwargs=(("side", "right"),),
        output=1,
    ),
    "sqrtm": Named("sqrtm", of_eigenvalues(mp.sqrt), condition=smallest_eigenvalue, hermitian=True),
    "inv_sqrtm": Named(
        "inv_sqrtm",
        of_eigenvalues(lambda w: 1 / mp.sqrt(w)),
        condition=smallest_eigenvalue,
        hermitian=True,
    ),
    "inv_sqrtm with a floor": Named(
        "inv_sqrtm",
        of_eigenvalues(lambda w: 1 / mp.sqrt(max(w, mp.mpf(0.3)))),
        condition=clear_of(0.3),
        kwargs=(("floor", 0.3),),
        hermitian=True,
        scales=False,
    ),
    "logm": Named("logm", of_eigenvalues(mp.log), condition=smallest_eigenvalue, hermitian=True),
    "expm": Named("expm", of_eigenvalues(mp.exp), hermitian=True, scales=False),
    "powm of 0.3": Named(
        "powm",
        of_eigenvalues(lambda w: w ** mp.mpf(0.3)),
        lambda scale: (0.3,),
        smallest_eigenvalue,
        hermitian=True,
    ),
    "powm of -1.5": Named(
        "powm",
        of_eigenvalues(lambda w: w ** mp.mpf(-1.5)),
        lambda scale: (-1.5,),
        lambda w: smallest_eigenvalue(w) ** 2,
        hermitian=True,
        scales=False,
    ),
    "powm of 2.5": Named(
        "powm",
        of_eigenvalues(lambda w: abs(w) ** mp.mpf(2.5)),
        lambda scale: (2.5,),
        hermitian=True,
        scales=False,
    ),
}


# How each function is called in tests of all functions: against NumPy in every framework, on CuPy,
# by every driver, differentiated twice.
@dataclass(frozen=True)
class Call:
    """A function of some of the inputs, with static arguments.

    The inputs: a matrix ``x``, a Hermitian ``d`` and a positive definite ``h``, a threshold ``t``,
    weights of the values ``w``, a right-hand side ``b``, a tensor ``z``, points ``p`` and ``q``
    with weights ``u``. `hessian` says whether the second derivative in x exists "always" or
    "apart", where not all values are the same; it is not asked for if empty.
    """

    function: str
    inputs: str
    static: tuple[object, ...] = ()
    kwargs: tuple[tuple[str, object], ...] = ()
    hessian: str = ""

    def options(self):
        """The keywords; a fixed driver, because choosing one is slow and tested elsewhere."""
        chosen = {} if self.inputs[0] in "hdp" else {"driver": "svd"}
        return dict(self.kwargs) | chosen

    def __call__(self, module, given):
        arguments = (given[i] for i in self.inputs)
        out = getattr(module, self.function)(*arguments, *self.static, **self.options())
        return tuple(out) if isinstance(out, tuple) else (out,)


CALLS = (
    Call("pinv", "x", hessian="always"),
    Call("lstsq", "xb"),
    Call("range_projector", "x", kwargs=(("rank", 2),), hessian="apart"),
    Call("range_projector", "x"),
    Call("sqrtm", "h", hessian="always"),
    Call("inv_sqrtm", "h", hessian="always"),
    Call("inv_sqrtm", "h", kwargs=(("floor", 0.9),)),
    Call("logm", "h", hessian="always"),
    Call("expm", "h", hessian="always"),
    Call("powm", "h", (0.3,), hessian="always"),
    Call("eigvalsh", "d"),
    Call("spectral_norm", "x", hessian="apart"),
    Call("schatten_norm", "x", (1.5,), hessian="always"),
    Call("singular_value_clip", "xt", hessian="always"),
    Call("project_nuclear_ball", "xt", hessian="always"),
    Call("svt", "xtw"),
    Call("polar", "x", kwargs=(("side", "left"),)),
    Call("tensor_svt", "zt"),
    Call("tensor_svt", "zt", kwargs=(("axis", 0), ("transform", "dct"))),
)
REAL_CALLS = (
    Call("align_points", "pqu", kwargs=(("scale", True),)),
    Call("align_points", "pq", kwargs=(("reflection", True),)),
)
