r"""Roots, powers, exponential and logarithm of a Hermitian matrix.

For ``B = Q diag(f(w)) Q^H`` the derivative in direction G is

    D[G] = Q (Gamma * Q^H G Q) Q^H     Gamma_ij = (f_i - f_j)/(w_i - w_j), f'(w_i) on a tie

Each function here has a closed form of Gamma that subtracts only the two eigenvalues. So it is
exact at ties, near ties and away from them:

    sqrt(a)       1/(sqrt(a) + sqrt(b))
    1/sqrt(a)     -1/(sqrt(a) sqrt(b) (sqrt(a) + sqrt(b)))
    log(a)        log1p((a - b)/b)/(a - b)                 b the smaller one
    exp(a)        exp(a) (1 - exp(-(a - b)))/(a - b)       a the larger one
    a^p           c^(p - 1) ((1 + s)^p - 1)/s              s = (e - c)/c,  c, e the two values

Second differences of the roots have a closed form, too,

    sqrt(a)       -1/((sqrt(a) + sqrt(b)) (sqrt(b) + sqrt(c)) (sqrt(a) + sqrt(c)))
    1/sqrt(a)     that times -(sqrt(a) + sqrt(b) + sqrt(c))/(sqrt(a) sqrt(b) sqrt(c))

and those of the others are quotients of first differences, or ``f''/2`` where all three values are
near. All but the exponential are computed from values divided by the largest one, because
``f(c w) = c^p f(w)`` up to a constant.

Between two eigenvalues of 0 the derivative is infinite. That part is left out, in second
differences too: ``f[0, b, 0] = f[0, b]/b``. In the derivative of a function of y at constant rank,
such as the root of ``y y^H``, the infinite parts cancel.
"""

from __future__ import annotations

from dataclasses import dataclass

from .arrays import first, last, over, reciprocal, safe_size, scale, scale_columns, scale_rows
from .hermitian import HermitianFunction, largest_eigenvalue
from .namespace import Array, Namespace
from .operator import Point
from .rules import default_rank_rtol, difference_rtol
from .second import Nodes, second_product

__all__ = ["Exponential", "InverseSquareRoot", "Logarithm", "Power", "SquareRoot"]

_NAN = float("nan")
_ROTATIONS = 8.0  # times eps n; the error of "jacobi" is up to 3.2 of these, that of "eigh" 0.6


def _pair(xp: Namespace, v: Array) -> tuple[Array, Array]:
    """``v_i`` and ``v_j`` of ``v (..., n)``, to broadcast over pairs."""
    return xp.expand_dims(v, axis=-1), xp.expand_dims(v, axis=-2)


def _smaller_larger_gap(xp: Namespace, v: Array) -> tuple[Array, Array, Array]:
    v_i, v_j = _pair(xp, v)
    larger = xp.maximum(v_i, v_j)
    smaller = -xp.maximum(-v_i, -v_j)
    return smaller, larger, larger - smaller


def _nonnegative(xp: Namespace, w: Array, rtol: float | None) -> Array:
    """The eigenvalues of a positive semidefinite matrix, with rounding errors replaced by 0.

    These are values of either sign of at most ``rtol`` times the largest size. A value more
    negative than that becomes NaN, and so does its matrix.
    """
    if rtol is None:
        rtol = _ROTATIONS * default_rank_rtol(float(xp.finfo(w.dtype).eps), w.shape[-1])
    sizes = xp.abs(w)
    limit = rtol * xp.maximum(first(sizes), last(sizes))
    return xp.where(w > limit, w, xp.where(w >= -limit, xp.zeros_like(w), _NAN))


def power(xp: Namespace, v: Array, p: float) -> Array:
    """``v^p``. 0 gives 0 (1 for p = 0), with a derivative of 0."""
    zero = v == 0
    powers = xp.where(zero, xp.ones_like(v), v) ** p
    return powers if p == 0 else xp.where(zero, xp.zeros_like(v), powers)


def power_differences(xp: Namespace, v: Array, p: float) -> tuple[Array, ...]:
    """``(v_i^p - v_j^p)/(v_i - v_j)`` for values that are not negative, as a tuple of factors."""
    smaller, larger, gap = _smaller_larger_gap(xp, v)
    if p in (0, 1):
        return (p + xp.zeros_like(gap),)
    # c is the value with the larger power, so that nothing overflows except the result.
    c, e, gap = (larger, smaller, -gap) if p > 0 else (smaller, larger, gap)
    divisor = xp.where(c != 0, c, xp.ones_like(c))
    s, quotient = gap / divisor, e / divisor
    near = xp.abs(s) < 0.5
    far = ~near & (quotient != 0)
    logarithm = xp.where(
        near,
        xp.log1p(xp.where(near, s, xp.zeros_like(s))),
        xp.log(xp.where(far, quotient, xp.ones_like(s))),
    )
    growth = xp.where(near | far, xp.expm1(p * logarithm), -1.0)
    apart = s != 0
    ratio = xp.where(apart, growth / xp.where(apart, s, 1.0), p)
    half = 1.0 / xp.sqrt(divisor)  # 1/c itself overflows for a subnormal c
    return (half, power(xp, c, p), half, ratio)


class NamedFunction(HermitianFunction):
    """A function of the eigenvalues whose first differences have a closed form."""

    @property
    def degree(self) -> float | None:
        """p, if ``f(c w) = c^p f(w)`` up to a constant; else None."""
        return None

    def curvature(self, xp: Namespace, w: Array) -> Array:
        """``f''``; 0 where it is infinite."""
        raise NotImplementedError

    def near(self, xp: Namespace, w: Array) -> Array:
        """Flags of pairs so near that the second difference is ``f''/2``."""
        rtol = difference_rtol(float(xp.finfo(w.dtype).eps))
        (w_i, w_j), (size_i, size_j) = _pair(xp, w), _pair(xp, xp.abs(w))
        return xp.abs(w_i - w_j) <= rtol * xp.maximum(size_i, size_j)

    def second_core(self, xp: Namespace, w: Array, X: Array, Y: Array) -> Array:
        """``T[X, Y]`` in the basis of the eigenvectors."""
        gamma: Array = None
        for weights in self.differences(xp, w):
            gamma = weights if gamma is None else gamma * weights
        nodes = Nodes(w, gamma, self.near(xp, w), self.curvature(xp, w))
        return second_product(xp, nodes, X, Y, w.shape[-1])

    def second_map(self, at: Point, X: Array, Y: Array) -> Array:
        xp, factors = at.xp, at.factors
        w = factors.eigenvalues
        X, Y = (self.core(xp, factors, G) for G in (X, Y))
        if self.degree is None:
            return self.conjugate(xp, factors, self.second_core(xp, w, X, Y))
        size = safe_size(xp, largest_eigenvalue(xp, w))
        # c^(p - 1) may be out of range before it is multiplied by Y; its square root is not.
        root = xp.expand_dims(size ** (0.5 * self.degree - 0.5), axis=-1)
        X, Y = over(xp, X, size), scale(xp, root, Y)
        return self.conjugate(xp, factors, scale(xp, root, self.second_core(xp, w / size, X, Y)))


@dataclass(frozen=True)
class SquareRoot(NamedFunction):
    """``x^(1/2)`` of a positive semidefinite matrix.

    Between two eigenvalues of 0 the derivative is infinite; 0 is used instead.

    Parameters
    ----------
    rtol : float, optional
        Eigenvalues of at most this size, relative to the largest, are 0; default ``8 eps n``.
    """

    rtol: float | None = None

    def values(self, xp: Namespace, w: Array) -> Array:
        return xp.sqrt(_nonnegative(xp, w, self.rtol))

    def differences(self, xp: Namespace, w: Array) -> tuple[Array, ...]:
        root_i, root_j = _pair(xp, self.values(xp, w))
        total = root_i + root_j
        return (reciprocal(xp, total, total != 0),)

    @property
    def degree(self) -> float:
        return 0.5

    def second_core(self, xp: Namespace, w: Array, X: Array, Y: Array) -> Array:
        root = self.values(xp, w)
        (inverse_total,) = self.differences(xp, w)
        Xt, Yt = scale(xp, inverse_total, X), scale(xp, inverse_total, Y)
        R = -scale(xp, inverse_total, xp.matmul(Xt, Yt) + xp.matmul(Yt, Xt))
        # f[0, b, 0] = f[0, b]/b = b^(-3/2), and the same in any order
        zero = xp.where(root == 0, xp.ones_like(root), 0.0)
        inverse = reciprocal(xp, root, root != 0)
        cube = inverse * inverse * inverse
        X0, Y0 = scale_columns(xp, X, zero), scale_columns(xp, Y, zero)
        through_zero = xp.matmul(X0, Y) + xp.matmul(Y0, X)
        X3, Y3 = scale_columns(xp, X, cube), scale_columns(xp, Y, cube)
        between = xp.matmul(X3, Y) + xp.matmul(Y3, X)
        zero_i, zero_j = _pair(xp, zero)
        cube_i, cube_j = _pair(xp, cube)
        ends = zero_i * cube_j + cube_i * zero_j
        return R + scale(xp, ends, through_zero) + scale(xp, zero_i * zero_j, between)


@dataclass(frozen=True)
class InverseSquareRoot(NamedFunction):
    """``x^(-1/2)`` of a positive definite matrix, or of one whose eigenvalues have a floor.

    Parameters
    ----------
    floor : float, optional
        Smaller eigenvalues are replaced by this. Without it a singular matrix gives NaN.
    rtol : float, optional
        As for :class:`SquareRoot`.
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
        # (max(a, floor) - max(b, floor))/(a - b), by a sum as in :mod:`.soft_threshold`.
        d = w - self.floor
        kept, size = xp.maximum(d, xp.zeros_like(d)), xp.abs(d)
        (kept_i, kept_j), (size_i, size_j) = _pair(xp, kept), _pair(xp, size)
        some = kept_i + kept_j
        return (*factors, some * reciprocal(xp, size_i + size_j, some != 0))

    @property
    def degree(self) -> float | None:
        return -0.5 if self.floor is None else None

    def curvature(self, xp: Namespace, w: Array) -> Array:
        """``f''``; 0 below the floor."""
        f = 1.0 / xp.sqrt(self._raised(xp, w))
        curvature = 0.75 * f * f * f * f * f
        return xp.where(w < self.floor, xp.zeros_like(w), curvature)

    def near(self, xp: Namespace, w: Array) -> Array:
        below_i, below_j = _pair(xp, w < self.floor)
        return super().near(xp, w) & (below_i == below_j) | (below_i & below_j)

    def second_core(self, xp: Namespace, w: Array, X: Array, Y: Array) -> Array:
        if self.floor is not None:
            return super().second_core(xp, w, X, Y)
        root = xp.sqrt(self._raised(xp, w))
        inverse = 1.0 / root
        root_i, root_j = _pair(xp, root)
        total = 1.0 / (root_i + root_j)
        X, Y = scale(xp, total, X), scale(xp, total, Y)
        direct = xp.matmul(X, Y) + xp.matmul(Y, X)
        Xi, Yi = scale_columns(xp, X, inverse), scale_columns(xp, Y, inverse)
        R = xp.matmul(Xi, Y) + xp.matmul(Yi, X) + scale(xp, total, direct)
        return scale_columns(xp, scale_rows(xp, inverse, R), inverse)


@dataclass(frozen=True)
class Logarithm(NamedFunction):
    """``log(x)`` of a positive definite matrix; NaN for any other matrix."""

    @property
    def degree(self) -> float:
        return 0.0

    def curvature(self, xp: Namespace, w: Array) -> Array:
        inverse = 1.0 / xp.where(w > 0, w, _NAN)
        return -inverse * inverse

    def values(self, xp: Namespace, w: Array) -> Array:
        return xp.log(xp.where(w > 0, w, _NAN))

    def differences(self, xp: Namespace, w: Array) -> tuple[Array, ...]:
        b, a, gap = _smaller_larger_gap(xp, xp.where(w > 0, w, _NAN))
        # If the ratio might overflow, the difference of the logarithms is as exact.
        near = ~(a * float(xp.finfo(w.dtype).eps) > b)
        logarithms = xp.where(near, xp.log1p(xp.where(near, gap, 0.0) / b), xp.log(a) - xp.log(b))
        apart = gap != 0
        return (xp.where(apart, logarithms / xp.where(apart, gap, 1.0), 1.0 / b),)


@dataclass(frozen=True)
class Exponential(NamedFunction):
    """``exp(x)``."""

    def curvature(self, xp: Namespace, w: Array) -> Array:
        return xp.exp(w)

    def near(self, xp: Namespace, w: Array) -> Array:
        w_i, w_j = _pair(xp, w)
        return xp.abs(w_i - w_j) <= difference_rtol(float(xp.finfo(w.dtype).eps))

    def values(self, xp: Namespace, w: Array) -> Array:
        return xp.exp(w)

    def differences(self, xp: Namespace, w: Array) -> tuple[Array, ...]:
        _, a, gap = _smaller_larger_gap(xp, w)
        apart = gap != 0
        ratio = xp.where(apart, -xp.expm1(-gap) / xp.where(apart, gap, 1.0), 1.0)
        return (xp.exp(a), ratio)


@dataclass(frozen=True)
class Power(NamedFunction):
    """``x^p`` of a positive semidefinite matrix, for p < 0 of a positive definite one.

    Between two eigenvalues of 0 the derivative is infinite for p < 1; 0 is used instead.

    Parameters
    ----------
    p : float
    rtol : float, optional
        As for :class:`SquareRoot`.
    """

    p: float
    rtol: float | None = None

    def _base(self, xp: Namespace, w: Array) -> Array:
        w = _nonnegative(xp, w, self.rtol)
        return xp.where(w > 0, w, _NAN) if self.p < 0 else w

    def values(self, xp: Namespace, w: Array) -> Array:
        return self._power(xp, self._base(xp, w))

    def _power(self, xp: Namespace, v: Array) -> Array:
        return power(xp, v, self.p)

    @property
    def degree(self) -> float:
        return self.p

    def curvature(self, xp: Namespace, w: Array) -> Array:
        return self.p * (self.p - 1.0) * power(xp, self._base(xp, w), self.p - 2.0)

    def differences(self, xp: Namespace, w: Array) -> tuple[Array, ...]:
        return power_differences(xp, self._base(xp, w), self.p)
