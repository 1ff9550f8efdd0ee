r"""Singular value thresholding, ``f(S) = max(S - t, 0)``, without cases and without 0/0.

With ``f = max(S - t, 0)``, ``e = |S - t|`` and ``p = max(S, t)``

    g = f/S = f/p
    g_i - g_j = t (p_i - p_j)/(p_i p_j)
    (p_i - p_j)/(S_i - S_j) = (f_i + f_j)/(e_i + e_j)

The last line is 1 for two kept values, 0 for two dropped ones, and ``(S_i - t)/(S_i - S_j)`` across
the threshold. Its right-hand side is right in all three cases, and adds where a difference quotient
would cancel. So

    Gamma_ij = (g_i - g_j)/(S_i^2 - S_j^2) = t/(p_i p_j) (f_i + f_j)/((e_i + e_j)(S_i + S_j))

contains only differences of a value and the threshold. It is exact at ties, and the derivative is
bounded. S and t are scaled by a :func:`.arrays.unit` throughout.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import frexp
from typing import NamedTuple

from .arrays import added, first, last, leading, order_sign, real_product, scale, sum_to_shape, unit
from .namespace import Array, Namespace
from .norms import largest_cut, largest_weights
from .operator import Arrays, Point, Some, Tangents
from .scaled import Divided, ScaledOperator, at_values, one_sided
from .second_scaled import Cut, OneSided

__all__ = ["SoftThreshold", "Thresholded"]

Range = tuple[float, float]


class Thresholded(NamedTuple):
    """``S``, ``d = S - t``, ``f = max(d, 0)``, ``1/max(S, t)`` (1 where that is 0), ``q = 1 - g``.

    S and t are scaled by the unit, if there is one.
    """

    S: Array
    d: Array
    f: Array
    inverse: Array
    q: Array
    g: Array
    unit: Array | None


class Change(NamedTuple):
    """Derivatives of a threshold t as a function of A and tau, with A divided by its largest value.

    The derivative in A is `weight` times the matrix `of` (None for 0), the one in tau is `in_tau`
    ``(..., 1)``, and the mixed one is `mixed` times `of`.
    """

    of: Cut | None
    weight: Array | None
    in_tau: Array | float
    mixed: float


def _sums(xp: Namespace, v: Array, r: int) -> Array:
    """``v_i + v_j`` for the first r values j."""
    return xp.expand_dims(v, axis=-1) + xp.expand_dims(leading(v, r), axis=-2)


def _edge(smallest_normal: float) -> float:
    """The largest ordinary number: up to here :func:`.arrays.unit` is 1."""
    return 2.0 ** (-3 * frexp(smallest_normal)[1] // 8)


@dataclass(frozen=True)
class SoftThreshold(ScaledOperator):
    """Singular value thresholding; one parameter, tau.

    Parameters
    ----------
    relative : bool
        The threshold is ``tau`` times the largest value. If that is repeated, its derivative is the
        mean over the repetition: the subgradient of least norm, and the only one that does not
        depend on the choice of singular vectors.
    kept : int, optional
        Upper bound on the number of values above the threshold, if the caller has counted them.
    ordinary : bool
        Whether the caller has found that :meth:`is_ordinary` holds. Half of the operations are
        guards for other values, and are then skipped.
    """

    relative: bool = False
    kept: int | None = None
    ordinary: bool = False

    def leading(self, k: int) -> int:
        return k if self.kept is None else self.kept

    def counts(self, xp: Namespace, S: Array, params: Arrays) -> Array:
        """The number of values that each matrix keeps, ``(...)``; NaN counts as kept."""
        kept = ~(self._threshold(xp, S, params[0]) >= S)
        return xp.sum(xp.astype(kept, S.dtype), axis=-1)

    @staticmethod
    def is_ordinary(smallest_normal: float, values: Range, thresholds: Range) -> bool:
        """Whether every ``p = max(S, t)`` is in the range where products of three cannot overflow.

        Decided from the smallest and largest of all values and of all thresholds; False for NaN.
        """
        edge = _edge(smallest_normal)
        large = values[0] >= 1.0 / edge or thresholds[0] >= 1.0 / edge
        return large and values[1] <= edge and thresholds[1] <= edge

    @staticmethod
    def _column(xp: Namespace, t: Array, S: Array) -> Array:
        """A per-matrix parameter in a shape that broadcasts with S ``(..., k)``."""
        for _ in range(len(S.shape) - 1 - len(t.shape)):
            t = xp.expand_dims(t, axis=0)
        return xp.expand_dims(t, axis=-1)

    def _threshold(self, xp: Namespace, S: Array, tau: Array) -> Array:
        t = self._column(xp, self._finite(xp, tau, S), S)
        return t * first(S) if self.relative else t

    def _slopes(self, xp: Namespace, S: Array, tau: Array) -> tuple[Array | None, Array | None]:
        """Derivative of the threshold in the values ``(..., k)``, and in tau ``(..., 1)``.

        None stands for 0 in the first place and for 1 in the second.
        """
        if not self.relative:
            return None, None
        t = self._column(xp, self._finite(xp, tau, S), S)
        return t * largest_weights(xp, S), first(S)

    def extent(self, xp: Namespace, S: Array, params: Arrays) -> tuple[Array, Array]:
        """The smallest value that matters is ``min max(S, t)``, by the following bound.

        An error of ``eps S_1^2/S`` in a kept value S changes ``g = 1 - t/S`` by less than
        ``eps (S_1/S)^2``.
        """
        t = self._threshold(xp, S, params[0])
        smallest = last(S)
        return first(S), xp.maximum(smallest, t + xp.zeros_like(smallest))

    def _ordinary_terms(self, xp: Namespace, S: Array, tau: Array) -> Thresholded:
        t = self._column(xp, tau, S)
        t = t * first(S) if self.relative else t
        d = S - t
        f = xp.maximum(d, 0.0)
        p = f + t
        inverse = 1.0 / p
        return Thresholded(S=S, d=d, f=f, inverse=inverse, q=t * inverse, g=f / p, unit=None)

    def terms(self, at: Point) -> Thresholded:
        xp, S, (tau,) = at.xp, at.factors.S, at.params
        if self.ordinary:
            return self._ordinary_terms(xp, S, tau)
        one = unit(xp, first(S))
        smallest = float(xp.finfo(S.dtype).smallest_normal)
        t = self._threshold(xp, S, tau) * one
        S = S * one
        # Larger than every S but not infinite, because derivatives of dropped values would be NaN.
        t = xp.where(t > smallest**-0.5, smallest**-0.5, t)
        d = S - t
        f = xp.maximum(d, xp.zeros_like(d))
        p = f + t
        zero = xp.abs(p) < smallest
        inverse = 1.0 / xp.where(zero, 1.0, p)
        return Thresholded(
            S=S,
            d=d,
            f=f,
            inverse=inverse,
            q=xp.where(f != 0, t * inverse, 1.0),
            g=xp.where(zero, xp.sign(f), f * inverse),
            unit=one,
        )

    def divided(self, at: Point, terms: Thresholded, r: int) -> Divided:
        xp = at.xp
        f = _sums(xp, terms.f, r)
        if self.ordinary:
            info = xp.finfo(f.dtype)
            tiny = float(info.smallest_normal)
            # Values are raised only as far as sums with an ordinary number do not notice.
            least = float(info.eps) / 4 / _edge(tiny)
            f /= _sums(xp, xp.maximum(xp.abs(terms.d), tiny), r)
            f /= _sums(xp, xp.maximum(terms.S, least), r)
            f *= xp.expand_dims(terms.q, axis=-1)
            f *= xp.expand_dims(leading(terms.inverse, r), axis=-2)
            return Divided(f)
        # If neither value is kept, the numerator is 0, and the denominators may be 0.
        some = f != 0
        e = xp.where(some, _sums(xp, xp.abs(terms.d), r), 1.0)
        total = _sums(xp, terms.S, r)
        some = total >= float(xp.finfo(f.dtype).smallest_normal)
        total = xp.where(some, total, 1.0)
        # q = t/p of the smaller value and 1/p of the larger one are both in range.
        below = order_sign(xp, terms.S)[..., :r] >= 0
        q, inverse = (
            (xp.expand_dims(v, axis=-1), xp.expand_dims(v[..., :r], axis=-2))
            for v in (terms.q, terms.inverse)
        )
        return Divided(
            ratio=xp.where(below, *q) * (f / e),
            first=1.0 / total,
            second=xp.where(below, inverse[1], inverse[0]),
        )

    @staticmethod
    def _finite(xp: Namespace, tau: Array, S: Array) -> Array:
        """tau, with infinity (no value is kept) replaced by the largest number."""
        largest = float(xp.finfo(S.dtype).max)
        return xp.where(tau > largest, largest, tau)

    @staticmethod
    def _kept_inverse(xp: Namespace, terms: Thresholded, r: int) -> Array:
        """``1/S`` on kept values, 0 on the others."""
        return xp.where(leading(terms.f, r) != 0, leading(terms.inverse, r), 0.0)

    def push(
        self, at: Point, terms: Thresholded, dparams: Some, diagonal: Array | None
    ) -> Array | None:
        xp, S, (tau,), (dtau,) = at.xp, at.factors.S, at.params, dparams
        in_values, in_tau = self._slopes(xp, S, tau)
        dt: Array = None
        if dtau is not None:
            dt = self._column(xp, dtau, S)
            dt = dt if in_tau is None else dt * in_tau
        r = S.shape[-1] if diagonal is None else diagonal.shape[-1]
        inverse = self._kept_inverse(xp, terms, r)
        if diagonal is not None and in_values is not None:
            through = xp.sum(leading(in_values, r) * inverse * diagonal, axis=-1, keepdims=True)
            dt = added(dt, through)
        return None if dt is None else -dt * inverse

    def pull(self, at: Point, terms: Thresholded, diagonal: Array) -> tuple[Some, Array | None]:
        xp, (tau,) = at.xp, at.params
        in_values, in_tau = self._slopes(xp, at.factors.S, tau)
        if in_values is None and not at.wants(0):
            return (None,), None
        r = diagonal.shape[-1]
        inverse = self._kept_inverse(xp, terms, r)
        ct_t = -xp.sum(inverse * diagonal, axis=-1, keepdims=True)
        more = None if in_values is None else ct_t * leading(in_values, r) * inverse
        if not at.wants(0):
            return (None,), more
        ct_tau = xp.sum(ct_t if in_tau is None else ct_t * in_tau, axis=-1)
        return (sum_to_shape(xp, ct_tau, tuple(tau.shape)),), more

    # Let N = dB/dt, the function with f = -1 on kept values. The threshold enters the second
    # derivative through its own first and second derivatives (Change):
    #     B'' = T[X, Y] + t_X N'[Y] + t_Y N'[X] + t_XY N

    def cut(self, at: Point, side: OneSided) -> tuple[Cut, Array | None]:
        xp = at.xp
        threshold = self._threshold(xp, side.s, at.params[0])
        if not self.relative:
            threshold = threshold / side.size
        absolute, inside = SoftThreshold(), at_values(at, side.s, xp.sum(threshold, axis=-1))
        terms = absolute.terms(inside)
        divided = absolute.divided(inside, terms, side.s.shape[-1])
        assert divided.ratio is not None
        kept = xp.where(terms.f != 0, xp.ones_like(side.s), 0.0)
        gamma = divided.ratio * divided.first * divided.second
        return Cut(terms.g, kept, gamma, side.across(kept)), threshold

    def change(self, xp: Namespace, side: OneSided, tau: Array) -> Change:
        """The derivatives of the threshold in A and in tau."""
        if not self.relative:
            return Change(None, None, 1.0 / side.size, 0.0)
        tau = self._column(xp, self._finite(xp, tau, side.s), side.s)
        return Change(largest_cut(xp, side), tau, 1.0, 1.0)

    def second(self, at: Point, one: Tangents, two: Tangents) -> Some:
        xp, side = at.xp, one_sided(at.xp, at.factors)
        cut, threshold = self.cut(at, side)
        by_t = side.constant(cut.kept, -1.0)
        change = self.change(xp, side, at.params[0])
        x = None if one.A is None else side.divided(one.A)
        y = None if two.A is None else side.side(two.A)
        tau_x, tau_y = (
            None if dtau is None else self._column(xp, dtau, side.s)
            for dtau in (one.params[0], two.params[0])
        )
        # t_x is divided by the largest value, as X is.
        t_x = None if tau_x is None else tau_x * change.in_tau
        t_y = None if tau_y is None else tau_y * (change.in_tau * side.size)
        t_xy: Array = None
        if change.of is not None:
            s_x = None if x is None else side.along(change.of, x)
            s_y = None if y is None else side.along(change.of, y)
            t_xy = added(
                None if tau_x is None or s_y is None else tau_x * s_y * change.mixed,
                None if tau_y is None or s_x is None else tau_y * side.size * s_x * change.mixed,
            )
            if x is not None and y is not None:
                bent = xp.sum(real_product(xp, side.first(change.of, x), y.XV), axis=(-2, -1))
                t_xy = added(t_xy, change.weight * xp.expand_dims(bent, axis=-1))
            t_x = added(t_x, None if s_x is None else change.weight * s_x)
            t_y = added(t_y, None if s_y is None else change.weight * s_y)
        out: Array = None
        if x is not None and y is not None:
            out = side.second(cut, threshold, x, y)
        for t, z in ((t_x, y), (t_y, x)):
            if t is not None and z is not None:
                out = added(out, _times(xp, t, side.first(by_t, z)))
        if t_xy is not None:
            out = added(out, _times(xp, t_xy, side.value(by_t)))
        return (None if out is None else side.back(out),)

    def hvp(self, at: Point, cts: Some, along: Tangents) -> Tangents:
        xp, side = at.xp, one_sided(at.xp, at.factors)
        cut, threshold = self.cut(at, side)
        by_t = side.constant(cut.kept, -1.0)
        (tau,), (dtau,) = at.params, along.params
        change = self.change(xp, side, tau)
        y = side.side(cts[0])
        x = None if along.A is None else side.divided(along.A)
        tau_x: Array = None if dtau is None else self._column(xp, dtau, side.s)
        t_x = None if tau_x is None else tau_x * change.in_tau
        wanted = t_x is not None or change.of is not None or at.wants(0)
        of_t = side.first(by_t, y) if wanted else None
        out: Array = None
        ct_tau: Array = None
        bent: Array = None  # <N'[X], ct>
        if x is not None:
            out = side.second(cut, threshold, x, y)
            if of_t is not None:
                bent = xp.expand_dims(xp.sum(real_product(xp, of_t, x.XV), axis=(-2, -1)), axis=-1)
                ct_tau = side.size * change.in_tau * bent
        if change.of is not None:
            ct_t = side.along(by_t, y)
            weight = None if tau_x is None else tau_x * ct_t * change.mixed
            if x is not None:
                s_x = side.along(change.of, x)
                weight = added(weight, change.weight * bent)
                out = out + _times(xp, change.weight * ct_t, side.first(change.of, x))
                ct_tau = ct_tau + side.size * ct_t * s_x * change.mixed
                t_x = added(t_x, change.weight * s_x)
            if weight is not None:
                out = added(out, _times(xp, weight, side.value(change.of)))
        if t_x is not None:
            out = added(out, _times(xp, t_x, of_t))
        if ct_tau is not None:
            ct_tau = xp.sum(ct_tau + xp.zeros_like(side.size), axis=-1)
            ct_tau = sum_to_shape(xp, ct_tau, tuple(tau.shape)) if at.wants(0) else None
        return Tangents(None if out is None else side.back(out), (ct_tau,))


def _times(xp: Namespace, weight: Array, X: Array) -> Array:
    """A weight ``(..., 1)`` times a matrix."""
    return scale(xp, xp.expand_dims(weight, axis=-1), X)
