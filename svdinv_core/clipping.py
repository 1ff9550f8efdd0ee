r"""The nearest matrix whose singular values are at most t: ``f(S) = min(S, t)``.

Clipping returns the part that thresholding removes, ``min(S, t) = S - max(S - t, 0)``. So
``g = 1 - g_soft = t/max(S, t)``, computed without a subtraction, and ``Gamma = -Gamma_soft``.
"""

from __future__ import annotations

from dataclasses import dataclass

from .namespace import Array
from .operator import Point, Some, Tangents
from .scaled import Divided
from .soft_threshold import SoftThreshold, Thresholded

__all__ = ["SingularValueClip"]


def _negative(x: Array | None) -> Array | None:
    return None if x is None else -x


@dataclass(frozen=True)
class SingularValueClip(SoftThreshold):
    """Clipping at an upper bound; one parameter, the bound."""

    def leading(self, k: int) -> int:
        return k

    def terms(self, at: Point) -> Thresholded:
        terms = super().terms(at)
        # 1 for values up to t, including 0.
        return terms._replace(g=terms.q)

    def divided(self, at: Point, terms: Thresholded, r: int) -> Divided:
        soft = super().divided(at, terms, r)
        return soft._replace(ratio=_negative(soft.ratio))

    def push(
        self, at: Point, terms: Thresholded, dparams: Some, diagonal: Array | None
    ) -> Array | None:
        return _negative(super().push(at, terms, dparams, diagonal))

    def pull(self, at: Point, terms: Thresholded, diagonal: Array) -> tuple[Some, Array | None]:
        ct_params, more = super().pull(at, terms, diagonal)
        return tuple(map(_negative, ct_params)), _negative(more)

    def second(self, at: Point, one: Tangents, two: Tangents) -> Some:
        return tuple(map(_negative, SoftThreshold().second(at, one, two)))

    def hvp(self, at: Point, cts: Some, along: Tangents) -> Tangents:
        out, ct_params = SoftThreshold().hvp(at, cts, along)
        return Tangents(_negative(out), tuple(map(_negative, ct_params)))
