"""Ordinary functions around an operator, with derivatives for frameworks without autodiff.

A function such as least squares is an operator between products and sums. A framework with
automatic differentiation only runs ``apply``. The others use ``jvp`` and ``vjp``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from .arrays import adjoint, is_complex, scale
from .namespace import Array, Namespace
from .operator import Arrays, Some

__all__ = ["Product", "RealProduct", "SquaredResiduals", "Step"]


class Step(Protocol):
    """A differentiable function of arrays, in the convention ``dL = Re tr(ct^H dx)``."""

    def apply(self, xp: Namespace, *args: Array) -> Arrays:
        """The values, as a tuple."""

    def jvp(self, xp: Namespace, args: Arrays, tangents: Arrays) -> Arrays:
        """Tangents of the values; every argument has a tangent."""

    def vjp(self, xp: Namespace, args: Arrays, cts: Arrays) -> Arrays:
        """Cotangents of the arguments."""

    def hvp(self, xp: Namespace, args: Arrays, cts: Arrays, tangents: Arrays) -> Some:
        """Derivatives of the cotangents along tangents of the arguments; None for 0."""


def _columns(xp: Namespace, b: Array, vector: bool) -> Array:
    return xp.expand_dims(b, axis=-1) if vector else b


@dataclass(frozen=True)
class Product:
    """``A @ b`` for a matrix A and a matrix or vector b, with the same batch shape."""

    vector: bool

    def apply(self, xp: Namespace, *args: Array) -> Arrays:
        A, b = args
        product = xp.matmul(A, _columns(xp, b, self.vector))
        return (product[..., 0] if self.vector else product,)

    def jvp(self, xp: Namespace, args: Arrays, tangents: Arrays) -> Arrays:
        (A, b), (dA, db) = args, tangents
        return (self.apply(xp, dA, b)[0] + self.apply(xp, A, db)[0],)

    def vjp(self, xp: Namespace, args: Arrays, cts: Arrays) -> Arrays:
        A, b = args
        ct = _columns(xp, cts[0], self.vector)
        ct_A = xp.matmul(ct, adjoint(xp, _columns(xp, b, self.vector)))
        return ct_A, self.apply(xp, adjoint(xp, A), cts[0])[0]

    def hvp(self, xp: Namespace, args: Arrays, cts: Arrays, tangents: Arrays) -> Some:
        return self.vjp(xp, tangents, cts)  # which is linear in each factor


@dataclass(frozen=True)
class SquaredResiduals:
    """``sum |b - A x|^2`` of ``A, x, b``, one for each column."""

    vector: bool

    def _product(self, xp: Namespace, A: Array, x: Array) -> Array:
        return Product(self.vector).apply(xp, A, x)[0]

    def _sum(self, xp: Namespace, x: Array) -> Array:
        """The sum of the real part over the rows."""
        real = xp.real(x) if is_complex(xp, x) else x
        return xp.sum(real, axis=-1 if self.vector else -2)

    def apply(self, xp: Namespace, *args: Array) -> Arrays:
        A, x, b = args
        r = b - self._product(xp, A, x)
        return (self._sum(xp, _conj(xp, r) * r),)

    def jvp(self, xp: Namespace, args: Arrays, tangents: Arrays) -> Arrays:
        (A, x, b), (dA, dx, db) = args, tangents
        r = b - self._product(xp, A, x)
        dr = db - self._product(xp, dA, x) - self._product(xp, A, dx)
        return (2.0 * self._sum(xp, _conj(xp, r) * dr),)

    def vjp(self, xp: Namespace, args: Arrays, cts: Arrays) -> Arrays:
        A, x, b = args
        r = b - self._product(xp, A, x)
        ct_r = scale(xp, xp.expand_dims(2.0 * cts[0], axis=-1 if self.vector else -2), r)
        ct_A, ct_x = Product(self.vector).vjp(xp, (A, x), (ct_r,))
        return -ct_A, -ct_x, ct_r

    def hvp(self, xp: Namespace, args: Arrays, cts: Arrays, tangents: Arrays) -> Some:
        (A, x, b), (dA, dx, db) = args, tangents
        product = Product(self.vector)
        r = b - self._product(xp, A, x)
        dr = db - self._product(xp, dA, x) - self._product(xp, A, dx)
        weight = xp.expand_dims(2.0 * cts[0], axis=-1 if self.vector else -2)
        ct_r, moved = scale(xp, weight, r), scale(xp, weight, dr)
        pairs = zip(
            product.vjp(xp, (A, x), (moved,)), product.vjp(xp, (dA, dx), (ct_r,)), strict=True
        )
        ct_A, ct_x = (-one - two for one, two in pairs)
        return ct_A, ct_x, moved


def _conj(xp: Namespace, x: Array) -> Array:
    return xp.conj(x) if is_complex(xp, x) else x


@dataclass(frozen=True)
class RealProduct:
    """``Re tr(A^H B)``."""

    def apply(self, xp: Namespace, *args: Array) -> Arrays:
        A, B = args
        product = _conj(xp, A) * B
        return (xp.sum(xp.real(product) if is_complex(xp, product) else product, axis=(-2, -1)),)

    def jvp(self, xp: Namespace, args: Arrays, tangents: Arrays) -> Arrays:
        (A, B), (dA, dB) = args, tangents
        return (self.apply(xp, dA, B)[0] + self.apply(xp, A, dB)[0],)

    def vjp(self, xp: Namespace, args: Arrays, cts: Arrays) -> Arrays:
        A, B = args
        ct = xp.expand_dims(xp.expand_dims(cts[0], axis=-1), axis=-1)
        return scale(xp, ct, B), scale(xp, ct, A)

    def hvp(self, xp: Namespace, args: Arrays, cts: Arrays, tangents: Arrays) -> Some:
        return self.vjp(xp, tangents, cts)  # which is linear in each factor
