"""What `svd(gauge=...)` says of a loss that depends on the choice of singular vectors."""

from __future__ import annotations

import warnings

from svdinv_core import default_gauge_rtol

__all__ = ["GaugeError", "GaugeWarning", "check_mode", "not_eager", "report"]

MODES = ("ignore", "warn", "raise")


class GaugeWarning(RuntimeWarning):
    """A loss depends on the choice of singular vectors, and so has no gradient."""


class GaugeError(ArithmeticError):
    """A loss depends on the choice of singular vectors, and so has no gradient."""


def check_mode(gauge: str) -> None:
    """Refuse an unknown mode."""
    if gauge not in MODES:
        raise ValueError(f"gauge: expected 'ignore', 'warn' or 'raise', got {gauge!r}")


def not_eager(gauge: str) -> ValueError:
    """The error for values that are not known while a function is traced."""
    return ValueError(
        f"gauge: {gauge!r} looks at values, which are not known while a function is traced; use "
        "gauge='ignore', and return svdinv.gauge_residual(U, S, Vh, ct_U, ct_Vh) to watch it"
    )


def report(gauge: str, residuals: list[float], eps: float) -> None:
    """Warn or raise if a residual is larger than rounding explains."""
    rtol = default_gauge_rtol(eps)
    bad = [r for r in residuals if r > rtol]
    if not bad:
        return
    message = (
        f"svd: the loss depends on the choice of singular vectors (gauge residual up to "
        f"{max(bad):.1e} in {len(bad)} of {len(residuals)} matrices; rounding explains "
        f"{rtol:.0e}): it has no gradient at repeated values, nor for the phase of complex "
        "vectors. If it is a function of U diag(f(S)) Vh, use svt, singular_value_map or low_rank"
    )
    if gauge == "raise":
        raise GaugeError(message)
    warnings.warn(message, GaugeWarning, stacklevel=2)
