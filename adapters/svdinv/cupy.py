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
from svdinv_core.drivers import LARGEST_JACOBI_ON_GPU

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
    return x if isinstance(x, cupy.ndarray) else None


# CuPy's SVD is a loop if a side is above 32, and its `eigh` is batched. So it pays to wait for the
# values and see whether the Gram matrix will do.
_backend = ExplicitBackend(
    _xp, "cupy.ndarray", _asarray, looks="waits", largest_jacobi=LARGEST_JACOBI_ON_GPU
)
_functions = Functions[Any](lambda x: _backend)
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
