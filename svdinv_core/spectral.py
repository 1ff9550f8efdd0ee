r"""Functions of the singular values, with derivatives that no rule is needed for.

For ``B = U diag(f(S)) Vh`` the derivative in direction G is, with ``P = U^H G V``,
``h(X) = X + X^H``, ``a(X) = X - X^H``,

    D[G] = U ( plus * h(P)/2 + minus * a(P)/2 ) Vh + (I - U U^H) G V diag(ratio) Vh
           + U diag(ratio) U^H G (I - V V^H)

    plus_ij  = (f_i - f_j)/(S_i - S_j),   f'(S_i) where S_i = S_j
    minus_ij = (f_i + f_j)/(S_i + S_j),   f'(0)   where both are 0
    ratio_i  = f_i/S_i,                   f'(0)   at 0

(Daleckii & Krein; Lewis; for soft thresholding Candes, Sing-Long & Trzasko 2012 and
Deledalle et al. 2012). D is self-adjoint, so that this one map is both the forward and
the reverse derivative, and nothing in it is ill-conditioned for a smooth f with f(0) = 0,
repeated values or not. An operator is its three coefficients: :class:`Loewner`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from .arrays import (
    adjoint,
    counted,
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
from .operator import Operator, Tangents, undefined_at_ties
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

Products = tuple[Array, Array | None, Array | None]


class Loewner(NamedTuple):
    """Values and ratios ``(..., k)`` of f, coefficients plus and minus ``(..., k, k)``."""

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
    """Gaps, sums and guarded reciprocals of the values times a `unit`; and that, ``(..., 1)``."""
    U, S, Vh = factors
    one = unit(xp, first(S))
    return Pairs.of(xp, S * one, U.shape[-2], Vh.shape[-1], Pinv()), one


class FactorsOperator(Operator):
    """An operator that all values and all vectors enter."""

    decomposition: ClassVar[SVD] = SVD()
    needs: ClassVar[Needs] = "all values"

    def extent(self, xp: Namespace, S: Array, params: tuple[Array, ...]) -> tuple[Array, Array]:
        return first(S), last(S)


class SpectralOperator(FactorsOperator):
    """``B = U diag(f(S)) Vh``: apply and both derivatives, from f's Loewner coefficients."""

    def second_map(
        self, xp: Namespace, factors: SVDFactors, params: tuple[Array, ...], X: Array, Y: Array
    ) -> Array:
        """``T[X, Y]``, the second derivative in A; X has the scale of A rather than Y."""
        raise NotImplementedError

    def second(
        self,
        xp: Namespace,
        A: Array,
        factors: SVDFactors,
        params: tuple[Array, ...],
        one: Tangents,
        two: Tangents,
    ) -> Array | None:
        if one.A is None or two.A is None:
            return None
        return self.second_map(xp, factors, params, one.A, two.A)

    def hvp(
        self,
        xp: Namespace,
        A: Array,
        factors: SVDFactors,
        params: tuple[Array, ...],
        ct: Array,
        along: Tangents,
    ) -> tuple[Array | None, tuple[Array | None, ...]]:
        if along.A is None:
            return None, ()
        return self.second_map(xp, factors, params, along.A, ct), ()

    def loewner(self, xp: Namespace, factors: SVDFactors, params: tuple[Array, ...]) -> Loewner:
        """Coefficients of D."""
        raise NotImplementedError

    def values(self, xp: Namespace, factors: SVDFactors, params: tuple[Array, ...]) -> Array:
        """``f(S)``, for those to whom it costs less alone."""
        return self.loewner(xp, factors, params).values

    def push(
        self,
        xp: Namespace,
        factors: SVDFactors,
        params: tuple[Array, ...],
        dparams: tuple[Array | None, ...],
        dS: Array | None,
    ) -> Array | None:
        """Variation of f(S) that is not in D: through parameters, or between values."""
        return None

    def pull(
        self, xp: Namespace, factors: SVDFactors, params: tuple[Array, ...], ct_f: Array
    ) -> tuple[tuple[Array | None, ...], Array | None]:
        """Adjoint of `push`: cotangents of the parameters, and of the values (or None)."""
        return (), None

    def apply(
        self, xp: Namespace, A: Array, factors: SVDFactors, params: tuple[Array, ...]
    ) -> Array:
        f = self.values(xp, factors, params)
        return xp.matmul(scale_columns(xp, factors.U, f), factors.Vh)

    def jvp(
        self,
        xp: Namespace,
        A: Array,
        factors: SVDFactors,
        params: tuple[Array, ...],
        dA: Array | None,
        dparams: tuple[Array | None, ...],
    ) -> Array | None:
        if dA is None:
            df = self.push(xp, factors, params, dparams, None)
            if df is None:
                return None
            return xp.matmul(scale_columns(xp, factors.U, df), factors.Vh)
        loewner = self.loewner(xp, factors, params)
        core, products = _map(xp, factors, loewner, dA)
        df = self.push(xp, factors, params, dparams, real_diagonal(xp, products[0]))
        if df is not None:
            core = core + diagonal_matrix(xp, df, core.dtype)
        return _recompose(xp, factors, loewner, core, products)

    def vjp(
        self, xp: Namespace, A: Array, factors: SVDFactors, params: tuple[Array, ...], ct: Array
    ) -> tuple[Array, tuple[Array | None, ...]]:
        loewner = self.loewner(xp, factors, params)
        core, products = _map(xp, factors, loewner, ct)
        ct_params, ct_S = self.pull(xp, factors, params, real_diagonal(xp, products[0]))
        if ct_S is not None:
            core = core + diagonal_matrix(xp, ct_S, core.dtype)
        return _recompose(xp, factors, loewner, core, products), ct_params


def _map(xp: Namespace, factors: SVDFactors, loewner: Loewner, G: Array) -> tuple[Array, Products]:
    """The part of D[G] inside the factors, ``(..., k, k)``, and the products it came from."""
    products = directional_core(xp, factors, G)
    P = products[0]
    Ph = adjoint(xp, P)
    core = 0.5 * (scale(xp, loewner.plus, P + Ph) + scale(xp, loewner.minus, P - Ph))
    return core, products


def derivative_map(xp: Namespace, factors: SVDFactors, loewner: Loewner, G: Array) -> Array:
    """``D[G]``."""
    core, products = _map(xp, factors, loewner, G)
    return _recompose(xp, factors, loewner, core, products)


def _recompose(
    xp: Namespace, factors: SVDFactors, loewner: Loewner, core: Array, products: Products
) -> Array:
    """``U core Vh`` and the part of D[G] outside the factors, in thin products."""
    U, _, Vh = factors
    P, G_V, Uh_G = products
    if G_V is not None:  # m > n
        inner = core - scale_columns(xp, P, loewner.ratio)
        return xp.matmul(xp.matmul(U, inner) + scale_columns(xp, G_V, loewner.ratio), Vh)
    if Uh_G is not None:  # m < n
        inner = core - scale_rows(xp, loewner.ratio, P)
        return xp.matmul(U, xp.matmul(inner, Vh) + scale_rows(xp, loewner.ratio, Uh_G))
    return xp.matmul(xp.matmul(U, core), Vh)


@dataclass(frozen=True)
class Unitary(SpectralOperator):
    """The unitary polar factor ``U Vh``: the nearest matrix with orthonormal columns (rows).

    Where both values of a pair are zero the derivative does not exist; there it is 0.

    Parameters
    ----------
    special : bool
        For a real square matrix the nearest one with determinant +1: the sign of the last
        value is changed where ``det(U Vh) = -1``, and ``plus`` is then
        ``2/(S_i - S_k)`` beside it.
    """

    special: bool = False
    twice: ClassVar[bool] = True

    def values(self, xp: Namespace, factors: SVDFactors, params: tuple[Array, ...]) -> Array:
        U, S, Vh = factors
        ones = xp.ones_like(S)
        if not self.special:
            return ones
        det = xp.expand_dims(xp.linalg.det(xp.matmul(U, Vh)), axis=-1)
        sign = xp.where(det < 0, -ones, ones)
        return xp.where(counted(xp, S) == S.shape[-1], sign, ones)

    def loewner(self, xp: Namespace, factors: SVDFactors, params: tuple[Array, ...]) -> Loewner:
        pairs, one = unit_pairs(xp, factors)
        f = self.values(xp, factors, params)
        f_i, f_j = _columns(xp, f)
        apart = (pairs.order != 0) & ~pairs.tied
        by_pair = xp.expand_dims(one, axis=-1)
        return Loewner(
            values=f,
            plus=(f_j - f_i) * reciprocal(xp, pairs.gap, apart) * by_pair,
            minus=(f_i + f_j) * pairs.inverse_total * by_pair,
            ratio=f * pairs.inverse_values * one,
        )

    def second_map(
        self, xp: Namespace, factors: SVDFactors, params: tuple[Array, ...], X: Array, Y: Array
    ) -> Array:
        U, S, Vh = factors
        pairs = pairs_of(xp, factors)
        size = safe_size(xp, S)
        if self.special:  # the unitary factor of a matrix whose last value has a sign
            sign = self.values(xp, factors, params)
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

    H differentiated from ``H^2 = A^H A``: with ``P = U^H dA V`` and ``w_ij = S_i/(S_i + S_j)``,

        dH = V (w * P + (w * P)^H) V^H + X + X^H      X = V U^H dA (I - V V^H)

    where X is there for a wide matrix of full rank only. On the left the same of ``A^H``.

    Parameters
    ----------
    side : {"auto", "right", "left"}
        "right" is ``A = Q H``, "left" ``A = H Q``; "auto" the smaller H: "left" for a wide matrix.
    """

    side: str = "auto"
    outputs: ClassVar[int] = 2
    twice: ClassVar[bool] = True
    unitary: ClassVar[Unitary] = Unitary()

    def _left(self, factors: SVDFactors) -> bool:
        wide: bool = factors.U.shape[-2] < factors.Vh.shape[-1]
        return self.side == "left" or (self.side == "auto" and wide)

    def _turned(self, xp: Namespace, factors: SVDFactors) -> SVDFactors:
        """Factors of A, or of its adjoint for H on the left."""
        U, S, Vh = factors
        return SVDFactors(adjoint(xp, Vh), S, adjoint(xp, U)) if self._left(factors) else factors

    @staticmethod
    def _weights(xp: Namespace, factors: SVDFactors) -> Array:
        pairs, _ = unit_pairs(xp, factors)
        return xp.expand_dims(pairs.values, axis=-1) * pairs.inverse_total

    def apply(
        self, xp: Namespace, A: Array, factors: SVDFactors, params: tuple[Array, ...]
    ) -> tuple[Array, Array]:
        _, S, Vh = self._turned(xp, factors)
        H = xp.matmul(scale_columns(xp, adjoint(xp, Vh), S), Vh)
        return self.unitary.apply(xp, A, factors, ()), H

    def jvp(
        self,
        xp: Namespace,
        A: Array,
        factors: SVDFactors,
        params: tuple[Array, ...],
        dA: Array | None,
        dparams: tuple[Array | None, ...],
    ) -> tuple[Array, Array]:
        turned = self._turned(xp, factors)
        G = adjoint(xp, dA) if self._left(factors) else dA
        P, _, Uh_G = directional_core(xp, turned, G)
        wP = scale(xp, self._weights(xp, turned), P)
        X = xp.matmul(wP, turned.Vh)
        if Uh_G is not None:  # H is larger than the factors
            X = X + (Uh_G - xp.matmul(P, turned.Vh))
        X = xp.matmul(adjoint(xp, turned.Vh), X)
        return self.unitary.jvp(xp, A, factors, (), dA, ()), X + adjoint(xp, X)

    def vjp(
        self,
        xp: Namespace,
        A: Array,
        factors: SVDFactors,
        params: tuple[Array, ...],
        ct: tuple[Array | None, Array | None],
    ) -> tuple[Array, tuple[Array | None, ...]]:
        ct_Q, ct_H = ct
        ct_A: Array = None
        if ct_Q is not None:
            ct_A, _ = self.unitary.vjp(xp, A, factors, (), ct_Q)
        if ct_H is not None:
            turned = self._turned(xp, factors)
            U, _, Vh = turned
            Vh_ct = xp.matmul(Vh, ct_H + adjoint(xp, ct_H))
            C = xp.matmul(Vh_ct, adjoint(xp, Vh))
            core = scale(xp, self._weights(xp, turned), C)
            if U.shape[-2] < Vh.shape[-1]:
                inner = xp.matmul(core - C, Vh) + Vh_ct
            else:
                inner = xp.matmul(core, Vh)
            through_H = xp.matmul(U, inner)
            through_H = adjoint(xp, through_H) if self._left(factors) else through_H
            ct_A = through_H if ct_A is None else ct_A + through_H
        return ct_A, ()

    # H = Q^H A, or A Q^H on the left, is differentiated twice as a product.

    def second(
        self,
        xp: Namespace,
        A: Array,
        factors: SVDFactors,
        params: tuple[Array, ...],
        one: Tangents,
        two: Tangents,
    ) -> tuple[Array, Array]:
        left = self._left(factors)
        T = self.unitary.second_map(xp, factors, (), one.A, two.A)
        D_one, D_two = (self.unitary.jvp(xp, A, factors, (), t.A, ()) for t in (one, two))

        def product(Q: Array, X: Array) -> Array:
            Qh = adjoint(xp, Q)
            return xp.matmul(X, Qh) if left else xp.matmul(Qh, X)

        dH = product(T, A) + product(D_one, two.A) + product(D_two, one.A)
        return T, 0.5 * (dH + adjoint(xp, dH))

    def hvp(
        self,
        xp: Namespace,
        A: Array,
        factors: SVDFactors,
        params: tuple[Array, ...],
        ct: tuple[Array | None, Array | None],
        along: Tangents,
    ) -> tuple[Array, tuple[Array | None, ...]]:
        ct_Q, ct_H = ct
        X, left = along.A, self._left(factors)
        if ct_H is None:
            return self.unitary.second_map(xp, factors, (), X, ct_Q), ()
        C = 0.5 * (ct_H + adjoint(xp, ct_H))

        def times(Y: Array) -> Array:
            return xp.matmul(C, Y) if left else xp.matmul(Y, C)

        of_Q = times(A) if ct_Q is None else ct_Q + times(A)
        T = self.unitary.second_map(xp, factors, (), X, of_Q)
        through_X = self.unitary.jvp(xp, A, factors, (), times(X), ())
        return T + through_X + times(self.unitary.jvp(xp, A, factors, (), X, ())), ()


class _ValuesOperator(FactorsOperator):
    """A linear function of the singular values: ``ct_A = U diag(ct_S) Vh``."""

    def pull_values(self, xp: Namespace, factors: SVDFactors, ct: Array) -> Array:
        """Cotangent of the values."""
        raise NotImplementedError

    def push_values(self, xp: Namespace, factors: SVDFactors, dS: Array) -> Array:
        """Tangent of the result."""
        raise NotImplementedError

    def jvp(
        self,
        xp: Namespace,
        A: Array,
        factors: SVDFactors,
        params: tuple[Array, ...],
        dA: Array | None,
        dparams: tuple[Array | None, ...],
    ) -> Array | None:
        dS = real_diagonal(xp, directional_core(xp, factors, dA)[0])
        return self.push_values(xp, factors, dS)

    def vjp(
        self, xp: Namespace, A: Array, factors: SVDFactors, params: tuple[Array, ...], ct: Array
    ) -> tuple[Array, tuple[Array | None, ...]]:
        ct_S = self.pull_values(xp, factors, ct)
        return xp.matmul(scale_columns(xp, factors.U, ct_S), factors.Vh), ()


@dataclass(frozen=True)
class SingularValues(_ValuesOperator):
    """The singular values alone."""

    needs: ClassVar[Needs] = "factors"

    def apply(
        self, xp: Namespace, A: Array, factors: SVDFactors, params: tuple[Array, ...]
    ) -> Array:
        return factors.S

    def pull_values(self, xp: Namespace, factors: SVDFactors, ct: Array) -> Array:
        return ct

    def push_values(self, xp: Namespace, factors: SVDFactors, dS: Array) -> Array:
        return dS


class ScalarOperator(_ValuesOperator):
    """A scalar of the singular values that treats equal ones alike."""

    def value(self, xp: Namespace, factors: SVDFactors) -> Array:
        """The scalar, ``(...)``."""
        raise NotImplementedError

    def slopes(self, xp: Namespace, factors: SVDFactors) -> Array:
        """Its derivative by each value, ``(..., k)``."""
        raise NotImplementedError

    def apply(
        self, xp: Namespace, A: Array, factors: SVDFactors, params: tuple[Array, ...]
    ) -> Array:
        return self.value(xp, factors)

    def pull_values(self, xp: Namespace, factors: SVDFactors, ct: Array) -> Array:
        return xp.expand_dims(ct, axis=-1) * self.slopes(xp, factors)

    def push_values(self, xp: Namespace, factors: SVDFactors, dS: Array) -> Array:
        return xp.sum(self.slopes(xp, factors) * dS, axis=-1)


class SmoothScalar(ScalarOperator):
    """One with a Hessian: the derivative of ``U diag(slopes) Vh``."""

    twice: ClassVar[bool] = True

    def hessian(self, xp: Namespace, factors: SVDFactors, X: Array) -> Array:
        """Its product with X."""
        raise NotImplementedError

    def second(
        self,
        xp: Namespace,
        A: Array,
        factors: SVDFactors,
        params: tuple[Array, ...],
        one: Tangents,
        two: Tangents,
    ) -> Array:
        return inner(xp, two.A, self.hessian(xp, factors, one.A))

    def hvp(
        self,
        xp: Namespace,
        A: Array,
        factors: SVDFactors,
        params: tuple[Array, ...],
        ct: Array,
        along: Tangents,
    ) -> tuple[Array, tuple[Array | None, ...]]:
        weight = xp.expand_dims(xp.expand_dims(ct, axis=-1), axis=-1)
        return scale(xp, weight, self.hessian(xp, factors, along.A)), ()


class PiecewiseLinear(SmoothScalar):
    """One whose slopes do not change with the values, but from one of them to another."""

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
    """1 for a value that is not zero by the rank tolerance, else 0."""
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
    """Between which values a difference quotient is better than the slopes.

    The arguments are those of `divided_differences`.
    """
    one = unit(xp, largest)
    (v_i, v_j), f_ij = _columns(xp, v * one), _columns(xp, f)
    slopes = _columns(xp, _slopes(xp, v, derivative))
    gap = v_i - v_j
    near = difference_rtol(float(xp.finfo(v.dtype).eps))
    apart = xp.abs(gap) > near * xp.expand_dims(largest * one, axis=-1)
    # With a unit that is not 1 the product may overflow; the slopes of huge values are small.
    predicted = _limits(xp, v, derivative) * (gap / xp.expand_dims(one, axis=-1))
    return apart | ((gap != 0) & kinked(xp, f_ij, slopes, predicted))


def _limits(xp: Namespace, v: Array, derivative: Array) -> Array:
    """What stands for the quotients of near values."""
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

    That is the mean of the two slopes; with the Jacobian J of a function that mixes the values,
    the mean of ``J_ii - J_ij`` and ``J_jj - J_ji``: both values move at once, against each other.

    Parameters
    ----------
    v, f : array (..., k)
        Values, and the function's.
    derivative : array (..., k) or (..., k, k)
        Slopes, or the Jacobian.
    largest : array (..., 1)
        The largest size of the values.
    apart : array (..., k, k), optional
        The `apart_pairs` of another function, of which this is a variation.
    """
    if apart is None:
        apart = apart_pairs(xp, v, f, derivative, largest)
    one = unit(xp, largest)
    (v_i, v_j), (f_i, f_j) = (_columns(xp, y) for y in (v * one, f))
    # The unit comes last: f has a scale of its own.
    quotient = (f_i - f_j) * reciprocal(xp, v_i - v_j, apart) * xp.expand_dims(one, axis=-1)
    return xp.where(apart, quotient, _limits(xp, v, derivative))


def _is_jacobian(v: Array, derivative: Array) -> bool:
    return len(derivative.shape) > len(v.shape)


def _slopes(xp: Namespace, v: Array, derivative: Array) -> Array:
    """The slopes themselves, or the diagonal of the Jacobian."""
    return xp.linalg.diagonal(derivative) if _is_jacobian(v, derivative) else derivative


def loewner_coefficients(
    xp: Namespace,
    factors: SVDFactors,
    f: Array,
    derivative: Array,
    apart: Array | None = None,
) -> Loewner:
    """Coefficients of D for the values ``f(S)`` of any function.

    `derivative` has its slopes ``f'(S)``; or its Jacobian ``(..., k, k)``, if it mixes the values.
    Then D is without the diagonal of ``plus``, through which the Jacobian acts.
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
    """The same without the diagonal of ``plus``."""
    plus = loewner.plus
    diagonal = order_sign(xp, loewner.values) == 0
    return loewner._replace(plus=xp.where(diagonal, xp.zeros_like(plus), plus))


@dataclass(frozen=True)
class SingularValueMap(SpectralOperator):
    """``U diag(f(S)) Vh`` for a function f ``(..., k) -> (..., k)`` and its derivative.

    For a framework that cannot differentiate f by itself.

    Parameters
    ----------
    fn : callable
    derivative : callable
        Of S, the slopes ``(..., k)`` of a function that acts value by value, or the Jacobian
        ``(..., k, k)`` of one that mixes them.
    mixes : bool, default False
        Which of the two `derivative` gives.
    """

    fn: Callable[[Array], Array]
    derivative: Callable[[Array], Array]
    mixes: bool = False
    curvature: Callable[[Array], Array] | None = None

    @property
    def twice(self) -> bool:  # type: ignore[override]
        """Of a function of each value, where its second derivative is known."""
        return self.curvature is not None

    def second_map(
        self, xp: Namespace, factors: SVDFactors, params: tuple[Array, ...], X: Array, Y: Array
    ) -> Array:
        if self.curvature is None:
            raise TypeError("curvature: expected the second derivative of fn, got None")
        S = factors.S
        jet = Jet(self.fn(S), self.derivative(S), self.curvature(S))
        return second_of_jet(xp, factors, jet, X, Y)

    def values(self, xp: Namespace, factors: SVDFactors, params: tuple[Array, ...]) -> Array:
        return self.fn(factors.S)

    def loewner(self, xp: Namespace, factors: SVDFactors, params: tuple[Array, ...]) -> Loewner:
        S = factors.S
        loewner = loewner_coefficients(xp, factors, self.fn(S), self.derivative(S))
        return _off_diagonal(xp, loewner) if self.mixes else loewner

    def push(
        self,
        xp: Namespace,
        factors: SVDFactors,
        params: tuple[Array, ...],
        dparams: tuple[Array | None, ...],
        dS: Array | None,
    ) -> Array | None:
        if not self.mixes or dS is None:
            return None
        return xp.sum(self.derivative(factors.S) * xp.expand_dims(dS, axis=-2), axis=-1)

    def pull(
        self, xp: Namespace, factors: SVDFactors, params: tuple[Array, ...], ct_f: Array
    ) -> tuple[tuple[Array | None, ...], Array | None]:
        if not self.mixes:
            return (), None
        return (), xp.sum(self.derivative(factors.S) * xp.expand_dims(ct_f, axis=-1), axis=-2)


def second_of_jet(xp: Namespace, factors: SVDFactors, jet: Jet, X: Array, Y: Array) -> Array:
    """``T[X, Y]`` of any smooth odd function."""
    loewner = loewner_coefficients(xp, factors, jet.f, jet.slope)
    odd = of_jet(xp, factors, jet, loewner.minus, loewner.ratio)
    return second_two_sided(xp, factors, odd, over(xp, X, safe_size(xp, factors.S)), Y)


@dataclass(frozen=True)
class Recompose(SpectralOperator):
    """``U diag(f) Vh`` with f an argument of its own: ``params = (f, plus, minus, ratio)``.

    For a framework that differentiates ``f(S)`` by itself: the derivative along the diagonal
    goes through f, and here stands what is left with f held fixed. The coefficients are
    arguments too, so that second derivatives go through them; the value does not depend on
    them, and their cotangents are absent. The second derivatives are not right at a tie.

    Parameters
    ----------
    nan_at_ties : bool
        They are NaN there.
    """

    nan_at_ties: bool = False

    def moved(
        self, xp: Namespace, params: tuple[Array, ...], factors: SVDFactors, raw: SVDFactors
    ) -> tuple[Array, ...]:
        f, plus, minus, ratio = params
        if self.nan_at_ties:
            plus = plus + xp.expand_dims(undefined_at_ties(xp, factors, raw), axis=-1)
        return f, plus, minus, ratio

    def loewner(self, xp: Namespace, factors: SVDFactors, params: tuple[Array, ...]) -> Loewner:
        return _off_diagonal(xp, Loewner(*params))

    def values(self, xp: Namespace, factors: SVDFactors, params: tuple[Array, ...]) -> Array:
        return params[0]

    def push(
        self,
        xp: Namespace,
        factors: SVDFactors,
        params: tuple[Array, ...],
        dparams: tuple[Array | None, ...],
        dS: Array | None,
    ) -> Array | None:
        return dparams[0]

    def pull(
        self, xp: Namespace, factors: SVDFactors, params: tuple[Array, ...], ct_f: Array
    ) -> tuple[tuple[Array | None, ...], Array | None]:
        return (ct_f, None, None, None), None
