r"""Values and vectors from the eigendecomposition of ``A^H A``, which is cheaper than an SVD.

``A^H A = V diag(S^2) V^H`` and ``W = A V = U diag(S)``. The error of an eigenvalue is about
``eps S_1^2``. So values and vectors are accurate enough for a function that depends only on values
well above ``eps^(1/2) S_1``; :meth:`Gram.resolves` checks this. The code decomposes ``-A^H A``, so
that the values descend.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..arrays import adjoint, diagonal_matrix, is_complex, real_diagonal, real_product, scale
from ..namespace import Array, Namespace
from ..rules import promised_rtol
from .driver import Driver, Extent, Long, orthogonal_or_nan, safe_sizes, unit_columns

__all__ = ["Gram"]


@dataclass(frozen=True)
class Gram(Driver):
    """The eigendecomposition of ``A^H A``. Vectors of the longer side for zero values are zero.

    Parameters
    ----------
    double : bool
        Form and decompose ``A^H A`` in double precision, whatever the precision of A.
    normalized : bool
        Divide by the largest entry of A first. Without this ``A^H A`` may overflow or underflow,
        which `resolves` notices.
    polished : bool
        For eigensolvers whose eigenvectors are not orthogonal to working precision. A
        Newton-Schulz step, ``V (3 I - V^H V)/2``, squares the error, and the squares of the values
        are computed as the diagonal of ``V^H A^H A V``.
    """

    normalized: bool = False
    polished: bool = False
    name: ClassVar[str] = "gram"
    exact: ClassVar[bool] = False

    def of_tall(
        self, xp: Namespace, A: Array, *, long: Long, finite: bool
    ) -> tuple[Array | None, Array, Array]:
        """See `Driver.of_tall`; here V is not NaN for a matrix with a non-finite entry."""
        nan = float("nan")  # not an array, which NaN debuggers would report
        sizes: Array = None
        X = A
        if self.normalized:
            sizes = safe_sizes(xp, A)
            X = scale(xp, 1.0 / sizes, A)
        H = xp.matmul(adjoint(xp, X), X)
        H *= -1.0
        # The largest entry of a positive semidefinite matrix is on the diagonal.
        values_finite = xp.isfinite(xp.sum(real_diagonal(xp, H), axis=-1, keepdims=True))
        w, V = xp.linalg.eigh(xp.where(xp.expand_dims(values_finite, axis=-1), H, 0.0))
        if self.polished:
            V = _orthonormalized(xp, V, w)
        if self.guarded:
            w, V = orthogonal_or_nan(xp, (V,), w, V)
        W = None if long == "none" else xp.matmul(X, V)
        squares = -w
        if self.polished:
            squares = -_on_diagonal(xp, H, V) if W is None else _column_squares(xp, W)
        S = xp.where(values_finite, xp.sqrt(xp.maximum(squares, xp.zeros_like(w))), nan)
        if sizes is not None:
            W, S = W if W is None else scale(xp, sizes, W), S * sizes[..., 0]
        return (unit_columns(xp, W, S) if long == "unit" else W), S, V

    def resolves(
        self, xp: Namespace, S: Array, extent: Extent, spoilt: Array | None = None
    ) -> Array:
        """See `Driver.resolves`.

        The error of the derivative is about ``eps (largest/smallest)^2``, smallest being the
        smallest value that matters. It has to be at most :func:`.rules.promised_rtol`.
        """
        largest, smallest = extent
        info = xp.finfo(S.dtype)
        eps = 2.0**-52 if self.double else float(info.eps)
        ratio = (promised_rtol(float(info.eps)) / eps) ** 0.5
        if self.double:
            ratio = min(ratio, 1.0 / float(info.eps) ** 0.5)  # the products are in single precision
        # Squares of values far below this underflow.
        floor = float(info.smallest_normal) ** 0.5 / float(info.eps)
        enough = (largest <= smallest * ratio) & (smallest >= floor)
        if spoilt is not None:
            enough = enough | xp.expand_dims(spoilt, axis=-1)
        return xp.all(enough, axis=tuple(range(len(enough.shape))))


def _orthonormalized(xp: Namespace, V: Array, like_values: Array) -> Array:
    """The unitary matrix nearest to an almost unitary one."""
    product = xp.matmul(adjoint(xp, V), V)
    identity = diagonal_matrix(xp, xp.ones_like(like_values), V.dtype)
    return xp.matmul(V, 1.5 * identity - 0.5 * product)


def _on_diagonal(xp: Namespace, H: Array, V: Array) -> Array:
    """``diag(V^H H V)``, real."""
    return xp.sum(real_product(xp, V, xp.matmul(H, V)), axis=-2)


def _column_squares(xp: Namespace, W: Array) -> Array:
    """Squared norms of the columns."""
    parts = (xp.real(W), xp.imag(W)) if is_complex(xp, W) else (W,)
    squares = [xp.sum(part * part, axis=-2) for part in parts]
    return squares[0] if len(squares) == 1 else squares[0] + squares[1]
