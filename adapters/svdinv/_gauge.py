"""`svd(gauge=...)`: warnings about a loss without a gradient, or with one the rule chose."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from svdinv_core import Auto, Rule, SVDFactors, default_gauge_rtol, gauge_residual, rule_residual

__all__ = ["GaugeError", "GaugeWarning", "Watch", "check_mode"]

MODES = ("ignore", "warn", "raise")


class GaugeWarning(RuntimeWarning):
    """A loss depends on the choice of singular vectors, or its gradient on the choice of rule."""


class GaugeError(ArithmeticError):
    """A loss depends on the choice of singular vectors, or its gradient on the choice of rule."""


def check_mode(gauge: str) -> None:
    """Refuse an unknown mode."""
    if gauge not in MODES:
        raise ValueError(f"gauge: expected 'ignore', 'warn' or 'raise', got {gauge!r}")


@dataclass(frozen=True)
class Watch:
    """Look at the cotangents of `svd` in reverse mode, and warn or raise.

    Parameters
    ----------
    mode : {"warn", "raise"}
    rule : Rule
        The rule that computes the gradient.
    """

    mode: str
    rule: Rule

    def not_eager(self) -> ValueError:
        """The error for a traced function, where values are not known."""
        return ValueError(
            f"gauge: {self.mode!r} reads values, which are not known while a function is traced; "
            "use gauge='ignore', and let the function return "
            "svdinv.gauge_residual(U, S, Vh, ct_U, ct_Vh) and svdinv.rule_residual of the same"
        )

    def look(
        self,
        xp: Any,
        factors: SVDFactors,
        cotangents: tuple[Any, ...],
        numbers: Callable[[Any], list[float]],
    ) -> None:
        """Warn or raise if one of the two residuals is larger than rounding explains.

        Parameters
        ----------
        cotangents : tuple
            Cotangents of U, S and Vh, in the convention of the core.
        numbers : callable
            Returns the entries of an array as a flat list.
        """
        ct_U, ct_S, ct_Vh = cotangents
        rtol = default_gauge_rtol(float(xp.finfo(factors.S.dtype).eps))
        of_gauge = numbers(gauge_residual(xp, factors, ct_U, ct_Vh))
        if large := _large(of_gauge, rtol):
            self._say(
                "the loss depends on the choice of singular vectors "
                f"(gauge residual {_how_much(large, of_gauge, rtol)}): it has no gradient at "
                "repeated values, nor for the phase of complex vectors. "
            )
            return
        read = ct_S if isinstance(self.rule, Auto) else None
        of_rule = numbers(rule_residual(xp, factors, ct_U, ct_Vh, read))
        if large := _large(of_rule, rtol):
            self._say(
                f"the gradient at repeated values depends on the rule, here {self.rule.name!r} "
                f"(rule residual {_how_much(large, of_rule, rtol)}): it is right for some losses, "
                "but the cotangents do not show whether it is right for this one. "
            )

    def _say(self, what: str) -> None:
        message = (
            f"svd: {what}If it is a function of U diag(f(S)) Vh, use svt, singular_value_map, "
            "low_rank or polar"
        )
        if self.mode == "raise":
            raise GaugeError(message)
        warnings.warn(message, GaugeWarning, stacklevel=2)


def _large(residuals: list[float], rtol: float) -> list[float]:
    return [r for r in residuals if not r <= rtol]  # NaN is large


def _how_much(large: list[float], residuals: list[float], rtol: float) -> str:
    return (
        f"up to {max(large):.1e} in {len(large)} of {len(residuals)} matrices; rounding explains "
        f"{rtol:.0e}"
    )
