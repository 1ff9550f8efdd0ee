"""One line in anybody's tests: is the derivative of this function right, ties included?

The exact derivative is a central difference of the function's definition in mpmath, at 60 digits.
No formula for a derivative is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .frameworks import AUTODIFF, AutodiffBridge
from .inputs import normal

__all__ = ["LIKE", "NEIGHBOURS", "DerivativeError", "check"]

Array = NDArray[Any]
Tangent = tuple[Array, ...]
"""A direction of the matrix and, if there is a tau, of tau."""
Definition = Callable[..., Any]

DIGITS, STEP = 60, -20
"""Digits of the definitions, and the power of ten, relative to x, of the step of a difference."""

DIRECTIONS = 3
"""Random directions along which a gradient is compared."""

RTOL = {"float64": 1e-9, "float32": 1e-4}
"""Relative error that counts as rounding."""


class DerivativeError(AssertionError):
    """A derivative is wrong; the message says which, where, and by how much."""

    __module__ = "svdinv_conformance"


class Like(NamedTuple):
    """A function by name: its definition from ``U, S, Vh``, and where it has a derivative."""

    of: Definition
    exists: Callable[..., bool] = lambda s, **parameters: True


def _mp() -> Any:
    try:
        import mpmath
    except ImportError as error:
        raise ImportError(f"check needs mpmath: pip install mpmath ({error})") from error
    return mpmath


def _spectral(f: Callable[..., Any]) -> Definition:
    return lambda u, s, vh, **parameters: u * _mp().diag(f(s, **parameters)) * vh


def _soft(s: Sequence[Any], tau: float) -> list[Any]:
    return [max(x - tau, x * 0) for x in s]


def _largest(s: Sequence[Any], rank: int) -> list[Any]:
    return [x if i < rank else x * 0 for i, x in enumerate(s)]


def _mapped(s: Sequence[Any], f: Callable[[Any], Any]) -> list[Any]:
    return [f(x) for x in s]


CLEAR = 1e-3
"""Smallest distance of a threshold, a cut or zero from the values, relative to the largest."""

LIKE: dict[str, Like] = {
    "svt": Like(
        _spectral(_soft), lambda s, tau: bool(np.all(np.abs(s - tau) > CLEAR * max(s[0], tau)))
    ),
    "low_rank": Like(
        _spectral(_largest),
        lambda s, rank: not 0 < rank < len(s) or bool(s[rank - 1] - s[rank] > CLEAR * s[0]),
    ),
    "singular_value_map": Like(_spectral(_mapped)),
    "nuclear_norm": Like(
        lambda u, s, vh: _mp().matrix([[sum(s, _mp().mpf(0))]]),
        lambda s: bool(s[-1] > CLEAR * s[0]),
    ),
    "polar": Like(lambda u, s, vh: u * vh, lambda s: bool(s[-1] > CLEAR * s[0])),
}
"""The functions that have a name for `like`: those of svdinv; ``polar`` is its unitary factor."""


def _all_equal(s: Array) -> Array:
    return np.full_like(s, s.mean())


def _tied(gap: float) -> Callable[[Array], Array]:
    def tied(s: Array) -> Array:
        out = s.copy()
        if len(s) > 1:
            i = (len(s) - 1) // 2
            out[i + 1] = out[i] * (1 - gap)
        return np.sort(out)[::-1]

    return tied


def _deficient(s: Array) -> Array:
    out = s.copy()
    out[-1] = 0
    return out


def _scaled(sign: int) -> Callable[[Array], Array]:
    return lambda s: s * np.finfo(s.dtype).eps ** sign


NEIGHBOURS: dict[str, Callable[[Array], Array]] = {
    "at x": lambda s: s,
    "where two singular values are equal": _tied(0.0),
    "where two singular values nearly are": _tied(1e-12),
    "where all singular values are equal": _all_equal,
    "where a singular value is zero": _deficient,
    "at a tiny multiple of x": _scaled(1),
    "at a huge multiple of x": _scaled(-1),
}
"""Where derivatives are compared: each entry changes the singular values of x."""


def check(
    fn: Callable[..., Any],
    x: Any,
    like: str | Definition,
    *,
    where: Sequence[str] = tuple(NEIGHBOURS),
    second: bool = False,
    batched: bool = False,
    vjp: Callable[..., Any] | None = None,
    jvp: Callable[..., Any] | None = None,
    framework: str | None = None,
    rtol: float | None = None,
    seed: int = 0,
    **parameters: Any,
) -> None:
    """Compare the derivatives of a function of a matrix with the exact ones, ties included.

    Parameters
    ----------
    fn
        Takes an array ``(m, n)`` and returns an array, or a real number, of the same framework.
    x
        A matrix ``(m, n)``, real or complex, of PyTorch, JAX, TensorFlow or NumPy, with both sides
        at most about 10: a definition is evaluated some fifty times at 60 digits.
    like
        What `fn` computes: a name of :data:`LIKE`, or a function of an ``mpmath.matrix`` that
        returns one (or a number).
    where
        Names of :data:`NEIGHBOURS`. A place where a function of :data:`LIKE` has no derivative is
        left out.
    second
        Whether to check the product of the Hessian with a direction too.
    batched
        Whether `fn` takes batches. It then gets two matrices, the second full of NaN, which must
        not affect the first.
    vjp, jvp
        Derivatives written by hand, to check instead of the framework's: ``vjp(x, cotangent)`` and
        ``jvp(x, tangent)``. If tau is an array, they are ``vjp(x, tau, cotangent)``, which returns
        a pair, and ``jvp(x, tau, dx, dtau)``. Cotangents follow ``dL = Re sum(conj(ct) * dx)``, as
        in PyTorch.
    framework
        The framework of x, if its type does not say it. An array of NumPy belongs to ``"autograd"``
        by default.
    rtol
        Largest relative error that is accepted. Default 1e-9 in double, 1e-4 in single precision.
    seed
        Seed of the random directions and cotangents.
    **parameters
        Parameters of the named function: ``tau``, ``rank``, or ``f``, a function of a number of
        mpmath. If ``tau`` is an array of the framework, `fn` is called as ``fn(x, tau)``, and its
        gradient in tau is compared too.

    Raises
    ------
    DerivativeError
        If a derivative is wrong, with the place and the error, or if x is modified.
    ValueError
        For an unknown name, or if no place is left to compare at.
    TypeError
        If x is not a matrix of floating point numbers of one of these frameworks.

    Examples
    --------
    >>> import torch
    >>> from svdinv.torch import svt
    >>> from svdinv_conformance import check
    >>> x = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    >>> check(lambda x: svt(x, 0.5), x, "svt", tau=0.5)

    The function as it is usually written has no derivative where two values are equal:

    >>> def by_hand(x):
    ...     U, S, Vh = torch.linalg.svd(x, full_matrices=False)
    ...     return (U * torch.relu(S - 0.5)) @ Vh
    >>> check(by_hand, x, "svt", tau=0.5, where=["at x"])
    >>> check(by_hand, torch.eye(3), "svt", tau=0.5)
    Traceback (most recent call last):
    svdinv_conformance.DerivativeError: the gradient at x is not finite
    """
    unknown = [name for name in where if name not in NEIGHBOURS]
    if unknown:
        raise ValueError(f"where: want {', '.join(map(repr, NEIGHBOURS))}, got {unknown[0]!r}")
    if isinstance(like, str) and like not in LIKE:
        raise ValueError(f"like: want {', '.join(map(repr, LIKE))} or a function, got {like!r}")
    by_hand = {name: f for name, f in (("vjp", vjp), ("jvp", jvp)) if f is not None}
    bridge = _bridge(x, framework)
    start = np.asarray(bridge.numpy(x))
    if start.ndim != 2 or start.dtype.kind not in "fc" or 0 in start.shape:
        raise TypeError(
            f"x: want a matrix of floating point numbers, got shape {start.shape}, {start.dtype}"
        )
    tau = parameters.get("tau")
    with_tau = tau is not None and not isinstance(tau, int | float)
    if with_tau:
        parameters["tau"] = float(bridge.numpy(tau))
    places = list(_places(start, like, where, parameters))
    if not places:
        raise ValueError("where: the function has no derivative at any of these")
    precision = "float32" if start.real.dtype == np.float32 else "float64"
    for place, a in places:
        asked = _Asked(
            derivatives=_Derivatives(bridge, fn, by_hand),
            definition=_definition(like, parameters),
            tau=parameters["tau"] if with_tau else None,
            bound=RTOL[precision] if rtol is None else rtol,
            batched=batched,
            place=place,
            x=a,
            rng=np.random.default_rng(seed),
        )
        if "vjp" in by_hand or not by_hand:
            asked.gradient()
        if "jvp" in by_hand or not by_hand:
            asked.tangent()
        if second:
            asked.second()


def _bridge(x: Any, name: str | None) -> AutodiffBridge:
    package = type(x).__module__.partition(".")[0]
    found = name or {"torch": "torch", "tensorflow": "tensorflow", "numpy": "autograd"}.get(package)
    if found is None and package.startswith("jax"):
        found = "jax"
    if found not in AUTODIFF:
        raise TypeError(f"x: want an array of {', '.join(AUTODIFF)} or NumPy, got {package}")
    bridge = AUTODIFF[found]()
    bridge.load()
    return bridge


class _Derivatives(NamedTuple):
    """Derivatives of the function under test, in arrays of NumPy."""

    bridge: AutodiffBridge
    fn: Callable[..., Any]
    by_hand: dict[str, Callable[..., Any]]

    def __call__(self, what: str, *arrays: Tangent) -> Tangent:
        """``"vjp"``, ``"jvp"`` or ``"hvp"`` of inputs, then cotangents, then tangents."""
        given = [tuple(self.bridge.array(a.copy()) for a in some) for some in arrays]
        if what in self.by_hand:
            out = self.by_hand[what](*chain(*given))
        else:
            found = getattr(self.bridge, what)(lambda *x: (self.fn(*x),), *given)
            out = found if what == "hvp" else found[1]
        for g, a in zip(chain(*given), chain(*arrays), strict=True):
            if not np.array_equal(self.bridge.numpy(g), a, equal_nan=True):
                raise DerivativeError("what the derivative is taken at was modified in place")
        return tuple(
            np.asarray(self.bridge.numpy(o)) for o in (out if isinstance(out, tuple) else (out,))
        )


def _places(x: Array, like: str | Definition, where: Sequence[str], parameters: Any) -> Any:
    u, s, vh = np.linalg.svd(x.astype(np.result_type(x, np.float64)), full_matrices=False)
    s = s.astype(x.real.dtype)
    for name in where:
        moved = NEIGHBOURS[name](s)
        if isinstance(like, str) and not LIKE[like].exists(moved, **parameters):
            continue
        yield name, x if name == "at x" else ((u * moved) @ vh).astype(x.dtype)


def _definition(like: str | Definition, parameters: Any) -> Callable[..., Any]:
    """The function of a matrix of mpmath, and of another tau, if given."""
    mp = _mp()

    def of(a: Any, **changed: Any) -> Any:
        given = parameters | changed
        if callable(like):
            value = like(a, **given)
            return value if isinstance(value, mp.matrix) else mp.matrix([[value]])
        wide = a.rows < a.cols
        u, s, vh = mp.svd_c(a.H if wide else a)
        if wide:
            u, vh = vh.H, u.H
        return LIKE[like].of(u, list(s), vh, **given)

    return of


@dataclass
class _Asked:
    """The comparison at one place; the definition takes a matrix and, if given, tau."""

    derivatives: _Derivatives
    definition: Callable[..., Any]
    tau: float | None
    bound: float
    batched: bool
    place: str
    x: Array
    rng: np.random.Generator

    def __post_init__(self) -> None:
        self.size = float(np.linalg.norm(self.x)) or 1.0
        self.has_tau = self.tau is not None
        tau = np.asarray(self.tau, dtype=self.x.real.dtype)
        self.inputs = self._batch(self.x, tau) if self.has_tau else self._batch(self.x)

    def _batch(self, *arrays: Array) -> Tangent:
        """The arrays, or batches of two with one full of NaN behind the first."""
        if not self.batched:
            return arrays
        x, *rest = arrays
        return np.stack([x, np.full_like(x, np.nan)]), *(np.stack([a, a]) for a in rest)

    def _first(self, x: Array) -> Array:
        return np.asarray(x[0]) if self.batched else x

    def _normal(self, shape: tuple[int, ...], is_complex: bool) -> Array:
        real = self.x.real.dtype
        return normal(shape, np.result_type(real, np.complex64) if is_complex else real, self.rng)

    def _direction(self) -> Tangent:
        d = self._normal(self.x.shape, np.iscomplexobj(self.x))
        return (d, self._normal((), False)) if self.has_tau else (d,)

    def _moved(self, *steps: tuple[int, Tangent]) -> Any:
        """The definition at ``x + h (n1 d1 + n2 d2 + ...)``."""
        mp = _mp()
        h = mp.mpf(10) ** STEP * self.size
        a, tau = mp.matrix(self.x.tolist()), mp.mpf(self.tau or 0)
        for count, (d, *d_tau) in steps:
            a = a + h * count * mp.matrix(d.tolist())
            tau += sum(h * count * mp.mpf(float(t)) for t in d_tau)
        return self.definition(a, **({"tau": tau} if self.has_tau else {}))

    def _difference(self, *directions: Tangent) -> Array:
        """The derivative along one direction, or the second one along two."""
        mp = _mp()
        with mp.workdps(DIGITS):
            h = mp.mpf(10) ** STEP * self.size
            if len(directions) == 1:
                (d,) = directions
                out = (self._moved((1, d)) - self._moved((-1, d))) / (2 * h)
            else:
                d, e = directions
                same = self._moved((1, d), (1, e)) + self._moved((-1, d), (-1, e))
                other = self._moved((1, d), (-1, e)) + self._moved((-1, d), (1, e))
                out = (same - other) / (4 * h * h)
            return np.array([[complex(v) for v in row] for row in out.tolist()])

    def _cotangent(self, exact: Array) -> Array:
        """A random cotangent, of the shape of the value, real or complex like it."""
        is_scalar = exact.size == 1
        ct = self._normal(
            () if is_scalar else exact.shape, np.iscomplexobj(self.x) and not is_scalar
        )
        return np.stack([ct, ct]) if self.batched else ct

    def _hold(self, what: str, error: float, size: float) -> None:
        if not np.isfinite(error):
            raise DerivativeError(f"the {what} {self.place} is not finite")
        relative = error / size if size else error
        if relative > self.bound:
            raise DerivativeError(
                f"the {what} {self.place} is wrong: relative error {relative:.1e}, "
                f"and {self.bound:.0e} would be rounding"
            )

    def gradient(self) -> None:
        """``<ct, J d> = <vjp(ct), d>`` for some directions d."""
        directions = [self._direction() for _ in range(DIRECTIONS)]
        exact = [self._difference(d) for d in directions]
        ct = self._cotangent(exact[0])
        got = self.derivatives("vjp", self.inputs, (ct,))
        self._compare("gradient", got, ct, directions, exact)

    def tangent(self) -> None:
        """``J d``, entry by entry."""
        d = self._direction()
        exact = self._difference(d)
        (got,) = self.derivatives("jvp", self.inputs, self._along(d))
        error = np.linalg.norm(np.reshape(self._first(got), exact.shape) - exact)
        self._hold("tangent", float(error), float(np.linalg.norm(exact)))

    def second(self) -> None:
        """``<ct, D2[d, e]> = <hvp(ct, d), e>`` for some directions e."""
        d = self._direction()
        others = [self._direction() for _ in range(DIRECTIONS)]
        exact = [self._difference(d, e) for e in others]
        ct = self._cotangent(exact[0])
        got = self.derivatives("hvp", self.inputs, (ct,), self._along(d))
        # A derivative smaller than that of a power of x would be lost in its rounding errors.
        size = float(np.linalg.norm(self._difference(d)) * np.linalg.norm(others[0][0]))
        self._compare("second derivative", got, ct, others, exact, size / self.size)

    def _along(self, d: Tangent) -> Tangent:
        return tuple(np.stack([a, a]) for a in d) if self.batched else d

    def _compare(
        self,
        what: str,
        got: Tangent,
        ct: Array,
        directions: list[Tangent],
        exact: list[Array],
        least: float = 0.0,
    ) -> None:
        ct, got = self._first(ct), tuple(map(self._first, got))
        errors, sizes = [0.0], [least]
        for d, e in zip(directions, exact, strict=True):
            pairs = zip(got, d, strict=True)
            found = sum(float(np.vdot(g, along).real) for g, along in pairs)
            errors.append(abs(found - float(np.vdot(ct, e).real)))
            sizes.append(float(np.linalg.norm(e)))
        error = max(errors) if np.isfinite(errors).all() else np.inf
        self._hold(what, error, max(sizes) * float(np.linalg.norm(ct)))
