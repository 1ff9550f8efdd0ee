"""How well-posed each question is: condition numbers, natural sizes, and where no answer exists.

All from the singular values alone. `condition` bounds by how much more than rounding the derivative
may be off for reasons that no implementation can help:

====================  ============================================================================
soft                  1 + 1/gap over pairs with one value kept and one dropped
hard, low_rank        the same; the derivative itself grows as 1/gap of the cut
truncated             the same, plus 1/(smallest kept value)
projector             the same, plus 1/(smallest kept value)
polar                 1 + 1/(sum of the two smallest values) square, 1/(smallest) otherwise
nuclear               1 + 1/(smallest value)
values, eigenvalues   1 + 1/gap between groups of values
smooth, hermitian     1 + min(1/gap, gap^2/eps) over all pairs: the function is a black box with a
                      slope, so of two near values either the difference quotient is used, off by
                      eps/gap, or the mean slope, off by gap^2; the worst over gaps is eps^(-1/3)
reconstruction,       1 + 1/gap + 1/(smallest value), the question being put to U, S and Vh
factors               themselves; an exact tie counts as resolved
shrink, invert,       the same, of values that are not zero
tensor
roots                 1 + 1/(smallest value)
rotate, align         1 + 1/(difference of the two smallest values)
====================  ============================================================================

Gaps and values are relative to the largest value. Where ``64 eps condition`` exceeds `LOOSEST`
the precision cannot resolve the case and a finite answer is all that is asked of it.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

from observables import Observable

EPS = {"float32": 2.0**-23, "float64": 2.0**-52}
SMALLEST_GAP = 2.0**-48
"""A pair closer than this is tied in double precision for the purpose of `reconstruction`."""

Values = list[float]


def relative(values: list[Any]) -> Values:
    """Values as fractions of the largest."""
    largest = max((abs(v) for v in values), default=0)
    return [float(v / largest) if largest else 0.0 for v in values]


def _kept(observable: Observable, values: list[Any], tau: Any) -> list[bool]:
    kind = observable.kind
    if kind in ("low_rank", "truncated"):
        return [i < observable.options["rank"] for i in range(len(values))]
    cut = tau if kind in ("soft", "hard") else observable.options["cut"]
    return [v > cut for v in values]


def _across(kept: list[bool], s: Values) -> Values:
    return [s[i] - s[j] for i, j in combinations(range(len(s)), 2) if kept[i] != kept[j]]


def undefined(observable: Observable, values: list[Any], tau: Any) -> str | None:
    """Why the observable has no derivative at these values, as a code."""
    s, kind = relative(values), observable.kind
    if kind in ("low_rank", "truncated") and 0 in _across(_kept(observable, values, tau), s):
        return "cut_on_tie"
    cut = observable.options.get("cut", tau)
    at_cut = sum(v == cut for v in values)
    if at_cut:
        return "cut_on_tie" if at_cut > 1 and kind != "soft" else "threshold_on_value"
    zeros = sum(v == 0 for v in s)
    if kind in ("nuclear", "polar", "reconstruction") and zeros:
        return "zero_value"
    return None


def _inverse(x: float) -> float:
    return 1 / x


def condition(
    observable: Observable, values: list[Any], tau: Any, shape: tuple[int, int], eps: float
) -> float:
    """Bound on the amplification of rounding, for one matrix."""
    s, kind = relative(values), observable.kind
    gaps = [abs(a - b) for a, b in combinations(s, 2)]
    if kind in ("soft", "hard", "low_rank", "projector", "truncated"):
        kept = _kept(observable, values, tau)
        amplified = max(map(_inverse, _across(kept, s)), default=0.0)
        if kind in ("projector", "truncated"):
            amplified += 1 / min((v for v, k in zip(s, kept, strict=True) if k), default=1.0)
        return 1 + amplified
    if kind == "polar":
        square = shape[0] == shape[1]
        return 1 + 1 / (s[-1] + s[-2] if square else s[-1])
    if kind == "nuclear":
        return 1 + 1 / s[-1]
    if kind in ("values", "eigenvalues"):
        groups = observable.options["groups"]
        of = {i: n for n, g in enumerate(groups) for i in g}
        between = [
            abs(s[i] - s[j]) for i, j in combinations(range(len(s)), 2) if of.get(i) != of.get(j)
        ]
        return 1 + max(map(_inverse, between), default=0.0)
    if kind in ("smooth", "hermitian"):
        return 1 + max((min(1 / g, g * g / eps) for g in gaps if g), default=0.0)
    if kind in ("rotate", "align"):
        return 1 + 1 / (s[-2] - s[-1])
    smallest = min(v for v in s if v)
    if kind == "roots":
        return 1 + 1 / smallest
    apart = [g for g in gaps if g > SMALLEST_GAP]
    return 1 + max(map(_inverse, apart), default=0.0) + 1 / smallest


def second_condition(
    observable: Observable, values: list[Any], tau: Any, shape: tuple[int, int], eps: float
) -> float:
    """The same for the second derivative, which divides by every gap once more.

    The curvature of a black box may be taken by a complex step, off by eps^(4/5) in the best case.
    """
    s = relative(values)
    apart = [abs(a - b) for a, b in combinations(s, 2) if a != b]
    first = condition(observable, values, tau, shape, eps)
    steps = [eps**-0.2] if observable.kind in ("smooth", "hermitian") else []
    return first * (1 + max([*map(_inverse, apart), *steps], default=0.0))


def slope(observable: Observable, values: list[Any], tau: Any, shape: tuple[int, int]) -> float:
    """Natural size of the derivative: what a cotangent of norm 1 may become."""
    largest = float(max(values, default=0)) or 1.0
    kind = observable.kind
    if kind in ("hard", "low_rank", "truncated"):
        return condition(observable, values, tau, shape, 1.0)
    if kind in ("projector", "polar", "factors", "rotate", "align"):
        return condition(observable, values, tau, shape, 1.0) / largest
    return 1.0
