r"""How much a loss depends on the choice of singular vectors, and its gradient on the rule.

``U -> U W``, ``V -> V W`` leaves A as it is for every unitary W that mixes equal singular
values only: single phases at least, whole unitary blocks at ties; and at zero values U and V
turn each by its own W, into the complement of the other columns as well. A loss that
changes under them has no gradient. It does not change, to first order, exactly if

    (a(X) + a(Y))_ij = 0     i = j, or i and j tied         X = U^H ct_U,  Y = V^H ct_V
    a(X)_ij = a(Y)_ij = 0    S_i = S_j = 0                  a(X) = X - X^H
    (I - U U^H) ct_U e_i = 0,  (I - V V^H) ct_V e_i = 0     S_i = 0

and what is left of these, relative to the cotangents, is the residual.

A loss that does not change has a gradient, whose part inside a tie is ``U M V^H`` there with
Hermitian M. The cotangents give the diagonal of M, which is ct_S. Off the diagonal a rule takes
``M = alpha h(X) + beta h(Y)`` with ``h(X) = X + X^H`` and numbers of its own choice; so the size
of these two, relative to the cotangents, is how much the rule decides. The rule `Auto` finds the
numbers from ct_S (:mod:`.multiplet`), and can check them where ct_S has more than it takes.
"""

from __future__ import annotations

from .arrays import adjoint, reciprocal, scale, scale_columns
from .namespace import Array, Namespace
from .rules import Auto, Pairs, Pinv
from .svd import SVDFactors

__all__ = ["gauge_residual", "rule_residual"]


def _square(xp: Namespace, x: Array) -> Array:
    """Sum of squared sizes over the last two axes."""
    size = xp.abs(x)
    return xp.sum(size * size, axis=(-2, -1))


def _sizes_one(xp: Namespace, ct_U: Array, ct_Vh: Array) -> tuple[Array, Array, Array, Array]:
    """Cotangents of U and V with a largest entry of 1, what by, and the reciprocal of their norm.

    So that no square overflows or underflows.
    """
    largest = xp.maximum(
        xp.max(xp.abs(ct_U), axis=(-2, -1), keepdims=True),
        xp.max(xp.abs(ct_Vh), axis=(-2, -1), keepdims=True),
    )
    weight = reciprocal(xp, largest, largest != 0)
    ct_U, ct_V = scale(xp, weight, ct_U), adjoint(xp, scale(xp, weight, ct_Vh))
    size = _square(xp, ct_U) + _square(xp, ct_V)
    return ct_U, ct_V, weight, xp.sqrt(reciprocal(xp, size, size != 0))


def gauge_residual(xp: Namespace, factors: SVDFactors, ct_U: Array, ct_Vh: Array) -> Array:
    """Gauge dependence of a loss, ``(...)``, from its cotangents: about eps for none, else O(1).

    Ties and zeros are counted by the default tolerances.
    """
    U, S, Vh = factors
    if 0 in U.shape or 0 in Vh.shape:
        return xp.sum(S, axis=-1)  # no entries, or a sum over none: zeros of the batch shape
    V = adjoint(xp, Vh)
    ct_U, ct_V, _, inverse_size = _sizes_one(xp, ct_U, ct_Vh)

    pairs = Pairs.of(xp, S, U.shape[-2], Vh.shape[-1], Pinv())
    zeros, ones = xp.zeros_like(pairs.gap), xp.ones_like(pairs.gap)
    free = xp.where(pairs.both_zero, ones, zeros)
    together = xp.where((pairs.tied | (pairs.order == 0)) & ~pairs.both_zero, ones, zeros)
    zero_values = xp.where(pairs.inverse_values == 0, xp.ones_like(S), xp.zeros_like(S))

    X, Y = xp.matmul(adjoint(xp, U), ct_U), xp.matmul(Vh, ct_V)
    aX, aY = X - adjoint(xp, X), Y - adjoint(xp, Y)
    total = (
        _square(xp, scale(xp, together, aX + aY))
        + _square(xp, scale(xp, free, aX))
        + _square(xp, scale(xp, free, aY))
        + _square(xp, scale_columns(xp, ct_U - xp.matmul(U, X), zero_values))
        + _square(xp, scale_columns(xp, ct_V - xp.matmul(V, Y), zero_values))
    )
    return xp.sqrt(total) * inverse_size


def rule_residual(
    xp: Namespace, factors: SVDFactors, ct_U: Array, ct_Vh: Array, ct_S: Array | None = None
) -> Array:
    """How much a rule decides, ``(...)``, from the cotangents: about eps for nothing, else O(1).

    Ties are counted by the default tolerance. With ct_S: how much the rule `Auto` decides without
    a check, where ct_S has no more numbers than it took to explain them, or is not explained.
    """
    U, S, Vh = factors
    if 0 in U.shape or 0 in Vh.shape:
        return xp.sum(S, axis=-1)
    ct_U, ct_V, weight, inverse_size = _sizes_one(xp, ct_U, ct_Vh)
    rule = Auto()
    pairs = Pairs.of(xp, S, U.shape[-2], Vh.shape[-1], rule)
    zeros, ones = xp.zeros_like(pairs.gap), xp.ones_like(pairs.gap)
    X, Y = xp.matmul(adjoint(xp, U), ct_U), xp.matmul(Vh, ct_V)
    counted = pairs.tied
    total = xp.zeros_like(inverse_size)
    if ct_S is not None:
        # Without other cotangents the weight is 0; a loss of the values alone has its own size.
        ct_S = ct_S * xp.where(weight != 0, weight, xp.ones_like(weight))[..., 0]
        checked = rule.explain(xp, pairs, X, Y, ct_S).checked
        counted = counted & ~(xp.expand_dims(checked, axis=-1) & xp.expand_dims(checked, axis=-2))
        together = xp.where(counted | (pairs.order == 0), ones, zeros)
        mean = xp.sum(together * xp.expand_dims(ct_S, axis=-2), axis=-1)
        varies = S * (ct_S - mean / xp.sum(together, axis=-1))
        total = xp.sum(varies * varies, axis=-1)
    counted = xp.where(counted, ones, zeros)
    total = total + _square(xp, scale(xp, counted, X + adjoint(xp, X)))
    total = total + _square(xp, scale(xp, counted, Y + adjoint(xp, Y)))
    return xp.sqrt(total) * inverse_size
