"""The observables, composed from the functions that an implementation has.

A module is asked for its own function first (``svt`` for the soft threshold) and otherwise for
``svd``, from whose factors the observable is put together in the framework's operations. So a
framework's native SVD, and a module that exports ``svd`` and ``svt`` only, answer everything that
their functions can express.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .case import Observable
from .implementation import Arrays, NotApplicable

__all__ = [
    "FUNCTIONS",
    "NAMED",
    "Elementwise",
    "Functions",
    "Operations",
    "elementwise",
    "evaluate",
]


class Elementwise(Protocol):
    """The functions that `smooth`, `hermitian` and `spectral_function` are made of."""

    def tanh(self, s: Any) -> Any:
        """Elementwise."""

    def exp(self, s: Any) -> Any:
        """Elementwise."""

    def total(self, s: Any) -> Any:
        """Sum over the last axis."""


class Operations(Elementwise, Protocol):
    """A framework's array operations, as far as observables are put together from them."""

    def adjoint(self, x: Any) -> Any:
        """Conjugate transpose of each matrix."""

    def as_type_of(self, s: Any, like: Any) -> Any:
        """Real numbers in the (perhaps complex) dtype of ``like``."""

    def above(self, s: Any, cut: Any) -> Any:
        """1 where ``s > cut``, else 0, in the dtype of ``s``."""

    def first(self, s: Any, count: int) -> Any:
        """1 in the first ``count`` places of the last axis, else 0."""

    def mean_over(self, s: Any, groups: list[list[int]]) -> Any:
        """Means over groups of indices of the last axis."""

    def log(self, s: Any) -> Any:
        """Elementwise."""

    def constant(self, x: Any, like: Any) -> Any:
        """An array of NumPy in the dtype of ``like``."""

    def det(self, x: Any) -> Any:
        """Determinant of each matrix."""


FUNCTIONS: dict[str, Callable[[Elementwise, Any], Any]] = {
    "tanh": lambda ops, s: ops.tanh(s),
    "wiener": lambda ops, s: s * s * s / (s * s + 0.25),
    "inverse_root": lambda ops, s: (s + 0.5) ** -0.5,
    "exp": lambda ops, s: ops.exp(s),
}
"""The elementwise functions ``f`` of `smooth` and `hermitian`, used as ``c f(s/c)``."""


NAMED: dict[str, tuple[str, ...]] = {
    "shrink": ("singular_value_clip", "project_nuclear_ball", "range_projector", "schatten_norm",
               "spectral_norm", "spectral_function"),
    "invert": ("pinv", "procrustes", "lstsq"),
    "rotate": ("procrustes",),
    "roots": ("sqrtm", "inv_sqrtm", "powm", "logm", "expm"),
    "align": ("align_points",),
    "tensor": ("tensor_svt",),
}  # fmt: skip
"""Functions that are asked of together, an output for each."""


def of_values(ops: Elementwise, s: Any) -> Any:
    """The symmetric function of `spectral_function`; it mixes the values."""
    return ops.total(ops.tanh(s) ** 2) * ops.total(s * s)


def arguments(ops: Any, observable: Observable, a: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What a function of `NAMED` takes beside the matrix, or what is made of the matrix."""
    options = observable.options
    if observable.kind == "lstsq":
        return (ops.constant(np.asarray(options["b"]), a),), {}
    if observable.kind == "align_points":
        return (ops.constant(both_signs(a.shape[-1]) + options["center"], a),), {"scale": True}
    if observable.kind == "tensor_svt":
        return (options["tau"],), {}
    positional = {"singular_value_clip": "maximum", "project_nuclear_ball": "radius",
                  "schatten_norm": "p", "powm": "p"}  # fmt: skip
    if observable.kind == "spectral_function":
        return (lambda s: of_values(ops, s),), {}
    if observable.kind == "range_projector":
        return (), {"rank": options["rank"]}
    if observable.kind == "procrustes" and options.get("special"):
        return (), {"special": True}
    name = positional.get(observable.kind)
    return ((options[name],) if name else ()), {}


def both_signs(d: int) -> NDArray[np.float64]:
    """The points of `align_points`: unit vectors and their opposites, as rows."""
    return np.concatenate([np.eye(d), -np.eye(d)])


def points_of(d: int) -> NDArray[np.float64]:
    """What makes the points of `align_points` from a matrix: its rows, both signs, moved."""
    moved: NDArray[np.float64] = both_signs(d) + np.eye(d)[0]
    return moved


class Functions:
    """A module's functions by name; one that is missing is a reason, not an error.

    Parameters
    ----------
    module
        Exports ``svd`` (``x -> U, S, Vh``, thin), and if it has them ``svt(x, tau)``,
        ``svdvals(x)``, ``nuclear_norm(x)``, ``singular_value_map(x, fn)``, ``low_rank(x, rank)``,
        ``polar(x)``, ``eigh(x)``, ``eigenvalue_map(x, fn)``, and those of :data:`NAMED`.
    """

    def __init__(self, module: Any) -> None:
        self.module = module

    def __contains__(self, name: str) -> bool:
        return callable(getattr(self.module, name, None))

    def __getattr__(self, name: str) -> Any:
        function = getattr(self.module, name, None)
        if not callable(function):
            raise NotApplicable(f"no {name}")
        return function


def elementwise(ops: Elementwise, observable: Observable) -> Callable[[Any], Any]:
    """``s -> c f(s/c)``."""
    f, c = FUNCTIONS[observable.options["function"]], float(observable.options["scale"])
    return lambda s: f(ops, s / c) * c


def evaluate(
    functions: Functions, ops: Operations, observable: Observable, inputs: Arrays
) -> Arrays:
    """Compute an observable in a framework that differentiates compositions.

    Parameters
    ----------
    functions
        What there is.
    ops
        The framework's operations.
    observable, inputs
        The question, and ``(a,)`` or ``(a, tau)``.

    Returns
    -------
    tuple of arrays
        The outputs; complex ones in the dtype of ``a``.

    Raises
    ------
    NotApplicable
        If a function that is needed is missing.
    """
    compute: Callable[..., Arrays] = _BY_KIND[observable.kind]
    return compute(functions, ops, observable, *inputs)


def _scaled(ops: Operations, u: Any, s: Any) -> Any:
    return u * ops.as_type_of(s, u)[..., None, :]


def _spectral(f: Functions, ops: Operations, a: Any, fn: Callable[[Any], Any]) -> Any:
    """``U diag(fn(S)) Vh``, by the module's own function for that or from the factors."""
    if "singular_value_map" in f:
        return f.singular_value_map(a, fn)
    u, s, vh = f.svd(a)
    return _scaled(ops, u, fn(s)) @ vh


def _values(f: Functions, ops: Operations, observable: Observable, a: Any) -> Arrays:
    s = f.svdvals(a) if "svdvals" in f else f.svd(a)[1]
    return (ops.mean_over(s, observable.options["groups"]),)


def _eigenvalues(f: Functions, ops: Operations, observable: Observable, a: Any) -> Arrays:
    a = (a + ops.adjoint(a)) / 2
    w = f.eigvalsh(a) if "eigvalsh" in f else f.eigh(a)[0]
    return (ops.mean_over(w, ascending(observable, a.shape[-1])),)


def ascending(observable: Observable, k: int) -> list[list[int]]:
    """Groups of values, which are counted from the largest on, of eigenvalues."""
    return [[k - 1 - i for i in group] for group in observable.options["groups"]]


def _truncated(f: Functions, ops: Operations, observable: Observable, a: Any) -> Arrays:
    rank = observable.options["rank"]
    if "truncated_svd" in f:
        u, s, vh = f.truncated_svd(a, rank)[:3]
    else:
        u, s, vh = f.svd(a)
        u, s, vh = u[..., :, :rank], s[..., :rank], vh[..., :rank, :]
    return u @ ops.adjoint(u), ops.adjoint(vh) @ vh, _scaled(ops, u, s) @ vh


def _reconstruction(f: Functions, ops: Operations, observable: Observable, a: Any) -> Arrays:
    u, s, vh = f.svd(a)
    return (_scaled(ops, u, s) @ vh,)


def _soft(f: Functions, ops: Operations, observable: Observable, a: Any, tau: Any) -> Arrays:
    if "svt" in f:
        return (f.svt(a, tau),)
    u, s, vh = f.svd(a)
    beyond = s - tau[..., None]
    return (_scaled(ops, u, beyond * ops.above(beyond, 0.0)) @ vh,)


def _hard(f: Functions, ops: Operations, observable: Observable, a: Any, tau: Any) -> Arrays:
    return (_spectral(f, ops, a, lambda s: s * ops.above(s, tau[..., None])),)


def _smooth(f: Functions, ops: Operations, observable: Observable, a: Any) -> Arrays:
    return (_spectral(f, ops, a, elementwise(ops, observable)),)


def _low_rank(f: Functions, ops: Operations, observable: Observable, a: Any) -> Arrays:
    rank = observable.options["rank"]
    if "low_rank" in f:
        return (f.low_rank(a, rank),)
    u, s, vh = f.svd(a)
    return (_scaled(ops, u, s * ops.first(s, rank)) @ vh,)


def _projector(f: Functions, ops: Operations, observable: Observable, a: Any) -> Arrays:
    cut = float(observable.options["cut"])
    if "singular_value_map" in f:
        w = f.singular_value_map(a, lambda s: 0 * s + ops.above(s, cut))
    else:
        u, s, _ = f.svd(a)
        w = _scaled(ops, u, ops.above(s, cut))
    return (w @ ops.adjoint(w),)


def _polar(f: Functions, ops: Operations, observable: Observable, a: Any) -> Arrays:
    if "polar" in f:
        return tuple(f.polar(a))
    u, s, vh = f.svd(a)
    side = u if a.shape[-2] < a.shape[-1] else ops.adjoint(vh)
    return u @ vh, _scaled(ops, side, s) @ ops.adjoint(side)


def _nuclear(f: Functions, ops: Operations, observable: Observable, a: Any) -> Arrays:
    if "nuclear_norm" in f:
        return (f.nuclear_norm(a),)
    return (ops.total(f.svdvals(a) if "svdvals" in f else f.svd(a)[1]),)


def _hermitian(f: Functions, ops: Operations, observable: Observable, a: Any) -> Arrays:
    fn = elementwise(ops, observable)
    a = (a + ops.adjoint(a)) / 2
    if "eigenvalue_map" in f:
        return (f.eigenvalue_map(a, fn),)
    w, q = f.eigh(a)
    return (_scaled(ops, q, fn(w)) @ ops.adjoint(q),)


def _factors(f: Functions, ops: Operations, observable: Observable, a: Any) -> Arrays:
    u, s, vh = f.svd(a)
    kept, v = ops.above(s, float(observable.options["cut"])), ops.adjoint(vh)
    products = (_scaled(ops, u, values) @ vh for values in (ops.tanh(s), 1 / s))
    projectors = (_scaled(ops, q, kept) @ ops.adjoint(q) for q in (u, v))
    return *products, u @ vh, *projectors, ops.adjoint(u) @ u


def _named(f: Functions, ops: Operations, observable: Observable, a: Any) -> Arrays:
    """Each by the module's own function, or from the factors."""
    composed = _COMPOSED[observable.kind]
    a = (a + ops.adjoint(a)) / 2 if observable.kind == "roots" else a
    names = NAMED[observable.kind]
    parts = {} if all(name in f for name in names) else composed(f, ops, observable, a)

    def output(name: str) -> Any:
        if name not in f:
            return parts[name]
        others, keywords = arguments(ops, Observable(name, observable.options), a)
        if name == "align_points":
            points = ops.constant(points_of(a.shape[-1]), a) @ a
            rotation, translation, scale, _ = f.align_points(points, *others, **keywords)
            return scale[..., None, None] * rotation + translation[..., None, :]
        if name == "tensor_svt":
            weights, sums = (ops.constant(observable.options[o], a) for o in ("weights", "sums"))
            return ops.total(sums * f.tensor_svt(a[..., None] * weights, *others))
        result = getattr(f, name)(a, *others, **keywords)
        return result[0] if name == "lstsq" else result

    return tuple(map(output, names))


def _shrink(f: Functions, ops: Operations, observable: Observable, a: Any) -> dict[str, Any]:
    u, s, vh = f.svd(a)
    options = observable.options
    beyond = s - options["maximum"]
    inside = 0 * s + 1
    for _ in range(s.shape[-1]):  # Michelot 1986: drop what is negative, until nothing is
        shift = ((ops.total(s * inside) - options["radius"]) / ops.total(inside))[..., None]
        inside = ops.above(s, shift)
    return {
        "singular_value_clip": _scaled(ops, u, s - beyond * ops.above(beyond, 0.0)) @ vh,
        "project_nuclear_ball": _scaled(ops, u, (s - shift) * inside) @ vh,
        "range_projector": _scaled(ops, u, ops.first(s, options["rank"])) @ ops.adjoint(u),
        "schatten_norm": ops.total(s ** options["p"]) ** (1 / options["p"]),
        "spectral_norm": s[..., 0],
        "spectral_function": of_values(ops, s),
    }


def _invert(f: Functions, ops: Operations, observable: Observable, a: Any) -> dict[str, Any]:
    u, s, vh = f.svd(a)
    pinv = _scaled(ops, ops.adjoint(vh), 1 / s) @ ops.adjoint(u)
    (b,), _ = arguments(ops, Observable("lstsq", observable.options), a)
    return {"pinv": pinv, "procrustes": u @ vh, "lstsq": (pinv @ b[..., None])[..., 0]}


def _rotate(f: Functions, ops: Operations, observable: Observable, a: Any) -> dict[str, Any]:
    u, s, vh = f.svd(a)
    last = 1 - ops.first(s, s.shape[-1] - 1)
    sign = 2 * ops.above(ops.det(u @ vh), 0.0) - 1
    return {"procrustes": _scaled(ops, u, 1 + last * (sign - 1)[..., None]) @ vh}


def _align(f: Functions, ops: Operations, observable: Observable, a: Any) -> dict[str, Any]:
    u, s, vh = f.svd(a)
    last = 1 - ops.first(s, s.shape[-1] - 1)
    signs = 1 + last * (2 * ops.above(ops.det(u @ vh), 0.0) - 2)[..., None]
    scale = (ops.total(s * signs) / ops.total(s * s))[..., None, None]
    turned = scale * (_scaled(ops, u, signs) @ vh)
    center = ops.constant(observable.options["center"], a)
    translation = center - ops.total(turned * a[..., :1, :])
    return {"align_points": turned + translation[..., None, :]}


def _tensor(f: Functions, ops: Operations, observable: Observable, a: Any) -> dict[str, Any]:
    u, s, vh = f.svd(a)
    multiples = np.fft.fft(observable.options["weights"])
    backs = np.fft.ifft(observable.options["sums"]) * multiples / np.abs(multiples)
    values = 0 * s
    for multiple, back in zip(np.abs(multiples), backs.real, strict=True):
        beyond = float(multiple) * s - observable.options["tau"]
        values = values + float(back) * beyond * ops.above(beyond, 0.0)
    return {"tensor_svt": _scaled(ops, u, values) @ vh}


def _roots(f: Functions, ops: Operations, observable: Observable, a: Any) -> dict[str, Any]:
    w, q = f.eigh(a)
    of = (w**0.5, w**-0.5, w ** observable.options["p"], ops.log(w), ops.exp(w))
    made = (_scaled(ops, q, values) @ ops.adjoint(q) for values in of)
    return dict(zip(NAMED["roots"], made, strict=True))


_COMPOSED: dict[str, Callable[..., dict[str, Any]]] = {
    "shrink": _shrink,
    "invert": _invert,
    "rotate": _rotate,
    "roots": _roots,
    "align": _align,
    "tensor": _tensor,
}


def _gauge(f: Functions, ops: Operations, observable: Observable, a: Any) -> Arrays:
    mode = observable.options.get("mode", "ignore")
    if mode == "ignore":
        u, _, vh = f.svd(a)
    elif "gauge" in inspect.signature(f.svd).parameters:
        u, _, vh = f.svd(a, gauge=mode)
    else:
        raise NotApplicable("svd has no option gauge")
    return u, vh


_BY_KIND: dict[str, Callable[..., Arrays]] = {
    "values": _values,
    "eigenvalues": _eigenvalues,
    "truncated": _truncated,
    "reconstruction": _reconstruction,
    "soft": _soft,
    "hard": _hard,
    "smooth": _smooth,
    "low_rank": _low_rank,
    "projector": _projector,
    "polar": _polar,
    "nuclear": _nuclear,
    "hermitian": _hermitian,
    "factors": _factors,
    **dict.fromkeys(NAMED, _named),
    "gauge": _gauge,
}
