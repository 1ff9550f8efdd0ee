r"""Second derivatives of functions of a matrix, exact for repeated values.

``B = Q diag(f(w)) Q^H`` has, with ``X, Y`` in its eigenvectors' basis, the second derivative

    T[X, Y] = Q R Q^H      R_ac = sum_b f[w_a, w_b, w_c] (X_ab Y_bc + Y_ab X_bc)

with the second divided differences of f, which are ``f''/2`` where the three values are equal
(Daleckii & Krein; Higham, "Functions of Matrices", section 3). T is symmetric in its directions,
and ``T[X, .]`` is self-adjoint. So one map is the derivative of the first derivative in forward and
in reverse mode.

``U diag(f(S)) V^H`` is a block of such a function of the Hermitian matrix ``[[0, A], [A^H, 0]]``,
with f continued as an odd function. The eigenvalues of that matrix are S, -S, and 0 for the part of
a tall matrix outside its factors. Let h and a be the Hermitian and skew parts of ``U^H X V``. The
blocks of the direction are h and -h between equal signs, -a and a between different signs, and

    T = U (R_+ - R_-) V^H      R_+, R_-  rows of S, columns of S and of -S

plus the part outside. With ``X_o = (I - U U^H) X V`` and ``Z+-_ij = f[0, S_i, +-S_j]`` this adds

    inside     U ( (X_o^H Y_o + Y_o^H X_o) * (Z+ + Z-)/2 ) V^H
    outside    X_o (Z+ * h_y + Z- * a_y) V^H, and the same with X and Y exchanged.

For m < n the formulas are applied to ``A^H``. No table of three indices is formed: a second
difference is a difference of two first differences, divided by the gap of any two of the values, so
that the sums over b are products of matrices. One direction and the values are divided by the
largest value, and no squares are formed, so that large and small scales neither overflow nor
underflow.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from .arrays import adjoint, over, reciprocal, safe_size, scale, scale_columns
from .namespace import Array, Namespace
from .rules import Pairs, Pinv, difference_rtol, hermite_rtol
from .svd import SVDFactors

__all__ = [
    "Jet",
    "Nodes",
    "OfDifferences",
    "OfInverse",
    "OfSign",
    "kinked",
    "of_jet",
    "second_hermitian",
    "second_product",
    "second_two_sided",
]

ROUNDINGS = 128
"""Error of the value of a caller's function, in units of eps times the value."""


class Jet(NamedTuple):
    """A function and its derivatives at the values, each ``(..., k)``."""

    f: Array
    slope: Array
    curvature: Array


def _columns(xp: Namespace, v: Array) -> tuple[Array, Array]:
    """``v_i`` and ``v_j`` of ``v (..., k)``, to broadcast over pairs."""
    return xp.expand_dims(v, axis=-1), xp.expand_dims(v, axis=-2)


def kinked(
    xp: Namespace, f: tuple[Array, Array], slope: tuple[Array, Array], predicted: Array
) -> Array:
    """Flags of pairs where ``f_i - f_j`` is not what the slopes predict.

    There f has a kink or varies on a smaller scale, and the quotient is better than the slopes. The
    flag is false where the two slopes are equal, where rounding may be the reason, and for NaN.
    """
    (f_i, f_j), (s_i, s_j) = f, slope
    eps = float(xp.finfo(f_i.dtype).eps)
    unlike = xp.abs(s_i - s_j) > difference_rtol(eps) * (xp.abs(s_i) + xp.abs(s_j))
    rounding = ROUNDINGS * eps * (xp.abs(f_i) + xp.abs(f_j))
    return unlike & (xp.abs(f_i - f_j - predicted) > rounding)


def _differences(xp: Namespace, v: Array, jet: Jet, size: Array) -> Array:
    """``(f_i - f_j)/(v_i - v_j)``; for near values by Hermite interpolation, error gap^4/720."""
    rtol = hermite_rtol(float(xp.finfo(v.dtype).eps))
    v_ij, f, slope, (c_i, c_j) = (_columns(xp, y) for y in (v, *jet))
    gap = v_ij[0] - v_ij[1]
    near = 0.5 * (slope[0] + slope[1]) - (c_i - c_j) * gap * (1 / 12)
    apart = xp.abs(gap) > rtol * xp.expand_dims(size, axis=-1)
    apart = apart | ((gap != 0) & kinked(xp, f, slope, near * gap))
    return xp.where(apart, (f[0] - f[1]) * reciprocal(xp, gap, apart), near)


def _near(xp: Namespace, v: Array, jet: Jet, size: Array) -> Array:
    """Flags of pairs so near that the second difference is ``f''/2``.

    The flag is false if the change of the slopes disagrees with f'' by more than rounding.
    """
    eps = float(xp.finfo(v.dtype).eps)
    (v_i, v_j), (s_i, s_j), (c_i, c_j) = (_columns(xp, y) for y in (v, jet.slope, jet.curvature))
    gap = v_i - v_j
    bent = xp.abs(s_i - s_j - 0.5 * (c_i + c_j) * gap)
    slopes = xp.abs(jet.slope) + xp.abs(jet.f) / size
    largest = xp.max if v.shape[-1] else xp.sum
    noise = ROUNDINGS * eps * xp.expand_dims(largest(slopes, axis=(-1,), keepdims=True), axis=-1)
    kink = (bent > eps**0.5 * (xp.abs(s_i) + xp.abs(s_j))) & (bent > noise) & (gap != 0)
    return ~kink & (xp.abs(gap) <= difference_rtol(eps) * xp.expand_dims(size, axis=-1))


class Nodes(NamedTuple):
    """Values ``(..., p)``, ``f[x_a, x_b]`` and flags of near pairs ``(..., p, p)``, ``f''``."""

    x: Array
    first: Array
    near: Array
    curvature: Array


def second_product(xp: Namespace, nodes: Nodes, X: Array, Y: Array, rows: int) -> Array:
    """``sum_b f[x_a, x_b, x_c] (X_ab Y_bc + Y_ab X_bc)`` for the first rows a.

    The second difference is divided by the gap of x_a and x_c if these are apart, else by the gap
    of x_a and x_b. For three near values it is the mean of the three ``f''/2``.
    """
    x_a, x_b = _columns(xp, nodes.x)
    inverse_gap = reciprocal(xp, x_a - x_b, ~nodes.near)
    near = xp.where(nodes.near, xp.ones_like(inverse_gap), 0.0)

    def doubled(weights: Array) -> Array:
        weights = weights[..., :rows, :]
        return xp.concat([weights, weights], axis=-1)

    left = xp.concat([X[..., :rows, :], Y[..., :rows, :]], axis=-1)
    right = xp.concat([Y, X], axis=-2)
    right_first = scale(xp, xp.concat([nodes.first, nodes.first], axis=-2), right)
    by_gap = scale(xp, doubled(inverse_gap), left)
    by_near = scale(xp, doubled(near), left)
    sixth = nodes.curvature * (1 / 6)
    sixth_a, sixth_c = _columns(xp, sixth)
    apart = xp.matmul(scale(xp, doubled(nodes.first), left), right) - xp.matmul(left, right_first)
    together = (
        scale(xp, nodes.first[..., :rows, :], xp.matmul(by_gap, right))
        - xp.matmul(by_gap, right_first)
        + scale(xp, sixth_a[..., :rows, :] + sixth_c, xp.matmul(by_near, right))
        + xp.matmul(scale_columns(xp, by_near, xp.concat([sixth, sixth], axis=-1)), right)
    )
    by_gap_of_ends = scale(xp, inverse_gap[..., :rows, :], apart)
    return xp.where(nodes.near[..., :rows, :], together, by_gap_of_ends)


def second_hermitian(
    xp: Namespace, w: Array, Q: Array, jet: Jet, size: Array, X: Array, Y: Array
) -> Array:
    """``T[X, Y]`` of ``Q diag(f(w)) Q^H`` for Hermitian X and Y; `size (..., 1)` must not be 0."""
    first_differences, near = _differences(xp, w, jet, size), _near(xp, w, jet, size)
    nodes = Nodes(w / size, first_differences, near, jet.curvature * size)
    Qh = adjoint(xp, Q)
    X, Y = (xp.matmul(Qh, xp.matmul(G, Q)) for G in (over(xp, X, size), Y))
    R = second_product(xp, nodes, X, Y, w.shape[-1])
    return xp.matmul(xp.matmul(Q, R), Qh)


class _Inside(NamedTuple):
    """Hermitian and skew part of ``U^H X V``."""

    h: Array
    a: Array


def _both_signs(xp: Namespace, part: _Inside) -> Array:
    """A direction in the basis of S and of -S."""
    upper = xp.concat([part.h, -part.a], axis=-1)
    lower = xp.concat([part.a, -part.h], axis=-1)
    return xp.concat([upper, lower], axis=-2)


class _Odd(Protocol):
    """Second differences of an odd function, for values divided by the largest one."""

    def inside(self, xp: Namespace, x: _Inside, y: _Inside) -> Array:
        """``R_+ - R_-``."""

    def beside_zero(self, xp: Namespace) -> tuple[Array, Array]:
        """``Z+`` and ``Z-``."""


class OfDifferences:
    """An odd function, given by first differences between values of equal and different sign.

    Parameters
    ----------
    s : array (..., k)
        The values, divided by the largest.
    plus, minus, ratio
        First differences, as in :class:`.spectral.Loewner`.
    near : array (..., k, k)
        Flags of pairs that count as equal.
    curvature : array (..., k)
    small : array (..., k)
        Flags of values that count as 0.
    """

    def __init__(
        self,
        xp: Namespace,
        s: Array,
        plus: Array,
        minus: Array,
        ratio: Array,
        near: Array,
        curvature: Array,
        small: Array,
    ) -> None:
        small_i, small_j = _columns(xp, small)
        self.rows = s.shape[-1]
        self.small, self.ratio = small, ratio
        self.nodes = Nodes(
            x=xp.concat([s, -s], axis=-1),
            first=_blocks(xp, plus, minus),
            near=_blocks(xp, near, small_i & small_j),
            curvature=xp.concat([curvature, -curvature], axis=-1),
        )

    def inside(self, xp: Namespace, x: _Inside, y: _Inside) -> Array:
        X, Y = _both_signs(xp, x), _both_signs(xp, y)
        R = second_product(xp, self.nodes, X, Y, self.rows)
        return R[..., : self.rows] - R[..., self.rows :]

    def beside_zero(self, xp: Namespace) -> tuple[Array, Array]:
        k, nodes = self.rows, self.nodes
        small = xp.concat([self.small, self.small], axis=-1)
        ratio = xp.concat([self.ratio, self.ratio], axis=-1)
        (x_i, x_c), (small_i, small_c), (ratio_i, ratio_c), (curve_i, curve_c) = (
            _columns(xp, v) for v in (nodes.x, small, ratio, nodes.curvature)
        )
        first_differences = nodes.first[..., :k, :]
        by_c = (first_differences - ratio_i[..., :k, :]) * reciprocal(xp, x_c, ~small_c)
        by_i = (first_differences - ratio_c) * reciprocal(xp, x_i, ~small_i)[..., :k, :]
        mean = (curve_i[..., :k, :] + curve_c) * (1 / 6)
        Z = xp.where(~small_c, by_c, xp.where(~small_i[..., :k, :], by_i, mean))
        return Z[..., :k], Z[..., k:]


def of_jet(
    xp: Namespace, factors: SVDFactors, jet: Jet, minus: Array, ratio: Array
) -> OfDifferences:
    """Any smooth odd function; computes the differences of near values again, more accurately."""
    U, S, Vh = factors
    size = safe_size(xp, S)
    pairs = Pairs.of(xp, S, U.shape[-2], Vh.shape[-1], Pinv())
    rtol = difference_rtol(float(xp.finfo(S.dtype).eps))
    s = S / size
    zero = pairs.inverse_values == 0
    # Near 0 the odd continuation is smooth only if f - S f' is much smaller than f.
    offset = xp.abs(jet.f - S * jet.slope)
    small = zero | ((s <= rtol) & (2.0 * offset <= xp.abs(jet.f)))
    curvature = xp.where(zero, xp.zeros_like(s), jet.curvature * size)
    plus, near = _differences(xp, S, jet, size), _near(xp, S, jet, size)
    return OfDifferences(xp, s, plus, minus, ratio, near, curvature, small)


def _blocks(xp: Namespace, same: Array, different: Array) -> Array:
    """``[[same, different], [different, same]]``."""
    upper = xp.concat([same, different], axis=-1)
    lower = xp.concat([different, same], axis=-1)
    return xp.concat([upper, lower], axis=-2)


class OfSign:
    """The sign function. Its second differences are products of ``1/(S_i + S_j)`` and ``1/S_i``.

    f[i, j, l] = 0,  f[i, j, -l] = -2/((S_i + S_l)(S_j + S_l)),  f[0, i, j] = -1/(S_i S_j)
    """

    def __init__(self, s: Array, inverse: Array, inverse_total: Array) -> None:
        self.s, self.inverse, self.inverse_total = s, inverse, inverse_total

    def inside(self, xp: Namespace, x: _Inside, y: _Inside) -> Array:
        ax, ay = (scale(xp, self.inverse_total, part.a) for part in (x, y))
        R_plus = xp.matmul(ax, ay) + xp.matmul(ay, ax)
        R_minus = xp.matmul(x.h, ay) + xp.matmul(y.h, ax) + xp.matmul(ax, y.h) + xp.matmul(ay, x.h)
        return 2.0 * (R_plus - scale(xp, self.inverse_total, R_minus))

    def beside_zero(self, xp: Namespace) -> tuple[Array, Array]:
        (s_i, s_j), (inverse_i, inverse_j) = (_columns(xp, v) for v in (self.s, self.inverse))
        product = inverse_i * inverse_j
        return -product, (s_j - s_i) * self.inverse_total * product


class OfInverse:
    """``f(x) = 1/x`` for kept values, and 0 near the dropped ones, which count as 0.

    With w = 1/x, d = 0 for kept values, and w = 0, d = 1 for dropped ones,

        f[a, b, c] = w_a w_b w_c   - d_a (w_b^2 w_c + w_b w_c^2) and its permutations
                     + d_a d_b w_c^3 and its permutations
    """

    def __init__(self, xp: Namespace, w: Array, d: Array) -> None:
        self.rows = w.shape[-1]
        self.w, self.d = xp.concat([w, -w], axis=-1), xp.concat([d, d], axis=-1)

    def inside(self, xp: Namespace, x: _Inside, y: _Inside) -> Array:
        X, Y = _both_signs(xp, x), _both_signs(xp, y)
        w, d = self.w, self.d
        (w_a, w_c), (d_a, d_c) = _columns(xp, w), _columns(xp, d)
        w_a, d_a = w_a[..., : self.rows, :], d_a[..., : self.rows, :]

        def through(b: Array) -> Array:
            left, right = X[..., : self.rows, :], Y[..., : self.rows, :]
            XY = xp.matmul(scale_columns(xp, left, b), Y)
            return XY + xp.matmul(scale_columns(xp, right, b), X)

        R = (
            scale(xp, w_a * w_c - w_a * w_a * d_c - d_a * w_c * w_c, through(w))
            - scale(xp, w_a * d_c + d_a * w_c, through(w * w))
            + scale(xp, d_a * d_c, through(w * w * w))
            + scale(
                xp,
                w_a * w_a * w_a * d_c + d_a * w_c * w_c * w_c - w_a * w_c * (w_a + w_c),
                through(d),
            )
        )
        return R[..., : self.rows] - R[..., self.rows :]

    def beside_zero(self, xp: Namespace) -> tuple[Array, Array]:
        w, d = self.w, self.d
        (w_a, w_c), (d_a, d_c) = _columns(xp, w), _columns(xp, d)
        Z = w_a * w_a * w_a * d_c + d_a * w_c * w_c * w_c - w_a * w_c * (w_a + w_c)
        Z = Z[..., : self.rows, :]
        return Z[..., : self.rows], Z[..., self.rows :]


def second_two_sided(xp: Namespace, factors: SVDFactors, odd: _Odd, X: Array, Y: Array) -> Array:
    """``T[X, Y]`` of ``U diag(f(S)) Vh``; X and the values of `odd` are divided by the largest."""
    U, S, Vh = factors
    if U.shape[-2] < Vh.shape[-1]:
        turned = SVDFactors(adjoint(xp, Vh), S, adjoint(xp, U))
        X, Y = adjoint(xp, X), adjoint(xp, Y)
        return adjoint(xp, second_two_sided(xp, turned, odd, X, Y))
    tall = U.shape[-2] > Vh.shape[-1]
    V, Uh = adjoint(xp, Vh), adjoint(xp, U)
    parts: list[_Inside] = []
    outside: list[Array] = []
    for G in (X, Y):
        GV = xp.matmul(G, V)
        P = xp.matmul(Uh, GV)
        Ph = adjoint(xp, P)
        parts.append(_Inside(0.5 * (P + Ph), 0.5 * (P - Ph)))
        if tall:
            outside.append(GV - xp.matmul(U, P))
    x, y = parts
    core = odd.inside(xp, x, y)
    if not tall:
        return xp.matmul(xp.matmul(U, core), Vh)
    plus, minus = odd.beside_zero(xp)
    x_o, y_o = outside
    E = xp.matmul(adjoint(xp, x_o), y_o)
    core = core + scale(xp, 0.5 * (plus + minus), E + adjoint(xp, E))
    out = xp.matmul(U, core)
    for part, o in ((y, x_o), (x, y_o)):
        out = out + xp.matmul(o, scale(xp, plus, part.h) + scale(xp, minus, part.a))
    return xp.matmul(out, Vh)
