"""The exact gradient, computed independently of everything it is used to check.

Two steps, both in NumPy's extended precision (``longdouble``, 64 bits of mantissa on x86):

1. a singular value decomposition by one-sided Jacobi rotations, which needs no LAPACK and finds
   small values to full relative accuracy;
2. the derivative of the loss written out for each loss, from the Daleckii-Krein formula for a
   spectral operator ``B = U f(S) Vh``:

       P      = U^H W V                               (W: the cotangent of B)
       dL/dA  = U (Gp * hP/2 + Gm * aP/2) Vh + (I - U U^H) W V c Vh
       hP     = P + P^H,  aP = P - P^H
       Gp_ij  = (f_i - f_j) / (s_i - s_j)             (f'(s_i) where both values are the same)
       Gm_ij  = (f_i + f_j) / (s_i + s_j)
       c_i    = f_i / s_i

   for tall and square matrices; a wide one is treated as the adjoint of a tall one.

No difference of nearly equal numbers appears: for the soft and the hard threshold ``Gp`` is
computed by cases (both values kept, both dropped, one of each). The matrix does not define the left
vector of a zero value, and it is not needed: it belongs to ``I - U U^H``.

For larger matrices (more than :data:`EXTENDED_LIMIT` singular values) the factors are float64 ones
of LAPACK, with the same formula; :attr:`Factors.extended` says which.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "EXTENDED_LIMIT",
    "NEAR",
    "ExactGradient",
    "Factors",
    "decompose",
    "exact_gradient",
    "extended_precision",
    "jacobi_svd",
    "spectral_gradient",
]

Array = NDArray[Any]

EXTENDED_LIMIT = 96
"""Largest number of singular values for which the extended-precision decomposition is used."""

NEAR = 1e-6
"""Relative gap below which the slope at the midpoint is more accurate in extended precision."""

_SWEEPS = 40
"""Sweeps of rotations before giving up; quadratic convergence takes about ten."""


def extended_precision() -> bool:
    """Say whether ``longdouble`` is wider than ``float64`` on this platform."""
    return bool(np.finfo(np.longdouble).eps < np.finfo(np.float64).eps)


def _adjoint(x: Array) -> Array:
    return np.conj(np.swapaxes(x, -1, -2))


def _round_robin(n: int) -> list[tuple[Array, Array]]:
    """Split all pairs of ``n`` columns into rounds of disjoint pairs (the circle method)."""
    players = list(range(n)) + ([-1] if n % 2 else [])
    half = len(players) // 2
    rounds = []
    for _ in range(len(players) - 1):
        pairs = [
            (min(i, j), max(i, j))
            for i, j in zip(players[:half], reversed(players[half:]), strict=True)
            if i >= 0 and j >= 0
        ]
        if pairs:
            rounds.append((np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])))
        players = [players[0], players[-1], *players[1:-1]]
    return rounds


def jacobi_svd(a: Array) -> tuple[Array, Array, Array]:
    """Decompose matrices with at least as many rows as columns, in extended precision.

    Parameters
    ----------
    a
        ``(..., m, n)`` with ``m >= n``, real or complex, finite.

    Returns
    -------
    U, S, Vh
        ``(..., m, n)``, ``(..., n)`` in descending order, ``(..., n, n)``. The columns of ``U``
        for zero values are zero. A value counts as zero below ``n`` times the rounding error of the
        largest value.

    Raises
    ------
    ValueError
        If ``m < n``.
    ArithmeticError
        If the rotations do not converge.
    """
    a = np.asarray(a)
    m, n = a.shape[-2:]
    if m < n:
        raise ValueError(f"jacobi_svd needs at least as many rows as columns, got {a.shape}")
    dtype = np.clongdouble if np.iscomplexobj(a) else np.longdouble
    batch = a.shape[:-2]
    work = a.astype(dtype).reshape(-1, m, n)
    eps = np.finfo(np.longdouble).eps

    # A power of two near the largest entry: exact, and squares can then neither overflow nor
    # underflow.
    largest = np.max(np.abs(work), axis=(-2, -1), initial=0)
    scale = np.ldexp(np.longdouble(1), np.where(largest > 0, np.frexp(largest)[1], 0))
    work = work / scale[:, None, None]

    # Rows m: hold the rotations, so that one update serves both.
    stacked = np.concatenate(
        [work, np.broadcast_to(np.eye(n, dtype=dtype), (len(work), n, n))], axis=1
    )
    floor = (n * eps) ** 2 * np.sum(np.abs(work) ** 2, axis=(-2, -1), initial=0)[:, None]
    rounds = _round_robin(n)
    for _ in range(_SWEEPS):
        rotated = False
        for i, j in rounds:
            ai, aj = stacked[:, :, i], stacked[:, :, j]
            alpha = np.sum(np.abs(ai[:, :m]) ** 2, axis=1)
            beta = np.sum(np.abs(aj[:, :m]) ** 2, axis=1)
            gamma = np.sum(np.conj(ai[:, :m]) * aj[:, :m], axis=1)
            size = np.abs(gamma)
            active = size > n * eps * np.sqrt(alpha * beta)
            active &= (alpha > floor) & (beta > floor)
            if not active.any():
                continue
            rotated = True
            safe = np.where(active, size, 1)
            zeta = (beta - alpha) / (2 * safe)
            t = np.where(zeta >= 0, 1, -1) / (np.abs(zeta) + np.sqrt(1 + zeta * zeta))
            t = np.where(active, t, 0)
            c = (1 / np.sqrt(1 + t * t))[:, None]
            s = t[:, None] * c
            phase = np.where(active, gamma / safe, 1)[:, None]
            stacked[:, :, i] = c * ai - (s * np.conj(phase)) * aj
            stacked[:, :, j] = (s * phase) * ai + c * aj
        if not rotated:
            break
    else:
        raise ArithmeticError(f"Jacobi rotations did not converge in {_SWEEPS} sweeps")

    columns, v = stacked[:, :m], stacked[:, m:]
    s = np.sqrt(np.sum(np.abs(columns) ** 2, axis=1))
    s = np.where(s * s > floor, s, 0)
    order = np.argsort(-s, axis=-1, kind="stable")
    s = np.take_along_axis(s, order, axis=-1)
    columns = np.take_along_axis(columns, order[:, None, :], axis=-1)
    v = np.take_along_axis(v, order[:, None, :], axis=-1)
    kept = s > 0
    u = np.where(kept[:, None, :], columns / np.where(kept, s, 1)[:, None, :], 0)
    s = s * scale[:, None]
    return (
        u.reshape(*batch, m, n),
        s.reshape(*batch, n),
        _adjoint(v).reshape(*batch, n, n),
    )


def _lapack_svd(a: Array) -> tuple[Array, Array, Array]:
    """As :func:`jacobi_svd`, in float64 by LAPACK, for larger matrices."""
    u, s, vh = np.linalg.svd(a, full_matrices=False)
    zero = s <= np.finfo(np.float64).eps * max(a.shape[-2:]) * s[..., :1]
    return np.where(zero[..., None, :], 0, u), np.where(zero, 0, s), vh


@dataclass(frozen=True)
class Factors:
    """A thin decomposition of the matrices, or of their adjoints where those are tall."""

    U: Array
    S: Array
    Vh: Array
    """``(..., p, k)``, ``(..., k)`` in descending order, ``(..., k, k)``, with ``p >= k``."""
    adjoint: bool
    """Whether it is the adjoint that was decomposed."""
    extended: bool
    """Whether :func:`jacobi_svd` was used rather than LAPACK."""

    def oriented(self, x: Array) -> Array:
        """The adjoint, if it is the adjoint that was decomposed."""
        return _adjoint(x) if self.adjoint else x


def decompose(x: Array) -> Factors:
    """Decompose matrices ``(..., m, n)`` for :func:`exact_gradient`."""
    x = np.asarray(x)
    adjoint = x.shape[-2] < x.shape[-1]
    a = _adjoint(x) if adjoint else x
    extended = min(x.shape[-2:]) <= EXTENDED_LIMIT
    # Squares of entries far below the largest one may underflow, which does no harm.
    with np.errstate(under="ignore"):
        u, s, vh = jacobi_svd(a) if extended else _lapack_svd(a)
    return Factors(u, s, vh, adjoint, extended)


@dataclass(frozen=True)
class ExactGradient:
    """What :func:`exact_gradient` returns."""

    x: Array
    """Gradient with respect to the matrices, ``(..., m, n)``."""
    tau: Array | None
    """Gradient with respect to the threshold, the batch shape; ``None`` where the loss has none."""


def exact_gradient(
    loss: str, factors: Factors, weights: Array | None = None, tau: Array | float = 0.0
) -> ExactGradient:
    """Differentiate a loss exactly, in PyTorch's convention for complex gradients.

    Parameters
    ----------
    loss
        ``"soft"``, ``"reconstruction"``, ``"hard"`` or ``"nuclear"``.
    factors
        The matrices, decomposed by :func:`decompose`.
    weights
        ``W`` of ``L = Re <W, f(x)>``, of x's shape; ``"nuclear"`` needs none.
    tau
        Threshold of each matrix, broadcastable to the batch shape, not negative; unused by
        ``"reconstruction"`` and ``"nuclear"``.

    Returns
    -------
    ExactGradient
        For ``"nuclear"`` the minimum-norm subgradient where a value is zero. For ``"hard"`` and
        ``"soft"`` a value equal to the threshold counts as dropped.

    Raises
    ------
    ValueError
        If the loss is unknown, a threshold is negative, or the weights are missing.

    References
    ----------
    Lewis and Sendov, Nonsmooth analysis of singular values (2005); for the soft threshold Candes,
    Sing-Long and Trzasko, Unbiased risk estimates for singular value thresholding (2013).
    """
    if loss not in ("soft", "reconstruction", "hard", "nuclear"):
        raise ValueError(f"unknown loss {loss!r}")
    s = factors.S
    if loss == "nuclear":  # the vectors U of zero values are zero already
        return ExactGradient(factors.oriented(factors.U @ factors.Vh), None)
    if weights is None:
        raise ValueError(f"the loss {loss!r} needs weights")
    w = np.asarray(weights).astype(factors.U.dtype)
    if loss == "reconstruction":
        return ExactGradient(w, None)

    tau = np.broadcast_to(np.asarray(tau, dtype=np.longdouble), s.shape[:-1])
    if np.any(tau < 0):
        raise ValueError("a threshold must not be negative")
    kept = s > tau[..., None]
    f = np.where(kept, s - tau[..., None] if loss == "soft" else s, 0)
    both = kept[..., :, None] & kept[..., None, :]
    across = kept[..., :, None] ^ kept[..., None, :]
    gap = np.where(across, s[..., :, None] - s[..., None, :], 1)
    # f vanishes on the dropped value of a pair across the cut, so the quotient has one term.
    plus = np.where(across, (f[..., :, None] - f[..., None, :]) / gap, both)
    grad, p = _derivative(factors, w, f, plus)
    # Without a threshold f is the identity, at zero values too.
    grad = np.where((tau == 0)[..., None, None], w, grad)

    slope = None
    if loss == "soft":
        diagonal = np.real(np.diagonal(p, axis1=-2, axis2=-1))
        slope = -np.sum(np.where(kept, diagonal, 0), axis=-1)
    return ExactGradient(grad, slope)


def spectral_gradient(
    f: Callable[[Array], Array], slope: Callable[[Array], Array], factors: Factors, weights: Array
) -> Array:
    """Differentiate ``L = Re <W, U f(S) Vh>`` for any smooth f, where no value is zero.

    Parameters
    ----------
    f, slope
        The function and its derivative, value by value, in extended precision.
    factors
        The matrices, decomposed by :func:`decompose`.
    weights
        ``W``, of their shape.

    Returns
    -------
    array
        Gradient ``(..., m, n)``. For two values closer than :data:`NEAR`, relative to the largest,
        the slope at their midpoint replaces the difference quotient.
    """
    s = factors.S
    s_i, s_j = s[..., :, None], s[..., None, :]
    near = np.abs(s_i - s_j) <= NEAR * s[..., :1, None]
    quotient = (f(s)[..., :, None] - f(s)[..., None, :]) / np.where(near, 1, s_i - s_j)
    plus = np.where(near, slope((s_i + s_j) / 2), quotient)
    grad, _ = _derivative(factors, np.asarray(weights).astype(factors.U.dtype), f(s), plus)
    return grad


def _derivative(factors: Factors, w: Array, f: Array, plus: Array) -> tuple[Array, Array]:
    """Apply the formula at the top of this module to ``w``; return ``P`` as well.

    Where a value is zero, f is, too.
    """
    u, s, vh = factors.U, factors.S, factors.Vh
    total = s[..., :, None] + s[..., None, :]
    minus = (f[..., :, None] + f[..., None, :]) / np.where(total > 0, total, 1)
    c = f / np.where(s > 0, s, 1)
    gv = factors.oriented(w) @ _adjoint(vh)
    p = _adjoint(u) @ gv
    core = plus * (p + _adjoint(p)) / 2 + minus * (p - _adjoint(p)) / 2
    return factors.oriented((u @ (core - p * c[..., None, :]) + gv * c[..., None, :]) @ vh), p
