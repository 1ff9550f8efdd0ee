"""Implementations without automatic differentiation: explicit ``vjp`` and ``jvp`` of functions.

A module of this kind has functions (``svt(x, tau)``, ...), ``vjp(fn, x, *args)``, which returns the
value and a pullback, and ``jvp(fn, primals, tangents)``, as `svdinv.numpy` and `svdinv.cupy` do. If
an observable is more than one function, the chain rule of the rest is written here
(:class:`_Step`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..frameworks import NumPy
from ..frameworks.bridge import averages
from .case import NAMED, Observable
from .implementation import Arrays, NotApplicable, OnBridge
from .observables import OWN, ahead, back, call, follow, groups

__all__ = ["CORE_NAMES", "Core", "Explicit"]

CORE_NAMES = (
    "SVD", "Auto", "SingularValues", "SoftThreshold", "LowRank", "NuclearNorm", "Polar",
    "SingularValueMap", "EigenvalueMap", "complex_step_slope",
)  # fmt: skip
"""The names that a copy of `svdinv_core` has to have."""

Derivative = Callable[[Arrays, Arrays], Arrays]
"""A function of a point and a tangent, or of a point and cotangents."""


def _no_tangent(y: Arrays, dy: Arrays) -> Arrays:
    raise NotApplicable("in reverse mode only")


@dataclass(frozen=True)
class _Step:
    """A further step after a function: its value, tangent and cotangent.

    `bent`, of a tangent and the cotangents, is the derivative of `cotangent` along the tangent, or
    None if that is zero. `of_tau` is the cotangent of a threshold that enters in this step.
    """

    value: Callable[[Arrays], Arrays] = lambda y: y
    tangent: Derivative = lambda y, dy: dy
    cotangent: Derivative = lambda y, ct: ct
    bent: Derivative | None = None
    of_tau: Callable[[Arrays, Arrays], Any] | None = None


Plan = tuple[Any, Arrays, dict[str, Any], _Step]
"""A function to call, its arguments and keywords, and the next step."""


def _spectral(ops: NumPy, f: Callable[[Any], tuple[Any, Any]], has_tau: bool = False) -> _Step:
    """``U diag(f(S)) Vh`` for a function that returns values and slopes.

    A threshold, if there is one, enters as ``f(S - tau)``.
    """

    def tangent(y: Arrays, dy: Arrays) -> Arrays:
        (u, s, vh), (du, ds, dvh) = y, dy
        value, slope = f(s)
        left = ops.scaled(du, value) + ops.scaled(u, slope * ds)
        return (left @ vh + ops.recompose(u, value, dvh),)

    def cotangent(y: Arrays, ct: Arrays) -> Arrays:
        value, slope = f(y[1])
        ct_u, ct_f, ct_vh = ops.pull_back(y[0], value, y[2], *ct)
        return ct_u, slope * ct_f, ct_vh

    def of_tau(y: Arrays, ct: Arrays) -> Any:
        return -ops.total(cotangent(y, ct)[1])

    return _Step(
        lambda y: (ops.recompose(y[0], f(y[1])[0], y[2]),),
        tangent,
        cotangent,
        of_tau=of_tau if has_tau else None,
    )


def _gram(ops: NumPy, value: Callable[[Arrays], Arrays]) -> _Step:
    """``W W^H``."""

    def tangent(y: Arrays, dy: Arrays) -> Arrays:
        half = dy[0] @ ops.adjoint(y[0])
        return (half + ops.adjoint(half),)

    def cotangent(y: Arrays, ct: Arrays) -> Arrays:  # linear in y
        return ((ct[0] + ops.adjoint(ct[0])) @ y[0],)

    return _Step(value, tangent, cotangent, cotangent)


def _of_factors(ops: NumPy, value: Callable[[Arrays], Arrays], cut: float) -> _Step:
    """The outputs of `factors`, in reverse mode."""

    def slopes(s: Any) -> list[tuple[Any, Any]]:
        """Values and slopes of tanh, the inverse and one."""
        return [(ops.tanh(s), 1 - ops.tanh(s) ** 2), (1 / s, -1 / s**2), (0 * s + 1, 0 * s)]

    def cotangent(y: Arrays, cts: Arrays) -> Arrays:
        u, s, vh = y
        *of_products, left, right, gram = cts
        kept, v = ops.above(s, cut), ops.adjoint(vh)
        ct_u = u @ (gram + ops.adjoint(gram))
        ct_u = ct_u + ops.scaled((left + ops.adjoint(left)) @ u, kept)
        ct_v = ops.scaled((right + ops.adjoint(right)) @ v, kept)
        ct_s, ct_vh = 0 * s, ops.adjoint(ct_v)
        for (f, slope), ct in zip(slopes(s), of_products, strict=True):
            to_u, to_f, to_vh = ops.pull_back(u, f, vh, ct)
            ct_u, ct_s, ct_vh = ct_u + to_u, ct_s + slope * to_f, ct_vh + to_vh
        return ct_u, ct_s, ct_vh

    return _Step(value, _no_tangent, cotangent)


def _of_truncated(ops: NumPy, value: Callable[[Arrays], Arrays]) -> _Step:
    """Projectors and product of the kept triples."""

    def cotangent(y: Arrays, cts: Arrays) -> Arrays:
        u, s, vh, *others = y
        left, right, product = cts
        ct_u, ct_s, ct_vh = ops.pull_back(u, s, vh, product)
        ct_u = ct_u + (left + ops.adjoint(left)) @ u
        ct_vh = ct_vh + vh @ (right + ops.adjoint(right))
        return ct_u, ct_s, ct_vh, *(None for _ in others)

    return _Step(value, _no_tangent, cotangent)


def _linear(apply: Callable[[Any], Any], transpose: Callable[[Any], Any]) -> _Step:
    return _Step(
        lambda y: (apply(y[0]),), lambda y, dy: (apply(dy[0]),), lambda y, ct: (transpose(ct[0]),)
    )


def _aligned(ops: NumPy, value: Callable[[Arrays], Arrays]) -> _Step:
    """``scale R + translation``, of the results of `align_points`."""

    def tangent(y: Arrays, dy: Arrays) -> Arrays:
        rotation, _, scale, _ = y
        (moved,) = value((dy[0], dy[1], scale))
        return (moved + dy[2][..., None, None] * rotation,)

    def to_factors(y: Arrays, ct: Any) -> tuple[Any, Any]:  # linear in y
        return y[2][..., None, None] * ct, ops.xp.sum(y[0] * ct, axis=(-2, -1))

    def cotangent(y: Arrays, ct: Arrays) -> Arrays:
        to_rotation, to_scale = to_factors(y, ct[0])
        return to_rotation, ops.xp.sum(ct[0], axis=-2), to_scale, None

    def bent(dy: Arrays, ct: Arrays) -> Arrays:
        to_rotation, to_scale = to_factors(dy, ct[0])
        return to_rotation, 0 * ct[0][..., 0, :], to_scale, None

    return _Step(value, tangent, cotangent, bent)


def _take(*places: int) -> _Step:
    """Some of a function's outputs."""

    def cotangent(y: Arrays, ct: Arrays) -> Arrays:
        given = dict(zip(places, ct, strict=True))
        return tuple(given.get(i) for i in range(len(y)))

    return _Step(
        lambda y: tuple(y[i] for i in places), lambda y, dy: tuple(dy[i] for i in places), cotangent
    )


def _tuple(y: Any) -> Arrays:
    return tuple(y) if isinstance(y, tuple) else (y,)


def _own(y: Any, ct: Arrays) -> Any:
    """Cotangents in the structure of the outputs: one array for one array."""
    return ct if isinstance(y, tuple) else ct[0]


class Explicit(OnBridge):
    """A module with explicit derivatives, over NumPy or a library with its interface."""

    bridge: NumPy

    def _plan(self, observable: Observable, inputs: Arrays) -> Plan:
        """The function to call, its arguments, keywords and the next step."""
        f, ops, kind = self.functions, self.bridge, observable.kind
        value = partial(follow, ops, observable)
        if OWN.get(kind, kind) not in f and kind in ("soft", "hard", "nuclear"):
            return self._from_factors(observable, inputs)
        name, args, keywords = call(ops, observable, inputs)
        step = _Step(value)
        if kind == "reconstruction":
            step = _spectral(ops, lambda s: (s, 0 * s + 1))
        elif kind == "factors":
            step = _of_factors(ops, value, float(observable.options["cut"]))
        elif kind == "truncated":
            step = _of_truncated(ops, value)
        elif kind == "projector":
            step = _gram(ops, value)
        elif kind in ("values", "eigenvalues"):
            k = min(inputs[0].shape[-2:])
            shares = averages(groups(observable, k), k).T
            step = _linear(lambda s: value((s,))[0], lambda ct: ct @ ops.constant(shares, ct))
        elif kind == "align_points":
            step = _aligned(ops, value)
        elif kind == "tensor_svt":
            sums = ops.constant(observable.options["sums"], inputs[0])
            step = _linear(lambda y: value((y,))[0], lambda ct: ct[..., None] * sums)
        elif kind in ("gauge", "lstsq"):
            step = _take(0, 2) if kind == "gauge" else _take(0)
        return getattr(f, name), args, keywords, step

    def _from_factors(self, observable: Observable, inputs: Arrays) -> Plan:
        """The plan for a module without the function, by its ``svdvals`` or ``svd``."""
        f, ops = self.functions, self.bridge
        a, *tau = inputs
        if observable.kind == "nuclear":
            fn, place = (f.svdvals, 0) if "svdvals" in f else (f.svd, 1)

            def spread(y: Arrays, ct: Arrays) -> Arrays:
                return tuple(0 * s + ct[0][..., None] if i == place else None
                             for i, s in enumerate(y))  # fmt: skip

            return (
                fn,
                (a,),
                {},
                _Step(
                    lambda y: (ops.total(y[place]),), lambda y, dy: (ops.total(dy[place]),), spread
                ),
            )
        soft = observable.kind == "soft"

        def thresholded(s: Any) -> tuple[Any, Any]:
            kept = ops.above(s, tau[0][..., None])
            return (s - soft * tau[0][..., None]) * kept, kept

        return f.svd, (a,), {}, _spectral(ops, thresholded, has_tau=soft)

    def _moved(self, observable: Observable, tangents: Arrays) -> Arrays:
        """Tangents of the differentiated arguments; a threshold in a closure is held fixed."""
        da, *dtau = tangents
        return ahead(self.bridge, observable, da), *(dtau if observable.kind == "soft" else ())

    def _back(self, observable: Observable, inputs: Arrays, ct: Arrays, of_tau: Any) -> Arrays:
        """A cotangent for each input, None for a threshold that the function has in its closure."""
        ct_a, *rest = ct
        ct_a = back(self.bridge, observable, ct_a)
        if len(inputs) == 1:
            return (ct_a,)
        return ct_a, rest[0] if observable.kind == "soft" and rest else of_tau

    def _asked(self, observable: Observable, cts: Arrays) -> list[tuple[Observable, Any]]:
        """The functions, of several, that the loss depends on; others may have no derivative."""
        parts = [Observable(name, observable.options) for name in NAMED[observable.kind]]
        pairs = list(zip(parts, cts, strict=True))
        return [(part, ct) for part, ct in pairs if self.bridge.xp.any(ct != 0)] or pairs

    def _each(self, observable: Observable, ask: Callable[[Observable], Arrays]) -> Arrays:
        """Answers to an observable that is several functions."""
        names = NAMED[observable.kind]
        return tuple(ask(Observable(name, observable.options))[0] for name in names)

    def value(self, observable: Observable, inputs: Arrays) -> Arrays:
        """The outputs."""
        if observable.kind in NAMED:
            return self._each(observable, lambda part: self.value(part, inputs))
        fn, args, keywords, step = self._plan(observable, inputs)
        return step.value(_tuple(fn(*args, **keywords)))

    def vjp(self, observable: Observable, inputs: Arrays, cotangents: Arrays) -> Arrays:
        """The module's pullback."""
        if observable.kind in NAMED:
            asked = self._asked(observable, cotangents)
            grads = [self.vjp(part, inputs, (ct,))[0] for part, ct in asked]
            return (sum(grads[1:], grads[0]),)
        fn, args, keywords, step = self._plan(observable, inputs)
        y, pullback = self.functions.vjp(fn, *args, **keywords)
        ct = pullback(_own(y, step.cotangent(_tuple(y), cotangents)))
        of_tau = step.of_tau(_tuple(y), cotangents) if step.of_tau is not None else None
        return self._back(observable, inputs, ct, of_tau)

    def jvp(self, observable: Observable, inputs: Arrays, tangents: Arrays) -> Arrays:
        """The module's push-forward."""
        if observable.kind in NAMED:
            return self._each(observable, lambda part: self.jvp(part, inputs, tangents))
        fn, args, keywords, step = self._plan(observable, inputs)
        y, dy = self.functions.jvp(fn, args, self._moved(observable, tangents), **keywords)
        return step.tangent(_tuple(y), _tuple(dy))

    def hvp(
        self, observable: Observable, inputs: Arrays, cotangents: Arrays, tangents: Arrays
    ) -> Arrays:
        """The module's Hessian-vector product, of an operator."""
        if observable.kind in NAMED:
            asked = self._asked(observable, cotangents)
            seconds = [self.hvp(part, inputs, (ct,), tangents)[0] for part, ct in asked]
            return (sum(seconds[1:], seconds[0]),)
        if observable.kind in ("values", "reconstruction", "factors", "eigenvalues", "truncated"):
            raise NotApplicable("svd and svdvals themselves have no second derivative at a tie")
        fn, args, keywords, step = self._plan(observable, inputs)
        moved = self._moved(observable, tangents)
        y = fn(*args, **keywords)
        ct = _own(y, step.cotangent(_tuple(y), cotangents))
        try:
            second, *rest = self.functions.hvp(fn, args, moved, ct, **keywords)
        except TypeError as error:
            if "no second derivative" in str(error):
                raise NotApplicable(str(error)) from None
            raise
        if step.bent is not None:
            dy = self.functions.jvp(fn, args, moved, **keywords)[1]
            pullback = self.functions.vjp(fn, *args, **keywords)[1]
            second = second + pullback(_own(y, step.bent(_tuple(dy), cotangents)))[0]
        return self._back(observable, inputs, (second, *rest), None)


class _CoreFunctions:
    """`svdinv_core`, or a copy of it under another name, as a module with explicit derivatives.

    A function here is a pair: a function that makes the core's operation from the further
    arguments, and the number of these that are differentiated.
    """

    def __init__(self, core: Any, xp: Any) -> None:
        self._core, self._xp = core, xp
        slope = core.complex_step_slope
        makers: dict[str, Callable[..., Any]] = {
            "svd": lambda: core.SVD(core.Auto()),
            "svdvals": lambda: core.SingularValues(),
            "svt": lambda tau: core.SoftThreshold(),
            "low_rank": lambda rank: core.LowRank(rank),
            "nuclear_norm": lambda: core.NuclearNorm(),
            "polar": lambda: core.Polar(),
            "singular_value_map": lambda fn: core.SingularValueMap(fn, slope(xp, fn)),
            "eigenvalue_map": lambda fn: core.EigenvalueMap(fn, slope(xp, fn)),
        }
        for name, make in makers.items():
            setattr(self, name, _CoreFunction(self, make))

    def call(self, make: Callable[..., Any], x: Any, args: Arrays) -> tuple[Any, Any, Arrays]:
        """Operation, where it is evaluated, and its values."""
        operation, xp = make(*args), self._xp
        params = args if isinstance(operation, self._core.SoftThreshold) else ()
        decomposition = getattr(operation, "decomposition", operation)
        factors = decomposition.compute(xp, x)
        at = self._core.Point(xp, x, factors, params)
        return operation, at, tuple(factors) if decomposition is operation else operation.apply(at)

    def vjp(self, fn: _CoreFunction, x: Any, *args: Any, **_: Any) -> tuple[Any, Any]:
        """Value and pullback."""
        operation, at, outs = self.call(fn.make, x, args)

        def pullback(cts: Any) -> Arrays:
            if not hasattr(operation, "decomposition"):
                return (operation.vjp(self._xp, at.factors, cts),)
            ct_x, ct_params = operation.vjp(at, cts if len(outs) > 1 else (cts,))
            return ct_x, *ct_params

        return _single(outs), pullback

    def jvp(self, fn: _CoreFunction, primals: Arrays, tangents: Arrays, **_: Any) -> Any:
        """Value and tangent."""
        x, *args = primals
        operation, at, outs = self.call(fn.make, x, tuple(args))
        dx, *dparams = tangents
        if not hasattr(operation, "decomposition"):
            return outs, tuple(operation.jvp(self._xp, at.factors, dx))
        along = self._core.Tangents(dx, tuple(dparams))
        return _single(outs), _single(operation.jvp(at, along))


def _single(outs: Arrays) -> Any:
    """The array of a function with one output, else the tuple."""
    return outs if len(outs) > 1 else outs[0]


@dataclass(frozen=True)
class _CoreFunction:
    functions: _CoreFunctions
    make: Callable[..., Any]

    def __call__(self, x: Any, *args: Any, **_: Any) -> Any:
        return _single(self.functions.call(self.make, x, args)[-1])


class Core(Explicit):
    """A copy of `svdinv_core`, over NumPy."""

    def __init__(
        self, bridge: NumPy, module: Any, name: str, versions: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(bridge, _CoreFunctions(module, bridge.xp), name, versions)

    def _plan(self, observable: Observable, inputs: Arrays) -> Plan:
        if observable.kind == "gauge" and observable.options.get("mode", "ignore") != "ignore":
            raise NotApplicable("the core says it with gauge_residual, not with an error")
        return super()._plan(observable, inputs)
