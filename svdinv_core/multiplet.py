r"""The gradient inside a multiplet of equal singular values, found from the cotangents.

Inside a multiplet the gradient is ``U M V^H`` with a Hermitian matrix M. Its diagonal is ct_S, and
the rest of M is unknown. But every term of a loss contributes a matrix to the cotangents. With
``h(X) = X + X^H``, ``X = U^H ct_U``, ``Y = V^H ct_V`` and a Hermitian matrix H, inside a multiplet
of the value s

    loss                              h(X)         h(Y)         M
    Re <W, U f(S) V^H>                2 f(s) H     2 f(s) H     f'(s) H        H = h(U^H W V)/2
    Re <W, U f(S) U^H>                4 f(s) H     0            f'(s) H        H = h(U^H W U)/2
    Re <W, V f(S) V^H>                0            4 f(s) H     f'(s) H        H = h(V^H W V)/2
    a function of the values          0            0            f'(s) I

(a projector has f' = 0, ``U V^H`` has f = 1 and f' = 0). So a loss with one of these terms, or with
two whose matrices differ, has ``M = alpha h(X) + beta h(Y) + c I``. The diagonal of this is ct_S,
which gives one equation for each value of the multiplet, and three unknown numbers. Two products
with different f contribute the same matrix, so the cotangents do not tell them apart.

The code takes the fewest numbers that explain ct_S. It tries in this order: the coefficients of
the rule `Inv`, with or without a constant; one number for the sum ``T = h(X) + h(Y)``; the constant
alone; one number for h(X) or for h(Y) (a product and a projector of the other side); two numbers,
for T and the constant if h(X) and h(Y) are proportional, else for T and the part of ``h(X) - h(Y)``
orthogonal to it; all three. If nothing explains ct_S, it takes the best fit of T alone.

Everything works row by row with masks ``(..., k, k)``: row i holds the numbers of the values tied
to i, and a pair takes the mean of its two rows. Least squares uses orthogonalisation, because
normal equations would square the condition number of two almost equal diagonals.
"""

from __future__ import annotations

from typing import NamedTuple

from .arrays import adjoint, real_diagonal, reciprocal, scale
from .namespace import Array, Namespace

__all__ = ["Explained", "explain"]

_ROUNDING = 64.0  # largest residual that counts as rounding, in eps of the vector,
_FLOOR = 16.0  # plus this many eps of the largest entry
_PARALLEL = 64.0  # two diagonals are parallel if their directions differ by less, in eps
_STEEPEST = 1.0  # largest alpha and beta, in 1/s, that are accepted without a check


class Explained(NamedTuple):
    """``M`` inside the multiplets, ``(..., k, k)``, and two flags ``(..., k)`` for each value.

    `checked` is true where ct_S has more entries than numbers were needed to explain it. `exists`
    is true where the loss does not depend on the choice of the multiplet's vectors; without that
    there is no M.
    """

    M: Array
    checked: Array
    exists: Array


def _unit(xp: Namespace, *arrays: Array, axis: tuple[int, ...]) -> tuple[Array, Array]:
    """Largest absolute value of the arrays along `axis` (kept), and its reciprocal (0 for 0)."""
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
        """``v (..., k)`` repeated in each row, with 0 outside of the row's multiplet."""
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
        """The coefficient of v in u, and the rest of u; `inverse` is ``1/|v|^2``, or 0 to keep u.

        The projection is done twice, so that the rest is orthogonal to v to rounding error.
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
    """Find M from the cotangents.

    Parameters
    ----------
    together : (..., k, k) real
        1 on the diagonal and where two values are tied, else 0.
    X, Y : (..., k, k)
        ``U^H ct_U`` and ``V^H ct_V``; Y is None for a Hermitian matrix, which has one side only.
    ct_values : (..., k)
    scales : (..., k)
        Reciprocals of the values (for a Hermitian matrix, of the largest one): the units of alpha
        and beta.
    spread : (..., k)
        Largest gap between a value and those tied to it, relative to the largest value.
    eps : float
    gauge_rtol : float
        Skew parts ``a(X) + a(Y)`` up to this size count as rounding errors.
    """
    rows = _Rows(xp, together)
    # Scale to numbers of size 1, so that their squares neither overflow nor underflow.
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

    # The part of Z orthogonal to T as a matrix. It is 0 if h(X) and h(Y) are proportional.
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
        """Whether the residual of ct_S is within rounding error."""
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

    # for each choice: whether it explains ct_S, its coefficients of T and Z, its number of unknowns
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

    # from the last choice to the first, so that the first one that holds wins
    of_T = xp.where(a_1 > limit, limit, xp.where(a_1 < -limit, -limit, a_1))
    of_Z, numbers = zeros, rows.count
    for holds, a, b, used in reversed(choices):
        of_T, of_Z = xp.where(holds, a, of_T), xp.where(holds, b, of_Z)
        numbers = xp.where(holds, used * ones, numbers)
    checked = (rows.count > numbers) & (seen | (TT == 0))
    if not hermitian:
        # The diagonal of T is 0: use the value for f(s) = c s, as far as h(X) and h(Y) are alike.
        alike = (TT - ZZ) * reciprocal(xp, TT + ZZ, TT + ZZ != 0)
        of_T = xp.where(seen, of_T, 0.25 * scales * xp.where(alike > 0, alike, zeros))
    M = scale(xp, rows.mean(of_T), T) + scale(xp, rows.mean(of_Z), Z)
    return Explained(scale(xp, xp.expand_dims(unit, axis=-1), M), checked, exists)
