r"""One-sided Jacobi rotations in array operations: for small matrices, and where there is no SVD.

Pairs of columns of ``[A; I]`` are rotated until the upper parts are orthogonal. The result is
``[W; V]`` with ``W = A V``, and the norms of W's columns are the singular values. For columns p, q
the rotation

    g = 2 p^H q     z = |q|^2 - |p|^2     t = g / (z + sign(z) sqrt(z^2 + |g|^2))
    c = 1/sqrt(1 + |t|^2)     p <- c (p - conj(t) q)     q <- c (q + t p)

makes the new p and q orthogonal by the smaller of the two angles (Hestenes 1958; Demmel & Veselic,
SIAM J. Matrix Anal. Appl. 13, 1992, for the accuracy of small values). The number of sweeps is
fixed, so no value has to be read.

The batch axes come last, so that one operation runs over all matrices. A round-robin tournament
pairs all columns in ``n - 1`` rounds. The code of every round is the same, because the columns move
by one place between rounds (Brent & Luk 1985). For up to `UNROLLED` columns the pairs are written
out instead.

For a matrix with many more rows than columns, R is rotated instead of the matrix. Householder
reflections compute R, also in array operations.

A Hermitian matrix H is replaced by ``r I - H`` with ``r >= |H|``, which is positive semidefinite
and has the same eigenvectors. The rotations diagonalise its square, and so the matrix itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2
from typing import ClassVar

from ..arrays import (
    cast_like,
    counted,
    diagonal_matrix,
    is_complex,
    order_sign,
    real_like,
    repeated,
    scale,
    scale_columns,
)
from ..namespace import Array, Namespace
from .driver import Driver, Long, in_double, safe_sizes

__all__ = ["Jacobi", "sweeps"]

UNROLLED = 4
"""Largest number of columns for which the pairs are written out."""


def sweeps(n: int, *, single: bool) -> int:
    """Number of sweeps after which no matrix of the hostile test family needs more rotations."""
    needed = {1: 0, 2: 1, 3: 4, 4: 5}.get(n, 4 + ceil(log2(max(n, 2))))
    if n == 1 or single:
        return needed
    return needed + (1 if n <= UNROLLED else 2)


REDUCED = 4
"""Ratio of the sides from which R is rotated instead of the matrix."""


@dataclass(frozen=True)
class Jacobi(Driver):
    """Rotations until all columns are orthogonal; accurate for every matrix."""

    name: ClassVar[str] = "jacobi"

    def of_tall(
        self, xp: Namespace, A: Array, *, long: Long, finite: bool
    ) -> tuple[Array | None, Array, Array]:
        """See `Driver.of_tall`."""
        sizes = safe_sizes(xp, A)
        X = scale(xp, 1.0 / sizes, A)
        m, n = A.shape[-2:]
        triangle = _Triangle(xp, X) if isinstance(m, int) and m >= REDUCED * n else None
        W, S, V = _orthogonalized(xp, X if triangle is None else triangle.R)
        S, values = S * sizes[..., 0], S
        if long == "none":
            return None, S, V
        if long == "unit":
            U = _unit_columns(xp, W, values)
            return U if triangle is None else triangle.back(U), S, V
        return scale(xp, sizes, W if triangle is None else xp.matmul(X, V)), S, V

    def eigh(self, xp: Namespace, H: Array, *, finite: bool = False) -> tuple[Array, Array]:
        """See `Driver.eigh`."""
        A = in_double(xp, H) if self.double else H
        sizes = safe_sizes(xp, A)
        A = scale(xp, 1.0 / sizes, A)
        # No eigenvalue is larger than the largest row sum of absolute values.
        bound = xp.max(xp.sum(xp.abs(A), axis=-1, keepdims=True), axis=(-2, -1), keepdims=True)
        identity = diagonal_matrix(xp, xp.ones_like(xp.abs(A)[..., 0]), A.dtype)
        _, S, Q = _orthogonalized(xp, scale(xp, bound, identity) - A)
        w = (bound[..., 0] - S) * sizes[..., 0]
        return real_like(xp, w, H), cast_like(xp, Q, H)


def _orthogonalized(xp: Namespace, A: Array) -> tuple[Array, Array, Array]:
    """``(W, S, V)``, S descending, of matrices with largest entry about 1; NaN gives NaN."""
    m, n = A.shape[-2:]
    single = float(xp.finfo(A.dtype).eps) > 1e-10
    batch = tuple(range(len(A.shape) - 2))
    last = (len(batch) + 1, len(batch), *batch)  # batch last; the rows of X are the columns of A
    X = xp.permute_dims(A, last)
    count = sweeps(n, single=single)
    if n <= UNROLLED:
        S, X = _written_out(xp, X, count)
    else:
        identity = diagonal_matrix(xp, xp.ones_like(xp.abs(A)[..., 0, :]), A.dtype)
        X = _in_rounds(xp, xp.concat([X, xp.permute_dims(identity, last)], axis=1), m, count)
        S = xp.sqrt(_squares(xp, X[:, :m], axis=1))
    X = xp.permute_dims(X, (*range(2, len(batch) + 2), 1, 0))
    S = xp.permute_dims(S, (*range(1, len(batch) + 1), 0))
    if n > UNROLLED:
        X, S = _sorted(xp, X, S)
    nan = float("nan")  # not an array, which NaN debuggers would report
    usable = xp.isfinite(xp.sum(S, axis=-1, keepdims=True))
    S = xp.where(usable, S, nan)
    X = xp.where(xp.expand_dims(usable, axis=-1), X, nan)
    return X[..., :m, :], S, X[..., m:, :]


def _squares(xp: Namespace, X: Array, axis: int) -> Array:
    """Sum of the squared absolute values along an axis."""
    return xp.sum(_squared(xp, X), axis=axis)


def _squared(xp: Namespace, X: Array) -> Array:
    """Squared absolute values."""
    if not is_complex(xp, X):
        return X * X
    re, im = xp.real(X), xp.imag(X)
    return re * re + im * im


def _rotated(
    xp: Namespace, P: Array, Q: Array, m: int, axis: int, *, ordered: bool = False
) -> tuple[Array, Array]:
    """Rotate pairs of columns so that their first m entries, along `axis`, are orthogonal.

    With `ordered` the longer column becomes the first of its pair.
    """
    p, q = (P[:m], Q[:m]) if axis == 0 else (P[:, :m], Q[:, :m])
    g = xp.sum((xp.conj(p) if is_complex(xp, P) else p) * q, axis=axis)
    g = g + g
    size = xp.abs(g)
    difference = _squares(xp, q, axis) - _squares(xp, p, axis)
    # Not zero, so that two columns of zeros are not rotated.
    root = xp.maximum(xp.hypot(difference, size), float(xp.finfo(P.dtype).smallest_normal))
    along = difference + xp.copysign(root, difference)
    # c and s come from t alone, so that rounding errors of t leave the rotation unitary.
    wide = is_complex(xp, g)
    t = scale(xp, 1.0 / along, g) if wide else g / along
    c = 1.0 / xp.sqrt(1.0 + _squared(xp, t))
    s = scale(xp, c, t)
    c = cast_like(xp, c, s)
    r = xp.conj(s) if wide else s
    if ordered:
        swap = difference > 0
        c, r, s, d = (xp.where(swap, *two) for two in ((s, c), (-c, r), (c, s), (-r, c)))
    else:
        d = c
    c, r, s, d = (xp.expand_dims(x, axis=axis) for x in (c, r, s, d))
    return c * P - r * Q, s * P + d * Q


def _written_out(xp: Namespace, A: Array, count: int) -> tuple[Array, Array]:
    """All sweeps over few columns ``A (n, m, ...)``: descending norms, and columns of [W; V]."""
    n, m = A.shape[:2]
    zero = xp.zeros_like(A[0, :1])
    one = xp.ones_like(zero)
    pairs = [(p, q) for p in range(n) for q in range(p + 1, n)]

    def sweep(columns: tuple[Array, ...], ordered: bool = False) -> tuple[Array, ...]:
        out = list(columns)
        for p, q in pairs:
            out[p], out[q] = _rotated(xp, out[p], out[q], m, axis=0, ordered=ordered)
        return tuple(out)

    columns = tuple(
        xp.concat([A[i], *(one if i == j else zero for j in range(n))], axis=0) for i in range(n)
    )
    if count:
        columns = sweep(repeated(xp, count - 1, sweep, columns), ordered=True)
    values = [xp.sqrt(_squares(xp, column[:m], axis=0)) for column in columns]
    # The columns are in order except for rounding errors. The values have to be in order.
    for p, q in pairs:
        values[p], values[q] = _ordered(xp, values[p], values[q])
    S, X = (
        xp.concat([xp.expand_dims(x, axis=0) for x in arrays], axis=0)
        for arrays in (values, columns)
    )
    return S, X


def _ordered(xp: Namespace, a: Array, b: Array) -> tuple[Array, Array]:
    return xp.maximum(a, b), -xp.maximum(-a, -b)


def _in_rounds(xp: Namespace, X: Array, m: int, count: int) -> Array:
    """All sweeps over many columns; each round pairs one half with the other."""
    n = X.shape[0]
    if n % 2:
        X = xp.concat([X, xp.zeros_like(X[:1])], axis=0)
    half = X.shape[0] // 2

    def one_round(state: tuple[Array, ...]) -> tuple[Array, ...]:
        P, Q = _rotated(xp, state[0], state[1], m, axis=1)
        # The first column stays, the others move on in a circle.
        return (
            xp.concat([P[:1], Q[:1], P[1:-1]], axis=0),
            xp.concat([Q[1:], P[-1:]], axis=0),
        )

    P, Q = repeated(xp, count * (2 * half - 1), one_round, (X[:half], X[half:]))
    return xp.concat([P, Q], axis=0)[:n]  # after a whole sweep each is in its first place again


def _sorted(xp: Namespace, X: Array, S: Array) -> tuple[Array, Array]:
    """Sort the columns of X by descending S, with a permutation matrix."""
    mine, other = xp.expand_dims(S, axis=-1), xp.expand_dims(S, axis=-2)
    earlier = order_sign(xp, S) > 0
    before = (other > mine) | ((other == mine) & earlier)
    place = xp.sum(xp.astype(before, S.dtype), axis=-1, keepdims=True)
    index = xp.expand_dims(counted(xp, S), axis=-2)
    chosen = xp.astype(place + 1.0 == index, S.dtype)
    moved = xp.matmul(xp.expand_dims(S, axis=-2), chosen)
    return xp.matmul(X, cast_like(xp, chosen, X)), moved[..., 0, :]


def _unit_columns(xp: Namespace, W: Array, S: Array) -> Array:
    """Orthonormal columns: those of W divided by their norms, and others where values are zero.

    They come from the Householder reflections that map the columns of W, the largest first, to unit
    vectors. So they are orthogonal even where rounding left those of W less so.
    """
    usable = ~(float(xp.finfo(S.dtype).smallest_normal) ** 0.5 >= S)
    U = scale_columns(xp, W, xp.where(usable, 1.0 / xp.where(usable, S, 1.0), 0.0))
    triangle = _Triangle(xp, U)
    phases = [xp.expand_dims(phase, axis=0) for phase in triangle.phases]
    # The diagonal of R, which here is diagonal and unitary.
    phase = xp.permute_dims(xp.concat(phases, axis=0), (*range(1, len(W.shape) - 1), 0))
    identity = diagonal_matrix(xp, xp.ones_like(S), W.dtype)
    return triangle.back(identity * xp.expand_dims(phase, axis=-2))


class _Triangle:
    """``A = Q R`` of matrices ``(..., m, n)``: R, and Q as a product of reflections."""

    def __init__(self, xp: Namespace, A: Array) -> None:
        self.xp, self.rows = xp, A.shape[-2]
        n = A.shape[-1]
        batch = tuple(range(len(A.shape) - 2))
        # The batch axes come last, and the first axis counts columns.
        self.there = (len(batch) + 1, len(batch), *batch)
        self.here = (*range(2, len(batch) + 2), 1, 0)
        X = xp.permute_dims(A, self.there)
        self.mirrors, self.phases = [], []
        for j in range(n):
            v, weight, phase = _mirror(xp, X[j, j:])
            X = _reflected(xp, X, j, v, weight)
            self.mirrors.append((v, weight))
            self.phases.append(phase)
        self.R = xp.permute_dims(X[:, :n], self.here)

    def back(self, B: Array) -> Array:
        """``Q B`` of a square B."""
        xp = self.xp
        X = xp.permute_dims(B, self.there)
        if self.rows > B.shape[-2]:
            below = xp.zeros_like(self.mirrors[0][0])[B.shape[-2] :]
            zeros = xp.expand_dims(below, axis=0) + xp.zeros_like(X[:, :1])
            X = xp.concat([X, zeros], axis=1)
        for j in reversed(range(len(self.mirrors))):
            X = _reflected(xp, X, j, *self.mirrors[j])
        return xp.permute_dims(X, self.here)


def _mirror(xp: Namespace, x: Array) -> tuple[Array, Array, Array]:
    """``v``, ``2/|v|^2`` and the phase p of the reflection that maps x to ``p |x| e_1``.

    For x = 0 it is the identity, and p = 1.
    """
    size = xp.sqrt(_squares(xp, x, axis=0))
    phase = _phase(xp, x[0])
    v = xp.concat([xp.expand_dims(x[0] + scale(xp, size, phase), axis=0), x[1:]], axis=0)
    squares = _squares(xp, v, axis=0)
    info = xp.finfo(x.dtype)  # entries are about 1, so smaller ones are rounding errors
    some = squares > float(info.smallest_normal) / float(info.eps)
    weight = xp.where(some, 2.0 / xp.where(some, squares, 1.0), 0.0)
    return v, weight, xp.where(size == 0, xp.ones_like(phase), -phase)


def _phase(xp: Namespace, x: Array) -> Array:
    """``x/|x|``, and 1 for 0.

    A compiler may compute x anew for each use. If x is a small difference of larger numbers, two
    such results differ, and the quotient is far from 1 in size. So the quotient is divided by its
    own size, and for a real x only the sign is used.
    """
    ones = xp.ones_like(x)
    if not is_complex(xp, x):
        return xp.where(x < 0, -ones, ones)
    for _ in range(2):
        size = xp.abs(x)
        x = xp.where(size > 0, scale(xp, 1.0 / xp.where(size > 0, size, 1.0), x), ones)
    return x


def _reflected(xp: Namespace, X: Array, j: int, v: Array, weight: Array) -> Array:
    """Columns ``X (n, m, ...)`` after a reflection of their entries from number j on."""
    part = X[:, j:]
    conjugate = xp.conj(v) if is_complex(xp, v) else v
    along = scale(xp, weight, xp.sum(conjugate * part, axis=1))
    part = part - xp.expand_dims(along, axis=1) * v
    return part if j == 0 else xp.concat([X[:, :j], part], axis=1)
