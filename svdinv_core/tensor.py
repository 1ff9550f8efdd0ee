r"""Slices of a tensor under a linear transform of one of its axes.

The tensor nuclear norm is the mean of the nuclear norms of the slices ``y = F x``, for a transform
with ``F^H F = l I`` (Kilmer, Braman, Hao & Hoover 2013; Lu et al., IEEE Trans. PAMI 42, 2020). Its
proximal operator thresholds every slice by the same tau and transforms back. For a real tensor half
of the slices of a Fourier transform are conjugates of the others. The first ``l/2 + 1`` of them are
enough: the inverse is the real part of a sum in which each slice with a conjugate partner counts
twice.
"""

from __future__ import annotations

from cmath import exp
from dataclasses import dataclass
from math import cos, pi, sqrt

from .arrays import adjoint, is_complex
from .namespace import Array, Namespace
from .operator import Arrays, Some

__all__ = ["AlongLastAxis", "MoveAxis", "cosine_transform", "fourier_transform"]

Rows = list[list[complex]]


def fourier_transform(length: int, real: bool) -> tuple[Rows, Rows]:
    """The matrix of the transform, and that of its inverse (if `real`, take the real part)."""
    count = length // 2 + 1 if real else length
    roots = [exp(-2j * pi * j / length) for j in range(length)]
    forward = [[roots[i * j % length] for j in range(length)] for i in range(count)]
    partners = [2 if real and 0 < 2 * i < length else 1 for i in range(count)]
    inverse = [
        [partners[i] * forward[i][j].conjugate() / length for i in range(count)]
        for j in range(length)
    ]
    return forward, inverse


def cosine_transform(length: int) -> tuple[Rows, Rows]:
    """The orthonormal discrete cosine transform (DCT-II), and its inverse."""
    forward: Rows = [
        [
            sqrt((1 if i == 0 else 2) / length) * cos(pi * i * (2 * j + 1) / (2 * length))
            for j in range(length)
        ]
        for i in range(length)
    ]
    return forward, [list(column) for column in zip(*forward, strict=True)]


@dataclass(frozen=True)
class MoveAxis:
    """Move an axis of a tensor to another place; both numbers are not negative."""

    source: int
    target: int

    @staticmethod
    def _move(xp: Namespace, x: Array, source: int, target: int) -> Array:
        axes = list(range(len(x.shape)))
        axes.insert(target, axes.pop(source))
        return xp.permute_dims(x, tuple(axes))

    def apply(self, xp: Namespace, *args: Array) -> Arrays:
        return (self._move(xp, args[0], self.source, self.target),)

    def jvp(self, xp: Namespace, args: Arrays, tangents: Arrays) -> Arrays:
        return self.apply(xp, *tangents)

    def vjp(self, xp: Namespace, args: Arrays, cts: Arrays) -> Arrays:
        return (self._move(xp, cts[0], self.target, self.source),)

    def hvp(self, xp: Namespace, args: Arrays, cts: Arrays, tangents: Arrays) -> Some:
        return (None,)


@dataclass(frozen=True)
class AlongLastAxis:
    """A matrix times the last axis of a tensor, ``y_i = sum M_ij x_j``.

    Parameters
    ----------
    real : bool
        Return the real part.
    """

    real: bool = False

    @staticmethod
    def _multiply(xp: Namespace, matrix: Array, x: Array) -> Array:
        if is_complex(xp, matrix) != is_complex(xp, x):  # the standard has no mixed products
            dtype = matrix.dtype if is_complex(xp, matrix) else x.dtype
            matrix, x = xp.astype(matrix, dtype), xp.astype(x, dtype)
        return xp.matmul(x, xp.matrix_transpose(matrix))

    def apply(self, xp: Namespace, *args: Array) -> Arrays:
        y = self._multiply(xp, *args)
        return (xp.real(y) if self.real else y,)

    def jvp(self, xp: Namespace, args: Arrays, tangents: Arrays) -> Arrays:
        return self.apply(xp, args[0], tangents[1])

    def vjp(self, xp: Namespace, args: Arrays, cts: Arrays) -> Arrays:
        matrix, x = args
        ct = self._multiply(xp, adjoint(xp, matrix), cts[0])
        return xp.zeros_like(matrix), ct if is_complex(xp, x) else _real(xp, ct)

    def hvp(self, xp: Namespace, args: Arrays, cts: Arrays, tangents: Arrays) -> Some:
        return None, None  # the matrix is a constant


def _real(xp: Namespace, x: Array) -> Array:
    return xp.real(x) if is_complex(xp, x) else x
