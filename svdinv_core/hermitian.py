r"""The Hermitian eigendecomposition, and functions of the eigenvalues.

``A = Q diag(w) Q^H`` with w ascending. An argument that is not Hermitian is taken by its
Hermitian part ``(A + A^H)/2``, in value and derivative alike. With ``dP = Q^H dA Q``

    dw = Re diag(dP)      dQ = Q (F * dP)      F_ij = 1/(w_j - w_i), 0 on the diagonal
    ct_A = Q (diag(ct_w) + F * (Q^H ct_Q)) Q^H, its Hermitian part

A rule (:mod:`.rules`) replaces F near a tie. For ``B = Q diag(f(w)) Q^H`` no rule is needed: the
derivative in direction G is

    D[G] = Q (Gamma * Q^H G Q) Q^H     Gamma_ij = (f_i - f_j)/(w_i - w_j), f'(w_i) on a tie

which is self-adjoint (Daleckii & Krein). A does not determine the phases of the eigenvectors, the
diagonal of ``Q^H dQ``; it is taken as 0, as in every framework.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple

from .arrays import (
    adjoint,
    diagonal_matrix,
    first,
    is_complex,
    last,
    order_sign,
    real_diagonal,
    rounding,
    safe_size,
    scale,
    scale_columns,
)
from .drivers import Driver, Needs, native
from .namespace import Array, Namespace
from .operator import (
    Arrays,
    Constant,
    Look,
    MatrixFunction,
    Operator,
    Point,
    Some,
    Tangents,
    unchanged,
    undefined_at_ties,
)
from .rules import Inv, Pairs, Rule
from .second import Jet, second_hermitian
from .spectral import divided_differences, through_jacobian

__all__ = [
    "EigenvalueMap",
    "Eigenvalues",
    "Eigh",
    "EighFactors",
    "HermitianFunction",
    "RecomposeHermitian",
    "eigenvalue_coefficients",
]


class EighFactors(NamedTuple):
    """``eigenvalues (..., n)`` ascending, ``eigenvectors (..., n, n)``."""

    eigenvalues: Array
    eigenvectors: Array


def hermitian_part(xp: Namespace, A: Array) -> Array:
    """``(A + A^H)/2``."""
    return 0.5 * (A + adjoint(xp, A))


@dataclass(frozen=True)
class Eigh:
    """The decomposition ``A -> (w, Q)`` with its derivative under a rule.

    Parameters
    ----------
    rule : Rule
        Replaces ``1/(w_j - w_i)`` near a tie.
    driver : Driver
        How the factors are computed.
    """

    rule: Rule = field(default_factory=Inv)  # compilers cannot trace a default instance
    driver: Driver = field(default_factory=native)
    Factors: ClassVar[type[EighFactors]] = EighFactors
    needs: ClassVar[Needs] = "eigenvectors"

    @property
    def linear(self) -> bool:
        """Whether `vjp` is the adjoint of `jvp`."""
        return self.rule.linear

    @property
    def fallback(self) -> Eigh:
        """The same decomposition with the rule for forward mode and second derivatives."""
        return self if self.linear else replace(self, rule=self.rule.fallback)

    def compute(self, xp: Namespace, A: Array, *, finite: bool = False) -> EighFactors:
        """Eigendecomposition of the Hermitian part of ``A (..., n, n)``.

        A matrix with a non-finite entry gets NaN factors; the others of its batch are not affected.
        Pass `finite=True` if there is no such matrix; the check is then skipped.
        """
        if 0 in A.shape:
            zeros = xp.zeros_like(A)
            w = xp.sum(zeros, axis=-1)
            return EighFactors(xp.abs(w) if is_complex(xp, w) else w, zeros)
        return EighFactors(*self.driver.eigh(xp, hermitian_part(xp, A), finite=finite))

    def jvp(self, xp: Namespace, factors: EighFactors, dA: Array) -> EighFactors:
        """Forward mode: ``(dw, dQ)`` for a tangent `dA`."""
        w, Q = factors
        dP = xp.matmul(adjoint(xp, Q), xp.matmul(hermitian_part(xp, dA), Q))
        rule = self.rule.fallback
        inverse_gap = rule.inverse_gap(xp, Pairs.of_eigenvalues(xp, w, rule))
        dQ = xp.matmul(Q, scale(xp, inverse_gap, dP))
        return EighFactors(real_diagonal(xp, dP), dQ)

    def vjp(
        self,
        xp: Namespace,
        factors: EighFactors,
        cotangents: tuple[Array | None, ...],
        *,
        constant: Constant = unchanged,
        some: Look | None = None,
    ) -> Array | None:
        """Reverse mode: the (Hermitian) cotangent of A; an absent cotangent is None.

        `constant` and `some` as in :meth:`.operator.Decomposition.vjp`.
        """
        ct_w, ct_Q = cotangents
        w, Q = factors
        if ct_w is None and ct_Q is None:
            return None
        Qh = adjoint(xp, Q)
        if ct_Q is None:
            return xp.matmul(scale_columns(xp, Q, ct_w), Qh)
        rule = self.rule.fallback
        X = xp.matmul(Qh, ct_Q)
        core = scale(xp, rule.inverse_gap(xp, Pairs.of_eigenvalues(xp, w, rule)), X)
        if not self.linear and core.shape[-1] != 0:
            pairs = Pairs.of_eigenvalues(xp, constant(w), self.rule)
            if some is None or some(pairs.tied):
                given = xp.zeros_like(pairs.values) if ct_w is None else constant(ct_w)
                size = rounding(xp, pairs.eps, constant(ct_Q))
                inside, where = self.rule.inside(xp, pairs, constant(X), None, given, size)
                linear = constant(core)
                core = core + xp.where(where, inside - linear, xp.zeros_like(linear))
        if ct_w is not None:
            core = core + diagonal_matrix(xp, ct_w, core.dtype)
        return xp.matmul(xp.matmul(Q, hermitian_part(xp, core)), Qh)


def eigenvalue_coefficients(
    xp: Namespace,
    factors: EighFactors,
    f: Array,
    derivative: Array,
    apart: Array | None = None,
) -> Array:
    """``Gamma`` of any function from its values ``f(w)`` and its slopes ``f'(w)`` or its Jacobian.

    With a Jacobian the diagonal of Gamma is 0.
    """
    w = factors.eigenvalues
    return divided_differences(xp, w, f, derivative, largest_eigenvalue(xp, w), apart)


def _off_diagonal(xp: Namespace, gamma: Array, f: Array) -> Array:
    return xp.where(order_sign(xp, f) == 0, xp.zeros_like(gamma), gamma)


def largest_eigenvalue(xp: Namespace, w: Array) -> Array:
    """The largest absolute value ``(..., 1)`` of ascending values."""
    sizes = xp.abs(w)
    return xp.maximum(first(sizes), last(sizes))


def second_of_eigenvalues(
    xp: Namespace, factors: EighFactors, jet: Jet, X: Array, Y: Array
) -> Array:
    """``T[X, Y]`` of ``Q diag(f(w)) Q^H`` for any smooth f."""
    w, Q = factors
    size = safe_size(xp, largest_eigenvalue(xp, w))
    X, Y = hermitian_part(xp, X), hermitian_part(xp, Y)
    return second_hermitian(xp, w, Q, jet, size, X, Y)


class HermitianOperator(Operator):
    """Base of the operators on eigenvalues, such as ``Q diag(f) Q^H``."""

    decomposition: ClassVar[Eigh] = Eigh()
    needs: ClassVar[Needs] = "eigenvectors"

    @staticmethod
    def recompose(xp: Namespace, factors: EighFactors, f: Array) -> Array:
        Q = factors.eigenvectors
        return xp.matmul(scale_columns(xp, Q, f), adjoint(xp, Q))

    @staticmethod
    def core(xp: Namespace, factors: EighFactors, G: Array) -> Array:
        """``Q^H G Q`` for the Hermitian part of G."""
        Q = factors.eigenvectors
        return xp.matmul(adjoint(xp, Q), xp.matmul(hermitian_part(xp, G), Q))

    @staticmethod
    def conjugate(xp: Namespace, factors: EighFactors, core: Array) -> Array:
        Q = factors.eigenvectors
        return xp.matmul(xp.matmul(Q, core), adjoint(xp, Q))


@dataclass(frozen=True)
class Eigenvalues(HermitianOperator):
    """The eigenvalues alone: ``ct_A = Q diag(ct) Q^H``."""

    def apply(self, at: Point) -> Arrays:
        return (at.factors.eigenvalues,)

    def jvp(self, at: Point, along: Tangents) -> Arrays:
        return (real_diagonal(at.xp, self.core(at.xp, at.factors, along.A)),)

    def vjp(self, at: Point, cts: Some) -> Tangents:
        return Tangents(self.recompose(at.xp, at.factors, cts[0]), ())


class _Direction:
    """A direction in the basis of the eigenvectors."""

    def __init__(self, at: Point, G: Array, gamma: Arrays) -> None:
        self.at, self.gamma = at, gamma
        self.core = HermitianOperator.core(at.xp, at.factors, G)

    @property
    def diagonal(self) -> Array:
        """``Re diag(Q^H G Q)``."""
        return real_diagonal(self.at.xp, self.core)

    def map(self, more: Array | None = None) -> Array:
        """``D[G]``, plus a variation `more` of the values."""
        xp, core = self.at.xp, self.core
        for weights in self.gamma:
            core = scale(xp, weights, core)
        if more is not None:
            core = core + diagonal_matrix(xp, more, core.dtype)
        return HermitianOperator.conjugate(xp, self.at.factors, core)


class HermitianMatrixFunction(HermitianOperator, MatrixFunction):
    """The engine for Hermitian matrices: ``Q diag(f(w)) Q^H``, from f and divided differences.

    Its `terms` are factors of Gamma, which are applied one by one because their product may
    overflow.
    """

    def values_at(self, at: Point) -> Array:
        """``f(w)``."""
        raise NotImplementedError

    def direction(self, at: Point, terms: Arrays, G: Array) -> _Direction:
        return _Direction(at, G, terms)

    def recomposed(self, at: Point, terms: Arrays, df: Array) -> Array:
        return self.recompose(at.xp, at.factors, df)

    def apply(self, at: Point) -> Arrays:
        return (self.recompose(at.xp, at.factors, self.values_at(at)),)


class HermitianFunction(HermitianMatrixFunction):
    """A function of the eigenvalues alone."""

    twice: ClassVar[bool] = True

    def values(self, xp: Namespace, w: Array) -> Array:
        """``f(w)``."""
        raise NotImplementedError

    def differences(self, xp: Namespace, w: Array) -> Arrays:
        """Gamma, as a tuple of factors."""
        raise NotImplementedError

    def values_at(self, at: Point) -> Array:
        return self.values(at.xp, at.factors.eigenvalues)

    def terms(self, at: Point) -> Arrays:
        return self.differences(at.xp, at.factors.eigenvalues)


@dataclass(frozen=True)
class EigenvalueMap(HermitianFunction):
    """``Q diag(f(w)) Q^H`` for a function f ``(..., n) -> (..., n)`` and its derivative.

    As :class:`.spectral.SingularValueMap`: for a framework that cannot differentiate f.
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
        w = at.factors.eigenvalues
        jet = Jet(self.fn(w), self.derivative(w), self.curvature(w))
        return second_of_eigenvalues(at.xp, at.factors, jet, X, Y)

    def values(self, xp: Namespace, w: Array) -> Array:
        return self.fn(w)

    def terms(self, at: Point) -> Arrays:
        w = at.factors.eigenvalues
        gamma = eigenvalue_coefficients(at.xp, at.factors, self.fn(w), self.derivative(w))
        return (_off_diagonal(at.xp, gamma, w) if self.mixes else gamma,)

    def push(self, at: Point, terms: Arrays, dparams: Some, diagonal: Array | None) -> Array | None:
        w = at.factors.eigenvalues
        return through_jacobian(at.xp, self.derivative(w), diagonal) if self.mixes else None

    def pull(self, at: Point, terms: Arrays, diagonal: Array) -> tuple[Some, Array | None]:
        if not self.mixes:
            return (), None
        J = at.xp.matrix_transpose(self.derivative(at.factors.eigenvalues))
        return (), through_jacobian(at.xp, J, diagonal)


@dataclass(frozen=True)
class RecomposeHermitian(HermitianMatrixFunction):
    """``Q diag(f) Q^H`` with f as a parameter: ``params = (f, gamma)``.

    As :class:`.spectral.Recompose`: for a framework that differentiates ``f(w)`` itself.
    """

    nan_at_ties: bool = False

    def moved(
        self, xp: Namespace, params: Arrays, factors: EighFactors, raw: EighFactors
    ) -> Arrays:
        f, gamma = params
        if self.nan_at_ties:
            gamma = gamma + xp.expand_dims(undefined_at_ties(xp, factors, raw), axis=-1)
        return f, gamma

    def values_at(self, at: Point) -> Array:
        return at.params[0]

    def terms(self, at: Point) -> Arrays:
        f, gamma = at.params
        return (_off_diagonal(at.xp, gamma, f),)

    def push(self, at: Point, terms: Arrays, dparams: Some, diagonal: Array | None) -> Array | None:
        return dparams[0]

    def pull(self, at: Point, terms: Arrays, diagonal: Array) -> tuple[Some, Array | None]:
        return (diagonal, None), None
