r"""Values and vectors from the eigendecomposition of ``A^H A``, which costs a part of an SVD's.

``A^H A = V diag(S^2) V^H`` and ``W = A V = U diag(S)``. An eigenvalue is off by about
``eps S_1^2``, so that values and vectors are as good as a function of them needs where everything
it hinges on is well above ``eps^(1/2) S_1``: :meth:`Gram.resolves`. Decomposed is ``-A^H A``, for
the values to descend.
"""

from __future__ import annotations

from dataclasses import dataclass

from .arrays import adjoint, diagonal_matrix, is_complex, real_diagonal, scale
from .namespace import Array, Namespace
from .rules import promised_rtol

__all__ = ["Gram", "like", "real_like"]


@dataclass(frozen=True)
class Gram:
    """How ``A^H A`` is formed.

    Parameters
    ----------
    double : bool
        Form and decompose it in double precision whatever that of A.
    normalized : bool
        Divide by the largest entry of A first. Without it ``A^H A`` may overflow or underflow,
        which `resolves` notices.
    polished : bool
        For an eigensolver whose vectors are orthogonal to fewer digits than there are: a
        Newton-Schulz step, ``V (3 I - V^H V)/2``, squares what is missing, and the values are the
        norms of the columns of W.
    """

    double: bool = False
    normalized: bool = False
    polished: bool = False

    def compute(self, xp: Namespace, A: Array) -> tuple[Array, Array, Array]:
        """``W (..., m, n)``, ``S (..., n)`` descending and ``V`` of a matrix that is not wide.

        All in the precision they were computed in. S is NaN for a matrix with a non-finite entry
        (V is not).
        """
        nan = float("nan")  # no array of it: debuggers would take it for a result
        A = _double(xp, A) if self.double else A
        unit: Array = None
        X = A
        if self.normalized:
            sizes = xp.max(xp.abs(A), axis=(-2, -1), keepdims=True)
            usable = xp.isfinite(sizes) & (sizes > 0)
            unit = xp.where(usable, sizes, xp.ones_like(sizes))
            X = scale(xp, 1.0 / unit, A)
        H = -xp.matmul(adjoint(xp, X), X)
        # No entry is larger than the largest on the diagonal.
        values_finite = xp.isfinite(xp.sum(real_diagonal(xp, H), axis=-1, keepdims=True))
        w, V = xp.linalg.eigh(xp.where(xp.expand_dims(values_finite, axis=-1), H, 0.0))
        if self.polished:
            V = _orthonormalized(xp, V, w)
        W = xp.matmul(X, V)
        squares = _column_squares(xp, W) if self.polished else xp.maximum(-w, xp.zeros_like(w))
        S = xp.where(values_finite, xp.sqrt(squares), nan)
        if unit is not None:
            W, S = scale(xp, unit, W), S * unit[..., 0]
        return W, S, V

    def resolves(
        self,
        xp: Namespace,
        S: Array,
        extent: tuple[Array, Array],
        spoilt: Array | None = None,
    ) -> Array:
        """Whether what counts is resolved well enough: one truth value for the whole batch.

        By :func:`.rules.promised_rtol`: a derivative that hinges on values from ``smallest``
        upwards is off by about ``eps (largest/smallest)^2``.

        Parameters
        ----------
        S : array (..., k)
            Singular values, in the precision of A.
        extent : (largest, smallest)
            Of :meth:`.operator.Operator.extent`, ``(..., 1)`` each.
        spoilt : array (...) of bool, optional
            Matrices with a non-finite entry, whose factors are NaN by any driver. Without it they
            count as not resolved.
        """
        largest, smallest = extent
        info = xp.finfo(S.dtype)
        eps = 2.0**-52 if self.double else float(info.eps)
        ratio = (promised_rtol(float(info.eps)) / eps) ** 0.5
        if self.double:
            ratio = min(ratio, 1.0 / float(info.eps) ** 0.5)  # products are in single
        # Squares of what is far below this underflow.
        floor = float(info.smallest_normal) ** 0.5 / float(info.eps)
        enough = (largest <= smallest * ratio) & (smallest >= floor)
        if spoilt is not None:
            enough = enough | xp.expand_dims(spoilt, axis=-1)
        return xp.all(enough, axis=tuple(range(len(enough.shape))))


def _orthonormalized(xp: Namespace, V: Array, like_values: Array) -> Array:
    """The nearest unitary matrix to one that nearly is."""
    product = xp.matmul(adjoint(xp, V), V)
    identity = diagonal_matrix(xp, xp.ones_like(like_values), V.dtype)
    return xp.matmul(V, 1.5 * identity - 0.5 * product)


def _column_squares(xp: Namespace, W: Array) -> Array:
    """Squared norms of the columns."""
    parts = (xp.real(W), xp.imag(W)) if is_complex(xp, W) else (W,)
    squares = [xp.sum(part * part, axis=-2) for part in parts]
    return squares[0] if len(squares) == 1 else squares[0] + squares[1]


def _double(xp: Namespace, A: Array) -> Array:
    return xp.astype(A, xp.complex128 if is_complex(xp, A) else xp.float64)


def like(xp: Namespace, x: Array, A: Array) -> Array:
    """x in the dtype of A."""
    return x if x.dtype == A.dtype else xp.astype(x, A.dtype)


def real_like(xp: Namespace, S: Array, A: Array) -> Array:
    """Real S in the precision of A."""
    return like(xp, S, xp.real(A) if is_complex(xp, A) else A)
