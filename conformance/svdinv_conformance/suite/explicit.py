"""Implementations without automatic differentiation: explicit ``vjp`` and ``jvp`` of functions.

A module of this kind has functions (``svt(x, tau)``, ...) and ``vjp(fn, x, *args)``, which returns
the value and a pullback, and ``jvp(fn, primals, tangents)``, as `svdinv.numpy` and `svdinv.cupy`
do. Where an observable is more than one function, what follows it has its chain rule written here
(:class:`_Step`).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..frameworks import FRAMEWORKS
from ..recomposition import adjoint, pull_back, scale_columns
from .case import Observable
from .implementation import Arrays, NotApplicable, OnBridge, UnavailableError
from .observables import NAMED, Functions, arguments, ascending, elementwise, points_of

__all__ = ["CORE_NAMES", "ArrayApi", "Core", "CuPy", "Explicit"]

CORE_NAMES = (
    "SVD", "Auto", "SingularValues", "SoftThreshold", "LowRank", "NuclearNorm", "Polar",
    "SingularValueMap", "EigenvalueMap", "complex_step_slope",
)  # fmt: skip
"""What is asked of a copy of `svdinv_core`."""


@dataclass(frozen=True)
class _Step:
    """What is done with a function's outputs: value, tangent, cotangent. By default nothing.

    `bent`, of a tangent and the cotangents, is the derivative of `cotangent` along the tangent, or
    None where that is zero.
    """

    value: Callable[..., Arrays] = lambda *y: y
    tangent: Callable[[Arrays, Arrays], Arrays] = lambda y, dy: dy
    cotangent: Callable[[Arrays, Arrays], Arrays] = lambda y, ct: ct
    bent: Callable[[Arrays, Arrays], Arrays] | None = None


def _recompose(xp: Any) -> _Step:
    """``U diag(S) Vh``."""

    def tangent(y: Arrays, dy: Arrays) -> Arrays:
        (u, s, vh), (du, ds, dvh) = y, dy
        left = scale_columns(xp, du, s) + scale_columns(xp, u, ds)
        return (left @ vh + scale_columns(xp, u, s) @ dvh,)

    return _Step(
        lambda u, s, vh: (scale_columns(xp, u, s) @ vh,),
        tangent,
        lambda y, ct: pull_back(xp, *y, *ct),
    )


def _gram(xp: Any) -> _Step:
    """``W W^H``."""

    def tangent(y: Arrays, dy: Arrays) -> Arrays:
        half = dy[0] @ adjoint(xp, y[0])
        return (half + adjoint(xp, half),)

    def cotangent(y: Arrays, ct: Arrays) -> Arrays:  # linear in y
        return ((ct[0] + adjoint(xp, ct[0])) @ y[0],)

    return _Step(lambda w: (w @ adjoint(xp, w),), tangent, cotangent, cotangent)


def _of_factors(xp: Any, cut: float) -> _Step:
    """The outputs of `factors`, in reverse mode."""

    def functions(s: Any) -> list[tuple[Any, Any]]:
        """Values and slopes of tanh, the inverse and one."""
        one = xp.ones_like(s)
        return [(xp.tanh(s), 1 - xp.tanh(s) ** 2), (1 / s, -1 / s**2), (one, 0 * one)]

    def value(u: Any, s: Any, vh: Any) -> Arrays:
        kept, v = xp.astype(s > cut, s.dtype), adjoint(xp, vh)
        products = (scale_columns(xp, u, f) @ vh for f, _ in functions(s))
        projectors = (scale_columns(xp, q, kept) @ adjoint(xp, q) for q in (u, v))
        return *products, *projectors, adjoint(xp, u) @ u

    def cotangent(y: Arrays, cts: Arrays) -> Arrays:
        u, s, vh = y
        *of_products, left, right, gram = cts
        kept, v = xp.astype(s > cut, s.dtype), adjoint(xp, vh)
        ct_u = u @ (gram + adjoint(xp, gram))
        ct_u = ct_u + scale_columns(xp, (left + adjoint(xp, left)) @ u, kept)
        ct_v = scale_columns(xp, (right + adjoint(xp, right)) @ v, kept)
        ct_s, ct_vh = xp.zeros_like(s), adjoint(xp, ct_v)
        for (f, slope), ct in zip(functions(s), of_products, strict=True):
            to_u, to_f, to_vh = pull_back(xp, u, f, vh, ct)
            ct_u, ct_s, ct_vh = ct_u + to_u, ct_s + slope * to_f, ct_vh + to_vh
        return ct_u, ct_s, ct_vh

    def tangent(y: Arrays, dy: Arrays) -> Arrays:
        raise NotApplicable("in reverse mode only")

    return _Step(value, tangent, cotangent)


def _of_truncated(xp: Any) -> _Step:
    """Projectors and product of the triples that are kept."""

    def symmetric(ct: Any) -> Any:
        return ct + adjoint(xp, ct)

    def value(u: Any, s: Any, vh: Any, *others: Any) -> Arrays:
        product = scale_columns(xp, u, s) @ vh
        return u @ adjoint(xp, u), adjoint(xp, vh) @ vh, product

    def tangent(y: Arrays, dy: Arrays) -> Arrays:
        raise NotApplicable("in reverse mode only")

    def cotangent(y: Arrays, cts: Arrays) -> Arrays:
        u, s, vh, *others = y
        left, right, product = cts
        ct_u, ct_s, ct_vh = pull_back(xp, u, s, vh, product)
        ct_u, ct_vh = ct_u + symmetric(left) @ u, ct_vh + vh @ symmetric(right)
        return ct_u, ct_s, ct_vh, *(None for _ in others)

    return _Step(value, tangent, cotangent)


def _linear(apply: Callable[[Any], Any], transpose: Callable[[Any], Any]) -> _Step:
    return _Step(
        lambda s: (apply(s),), lambda y, dy: (apply(dy[0]),), lambda y, ct: (transpose(ct[0]),)
    )


def _aligned(xp: Any) -> _Step:
    """``scale R + translation``, of the results of `align_points`."""

    def value(rotation: Any, translation: Any, scale: Any, margin: Any) -> Arrays:
        return (scale[..., None, None] * rotation + translation[..., None, :],)

    def tangent(y: Arrays, dy: Arrays) -> Arrays:
        rotation, _, scale, _ = y
        (moved,) = value(dy[0], dy[1], scale, None)
        return (moved + dy[2][..., None, None] * rotation,)

    def to_factors(y: Arrays, ct: Any) -> tuple[Any, Any]:  # linear in y
        return y[2][..., None, None] * ct, xp.sum(y[0] * ct, axis=(-2, -1))

    def cotangent(y: Arrays, ct: Arrays) -> Arrays:
        to_rotation, to_scale = to_factors(y, ct[0])
        return to_rotation, xp.sum(ct[0], axis=-2), to_scale, None

    def bent(dy: Arrays, ct: Arrays) -> Arrays:
        to_rotation, to_scale = to_factors(dy, ct[0])
        return to_rotation, xp.zeros_like(ct[0][..., 0, :]), to_scale, None

    return _Step(value, tangent, cotangent, bent)


_NAMED = tuple(name for names in NAMED.values() for name in names)


def _parts(observable: Observable) -> list[Observable]:
    """One question for each function that is asked of together with others."""
    return [Observable(name, observable.options) for name in NAMED[observable.kind]]


def _tuple(y: Any) -> Arrays:
    return tuple(y) if isinstance(y, tuple) else (y,)


class Explicit(OnBridge):
    """A module with explicit derivatives over NumPy arrays.

    Parameters
    ----------
    module
        The functions, ``vjp`` and ``jvp``.
    name
        What reports call it.
    versions
        Version of each package that takes part.
    xp
        Array namespace; that of `array_api_compat.numpy` by default.
    """

    framework: ClassVar[str] = "numpy"

    def __init__(
        self, module: Any, name: str, versions: Mapping[str, str] | None = None, xp: Any = None
    ) -> None:
        self.bridge = FRAMEWORKS[self.framework]()
        self.name, self.functions = name, Functions(module)
        self.xp = xp or importlib.import_module(f"array_api_compat.{self.framework}")
        found = str(importlib.import_module(self.framework).__version__)
        self._versions = {self.framework: found, **(versions or {})}

    # Operations on arrays that a caller's function is made of; complex steps pass through them.

    def above(self, s: Any, cut: Any) -> Any:
        real = self.xp.real(s) if self.xp.isdtype(s.dtype, "complex floating") else s
        return self.xp.astype(real > cut, s.dtype)

    def tanh(self, s: Any) -> Any:
        return self.xp.tanh(s)

    def exp(self, s: Any) -> Any:
        return self.xp.exp(s)

    def total(self, s: Any) -> Any:
        return self.xp.sum(s, axis=-1)

    def constant(self, x: Any, like: Any) -> Any:
        return self.xp.asarray(x, dtype=like.dtype, device=like.device)

    def _means(self, groups: list[list[int]], a: Any) -> _Step:
        k = min(a.shape[-2:])
        weights = np.zeros((k, len(groups)))
        for column, group in enumerate(groups):
            weights[group, column] = 1 / len(group)

        def constant(like: Any) -> Any:
            return self.xp.asarray(weights, dtype=like.dtype, device=like.device)

        return _linear(
            lambda s: s @ constant(s), lambda ct: ct @ self.xp.matrix_transpose(constant(ct))
        )

    def _plan(self, observable: Observable, inputs: Arrays) -> tuple[Any, Arrays, Any, _Step]:
        """The function to call, its arguments, keywords and what follows."""
        f, xp, a = self.functions, self.xp, inputs[0]
        kind, options = observable.kind, observable.options
        if kind == "soft":
            return f.svt, inputs, {}, _Step()
        if kind == "hard":
            tau = xp.expand_dims(inputs[1], axis=-1)
            return f.singular_value_map, (a, lambda s: s * self.above(s, tau)), {}, _Step()
        if kind == "smooth":
            return f.singular_value_map, (a, elementwise(self, observable)), {}, _Step()
        if kind == "projector":
            cut = float(options["cut"])
            step = lambda s: 0 * s + self.above(s, cut)  # noqa: E731
            return f.singular_value_map, (a, step), {}, _gram(xp)
        if kind == "hermitian":
            h = (a + adjoint(xp, a)) / 2
            return f.eigenvalue_map, (h, elementwise(self, observable)), {}, _Step()
        if kind == "low_rank":
            return f.low_rank, (a, options["rank"]), {}, _Step()
        if kind == "polar":
            return f.polar, (a,), {}, _Step()
        if kind == "nuclear":
            return f.nuclear_norm, (a,), {}, _Step()
        if kind == "values":
            return f.svdvals, (a,), {}, self._means(options["groups"], a)
        if kind == "reconstruction":
            return f.svd, (a,), {}, _recompose(xp)
        if kind == "factors":
            return f.svd, (a,), {}, _of_factors(xp, float(options["cut"]))
        if kind == "eigenvalues":
            means = self._means(ascending(observable, a.shape[-1]), a)
            return f.eigvalsh, (self._ahead(observable, a),), {}, means
        if kind == "truncated":
            return f.truncated_svd, (a, options["rank"]), {}, _of_truncated(xp)
        if kind in _NAMED:
            others, keywords = arguments(self, observable, a)
            following = self._following(kind, options, a)
            return getattr(f, kind), (self._ahead(observable, a), *others), keywords, following
        ends = _Step(
            lambda u, s, vh: (u, vh),
            lambda y, dy: (dy[0], dy[2]),
            lambda y, ct: (ct[0], None, ct[1]),
        )
        return f.svd, (a,), {"gauge": options.get("mode", "ignore")}, ends

    def _following(self, kind: str, options: Mapping[str, Any], a: Any) -> _Step:
        """What follows a function of `NAMED`."""
        if kind == "lstsq":
            return _Step(
                lambda x, *others: (x,),
                lambda y, dy: dy[:1],
                lambda y, ct: (ct[0], *(None for _ in y[1:])),
            )
        if kind == "align_points":
            return _aligned(self.xp)
        if kind == "tensor_svt":
            sums = self.constant(options["sums"], a)
            return _linear(lambda y: self.total(sums * y), lambda ct: ct[..., None] * sums)
        return _Step()

    def _ahead(self, observable: Observable, x: Any) -> Any:
        """What the function is asked of, which is linear in the matrix; a direction goes along."""
        if observable.kind in ("hermitian", "eigenvalues", *NAMED["roots"]):
            return (x + adjoint(self.xp, x)) / 2
        if observable.kind == "align_points":
            return self.constant(points_of(x.shape[-1]), x) @ x
        if observable.kind == "tensor_svt":
            return x[..., None] * self.constant(observable.options["weights"], x)
        return x

    def _back(self, observable: Observable, ct: Any) -> Any:
        """The adjoint of `_ahead`."""
        if observable.kind == "align_points":
            return self.xp.matrix_transpose(self.constant(points_of(ct.shape[-1]), ct)) @ ct
        if observable.kind == "tensor_svt":
            return self.total(ct * self.constant(observable.options["weights"], ct))
        return self._ahead(observable, ct)

    def _moved(self, observable: Observable, tangents: Arrays) -> Arrays:
        """Tangents of what the function differentiates; a threshold in a closure is held fixed."""
        da, *dtau = tangents
        return self._ahead(observable, da), *(dtau if observable.kind == "soft" else ())

    def _only_first(self, observable: Observable, inputs: Arrays, ct: Arrays) -> Arrays:
        """No answer for a threshold that the function takes in its closure."""
        return ct if observable.kind == "soft" else (ct[0], *(None for _ in inputs[1:]))

    def _asked(self, observable: Observable, cts: Arrays) -> list[tuple[Observable, Any]]:
        """Those of several functions that a loss is made of; others may have no derivative."""
        pairs = list(zip(_parts(observable), cts, strict=True))
        return [(part, ct) for part, ct in pairs if self.xp.any(ct != 0)] or pairs

    def value(self, observable: Observable, inputs: Arrays) -> Arrays:
        """The outputs."""
        if observable.kind in NAMED:
            return tuple(self.value(part, inputs)[0] for part in _parts(observable))
        fn, args, keywords, step = self._plan(observable, inputs)
        return step.value(*_tuple(fn(*args, **keywords)))

    def vjp(self, observable: Observable, inputs: Arrays, cotangents: Arrays) -> Arrays:
        """The module's pullback."""
        if observable.kind in NAMED:
            asked = self._asked(observable, cotangents)
            grads = [self.vjp(part, inputs, (ct,))[0] for part, ct in asked]
            return (sum(grads[1:], grads[0]),)
        fn, args, keywords, step = self._plan(observable, inputs)
        out, pullback = self.functions.vjp(fn, *args, **keywords)
        cts = step.cotangent(_tuple(out), cotangents)
        ct_a, *rest = pullback(cts if isinstance(out, tuple) else cts[0])
        return self._only_first(
            observable, inputs, (self._back(observable, ct_a), *rest[: len(inputs) - 1])
        )

    def jvp(self, observable: Observable, inputs: Arrays, tangents: Arrays) -> Arrays:
        """The module's push-forward."""
        if observable.kind in NAMED:
            return tuple(self.jvp(part, inputs, tangents)[0] for part in _parts(observable))
        fn, args, keywords, step = self._plan(observable, inputs)
        out, dout = self.functions.jvp(fn, args, self._moved(observable, tangents), **keywords)
        return step.tangent(_tuple(out), _tuple(dout))

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
        twice, moved = self.functions.hvp, self._moved(observable, tangents)
        out = fn(*args, **keywords)
        cts = step.cotangent(_tuple(out), cotangents)

        def own(ct: Arrays) -> Any:
            return ct if isinstance(out, tuple) else ct[0]

        try:
            second, *rest = twice(fn, args, moved, own(cts), **keywords)
        except TypeError as error:
            if "no second derivative" in str(error):
                raise NotApplicable(str(error)) from None
            raise
        if step.bent is not None:
            dout = self.functions.jvp(fn, args, moved, **keywords)[1]
            pullback = self.functions.vjp(fn, *args, **keywords)[1]
            second = second + pullback(own(step.bent(_tuple(dout), cotangents)))[0]
        return self._only_first(
            observable, inputs, (self._back(observable, second), *rest[: len(inputs) - 1])
        )


class CuPy(Explicit):
    """The same over CuPy arrays."""

    framework = "cupy"

    def __init__(self, module: Any, name: str, versions: Mapping[str, str] | None = None) -> None:
        FRAMEWORKS["cupy"]().load()  # with a reason if it is not there
        super().__init__(module, name, versions)


class _CoreFunctions:
    """`svdinv_core`, or a copy of it under another name, as a module with explicit derivatives.

    A function here is a pair: what makes the core's operation from the further arguments, and how
    many of these are differentiated.
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
    """One array of a function with one output."""
    return outs if len(outs) > 1 else outs[0]


@dataclass(frozen=True)
class _CoreFunction:
    functions: _CoreFunctions
    make: Callable[..., Any]

    def __call__(self, x: Any, *args: Any, **_: Any) -> Any:
        return _single(self.functions.call(self.make, x, args)[-1])


class Core(Explicit):
    """A copy of `svdinv_core`, over NumPy."""

    def __init__(self, module: Any, name: str, versions: Mapping[str, str] | None = None) -> None:
        xp = importlib.import_module("array_api_compat.numpy")
        super().__init__(_CoreFunctions(module, xp), name, versions, xp)

    def _plan(self, observable: Observable, inputs: Arrays) -> Any:
        if observable.kind == "gauge" and observable.options.get("mode", "ignore") != "ignore":
            raise NotApplicable("the core says it with gauge_residual, not with an error")
        return super()._plan(observable, inputs)


class ArrayApi(Explicit):
    """A module with explicit derivatives over array-api-strict, whose fake devices are kept apart.

    `svdinv` itself is one: it takes the arrays of any namespace of the standard.
    """

    DEVICES: Mapping[str, str] = {"cpu": "CPU_DEVICE", "device1": "device1"}

    def __init__(self, module: Any, name: str, versions: Mapping[str, str] | None = None) -> None:
        try:
            xp = importlib.import_module("array_api_strict")
        except ImportError:
            raise UnavailableError("array_api_strict is not installed") from None
        super().__init__(module, name, {"array-api-strict": xp.__version__, **(versions or {})}, xp)

    def check_device(self, device: str) -> None:
        if device not in self.DEVICES:
            raise UnavailableError("array-api-strict has the devices cpu and device1")

    def array(self, x: NDArray[Any], device: str) -> Any:
        return self.xp.asarray(x, device=self.xp.Device(self.DEVICES[device]))

    def numpy(self, x: Any) -> NDArray[Any]:
        return np.asarray(x.to_device(self.xp.Device("CPU_DEVICE")))

    def device(self, x: Any) -> str:
        return next(name for name, own in self.DEVICES.items() if x.device == self.xp.Device(own))
