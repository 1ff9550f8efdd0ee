r"""The nearest matrix whose singular values are at most t: ``f(S) = min(S, t)``.

It is what thresholding takes away, ``min(S, t) = S - max(S - t, 0)``, and so are its derivatives:
``g = 1 - g_soft = t/max(S, t)`` and ``Gamma = -Gamma_soft``, without a subtraction.
"""

from __future__ import annotations

from dataclasses import dataclass

from .namespace import Array, Namespace
from .operator import Tangents
from .scaled import Divided, ScaledFactors
from .soft_threshold import SoftThreshold, Thresholded

__all__ = ["SingularValueClip"]


def _negative(x: Array | None) -> Array | None:
    return None if x is None else -x


@dataclass(frozen=True)
class SingularValueClip(SoftThreshold):
    """Clipping at an upper bound; one parameter, the bound."""

    def leading(self, k: int) -> int:
        return k

    def at(self, xp: Namespace, S: Array, params: tuple[Array, ...]) -> Thresholded:
        point = super().at(xp, S, params)
        # 1 for values up to t, also those of 0.
        return point._replace(g=point.q)

    def divided(self, xp: Namespace, S: Array, point: Thresholded, r: int) -> Divided:
        soft = super().divided(xp, S, point, r)
        return soft._replace(ratio=_negative(soft.ratio))

    def push(
        self,
        xp: Namespace,
        S: Array,
        point: Thresholded,
        params: tuple[Array, ...],
        dparams: tuple[Array | None, ...],
        diagonal: Array | None,
    ) -> Array | None:
        return _negative(super().push(xp, S, point, params, dparams, diagonal))

    def pull(
        self,
        xp: Namespace,
        S: Array,
        point: Thresholded,
        params: tuple[Array, ...],
        diagonal: Array,
    ) -> tuple[tuple[Array | None, ...], Array | None]:
        ct_params, more = super().pull(xp, S, point, params, diagonal)
        return tuple(map(_negative, ct_params)), _negative(more)

    def second(
        self,
        xp: Namespace,
        A: Array,
        factors: ScaledFactors,
        params: tuple[Array, ...],
        one: Tangents,
        two: Tangents,
    ) -> Array | None:
        return _negative(SoftThreshold().second(xp, A, factors, params, one, two))

    def hvp(
        self,
        xp: Namespace,
        A: Array,
        factors: ScaledFactors,
        params: tuple[Array, ...],
        ct: Array,
        along: Tangents,
    ) -> tuple[Array | None, tuple[Array | None, ...]]:
        out, ct_params = SoftThreshold().hvp(xp, A, factors, params, ct, along)
        return _negative(out), tuple(map(_negative, ct_params))
