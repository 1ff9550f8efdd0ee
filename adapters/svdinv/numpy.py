"""svdinv for NumPy arrays, with explicit derivatives: `vjp` and `jvp`.

Everything that `numpy.asarray` accepts is accepted, for example lists of floats.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ._missing import cannot_import

try:
    import numpy as np

    from . import _numpy_namespace as _xp
except ImportError as error:
    raise cannot_import(error, "numpy", "NumPy") from error

from svdinv_core import Rule

from . import rules
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
from ._explicit import Explicit, ExplicitBackend
from .operators import LinearOperator


def _asarray(x: Any) -> Any:
    try:
        array = np.asarray(x)
    except ValueError:  # ragged nested lists
        return None
    return array if isinstance(x, np.ndarray) or array.dtype.kind in "biufcV" else None


_backend = ExplicitBackend(
    _xp,
    "numpy.ndarray",
    _asarray,
    partial(np.errstate, divide="ignore", invalid="ignore", over="ignore", under="ignore"),
    "free",
)
_Array = np.ndarray[Any, Any]
_functions = Functions[_Array](lambda x: _backend)
_explicit = Explicit(lambda x: _backend)

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
    "hvp",
    "inv_sqrtm",
    "jvp",
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
    "vjp",
]


@documented_by(Functions)
def align_points(
    p: _Array,
    q: _Array,
    weights: Any = None,
    /,
    *,
    scale: bool = False,
    reflection: bool = False,
    driver: Driver = "auto",
) -> AlignmentResult[_Array]:
    return _functions.align_points(p, q, weights, scale=scale, reflection=reflection, driver=driver)


@documented_by(Functions)
def eigenvalue_map(
    x: _Array,
    fn: Callable[[_Array], _Array],
    *,
    elementwise: bool = True,
    driver: EighDriver = "auto",
) -> _Array:
    return _functions.eigenvalue_map(x, fn, elementwise=elementwise, driver=driver)


@documented_by(Functions)
def eigh(
    x: _Array, /, *, rule: str | Rule = "auto", driver: EighDriver = "auto"
) -> EighResult[_Array]:
    return _functions.eigh(x, rule=rule, driver=driver)


@documented_by(Functions)
def eigvalsh(x: _Array, /, *, driver: EighDriver = "auto") -> _Array:
    return _functions.eigvalsh(x, driver=driver)


@documented_by(Functions)
def expm(x: _Array, /, *, driver: EighDriver = "auto") -> _Array:
    return _functions.expm(x, driver=driver)


@documented_by(Functions)
def gauge_residual(U: _Array, S: _Array, Vh: _Array, ct_U: _Array, ct_Vh: _Array) -> _Array:
    return _functions.gauge_residual(U, S, Vh, ct_U, ct_Vh)


@documented_by(Functions)
def inv_sqrtm(
    x: _Array,
    /,
    *,
    floor: float | None = None,
    rtol: float | None = None,
    driver: EighDriver = "auto",
) -> _Array:
    return _functions.inv_sqrtm(x, floor=floor, rtol=rtol, driver=driver)


@documented_by(Functions)
def logm(x: _Array, /, *, driver: EighDriver = "auto") -> _Array:
    return _functions.logm(x, driver=driver)


@documented_by(Functions)
def low_rank(
    x: _Array,
    rank: int | None = None,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    energy: float | None = None,
    multiplets: Multiplets = "keep",
    driver: TruncateDriver = "auto",
) -> _Array:
    return _functions.low_rank(
        x, rank, rtol=rtol, atol=atol, energy=energy, multiplets=multiplets, driver=driver
    )


@documented_by(Functions)
def lstsq(
    a: _Array, b: _Array, /, *, rtol: float | None = None, driver: Driver = "auto"
) -> LstsqResult[_Array]:
    return _functions.lstsq(a, b, rtol=rtol, driver=driver)


@documented_by(Functions)
def nuclear_norm(x: _Array, /, *, driver: Driver = "auto") -> _Array:
    return _functions.nuclear_norm(x, driver=driver)


@documented_by(Functions)
def pinv(x: _Array, /, *, rtol: float | None = None, driver: Driver = "auto") -> _Array:
    return _functions.pinv(x, rtol=rtol, driver=driver)


@documented_by(Functions)
def polar(x: _Array, /, *, side: Side = "auto", driver: Driver = "auto") -> PolarResult[_Array]:
    return _functions.polar(x, side=side, driver=driver)


@documented_by(Functions)
def powm(
    x: _Array, p: float, /, *, rtol: float | None = None, driver: EighDriver = "auto"
) -> _Array:
    return _functions.powm(x, p, rtol=rtol, driver=driver)


@documented_by(Functions)
def procrustes(x: _Array, /, *, special: bool = False, driver: Driver = "auto") -> _Array:
    return _functions.procrustes(x, special=special, driver=driver)


@documented_by(Functions)
def project_nuclear_ball(x: _Array, radius: Any, /, *, driver: Driver = "auto") -> _Array:
    return _functions.project_nuclear_ball(x, radius, driver=driver)


@documented_by(Functions)
def range_projector(
    x: _Array,
    /,
    *,
    rank: int | None = None,
    rtol: float | None = None,
    driver: TruncateDriver = "auto",
) -> _Array:
    return _functions.range_projector(x, rank=rank, rtol=rtol, driver=driver)


@documented_by(Functions)
def rule_residual(
    U: _Array, S: _Array, Vh: _Array, ct_U: _Array, ct_Vh: _Array, *, ct_S: _Array | None = None
) -> _Array:
    return _functions.rule_residual(U, S, Vh, ct_U, ct_Vh, ct_S=ct_S)


@documented_by(Functions)
def schatten_norm(x: _Array, p: float, /, *, driver: Driver = "auto") -> _Array:
    return _functions.schatten_norm(x, p, driver=driver)


@documented_by(Functions)
def singular_value_clip(x: _Array, maximum: Any, /, *, driver: Driver = "auto") -> _Array:
    return _functions.singular_value_clip(x, maximum, driver=driver)


@documented_by(Functions)
def singular_value_map(
    x: _Array, fn: Callable[[_Array], _Array], *, elementwise: bool = True, driver: Driver = "auto"
) -> _Array:
    return _functions.singular_value_map(x, fn, elementwise=elementwise, driver=driver)


@documented_by(Functions)
def spectral_function(
    x: _Array, fn: Callable[[_Array], _Array], *, driver: Driver = "auto"
) -> _Array:
    return _functions.spectral_function(x, fn, driver=driver)


@documented_by(Functions)
def spectral_norm(x: _Array, /, *, driver: Driver = "auto") -> _Array:
    return _functions.spectral_norm(x, driver=driver)


@documented_by(Functions)
def sqrtm(x: _Array, /, *, rtol: float | None = None, driver: EighDriver = "auto") -> _Array:
    return _functions.sqrtm(x, rtol=rtol, driver=driver)


@documented_by(Functions)
def svd(
    x: _Array,
    /,
    *,
    full_matrices: bool = False,
    rule: str | Rule = "auto",
    gauge: Gauge = "ignore",
    driver: Driver = "auto",
) -> SVDResult[_Array]:
    return _functions.svd(x, full_matrices=full_matrices, rule=rule, gauge=gauge, driver=driver)


@documented_by(Functions)
def svdvals(x: _Array, /, *, driver: Driver = "auto") -> _Array:
    return _functions.svdvals(x, driver=driver)


@documented_by(Functions)
def svt(
    x: _Array,
    tau: float | _Array,
    weights: _Array | None = None,
    *,
    relative: bool = False,
    driver: Driver = "auto",
) -> _Array:
    return _functions.svt(x, tau, weights, relative=relative, driver=driver)


@documented_by(Functions)
def tensor_svt(
    x: _Array,
    tau: Any,
    /,
    *,
    axis: int = -1,
    transform: str | _Array | tuple[Callable[..., Any], Callable[..., Any]] = "fft",
    driver: Driver = "auto",
) -> _Array:
    return _functions.tensor_svt(x, tau, axis=axis, transform=transform, driver=driver)


@documented_by(Functions)
def truncated_svd(
    x: _Array | LinearOperator,
    rank: int | None = None,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    energy: float | None = None,
    multiplets: Multiplets = "keep",
    rule: str | Rule = "auto",
    driver: TruncateDriver = "auto",
    seed: int = 0,
) -> TruncatedSVDResult[_Array]:
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


@documented_by(Explicit)
def hvp(
    fn: Any, primals: tuple[Any, ...], tangents: tuple[Any, ...], ct: Any, **kwargs: Any
) -> tuple[Any, ...]:
    return _explicit.hvp(fn, primals, tangents, ct, **kwargs)


@documented_by(Explicit)
def jvp(
    fn: Any, primals: tuple[Any, ...], tangents: tuple[Any, ...], **kwargs: Any
) -> tuple[Any, Any]:
    return _explicit.jvp(fn, primals, tangents, **kwargs)


@documented_by(Explicit)
def vjp(fn: Any, x: Any, *args: Any, **kwargs: Any) -> tuple[Any, Callable[[Any], Any]]:
    return _explicit.vjp(fn, x, *args, **kwargs)


# End of what is written.
