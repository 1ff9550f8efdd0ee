"""The observables: which function of a module computes each, and which steps follow.

If a module has the function itself (``svt`` for the soft threshold), that is used. Otherwise the
observable is composed from the factors of ``svd`` in the framework's operations. So a framework's
native SVD, and a module that exports ``svd`` and ``svt`` only, are tested on everything that their
functions can express.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..frameworks import Bridge
from .case import NAMED, Observable
from .implementation import Arrays, Functions, NotApplicable

__all__ = ["FUNCTIONS", "NAMED", "OWN", "Call", "ahead", "back", "call", "evaluate", "follow"]

FUNCTIONS: dict[str, Callable[[Bridge, Any], Any]] = {
    "tanh": lambda ops, s: ops.tanh(s),
    "wiener": lambda ops, s: s * s * s / (s * s + 0.25),
    "inverse_root": lambda ops, s: (s + 0.5) ** -0.5,
    "exp": lambda ops, s: ops.exp(s),
}
"""The elementwise functions ``f`` of `smooth` and `hermitian`, used as ``c f(s/c)``."""

OWN = {
    "soft": "svt", "nuclear": "nuclear_norm", "values": "svdvals", "eigenvalues": "eigvalsh",
    "truncated": "truncated_svd", "reconstruction": "svd", "factors": "svd", "gauge": "svd",
    "hard": "singular_value_map", "smooth": "singular_value_map", "hermitian": "eigenvalue_map",
    "projector": "singular_value_map",
}  # fmt: skip
"""The function that computes an observable, if it has another name."""

_POSITIONAL = {
    "low_rank": "rank", "truncated": "rank", "singular_value_clip": "maximum",
    "project_nuclear_ball": "radius", "schatten_norm": "p", "powm": "p", "tensor_svt": "tau",
}  # fmt: skip


class Call(NamedTuple):
    """The name of a function, and its arguments."""

    name: str
    args: Arrays
    keywords: dict[str, Any]


def _both_signs(d: int) -> NDArray[np.float64]:
    """The points of `align_points`: unit vectors and their opposites, as rows."""
    return np.concatenate([np.eye(d), -np.eye(d)])


def _points_of(ops: Bridge, x: Any) -> Any:
    """The points of `align_points` for a matrix: its rows with both signs, moved by the first."""
    d = x.shape[-1]
    return ops.constant(_both_signs(d) + np.eye(d)[0], x)


def ahead(ops: Bridge, observable: Observable, x: Any) -> Any:
    """The argument of the function, which is linear in the matrix, so directions map alike."""
    if observable.kind in ("hermitian", "eigenvalues", "roots", *NAMED["roots"]):
        return (x + ops.adjoint(x)) / 2
    if observable.kind == "align_points":
        return _points_of(ops, x) @ x
    if observable.kind == "tensor_svt":
        return x[..., None] * ops.constant(observable.options["weights"], x)
    return x


def back(ops: Bridge, observable: Observable, ct: Any) -> Any:
    """The adjoint of :func:`ahead`."""
    if observable.kind == "align_points":
        return ops.adjoint(_points_of(ops, ct)) @ ct
    if observable.kind == "tensor_svt":
        return ops.total(ct * ops.constant(observable.options["weights"], ct))
    return ahead(ops, observable, ct)


def _elementwise(ops: Bridge, observable: Observable) -> Callable[[Any], Any]:
    """``s -> c f(s/c)``."""
    f, c = FUNCTIONS[observable.options["function"]], float(observable.options["scale"])
    return lambda s: f(ops, s / c) * c


def _of_values(ops: Bridge, s: Any) -> Any:
    """The symmetric function of `spectral_function`; it mixes the values."""
    return ops.total(ops.tanh(s) ** 2) * ops.total(s * s)


def _right_side(ops: Bridge, observable: Observable, a: Any) -> Any:
    """The vector b of `lstsq`, in the dtype of the matrix."""
    return ops.constant(np.asarray(observable.options["b"]), a)


def _of_spectrum(ops: Bridge, observable: Observable, tau: Arrays) -> Callable[[Any], Any]:
    """The function of the values for an observable, to pass to a module's map."""
    if observable.kind == "spectral_function":
        return lambda s: _of_values(ops, s)
    if observable.kind == "hard":
        return lambda s: s * ops.above(s, tau[0][..., None])
    if observable.kind == "projector":
        return lambda s: 0 * s + ops.above(s, float(observable.options["cut"]))
    return _elementwise(ops, observable)


def call(ops: Bridge, observable: Observable, inputs: Arrays) -> Call:
    """The call that computes an observable, up to what :func:`follow` does to its outputs."""
    kind, options = observable.kind, observable.options
    a, *tau = ahead(ops, observable, inputs[0]), *inputs[1:]
    name = OWN.get(kind, kind)
    if name.endswith("_map") or name == "spectral_function":
        return Call(name, (a, _of_spectrum(ops, observable, tuple(tau))), {})
    if kind == "lstsq":
        return Call(name, (a, _right_side(ops, observable, a)), {})
    if kind == "align_points":
        targets = _both_signs(a.shape[-1]) + options["center"]
        return Call(name, (a, ops.constant(targets, a)), {"scale": True})
    keywords: dict[str, Any] = {}
    if kind == "range_projector":
        keywords["rank"] = options["rank"]
    if kind == "procrustes" and options.get("special"):
        keywords["special"] = True
    if kind == "gauge" and options.get("mode", "ignore") != "ignore":
        keywords["gauge"] = options["mode"]
    further = tau or ([options[_POSITIONAL[kind]]] if kind in _POSITIONAL else [])
    return Call(name, (a, *further), keywords)


def groups(observable: Observable, k: int) -> list[list[int]]:
    """Groups of values, numbered from the largest one; eigenvalues ascend."""
    of: list[list[int]] = observable.options["groups"]
    return [[k - 1 - i for i in group] for group in of] if observable.kind == "eigenvalues" else of


def follow(ops: Bridge, observable: Observable, y: Arrays) -> Arrays:
    """Compute an observable from the outputs of the function that :func:`call` names."""
    kind = observable.kind
    if kind in ("values", "eigenvalues"):
        return (ops.mean_over(y[0], groups(observable, y[0].shape[-1])),)
    if kind == "projector":
        return (y[0] @ ops.adjoint(y[0]),)
    if kind == "lstsq":
        return y[:1]
    if kind == "align_points":
        rotation, translation, scale = y[:3]
        return (scale[..., None, None] * rotation + translation[..., None, :],)
    if kind == "tensor_svt":
        return (ops.total(ops.constant(observable.options["sums"], y[0]) * y[0]),)
    if OWN.get(kind) not in ("svd", "truncated_svd"):
        return y
    u, s, vh = y[:3]
    if kind == "gauge":
        return u, vh
    product = ops.recompose(u, s, vh)
    if kind == "truncated":
        return u @ ops.adjoint(u), ops.adjoint(vh) @ vh, product
    if kind == "reconstruction":
        return (product,)
    kept, v = ops.above(s, float(observable.options["cut"])), ops.adjoint(vh)
    products = (ops.recompose(u, values, vh) for values in (ops.tanh(s), 1 / s))
    projectors = (ops.scaled(q, kept) @ ops.adjoint(q) for q in (u, v))
    return *products, u @ vh, *projectors, ops.adjoint(u) @ u


def evaluate(f: Functions, ops: Bridge, observable: Observable, inputs: Arrays) -> Arrays:
    """Compute an observable in a framework that differentiates compositions.

    Parameters
    ----------
    f
        The functions of the module.
    ops
        The framework, for its operations.
    observable, inputs
        The observable, and ``(a,)`` or ``(a, tau)``.

    Returns
    -------
    tuple of arrays
        The outputs; complex ones in the dtype of ``a``.

    Raises
    ------
    NotApplicable
        If a function that is needed is missing.
    """
    names = NAMED.get(observable.kind, (observable.kind,))
    parts = [Observable(name, observable.options) for name in names]
    own = [OWN.get(name, name) in f for name in names]
    composed = {} if all(own) else _composed(f, ops, observable, *inputs)

    def output(part: Observable) -> Arrays:
        name, args, keywords = call(ops, part, inputs)
        if "gauge" in keywords and "gauge" not in inspect.signature(f.svd).parameters:
            raise NotApplicable("svd has no option gauge")
        y = getattr(f, name)(*args, **keywords)
        return follow(ops, part, tuple(y) if isinstance(y, tuple) else (y,))

    return tuple(
        y
        for part, has in zip(parts, own, strict=True)
        for y in (output(part) if has else composed[part.kind])
    )


def _composed(
    f: Functions, ops: Bridge, observable: Observable, a: Any, *tau: Any
) -> dict[str, Arrays]:
    """The outputs of missing functions, from the factors of ``svd`` or ``eigh``."""
    kind, options = observable.kind, observable.options
    if kind in ("hermitian", "eigenvalues", "roots"):
        return _of_eigh(f, ops, observable, ahead(ops, observable, a))
    if kind == "nuclear":
        return {kind: (ops.total(f.svdvals(a) if "svdvals" in f else f.svd(a)[1]),)}
    u, s, vh = f.svd(a)
    if kind == "values":
        return {kind: follow(ops, observable, (s,))}
    if kind == "truncated":
        rank = options["rank"]
        u, s, vh = u[..., :, :rank], s[..., :rank], vh[..., :rank, :]
        return {kind: follow(ops, observable, (u, s, vh))}
    if kind == "projector":
        kept = ops.scaled(u, ops.above(s, float(options["cut"])))
        return {kind: follow(ops, observable, (kept,))}
    if kind == "polar":
        side = u if a.shape[-2] < a.shape[-1] else ops.adjoint(vh)
        return {kind: (u @ vh, ops.scaled(side, s) @ ops.adjoint(side))}
    if kind in NAMED:
        made = _SEVERAL[kind](ops, observable, a, u, s, vh)
        return {name: (y,) for name, y in made.items()}
    if kind == "soft":
        beyond = s - tau[0][..., None]
        value = beyond * ops.above(beyond, 0.0)
    elif kind == "low_rank":
        value = s * ops.first(s, options["rank"])
    else:
        value = _of_spectrum(ops, observable, tau)(s)
    return {kind: (ops.recompose(u, value, vh),)}


def _of_eigh(f: Functions, ops: Bridge, observable: Observable, a: Any) -> dict[str, Arrays]:
    w, q = f.eigh(a)
    if observable.kind == "eigenvalues":
        return {"eigenvalues": follow(ops, observable, (w,))}
    of: dict[str, Callable[[], Any]] = {
        "hermitian": lambda: _elementwise(ops, observable)(w),
        "sqrtm": lambda: w**0.5,
        "inv_sqrtm": lambda: w**-0.5,
        "powm": lambda: w ** observable.options["p"],
        "logm": lambda: ops.log(w),
        "expm": lambda: ops.exp(w),
    }
    names = NAMED.get(observable.kind, (observable.kind,))
    return {name: (ops.recompose(q, of[name](), ops.adjoint(q)),) for name in names}


def _shrink(ops: Bridge, observable: Observable, a: Any, u: Any, s: Any, vh: Any) -> dict[str, Any]:
    options = observable.options
    beyond = s - options["maximum"]
    inside = 0 * s + 1
    for _ in range(s.shape[-1]):  # Michelot 1986: drop negative values until there are none
        shift = ((ops.total(s * inside) - options["radius"]) / ops.total(inside))[..., None]
        inside = ops.above(s, shift)
    return {
        "singular_value_clip": ops.recompose(u, s - beyond * ops.above(beyond, 0.0), vh),
        "project_nuclear_ball": ops.recompose(u, (s - shift) * inside, vh),
        "range_projector": ops.scaled(u, ops.first(s, options["rank"])) @ ops.adjoint(u),
        "schatten_norm": ops.total(s ** options["p"]) ** (1 / options["p"]),
        "spectral_norm": s[..., 0],
        "spectral_function": _of_values(ops, s),
    }


def _invert(ops: Bridge, observable: Observable, a: Any, u: Any, s: Any, vh: Any) -> dict[str, Any]:
    pinv = ops.recompose(ops.adjoint(vh), 1 / s, ops.adjoint(u))
    b = _right_side(ops, observable, a)
    return {"pinv": pinv, "procrustes": u @ vh, "lstsq": (pinv @ b[..., None])[..., 0]}


def _turned(ops: Bridge, u: Any, s: Any, vh: Any) -> Any:
    """1 for each value, and for the last one the sign of the determinant of ``U Vh``."""
    last = 1 - ops.first(s, s.shape[-1] - 1)
    return 1 + last * (2 * ops.above(ops.det(u @ vh), 0.0) - 2)[..., None]


def _rotate(ops: Bridge, observable: Observable, a: Any, u: Any, s: Any, vh: Any) -> dict[str, Any]:
    return {"procrustes": ops.recompose(u, _turned(ops, u, s, vh), vh)}


def _align(ops: Bridge, observable: Observable, a: Any, u: Any, s: Any, vh: Any) -> dict[str, Any]:
    signs = _turned(ops, u, s, vh)
    scale = (ops.total(s * signs) / ops.total(s * s))[..., None, None]
    turned = scale * ops.recompose(u, signs, vh)
    center = ops.constant(observable.options["center"], a)
    translation = center - ops.total(turned * a[..., :1, :])
    return {"align_points": turned + translation[..., None, :]}


def _tensor(ops: Bridge, observable: Observable, a: Any, u: Any, s: Any, vh: Any) -> dict[str, Any]:
    multiples = np.fft.fft(observable.options["weights"])
    backs = np.fft.ifft(observable.options["sums"]) * multiples / np.abs(multiples)
    values = 0 * s
    for multiple, share in zip(np.abs(multiples), backs.real, strict=True):
        beyond = float(multiple) * s - observable.options["tau"]
        values = values + float(share) * beyond * ops.above(beyond, 0.0)
    return {"tensor_svt": ops.recompose(u, values, vh)}


_SEVERAL: dict[str, Callable[..., dict[str, Any]]] = {
    "shrink": _shrink,
    "invert": _invert,
    "rotate": _rotate,
    "align": _align,
    "tensor": _tensor,
}
"""The functions of `NAMED` from the factors of ``svd``."""
