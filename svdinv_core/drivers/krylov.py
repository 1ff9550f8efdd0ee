r"""The largest singular triples of a matrix from its products with thin blocks.

Block Golub-Kahan iteration, restarted with the best block found (Golub, Luk & Overton, ACM TOMS 7,
1981; Musco & Musco, NeurIPS 2015). With V on the shorter side, a cycle spans

    V, (A^H A) V, ..., (A^H A)^q V

by an orthonormal basis, decomposes A on it (Rayleigh-Ritz), and continues with the leading block.
Then ``A V = U S`` holds to rounding error, and the residual ``|A^H u - s v|`` measures the error.
The block has more columns than requested. Convergence depends on the gap between the last requested
value and the first outside the block, and a multiplet no larger than the block is found whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from ..arrays import (
    adjoint,
    counted,
    first,
    is_complex,
    reciprocal,
    scale,
    scale_columns,
    scale_rows,
)
from ..linear import Dense, Linear, as_one, until
from ..namespace import Array, Namespace
from ..selection import Selection
from .choice import Needs, Situation
from .driver import safe_sizes
from .native import native

__all__ = ["Krylov", "Triples", "leading", "suits_krylov"]

CYCLES = 60
"""Largest number of cycles."""

TRIED = 15
"""Largest number of cycles if a whole decomposition comes next, which costs about as much."""

BLOCKS = 4
"""Number of blocks in the basis of one cycle."""

LEAST_SIDE, SHARE = 512, 64
"""It is faster than a whole decomposition if the shorter side is at least this, in numbers and as
a multiple of the rank."""

LEAST_MORE = 8
"""Smallest number of extra columns of a block; otherwise half as many as are requested."""

_SLACK = 16  # factor by which rounding may keep a residual above the tolerance

PROBES = 16
"""Number of products that estimate the norm of the dropped part if the entries are not known."""


def krylov_rtol(eps: float) -> float:
    """Tolerance for the residual of a singular triple, relative to the largest value."""
    return 8 * eps


class Triples(NamedTuple):
    """The kept factors, filled with zeros, and measures of them.

    ``U (..., m, r)``, ``S (..., r)``, ``Vh (..., r, n)``, and ``rank``, ``error``, ``gap`` and
    ``residual``, ``(...)`` each.
    """

    U: Array
    S: Array
    Vh: Array
    rank: Array
    error: Array
    gap: Array
    residual: Array


@dataclass(frozen=True)
class Krylov:
    """The function ``(xp, like, *arrays) -> Triples`` of a matrix.

    ``like (..., 1, 1)`` has the dtype, the device and the batch shape of the matrix.

    Parameters
    ----------
    linear : Linear
    m, n : int
    selection : Selection
        Its `rank` is not None.
    tried : bool
        Whether it may give up early and without a warning, because another driver comes next.
    seed : int
        Selects the starting block.
    """

    linear: Linear
    m: int
    n: int
    selection: Selection
    tried: bool = False
    seed: int = 0
    needs: ClassVar[Needs] = "factors"

    @property
    def r(self) -> int:
        """Number of triples."""
        return self.selection.most(min(self.m, self.n))

    def like(self, xp: Namespace, like: Array, *arrays: Array) -> Triples:
        """Arrays with the shapes and dtypes of the result."""
        zero = xp.zeros_like(like)
        U = _tiled(xp, _tiled(xp, zero, self.m, -2), self.r, -1)
        Vh = _tiled(xp, _tiled(xp, zero, self.n, -1), self.r, -2)
        S = xp.abs(Vh[..., 0])
        number = xp.sum(S, axis=-1)
        return Triples(U, S, Vh, xp.astype(number, xp.int32), number, number + 0.0, number + 0.0)

    def __call__(self, xp: Namespace, like: Array, *arrays: Array) -> Triples:
        if isinstance(self.linear, Dense):
            arrays = self.linear.settled(xp, arrays)
        wide = self.m < self.n

        def product(X: Array) -> Array:
            return self.linear.matmul(xp, arrays, X)

        def adjoint_product(Y: Array) -> Array:
            return self.linear.rmatmul(xp, arrays, Y)

        # `there` maps the shorter side to the longer one, `back` the longer to the shorter.
        there, back = (adjoint_product, product) if wide else (product, adjoint_product)
        U, S, V, _, residual = self._iterate(xp, like, there, back)
        r = self.r
        known = S[..., : r + 1]
        U, S, V = U[..., :r], S[..., :r], V[..., :r]
        left, right = (V, U) if wide else (U, V)
        rest = self._rest(xp, like, arrays, left, S, right)
        beyond = _frobenius_less(xp, rest, known[..., r:])
        kept = self.selection.of(xp, known, beyond)
        g = kept.weights[..., :r]
        return Triples(
            scale_columns(xp, left, g),
            S * g,
            adjoint(xp, scale_columns(xp, right, g)),
            kept.rank,
            kept.error,
            kept.gap,
            residual,
        )

    def enough(self, xp: Namespace, found: Triples) -> Array:
        """True if it has converged for every matrix of the batch."""
        close = found.residual <= _SLACK * krylov_rtol(float(xp.finfo(found.S.dtype).eps))
        return xp.all(close, axis=tuple(range(len(close.shape))))

    def of_whole(self, xp: Namespace, A: Array, situation: Situation) -> Triples:
        """The triples of an array by a whole decomposition."""
        U, S, Vh = situation.native("factors", exact=True).compute(xp, A, long="unit")
        kept, r = self.selection.of(xp, S), self.r
        g = kept.weights[..., :r]
        return Triples(
            scale_columns(xp, U[..., :r], g),
            S[..., :r] * g,
            scale_rows(xp, g, Vh[..., :r, :]),
            kept.rank,
            kept.error,
            kept.gap,
            xp.zeros_like(kept.gap),
        )

    def _iterate(
        self,
        xp: Namespace,
        like: Array,
        there: Callable[[Array], Array],
        back: Callable[[Array], Array],
    ) -> tuple[Array, ...]:
        k, r = min(self.m, self.n), max(self.r, 1)
        b = min(r + max(LEAST_MORE, r // 2), k)
        if 2 * b > k:
            b = k  # the basis is the whole space
        count = min(BLOCKS, k // b)
        eps = float(xp.finfo(like.dtype).eps)
        rtol = krylov_rtol(eps)

        def ritz(basis: Array, image: Array) -> tuple[Array, ...]:
            Q, R = xp.linalg.qr(image, mode="reduced")
            left, S, right = native().compute(xp, R, long="unit")
            U = xp.matmul(Q, left[..., :b])
            V = xp.matmul(basis, adjoint(xp, right[..., :b, :]))
            S = S[..., :b]
            W = back(U)
            left_over = xp.abs(W - scale_columns(xp, V, S))[..., :r]
            inverse = reciprocal(xp, first(S), first(S) != 0)
            left_over = scale(xp, xp.expand_dims(inverse, axis=-1), left_over)
            worst = xp.max(xp.sum(left_over * left_over, axis=-2), axis=-1, keepdims=False)
            return U, S, V, W, xp.sqrt(worst)

        def going(*state: Array) -> Array:
            residual, before = state[-2:]
            # Near convergence rounding errors may keep the residual from falling further.
            stays = (residual <= _SLACK * rtol) & (residual > 0.5 * before)
            far = (residual > rtol) & ~stays
            return ~xp.all(~far, axis=tuple(range(len(far.shape))))

        def cycle(*state: Array) -> tuple[Array, ...]:
            _, _, V, W, residual, _ = state
            basis, image = V, there(V)  # not updated: rounding errors would add up over cycles
            for i in range(count - 1):
                Q, _ = xp.linalg.qr(xp.concat([basis, W], axis=-1), mode="reduced")
                new = Q[..., (i + 1) * b :]
                product = there(new)
                basis = xp.concat([basis, new], axis=-1)
                image = xp.concat([image, product], axis=-1)
                if i < count - 2:
                    W = back(scale(xp, 1.0 / safe_sizes(xp, product), product))
            return (*ritz(basis, image), residual)

        V, _ = xp.linalg.qr(_start(xp, like, k, b, self.seed), mode="reduced")
        state = ritz(V, there(V))
        state = (*state, state[-1] + 1.0)
        if count > 1:
            limit, what = (TRIED, None) if self.tried else (CYCLES, "krylov: the singular triples")
            state, _ = until(xp, limit, going, cycle, state, lambda *state: state[-2], what)
        return state[:-1]

    def _rest(
        self,
        xp: Namespace,
        like: Array,
        arrays: tuple[Array, ...],
        U: Array,
        S: Array,
        V: Array,
    ) -> Array:
        """The Frobenius norm of the dropped part; estimated by products if A is not an array."""
        if isinstance(self.linear, Dense):
            product = xp.matmul(scale_columns(xp, U, S), adjoint(xp, V))
            return _frobenius(xp, arrays[0] - product)
        probes = _start(xp, like, self.n, PROBES)
        probes = xp.sign(xp.real(probes)) if is_complex(xp, probes) else xp.sign(probes)
        probes = probes if probes.dtype == like.dtype else xp.astype(probes, like.dtype)
        seen = scale_columns(xp, U, S)
        out = self.linear.matmul(xp, arrays, probes)
        out = out - xp.matmul(seen, xp.matmul(adjoint(xp, V), probes))
        return _frobenius(xp, out) * PROBES**-0.5


def leading(xp: Namespace, krylov: Krylov, like: Array, *arrays: Array) -> Triples:
    """``krylov(xp, like, *arrays)``, hidden from compilers and transforms."""
    return Triples(*as_one(xp, krylov, like, *arrays))


def suits_krylov(situation: Situation, rank: int) -> bool:
    """Whether to try "krylov": one large matrix, a small rank, and a residual that can be read."""
    single = situation.batch == 1 and situation.has_known_sides and situation.looks != "never"
    return single and situation.k >= LEAST_SIDE and SHARE * rank <= situation.k and rank > 0


def _frobenius(xp: Namespace, x: Array) -> Array:
    size = xp.abs(x)
    largest = xp.max(size, axis=(-2, -1), keepdims=True)
    size = size * reciprocal(xp, largest, largest != 0)
    return largest[..., 0, 0] * xp.sqrt(xp.sum(size * size, axis=(-2, -1)))


def _frobenius_less(xp: Namespace, norm: Array, part: Array) -> Array:
    """``(norm^2 - part^2)^(1/2)``, for a part ``(..., 0 or 1)``."""
    part = xp.sum(part, axis=-1)
    return xp.sqrt(xp.maximum(norm - part, xp.zeros_like(norm))) * xp.sqrt(norm + part)


def _tiled(xp: Namespace, x: Array, length: int, axis: int) -> Array:
    """Repeat an array of length 1 along an axis; `ones` would need to know the device."""
    while x.shape[axis] < length:
        x = xp.concat([x, x], axis=axis)
    return x[..., :length, :] if axis == -2 else x[..., :length]


def _start(xp: Namespace, like: Array, rows: int, columns: int, seed: int = 0) -> Array:
    """Numbers in [-1, 1] without a pattern, the same for the same seed."""
    real = xp.real(like) if is_complex(xp, like) else like
    row = _tiled(xp, xp.ones_like(real), rows, -2)
    number = xp.expand_dims(counted(xp, row[..., 0]), axis=-1)
    column = counted(xp, _tiled(xp, row[..., :1, :], columns, -1))
    shift = 0.5698402910 * seed % 1.0
    x = _fraction(xp, 0.6180339887 * number + _fraction(xp, 0.7548776662 * column) + shift)
    for _ in range(3):  # each step makes neighbours less similar
        x = _fraction(xp, 973.1274 * (x + 0.1183) * (x + 0.5127))
    x = 2.0 * x - 1.0
    return x if x.dtype == like.dtype else xp.astype(x, like.dtype)


def _fraction(xp: Namespace, x: Array) -> Array:
    return x - xp.astype(xp.astype(x, xp.int32), x.dtype)
