"""A differentiable SVD that never breaks training, the same in every array framework.

The functions here find the framework from the type of their array. The framework's module, such as
`svdinv.torch`, is loaded when one of its arrays arrives or when you name it. Import from that
module to fix the framework and to have exact static types:

>>> import numpy as np
>>> import svdinv
>>> svdinv.svt(np.eye(2), 0.25)
array([[0.75, 0.  ],
       [0.  , 0.75]])
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from svdinv_core import ConvergenceWarning, Rule
from svdinv_core import __version__ as __version__

from . import drivers as drivers
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
from ._dispatch import ADAPTERS, find_backend, find_explicit
from ._explicit import Explicit
from ._gauge import GaugeError, GaugeWarning
from .operators import LinearOperator

_functions = Functions[Any](find_backend)
_explicit = Explicit(find_explicit)

# Written by adapters/write_public.py, between this mark and the next.
__all__ = [
    "AlignmentResult",
    "ConvergenceWarning",
    "EighResult",
    "GaugeError",
    "GaugeWarning",
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


def __getattr__(name: str) -> Any:
    """Load a framework's module when it is named (``svdinv.torch``)."""
    if name in ADAPTERS:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
