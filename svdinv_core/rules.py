r"""Rules: what the derivative of an SVD does where singular values (nearly) coincide.

The derivative of ``A = U diag(S) Vh`` divides by the differences and by the sums of
singular values,

    gap_ij   = S_j - S_i        total_ij = S_j + S_i

and only ``1/gap`` is a problem. A rule replaces ``1/gap`` and ``1/total`` by other
numbers, pair by pair; the formulas that use them (:mod:`.svd`) are the same for every rule. With
``dP = U^H dA V``, ``h(X) = X + X^H``, ``a(X) = X - X^H``

    dOmega_u = (h(dP) * inverse_gap + a(dP) * inverse_total) / 2 + tie * dP
    dOmega_v = (h(dP) * inverse_gap - a(dP) * inverse_total) / 2

where ``inverse_gap``, ``inverse_total``, ``tie`` are the fields of :class:`Coefficients`. These
formulas are linear in ``dA``, and the reverse rule is the exact adjoint of the forward one. Two
rules, :class:`Auto` and :class:`Fit`, also use the cotangents in reverse mode and are not linear in
them; their forward mode and second derivatives are those of `Inv`.

Squared values are never formed, because they overflow and underflow long before the derivative
does: ``1/(S_j^2 - S_i^2)`` is computed as ``1/(gap total)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple

from .arrays import adjoint, first, last, order_sign, real_diagonal, reciprocal, scale
from .multiplet import Explained, explain
from .namespace import Array, Namespace

__all__ = [
    "DEFAULT_RULE",
    "Auto",
    "Clip",
    "Coefficients",
    "Fit",
    "Inv",
    "Lorentzian",
    "Pairs",
    "Pinv",
    "Plain",
    "Rule",
    "Taylor",
    "Tf",
    "default_degeneracy_rtol",
    "default_gauge_rtol",
    "default_rank_rtol",
    "difference_rtol",
    "get_rule",
    "hermite_rtol",
    "promised_rtol",
    "rule_names",
]


def default_degeneracy_rtol(eps: float) -> float:
    """Two values are tied when they differ by at most this times the largest one."""
    return float(eps**0.75)


def default_rank_rtol(eps: float, size: int) -> float:
    """A value is zero when it is at most this times the largest one; `size` is max(m, n)."""
    return eps * size


def difference_rtol(eps: float) -> float:
    """Largest relative gap at which the mean of two slopes is better than a difference quotient.

    The quotient has an error of about eps |f|/|gap|, and the mean of the slopes one of about
    gap^2 |f'''|/12. At a relative gap of 3 eps^(1/3) both are near eps^(2/3)/5.
    """
    return 3 * float(eps ** (1 / 3))


def hermite_rtol(eps: float) -> float:
    """Largest relative gap at which Hermite interpolation is better than a difference quotient.

    In a second difference the quotient has an error of about eps/gap^2, and the interpolation one
    of about gap^3/720.
    """
    return float((720 * eps) ** 0.2)


def default_gauge_rtol(eps: float) -> float:
    """A loss depends on the choice of singular vectors if its residual is larger than this."""
    return float(eps**0.5)


def promised_rtol(eps: float) -> float:
    """The promised bound on the relative error of thresholding: 1e-5 in single, 1e-12 in double."""
    return 1e-5 if eps > 1e-10 else 1e-12


class Coefficients(NamedTuple):
    """Numbers that replace the divisions of the derivative, each ``(..., k, k)``, real.

    ``inverse_gap`` is antisymmetric, ``inverse_total`` symmetric. ``tie`` multiplies ``dP`` itself
    in ``dOmega_u``; it is None for every rule except `Inv`.
    """

    inverse_gap: Array
    inverse_total: Array
    tie: Array | None = None


@dataclass(frozen=True)
class Pairs:
    """All ordered pairs of singular values, with the two tolerances applied.

    Attributes
    ----------
    values : (..., k), singular values (descending) or eigenvalues (ascending)
    gap, total : (..., k, k), ``values_j - values_i`` and ``values_j + values_i``
    order : (..., k, k), the sign of ``gap``: 0 on the diagonal, and 1 or -1 elsewhere, also where
        two values are equal
    tied : (..., k, k) bool, pairs (i != j) within the degeneracy tolerance
    inverse_largest : (..., 1, 1), reciprocal of the largest size, 0 for a zero matrix
    inverse_values : (..., k), ``1/values``, 0 for a zero value
    inverse_total : (..., k, k), ``1/total``, 0 where both values are zero
    both_zero : (..., k, k) bool
    eps : float, machine epsilon of the dtype
    """

    values: Array
    gap: Array
    total: Array
    order: Array
    tied: Array
    inverse_largest: Array
    inverse_values: Array
    inverse_total: Array
    both_zero: Array
    eps: float

    @classmethod
    def of(cls, xp: Namespace, S: Array, m: int, n: int, rule: Rule) -> Pairs:
        """Pairs of the singular values `S` of an m-by-n matrix, by `rule`'s tolerances."""
        return cls._of(xp, S, first(S), n if m < n else m, rule, order_sign(xp, S))

    @classmethod
    def of_eigenvalues(cls, xp: Namespace, eigenvalues: Array, rule: Rule) -> Pairs:
        """Pairs of the eigenvalues of a Hermitian matrix, by `rule`'s tolerances."""
        ends = xp.abs(eigenvalues)
        largest = xp.maximum(first(ends), last(ends))
        size = eigenvalues.shape[-1]
        return cls._of(xp, eigenvalues, largest, size, rule, -order_sign(xp, eigenvalues))

    @classmethod
    def _of(
        cls, xp: Namespace, values: Array, largest: Array, size: int, rule: Rule, order: Array
    ) -> Pairs:
        info = xp.finfo(values.dtype)
        eps = float(info.eps)
        degeneracy_rtol = rule.tie_rtol(eps)
        rank_rtol = rule.rank_rtol
        if rank_rtol is None:
            rank_rtol = default_rank_rtol(eps, size)

        values_i, values_j = xp.expand_dims(values, axis=-1), xp.expand_dims(values, axis=-2)
        gap, total = values_j - values_i, values_j + values_i
        smallest_normal = float(info.smallest_normal)
        sizes = xp.abs(values)
        zero = (rank_rtol * largest >= sizes) | (smallest_normal > sizes)
        close = xp.abs(gap) <= degeneracy_rtol * xp.expand_dims(largest, axis=-1)
        both_zero = xp.expand_dims(zero, axis=-1) & xp.expand_dims(zero, axis=-2)
        inverse_largest = reciprocal(xp, largest, ~(smallest_normal > largest))
        return cls(
            values=values,
            gap=gap,
            total=total,
            order=order,
            tied=close & (order != 0),
            inverse_largest=xp.expand_dims(inverse_largest, axis=-1),
            inverse_values=reciprocal(xp, values, ~zero),
            inverse_total=reciprocal(xp, total, ~both_zero),
            both_zero=both_zero,
            eps=eps,
        )


def _inverse_gap(xp: Namespace, pairs: Pairs, valid: Array) -> Array:
    """``1/gap`` where `valid`, kept finite for a subnormal gap, whose reciprocal would overflow.

    Infinity times a cotangent of 0 would be NaN, as in a loss of the values alone.
    """
    least = float(xp.finfo(pairs.values.dtype).smallest_normal)
    gap = xp.where(least > xp.abs(pairs.gap), least * pairs.order, pairs.gap)
    return reciprocal(xp, gap, valid)


def _check_number(name: str, value: Any, *, zero: bool, optional: bool = True) -> None:
    """Refuse anything but a number of at least 0, or above 0 if `zero` is false."""
    if value is None and optional:
        return
    if not isinstance(value, Real):
        raise TypeError(f"{name}: expected a number, got {type(value).__name__}")
    if not (float(value) >= 0 if zero else float(value) > 0):
        least = "of at least 0" if zero else "above 0"
        raise ValueError(f"{name}: expected a number {least}, got {value}")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Base of all rules: the two tolerances, and the methods that a rule may override.

    By default ``1/gap`` is 0 on a tie and ``1/total`` is kept.

    Parameters
    ----------
    degeneracy_rtol : float, optional
        Two values are tied when they differ by at most ``degeneracy_rtol * S[0]``.
        Default ``eps**(3/4)`` of the computing dtype (1.8e-12, or 6.4e-6 in float32).
    rank_rtol : float, optional
        A value is zero when it is at most ``rank_rtol * S[0]``; its reciprocal is then
        replaced by 0. Default ``eps * max(m, n)``.

    Raises
    ------
    TypeError, ValueError
        For every rule: if a parameter is not a number, or is out of range.
    """

    name: ClassVar[str]
    linear: ClassVar[bool] = True

    degeneracy_rtol: float | None = None
    rank_rtol: float | None = None

    def __post_init__(self) -> None:
        _check_number("degeneracy_rtol", self.degeneracy_rtol, zero=True)
        _check_number("rank_rtol", self.rank_rtol, zero=True)

    def tie_rtol(self, eps: float) -> float:
        """The degeneracy tolerance for a computing dtype."""
        given = self.degeneracy_rtol
        return default_degeneracy_rtol(eps) if given is None else given

    def inverse_gap(self, xp: Namespace, pairs: Pairs) -> Array:
        """Replacement of ``1/gap``, ``(..., k, k)``; a Hermitian matrix needs no more."""
        return _inverse_gap(xp, pairs, (pairs.order != 0) & ~pairs.tied)

    def coefficients(self, xp: Namespace, pairs: Pairs) -> Coefficients:
        """Replacements of ``1/gap`` and ``1/total``."""
        return Coefficients(self.inverse_gap(xp, pairs), pairs.inverse_total)

    @property
    def fallback(self) -> Rule:
        """The rule for forward mode and second derivatives: itself if it is linear, else `Inv`."""
        if self.linear:
            return self
        return Inv(degeneracy_rtol=self.degeneracy_rtol, rank_rtol=self.rank_rtol)

    def inside(
        self,
        xp: Namespace,
        pairs: Pairs,
        X: Array,
        Y: Array | None,
        ct_values: Array,
        rounding: Array,
    ) -> tuple[Array, Array]:
        """The Hermitian part of the gradient between tied values, and flags: ``(..., k, k)`` each.

        The flags say where to use it; elsewhere the linear rule applies. Called only if `linear` is
        False.

        Parameters
        ----------
        X, Y : (..., k, k)
            ``U^H ct_U`` and ``V^H ct_V``; Y is None for a Hermitian matrix.
        ct_values : (..., k)
        rounding : (..., 1, 1)
            The size of rounding errors in X and Y.
        """
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Plain(Rule):
    """``1/gap`` unchanged, infinite on a tie, as in PyTorch and JAX."""

    name: ClassVar[str] = "plain"

    def inverse_gap(self, xp: Namespace, pairs: Pairs) -> Array:
        return reciprocal(xp, pairs.gap, pairs.order != 0)


@dataclass(frozen=True, kw_only=True)
class Pinv(Rule):
    """``1/gap`` is 0 on a tie: the minimum-norm (Moore-Penrose) solution."""

    name: ClassVar[str] = "pinv"


@dataclass(frozen=True, kw_only=True)
class Inv(Rule):
    """SVD-inv: on a tie ``dOmega_u = dP / S``, ``dOmega_v = 0`` (Zhang & Hu, eq. 26-27).

    Exact on a tie for a loss of ``U diag(c S) Vh``. For a Hermitian matrix ``dP`` is 0 on a tie for
    every loss that has a derivative (section 3.3 of the paper), so its term vanishes.

    Parameters
    ----------
    limit : float, optional
        Pairs with ``1/|S_j^2 - S_i^2| > limit`` count as tied too. This bound is absolute, so it
        depends on the scale of the matrix. ``Inv(degeneracy_rtol=0, limit=1e30)`` is the criterion
        of the paper's experiments. Default: no such bound.
    """

    name: ClassVar[str] = "inv"

    limit: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_number("limit", self.limit, zero=False)

    def coefficients(self, xp: Namespace, pairs: Pairs) -> Coefficients:
        tied, off_diagonal = pairs.tied, pairs.order != 0
        if self.limit is not None:
            tied = tied | (off_diagonal & (xp.abs(pairs.gap) * pairs.total < 1.0 / self.limit))
        zeros = xp.zeros_like(pairs.gap)
        return Coefficients(
            inverse_gap=_inverse_gap(xp, pairs, off_diagonal & ~tied),
            inverse_total=xp.where(tied, zeros, pairs.inverse_total),
            tie=xp.where(tied, xp.expand_dims(pairs.inverse_values, axis=-1), zeros),
        )


@dataclass(frozen=True, kw_only=True)
class Tf(Rule):
    """``1/gap`` and ``1/total`` are 0 on a tie: the paper's SVD-tf.

    TensorFlow's own gradient is close to this, with ``x/(x^2 + 1e-20)`` in place of ``1/x``.
    """

    name: ClassVar[str] = "tf"

    def coefficients(self, xp: Namespace, pairs: Pairs) -> Coefficients:
        inverse_total = xp.where(pairs.tied, xp.zeros_like(pairs.gap), pairs.inverse_total)
        return Coefficients(self.inverse_gap(xp, pairs), inverse_total)


@dataclass(frozen=True, kw_only=True)
class Clip(Rule):
    """``F = 1/(S_j^2 - S_i^2)`` limited to ``[-limit, limit]``: the paper's SVD-clip.

    For a Hermitian matrix ``F = 1/(S_j - S_i)``.

    Parameters
    ----------
    limit : float, default 1e16
        An absolute bound in units of 1/S^2, so this rule depends on the scale of the matrix.
    """

    name: ClassVar[str] = "clip"

    limit: float = 1e16

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_number("limit", self.limit, zero=False, optional=False)

    def _limited(self, xp: Namespace, pairs: Pairs, limit: Array) -> tuple[Array, Array]:
        """``1/gap`` with its size limited, and flags of the entries within the limit."""
        size = xp.abs(pairs.gap)
        inverse_size = reciprocal(xp, size, size > 0)
        # `where`, because PyTorch's tangent of `minimum` cancels for such different operands.
        within = (size > 0) & (inverse_size < limit)
        inverse = pairs.order * xp.where(within, inverse_size, limit)
        return xp.where(pairs.both_zero, xp.zeros_like(inverse), inverse), within

    def inverse_gap(self, xp: Namespace, pairs: Pairs) -> Array:
        return self._limited(xp, pairs, xp.zeros_like(pairs.gap) + self.limit)[0]

    def coefficients(self, xp: Namespace, pairs: Pairs) -> Coefficients:
        # F total and F gap with |F| = min(1/(|gap| total), limit), without forming F itself.
        inverse_gap, within = self._limited(xp, pairs, self.limit * pairs.total)
        kept = within | (pairs.order == 0)
        inverse_total = xp.where(kept, pairs.inverse_total, self.limit * xp.abs(pairs.gap))
        return Coefficients(inverse_gap, inverse_total)


@dataclass(frozen=True, kw_only=True)
class Taylor(Rule):
    """``F`` replaced by its Taylor polynomial: the paper's SVD-taylor.

    For a pair ``1/(S_max^2 - S_min^2) = (1 + q + q^2 + ...) / S_max^2`` with
    ``q = (S_min/S_max)^2``. The series is cut after the power `terms` (paper, eq. 5-6) and gets the
    sign of the pair's order, so that it is antisymmetric on a tie too. For a Hermitian matrix q is
    ``S_min/S_max``.

    Parameters
    ----------
    terms : int, default 9
        Degree of the polynomial.
    """

    name: ClassVar[str] = "taylor"

    terms: int = 9

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.terms, Integral):
            raise TypeError(f"terms: expected an integer, got {type(self.terms).__name__}")
        _check_number("terms", self.terms, zero=True)

    def _series(self, xp: Namespace, q: Array) -> Array:
        series = xp.ones_like(q)
        for _ in range(self.terms):
            series = 1.0 + q * series
        return series

    def _pair(self, xp: Namespace, pairs: Pairs) -> tuple[Array, Array]:
        """Reciprocal of the larger value of each pair (by size), and smaller over larger."""
        values_i = xp.expand_dims(pairs.values, axis=-1)
        values_j = xp.expand_dims(pairs.values, axis=-2)
        first = xp.abs(values_i) > xp.abs(values_j)
        larger, smaller = xp.where(first, values_i, values_j), xp.where(first, values_j, values_i)
        inverse_larger = reciprocal(xp, larger, ~pairs.both_zero)
        return inverse_larger, smaller * inverse_larger

    def inverse_gap(self, xp: Namespace, pairs: Pairs) -> Array:
        inverse_larger, ratio = self._pair(xp, pairs)
        return pairs.order * xp.abs(self._series(xp, ratio) * inverse_larger)

    def coefficients(self, xp: Namespace, pairs: Pairs) -> Coefficients:
        inverse_larger, ratio = self._pair(xp, pairs)
        series = self._series(xp, ratio * ratio) * inverse_larger
        inverse_total = series * (1.0 - ratio)
        return Coefficients(
            inverse_gap=pairs.order * series * (1.0 + ratio),
            inverse_total=xp.where(pairs.order != 0, inverse_total, pairs.inverse_total),
        )


@dataclass(frozen=True, kw_only=True)
class Lorentzian(Rule):
    """``1/gap`` broadened to ``gap/(gap^2 + (broadening S[0])^2)``, as in tensor networks.

    Liao, Liu, Wang, Xiang, Phys. Rev. X 9, 031041 (2019).

    Parameters
    ----------
    broadening : float, optional
        Relative to the largest value. Default ``eps**(3/4)`` of the computing dtype.
    """

    name: ClassVar[str] = "lorentzian"

    broadening: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_number("broadening", self.broadening, zero=False)

    def inverse_gap(self, xp: Namespace, pairs: Pairs) -> Array:
        width = self.broadening
        if width is None:
            width = default_degeneracy_rtol(pairs.eps)
        gap = pairs.gap * pairs.inverse_largest
        broadened = reciprocal(xp, gap * gap + width * width, pairs.order != 0)
        return gap * broadened * pairs.inverse_largest


@dataclass(frozen=True, kw_only=True)
class Fit(Rule):
    """On a tie, the gradient of the spectral function that explains the cotangents best.

    A loss of ``B = U diag(f(S)) Vh`` with ``W = ct_B`` and ``P = U^H W V`` has the cotangents

        (h(X) + h(Y))/4 = (h(P) diag(f) + diag(f) h(P))/4  ->  f h(P)/2       on a tie
        ct_S            = f' Re diag(P)

    and the Hermitian part of its exact gradient there is ``f' h(P)/2``. This is the first line
    times ``r = f'/f``, and r is the slope of ``ct_S`` against the diagonal of the first line. Least
    squares over the values tied to either value of a pair gives r as a linear function of the
    value. If that explains ``ct_S`` badly, r is fitted as a constant together with an intercept.
    The intercept stands for a term of the values alone in the loss, such as a nuclear norm. It is
    lightly penalised, because any two numbers fit two values.

    Exact on a tie for one spectral function. Near a tie the error is about the gap squared. For a
    sum of two functions it is no better than `Inv`. ``r`` depends on the cotangents, so forward
    mode and second derivatives are those of `Inv`.

    Parameters
    ----------
    degeneracy_rtol : float, optional
        As for every rule, but with a larger default, ``2 eps**(1/2)`` (3.0e-8, or 6.9e-4 in
        float32).
    """

    name: ClassVar[str] = "fit"
    linear: ClassVar[bool] = False

    def tie_rtol(self, eps: float) -> float:
        # Here the error of the fit, about the gap squared, equals that of 1/gap, about eps/gap.
        return 2.0 * float(eps**0.5) if self.degeneracy_rtol is None else self.degeneracy_rtol

    def inside(
        self,
        xp: Namespace,
        pairs: Pairs,
        X: Array,
        Y: Array | None,
        ct_values: Array,
        rounding: Array,
    ) -> tuple[Array, Array]:
        mean = 0.25 * (X + adjoint(xp, X))
        if Y is not None:
            mean = mean + 0.25 * (Y + adjoint(xp, Y))
        ones, zeros = xp.ones_like(pairs.gap), xp.zeros_like(pairs.gap)
        tied = xp.where(pairs.tied | (pairs.order == 0), ones, zeros)
        width = max(self.tie_rtol(pairs.eps), pairs.eps)
        gap = pairs.gap * pairs.inverse_largest * (1.0 / width)  # at most 1 on a tie
        # Scale the cotangents to size 1, so that their powers neither overflow nor underflow.
        d, y = real_diagonal(xp, mean), ct_values
        d_size = xp.max(xp.abs(d), axis=-1, keepdims=True)
        y_size = xp.max(xp.abs(y), axis=-1, keepdims=True)
        d = d * reciprocal(xp, d_size, d_size != 0)
        y = y * reciprocal(xp, y_size, y_size != 0)

        def around(v: Array, power: int = 0) -> Array:
            """Sum of ``v (S - (S_i + S_j)/2)^power`` over the values tied to i and those to j."""
            total = zeros
            for q in range(power + 1):
                moment = xp.sum(tied * gap**q * xp.expand_dims(v, axis=-2), axis=-1, keepdims=True)
                total = total + comb(power, q) * (-0.5 * gap) ** (power - q) * moment
            return total + xp.matrix_transpose(total)

        dd, dy, yy = around(d * d), around(d * y), around(y * y)
        dd_1, dy_1, dd_2 = around(d * d, 1), around(d * y, 1), around(d * d, 2)
        floor = pairs.eps**2
        # One function: y = (r + r' S) d, with r' regularised where rounding would decide it.
        dd_2 = dd_2 + (pairs.eps / width) ** 2
        determinant = dd * dd_2 - dd_1 * dd_1
        one = (dy * dd_2 - dy_1 * dd_1) * reciprocal(xp, determinant, determinant > floor * dd_2)
        # One function and a term of the values: y = r d + c.
        sum_d, sum_y = around(d), around(y)
        mean_d = sum_d / ((1.0 + _INTERCEPT_PENALTY) * around(xp.ones_like(d)))
        variance = dd - mean_d * sum_d
        two = (dy - mean_d * sum_y) * reciprocal(xp, variance, variance > floor)
        # The residual of y = r d is of the size of the gap in the first case, not in the second.
        left = yy - dy * dy * reciprocal(xp, dd, dd > floor)
        usual = (_UNEXPLAINED * width) ** 2 * yy
        total = usual * usual + left * left
        share = usual * usual * reciprocal(xp, total, total > 0)
        slope = share * one + (1.0 - share) * two
        to_scale = xp.expand_dims(y_size * reciprocal(xp, d_size, d_size != 0), axis=-1)
        inside = scale(xp, xp.where(pairs.tied & ~pairs.both_zero, slope * to_scale, zeros), mean)
        return inside, pairs.tied


_INTERCEPT_PENALTY = 1e-3  # on the squared intercept, relative to one squared residual per value
_UNEXPLAINED = 10.0  # usual size of the residual for one function, in units of the tolerance


@dataclass(frozen=True, kw_only=True)
class Auto(Rule):
    """On a tie, the gradient that the cotangents determine. This is the default rule.

    The cotangents determine it for a loss of one function ``U f(S) Vh``, ``U f(S) U^H`` or
    ``V f(S) V^H`` (including projectors onto whole multiplets, and ``U Vh``), for a loss of the
    values alone, for constants, and for a sum of two of these, except two functions of the same
    factors. :func:`.gauge.rule_residual` shows the other cases. The derivation is in
    :mod:`.multiplet`.

    The rule is not linear in the cotangents, so forward mode and second derivatives are those of
    `Inv`. So is the gradient inside a multiplet if the loss depends on the choice of its vectors.

    Near a tie ``1/gap`` gives the same gradient with an error of about eps/gap. Where the two
    differ by more than that error, the result of ``1/gap`` is used. So near a tie a loss that the
    cotangents do not determine has a gradient as good as under any rule.
    """

    name: ClassVar[str] = "auto"
    linear: ClassVar[bool] = False

    def inside(
        self,
        xp: Namespace,
        pairs: Pairs,
        X: Array,
        Y: Array | None,
        ct_values: Array,
        rounding: Array,
    ) -> tuple[Array, Array]:
        explained = self.explain(xp, pairs, X, Y, ct_values)
        size = xp.abs(pairs.gap)
        Xh = adjoint(xp, X)
        skew = X - Xh if Y is None else X - Xh + Y - adjoint(xp, Y)
        measured = scale(xp, 0.5 * reciprocal(xp, pairs.gap, size != 0), skew)
        checked = explained.checked
        checked = xp.expand_dims(checked, axis=-1) & xp.expand_dims(checked, axis=-2)
        apart = size * pairs.inverse_largest * (1.0 / pairs.eps)
        one = (apart <= _ONE_VALUE_UNCHECKED) | (checked & (apart <= _ONE_VALUE))
        agree = xp.abs(explained.M - measured) * size <= _MEASURED * rounding
        exists = explained.exists
        exists = xp.expand_dims(exists, axis=-1) & xp.expand_dims(exists, axis=-2)
        return xp.where(one | agree, explained.M, measured), pairs.tied & exists

    def explain(
        self, xp: Namespace, pairs: Pairs, X: Array, Y: Array | None, ct_values: Array
    ) -> Explained:
        """Find the gradient inside the multiplets from the cotangents."""
        zeros = xp.zeros_like(pairs.gap)
        together = xp.where(pairs.tied | (pairs.order == 0), xp.ones_like(pairs.gap), zeros)
        gaps = xp.abs(pairs.gap) * pairs.inverse_largest
        if Y is None:
            scales = xp.zeros_like(pairs.values) + pairs.inverse_largest[..., 0]
        else:
            scales = pairs.inverse_values
        return explain(
            xp,
            together,
            X,
            Y,
            ct_values,
            scales,
            xp.max(together * gaps, axis=-1, keepdims=False),
            pairs.eps,
            default_gauge_rtol(pairs.eps),
        )


_ONE_VALUE = 48.0  # gap, in eps, up to which two values count as one split by rounding
_ONE_VALUE_UNCHECKED = 12.0  # the same if M is unchecked; then 1/gap is better from here on
_MEASURED = 2.0  # error of 1/gap times the cotangents, in rounding errors

_RULES: dict[str, type[Rule]] = {
    rule.name: rule for rule in (Auto, Inv, Pinv, Plain, Tf, Clip, Taylor, Lorentzian, Fit)
}
DEFAULT_RULE = Auto()


def rule_names() -> tuple[str, ...]:
    """The names of all rules, the default first."""
    return tuple(_RULES)


def get_rule(rule: str | Rule) -> Rule:
    """Return the rule object for a name, or the given rule object.

    Raises
    ------
    ValueError
        If `rule` is neither a known name nor a rule object.
    """
    if isinstance(rule, Rule):
        return rule
    if isinstance(rule, str) and rule in _RULES:
        return _RULES[rule]()
    known = ", ".join(repr(name) for name in _RULES)
    raise ValueError(
        f"rule: unknown rule {rule!r}; use one of {known}, or a rule object such as Taylor(terms=9)"
    )
