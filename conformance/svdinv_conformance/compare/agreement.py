"""When do two frameworks disagree?

Each framework computes its own singular vectors. These differ by rounding errors everywhere, and by
an arbitrary rotation where values are tied. A well-defined gradient does not depend on this; that
of a rule at a tie may. So a comparison is judged by a tolerance if the gradient is determined, and
only reported if it is not.

**Judged, with a tolerance.** ``tolerance = accuracy * kappa``. The accuracy of an exact operator is
what the library promises, 1e-12 in double and 1e-5 in single precision; that of a rule is
``64 eps``. ``kappa`` bounds how much the question amplifies rounding errors:

* ``svt``: 1 + the root mean square of ``s_1 / |s_i - s_j|``, counted for the pairs with one value
  above and one below the threshold (the others amplify nothing);
* rules: the same, counted for every pair with a value above the threshold that is not tied;
* losses of the values alone (``nuclear``): ``1 + s_1 / s_k``;
* the gradient in the threshold: ``1 + s_1 / |s_i - s_j|`` of the two values next to it.

*Tied* means the same for every rule, the default of the library (:func:`tie_rtol`); ``fit``, whose
own tolerance is larger, is judged like the others.

A non-finite entry in a judged result is a failure. The exact operators are also compared with the
exact gradient, wherever that is defined.

**Reported, not judged:**

* ``plain`` and ``clip`` at a tie: the numerator is a rounding error, and the divisor nearly zero;
* the other rules at a tie, where the result depends on which basis of the tied vectors the
  framework found. ``inv`` is judged for ``reconstruction`` and ``hard``, where it does not;
* rules for ``reconstruction`` if a value is zero, because its vectors are arbitrary;
* any method whose tolerance would exceed 1e-2: the values are closer than the computing type can
  resolve;
* a gradient that does not exist: the threshold equals a value, or ``nuclear`` at a zero value;
* ``native``: the library is not responsible for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..suite.case import LOOSEST, SAFETY
from .methods import EXACT, NATIVE, THRESHOLDED

__all__ = [
    "PROMISED",
    "Judgement",
    "judge",
    "tie_rtol",
    "undefined",
]

PROMISED = {"float32": 1e-5, "float64": 1e-12}
"""Relative error that the exact operators keep to, by precision."""

_GUARD = 2.0
"""Frameworks round the tie tolerance differently: a gap this close above it counts as a tie."""


def tie_rtol(dtype: str) -> float:
    """Give the library's default for "tied", relative to the largest value: ``eps ** 0.75``."""
    return math.pow(float(np.finfo(dtype).eps), 0.75)


def _zero_rtol(dtype: str, shape: tuple[int, ...]) -> float:
    """Give the relative size below which a value may count as zero, with a margin."""
    return 10 * float(np.finfo(dtype).eps) * max(shape[-2:])


def undefined(
    loss: str, s: NDArray[Any], tau: float, dtype: str, shape: tuple[int, ...]
) -> str | None:
    """Say why a loss has no gradient at a matrix, or None if it has one.

    Parameters
    ----------
    loss
        Name of the loss.
    s
        Singular values ``(k,)`` of one matrix, descending.
    tau
        Its threshold.
    dtype
        Computing type: what lies within its rounding is not told apart.
    shape
        Shape of the matrix.
    """
    if loss == "nuclear" and np.any(s <= _zero_rtol(dtype, shape) * s[0]):
        return "a value is zero"
    if loss in THRESHOLDED and s[0] > 0:
        at_cut = int(np.sum(np.abs(s - tau) <= tie_rtol(dtype) * s[0]))
        if at_cut > 1 and loss == "hard":
            return "cut splits a cluster"
        if at_cut:
            return "threshold falls on a value"
    return None


@dataclass(frozen=True)
class Judgement:
    """How the results of one method at one matrix are compared."""

    tolerance: float
    """Largest relative difference between two frameworks that counts as rounding."""
    tau_tolerance: float
    """The same for the gradient in the threshold."""
    excuse: str = ""
    """Why the results are not judged; empty if they are."""

    @property
    def judged(self) -> bool:
        """Whether a difference beyond the tolerance counts."""
        return not self.excuse


def judge(
    method: str, loss: str, s: NDArray[Any], tau: float, dtype: str, shape: tuple[int, ...]
) -> Judgement:
    """Decide how results at one matrix are to be compared (see the top of this module).

    Parameters
    ----------
    method, loss
        What was computed.
    s
        Exact singular values ``(k,)``, descending.
    tau
        Threshold.
    dtype
        Computing type.
    shape
        Shape of the matrix.
    """
    if method == NATIVE:
        return Judgement(np.inf, np.inf, "the framework's own")
    reason = undefined(loss, s, tau, dtype, shape)
    if reason is not None:
        return Judgement(np.inf, np.inf, reason)

    eps = float(np.finfo(dtype).eps)
    largest = float(s[0]) if s[0] > 0 else 1.0
    values = np.asarray(s, dtype=np.float64) / largest
    gap = np.abs(values[:, None] - values[None, :])
    kept = values > tau / largest if loss in THRESHOLDED else np.ones(len(values), dtype=bool)
    off_diagonal = ~np.eye(len(values), dtype=bool)
    tied = (gap <= _GUARD * tie_rtol(dtype)) & off_diagonal
    used = (kept[:, None] | kept[None, :]) & off_diagonal

    if method in ("plain", "clip") and tied.any():
        return Judgement(np.inf, np.inf, "tie amplifies rounding")
    if loss == "nuclear":
        kappa = 1 + 1 / float(values[-1])
    else:
        if method == EXACT.get(loss):
            counted = kept[:, None] ^ kept[None, :]
        else:
            covariant = method == "inv" and loss in ("reconstruction", "hard")
            if (tied & used).any() and not covariant:
                return Judgement(np.inf, np.inf, "tied basis is arbitrary")
            if loss == "reconstruction" and values[-1] <= _zero_rtol(dtype, shape):
                return Judgement(np.inf, np.inf, "zero value's vectors arbitrary")
            counted = used & ~tied
        amplified = np.sum(1 / gap[counted] ** 2)
        kappa = 1 + float(np.sqrt(amplified / max(1, int(np.sum(used)))))
    tau_kappa = 1.0
    if loss == "soft" and kept.any() and not kept.all():
        tau_kappa += 1 / float(values[kept].min() - values[~kept].max())

    exact = method == EXACT.get(loss)
    accuracy = PROMISED[str(np.finfo(dtype).dtype)] if exact else SAFETY * eps
    tolerance, tau_tolerance = accuracy * kappa, accuracy * tau_kappa
    if max(tolerance, tau_tolerance) > LOOSEST:
        return Judgement(np.inf, np.inf, f"gaps too small for {dtype}")
    return Judgement(tolerance, tau_tolerance)
