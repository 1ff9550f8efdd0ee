"""Random matrices with chosen singular values: the family over which accuracy is promised.

A cell is a size, a spectrum, a scale and a field (real or complex). It has `count` matrices
``A = U diag(S) Vh`` with Haar factors, and for each a threshold. The distance of a threshold from
every singular value is at least 2 % of the largest one. Batched tests take all cells of a size and
a field at once.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest

GAPS = (0.0, 1e-16, 1e-12, 1e-8, 1e-6, 1e-4, 1e-2)
SPECTRA = (
    "distinct",
    *(f"pair {gap:g}" for gap in GAPS),
    "triple",
    "all equal",
    "two zeros",
    "zero",
)
SIZES = ((8, 8), (12, 7), (7, 12), (3, 5, 4, 4))
SOME_SIZES = (pytest.param(SIZES[0], marks=pytest.mark.whole_family), *SIZES[1:])
KINDS = tuple(  # kinds of numbers: each precision and each field once
    pytest.param(
        precision,
        is_complex,
        id=f"{precision}-{'complex' if is_complex else 'real'}",
        marks=() if is_complex == (precision == "float64") else pytest.mark.whole_family,
    )
    for precision in ("float32", "float64")
    for is_complex in (False, True)
)
SCALES = (1e-12, 1.0, 1e12)
MARGIN = 2e-2  # distance of the threshold from every singular value, relative to the largest


@dataclass(frozen=True)
class Cell:
    size: tuple[int, ...]
    spectrum: str
    scale: float
    complex: bool

    def __str__(self) -> str:
        field = "complex" if self.complex else "real"
        return f"{self.size} {self.spectrum} {self.scale:g} {field}"

    def rng(self) -> np.random.Generator:
        return np.random.default_rng(zlib.crc32(str(self).encode()))


def cells(sizes=SIZES, spectra=SPECTRA, scales=SCALES, fields=(False, True)) -> list[Cell]:
    return [Cell(*c) for c in product(sizes, spectra, scales, fields)]


def normal(rng: np.random.Generator, shape: tuple[int, ...], is_complex: bool) -> np.ndarray:
    x = rng.standard_normal(shape)
    return x + 1j * rng.standard_normal(shape) if is_complex else x


def haar(rng, batch: tuple[int, ...], m: int, k: int, is_complex: bool) -> np.ndarray:
    """Matrices with orthonormal columns, ``(*batch, m, k)``, uniformly distributed."""
    Q, R = np.linalg.qr(normal(rng, (*batch, m, k), is_complex))
    d = np.diagonal(R, axis1=-2, axis2=-1)
    return Q * (d / np.abs(d))[..., None, :]


def spectrum(rng, name: str, batch: tuple[int, ...], k: int) -> np.ndarray:
    """Singular values in descending order, the largest 1 (or 0), ``(*batch, k)``."""
    steps = rng.uniform(0.5, 1.5, (*batch, k))  # no two closer than about 1/(3k)
    S = np.cumsum(steps, axis=-1)[..., ::-1]
    S = S / S[..., :1]
    if name == "zero":
        return np.zeros_like(S)
    if name == "all equal":
        return np.ones_like(S)
    if name == "two zeros":
        S = S.copy()
        S[..., -2:] = 0
        return S
    if name.startswith("pair") or name == "triple":
        gap = float(name.split()[1]) if name.startswith("pair") else 0.0
        width = 1 if name.startswith("pair") else 2
        at = rng.integers(0, k - width, (*batch, 1))
        first = np.take_along_axis(S, at, axis=-1)
        S = S.copy()
        for step in range(1, width + 1):
            np.put_along_axis(S, at + step, first * (1 - gap), axis=-1)
    return S


def thresholds(rng, S: np.ndarray) -> np.ndarray:
    """One threshold in (0.05, 0.95) for each spectrum, at least MARGIN from every value."""
    grid = np.linspace(0.05, 0.95, 181)
    free = (np.abs(S[..., None, :] - grid[:, None]) >= 1.2 * MARGIN).all(axis=-1)
    assert free.any(axis=-1).all()
    draw = rng.uniform(size=free.shape) * free
    return grid[draw.argmax(axis=-1)]


def draw(cell: Cell, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Matrices ``(count, *size)`` of a cell in double precision, and their thresholds."""
    rng = cell.rng()
    *lead, m, n = cell.size
    batch = (count, *lead)
    k = min(m, n)
    S = spectrum(rng, cell.spectrum, batch, k)
    U, V = haar(rng, batch, m, k, cell.complex), haar(rng, batch, n, k, cell.complex)
    A = (U * S[..., None, :]) @ np.conj(np.swapaxes(V, -1, -2))
    if cell.spectrum == "all equal":
        A[0] = np.eye(m, n)
    return A * cell.scale, thresholds(rng, S) * cell.scale


def stack(several: list[Cell], count: int) -> tuple[np.ndarray, np.ndarray]:
    """As `draw`, for several cells of one size and field, ``(cells, count, *size)``."""
    drawn = [draw(cell, count) for cell in several]
    return np.stack([x for x, _ in drawn]), np.stack([tau for _, tau in drawn])


def scales(several: list[Cell], ndim: int) -> np.ndarray:
    """The scale of each cell, shaped to multiply an array with `ndim` axes."""
    return np.reshape([cell.scale for cell in several], (-1, *(1,) * (ndim - 1)))
