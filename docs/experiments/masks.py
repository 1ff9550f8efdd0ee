"""Which pixels or frequencies are sampled. Masks are boolean, the zero frequency in the middle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["MRI_MASKS", "Vista", "mri_mask", "pixels", "radial", "variable_density", "vista"]

Mask = NDArray[np.bool_]
Array = NDArray[np.float64]


def pixels(rng: np.random.Generator, shape: tuple[int, ...], ratio: float) -> Mask:
    """Every pixel of every channel on its own, with probability `ratio`."""
    return np.asarray(rng.random(shape) < ratio)


def radial(rng: np.random.Generator, shape: tuple[int, int, int], lines: int) -> Mask:
    """Pseudo-radial sampling: spokes through the centre, rounded down onto the grid.

    Parameters
    ----------
    shape
        ``(T, H, W)``; every frame turns its spokes by an angle of its own.
    lines
        Spokes a frame, at equal angles over half a turn. 16 of 128 by 128 are about 11.5 % of
        the grid, 30 about 20.7 %.
    """
    _, height, width = shape
    mask = np.zeros(shape, dtype=bool)
    for frame in mask:
        angles = np.pi * np.arange(lines) / lines + rng.uniform(0, np.pi / lines)
        along = np.arange(-0.5, 0.5, 1 / max(height, width))
        rows = height / 2 + height * np.outer(np.sin(angles), along)
        columns = width / 2 + width * np.outer(np.cos(angles), along)
        frame[np.floor(rows).astype(int) % height, np.floor(columns).astype(int) % width] = True
    return mask


def variable_density(
    rng: np.random.Generator, shape: tuple[int, int, int], acceleration: float, power: float = 9
) -> Mask:
    """Single points, dense in the middle: the largest of ``q U(0, 1)``, frame by frame.

    ``q = min(1, (1 - r)^power + c)`` with r the distance from the centre over its largest value,
    and c such that the sum of q is the number of points, ``H W / acceleration``.
    """
    frames, height, width = shape
    y, x = np.ogrid[:height, :width]
    distance = np.hypot((y - height // 2) / (height / 2), (x - width // 2) / (width / 2))
    count = round(height * width / acceleration)
    fall = (1 - distance / distance.max()) ** power
    low, high = -1.0, 1.0
    for _ in range(60):
        c = (low + high) / 2
        if np.clip(fall + c, 0, 1).sum() > count:
            high = c
        else:
            low = c
    q = np.clip(fall + low, 0, 1)
    mask = np.zeros((frames, height * width), dtype=bool)
    for frame in mask:
        frame[np.argsort(-q.ravel() * rng.random(height * width))[:count]] = True
    return mask.reshape(shape)


@dataclass(frozen=True)
class Vista:
    """Lines of k-space that repel each other in k and t (VISTA, Ahmad et al. 2015).

    Parameters
    ----------
    acceleration
        R: every frame has ``round(lines / R)`` lines.
    alpha
        How much denser the middle is, between 0 (uniform) and 1.
    exponent
        Of the distance in the energy.
    iterations
        Steps down the gradient of the energy, before the lines snap onto the grid.
    """

    acceleration: float
    alpha: float = 0.28
    exponent: float = 1.4
    iterations: int = 120

    def _weight(self, k: Array, lines: int) -> tuple[Array, Array]:
        """``s(k) = 1 - alpha exp(-k^2 / 2 sigma^2)`` and its derivative; k from the centre."""
        sigma = lines / 5
        bell = self.alpha * np.exp(-(k**2) / (2 * sigma**2))
        return 1 - bell, bell * k / sigma**2

    def energy(
        self, k: Array, t: Array, shape: tuple[int, int], width: float = 0.0
    ) -> tuple[float, Array]:
        """``1/2 sum_ij s_i s_j / d_ij^exponent`` and its derivative in k.

        Parameters
        ----------
        k, t
            Line (from the centre) and frame of every sample, ``(N,)``.
        shape
            ``(T, lines)``; distances are periodic in both.
        width
            Added to the distance, so that two samples in one place have a finite energy.

        Returns
        -------
        energy, gradient
            A number and ``(N,)``.
        """
        frames, lines = shape
        in_time = max(self.acceleration / 10 + 0.25, 1.0)
        dk = k[:, None] - k[None, :]
        dk -= lines * np.round(dk / lines)
        dt = t[:, None] - t[None, :]
        dt = in_time * (dt - frames * np.round(dt / frames))
        squared = dk**2 + dt**2 + width**2
        np.fill_diagonal(squared, np.inf)
        s, slope = self._weight(k, lines)
        inverse = squared ** (-self.exponent / 2)
        field = inverse @ s
        push = -self.exponent * s * ((inverse / squared * dk) @ s)
        return float(s @ field / 2), slope * field + push

    def draw(self, rng: np.random.Generator, shape: tuple[int, int]) -> tuple[Array, Array]:
        """First positions, denser in the middle: k ``(N,)`` from the centre, and frames ``(N,)``.

        One in each of as many equal shares of the density as a frame has lines, so that no frame
        begins with a hole that steps along k cannot fill.
        """
        frames, lines = shape
        count = round(lines / self.acceleration)
        edges = np.arange(lines + 1) - lines / 2
        centre = (edges[1:] + edges[:-1]) / 2
        density = 0.1 + self.alpha / (1 - self.alpha) * np.exp(-(centre**2) / (lines / 5) ** 2)
        below = np.concatenate([[0.0], np.cumsum(density)]) / density.sum()
        shares = (np.arange(count) + rng.random((frames, 1))) / count
        return np.interp(shares.ravel(), below, edges), np.repeat(np.arange(float(frames)), count)

    def relax(self, rng: np.random.Generator, shape: tuple[int, int]) -> tuple[Array, Array]:
        """Positions of least energy that steps along k find, before snapping."""
        _, lines = shape
        k, t = self.draw(rng, shape)
        longest = self.acceleration / 4
        for step in range(self.iterations):
            remaining = 1 - step / self.iterations
            _, gradient = self.energy(k, t, shape, width=0.5)
            usual = np.median(np.abs(gradient)) + np.finfo(float).tiny
            move = -gradient / usual * longest / 2 * remaining
            k = k + np.clip(move, -longest, longest)
            k = (k + lines / 2) % lines - lines / 2
        return k, t

    def lines(self, rng: np.random.Generator, shape: tuple[int, int]) -> Mask:
        """Sampled lines ``(T, lines)``: the relaxed positions on the nearest free lines."""
        frames, lines = shape
        k, t = self.relax(rng, shape)
        taken = np.zeros(shape, dtype=bool)
        for frame in range(frames):
            wanted = k[t == frame] + lines // 2
            for position in sorted(wanted, key=lambda p: abs(p - lines // 2)):
                distance = np.abs(np.arange(lines) - position)
                distance = np.minimum(distance, lines - distance)
                taken[frame, np.argmin(np.where(taken[frame], np.inf, distance))] = True
        return taken


def vista(rng: np.random.Generator, shape: tuple[int, int, int], acceleration: float) -> Mask:
    """Whole lines along the last axis, placed by :class:`Vista`; ``(T, H, W)``."""
    frames, height, width = shape
    lines = Vista(acceleration).lines(rng, (frames, height))
    return np.asarray(np.broadcast_to(lines[:, :, None], (frames, height, width)).copy())


MRI_MASKS = ("radial-16", "radial-30", "vds-8", "vista-8", "vista-12")
"""The paper's, by name: spokes a frame at 128 by 128, or acceleration."""


def mri_mask(name: str, rng: np.random.Generator, shape: tuple[int, int, int]) -> Mask:
    """A mask ``(T, H, W)`` by name: ``radial-<lines>``, ``vds-<R>`` or ``vista-<R>``.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    family, _, number = name.partition("-")
    if not number.isdecimal() or not int(number):
        family = ""
    if family == "radial":
        return radial(rng, shape, int(number))
    if family == "vds":
        return variable_density(rng, shape, int(number))
    if family == "vista":
        return vista(rng, shape, int(number))
    raise ValueError(f"unknown mask {name!r}; use one like {', '.join(MRI_MASKS)}")
