"""svdinv for HIPS autograd: NumPy arrays, and the boxes that hold them inside a trace.

There are two primitives, one for decompositions and one for operators. NumPy computes the factors
once, from the value inside all boxes of the input. Derivatives may be differentiated again, so they
use autograd's own operations and take the factors from :func:`_decompose`. An outer trace then
differentiates the factors with our rule too. Complex cotangents are the conjugates of those of the
core.

The functions of `svdinv` itself find the framework from the matrix alone. Use this module if the
matrix is a plain array and only a parameter is traced.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import Any

from ._missing import cannot_import

try:
    import autograd
    from autograd.builtins import tuple as autograd_tuple
    from autograd.extend import defjvp_argnums, defvjp_argnums, primitive, vspace
    from autograd.numpy.numpy_boxes import ArrayBox
    from autograd.tracer import getval, isbox
except ImportError as error:
    raise cannot_import(error, "autograd", "autograd") from error

import numpy as np

from svdinv_core import (
    Decomposition,
    Operator,
    Point,
    Rule,
    Situation,
    SVDFactors,
    Tangents,
    pulled,
    pushed,
    with_exact,
)

from . import _autograd_namespace as _xp
from . import _numpy_namespace, rules
from ._api import (
    AlignmentResult,
    Driver,
    EighDriver,
    EighResult,
    Functions,
    Gauge,
    LstsqResult,
    Multiplets,
    PolarResult,
    Side,
    SVDResult,
    TruncateDriver,
    TruncatedSVDResult,
    documented_by,
)
from ._backend import Backend, Function
from ._gauge import Watch
from .operators import LinearOperator

_numpy: Any = _numpy_namespace


def _quiet() -> Any:
    """Silence floating-point warnings about inf and NaN, which the formulas handle."""
    return np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore")


def _items(x: Any) -> tuple[Any, ...]:
    """The items of a tuple, which may be in a box."""
    return tuple(x[i] for i in range(len(x)))


def _cast(d: Any, like: Any) -> Any:
    """Cast a derivative to the dtype of its array; autograd's own operations may change it."""
    return d if getattr(d, "dtype", None) == like.dtype else _xp.astype(d, like.dtype)


def _to_core(ct: Any, like: Any) -> Any:
    """Convert a cotangent to the convention of the core."""
    return _xp.conj(_cast(ct, like))


def _from_core(ct: Any, like: Any) -> Any:
    """Convert a cotangent of the core to autograd's convention; an absent one becomes zero."""
    return vspace(like).zeros() if ct is None else _xp.conj(ct)


@primitive  # type: ignore[untyped-decorator,unused-ignore]
def _decomposed(decomposition: Decomposition, x: Any, *raw: Any) -> Any:
    return tuple(raw)


def _decompose(decomposition: Decomposition, x: Any, raw: Any) -> Any:
    """The factors `raw` as differentiable functions of x."""
    return decomposition.Factors(*_items(_decomposed(decomposition, x, *raw)))


def _for_derivatives(ans: Any, args: Any) -> tuple[Decomposition, Any, Any]:
    """The decomposition, x, and the factors as functions of x by a linear rule."""
    decomposition, x, *raw = args
    if decomposition.linear:
        return decomposition, x, decomposition.Factors(*_items(ans))
    return decomposition, x, _decompose(decomposition.fallback, x, raw)


def _decompose_vjp(argnums: Any, ans: Any, args: Any, kwargs: Any) -> Any:
    decomposition, x, factors = _for_derivatives(ans, args)

    def pullback(g: Any) -> Any:
        cts = tuple(map(_to_core, _items(g), factors))
        with _quiet():
            ct_x = decomposition.vjp(_xp, factors, cts, constant=getval, some=np.any)
        return (_from_core(ct_x, x),)

    return pullback


def _decompose_jvp(argnums: Any, tangents: Any, ans: Any, args: Any, kwargs: Any) -> Any:
    decomposition, x, factors = _for_derivatives(ans, args)
    with _quiet():
        return autograd_tuple(decomposition.jvp(_xp, factors, _cast(tangents[0], x)))


defvjp_argnums(_decomposed, _decompose_vjp)
defjvp_argnums(_decomposed, _decompose_jvp)


@primitive  # type: ignore[untyped-decorator,unused-ignore]
def _applied(operator: Operator, count: int, x: Any, *rest: Any) -> Any:
    factors = operator.decomposition.Factors(*rest[:count])
    with _quiet():
        return operator.apply(Point(_xp, x, factors, rest[count:]))


def _apply(operator: Operator, x: Any, raw: Any, params: tuple[Any, ...]) -> tuple[Any, ...]:
    """An operator on the factors of x, with the operator's own derivative in x."""
    return _items(_applied(operator, len(raw), x, *raw, *params))


def _arguments(args: Any) -> tuple[Operator, Any, Any, tuple[Any, ...], int]:
    """The arguments of `_applied`, and the position of the first parameter."""
    operator, count, x, *rest = args
    raw = operator.decomposition.Factors(*rest[:count])
    return operator, x, raw, tuple(rest[count:]), 3 + count


def _moved(operator: Operator, x: Any, raw: Any, params: Any) -> Point:
    """Factors and parameters as functions of x."""
    factors = _decompose(operator.decomposition, x, raw)
    return Point(_xp, x, factors, operator.moved(_xp, params, factors, raw))


def _apply_vjp(argnums: Any, ans: Any, args: Any, kwargs: Any) -> Any:
    def pullback(g: Any) -> Any:
        operator, x, raw, params, start = _arguments(args)
        cts = tuple(map(_to_core, _items(g), _items(ans)))
        with _quiet():
            if operator.twice:
                derivative, inputs = pulled(operator, params, cts)
                ct_x, ct_params = derivative.of_results(_apply(derivative, x, raw, inputs))
            else:
                ct_x, ct_params = operator.vjp(_moved(operator, x, raw, params), cts)
                ct_params = with_exact(
                    operator, params, cts, ct_params, lambda *of: _apply(of[0], x, raw, of[1])
                )
        of_argument = {2: ct_x, **dict(enumerate(ct_params, start))}
        return tuple(_from_core(of_argument[i], args[i]) for i in argnums)

    return pullback


def _apply_jvp(argnums: Any, tangents: Any, ans: Any, args: Any, kwargs: Any) -> Any:
    operator, x, raw, params, start = _arguments(args)
    given = {i: _cast(d, args[i]) for i, d in zip(argnums, tangents, strict=True)}
    along = Tangents(given.get(2), tuple(given.get(i) for i in range(start, len(args))))
    with _quiet():
        if operator.twice:
            derivative, inputs = pushed(operator, params, along)
            dout = _apply(derivative, x, raw, inputs)
        else:
            dout = operator.jvp(_moved(operator, x, raw, params), along)
    return autograd_tuple(
        _xp.zeros_like(y) if d is None else d for d, y in zip(dout, _items(ans), strict=True)
    )


defvjp_argnums(_applied, _apply_vjp)
defjvp_argnums(_applied, _apply_jvp)


@primitive  # type: ignore[untyped-decorator,unused-ignore]
def _watch(watch: Watch, *factors: Any) -> Any:
    """The factors unchanged; `watch` checks their cotangents in reverse mode."""
    return tuple(factors)


def _watch_vjp(argnums: Any, ans: Any, args: Any, kwargs: Any) -> Any:
    watch, *factors = args

    def pullback(g: Any) -> Any:
        values = SVDFactors(*map(getval, factors))
        cts = tuple(_to_core(getval(ct), y) for ct, y in zip(_items(g), values, strict=True))
        with _quiet():
            watch.look(_xp, values, cts, lambda r: np.ravel(r).tolist())
        return tuple(g[i - 1] for i in argnums)

    return pullback


def _watch_jvp(argnums: Any, tangents: Any, ans: Any, args: Any, kwargs: Any) -> Any:
    return autograd_tuple(tangents)  # all three factors are functions of one matrix


defvjp_argnums(_watch, _watch_vjp)
defjvp_argnums(_watch, _watch_jvp)


class _AutogradBackend(Backend):
    array_name = "numpy.ndarray"
    xp = _xp

    def asarray(self, x: Any) -> Any:
        return x if isinstance(x, np.ndarray | ArrayBox) else None

    def parameter(self, value: Any, like: Any, dtype: Any) -> Any:
        if isinstance(value, numbers.Real):  # includes scalars of NumPy
            return np.asarray(float(value), dtype=dtype)
        return None if self.asarray(value) is None else _xp.astype(value, dtype)

    values_xp = _numpy

    def situation(self, x: Any) -> Situation:
        return Situation(tuple(x.shape), single=x.dtype in (np.float32, np.complex64), looks="free")

    def of_values(self, function: Any, x: Any, params: tuple[Any, ...]) -> Any:
        with _quiet():
            return function(*map(getval, (x, *params)))

    def failed(self, values: Any) -> bool:
        return bool(np.isnan(values).any())

    def largest_count(self, x: Any, counts: Any) -> int | None:
        with _quiet():
            return None if 0 in x.shape else int(_xp.max(getval(counts())))

    def decompose(self, decomposition: Decomposition, x: Any, raw: Any) -> Any:
        return _decompose(decomposition, x, raw)

    def apply(
        self, operator: Operator, x: Any, raw: Any, params: tuple[Any, ...]
    ) -> tuple[Any, ...]:
        return _apply(operator, x, raw, params)

    def stopped(self, x: Any) -> Any:
        return getval(x)

    def constant(self, rows: Any, like: Any, is_complex: bool) -> Any:
        real = np.zeros(0, getval(like).dtype).real.dtype
        return np.asarray(rows, np.result_type(real, np.complex64) if is_complex else real)

    def watch(self, factors: SVDFactors, watch: Watch) -> Any:
        return SVDFactors(*_items(_watch(watch, *factors)))

    def cotangent(self, ct: Any) -> Any:
        return _xp.conj(ct)

    def product(self, fn: Function, s: Any) -> Function:
        # autograd warns if fn(s) does not depend on s. `where` adds the dependence, not the value.
        return lambda v: autograd.elementwise_grad(lambda s: v * _xp.where(True, fn(s), s))(s)

    def bends(self, fn: Function, s: Any) -> tuple[Any, Any]:
        with _quiet():  # these derivatives may be infinite, and the caller may not want them
            return super().bends(fn, s)

    def any(self, flags: Any) -> bool:
        return bool(np.any(getval(flags)))

    def held_for_derivative(self, value: Any) -> Any:
        """Unbox the value once, so that the current trace does not differentiate it.

        The current trace would send it a cotangent of zero. autograd differentiates a quotient 1/y
        by dividing by ``y**2``, so that 0 would become NaN at tiny y. Outer traces still see it.
        """
        return value._value if isbox(value) else value


_backend = _AutogradBackend()
_functions = Functions[Any](lambda x: _backend)

# Written by adapters/write_public.py, between this mark and the next.
__all__ = [
    "AlignmentResult",
    "EighResult",
    "LstsqResult",
    "PolarResult",
    "SVDResult",
    "TruncatedSVDResult",
    "align_points",
    "eigenvalue_map",
    "eigh",
    "eigvalsh",
    "expm",
    "gauge_residual",
    "inv_sqrtm",
    "logm",
    "low_rank",
    "lstsq",
    "nuclear_norm",
    "pinv",
    "polar",
    "powm",
    "procrustes",
    "project_nuclear_ball",
    "range_projector",
    "rule_residual",
    "rules",
    "schatten_norm",
    "singular_value_clip",
    "singular_value_map",
    "spectral_function",
    "spectral_norm",
    "sqrtm",
    "svd",
    "svdvals",
    "svt",
    "tensor_svt",
    "truncated_svd",
]


@documented_by(Functions)
def align_points(
    p: Any,
    q: Any,
    weights: Any = None,
    /,
    *,
    scale: bool = False,
    reflection: bool = False,
    driver: Driver = "auto",
) -> AlignmentResult[Any]:
    return _functions.align_points(p, q, weights, scale=scale, reflection=reflection, driver=driver)


@documented_by(Functions)
def eigenvalue_map(
    x: Any, fn: Callable[[Any], Any], *, elementwise: bool = True, driver: EighDriver = "auto"
) -> Any:
    return _functions.eigenvalue_map(x, fn, elementwise=elementwise, driver=driver)


@documented_by(Functions)
def eigh(x: Any, /, *, rule: str | Rule = "auto", driver: EighDriver = "auto") -> EighResult[Any]:
    return _functions.eigh(x, rule=rule, driver=driver)


@documented_by(Functions)
def eigvalsh(x: Any, /, *, driver: EighDriver = "auto") -> Any:
    return _functions.eigvalsh(x, driver=driver)


@documented_by(Functions)
def expm(x: Any, /, *, driver: EighDriver = "auto") -> Any:
    return _functions.expm(x, driver=driver)


@documented_by(Functions)
def gauge_residual(U: Any, S: Any, Vh: Any, ct_U: Any, ct_Vh: Any) -> Any:
    return _functions.gauge_residual(U, S, Vh, ct_U, ct_Vh)


@documented_by(Functions)
def inv_sqrtm(
    x: Any, /, *, floor: float | None = None, rtol: float | None = None, driver: EighDriver = "auto"
) -> Any:
    return _functions.inv_sqrtm(x, floor=floor, rtol=rtol, driver=driver)


@documented_by(Functions)
def logm(x: Any, /, *, driver: EighDriver = "auto") -> Any:
    return _functions.logm(x, driver=driver)


@documented_by(Functions)
def low_rank(
    x: Any,
    rank: int | None = None,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    energy: float | None = None,
    multiplets: Multiplets = "keep",
    driver: TruncateDriver = "auto",
) -> Any:
    return _functions.low_rank(
        x, rank, rtol=rtol, atol=atol, energy=energy, multiplets=multiplets, driver=driver
    )


@documented_by(Functions)
def lstsq(
    a: Any, b: Any, /, *, rtol: float | None = None, driver: Driver = "auto"
) -> LstsqResult[Any]:
    return _functions.lstsq(a, b, rtol=rtol, driver=driver)


@documented_by(Functions)
def nuclear_norm(x: Any, /, *, driver: Driver = "auto") -> Any:
    return _functions.nuclear_norm(x, driver=driver)


@documented_by(Functions)
def pinv(x: Any, /, *, rtol: float | None = None, driver: Driver = "auto") -> Any:
    return _functions.pinv(x, rtol=rtol, driver=driver)


@documented_by(Functions)
def polar(x: Any, /, *, side: Side = "auto", driver: Driver = "auto") -> PolarResult[Any]:
    return _functions.polar(x, side=side, driver=driver)


@documented_by(Functions)
def powm(x: Any, p: float, /, *, rtol: float | None = None, driver: EighDriver = "auto") -> Any:
    return _functions.powm(x, p, rtol=rtol, driver=driver)


@documented_by(Functions)
def procrustes(x: Any, /, *, special: bool = False, driver: Driver = "auto") -> Any:
    return _functions.procrustes(x, special=special, driver=driver)


@documented_by(Functions)
def project_nuclear_ball(x: Any, radius: Any, /, *, driver: Driver = "auto") -> Any:
    return _functions.project_nuclear_ball(x, radius, driver=driver)


@documented_by(Functions)
def range_projector(
    x: Any,
    /,
    *,
    rank: int | None = None,
    rtol: float | None = None,
    driver: TruncateDriver = "auto",
) -> Any:
    return _functions.range_projector(x, rank=rank, rtol=rtol, driver=driver)


@documented_by(Functions)
def rule_residual(
    U: Any, S: Any, Vh: Any, ct_U: Any, ct_Vh: Any, *, ct_S: Any | None = None
) -> Any:
    return _functions.rule_residual(U, S, Vh, ct_U, ct_Vh, ct_S=ct_S)


@documented_by(Functions)
def schatten_norm(x: Any, p: float, /, *, driver: Driver = "auto") -> Any:
    return _functions.schatten_norm(x, p, driver=driver)


@documented_by(Functions)
def singular_value_clip(x: Any, maximum: Any, /, *, driver: Driver = "auto") -> Any:
    return _functions.singular_value_clip(x, maximum, driver=driver)


@documented_by(Functions)
def singular_value_map(
    x: Any, fn: Callable[[Any], Any], *, elementwise: bool = True, driver: Driver = "auto"
) -> Any:
    return _functions.singular_value_map(x, fn, elementwise=elementwise, driver=driver)


@documented_by(Functions)
def spectral_function(x: Any, fn: Callable[[Any], Any], *, driver: Driver = "auto") -> Any:
    return _functions.spectral_function(x, fn, driver=driver)


@documented_by(Functions)
def spectral_norm(x: Any, /, *, driver: Driver = "auto") -> Any:
    return _functions.spectral_norm(x, driver=driver)


@documented_by(Functions)
def sqrtm(x: Any, /, *, rtol: float | None = None, driver: EighDriver = "auto") -> Any:
    return _functions.sqrtm(x, rtol=rtol, driver=driver)


@documented_by(Functions)
def svd(
    x: Any,
    /,
    *,
    full_matrices: bool = False,
    rule: str | Rule = "auto",
    gauge: Gauge = "ignore",
    driver: Driver = "auto",
) -> SVDResult[Any]:
    return _functions.svd(x, full_matrices=full_matrices, rule=rule, gauge=gauge, driver=driver)


@documented_by(Functions)
def svdvals(x: Any, /, *, driver: Driver = "auto") -> Any:
    return _functions.svdvals(x, driver=driver)


@documented_by(Functions)
def svt(
    x: Any,
    tau: float | Any,
    weights: Any | None = None,
    *,
    relative: bool = False,
    driver: Driver = "auto",
) -> Any:
    return _functions.svt(x, tau, weights, relative=relative, driver=driver)


@documented_by(Functions)
def tensor_svt(
    x: Any,
    tau: Any,
    /,
    *,
    axis: int = -1,
    transform: str | Any | tuple[Callable[..., Any], Callable[..., Any]] = "fft",
    driver: Driver = "auto",
) -> Any:
    return _functions.tensor_svt(x, tau, axis=axis, transform=transform, driver=driver)


@documented_by(Functions)
def truncated_svd(
    x: Any | LinearOperator,
    rank: int | None = None,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    energy: float | None = None,
    multiplets: Multiplets = "keep",
    rule: str | Rule = "auto",
    driver: TruncateDriver = "auto",
    seed: int = 0,
) -> TruncatedSVDResult[Any]:
    return _functions.truncated_svd(
        x,
        rank,
        rtol=rtol,
        atol=atol,
        energy=energy,
        multiplets=multiplets,
        rule=rule,
        driver=driver,
        seed=seed,
    )


# End of what is written.
