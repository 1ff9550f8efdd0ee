"""Value and derivatives of an observable at 50 digits, from its definition alone.

Every derivative is a central difference of the definition (:mod:`observables`): first order with
step ``h``, second order with step ``t`` in both variables. No formula for a derivative takes part.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import mpmath as mp
from observables import Observable, decompose

DIGITS = 50
FIRST, SECOND = mp.mpf(10) ** -20, mp.mpf(10) ** -13
"""Steps, relative to the matrix: their squares, the error of a central difference, lie below
double precision, and the digits they cost leave more than twenty."""


class Point:
    """A matrix and its neighbours, decomposed once for all observables and probes."""

    def __init__(self, a: mp.matrix, hermitian: bool) -> None:
        self.a, self.hermitian = a, hermitian
        self.factors = cache(self._factors)

    def _factors(self, steps: tuple[tuple[str, Any, Any], ...]) -> tuple[Any, ...]:
        moved = self.a.copy()
        for _, entry, step in steps:
            moved = moved + step * entry if isinstance(entry, mp.matrix) else moved
            if isinstance(entry, tuple):
                i, j, unit = entry
                moved[i, j] += step * unit
        return decompose(moved, self.hermitian)


class Direction(mp.matrix):
    """A matrix that can be a key: it is what it is."""

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


def pairing(ct: mp.matrix, y: mp.matrix) -> mp.mpf:
    """``Re sum(conj(ct) y)``."""
    return sum(
        (mp.re(mp.conj(ct[i, j]) * y[i, j]) for i in range(y.rows) for j in range(y.cols)),
        mp.mpf(0),
    )


class Reference:
    """Value and derivatives of one observable at one matrix."""

    def __init__(
        self, point: Point, observable: Observable, tau: Any, size: mp.mpf, is_complex: bool
    ) -> None:
        self.point, self.observable, self.tau = point, observable, tau
        self.is_complex = is_complex
        self.h, self.t = FIRST * size, SECOND * size
        self._at = cache(self._value)

    def _value(self, *steps: tuple[str, Any, Any]) -> tuple[mp.matrix, ...]:
        moved = self.tau
        for name, entry, step in steps:
            if name == "tau" and moved is not None:
                moved = moved + step * entry
        return self.observable.value(
            self.point.factors(tuple(s for s in steps if s[0] == "a")), moved
        )

    def _loss(self, cts: list[mp.matrix], *steps: tuple[str, Any, Any]) -> mp.mpf:
        return sum((pairing(c, y) for c, y in zip(cts, self._at(*steps), strict=True)), mp.mpf(0))

    def value(self) -> tuple[mp.matrix, ...]:
        """The observable itself."""
        return self._at()

    def jvp(self, da: mp.matrix, dtau: Any) -> list[mp.matrix]:
        """``(f(x + h d) - f(x - h d))/2h``."""
        ahead = self._at(("a", da, self.h), ("tau", dtau, self.h))
        behind = self._at(("a", da, -self.h), ("tau", dtau, -self.h))
        return [(p - q) / (2 * self.h) for p, q in zip(ahead, behind, strict=True)]

    def _gradient(self, slope_in: Callable[[tuple[str, Any]], mp.mpf]) -> tuple[Any, Any]:
        """Entry by entry: the derivative along 1, and for complex matrices along i."""
        a = self.point.a
        gradient = mp.zeros(a.rows, a.cols)
        for i in range(a.rows):
            for j in range(a.cols):
                entry = slope_in(("a", (i, j, 1)))
                if self.is_complex:
                    entry = entry + 1j * slope_in(("a", (i, j, 1j)))
                gradient[i, j] = entry
        return gradient, None if self.tau is None else slope_in(("tau", 1))

    def vjp(self, cts: list[mp.matrix]) -> tuple[mp.matrix, Any]:
        """Gradient of ``Re sum(conj(ct) y)``."""

        def slope_in(coordinate: tuple[str, Any]) -> mp.mpf:
            name, entry = coordinate
            ahead, behind = (self._loss(cts, (name, entry, s)) for s in (self.h, -self.h))
            return (ahead - behind) / (2 * self.h)

        return self._gradient(slope_in)

    def hvp(self, cts: list[mp.matrix], da: mp.matrix, dtau: Any) -> tuple[mp.matrix, Any]:
        """Derivative of that gradient along the direction."""
        t = self.t

        def slope_in(coordinate: tuple[str, Any]) -> mp.mpf:
            name, entry = coordinate
            total = mp.mpf(0)
            for s in (t, -t):
                along = [("a", da, s)] + ([("tau", dtau, s)] if dtau is not None else [])
                ahead, behind = (self._loss(cts, *along, (name, entry, r)) for r in (t, -t))
                total += mp.sign(s) * (ahead - behind)
            return total / (4 * t * t)

        return self._gradient(slope_in)
