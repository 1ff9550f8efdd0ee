r"""The singular value decomposition and its derivative, forward and reverse.

Notation: ``A`` is ``(..., m, n)``, ``k = min(m, n)``, ``A = U diag(S) Vh`` with thin
factors, ``V = Vh^H``; ``h(X) = X + X^H``, ``a(X) = X - X^H``; ``S+`` is ``1/S`` with 0
for zero values. Cotangents follow ``dL = Re tr(ct_U^H dU) + ct_S . dS + Re tr(ct_Vh^H dVh)``
(the convention of PyTorch and TensorFlow; JAX's complex cotangents are the conjugates).

Differentiating ``A = U diag(S) V^H`` with ``dU = U dOmega_u + (component outside U)`` gives,
with ``dP = U^H dA V``,

    dS = Re diag(dP)          dP - diag(dS) = dOmega_u diag(S) - diag(S) dOmega_v

and the skew-Hermitian solution, if all values differ, is

    dOmega_u = (h(dP)/gap + a(dP)/total) / 2     dOmega_v = (h(dP)/gap - a(dP)/total) / 2

The first term is only used off the diagonal; the diagonal of the second is the phase of complex
singular vectors. A rule (:mod:`.rules`) replaces the divisions. Outside the column spaces

    (I - U U^H) dU = (I - U U^H) dA V S+         (I - V V^H) dV = (I - V V^H) dA^H U S+ .

The reverse rule is the adjoint of exactly this map. Only thin products are formed: a projection
``(I - U U^H) Y`` is computed as ``Y - U (U^H Y)``, merged with other products, and left out on a
side where the factor is square.

Sources: Townsend, "Differentiating the singular value decomposition" (2016); Wan & Zhang,
"Automatic differentiation for complex valued SVD" (2019), for the phase term; Zhang & Hu,
arXiv 2411.14141, Theorems 3.1 and 3.2, for ``Inv`` (without the phase term there).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple

from .arrays import (
    adjoint,
    diagonal_matrix,
    is_complex,
    real_diagonal,
    rounding,
    scale,
    scale_columns,
    scale_rows,
)
from .drivers import Driver, Needs, native
from .namespace import Array, Namespace
from .operator import Constant, Look, unchanged
from .rules import Coefficients, Inv, Pairs, Rule

__all__ = ["SVD", "SVDFactors", "directional_core"]


class SVDFactors(NamedTuple):
    """Thin factors: ``U (..., m, k)``, ``S (..., k)`` descending, ``Vh (..., k, n)``."""

    U: Array
    S: Array
    Vh: Array


def directional_core(
    xp: Namespace, factors: SVDFactors, dA: Array
) -> tuple[Array, Array | None, Array | None]:
    """``P = U^H dA V``, with the one-sided products of which it is made.

    Returns ``(P, dA V, U^H dA)``. A one-sided product is None if it is not needed, because the
    other factor is square.
    """
    U, _, Vh = factors
    m, n, k = U.shape[-2], Vh.shape[-1], U.shape[-1]
    Uh = adjoint(xp, U)
    if not m < n:
        dA_V = xp.matmul(dA, adjoint(xp, Vh))
        return xp.matmul(Uh, dA_V), (dA_V if m != k else None), None
    Uh_dA = xp.matmul(Uh, dA)
    return xp.matmul(Uh_dA, adjoint(xp, Vh)), None, Uh_dA


@dataclass(frozen=True)
class SVD:
    """The decomposition ``A -> (U, S, Vh)`` with its derivative under a rule.

    Parameters
    ----------
    rule : Rule
        Replaces ``1/(S_j - S_i)`` near a tie.
    driver : Driver
        How the factors are computed. `Gram` is suitable only if all values are far from zero,
        because it has no vectors for a zero value.
    """

    rule: Rule = field(default_factory=Inv)  # compilers cannot trace a default instance
    driver: Driver = field(default_factory=native)
    Factors: ClassVar[type[SVDFactors]] = SVDFactors
    needs: ClassVar[Needs] = "factors"

    @property
    def linear(self) -> bool:
        """Whether `vjp` is the adjoint of `jvp`."""
        return self.rule.linear

    @property
    def fallback(self) -> SVD:
        """The same decomposition with the rule for forward mode and second derivatives."""
        return self if self.linear else replace(self, rule=self.rule.fallback)

    def compute(self, xp: Namespace, A: Array, *, finite: bool = False) -> SVDFactors:
        """Thin SVD of ``A (..., m, n)``.

        A matrix with a non-finite entry gets NaN factors; the others of its batch are not affected.
        Pass `finite=True` if there is no such matrix; the check is then skipped.
        """
        *batch, m, n = A.shape
        k = m if m < n else n
        if 0 in (*batch, k):
            return _empty_factors(xp, A, k)
        return SVDFactors(*self.driver.compute(xp, A, long="unit", finite=finite))

    def _coefficients(self, xp: Namespace, factors: SVDFactors) -> tuple[Pairs, Coefficients]:
        """Pairs and coefficients of the linear rule."""
        U, S, Vh = factors
        rule = self.rule.fallback
        pairs = Pairs.of(xp, S, U.shape[-2], Vh.shape[-1], rule)
        coefficients = rule.coefficients(xp, pairs)
        if not is_complex(xp, U):
            # The diagonal of a real a(dP) is 0. Without this, automatic transposition would add two
            # terms of size 1/S there that cancel, and leave their rounding errors.
            off_diagonal = pairs.order != 0
            inverse_total = xp.where(off_diagonal, coefficients.inverse_total, 0.0)
            coefficients = coefficients._replace(inverse_total=inverse_total)
        return pairs, coefficients

    def turns(self, xp: Namespace, factors: SVDFactors, P: Array) -> tuple[Pairs, Array, Array]:
        """``dOmega_u`` and ``dOmega_v`` for ``P = U^H dA V``, the part within the column spaces."""
        pairs, (inverse_gap, inverse_total, tie) = self._coefficients(xp, factors)
        Ph = adjoint(xp, P)
        symmetric = scale(xp, inverse_gap, P + Ph)
        skew = scale(xp, inverse_total, P - Ph)
        omega_u = 0.5 * (symmetric + skew)
        omega_v = 0.5 * (symmetric - skew)
        if tie is not None:
            omega_u = omega_u + scale(xp, tie, P)
        return pairs, omega_u, omega_v

    def jvp(self, xp: Namespace, factors: SVDFactors, dA: Array) -> SVDFactors:
        """Forward mode: ``(dU, dS, dVh)`` for a tangent `dA` of A's shape and dtype."""
        U, _, Vh = factors
        P, dA_V, Uh_dA = directional_core(xp, factors, dA)
        pairs, omega_u, omega_v = self.turns(xp, factors, P)

        dVh = adjoint(xp, omega_v)
        if dA_V is not None:  # m > n: V is square
            outside = scale_columns(xp, P, pairs.inverse_values)
            dU = xp.matmul(U, omega_u - outside) + scale_columns(xp, dA_V, pairs.inverse_values)
            dVh = xp.matmul(dVh, Vh)
        elif Uh_dA is not None:  # m < n: U is square
            dU = xp.matmul(U, omega_u)
            outside = scale_rows(xp, pairs.inverse_values, P)
            dVh = xp.matmul(dVh - outside, Vh) + scale_rows(xp, pairs.inverse_values, Uh_dA)
        else:
            dU, dVh = xp.matmul(U, omega_u), xp.matmul(dVh, Vh)
        return SVDFactors(dU, real_diagonal(xp, P), dVh)

    def vjp(
        self,
        xp: Namespace,
        factors: SVDFactors,
        cotangents: tuple[Array | None, ...],
        *,
        constant: Constant = unchanged,
        some: Look | None = None,
    ) -> Array | None:
        """Reverse mode: the cotangent of A for cotangents of ``(U, S, Vh)``.

        An absent cotangent is None and costs nothing; if all are absent, the result is None.
        `constant` and `some` are as in :meth:`.operator.Decomposition.vjp`.

            core = diag(ct_S) + tie X
                   + [ (a(X) + a(Y)) inverse_gap + (a(X) - a(Y)) inverse_total ] / 2
            ct_A = U core Vh + (I - U U^H) ct_U S+ Vh + U S+ ct_Vh (I - V V^H)

        with ``X = U^H ct_U`` and ``Y = V^H ct_Vh^H``. A rule that is not linear replaces the core
        between tied values, except for ct_S.
        """
        ct_U, ct_S, ct_Vh = cotangents
        U, _, Vh = factors
        m, n, k = U.shape[-2], Vh.shape[-1], U.shape[-1]
        if ct_U is None and ct_S is None and ct_Vh is None:
            return None
        if ct_U is None and ct_Vh is None:
            return xp.matmul(scale_columns(xp, U, ct_S), Vh)

        weights, X, Yh, core = self.within(xp, factors, cotangents, constant=constant, some=some)
        left = right = None  # (I - U U^H) ct_U S+ and S+ ct_Vh (I - V V^H), the part with I apart
        if ct_U is not None and m != k:
            core = core - scale_columns(xp, X, weights)
            left = scale_columns(xp, ct_U, weights)
        if ct_Vh is not None and n != k:
            core = core - scale_rows(xp, weights, Yh)
            right = scale_rows(xp, weights, ct_Vh)
        if ct_S is not None:
            core = core + diagonal_matrix(xp, ct_S, core.dtype)

        if right is not None:  # m < n, U is square
            return xp.matmul(U, xp.matmul(core, Vh) + right)
        outer = xp.matmul(U, core)
        return xp.matmul(outer if left is None else outer + left, Vh)

    def within(
        self,
        xp: Namespace,
        factors: SVDFactors,
        cotangents: tuple[Array | None, ...],
        *,
        constant: Constant = unchanged,
        some: Look | None = None,
    ) -> tuple[Array, Array | None, Array | None, Array]:
        """``1/S``, ``X``, ``Y^H``, and the core of `vjp` without ct_S.

        At least one of ct_U and ct_Vh must be given.
        """
        ct_U, ct_S, ct_Vh = cotangents
        U, S, Vh = factors
        pairs, (inverse_gap, inverse_total, tie) = self._coefficients(xp, factors)
        core: Array = None
        X: Array = None
        Yh: Array = None
        if ct_U is not None:
            X = xp.matmul(adjoint(xp, U), ct_U)
            core = 0.5 * scale(xp, inverse_gap + inverse_total, X - adjoint(xp, X))
            if tie is not None:
                core = core + scale(xp, tie, X)
        if ct_Vh is not None:
            Yh = xp.matmul(ct_Vh, adjoint(xp, Vh))
            part = 0.5 * scale(xp, inverse_gap - inverse_total, adjoint(xp, Yh) - Yh)
            core = part if core is None else core + part
        if not self.linear:
            fixed = (
                None if x is None else constant(x) for x in (S, X, Yh, core, ct_U, ct_S, ct_Vh)
            )
            read = self._read(xp, U.shape[-2], Vh.shape[-1], *fixed, some=some)
            core = core if read is None else core + read
        return pairs.inverse_values, X, Yh, core

    def _read(
        self,
        xp: Namespace,
        m: int,
        n: int,
        S: Array,
        X: Array | None,
        Yh: Array | None,
        core: Array,
        ct_U: Array | None,
        ct_S: Array | None,
        ct_Vh: Array | None,
        *,
        some: Look | None,
    ) -> Array | None:
        """The core as changed by a rule that is not linear; None if nothing is tied."""
        if core.shape[-1] == 0:
            return None
        pairs = Pairs.of(xp, S, m, n, self.rule)
        if some is not None and not some(pairs.tied):
            return None
        X = xp.zeros_like(core) if X is None else X
        Y = xp.zeros_like(core) if Yh is None else adjoint(xp, Yh)
        ct_S = xp.zeros_like(S) if ct_S is None else ct_S
        ct_V = None if ct_Vh is None else xp.matrix_transpose(ct_Vh)
        size = rounding(xp, pairs.eps, ct_U) + rounding(xp, pairs.eps, ct_V)
        inside, where = self.rule.inside(xp, pairs, X, Y, ct_S, size)
        skew = X - adjoint(xp, X) - Y + adjoint(xp, Y)
        inside = inside + 0.5 * scale(xp, pairs.inverse_total, skew)
        return xp.where(where & ~pairs.both_zero, inside - core, xp.zeros_like(core))


def _empty_factors(xp: Namespace, A: Array, k: int) -> SVDFactors:
    """Factors of a batch of matrices without entries, in the dtype and on the device of A."""
    zeros = xp.zeros_like(A)
    U, Vh = zeros[..., :, :k], zeros[..., :k, :]
    # Summing over an axis leaves k zeros, whichever of m and n is smaller.
    S = xp.sum(U, axis=-2) if A.shape[-1] == k else xp.sum(Vh, axis=-1)
    # abs, not real: PyTorch's forward mode does not accept a view of a complex array.
    return SVDFactors(U, xp.abs(S) if is_complex(xp, S) else S, Vh)
