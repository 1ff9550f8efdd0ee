r"""Functions of the singular values, with derivatives that need no rule.

For ``B = U diag(f(S)) Vh`` the derivative in direction G is, with ``P = U^H G V``,
``h(X) = X + X^H``, ``a(X) = X - X^H``,

    D[G] = U ( plus * h(P)/2 + minus * a(P)/2 ) Vh + (I - U U^H) G V diag(ratio) Vh
           + U diag(ratio) U^H G (I - V V^H)

    plus_ij  = (f_i - f_j)/(S_i - S_j),   f'(S_i) where S_i = S_j
    minus_ij = (f_i + f_j)/(S_i + S_j),   f'(0)   where both are 0
    ratio_i  = f_i/S_i,                   f'(0)   at 0

(Daleckii & Krein; Lewis; for soft thresholding Candes, Sing-Long & Trzasko 2012 and Deledalle et
al. 2012). D is self-adjoint, so this one map is both the forward and the reverse derivative. For a
smooth f with f(0) = 0 it is well-conditioned, repeated values or not. An operator provides the
three coefficients: :class:`Loewner`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from .arrays import (
    added,
    adjoint,
    counted,
    determinant,
    diagonal_matrix,
    first,
    inner,
    last,
    order_sign,
    over,
    real_diagonal,
    reciprocal,
    safe_size,
    scale,
    scale_columns,
    scale_rows,
    unit,
)
from .drivers import Needs
from .namespace import Array, Namespace
from .operator import (
    Arrays,
    MatrixFunction,
    Operator,
    Point,
    Some,
    Tangents,
    undefined_at_ties,
)
from .rules import Pairs, Pinv, difference_rtol
from .second import Jet, OfSign, kinked, of_jet, second_two_sided
from .svd import SVD, SVDFactors, directional_core

__all__ = [
    "FactorsOperator",
    "NuclearNorm",
    "Polar",
    "Recompose",
    "ScalarOperator",
    "SingularValueMap",
    "SingularValues",
    "SpectralOperator",
    "Unitary",
    "loewner_coefficients",
    "not_zero",
]


class Loewner(NamedTuple):
    """Values and ratios ``(..., k)`` of f, and the coefficients plus and minus ``(..., k, k)``."""

    values: Array
    plus: Array
    minus: Array
    ratio: Array


def _columns(xp: Namespace, v: Array) -> tuple[Array, Array]:
    """``v_i`` and ``v_j`` of ``v (..., k)``, to broadcast over pairs."""
    return xp.expand_dims(v, axis=-1), xp.expand_dims(v, axis=-2)


def pairs_of(xp: Namespace, factors: SVDFactors) -> Pairs:
    """Gaps, sums and guarded reciprocals by the default tolerances."""
    U, S, Vh = factors
    return Pairs.of(xp, S, U.shape[-2], Vh.shape[-1], Pinv())


def unit_pairs(xp: Namespace, factors: SVDFactors) -> tuple[Pairs, Array]:
    """Gaps, sums and guarded reciprocals of the values times a `unit`, and that unit."""
    U, S, Vh = factors
    one = unit(xp, first(S))
    return Pairs.of(xp, S * one, U.shape[-2], Vh.shape[-1], Pinv()), one


class FactorsOperator(Operator):
    """An operator that uses all values and all vectors."""

    decomposition: ClassVar[SVD] = SVD()
    needs: ClassVar[Needs] = "all values"

    def extent(self, xp: Namespace, S: Array, params: Arrays) -> tuple[Array, Array]:
        return first(S), last(S)


class SpectralOperator(FactorsOperator, MatrixFunction):
    """The two-sided engine: ``B = U diag(f(S)) Vh``, from the Loewner coefficients of f."""

    def loewner(self, at: Point) -> Loewner:
        """Coefficients of D."""
        raise NotImplementedError

    def values(self, at: Point) -> Array:
        """``f(S)``; override it if this is cheaper than all coefficients."""
        return self.loewner(at).values

    def terms(self, at: Point) -> Loewner:
        return self.loewner(at)

    def direction(self, at: Point, terms: Loewner, G: Array) -> _Direction:
        return _Direction(at.xp, at.factors, terms, G)

    def recomposed(self, at: Point, terms: Loewner, df: Array) -> Array:
        return at.xp.matmul(scale_columns(at.xp, at.factors.U, df), at.factors.Vh)

    def apply(self, at: Point) -> Arrays:
        return (at.xp.matmul(scale_columns(at.xp, at.factors.U, self.values(at)), at.factors.Vh),)


class _Direction:
    """A direction in the basis of the vectors of both sides, and the map D, in thin products."""

    def __init__(self, xp: Namespace, factors: SVDFactors, loewner: Loewner, G: Array) -> None:
        self.xp, self.factors, self.loewner = xp, factors, loewner
        self.products = directional_core(xp, factors, G)

    @property
    def diagonal(self) -> Array:
        """``Re diag(U^H G V)``."""
        return real_diagonal(self.xp, self.products[0])

    def map(self, more: Array | None = None) -> Array:
        """``D[G]``, plus a variation `more` of the values."""
        xp, (U, _, Vh), loewner = self.xp, self.factors, self.loewner
        P, G_V, Uh_G = self.products
        Ph = adjoint(xp, P)
        core = 0.5 * (scale(xp, loewner.plus, P + Ph) + scale(xp, loewner.minus, P - Ph))
        if more is not None:
            core = core + diagonal_matrix(xp, more, core.dtype)
        if G_V is not None:  # m > n
            inner = core - scale_columns(xp, P, loewner.ratio)
            return xp.matmul(xp.matmul(U, inner) + scale_columns(xp, G_V, loewner.ratio), Vh)
        if Uh_G is not None:  # m < n
            inner = core - scale_rows(xp, loewner.ratio, P)
            return xp.matmul(U, xp.matmul(inner, Vh) + scale_rows(xp, loewner.ratio, Uh_G))
        return xp.matmul(xp.matmul(U, core), Vh)


def derivative_map(xp: Namespace, factors: SVDFactors, loewner: Loewner, G: Array) -> Array:
    """``D[G]``."""
    return _Direction(xp, factors, loewner, G).map()


@dataclass(frozen=True)
class Unitary(SpectralOperator):
    """The unitary polar factor ``U Vh``: the nearest matrix with orthonormal columns (rows).

    Where both values of a pair are zero the derivative does not exist; 0 is used instead.

    Parameters
    ----------
    special : bool
        For a real square matrix: the nearest one with determinant +1. Where ``det(U Vh) = -1`` the
        sign of the last value is changed, and ``plus`` between it and value i is
        ``2/(S_i - S_k)``.
    """

    special: bool = False
    twice: ClassVar[bool] = True

    def signs(self, xp: Namespace, factors: SVDFactors) -> Array:
        """1 for each value; with `special` -1 for the last one where ``det(U Vh) = -1``."""
        U, S, Vh = factors
        ones = xp.ones_like(S)
        if not self.special:
            return ones
        det = xp.expand_dims(determinant(xp, xp.matmul(U, Vh)), axis=-1)
        sign = xp.where(det < 0, -ones, ones)
        return xp.where(counted(xp, S) == S.shape[-1], sign, ones)

    def values(self, at: Point) -> Array:
        return self.signs(at.xp, at.factors)

    def loewner(self, at: Point) -> Loewner:
        xp = at.xp
        pairs, one = unit_pairs(xp, at.factors)
        f = self.values(at)
        f_i, f_j = _columns(xp, f)
        apart = (pairs.order != 0) & ~pairs.tied
        by_pair = xp.expand_dims(one, axis=-1)
        return Loewner(
            values=f,
            plus=(f_j - f_i) * reciprocal(xp, pairs.gap, apart) * by_pair,
            minus=(f_i + f_j) * pairs.inverse_total * by_pair,
            ratio=f * pairs.inverse_values * one,
        )

    def second_map(self, at: Point, X: Array, Y: Array) -> Array:
        xp, (U, S, Vh) = at.xp, at.factors
        pairs = pairs_of(xp, at.factors)
        size = safe_size(xp, S)
        if self.special:  # the unitary factor of a matrix whose last value may be negative
            sign = self.values(at)
            U, S = scale_columns(xp, U, sign), S * sign
        s_i, s_j = _columns(xp, S / size)
        total = s_i + s_j
        apart = ~pairs.both_zero & (total != 0) & ~(pairs.tied & (s_i * s_j < 0))
        odd = OfSign(
            S / size,
            reciprocal(xp, S / size, pairs.inverse_values != 0),
            reciprocal(xp, total, apart),
        )
        X, Y = over(xp, X, size), over(xp, Y, size)
        return second_two_sided(xp, SVDFactors(U, S, Vh), odd, X, Y)


@dataclass(frozen=True)
class Polar(FactorsOperator):
    """Both polar factors, ``A = Q H`` with ``H = (A^H A)^(1/2)``, or ``A = H Q``.

    Differentiating ``H^2 = A^H A``, with ``P = U^H dA V`` and ``w_ij = S_i/(S_i + S_j)``, gives

        dH = V (w * P + (w * P)^H) V^H + X + X^H      X = V U^H dA (I - V V^H)

    where the term X is only there for a wide matrix of full rank. For H on the left the formula is
    applied to ``A^H``.

    Parameters
    ----------
    side : {"auto", "right", "left"}
        "right" is ``A = Q H``, "left" is ``A = H Q``. "auto" has the smaller H: "left" for a wide
        matrix, else "right".
    """

    side: str = "auto"
    outputs: ClassVar[int] = 2
    twice: ClassVar[bool] = True
    unitary: ClassVar[Unitary] = Unitary()

    def _left(self, factors: SVDFactors) -> bool:
        wide: bool = factors.U.shape[-2] < factors.Vh.shape[-1]
        return self.side == "left" or (self.side == "auto" and wide)

    def _turned(self, xp: Namespace, factors: SVDFactors) -> SVDFactors:
        """The factors of A, or of its adjoint if H is on the left."""
        U, S, Vh = factors
        return SVDFactors(adjoint(xp, Vh), S, adjoint(xp, U)) if self._left(factors) else factors

    @staticmethod
    def _weights(xp: Namespace, factors: SVDFactors) -> Array:
        pairs, _ = unit_pairs(xp, factors)
        return xp.expand_dims(pairs.values, axis=-1) * pairs.inverse_total

    def apply(self, at: Point) -> Arrays:
        xp = at.xp
        _, S, Vh = self._turned(xp, at.factors)
        H = xp.matmul(scale_columns(xp, adjoint(xp, Vh), S), Vh)
        return *self.unitary.apply(at), H

    def jvp(self, at: Point, along: Tangents) -> Arrays:
        xp = at.xp
        turned = self._turned(xp, at.factors)
        G = adjoint(xp, along.A) if self._left(at.factors) else along.A
        P, _, Uh_G = directional_core(xp, turned, G)
        wP = scale(xp, self._weights(xp, turned), P)
        X = xp.matmul(wP, turned.Vh)
        if Uh_G is not None:  # H is larger than k by k
            X = X + (Uh_G - xp.matmul(P, turned.Vh))
        X = xp.matmul(adjoint(xp, turned.Vh), X)
        return self._dQ(at, along.A), X + adjoint(xp, X)

    def _dQ(self, at: Point, G: Array) -> Array:
        """The derivative of Q, which is the same map in both modes."""
        return derivative_map(at.xp, at.factors, self.unitary.loewner(at), G)

    def vjp(self, at: Point, cts: Some) -> Tangents:
        xp, (ct_Q, ct_H) = at.xp, cts
        ct_A = None if ct_Q is None else self._dQ(at, ct_Q)
        if ct_H is not None:
            turned = self._turned(xp, at.factors)
            U, _, Vh = turned
            Vh_ct = xp.matmul(Vh, ct_H + adjoint(xp, ct_H))
            C = xp.matmul(Vh_ct, adjoint(xp, Vh))
            core = scale(xp, self._weights(xp, turned), C)
            if U.shape[-2] < Vh.shape[-1]:
                inner = xp.matmul(core - C, Vh) + Vh_ct
            else:
                inner = xp.matmul(core, Vh)
            through_H = xp.matmul(U, inner)
            ct_A = added(ct_A, adjoint(xp, through_H) if self._left(at.factors) else through_H)
        return Tangents(ct_A, ())

    # For second derivatives H = Q^H A (or A Q^H on the left) is differentiated as a product.

    def second(self, at: Point, one: Tangents, two: Tangents) -> Arrays:
        xp, left = at.xp, self._left(at.factors)
        T = self.unitary.second_map(at, one.A, two.A)

        def product(Q: Array, X: Array) -> Array:
            Qh = adjoint(xp, Q)
            return xp.matmul(X, Qh) if left else xp.matmul(Qh, X)

        dH = (
            product(T, at.A)
            + product(self._dQ(at, one.A), two.A)
            + product(self._dQ(at, two.A), one.A)
        )
        return T, 0.5 * (dH + adjoint(xp, dH))

    def hvp(self, at: Point, cts: Some, along: Tangents) -> Tangents:
        xp, (ct_Q, ct_H) = at.xp, cts
        X, left = along.A, self._left(at.factors)
        if ct_H is None:
            return Tangents(self.unitary.second_map(at, X, ct_Q), ())
        C = 0.5 * (ct_H + adjoint(xp, ct_H))

        def times(Y: Array) -> Array:
            return xp.matmul(C, Y) if left else xp.matmul(Y, C)

        of_Q = added(ct_Q, times(at.A))
        T = self.unitary.second_map(at, X, of_Q)
        return Tangents(T + self._dQ(at, times(X)) + times(self._dQ(at, X)), ())


class _ValuesOperator(FactorsOperator):
    """A function of the singular values alone: ``ct_A = U diag(ct_S) Vh``."""

    def pull_values(self, xp: Namespace, factors: SVDFactors, ct: Array) -> Array:
        """Cotangent of the values."""
        raise NotImplementedError

    def push_values(self, xp: Namespace, factors: SVDFactors, dS: Array) -> Array:
        """Tangent of the result."""
        raise NotImplementedError

    def jvp(self, at: Point, along: Tangents) -> Arrays:
        dS = real_diagonal(at.xp, directional_core(at.xp, at.factors, along.A)[0])
        return (self.push_values(at.xp, at.factors, dS),)

    def vjp(self, at: Point, cts: Some) -> Tangents:
        xp, (U, _, Vh) = at.xp, at.factors
        ct_S = self.pull_values(xp, at.factors, cts[0])
        return Tangents(xp.matmul(scale_columns(xp, U, ct_S), Vh), ())


@dataclass(frozen=True)
class SingularValues(_ValuesOperator):
    """The singular values alone."""

    needs: ClassVar[Needs] = "factors"

    def apply(self, at: Point) -> Arrays:
        return (at.factors.S,)

    def pull_values(self, xp: Namespace, factors: SVDFactors, ct: Array) -> Array:
        return ct

    def push_values(self, xp: Namespace, factors: SVDFactors, dS: Array) -> Array:
        return dS


class ScalarOperator(_ValuesOperator):
    """A scalar that is a symmetric function of the singular values."""

    def value(self, xp: Namespace, factors: SVDFactors) -> Array:
        """The scalar, ``(...)``."""
        raise NotImplementedError

    def slopes(self, xp: Namespace, factors: SVDFactors) -> Array:
        """The derivative in each value, ``(..., k)``."""
        raise NotImplementedError

    def apply(self, at: Point) -> Arrays:
        return (self.value(at.xp, at.factors),)

    def pull_values(self, xp: Namespace, factors: SVDFactors, ct: Array) -> Array:
        return xp.expand_dims(ct, axis=-1) * self.slopes(xp, factors)

    def push_values(self, xp: Namespace, factors: SVDFactors, dS: Array) -> Array:
        return xp.sum(self.slopes(xp, factors) * dS, axis=-1)


class SmoothScalar(ScalarOperator):
    """A scalar with a Hessian, the derivative of ``U diag(slopes) Vh``."""

    twice: ClassVar[bool] = True

    def hessian(self, xp: Namespace, factors: SVDFactors, X: Array) -> Array:
        """The product of the Hessian with X."""
        raise NotImplementedError

    def second(self, at: Point, one: Tangents, two: Tangents) -> Arrays:
        return (inner(at.xp, two.A, self.hessian(at.xp, at.factors, one.A)),)

    def hvp(self, at: Point, cts: Some, along: Tangents) -> Tangents:
        xp = at.xp
        weight = xp.expand_dims(xp.expand_dims(cts[0], axis=-1), axis=-1)
        return Tangents(scale(xp, weight, self.hessian(xp, at.factors, along.A)), ())


class PiecewiseLinear(SmoothScalar):
    """A scalar whose slopes are constant in the values, but may differ from value to value."""

    def hessian(self, xp: Namespace, factors: SVDFactors, X: Array) -> Array:
        pairs = pairs_of(xp, factors)
        f = self.slopes(xp, factors)
        f_i, f_j = _columns(xp, f)
        apart = (f_i != f_j) & (pairs.gap != 0)
        loewner = Loewner(
            values=f,
            plus=(f_j - f_i) * reciprocal(xp, pairs.gap, apart),
            minus=(f_i + f_j) * pairs.inverse_total,
            ratio=f * pairs.inverse_values,
        )
        return derivative_map(xp, factors, loewner, X)


def not_zero(xp: Namespace, factors: SVDFactors) -> Array:
    """0 for a value that is zero within the rank tolerance, else 1."""
    zero = unit_pairs(xp, factors)[0].inverse_values == 0
    return xp.where(zero, 0.0, xp.ones_like(factors.S))


@dataclass(frozen=True)
class NuclearNorm(PiecewiseLinear):
    """The sum of the singular values; the subgradient is 0 on zero values (the least norm)."""

    def value(self, xp: Namespace, factors: SVDFactors) -> Array:
        return xp.sum(factors.S, axis=-1)

    def slopes(self, xp: Namespace, factors: SVDFactors) -> Array:
        return not_zero(xp, factors)


def apart_pairs(xp: Namespace, v: Array, f: Array, derivative: Array, largest: Array) -> Array:
    """Flags of pairs for which a difference quotient is better than the slopes.

    The arguments are those of `divided_differences`.
    """
    one = unit(xp, largest)
    (v_i, v_j), f_ij = _columns(xp, v * one), _columns(xp, f)
    slopes = _columns(xp, _slopes(xp, v, derivative))
    gap = v_i - v_j
    near = difference_rtol(float(xp.finfo(v.dtype).eps))
    apart = xp.abs(gap) > near * xp.expand_dims(largest * one, axis=-1)
    # The product may overflow if the unit is not 1, but the slopes of huge values are small.
    predicted = _limits(xp, v, derivative) * (gap / xp.expand_dims(one, axis=-1))
    return apart | ((gap != 0) & kinked(xp, f_ij, slopes, predicted))


def _limits(xp: Namespace, v: Array, derivative: Array) -> Array:
    """The limits that replace the quotients of near values."""
    s_i, s_j = _columns(xp, _slopes(xp, v, derivative))
    limit = s_i + s_j
    if _is_jacobian(v, derivative):
        limit = limit - derivative - xp.matrix_transpose(derivative)
    return 0.5 * limit


def divided_differences(
    xp: Namespace,
    v: Array,
    f: Array,
    derivative: Array,
    largest: Array,
    apart: Array | None = None,
) -> Array:
    """``(f_i - f_j)/(v_i - v_j)``, and its limit where ``v_i`` is near ``v_j``.

    The limit is the mean of the two slopes. For a function that mixes the values, with Jacobian J,
    it is the mean of ``J_ii - J_ij`` and ``J_jj - J_ji``, because the two values move against each
    other.

    Parameters
    ----------
    v, f : array (..., k)
        The values, and the results of the function.
    derivative : array (..., k) or (..., k, k)
        Slopes, or the Jacobian.
    largest : array (..., 1)
        The largest absolute value.
    apart : array (..., k, k), optional
        The `apart_pairs` to use, if f is a variation of another function: those of that function.
    """
    if apart is None:
        apart = apart_pairs(xp, v, f, derivative, largest)
    one = unit(xp, largest)
    (v_i, v_j), (f_i, f_j) = (_columns(xp, y) for y in (v * one, f))
    # Multiply by the unit last, because the scale of f is unknown.
    quotient = (f_i - f_j) * reciprocal(xp, v_i - v_j, apart) * xp.expand_dims(one, axis=-1)
    return xp.where(apart, quotient, _limits(xp, v, derivative))


def _is_jacobian(v: Array, derivative: Array) -> bool:
    return len(derivative.shape) > len(v.shape)


def _slopes(xp: Namespace, v: Array, derivative: Array) -> Array:
    """The slopes, or the diagonal of the Jacobian."""
    return xp.linalg.diagonal(derivative) if _is_jacobian(v, derivative) else derivative


def loewner_coefficients(
    xp: Namespace,
    factors: SVDFactors,
    f: Array,
    derivative: Array,
    apart: Array | None = None,
) -> Loewner:
    """Coefficients of D for the values ``f(S)`` of any function.

    `derivative` is its slopes ``f'(S)``, or its Jacobian ``(..., k, k)`` if it mixes the values.
    With a Jacobian the diagonal of ``plus`` is not used; the caller applies the Jacobian instead.
    """
    _U, S, _Vh = factors
    pairs, one = unit_pairs(xp, factors)
    slope = _slopes(xp, S, derivative)
    (f_i, f_j), (s_i, s_j) = _columns(xp, f), _columns(xp, slope)
    sums = (f_i + f_j) * pairs.inverse_total * xp.expand_dims(one, axis=-1)
    minus = xp.where(pairs.both_zero, 0.5 * (s_i + s_j), sums)
    return Loewner(
        values=f,
        plus=divided_differences(xp, S, f, derivative, first(S), apart),
        minus=minus,
        ratio=xp.where(pairs.inverse_values == 0, slope, f * pairs.inverse_values * one),
    )


def _off_diagonal(xp: Namespace, loewner: Loewner) -> Loewner:
    """The coefficients with 0 on the diagonal of ``plus``."""
    plus = loewner.plus
    diagonal = order_sign(xp, loewner.values) == 0
    return loewner._replace(plus=xp.where(diagonal, xp.zeros_like(plus), plus))


@dataclass(frozen=True)
class SingularValueMap(SpectralOperator):
    """``U diag(f(S)) Vh`` for a function f ``(..., k) -> (..., k)`` and its derivative.

    For a framework that cannot differentiate f itself.

    Parameters
    ----------
    fn : callable
    derivative : callable
        Maps S to the slopes ``(..., k)`` of an elementwise function, or to the Jacobian
        ``(..., k, k)`` of a function that mixes the values.
    mixes : bool, default False
        Whether `derivative` returns a Jacobian.
    """

    fn: Callable[[Array], Array]
    derivative: Callable[[Array], Array]
    mixes: bool = False
    curvature: Callable[[Array], Array] | None = None

    @property
    def twice(self) -> bool:  # type: ignore[override]
        """True for an elementwise function whose second derivative is known."""
        return self.curvature is not None

    def second_map(self, at: Point, X: Array, Y: Array) -> Array:
        if self.curvature is None:
            raise TypeError("curvature: expected the second derivative of fn, got None")
        S = at.factors.S
        jet = Jet(self.fn(S), self.derivative(S), self.curvature(S))
        return second_of_jet(at.xp, at.factors, jet, X, Y)

    def values(self, at: Point) -> Array:
        return self.fn(at.factors.S)

    def loewner(self, at: Point) -> Loewner:
        S = at.factors.S
        loewner = loewner_coefficients(at.xp, at.factors, self.fn(S), self.derivative(S))
        return _off_diagonal(at.xp, loewner) if self.mixes else loewner

    def push(
        self, at: Point, terms: Loewner, dparams: Some, diagonal: Array | None
    ) -> Array | None:
        S = at.factors.S
        return through_jacobian(at.xp, self.derivative(S), diagonal) if self.mixes else None

    def pull(self, at: Point, terms: Loewner, diagonal: Array) -> tuple[Some, Array | None]:
        if not self.mixes:
            return (), None
        J = at.xp.matrix_transpose(self.derivative(at.factors.S))
        return (), through_jacobian(at.xp, J, diagonal)


def through_jacobian(xp: Namespace, J: Array, v: Array | None) -> Array | None:
    """``J v``; None stays None."""
    return None if v is None else xp.sum(J * xp.expand_dims(v, axis=-2), axis=-1)


def second_of_jet(xp: Namespace, factors: SVDFactors, jet: Jet, X: Array, Y: Array) -> Array:
    """``T[X, Y]`` for any smooth odd function."""
    loewner = loewner_coefficients(xp, factors, jet.f, jet.slope)
    odd = of_jet(xp, factors, jet, loewner.minus, loewner.ratio)
    return second_two_sided(xp, factors, odd, over(xp, X, safe_size(xp, factors.S)), Y)


@dataclass(frozen=True)
class Recompose(SpectralOperator):
    """``U diag(f) Vh`` with f as a parameter: ``params = (f, plus, minus, ratio)``.

    For a framework that differentiates ``f(S)`` itself. The derivative through the values goes
    through the parameter f; this operator adds the rest, with f held fixed. The coefficients are
    parameters too, so that second derivatives go through them. The value does not depend on them,
    and they have no cotangents. Second derivatives are wrong at a tie.

    Parameters
    ----------
    nan_at_ties : bool
        Make second derivatives NaN at a tie.
    """

    nan_at_ties: bool = False

    def moved(self, xp: Namespace, params: Arrays, factors: SVDFactors, raw: SVDFactors) -> Arrays:
        f, plus, minus, ratio = params
        if self.nan_at_ties:
            plus = plus + xp.expand_dims(undefined_at_ties(xp, factors, raw), axis=-1)
        return f, plus, minus, ratio

    def loewner(self, at: Point) -> Loewner:
        return _off_diagonal(at.xp, Loewner(*at.params))

    def values(self, at: Point) -> Array:
        return at.params[0]

    def push(
        self, at: Point, terms: Loewner, dparams: Some, diagonal: Array | None
    ) -> Array | None:
        return dparams[0]

    def pull(self, at: Point, terms: Loewner, diagonal: Array) -> tuple[Some, Array | None]:
        return (diagonal, None, None, None), None
