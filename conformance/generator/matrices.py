"""Matrices with known singular values, every entry exact in binary floating point.

The singular vectors are products of Householder reflections ``I - 2 v v^H/(v^H v)`` whose ``v`` has
small (Gaussian) integer entries and a squared norm that is a power of two. Such a reflection has
dyadic entries, so ``U diag(S) V^H`` with dyadic ``S`` has them too: a tie is a tie to the last bit,
a gap is the gap it is called by, and nothing is rounded on the way into a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import mpmath as mp

SHAPES = {"square": (5, 5), "tall": (6, 5), "wide": (5, 6), "batch": (3, 6, 5)}
"""No side is shorter than 5: there the real orthogonal matrices with dyadic entries are few, signed
permutations among them."""
EMPTY = {"0x3": (0, 3), "3x0": (3, 0), "2x0x3": (2, 0, 3)}
GAPS = {"1e-15": 48, "1e-12": 39, "1e-10": 33, "1e-08": 26, "1e-06": 19, "1e-04": 13, "1e-02": 6}
"""Name of a relative gap, and ``p``: the second value of the pair is ``1 - 2^-p`` of the first,
which is half of the largest."""
SCALES = {"1e+30": 100, "1e-30": -100, "1e+150": 498, "1e-150": -498}
"""Name of a scale, and the power of two it is."""


def spectrum(name: str) -> list[mp.mpf]:
    """Five singular values in descending order."""
    one = mp.mpf(1)
    if name.startswith("pair-"):
        below = one - mp.ldexp(one, -GAPS[name.removeprefix("pair-")])
        return [2 * one, one, below, one / 2, one / 4]
    if name.startswith("scaled-"):
        return [mp.ldexp(s, SCALES[name.removeprefix("scaled-")]) for s in spectrum("tied")]
    table = {
        "distinct": [2, 1.5, 1.125, 0.75, 0.375],
        "tied": [2, 1, 1, 0.5, 0.25],
        "triple": [2, 1, 1, 1, 0.375],
        "all-equal": [1, 1, 1, 1, 1],
        "identity": [1, 1, 1, 1, 1],
        "two-pairs": [2, 1, 1, 0.5, 0.5],
        "rank-deficient": [2, 1, 0.875, 0.5, 0],
        "two-zeros": [2, 1, 0.5, 0, 0],
        "zero": [0, 0, 0, 0, 0],
    }
    return [mp.mpf(s) for s in table[name]]


def integers(rng: Random, count: int, is_complex: bool, largest: int) -> list[mp.mpc]:
    """Small integers, Gaussian ones for complex matrices."""
    draw = lambda: rng.randint(-largest, largest)  # noqa: E731
    return [mp.mpc(draw(), draw() if is_complex else 0) for _ in range(count)]


def reflections(rng: Random, size: int, is_complex: bool, count: int) -> list[mp.matrix]:
    """Columns ``v`` with a power of two for a squared norm, no two in a row orthogonal."""
    found: list[mp.matrix] = []
    while len(found) < count:
        v = mp.matrix(integers(rng, size, is_complex, 2))
        norm = int(mp.re((v.H * v)[0]))
        overlap = abs((found[-1].H * v)[0]) if found else mp.mpf(1)
        if norm in (4, 8) and sum(x != 0 for x in v) >= 4 and 0 < overlap < norm:
            found.append(v)
    return found


def orthonormal(rng: Random, size: int, is_complex: bool, count: int) -> mp.matrix:
    """Product of ``count`` reflections."""
    q = mp.eye(size)
    for v in reflections(rng, size, is_complex, count):
        q = q * (mp.eye(size) - 2 * v * v.H / (v.H * v)[0])
    return q


def dyadic(rng: Random, m: int, n: int, is_complex: bool, bits: int = 3) -> mp.matrix:
    """A direction or a cotangent: multiples of ``2^-bits`` up to 2."""
    entries = integers(rng, m * n, is_complex, 2 ** (bits + 1))
    return mp.matrix([[entries[i * n + j] / 2**bits for j in range(n)] for i in range(m)])


def with_values(
    rng: Random, m: int, n: int, values: list[mp.mpf], is_complex: bool, count: int
) -> mp.matrix:
    """``U diag(values) V^H``, ``(m, n)``."""
    u = orthonormal(rng, m, is_complex, count)
    v = orthonormal(rng, n, is_complex, count)
    middle = mp.zeros(m, n)
    for i, s in enumerate(values):
        middle[i, i] = s
    return u * middle * v.H


def hermitian_with_values(
    rng: Random, values: list[mp.mpf], is_complex: bool, count: int
) -> mp.matrix:
    """``Q diag(values) Q^H``."""
    q = orthonormal(rng, len(values), is_complex, count)
    return q * mp.diag(values) * q.H


@dataclass(frozen=True)
class Input:
    """The matrices of a case: one, or a batch, each with its chosen values."""

    batch: tuple[int, ...]
    shape: tuple[int, int]
    matrices: list[mp.matrix]
    values: list[list[mp.mpf]]


BATCH = ("distinct", "tied", "pair-1e-06")


def make(shape: str, name: str, is_complex: bool, hermitian: bool = False) -> Input:
    """The input of a shape, a spectrum and a field."""
    if shape == "empty":
        *batch, m, n = EMPTY[name]
        return Input(tuple(batch), (m, n), [], [])
    *batch, m, n = SHAPES[shape]
    names = BATCH if batch else (name,)
    matrices, values = [], []
    for each in names:
        rng = Random(f"{shape} {each} {is_complex} {hermitian}")
        # a gap below single precision's reach leaves bits for one reflection only
        count = 1 if each.startswith("pair-") else 0 if each == "identity" else 3
        s = spectrum(each)
        values.append(s)
        if hermitian:
            matrices.append(hermitian_with_values(rng, s, is_complex, count))
        else:
            matrices.append(with_values(rng, m, n, s, is_complex, count))
    return Input(tuple(batch), (m, n), matrices, values)
