r"""Rules: what the derivative of an SVD does where singular values (nearly) coincide.

The derivative of ``A = U diag(S) Vh`` divides by the differences and by the sums of
singular values,

    gap_ij   = S_j - S_i        total_ij = S_j + S_i

and only ``1/gap`` is ever in danger. A rule says which numbers stand in the place of
``1/gap`` and ``1/total``, pair by pair; the formulas that use them (:mod:`.svd`) are
the same for every rule. With ``dP = U^H dA V``, ``h(X) = X + X^H``, ``a(X) = X - X^H``

    dOmega_u = (h(dP) * gap + a(dP) * total) / 2 + tie * dP
    dOmega_v = (h(dP) * gap - a(dP) * total) / 2

where ``gap``, ``total``, ``tie`` are the fields of :class:`Coefficients`. All of them are
linear in ``dA``, so that the reverse rule is the exact adjoint of the forward one.

Squared values are never formed: ``1/(S_j^2 - S_i^2)`` is ``1/(gap total)``, and squares
overflow and underflow long before the derivative does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from .arrays import order_sign, reciprocal
from .namespace import Array, Namespace

__all__ = [
    "Clip",
    "Coefficients",
    "Inv",
    "Lorentzian",
    "Pairs",
    "Pinv",
    "Plain",
    "Rule",
    "Taylor",
    "Tf",
    "default_degeneracy_rtol",
    "default_rank_rtol",
    "get_rule",
    "rule_names",
]


def default_degeneracy_rtol(eps: float) -> float:
    """Two values are tied when they differ by at most this times the largest one."""
    return float(eps**0.75)


def default_rank_rtol(eps: float, m: int, n: int) -> float:
    """A value is zero when it is at most this times the largest one."""
    return float(eps * max(m, n))


class Coefficients(NamedTuple):
    """Numbers that stand for the divisions of the derivative, each ``(..., k, k)``, real.

    ``gap`` is antisymmetric, ``total`` symmetric; ``tie`` multiplies ``dP`` itself in
    ``dOmega_u`` and is None for every rule but one.
    """

    gap: Array
    total: Array
    tie: Array | None = None


@dataclass(frozen=True)
class Pairs:
    """All ordered pairs of singular values, with the two tolerances applied.

    Attributes
    ----------
    S : (..., k) singular values, descending
    gap, total : (..., k, k), ``S_j - S_i`` and ``S_j + S_i``
    order : (..., k, k), 1 below the diagonal, -1 above, 0 on it: the sign of ``gap``
        for descending values, also where they are equal
    tied : (..., k, k) bool, pairs (i != j) closer than the degeneracy tolerance
    inverse_values : (..., k), ``1/S``, 0 for a zero value
    inverse_total : (..., k, k), ``1/total``, 0 where both values are zero
    both_zero : (..., k, k) bool
    eps : float, unit roundoff spacing of the dtype
    """

    S: Array
    gap: Array
    total: Array
    order: Array
    tied: Array
    inverse_values: Array
    inverse_total: Array
    both_zero: Array
    eps: float

    @classmethod
    def of(cls, xp: Namespace, S: Array, m: int, n: int, rule: Rule) -> Pairs:
        """Pairs of the singular values `S` of an m-by-n matrix, by `rule`'s tolerances."""
        info = xp.finfo(S.dtype)
        eps = float(info.eps)
        degeneracy_rtol = rule.degeneracy_rtol
        if degeneracy_rtol is None:
            degeneracy_rtol = default_degeneracy_rtol(eps)
        rank_rtol = rule.rank_rtol
        if rank_rtol is None:
            rank_rtol = default_rank_rtol(eps, m, n)

        S_i, S_j = xp.expand_dims(S, axis=-1), xp.expand_dims(S, axis=-2)
        gap, total = S_j - S_i, S_j + S_i
        order = order_sign(xp, S)
        largest = S[..., :1]
        zero = (rank_rtol * largest >= S) | (float(info.smallest_normal) > S)
        close = xp.abs(gap) <= degeneracy_rtol * xp.expand_dims(largest, axis=-1)
        both_zero = xp.expand_dims(zero, axis=-1) & xp.expand_dims(zero, axis=-2)
        return cls(
            S=S,
            gap=gap,
            total=total,
            order=order,
            tied=close & (order != 0),
            inverse_values=reciprocal(xp, S, ~zero),
            inverse_total=reciprocal(xp, total, ~both_zero),
            both_zero=both_zero,
            eps=eps,
        )


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Base of all rules: the two tolerances, and one method to write.

    Parameters
    ----------
    degeneracy_rtol : float, optional
        Two values are tied when they differ by at most ``degeneracy_rtol * S[0]``.
        Default ``eps**(3/4)`` of the computing dtype (1.8e-12, or 6.4e-6 in float32).
    rank_rtol : float, optional
        A value is zero when it is at most ``rank_rtol * S[0]``; its reciprocal is then
        replaced by 0. Default ``eps * max(m, n)``.
    """

    name: ClassVar[str]

    degeneracy_rtol: float | None = None
    rank_rtol: float | None = None

    def coefficients(self, xp: Namespace, pairs: Pairs) -> Coefficients:
        """What stands for ``1/gap`` and ``1/total``."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Plain(Rule):
    """``1/gap`` as it is: infinite on a tie. What PyTorch and JAX do."""

    name: ClassVar[str] = "plain"

    def coefficients(self, xp: Namespace, pairs: Pairs) -> Coefficients:
        off_diagonal = pairs.order != 0
        return Coefficients(gap=reciprocal(xp, pairs.gap, off_diagonal), total=pairs.inverse_total)


@dataclass(frozen=True, kw_only=True)
class Pinv(Rule):
    """``1/gap`` is 0 on a tie: the minimum-norm (Moore-Penrose) solution."""

    name: ClassVar[str] = "pinv"

    def coefficients(self, xp: Namespace, pairs: Pairs) -> Coefficients:
        apart = (pairs.order != 0) & ~pairs.tied
        return Coefficients(gap=reciprocal(xp, pairs.gap, apart), total=pairs.inverse_total)


@dataclass(frozen=True, kw_only=True)
class Inv(Rule):
    """SVD-inv: on a tie ``dOmega_u = dP / S``, ``dOmega_v = 0`` (Zhang & Hu, eq. 26-27).

    Exact on a tie for a loss of ``U diag(c S) Vh``.

    Parameters
    ----------
    limit : float, optional
        Pairs with ``1/|S_j^2 - S_i^2| > limit`` are tied as well (an absolute bound, so
        it depends on the scale of the matrix). ``Inv(degeneracy_rtol=0, limit=1e30)`` is
        the criterion the paper's experiments use. Default: no such bound.
    """

    name: ClassVar[str] = "inv"

    limit: float | None = None

    def coefficients(self, xp: Namespace, pairs: Pairs) -> Coefficients:
        tied, off_diagonal = pairs.tied, pairs.order != 0
        if self.limit is not None:
            tied = tied | (off_diagonal & (xp.abs(pairs.gap) * pairs.total < 1.0 / self.limit))
        zeros = xp.zeros_like(pairs.gap)
        return Coefficients(
            gap=reciprocal(xp, pairs.gap, off_diagonal & ~tied),
            total=xp.where(tied, zeros, pairs.inverse_total),
            tie=xp.where(tied, xp.expand_dims(pairs.inverse_values, axis=-1), zeros),
        )


@dataclass(frozen=True, kw_only=True)
class Tf(Rule):
    """Both terms are 0 on a tie: the paper's SVD-tf.

    TensorFlow's own gradient is close to it, with ``x/(x^2 + 1e-20)`` for ``1/x``.
    """

    name: ClassVar[str] = "tf"

    def coefficients(self, xp: Namespace, pairs: Pairs) -> Coefficients:
        apart = (pairs.order != 0) & ~pairs.tied
        zeros = xp.zeros_like(pairs.gap)
        return Coefficients(
            gap=reciprocal(xp, pairs.gap, apart),
            total=xp.where(pairs.tied, zeros, pairs.inverse_total),
        )


@dataclass(frozen=True, kw_only=True)
class Clip(Rule):
    """``F = 1/(S_j^2 - S_i^2)`` limited to ``[-limit, limit]``: the paper's SVD-clip.

    Parameters
    ----------
    limit : float, default 1e16
        Absolute, in units of 1/S^2: the one rule that depends on the matrix's scale.
    """

    name: ClassVar[str] = "clip"

    limit: float = 1e16

    def coefficients(self, xp: Namespace, pairs: Pairs) -> Coefficients:
        # F total and F gap with |F| = min(1/(|gap| total), limit), F itself never formed.
        off_diagonal, size = pairs.order != 0, xp.abs(pairs.gap)
        limited_gap, limited_total = self.limit * pairs.total, self.limit * size
        distinct = size > 0
        inverse_gap = reciprocal(xp, size, distinct)
        # By `where`: PyTorch's tangent of `minimum` cancels between operands this far apart.
        within = distinct & (inverse_gap < limited_gap)
        gap = pairs.order * xp.where(within, inverse_gap, limited_gap)
        total = xp.where(within, pairs.inverse_total, limited_total)
        zeros = xp.zeros_like(gap)
        return Coefficients(
            gap=xp.where(pairs.both_zero, zeros, gap),
            total=xp.where(off_diagonal, total, pairs.inverse_total),
        )


@dataclass(frozen=True, kw_only=True)
class Taylor(Rule):
    """``F`` replaced by its Taylor polynomial: the paper's SVD-taylor.

    ``1/(S_max^2 - S_min^2) = (1 + q + q^2 + ...) / S_max^2`` with
    ``q = (S_min/S_max)^2`` of the pair, cut after the power `terms` (paper, eq. 5-6),
    with the sign of the pair's order, so that it is antisymmetric on a tie as well.

    Parameters
    ----------
    terms : int, default 9
        Degree of the polynomial.
    """

    name: ClassVar[str] = "taylor"

    terms: int = 9

    def coefficients(self, xp: Namespace, pairs: Pairs) -> Coefficients:
        S_i, S_j = xp.expand_dims(pairs.S, axis=-1), xp.expand_dims(pairs.S, axis=-2)
        inverse_larger = reciprocal(xp, xp.maximum(S_i, S_j), ~pairs.both_zero)
        ratio = xp.minimum(S_i, S_j) * inverse_larger
        q = ratio * ratio
        series = xp.ones_like(q)
        for _ in range(self.terms):
            series = 1.0 + q * series
        series = series * inverse_larger
        total = series * (1.0 - ratio)
        return Coefficients(
            gap=pairs.order * series * (1.0 + ratio),
            total=xp.where(pairs.order != 0, total, pairs.inverse_total),
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

    def coefficients(self, xp: Namespace, pairs: Pairs) -> Coefficients:
        width = self.broadening
        if width is None:
            width = default_degeneracy_rtol(pairs.eps)
        inverse_largest = xp.expand_dims(pairs.inverse_values[..., :1], axis=-1)
        gap = pairs.gap * inverse_largest
        broadened = reciprocal(xp, gap * gap + width * width, pairs.order != 0)
        return Coefficients(gap=gap * broadened * inverse_largest, total=pairs.inverse_total)


_RULES: dict[str, type[Rule]] = {
    rule.name: rule for rule in (Inv, Pinv, Plain, Tf, Clip, Taylor, Lorentzian)
}


def rule_names() -> tuple[str, ...]:
    """Names accepted wherever a rule is asked for, the default first."""
    return tuple(_RULES)


def get_rule(rule: str | Rule) -> Rule:
    """Rule object for a name or for a rule object.

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
        f"rule: unknown rule {rule!r}; use one of {known}, or an object of svdinv.rules "
        "such as svdinv.rules.Taylor(terms=9)"
    )
