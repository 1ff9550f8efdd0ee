r"""Roots, powers, exponential and logarithm of a Hermitian matrix.

For ``B = Q diag(f(w)) Q^H`` the derivative in direction G is

    D[G] = Q (Gamma * Q^H G Q) Q^H     Gamma_ij = (f_i - f_j)/(w_i - w_j), f'(w_i) on a tie

Each function here has a closed form of Gamma that subtracts nothing but the two eigenvalues, and
so is exact at ties, beside them and apart from them:

    sqrt(a)       1/(sqrt(a) + sqrt(b))
    1/sqrt(a)     -1/(sqrt(a) sqrt(b) (sqrt(a) + sqrt(b)))
    log(a)        log1p((a - b)/b)/(a - b)                 b the smaller one
    exp(a)        exp(a) (1 - exp(-(a - b)))/(a - b)       a the larger one
    a^p           c^(p - 1) ((1 + s)^p - 1)/s              s = (e - c)/c,  c, e the two values
"""

from __future__ import annotations

from dataclasses import dataclass

from .arrays import first, last, reciprocal
from .hermitian import HermitianFunction
from .namespace import Array, Namespace
from .rules import default_rank_rtol

__all__ = ["Exponential", "InverseSquareRoot", "Logarithm", "Power", "SquareRoot"]

_NAN = float("nan")


def _pair(xp: Namespace, v: Array) -> tuple[Array, Array]:
    """``v_i`` and ``v_j`` of ``v (..., n)``, to broadcast over pairs."""
    return xp.expand_dims(v, axis=-1), xp.expand_dims(v, axis=-2)


def _smaller_larger_gap(xp: Namespace, v: Array) -> tuple[Array, Array, Array]:
    v_i, v_j = _pair(xp, v)
    larger = xp.maximum(v_i, v_j)
    smaller = -xp.maximum(-v_i, -v_j)
    return smaller, larger, larger - smaller


def _nonnegative(xp: Namespace, w: Array, rtol: float | None) -> Array:
    """Eigenvalues of a positive semidefinite matrix: what rounding left of 0 is 0.

    That is at most ``rtol`` times the largest size, of either sign; what is more negative than
    that is NaN, and makes NaN of its matrix.
    """
    if rtol is None:
        rtol = default_rank_rtol(float(xp.finfo(w.dtype).eps), w.shape[-1])
    sizes = xp.abs(w)
    limit = rtol * xp.maximum(first(sizes), last(sizes))
    return xp.where(w > limit, w, xp.where(w >= -limit, xp.zeros_like(w), _NAN))


@dataclass(frozen=True)
class SquareRoot(HermitianFunction):
    """``x^(1/2)`` of a positive semidefinite matrix.

    Between two eigenvalues of 0 the derivative is infinite; there it is 0.

    Parameters
    ----------
    rtol : float, optional
        Eigenvalues of at most this size, relative to the largest, are 0; default ``eps n``.
    """

    rtol: float | None = None

    def values(self, xp: Namespace, w: Array) -> Array:
        return xp.sqrt(_nonnegative(xp, w, self.rtol))

    def differences(self, xp: Namespace, w: Array) -> tuple[Array, ...]:
        root_i, root_j = _pair(xp, self.values(xp, w))
        total = root_i + root_j
        return (reciprocal(xp, total, total != 0),)


@dataclass(frozen=True)
class InverseSquareRoot(HermitianFunction):
    """``x^(-1/2)`` of a positive definite matrix, or of one whose eigenvalues have a floor.

    Parameters
    ----------
    floor : float, optional
        Smaller eigenvalues count as this. Without it a singular matrix gives NaN.
    rtol : float, optional
        As of :class:`SquareRoot`.
    """

    floor: float | None = None
    rtol: float | None = None

    def _raised(self, xp: Namespace, w: Array) -> Array:
        w = _nonnegative(xp, w, self.rtol)
        if self.floor is not None:
            w = xp.where(w < self.floor, xp.zeros_like(w) + self.floor, w)
        return xp.where(w > 0, w, _NAN)

    def values(self, xp: Namespace, w: Array) -> Array:
        return 1.0 / xp.sqrt(self._raised(xp, w))

    def differences(self, xp: Namespace, w: Array) -> tuple[Array, ...]:
        root = xp.sqrt(self._raised(xp, w))
        (root_i, root_j), (f_i, f_j) = _pair(xp, root), _pair(xp, 1.0 / root)
        factors = (-f_i, f_j, 1.0 / (root_i + root_j))
        if self.floor is None:
            return factors
        # (max(a, floor) - max(b, floor))/(a - b), by the sum that :mod:`.soft_threshold` has.
        d = w - self.floor
        kept, size = xp.maximum(d, xp.zeros_like(d)), xp.abs(d)
        (kept_i, kept_j), (size_i, size_j) = _pair(xp, kept), _pair(xp, size)
        some = kept_i + kept_j
        return (*factors, some * reciprocal(xp, size_i + size_j, some != 0))


@dataclass(frozen=True)
class Logarithm(HermitianFunction):
    """``log(x)`` of a positive definite matrix; of any other NaN."""

    def values(self, xp: Namespace, w: Array) -> Array:
        return xp.log(xp.where(w > 0, w, _NAN))

    def differences(self, xp: Namespace, w: Array) -> tuple[Array, ...]:
        b, a, gap = _smaller_larger_gap(xp, xp.where(w > 0, w, _NAN))
        # Of a ratio that might overflow the difference of the logarithms is as exact.
        near = ~(a * float(xp.finfo(w.dtype).eps) > b)
        logarithms = xp.where(near, xp.log1p(xp.where(near, gap, 0.0) / b), xp.log(a) - xp.log(b))
        apart = gap != 0
        return (xp.where(apart, logarithms / xp.where(apart, gap, 1.0), 1.0 / b),)


@dataclass(frozen=True)
class Exponential(HermitianFunction):
    """``exp(x)``."""

    def values(self, xp: Namespace, w: Array) -> Array:
        return xp.exp(w)

    def differences(self, xp: Namespace, w: Array) -> tuple[Array, ...]:
        _, a, gap = _smaller_larger_gap(xp, w)
        apart = gap != 0
        ratio = xp.where(apart, -xp.expm1(-gap) / xp.where(apart, gap, 1.0), 1.0)
        return (xp.exp(a), ratio)


@dataclass(frozen=True)
class Power(HermitianFunction):
    """``x^p`` of a positive semidefinite matrix, for p < 0 of a positive definite one.

    Between two eigenvalues of 0 the derivative is infinite for p < 1; there it is 0.

    Parameters
    ----------
    p : float
    rtol : float, optional
        As of :class:`SquareRoot`.
    """

    p: float
    rtol: float | None = None

    def _base(self, xp: Namespace, w: Array) -> Array:
        w = _nonnegative(xp, w, self.rtol)
        return xp.where(w > 0, w, _NAN) if self.p < 0 else w

    def values(self, xp: Namespace, w: Array) -> Array:
        return self._power(xp, self._base(xp, w))

    def _power(self, xp: Namespace, v: Array) -> Array:
        """``v^p``; 0 stays 0 (for p = 0 it becomes 1), and is not differentiated through."""
        zero = v == 0
        power = xp.where(zero, xp.ones_like(v), v) ** self.p
        return power if self.p == 0 else xp.where(zero, xp.zeros_like(v), power)

    def differences(self, xp: Namespace, w: Array) -> tuple[Array, ...]:
        smaller, larger, gap = _smaller_larger_gap(xp, self._base(xp, w))
        if self.p in (0, 1):
            return (self.p + xp.zeros_like(gap),)
        # The one whose power is the larger one, so that nothing overflows but the result.
        c, e, gap = (larger, smaller, -gap) if self.p > 0 else (smaller, larger, gap)
        divisor = xp.where(c != 0, c, xp.ones_like(c))
        s, quotient = gap / divisor, e / divisor
        near = xp.abs(s) < 0.5
        far = ~near & (quotient != 0)
        logarithm = xp.where(
            near,
            xp.log1p(xp.where(near, s, xp.zeros_like(s))),
            xp.log(xp.where(far, quotient, xp.ones_like(s))),
        )
        growth = xp.where(near | far, xp.expm1(self.p * logarithm), -1.0)
        apart = s != 0
        ratio = xp.where(apart, growth / xp.where(apart, s, 1.0), self.p)
        half = 1.0 / xp.sqrt(divisor)  # 1/c itself overflows for a subnormal c
        return (half, self._power(xp, c), half, ratio)
