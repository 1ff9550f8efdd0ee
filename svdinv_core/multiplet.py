r"""What the cotangents tell of the gradient inside a multiplet of equal singular values.

There the gradient is ``U M V^H`` with Hermitian M, and only the diagonal of M is known: it is
ct_S. But every term of a loss leaves its own matrix in the cotangents. With ``h(X) = X + X^H``,
``X = U^H ct_U``, ``Y = V^H ct_V`` and Hermitian H, inside a multiplet of the value s

    loss                              h(X)         h(Y)         M
    Re <W, U f(S) V^H>                2 f(s) H     2 f(s) H     f'(s) H        H = h(U^H W V)/2
    Re <W, U f(S) U^H>                4 f(s) H     0            f'(s) H        H = h(U^H W U)/2
    Re <W, V f(S) V^H>                0            4 f(s) H     f'(s) H        H = h(V^H W V)/2
    a function of the values          0            0            f'(s) I

(a projector has f' = 0, ``U V^H`` has f = 1 and f' = 0). So a loss of one of these, and of two
whose matrices differ, has ``M = alpha h(X) + beta h(Y) + c I``, and ct_S is the diagonal of that:
as many equations as the multiplet has values, for three numbers. Two products with different f
share their matrix, and the cotangents do not tell them apart.

The fewest numbers that explain ct_S are taken, in this order: none beside a constant with what the
rule `Inv` says; one for the sum ``T = h(X) + h(Y)``; the constant alone; one for h(X) or for h(Y)
(a product beside a projector of the other side); two for T and the constant where h(X) and h(Y) are
proportional, and else for T and what remains of ``h(X) - h(Y)``; all three. Where nothing explains
it, T alone does it best.

Everything is done row by row with masks, ``(..., k, k)``: row i holds what belongs to the values
tied to i, and a pair takes the mean of its two rows. Least squares is by orthogonalisation, since
normal equations would square the condition of two almost equal diagonals.
"""

from __future__ import annotations

from typing import NamedTuple

from .arrays import adjoint, real_diagonal, reciprocal, scale
from .namespace import Array, Namespace

__all__ = ["Explained", "explain"]

_ROUNDING = 64.0  # eps of the vector, which a residual may have
_FLOOR = 16.0  # eps of the largest entry, too
_PARALLEL = 64.0  # eps by which the directions of two diagonals differ at least
_STEEPEST = 1.0  # largest alpha and beta, in 1/s, that a guess without a check may have


class Explained(NamedTuple):
    """``M`` inside the multiplets, ``(..., k, k)``, and what is known of each value's row.

    `checked`, ``(..., k)``, is true where ct_S has more numbers than were needed to explain it;
    `exists`, ``(..., k)``, where the loss does not depend on the choice of the multiplet's vectors:
    else there is no M to find.
    """

    M: Array
    checked: Array
    exists: Array


def _unit(xp: Namespace, *arrays: Array, axis: tuple[int, ...]) -> tuple[Array, Array]:
    """Largest size over the arrays along `axis`, kept, and its reciprocal (0 for 0)."""
    largest = xp.max(xp.abs(arrays[0]), axis=axis, keepdims=True)
    for array in arrays[1:]:
        largest = xp.maximum(largest, xp.max(xp.abs(array), axis=axis, keepdims=True))
    return largest, reciprocal(xp, largest, largest != 0)


class _Rows:
    """Inner products over the values tied to each value."""

    def __init__(self, xp: Namespace, together: Array) -> None:
        self.xp = xp
        self.together = together  # (..., k, k): 1 where tied and on the diagonal, else 0
        self.count = self.sum(together)

    def of(self, v: Array) -> Array:
        """``v (..., k)`` once for each row, cut down to the row's multiplet."""
        return self.together * self.xp.expand_dims(v, axis=-2)

    def sum(self, rows: Array) -> Array:
        return self.xp.sum(rows, axis=-1)

    def dot(self, a: Array, b: Array) -> Array:
        return self.sum(a * b)

    def blocks(self, A: Array, B: Array) -> Array:
        """``Re tr(A^H B)`` over the block of each row's multiplet."""
        product = self.xp.conj(A) * B
        real = self.xp.real(product) if self.xp.isdtype(A.dtype, "complex floating") else product
        return self.sum(self.of(self.sum(self.together * real)))

    def times(self, coefficient: Array, rows: Array) -> Array:
        return self.xp.expand_dims(coefficient, axis=-1) * rows

    def without(self, u: Array, v: Array, inverse: Array) -> tuple[Array, Array]:
        """Coefficient of v in u, and the rest; `inverse` is ``1/|v|^2``, or 0 to leave u.

        Twice, so that the rest is orthogonal to v to rounding.
        """
        first = self.dot(u, v) * inverse
        rest = u - self.times(first, v)
        second = self.dot(rest, v) * inverse
        return first + second, rest - self.times(second, v)

    def mean(self, v: Array) -> Array:
        """``(v_i + v_j)/2``."""
        return 0.5 * (self.xp.expand_dims(v, axis=-1) + self.xp.expand_dims(v, axis=-2))


def explain(
    xp: Namespace,
    together: Array,
    X: Array,
    Y: Array | None,
    ct_values: Array,
    scales: Array,
    spread: Array,
    eps: float,
    gauge_rtol: float,
) -> Explained:
    """M from the cotangents.

    Parameters
    ----------
    together : (..., k, k) real
        1 where two values are tied and on the diagonal, else 0.
    X, Y : (..., k, k)
        ``U^H ct_U`` and ``V^H ct_V``; Y is None for a Hermitian matrix, which has one side only.
    ct_values : (..., k)
    scales : (..., k)
        Reciprocals of the values (of the largest one for a Hermitian matrix): what alpha and beta
        are measured in.
    spread : (..., k)
        How far the values tied to each are apart, relative to the largest.
    eps : float
    gauge_rtol : float
        Skew parts ``a(X) + a(Y)`` up to this are rounding.
    """
    rows = _Rows(xp, together)
    # Squares are formed: of numbers of size 1, they neither overflow nor underflow.
    hermitian = Y is None
    _, weight = _unit(xp, X, *(() if Y is None else (Y,)), axis=(-2, -1))
    ct_size, ct_weight = _unit(xp, ct_values, axis=(-1,))
    X = scale(xp, weight, X)
    Y = X if Y is None else scale(xp, weight, Y)
    Xh, Yh = adjoint(xp, X), adjoint(xp, Y)
    skew, hX, hY = X - Xh + Y - Yh, X + Xh, Y + Yh
    exists = rows.blocks(skew, skew) <= gauge_rtol**2 * rows.count
    T, Z = hX + hY, hX - hY
    unit = xp.where(ct_size != 0, ct_size, 1.0)
    per_size = unit * weight[..., 0]
    scales = scales * reciprocal(xp, per_size, per_size != 0)

    ones, zeros = xp.ones_like(spread), xp.zeros_like(spread)
    rtol = _ROUNDING * eps + 8.0 * spread
    rtol, floor = rtol * rtol, (_FLOOR * eps) ** 2 * rows.count
    parallel = (_PARALLEL * eps) ** 2
    dot, without, times = rows.dot, rows.without, rows.times

    # Z without its part along T, as a matrix: what proportional matrices do not have.
    TT, ZZ = rows.blocks(T, T), rows.blocks(Z, Z)
    along = rows.blocks(Z, T) * reciprocal(xp, TT, TT != 0)
    Z_rest = Z - scale(xp, rows.mean(along), T)
    two_sided = rows.blocks(Z_rest, Z_rest) > rtol * (TT + ZZ) + floor * rows.count

    d = rows.of(ct_values * ct_weight)
    t, z = rows.of(real_diagonal(xp, T)), rows.of(real_diagonal(xp, Z_rest))
    dd, tt, zz = dot(d, d), dot(t, t), dot(z, z)
    seen = tt > parallel * TT
    inverse_tt = reciprocal(xp, tt, seen)

    def fits(rest: Array, a: Array, b: Array, c: Array) -> Array:
        """Whether what is left of ct_S is rounding."""
        terms = dd + a * a * tt + b * b * zz + c * c * rows.count
        return dot(rest, rest) <= rtol * terms + floor * (1.0 + a * a + b * b)

    a_1, rest_1 = without(d, t, inverse_tt)  # T alone
    c_2 = rows.sum(d) / rows.count  # a constant alone
    # orthogonal to t: w = z - z_t t, and o = 1 - o_t t - o_w w
    z_t, w = without(z, t, inverse_tt)
    ww = dot(w, w)
    w_seen = two_sided & (ww > parallel * zz)
    inverse_ww = reciprocal(xp, ww, w_seen)
    o_t, o = without(together, t, inverse_tt)
    oo = dot(o, o)
    c_3, rest_3 = without(rest_1, o, reciprocal(xp, oo, oo > parallel * rows.count))
    a_3 = a_1 - c_3 * o_t
    b_4, rest_4 = without(rest_1, w, inverse_ww)
    a_4 = a_1 - b_4 * z_t
    o_w, o = without(o, w, inverse_ww)
    oo = dot(o, o)
    c_5, rest_5 = without(rest_4, o, reciprocal(xp, oo, oo > parallel * rows.count))
    b_5 = b_4 - c_5 * o_w
    a_5 = a_1 - b_5 * z_t - c_5 * o_t

    limit = _STEEPEST * scales

    def good(rest: Array, a: Array, b: Array, c: Array, numbers: float) -> Array:
        a_of_T = a - b * along
        moderate = (xp.abs(a_of_T) <= limit) & (xp.abs(b) <= 2.0 * limit)
        return fits(rest, a, b, c) & ((rows.count > numbers) | moderate)

    # whether it holds, its coefficients of T and of Z, and how many numbers it took
    choices = [
        (fits(rest_1, a_1, zeros, zeros), a_1, zeros, 1.0),
        (fits(d - times(c_2, together), zeros, zeros, c_2), zeros, zeros, 1.0),
        (~two_sided & good(rest_3, a_3, zeros, c_3, 2.0), a_3, zeros, 2.0),
        (two_sided & good(rest_4, a_4, b_4, zeros, 2.0), a_4 - b_4 * along, b_4, 2.0),
        (two_sided & good(rest_5, a_5, b_5, c_5, 3.0), a_5 - b_5 * along, b_5, 3.0),
    ]
    if not hermitian:
        q = 0.25 * scales  # T + Z = 2 h(X)
        rest_0 = d - times(2.0 * q, rows.of(real_diagonal(xp, hX)))
        c_0 = rows.sum(rest_0) / rows.count
        inv = fits(rest_0, q, q, zeros) | fits(rest_0 - times(c_0, together), q, q, c_0)
        choices.insert(0, (inv & (dd > 0), q, q, 1.0))
        for h, sign in ((hX, 0.5), (hY, -0.5)):
            v = rows.of(real_diagonal(xp, h))
            vv = dot(v, v)
            a, rest = without(d, v, reciprocal(xp, vv, vv > parallel * TT))
            left = rtol * (dd + a * a * vv) + floor * (1.0 + a * a)
            alone = two_sided & (dot(rest, rest) <= left)
            choices.insert(3, (alone, 0.5 * a, sign * a, 1.0))

    # from the last to the first, so that the first that holds is what remains
    of_T = xp.where(a_1 > limit, limit, xp.where(a_1 < -limit, -limit, a_1))
    of_Z, numbers = zeros, rows.count
    for holds, a, b, used in reversed(choices):
        of_T, of_Z = xp.where(holds, a, of_T), xp.where(holds, b, of_Z)
        numbers = xp.where(holds, used * ones, numbers)
    checked = (rows.count > numbers) & (seen | (TT == 0))
    if not hermitian:
        # Nothing on T's diagonal: as for f(s) = c s, as far as h(X) and h(Y) are the same.
        alike = (TT - ZZ) * reciprocal(xp, TT + ZZ, TT + ZZ != 0)
        of_T = xp.where(seen, of_T, 0.25 * scales * xp.where(alike > 0, alike, zeros))
    M = scale(xp, rows.mean(of_T), T) + scale(xp, rows.mean(of_Z), Z)
    return Explained(scale(xp, xp.expand_dims(unit, axis=-1), M), checked, exists)
