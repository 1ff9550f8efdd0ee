"""svdinv for CuPy arrays, with explicit derivatives: `vjp` and `jvp`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ._missing import cannot_import

try:
    import array_api_compat.cupy as _xp
    import cupy
except ImportError as error:
    raise cannot_import(
        error, "cupy", "CuPy", ", or the CuPy wheel for your CUDA version"
    ) from error

from svdinv_core import Rule

from . import rules
from ._api import Driver, EighResult, Functions, Gauge, PolarResult, SVDResult, documented_by
from ._explicit import Explicit, ExplicitBackend


def _asarray(x: Any) -> Any:
    return x if isinstance(x, cupy.ndarray) else None


_backend = ExplicitBackend(_xp, "cupy.ndarray", _asarray)
_functions = Functions[Any](lambda x: _backend)
_explicit = Explicit(lambda x: _backend)

# Written by adapters/write_public.py, between this mark and the next.
__all__ = [
    "EighResult",
    "PolarResult",
    "SVDResult",
    "eigenvalue_map",
    "eigh",
    "gauge_residual",
    "jvp",
    "low_rank",
    "nuclear_norm",
    "polar",
    "procrustes",
    "rule_residual",
    "rules",
    "singular_value_map",
    "svd",
    "svdvals",
    "svt",
    "vjp",
]


@documented_by(Functions)
def eigenvalue_map(x: Any, fn: Callable[[Any], Any]) -> Any:
    return _functions.eigenvalue_map(x, fn)


@documented_by(Functions)
def eigh(x: Any, /, *, rule: str | Rule = "inv") -> EighResult[Any]:
    return _functions.eigh(x, rule=rule)


@documented_by(Functions)
def gauge_residual(U: Any, S: Any, Vh: Any, ct_U: Any, ct_Vh: Any) -> Any:
    return _functions.gauge_residual(U, S, Vh, ct_U, ct_Vh)


@documented_by(Functions)
def low_rank(x: Any, rank: int, *, driver: Driver = "auto") -> Any:
    return _functions.low_rank(x, rank, driver=driver)


@documented_by(Functions)
def nuclear_norm(x: Any, /, *, driver: Driver = "auto") -> Any:
    return _functions.nuclear_norm(x, driver=driver)


@documented_by(Functions)
def polar(x: Any, /, *, driver: Driver = "auto") -> PolarResult[Any]:
    return _functions.polar(x, driver=driver)


@documented_by(Functions)
def procrustes(x: Any, /, *, special: bool = False, driver: Driver = "auto") -> Any:
    return _functions.procrustes(x, special=special, driver=driver)


@documented_by(Functions)
def rule_residual(U: Any, S: Any, Vh: Any, ct_U: Any, ct_Vh: Any) -> Any:
    return _functions.rule_residual(U, S, Vh, ct_U, ct_Vh)


@documented_by(Functions)
def singular_value_map(x: Any, fn: Callable[[Any], Any], *, driver: Driver = "auto") -> Any:
    return _functions.singular_value_map(x, fn, driver=driver)


@documented_by(Functions)
def svd(
    x: Any, /, *, full_matrices: bool = False, rule: str | Rule = "inv", gauge: Gauge = "ignore"
) -> SVDResult[Any]:
    return _functions.svd(x, full_matrices=full_matrices, rule=rule, gauge=gauge)


@documented_by(Functions)
def svdvals(x: Any, /) -> Any:
    return _functions.svdvals(x)


@documented_by(Functions)
def svt(x: Any, tau: float | Any, *, relative: bool = False, driver: Driver = "auto") -> Any:
    return _functions.svt(x, tau, relative=relative, driver=driver)


@documented_by(Explicit)
def jvp(
    fn: Any, primals: tuple[Any, ...], tangents: tuple[Any, ...], **kwargs: Any
) -> tuple[Any, Any]:
    return _explicit.jvp(fn, primals, tangents, **kwargs)


@documented_by(Explicit)
def vjp(fn: Any, x: Any, *args: Any, **kwargs: Any) -> tuple[Any, Callable[[Any], Any]]:
    return _explicit.vjp(fn, x, *args, **kwargs)


# End of what is written.
