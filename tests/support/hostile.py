"""A hundred thousand hostile matrices: every function, forward and reverse.

`make hostile` runs all of it, `tests/adapters/test_hostile.py` a part. Each matrix is made from its
factors, so that its derivative is known by a formula. There are tied values (to the last bit, or
split by rounding), zeros, values of very different size, scales from subnormal to nearly the
largest number, and in every batch some matrices with a NaN or an infinity.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

CELLS = (((4, 4), False), ((6, 3), True), ((3, 5), False))
SPOILT = 0.02  # fraction of the matrices with a NaN or an infinity
RANK = 2
RADIUS = 0.5  # of the nuclear ball; only zero matrices are inside
WEIGHTS = (1.0, 1.0, 1.5, 1.5)  # of the threshold; 1.5 times 0.3 is in the gap of the values too
TAU = 0.3  # threshold, relative to the largest value; no value is near it


class Batch(NamedTuple):
    """Matrices ``(N, m, n)`` in a dtype; factors in double, with values at most 1; and cotangents.

    `scale` is the power of two that A was multiplied by, `eps` the error of A relative to its
    largest value, and `good` flags the matrices with finite entries.
    """

    A: Any
    U: Any
    S: Any
    V: Any
    scale: Any
    eps: Any
    good: Any
    W: Any
    direction: Any


def haar(rng, count, n, is_complex):
    """Unitary matrices; every second one exact in any precision: a permutation with signs."""
    X = rng.standard_normal((count, n, n))
    X = X + 1j * rng.standard_normal(X.shape) if is_complex else X
    Q = np.linalg.qr(X)[0]
    P = np.eye(n)[rng.permuted(np.tile(np.arange(n), (count, 1)), axis=1)]
    P = P * rng.choice([-1.0, 1.0], (count, 1, n))
    return np.where(np.arange(count)[:, None, None] % 2 == 0, Q, P)


def spectra(rng, count, k):
    """Values in descending order, the largest 1, none from 0.15 to 0.5 (where the threshold is)."""
    S = np.where(rng.random((count, k)) < 0.5, rng.uniform(0.5, 1, (count, k)), 0.0)
    small = rng.uniform(0.02, 0.15, (count, k))
    S = np.where(S == 0, small, S)
    kind = rng.integers(0, 6, count)[:, None]
    tied = np.where(S > 0.3, 0.75, 0.1)  # two multiplets
    tiny = 10.0 ** rng.uniform(-45, -3, (count, k))
    S = np.select([kind == 1, kind == 2, kind == 3], [tied, np.ones_like(S), S], S)
    last = np.arange(k) == k - 1
    S = np.where((kind == 3) & last, 0.0, S)
    S = np.where((kind == 4) & (S < 0.3), tiny, S)
    S[:, 0] = 1.0
    return -np.sort(-S, axis=1)


def draw(rng, count, shape, is_complex, dtype) -> Batch:
    """A batch that is likely to contain every kind of matrix."""
    (m, n), k = shape, min(shape)
    U = haar(rng, count, m, is_complex)[..., :k]
    V = haar(rng, count, n, is_complex)[..., :k]
    S = spectra(rng, count, k)
    info = np.finfo(dtype)
    lowest, highest = info.minexp - info.nmant + 8, info.maxexp - 6
    exponent = rng.integers(lowest, highest, count)
    exponent = np.where(rng.random(count) < 0.3, 0, exponent)
    scale = np.ldexp(1.0, exponent)
    A = (U * S[:, None, :]) @ V.conj().swapaxes(-1, -2)
    A = A * scale[:, None, None]
    zero = rng.random(count) < 0.01
    A[zero], S[zero] = 0, 0
    wanted = np.result_type(dtype, np.complex64) if is_complex else np.dtype(dtype)
    A = A.astype(wanted)
    spoilt = rng.random(count) < SPOILT
    A[spoilt, 0, -1] = rng.choice([np.nan, np.inf, -np.inf], spoilt.sum())
    smallest = float(info.smallest_subnormal)
    eps = np.maximum(float(info.eps), np.where(zero, 0, smallest / scale))

    def normal():
        X = rng.standard_normal(A.shape)
        return (X + 1j * rng.standard_normal(A.shape) if is_complex else X).astype(wanted)

    return Batch(A, U, S, V, scale, eps, ~spoilt, normal(), normal())


def derivative(b: Batch, G, f, plus, minus, ratio):
    """``D[G]`` in double precision, from the coefficients for values of size 1."""
    Uh, Vh = (X.conj().swapaxes(-1, -2) for X in (b.U, b.V))
    P = Uh @ G @ b.V
    Ph = P.conj().swapaxes(-1, -2)
    core = 0.5 * (plus * (P + Ph) + minus * (P - Ph))
    out = b.U @ core @ Vh
    GV, UG = G @ b.V, Uh @ G
    out = out + (GV - b.U @ P) * ratio[:, None, :] @ Vh
    return out + b.U @ (ratio[:, :, None] * (UG - P @ Vh))


def pairs(S):
    """Values of rows and of columns, and 1 over their sum, 0 for two zeros."""
    i, j = S[:, :, None], S[:, None, :]
    total = i + j
    return i, j, np.where(total > 0, 1 / np.where(total > 0, total, 1), 0)


def soft(b: Batch, G, tau=TAU):
    t = np.broadcast_to(np.asarray(tau), (len(b.S),))[:, None]
    f = np.maximum(b.S - t, 0)
    i, j, inverse = pairs(b.S)
    fi, fj = f[:, :, None], f[:, None, :]
    up, left = i > t[:, :, None], j > t[:, :, None]
    gap = np.where(up == left, 1, i - j)
    plus = np.where(up & left, 1.0, np.where(up | left, (fi - fj) / gap, 0))
    return derivative(b, G, f, plus, (fi + fj) * inverse, f / np.where(b.S > 0, b.S, 1))


def clipped(b: Batch, G):
    return G - soft(b, G)


def _ball(b: Batch):
    """The threshold that makes the values add up to RADIUS."""
    order = np.arange(1, b.S.shape[1] + 1)
    return np.max((np.cumsum(b.S, axis=1) - RADIUS) / order, axis=1)


def in_ball(b: Batch, G):
    theta = _ball(b)
    kept = (theta[:, None] < b.S) * 1.0
    P = np.diagonal(_conj(b.U) @ G @ b.V, axis1=1, axis2=2).real
    mean = np.sum(kept * P, axis=1) / np.maximum(np.sum(kept, axis=1), 1)
    return soft(b, G, theta) - (b.U * (kept * mean[:, None])[:, None, :]) @ _conj(b.V)


def weighted(b: Batch, G):
    t = TAU * np.asarray(WEIGHTS[: b.S.shape[1]])
    f = np.maximum(b.S - t, 0)
    i, j, inverse = pairs(b.S)
    fi, fj = f[:, :, None], f[:, None, :]
    same = (t[:, None] == t[None, :]) & (fi > 0) & (fj > 0)
    gap = np.where(i == j, 1, i - j)
    plus = np.where(same, 1.0, np.where(i == j, 0.0, (fi - fj) / gap))
    return derivative(b, G, f, plus, (fi + fj) * inverse, f / np.where(b.S > 0, b.S, 1))


def orthogonal(b: Batch, G):
    f = np.ones_like(b.S)
    _, _, inverse = pairs(b.S)
    return derivative(b, G, f, np.zeros_like(inverse), 2 * inverse, 1 / _positive(b.S))


def aligned(b: Batch, G):
    half = 0.5 * orthogonal(b, G)
    return np.concatenate([half, -half], axis=1)


def inverted(b: Batch, G):
    """Reverse mode of ``pinv``, for the adjoint of its cotangent."""
    S = _positive(b.S)
    product = 1 / (S[:, :, None] * S[:, None, :])
    return derivative(b, _conj(G), 1 / S, -product, product, S**-2)


def inverted_along(b: Batch, G):
    return _conj(inverted(b, _conj(G)))


def solved(b: Batch, G):
    return inverted(b, G[:, :, None] * b.W[:, None, :, 0].conj())


def solved_along(b: Batch, G):
    return (inverted_along(b, G) @ b.W[:, :, :1])[..., 0]


def projector(b: Batch, G):
    """Reverse mode of ``U_r U_r^H``."""
    kept = np.arange(b.S.shape[1]) < RANK
    i, j, _ = pairs(b.S)
    across = ~kept[:, None] & kept[None, :] & (i != j)
    quotient = np.where(across, 1 / np.where(across, j * j - i * i, 1), 0)
    H = G + _conj(G)
    C = (_conj(b.U) @ H @ b.U) * quotient
    X = C * j + _conj(C * i)
    HU = H @ b.U * np.where(kept, 1 / _positive(b.S), 0)[:, None, :]
    return (b.U @ X + HU - b.U @ (_conj(b.U) @ HU)) @ _conj(b.V)


def of_values(b: Batch, G):
    """Reverse mode of half the sum of squares of the values."""
    return (b.U * b.S[:, None, :]) @ _conj(b.V)


def of_leading(b: Batch, G):
    return (b.U[..., :RANK] * b.S[:, None, :RANK]) @ _conj(b.V[..., :RANK])


def squares(b: Batch, G):
    return 2 * G[:, None, None] * of_values(b, G)


def schatten(b: Batch, G):
    norm = np.maximum(np.sum(b.S**3, axis=1), 1e-300) ** (1 / 3)
    return G[:, None, None] * ((b.U * ((b.S / norm[:, None]) ** 2)[:, None, :]) @ _conj(b.V))


def largest(b: Batch, G):
    top = (b.S[:, :1] == b.S) * 1.0
    top = top / np.sum(top, axis=1, keepdims=True)
    return G[:, None, None] * ((b.U * top[:, None, :]) @ _conj(b.V))


def tensor(b: Batch, G):
    return np.stack([soft(b, G[..., 0]), np.zeros_like(G[..., 0])], axis=-1)


def hermitian(quotient):
    """The derivative of a function of a Hermitian matrix by its first divided differences."""

    def of(b: Batch, G):
        w = _eigenvalues(b)
        C = _conj(b.V) @ (0.5 * (G + _conj(G))) @ b.V
        return b.V @ (quotient(w[:, :, None], w[:, None, :]) * C) @ _conj(b.V)

    return of


def _of_exponential(i, j):
    gap = np.where(i == j, 1, i - j)
    return np.exp(j) * np.where(i == j, 1, np.expm1(i - j) / gap)


def _of_logarithm(i, j):
    i, j = _positive(i), _positive(j)
    gap = np.where(i == j, 1, i - j)
    return np.where(i == j, 1 / j, np.log1p((i - j) / j) / gap)


def _of_root(i, j):
    total = np.sqrt(i) + np.sqrt(j)
    return np.where(total > 0, 1 / _positive(total), 0)


def _of_inverse_root(i, j):
    i, j = np.sqrt(_positive(i)), np.sqrt(_positive(j))
    return -1 / (i * j * (i + j))


def _of_power(i, j):
    return (i + np.sqrt(i * j) + j) * _of_root(i, j)


def _conj(X):
    return X.conj().swapaxes(-1, -2)


def _positive(S):
    return np.where(S > 0, S, 1)


def _eigenvalues(b: Batch):
    """The eigenvalues of a batch made by `as_hermitian`, in the order of its factors."""
    return b.S * np.sum(b.U.conj() * b.V, axis=1).real.round()


def as_hermitian(b: Batch, indefinite: bool) -> Batch:
    """The matrices ``V diag(+-S) V^H`` at the scale of the batch; every second value negative."""
    sign = np.where(np.arange(b.S.shape[1]) % 2 == 1, -1.0, 1.0) if indefinite else 1.0
    U = b.V * sign
    A = ((U * b.S[:, None, :]) @ _conj(b.V) * b.scale[:, None, None]).astype(b.A.dtype)
    A[~b.good] = b.A[~b.good]
    return b._replace(A=A, U=U)


def as_unit(b: Batch) -> Batch:
    """The batch at scale 1."""
    A = ((b.U * b.S[:, None, :]) @ _conj(b.V)).astype(b.A.dtype)
    A[~b.good] = b.A[~b.good]
    eps = np.full_like(b.eps, np.finfo(A.real.dtype).eps)
    return b._replace(A=A, scale=np.ones_like(b.scale), eps=eps)


def as_points(b: Batch) -> Batch:
    """Points whose covariance with the unit vectors and their opposites is twice the matrix."""
    return b._replace(A=np.concatenate([b.A, -b.A], axis=1))


def as_tensor(b: Batch) -> Batch:
    """Tensors whose two slices are the matrix under the cosine transform."""
    A, W, direction = (
        np.stack([c * X, np.zeros_like(X)], axis=-1).astype(X.dtype)
        for c, X in ((np.sqrt(2), b.A), (1, b.W), (1, b.direction))
    )
    return b._replace(A=A, W=W, direction=direction)


def through_tau(b: Batch, G):
    P = b.U.conj().swapaxes(-1, -2) @ G @ b.V
    return -np.sum(np.where(b.S > TAU, np.diagonal(P, axis1=1, axis2=2).real, 0), axis=-1)


def truncated(b: Batch, G):
    kept = (np.arange(b.S.shape[1]) < RANK) * 1.0
    f = b.S * kept
    i, j, inverse = pairs(b.S)
    fi, fj = f[:, :, None], f[:, None, :]
    across = kept[:, None] != kept[None, :]
    gap = np.where(across & (i != j), i - j, 1)
    plus = np.where(across, (fi - fj) / gap, (kept[:, None] * kept[None, :]))
    return derivative(b, G, f, plus, (fi + fj) * inverse, np.broadcast_to(kept, f.shape))


def cubed(b: Batch, G):
    i, j, _ = pairs(b.S)
    return derivative(b, G, b.S**3, i * i + i * j + j * j, i * i - i * j + j * j, b.S**2)


def positive(b: Batch, G):
    """Reverse mode of the positive factor, for the cotangent G of it."""
    Uh, Vh = (X.conj().swapaxes(-1, -2) for X in (b.U, b.V))
    tall = b.U.shape[1] >= b.V.shape[1]
    i, j, inverse = pairs(b.S)
    C = (Vh @ G @ b.V) if tall else (Uh @ G @ b.U)
    return b.U @ ((i if tall else j) * inverse * (C + C.conj().swapaxes(-1, -2))) @ Vh


def nuclear(b: Batch, G):
    return G[:, None, None] * (b.U @ b.V.conj().swapaxes(-1, -2))


class Given(NamedTuple):
    """Further arguments of functions, as arrays of a framework."""

    tau: Any  # (N,)
    scale: Any  # (N, 1)
    rhs: Any  # (N, m)
    weights: Any  # (k,)
    unit: Any  # (2n, n): the unit vectors and their opposites

    @staticmethod
    def of(b: Batch, convert):
        dtype = b.A.real.dtype
        n = b.A.shape[-1] if b.A.ndim == 3 else 1
        unit = np.concatenate([np.eye(n), -np.eye(n)]) + np.zeros((len(b.A), 1, 1))
        return Given(
            convert((TAU * b.scale).astype(dtype)),
            convert(b.scale.astype(dtype)[:, None]),
            convert(b.W.reshape(*b.W.shape[:2], -1)[..., 0]),
            convert(np.asarray(WEIGHTS[: b.S.shape[1]], dtype)),
            convert(unit.astype(dtype)),
        )


def everywhere(b: Batch):
    return np.ones(len(b.S), bool)


def full_rank(b: Batch):
    return b.S[:, -1] > 1e-3


def _ordinary(b: Batch):
    """Whether the matrices are not subnormal."""
    return b.eps < 2 * np.finfo(b.A.dtype).eps


def semidefinite(b: Batch):
    """Semidefinite: rounding to subnormal numbers may have made a positive value negative."""
    return full_rank(b) | _ordinary(b)


def _representable(b: Batch):
    """Whether the reciprocal of the gap at the cut is representable, or the gap is 0."""
    gap = (b.S[:, RANK - 1] - b.S[:, RANK]) * b.scale
    return (gap == 0) | (gap > 1e5 * np.finfo(b.A.dtype).smallest_normal)


def _cut(b: Batch):
    gap = b.S[:, RANK - 1] - b.S[:, RANK]
    return np.where(gap > 0.01, np.maximum(gap, 1e-300) ** -2.0, np.inf)


def _smallest(power):
    def condition(b: Batch):
        return np.where(full_rank(b), np.maximum(b.S[:, -1], 1e-300) ** -power, np.inf)

    return condition


def _ball_condition(b: Batch):
    distance = np.min(np.abs(b.S - _ball(b)[:, None]), axis=1)
    return np.where(distance > 0.01, 1 / np.maximum(distance, 1e-300), np.inf)


def _top_gap(b: Batch):
    """The condition 1/gap, from the largest value to the next one that does not equal it."""
    gap = np.min(np.where(b.S[:, :1] == b.S, 1.0, b.S[:, :1] - b.S), axis=1)
    split = (b.S[:, 1] == b.S[:, 0]) & ~_ordinary(b)  # subnormal rounding splits ties widely
    return np.where((gap > 0.01) & ~split, 1 / np.maximum(gap, 1e-300), np.inf)


def _weighted_gap(b: Batch):
    """The condition 1/gap^2, between values with different thresholds, one of which is kept."""
    t = TAU * np.asarray(WEIGHTS[: b.S.shape[1]])
    i, j, _ = pairs(b.S)
    kept = t < b.S
    counts = (t[:, None] != t[None, :]) & (kept[:, :, None] | kept[:, None, :])
    gap = np.min(np.where(counts, np.abs(i - j), 1.0), axis=(1, 2))
    return np.where(gap > 0.01, gap.clip(1e-300) ** -2.0, np.inf)


@dataclass(frozen=True)
class Question:
    """A function, its exact derivative, and the accepted error of a gradient.

    `args` takes a `Given`. `exact` is the derivative in reverse mode for matrices at scale 1, and
    `along` the one in forward mode; a function of c A is ``c^degree`` times that of A. `condition`
    is infinite where the derivative does not exist or is not known. There results only have to be
    finite, if `exists` holds.
    """

    function: str
    exact: Callable[..., Any]
    args: Callable[[Given], tuple[Any, ...]] = lambda g: ()
    options: tuple[tuple[str, Any], ...] = ()
    field: str = ""  # of a result of several
    along: Callable[..., Any] | None = None
    power: float = 1.0  # of eps
    bound: float = 200.0  # times eps^power
    degree: float = 1.0
    condition: Callable[[Batch], Any] = lambda b: np.ones(len(b.S))
    exists: Callable[[Batch], Any] = everywhere
    cotangent: Callable[[Batch], Any] = lambda b: b.W
    prepare: Callable[[Batch], Batch] = lambda b: b
    suits: Callable[[Any, bool], bool] = lambda shape, is_complex: True

    def call(self, module, x, given: Given):
        out = getattr(module, self.function)(x, *self.args(given), **dict(self.options))
        return getattr(out, self.field) if self.field else out


def _number(b: Batch):
    return np.ones(len(b.S))


def _values(b: Batch):
    return b.S


def _ascending(b: Batch):
    return np.sort(_eigenvalues(b), axis=1)


def _positive_factor(b: Batch):
    m, n = b.A.shape[1:]
    return _conj(b.W) @ b.W if m > n else b.W @ _conj(b.W)


def of_hermitian(function, quotient, indefinite=False, at_unit=False, **more) -> Question:
    exact = hermitian(quotient)

    def prepare(b: Batch) -> Batch:
        b = as_hermitian(b, indefinite)
        return as_unit(b) if at_unit else b

    more = {"exact": exact, "along": exact, **more}
    return Question(function, prepare=prepare, suits=square, **more)


def square(shape, is_complex):
    return shape[0] == shape[1]


# In the rows with a condition only finite results are required where the derivative does not exist:
# for truncations at a cut through a repeated value, for `procrustes`, `polar`, `nuclear_norm`,
# `pinv` and `lstsq` without full rank, for weights that differ at a tie, and for the ball where a
# value equals the threshold. `inv_sqrtm` and `logm` of a singular matrix are NaN and not checked.
QUESTIONS: dict[str, Question] = {
    "svt": Question("svt", soft, lambda g: (g.tau,), along=soft),
    "svt, weights": Question(
        "svt",
        weighted,
        lambda g: (g.tau, g.weights),
        along=weighted,
        condition=_weighted_gap,
    ),
    "tensor_svt": Question(
        "tensor_svt",
        tensor,
        lambda g: (g.tau,),
        (("transform", "dct"),),
        along=tensor,
        prepare=as_tensor,
    ),
    "singular_value_clip": Question(
        "singular_value_clip", clipped, lambda g: (g.tau,), along=clipped
    ),
    "project_nuclear_ball": Question(
        "project_nuclear_ball",
        in_ball,
        lambda g: (g.scale[:, 0] * RADIUS,),
        along=in_ball,
        condition=_ball_condition,
    ),
    "low_rank": Question(
        "low_rank", truncated, lambda g: (RANK,), along=truncated, bound=40.0, condition=_cut
    ),
    "truncated_svd": Question(
        "truncated_svd",
        of_leading,
        lambda g: (RANK,),
        field="S",
        condition=_cut,
        cotangent=lambda b: b.S[:, :RANK],
    ),
    "range_projector": Question(
        "range_projector",
        projector,
        options=(("rank", RANK),),
        degree=0.0,
        condition=_cut,
        exists=_representable,
        cotangent=lambda b: b.W @ _conj(b.W),
    ),
    "singular_value_map": Question(
        "singular_value_map",
        cubed,
        lambda g: (cubes(g.scale),),
        along=cubed,
        power=2 / 3,
        bound=10.0,
    ),
    "spectral_function": Question(
        "spectral_function",
        squares,
        lambda g: (sum_of_squares(g.scale),),
        power=2 / 3,
        bound=10.0,
        cotangent=_number,
    ),
    "nuclear_norm": Question("nuclear_norm", nuclear, condition=_smallest(1), cotangent=_number),
    "schatten_norm": Question("schatten_norm", schatten, lambda g: (3.0,), cotangent=_number),
    "spectral_norm": Question("spectral_norm", largest, condition=_top_gap, cotangent=_number),
    "polar": Question(
        "polar",
        positive,
        field="positive",
        condition=_smallest(1),
        cotangent=_positive_factor,
    ),
    "procrustes": Question(
        "procrustes", orthogonal, along=orthogonal, degree=0.0, condition=_smallest(2)
    ),
    "align_points": Question(
        "align_points",
        aligned,
        lambda g: (g.unit,),
        (("reflection", True),),
        field="rotation",
        degree=0.0,
        condition=_smallest(2),
        prepare=as_points,
        suits=lambda shape, is_complex: square(shape, False) and not is_complex,
    ),
    "pinv": Question(
        "pinv",
        inverted,
        along=inverted_along,
        degree=-1.0,
        condition=_smallest(3),
        cotangent=lambda b: _conj(b.W),
    ),
    "lstsq": Question(
        "lstsq",
        solved,
        lambda g: (g.rhs,),
        field="x",
        along=solved_along,
        degree=-1.0,
        condition=_smallest(3),
        cotangent=lambda b: b.W[:, 0, :],
    ),
    "svdvals": Question("svdvals", of_values, cotangent=_values),
    "svd": Question("svd", of_values, field="S", cotangent=_values),
    "eigh": of_hermitian(
        "eigh", None, True, exact=of_values, along=None, field="eigenvalues", cotangent=_ascending
    ),
    "eigvalsh": of_hermitian(
        "eigvalsh", None, True, exact=of_values, along=None, cotangent=_ascending
    ),
    "eigenvalue_map": of_hermitian(
        "eigenvalue_map",
        lambda i, j: i * i + i * j + j * j,
        True,
        args=lambda g: (cubes(g.scale),),
        power=2 / 3,
        bound=10.0,
    ),
    "expm": of_hermitian("expm", _of_exponential, True, True),
    "logm": of_hermitian(
        "logm", _of_logarithm, degree=0.0, condition=_smallest(2), exists=full_rank
    ),
    "sqrtm": of_hermitian(
        "sqrtm", _of_root, degree=0.5, condition=_smallest(2), exists=semidefinite
    ),
    "inv_sqrtm": of_hermitian(
        "inv_sqrtm", _of_inverse_root, degree=-0.5, condition=_smallest(3), exists=full_rank
    ),
    "powm": of_hermitian(
        "powm",
        _of_power,
        args=lambda g: (1.5,),
        degree=1.5,
        condition=_smallest(2),
        exists=semidefinite,
    ),
}
# The caller's functions below divide by the scale, and so do their derivatives, which may then
# overflow or underflow.
MAPS = ("singular_value_map", "eigenvalue_map", "spectral_function")
LEAST_COMPLEX_STEP = 1e-290


def cubes(scale):
    """``s (s/scale)^2`` for arrays of any framework."""

    def fn(s):
        return s * (s / scale) * (s / scale)

    return fn


def sum_of_squares(scale):
    """``sum s (s/scale)`` for arrays of any framework."""

    def fn(s):
        return (s * (s / scale)).sum(-1)

    return fn


def numpy_answers(question, b: Batch, ct):
    import svdinv.numpy as module

    args, options = question.args(Given.of(b, lambda a: a)), dict(question.options)
    function = getattr(module, question.function)
    out, pullback = module.vjp(function, b.A, *args, **options)
    one = None
    if question.field:
        one, out = out, getattr(out, question.field)
    cts = pullback(
        ct if one is None else tuple(ct if f == question.field else None for f in one._fields)
    )
    _, dout = module.jvp(function, (b.A, *args), (b.direction, *(None for _ in args)), **options)
    dout = getattr(dout, question.field) if question.field else dout
    return out, cts[0], (cts[1] if len(cts) > 1 else None), dout


def torch_answers(question, b: Batch, ct):
    import svdinv.torch as module
    import torch
    from torch.autograd import forward_ad

    x, given = torch.tensor(b.A, requires_grad=True), Given.of(b, torch.tensor)
    tau = given.tau.clone().requires_grad_()
    out = question.call(module, x, given._replace(tau=tau))
    ct_x, ct_tau = torch.autograd.grad(out, (x, tau), torch.tensor(ct), allow_unused=True)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x.detach(), torch.tensor(b.direction))
        dout = forward_ad.unpack_dual(question.call(module, dual, given)).tangent
    return (
        out.detach().numpy(),
        ct_x.numpy(),
        None if ct_tau is None else ct_tau.numpy(),
        dout.detach().numpy(),
    )


_programs: dict[Any, Any] = {}


def jax_answers(question, b: Batch, ct):
    import jax
    import svdinv.jax as module

    jax.config.update("jax_enable_x64", True)
    if question not in _programs:

        @jax.jit
        def program(x, given, dx, ct):
            call = lambda x, tau: question.call(module, x, given._replace(tau=tau))  # noqa: E731
            out, pullback = jax.vjp(call, x, given.tau)
            _, dout = jax.jvp(lambda x: call(x, given.tau), (x,), (dx,))
            return out, pullback(ct.conj()), dout

        _programs[question] = program
    given = Given.of(b, lambda a: a)
    out, (ct_x, ct_tau), dout = _programs[question](b.A, given, b.direction, ct)
    return tuple(map(np.asarray, (out, ct_x.conj(), ct_tau, dout)))


ANSWERS = {"numpy": numpy_answers, "torch": torch_answers, "jax": jax_answers}


@dataclass
class Tally:
    """The number of checks and the findings, one row per function."""

    asked: int = 0
    compared: int = 0
    worst: float = 0.0  # error over its bound
    faults: list[str] = field(default_factory=list)


def _finite(x):
    return np.isfinite(x).reshape(len(x), -1).all(axis=1)


def _times(x, factor):
    """The product in double precision."""
    return x.astype(np.result_type(x.dtype, np.float64)) * factor.reshape(-1, *[1] * (x.ndim - 1))


def _norm(x):
    return np.linalg.norm(x.reshape(len(x), -1), axis=1)


def examine(name, framework, b: Batch, tally: Tally) -> None:
    """Compare the results of one module for one batch with the formula; faults go to the tally."""
    question = QUESTIONS[name]
    b = question.prepare(b)
    dtype = b.A.real.dtype
    ct = question.cotangent(b)
    ct = ct.astype(b.A.dtype if np.iscomplexobj(ct) else dtype)
    if b.direction.shape != b.A.shape:
        b = b._replace(direction=np.concatenate([b.direction, -b.direction], axis=1))
    out, ct_x, ct_tau, dout = ANSWERS[framework](question, b, ct)
    where = f"{framework} {name} {b.A.shape[1:]} {b.A.dtype}"
    tally.asked += len(b.A)
    for what, y in (("value", out), ("gradient", ct_x), ("tangent", dout)):
        if np.any(_finite(y) & ~b.good):
            tally.faults.append(f"{where}: {what} of a spoilt matrix is finite")
    smallest = float(np.finfo(dtype).smallest_normal)
    seen, eps = b.good & question.exists(b), b.eps
    if framework == "jax":  # XLA treats subnormal numbers as zero
        seen = seen & (b.scale * 1e-3 > smallest)
        eps = np.maximum(eps, np.where(b.S[:, 0] > 0, smallest / b.scale, 0.0))
    if question.degree != 1:  # it or its derivative changes with the scale, and may overflow
        room = (0.7 if question.degree >= 0 else 0.4) * np.log2(1 / smallest)
        steepest = max(abs(question.degree), abs(question.degree - 1))
        seen = seen & (np.abs(np.log2(b.scale)) * steepest < room)
    if name in MAPS:
        seen = seen & (b.scale > 1e4 * smallest) & (b.scale < 1e-5 / smallest)
    if framework == "numpy" and name in MAPS:
        smallest_value = np.min(np.where(b.S > 0, b.S, 1.0), axis=1) * b.scale
        seen = seen & (smallest_value > LEAST_COMPLEX_STEP)
    for what, y in (("value", out), ("gradient", ct_x), ("tangent", dout)):
        bad = ~_finite(y) & seen
        if bad.any():
            at = np.flatnonzero(bad)[0]
            tally.faults.append(
                f"{where}: {what} is not finite, in {bad.sum()} matrices; values {b.S[at]} times "
                f"{b.scale[at]:.1e}"
            )
    factor = np.where(seen, b.scale, 1.0) ** (1 - question.degree)
    G = ct.astype(np.result_type(ct.dtype, np.float64))
    compare = [("gradient", _times(ct_x, factor), question.exact(b, G), _norm(G))]
    if question.along is not None:
        dA = b.direction.astype(np.result_type(b.direction.dtype, np.float64))
        compare.append(("tangent", _times(dout, factor), question.along(b, dA), _norm(dA)))
    if name == "svt":
        compare.append(("gradient in tau", ct_tau, through_tau(b, G), _norm(G)))
    if name == "singular_value_clip":
        compare.append(("gradient in maximum", ct_tau, -through_tau(b, G), _norm(G)))
    kappa = question.condition(b)
    zero = b.S[:, 0] == 0
    use = seen & np.isfinite(kappa) & ~zero & (eps < 1e-3)
    bound = question.bound * eps**question.power * np.where(use, kappa, 1.0)
    for what, y, exact, size in compare:
        error = np.where(use, _norm(y - exact) / size / bound, 0.0)
        error = np.where(use & ~np.isfinite(error), np.inf, error)
        tally.compared += int(use.sum())
        worst = int(np.argmax(error))
        tally.worst = max(tally.worst, float(error[worst]))
        if error[worst] > 1:
            tally.faults.append(
                f"{where}: {what} is off by {error[worst] * bound[worst]:.1e} in "
                f"{int((error > 1).sum())} matrices; values {b.S[worst]} times {b.scale[worst]:.1e}"
            )


def batches(rng, total, size) -> Iterator[tuple[Any, Any, Batch]]:
    """Batches of all cells and precisions, `total` matrices or more."""
    kinds = [(cell, dtype) for dtype in (np.float32, np.float64) for cell in CELLS]
    drawn = 0
    while drawn < total:
        for (shape, is_complex), dtype in kinds:
            yield shape, dtype, draw(rng, size, shape, is_complex, dtype)
            drawn += size


def run(total, size, frameworks, names=tuple(QUESTIONS), seed=0) -> dict[tuple[str, str], Tally]:
    """Check every function of every module on every batch."""
    rng = np.random.default_rng(seed)
    tallies = {(f, n): Tally() for f in frameworks for n in names}
    for shape, _, batch in batches(rng, total, size):
        for framework in frameworks:
            for name in names:
                if not QUESTIONS[name].suits(shape, np.iscomplexobj(batch.A)):
                    continue
                with np.errstate(all="ignore"):
                    examine(name, framework, batch, tallies[framework, name])
    return tallies


def main() -> int:
    """Print a row for each module and function, then the faults."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--matrices", type=int, default=108_000)
    parser.add_argument("--batch", type=int, default=3000)
    parser.add_argument("--framework", default="numpy,torch,jax")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    tallies = run(options.matrices, options.batch, options.framework.split(","), seed=options.seed)
    for (framework, name), tally in tallies.items():
        print(
            f"{framework:6} {name:20} {tally.asked:7} matrices, {tally.compared:7} derivatives "
            f"compared, worst error {tally.worst:.2f} of its bound, {len(tally.faults)} faults"
        )
    faults = [fault for tally in tallies.values() for fault in tally.faults]
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
