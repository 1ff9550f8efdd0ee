r"""The largest singular triples of a matrix from its products with thin blocks.

Block Golub-Kahan iteration, restarted with the best block found (Golub, Luk & Overton, ACM TOMS 7,
1981; Musco & Musco, NeurIPS 2015). With V on the shorter side, a cycle spans

    V, (A^H A) V, ..., (A^H A)^q V

by an orthonormal basis, decomposes A on it (Rayleigh-Ritz), and goes on with the leading block.
``A V = U S`` holds to rounding then, and what is left is the residual ``|A^H u - s v|``. The block
has more columns than are asked for: it converges by the gap between the last value asked for and
the first that the block leaves out, and has multiplets whole that are no larger than itself.
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
"""Ceiling of the cycles."""

TRIED = 15
"""The same where a whole decomposition comes next, which costs about as much as these."""

BLOCKS = 4
"""Blocks of the basis of one cycle."""

LEAST_SIDE, SHARE = 512, 64
"""Shorter side, and multiple of the rank, from which it is faster than a whole decomposition."""

LEAST_MORE = 8
"""Columns of a block beyond those asked for, at least; and half as many as are."""

_SLACK = 16  # by which rounding may keep a residual above the tolerance

PROBES = 16
"""Products by which the norm of what is dropped is estimated, where the entries are not known."""


def krylov_rtol(eps: float) -> float:
    """Residual of a singular triple, relative to the largest value."""
    return 8 * eps


class Triples(NamedTuple):
    """Factors with zeros in the place of what is not kept, and measures of them.

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
    """From a matrix to its `Triples`, as a function ``(xp, like, *arrays)``.

    ``like (..., 1, 1)`` has the dtype, the device and the batch shape of the matrix.

    Parameters
    ----------
    linear : Linear
    m, n : int
    selection : Selection
        Its `rank` is a number.
    tried : bool
        Whether it may give up early and without a word, because another driver comes next.
    seed : int
        Which block it begins with.
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
        """Arrays of the shapes and dtypes of the result."""
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

        # From the shorter side to the longer, and back.
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
        """Whether it has converged: one truth value for the whole batch."""
        close = found.residual <= _SLACK * krylov_rtol(float(xp.finfo(found.S.dtype).eps))
        return xp.all(close, axis=tuple(range(len(close.shape))))

    def of_whole(self, xp: Namespace, A: Array, situation: Situation) -> Triples:
        """The same triples of an array, by its whole decomposition."""
        U, S, Vh = situation.native("factors", exact=True).compute(xp, A, unit=True)
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
            left, S, right = native().compute(xp, R, unit=True)
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
            # Near its end rounding may keep it from falling any further.
            stays = (residual <= _SLACK * rtol) & (residual > 0.5 * before)
            far = (residual > rtol) & ~stays
            return ~xp.all(~far, axis=tuple(range(len(far.shape))))

        def cycle(*state: Array) -> tuple[Array, ...]:
            _, _, V, W, residual, _ = state
            basis, image = V, there(V)  # anew: rounding would add up from cycle to cycle
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
        """The Frobenius norm of what U, S and V leave out: by probes where A is no array."""
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
    """``krylov(xp, like, *arrays)``, which compilers and transforms do not look into."""
    return Triples(*as_one(xp, krylov, like, *arrays))


def suits_krylov(situation: Situation, rank: int) -> bool:
    """Whether it is worth a try: one large matrix, a small rank, and a look at the residual."""
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
    """An array with one entry along an axis, repeated; the standard has `ones` of no device."""
    while x.shape[axis] < length:
        x = xp.concat([x, x], axis=axis)
    return x[..., :length, :] if axis == -2 else x[..., :length]


def _start(xp: Namespace, like: Array, rows: int, columns: int, seed: int = 0) -> Array:
    """Numbers in [-1, 1] without a pattern, always the same ones for a seed."""
    real = xp.real(like) if is_complex(xp, like) else like
    row = _tiled(xp, xp.ones_like(real), rows, -2)
    number = xp.expand_dims(counted(xp, row[..., 0]), axis=-1)
    column = counted(xp, _tiled(xp, row[..., :1, :], columns, -1))
    shift = 0.5698402910 * seed % 1.0
    x = _fraction(xp, 0.6180339887 * number + _fraction(xp, 0.7548776662 * column) + shift)
    for _ in range(3):  # each turn tears neighbours apart
        x = _fraction(xp, 973.1274 * (x + 0.1183) * (x + 0.5127))
    x = 2.0 * x - 1.0
    return x if x.dtype == like.dtype else xp.astype(x, like.dtype)


def _fraction(xp: Namespace, x: Array) -> Array:
    return x - xp.astype(xp.astype(x, xp.int32), x.dtype)
