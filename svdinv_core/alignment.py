r"""The similarity that takes one set of points to another (Kabsch 1976; Umeyama 1991).

For points as rows, ``q ~ s p R^T + t``, and weights w with ``omega = w/sum(w)``: the centroids
``p0 = sum omega p`` and q0, the covariance ``M = sum omega (q - q0)(p - p0)^T`` and the spread
``v = sum omega |p - p0|^2`` determine the solution:

    R maximises tr(R^T M)      s = max tr(R^T M)/v      t = q0 - s R p0

R is the rotation nearest to M (:class:`.spectral.Unitary`), and the derivative of the maximum in M
is R. The deviations sum to 0, so the derivatives of the centroids drop out of that of M.
"""

from __future__ import annotations

from dataclasses import dataclass

from .arrays import adjoint, first, last, reciprocal, scale_rows, sum_to_shape
from .namespace import Array, Namespace
from .operator import Arrays, Point, Some
from .spectral import SmoothScalar, Unitary, derivative_map
from .svd import SVDFactors

__all__ = ["Moments", "Overlap", "Placement", "alignment_margin"]


def _rows(xp: Namespace, v: Array) -> Array:
    """A vector ``(..., d)`` as ``(..., 1, d)``."""
    return xp.expand_dims(v, axis=-2)


@dataclass(frozen=True)
class Moments:
    """Map ``p, q (..., N, d)`` and ``w`` to ``M (..., d, d), p0, q0 (..., d), v (...)``.

    w may have any shape that broadcasts to ``(..., N)``.
    """

    @staticmethod
    def _weights(xp: Namespace, w: Array, p: Array) -> tuple[Array, Array]:
        """omega ``(..., N)`` and ``1/sum(w)``; both are 0 where all weights are 0."""
        w = w + xp.zeros_like(p[..., 0])
        total = xp.sum(w, axis=-1, keepdims=True)
        inverse = reciprocal(xp, total, total != 0)
        return w * inverse, inverse

    def _centred(
        self, xp: Namespace, args: Arrays
    ) -> tuple[Array, Array, Array, Array, Array, Array]:
        p, q, w = args
        omega, inverse = self._weights(xp, w, p)
        p0, q0 = (xp.sum(scale_rows(xp, omega, x), axis=-2) for x in (p, q))
        return omega, inverse, p0, q0, p - _rows(xp, p0), q - _rows(xp, q0)

    def apply(self, xp: Namespace, *args: Array) -> Arrays:
        omega, _, p0, q0, P, Q = self._centred(xp, args)
        weighted = scale_rows(xp, omega, P)
        M = xp.matmul(xp.matrix_transpose(Q), weighted)
        return M, p0, q0, xp.sum(P * weighted, axis=(-2, -1))

    def jvp(self, xp: Namespace, args: Arrays, tangents: Arrays) -> Arrays:
        omega, inverse, _, _, P, Q = self._centred(xp, args)
        dp, dq, dw = tangents
        dw = dw + xp.zeros_like(omega)
        domega = (dw - omega * xp.sum(dw, axis=-1, keepdims=True)) * inverse
        weighted, dweighted = scale_rows(xp, omega, P), scale_rows(xp, domega, P)
        moved = scale_rows(xp, omega, dp)
        Qt, dqt = xp.matrix_transpose(Q), xp.matrix_transpose(dq)
        dM = xp.matmul(Qt, moved + dweighted) + xp.matmul(dqt, weighted)
        dp0 = xp.sum(moved + dweighted, axis=-2)
        dq0 = xp.sum(scale_rows(xp, omega, dq) + scale_rows(xp, domega, Q), axis=-2)
        return dM, dp0, dq0, xp.sum(P * (2.0 * moved + dweighted), axis=(-2, -1))

    def vjp(self, xp: Namespace, args: Arrays, cts: Arrays) -> Arrays:
        omega, inverse, _, _, P, Q = self._centred(xp, args)
        ct_M, ct_p0, ct_q0, ct_v = cts
        Q_ct, P_ct = xp.matmul(Q, ct_M), xp.matmul(P, xp.matrix_transpose(ct_M))
        spread = xp.expand_dims(xp.expand_dims(ct_v, axis=-1), axis=-1) * P
        ct_p = scale_rows(xp, omega, Q_ct + _rows(xp, ct_p0) + 2.0 * spread)
        ct_q = scale_rows(xp, omega, P_ct + _rows(xp, ct_q0))
        gain = xp.sum(P * (Q_ct + _rows(xp, ct_p0) + spread) + Q * _rows(xp, ct_q0), axis=-1)
        ct_w = (gain - xp.sum(omega * gain, axis=-1, keepdims=True)) * inverse
        return ct_p, ct_q, sum_to_shape(xp, ct_w, tuple(args[2].shape))

    def hvp(self, xp: Namespace, args: Arrays, cts: Arrays, tangents: Arrays) -> Some:
        omega, inverse, _, _, P, Q = self._centred(xp, args)
        _, dp0, dq0, _ = self.jvp(xp, args, tangents)
        dp, dq, dw = tangents
        dw = dw + xp.zeros_like(omega)
        dtotal = xp.sum(dw, axis=-1, keepdims=True)
        domega, dinverse = (dw - omega * dtotal) * inverse, -inverse * inverse * dtotal
        dP, dQ = dp - _rows(xp, dp0), dq - _rows(xp, dq0)
        ct_M, ct_p0, ct_q0, ct_v = cts
        transposed = xp.matrix_transpose(ct_M)
        ct_p0, ct_q0 = _rows(xp, ct_p0), _rows(xp, ct_q0)
        weight = xp.expand_dims(xp.expand_dims(ct_v, axis=-1), axis=-1)
        of_P, dof_P = (xp.matmul(x, ct_M) + weight * y for x, y in ((Q, P), (dQ, dP)))
        of_Q, dof_Q = (xp.matmul(x, transposed) for x in (P, dP))
        ct_p = scale_rows(xp, domega, of_P + ct_p0 + weight * P)
        ct_p = ct_p + scale_rows(xp, omega, dof_P + weight * dP)
        ct_q = scale_rows(xp, domega, of_Q + ct_q0) + scale_rows(xp, omega, dof_Q)
        gain = xp.sum(P * (of_P + ct_p0) + Q * ct_q0, axis=-1)
        dgain = xp.sum(dP * (of_P + ct_p0) + P * dof_P + dQ * ct_q0, axis=-1)
        mean = xp.sum(omega * gain, axis=-1, keepdims=True)
        dmean = xp.sum(domega * gain + omega * dgain, axis=-1, keepdims=True)
        ct_w = (dgain - dmean) * inverse + (gain - mean) * dinverse
        return ct_p, ct_q, sum_to_shape(xp, ct_w, tuple(args[2].shape))


@dataclass(frozen=True)
class Overlap(SmoothScalar):
    """``max tr(R^T M)``, whose derivative is R."""

    special: bool = True

    @property
    def _rotation(self) -> Unitary:
        return Unitary(special=self.special)

    def value(self, xp: Namespace, factors: SVDFactors) -> Array:
        return xp.sum(self.slopes(xp, factors) * factors.S, axis=-1)

    def slopes(self, xp: Namespace, factors: SVDFactors) -> Array:
        return self._rotation.signs(xp, factors)

    def hessian(self, xp: Namespace, factors: SVDFactors, X: Array) -> Array:
        return derivative_map(xp, factors, self._rotation.loewner(Point(xp, X, factors)), X)


@dataclass(frozen=True)
class Placement:
    """Map R, p0, q0, and, with a scale, the overlap and v, to the translation and the scale.

    If all points of p are the same, the scale is arbitrary, and 1 is returned.
    """

    scale: bool

    def _scale(self, xp: Namespace, args: Arrays) -> tuple[Array, Array]:
        """s, and 1/v."""
        _, _, _, overlap, v = args
        if not self.scale:
            return xp.ones_like(v), xp.zeros_like(v)
        inverse = reciprocal(xp, v, v != 0)
        return xp.where(v != 0, overlap * inverse, xp.ones_like(v)), inverse

    @staticmethod
    def _turned(xp: Namespace, R: Array, p0: Array) -> Array:
        return xp.matmul(R, xp.expand_dims(p0, axis=-1))[..., 0]

    def apply(self, xp: Namespace, *args: Array) -> Arrays:
        R, p0, q0, _, _ = args
        s, _ = self._scale(xp, args)
        return q0 - xp.expand_dims(s, axis=-1) * self._turned(xp, R, p0), s

    def jvp(self, xp: Namespace, args: Arrays, tangents: Arrays) -> Arrays:
        R, p0, _, _, _ = args
        dR, dp0, dq0, doverlap, dv = tangents
        s, inverse = self._scale(xp, args)
        ds = (doverlap - s * dv) * inverse
        turned = self._turned(xp, R, p0)
        dturned = self._turned(xp, dR, p0) + self._turned(xp, R, dp0)
        moved = xp.expand_dims(ds, axis=-1) * turned + xp.expand_dims(s, axis=-1) * dturned
        return dq0 - moved, ds

    def vjp(self, xp: Namespace, args: Arrays, cts: Arrays) -> Arrays:
        R, p0, _, _, _ = args
        ct_t, ct_s = cts
        s, inverse = self._scale(xp, args)
        moved = -xp.expand_dims(s, axis=-1) * ct_t
        ct_R = xp.expand_dims(moved, axis=-1) * _rows(xp, p0)
        ct_p0 = self._turned(xp, adjoint(xp, R), moved)
        through = (ct_s - xp.sum(ct_t * self._turned(xp, R, p0), axis=-1)) * inverse
        return ct_R, ct_p0, ct_t, through, -s * through

    def hvp(self, xp: Namespace, args: Arrays, cts: Arrays, tangents: Arrays) -> Some:
        R, p0, _, _, _ = args
        dR, dp0, _, doverlap, dv = tangents
        ct_t, ct_s = cts
        s, inverse = self._scale(xp, args)
        ds, dinverse = (doverlap - s * dv) * inverse, -inverse * inverse * dv
        moved, dmoved = (-xp.expand_dims(x, axis=-1) * ct_t for x in (s, ds))
        ct_R = xp.expand_dims(dmoved, axis=-1) * _rows(xp, p0)
        ct_R = ct_R + xp.expand_dims(moved, axis=-1) * _rows(xp, dp0)
        ct_p0 = self._turned(xp, adjoint(xp, dR), moved)
        ct_p0 = ct_p0 + self._turned(xp, adjoint(xp, R), dmoved)
        free = ct_s - xp.sum(ct_t * self._turned(xp, R, p0), axis=-1)
        dturned = self._turned(xp, dR, p0) + self._turned(xp, R, dp0)
        through = free * inverse
        dthrough = free * dinverse - xp.sum(ct_t * dturned, axis=-1) * inverse
        return ct_R, ct_p0, None, dthrough, -ds * through - s * dthrough


def alignment_margin(xp: Namespace, factors: SVDFactors, special: bool) -> Array:
    """A measure ``(...)`` in [0, 2] of how unique the best rotation is; 0 if it is not unique.

    ``(S_{d-1} + sign S_d)/S_1`` for rotations, with the sign of ``det M``; ``S_d/S_1`` with
    reflections.
    """
    S = factors.S
    weights = reciprocal(xp, first(S), first(S) != 0)
    if not special:
        return xp.sum(last(S) * weights, axis=-1)
    if S.shape[-1] < 2:
        return xp.sum(xp.ones_like(S), axis=-1)  # in one dimension the identity is the only one
    sign = last(Unitary(special=True).signs(xp, factors))
    return xp.sum((S[..., -2:-1] + sign * last(S)) * weights, axis=-1)
