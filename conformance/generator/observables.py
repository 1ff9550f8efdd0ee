"""The observables by their definitions: what each makes of a decomposition at 50 digits.

No derivative is in this file, nor anything from the library: of the suite, names alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import mpmath as mp
from svdinv_conformance.suite.case import NAMED

FUNCTIONS: dict[str, Callable[[mp.mpf], mp.mpf]] = {
    "tanh": mp.tanh,
    "wiener": lambda s: s**3 / (s**2 + mp.mpf(1) / 4),
    "inverse_root": lambda w: 1 / mp.sqrt(w + mp.mpf(1) / 2),
    "exp": mp.exp,
}
"""Elementwise functions, applied as ``c f(s/c)`` with the scale ``c`` of the observable."""

HERMITIAN = ("hermitian", "roots", "eigenvalues")
"""Kinds that are asked of the Hermitian part of the matrix."""

REAL = ("rotate", "align")
"""Kinds that complex matrices have no part in."""


def on_simplex(s: list[mp.mpf], radius: mp.mpf) -> list[mp.mpf]:
    """Nearest non-negative numbers with the sum `radius`, which is less than that of ``s``."""
    for count in range(len(s), 0, -1):
        t = (sum(s[:count]) - radius) / count
        if s[count - 1] > t:
            break
    return [max(x - t, mp.mpf(0)) for x in s]


def decompose(a: mp.matrix, hermitian: bool) -> tuple[mp.matrix, list[mp.mpf], mp.matrix]:
    """Thin ``U, S, V^H`` (eigenvectors, eigenvalues, their adjoint) in descending order."""
    if hermitian:
        w, q = mp.eighe((a + a.H) / 2)
        order = sorted(range(len(w)), key=lambda i: -w[i])
        columns = mp.matrix([[q[i, j] for j in order] for i in range(q.rows)])
        return columns, [w[j] for j in order], columns.H
    if a.rows < a.cols:
        v, s, uh = mp.svd_c(a.H)
        return uh.H, list(s), v.H
    u, s, vh = mp.svd_c(a)
    return u, list(s), vh


@dataclass(frozen=True)
class Observable:
    """A function of a matrix: its name, and the numbers that fix it."""

    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    tau: Any = None
    """Threshold, a second input: a number, or one for each matrix of a batch."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs."""
        if self.kind == "factors":
            return "tanh", "inverse", "unitary", "left", "right", "gram"
        if self.kind == "truncated":
            return "left", "right", "product"
        if self.kind in NAMED:
            return NAMED[self.kind]
        return ("unitary", "positive") if self.kind == "polar" else ("y",)

    @property
    def real_outputs(self) -> tuple[str, ...]:
        """Those that are real for a complex matrix too."""
        if self.kind in ("nuclear", "values", "eigenvalues"):
            return self.outputs
        return tuple(o for o in self.outputs if o.endswith("norm") or o == "spectral_function")

    def value(self, factors: tuple[Any, ...], tau: mp.mpf | None) -> tuple[mp.matrix, ...]:
        """Evaluate the definition."""
        u, s, vh = factors
        return getattr(self, f"_{self.kind}")(u, s, vh, tau)

    def _spectral(self, u: mp.matrix, f: list[mp.mpf], vh: mp.matrix) -> mp.matrix:
        return u * mp.diag(f) * vh

    def _soft(self, u: Any, s: Any, vh: Any, tau: Any) -> Any:
        return (self._spectral(u, [max(x - tau, mp.mpf(0)) for x in s], vh),)

    def _hard(self, u: Any, s: Any, vh: Any, tau: Any) -> Any:
        return (self._spectral(u, [x if x > tau else mp.mpf(0) for x in s], vh),)

    def _smooth(self, u: Any, s: Any, vh: Any, tau: Any) -> Any:
        f, c = FUNCTIONS[self.options["function"]], mp.mpf(self.options["scale"])
        return (self._spectral(u, [c * f(x / c) for x in s], vh),)

    _hermitian = _smooth

    def _reconstruction(self, u: Any, s: Any, vh: Any, tau: Any) -> Any:
        return (self._spectral(u, s, vh),)

    def _low_rank(self, u: Any, s: Any, vh: Any, tau: Any) -> Any:
        rank = self.options["rank"]
        return (self._spectral(u, [x if i < rank else mp.mpf(0) for i, x in enumerate(s)], vh),)

    def _projector(self, u: Any, s: Any, vh: Any, tau: Any) -> Any:
        cut = mp.mpf(self.options["cut"])
        return (u * mp.diag([mp.mpf(1 if x > cut else 0) for x in s]) * u.H,)

    def _polar(self, u: Any, s: Any, vh: Any, tau: Any) -> Any:
        wide = u.rows < vh.cols
        positive = u * mp.diag(s) * u.H if wide else vh.H * mp.diag(s) * vh
        return u * vh, positive

    def _nuclear(self, u: Any, s: Any, vh: Any, tau: Any) -> Any:
        return (mp.matrix([[sum(s, mp.mpf(0))]]),)

    def _values(self, u: Any, s: Any, vh: Any, tau: Any) -> Any:
        groups = self.options["groups"]
        return (mp.matrix([[sum(s[i] for i in g) / len(g) for g in groups]]),)

    _eigenvalues = _values

    def _truncated(self, u: Any, s: Any, vh: Any, tau: Any) -> Any:
        rank = self.options["rank"]
        kept = mp.diag([mp.mpf(1 if i < rank else 0) for i in range(len(s))])
        return u * kept * u.H, vh.H * kept * vh, u * kept * mp.diag(s) * vh

    def _factors(self, u: Any, s: Any, vh: Any, tau: Any) -> Any:
        kept = mp.diag([mp.mpf(1 if x > mp.mpf(self.options["cut"]) else 0) for x in s])
        products = (self._spectral(u, [f(x) for x in s], vh) for f in (mp.tanh, lambda x: 1 / x))
        return *products, u * vh, u * kept * u.H, vh.H * kept * vh, u.H * u

    def _shrink(self, u: Any, s: Any, vh: Any, tau: Any) -> Any:
        top, radius, p = (mp.mpf(self.options[o]) for o in ("maximum", "radius", "p"))
        kept = mp.diag([mp.mpf(1 if i < self.options["rank"] else 0) for i in range(len(s))])
        scalars = (
            sum(x**p for x in s) ** (1 / p),
            s[0],
            sum(mp.tanh(x) ** 2 for x in s) * sum(x**2 for x in s),
        )
        return (
            self._spectral(u, [min(x, top) for x in s], vh),
            self._spectral(u, on_simplex(s, radius), vh),
            u * kept * u.H,
            *(mp.matrix([[x]]) for x in scalars),
        )

    def _invert(self, u: Any, s: Any, vh: Any, tau: Any) -> Any:
        pinv = vh.H * mp.diag([1 / x for x in s]) * u.H
        b = mp.matrix([mp.mpf(x) for x in self.options["b"]])
        return pinv, u * vh, (pinv * b).T

    def _rotate(self, u: Any, s: Any, vh: Any, tau: Any) -> Any:
        sign = mp.sign(mp.re(mp.det(u * vh)))
        return (u * mp.diag([1] * (len(s) - 1) + [sign]) * vh,)

    def _align(self, u: Any, s: Any, vh: Any, tau: Any) -> Any:
        (rotation,) = self._rotate(u, s, vh, tau)
        a, center = u * mp.diag(s) * vh, mp.matrix([mp.mpf(x) for x in self.options["center"]])
        scale = mp.re(sum((rotation.H * a)[i, i] for i in range(a.cols))) / sum(x**2 for x in s)
        translation = center - scale * rotation * a[0, :].T
        return (scale * rotation + mp.ones(a.rows, 1) * translation.T,)

    def _tensor(self, u: Any, s: Any, vh: Any, tau: Any) -> Any:
        weights, sums = self.options["weights"], self.options["sums"]
        size, tau = len(weights), mp.mpf(self.options["tau"])
        f = [mp.mpf(0)] * len(s)
        for k in range(size):  # the k-th slice of the transform is a multiple of the matrix
            turn = [mp.expjpi(mp.mpf(2 * k * t) / size) for t in range(size)]
            multiple = sum(w * mp.conj(z) for w, z in zip(weights, turn, strict=True))
            back = sum(v * z for v, z in zip(sums, turn, strict=True)) / size
            share = back * multiple / abs(multiple)
            f = [y + share * max(abs(multiple) * x - tau, 0) for x, y in zip(s, f, strict=True)]
        return (self._spectral(u, [mp.re(y) for y in f], vh),)

    def _roots(self, u: Any, s: Any, vh: Any, tau: Any) -> Any:
        p = mp.mpf(self.options["p"])
        of = (mp.sqrt, lambda w: 1 / mp.sqrt(w), lambda w: w**p, mp.log, mp.exp)
        return tuple(self._spectral(u, [f(w) for w in s], vh) for f in of)

    def shapes(self, m: int, n: int) -> tuple[tuple[int, ...], ...]:
        """Shapes of the outputs for one ``(m, n)`` matrix."""
        k = min(m, n)
        if self.kind == "polar":
            return (m, n), (k, k)
        if self.kind == "factors":
            return (m, n), (m, n), (m, n), (m, m), (n, n), (k, k)
        if self.kind == "shrink":
            return (m, n), (m, n), (m, m), (), (), ()
        if self.kind == "invert":
            return (n, m), (m, n), (n,)
        if self.kind == "truncated":
            return (m, m), (n, n), (m, n)
        if self.kind == "roots":
            return ((m, n),) * len(self.outputs)
        if self.kind == "nuclear":
            return ((),)
        if self.kind in ("values", "eigenvalues"):
            return ((len(self.options["groups"]),),)
        return ((m, m),) if self.kind == "projector" else ((m, n),)
