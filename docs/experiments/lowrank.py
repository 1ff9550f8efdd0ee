"""The low-rank step of the networks, by name: a soft threshold relative to the largest value.

native       ``U relu(S - t S_1) Vh`` through `torch.linalg.svd` and its own gradient
svd-<rule>   the same through `svdinv.torch.svd` with that rule
svt          `svdinv.torch.svt`, whose gradient is exact and needs no rule
none         ``(1 - t) x``: no decomposition, to see what one costs
inv-no-phase svd-inv without a term of its gradient, see `InvWithoutPhase`
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from svdinv import rules
from svdinv import torch as st
from torch import Tensor, nn

__all__ = ["GapWatch", "InvWithoutPhase", "LowRank", "low_rank_names"]


@dataclass(frozen=True, kw_only=True)
class InvWithoutPhase(rules.Inv):
    """`Inv` without ``i Im(X - Y)_ii / (2 S_i)``, which the paper's Theorem 3.2 leaves out.

    The term is the diagonal of what ``1/total`` multiplies. Of a real matrix it is zero.
    """

    name: ClassVar[str] = "inv-no-phase"

    def coefficients(self, xp: Any, pairs: Any) -> Any:
        found = super().coefficients(xp, pairs)
        off_diagonal = xp.where(pairs.order != 0, found.inverse_total, 0.0)
        return found._replace(inverse_total=off_diagonal)


@dataclass
class GapWatch:
    """The smallest gap between two singular values of a matrix, relative to its largest.

    Parameters
    ----------
    every
        Ask for values that the step does not compute anyhow once in so many steps.
    """

    every: int = 25
    step: int = 0
    smallest: float = float("inf")
    ties: int = 0
    matrices: int = 0

    def due(self) -> bool:
        return self.step % self.every == 0

    @torch.no_grad()
    def see(self, S: Tensor) -> None:
        """Singular values ``(..., k)`` of one call."""
        if S.shape[-1] < 2 or not bool(torch.isfinite(S).all()):
            return
        gaps = (S[..., :-1] - S[..., 1:]).amin(-1)
        relative = torch.where(S[..., 0] > 0, gaps / S[..., 0].clamp_min(1e-45), 0.0)
        self.smallest = min(self.smallest, float(relative.min()))
        self.ties += int((relative == 0).sum())
        self.matrices += relative.numel()

    def take(self) -> dict[str, float]:
        """What was seen since the last call, and forget it."""
        seen = {"smallest_gap": self.smallest, "ties": self.ties, "matrices": self.matrices}
        self.smallest, self.ties, self.matrices = float("inf"), 0, 0
        return seen


def low_rank_names() -> tuple[str, ...]:
    """The steps to compare, `svt` first; ``inv-no-phase``, wrong on purpose, is none of them."""
    return ("svt", *(f"svd-{name}" for name in rules.rule_names()), "native")


class LowRank(nn.Module):
    """``U max(S - t S_1, 0) Vh`` for a share t of the largest singular value.

    Parameters
    ----------
    method
        One of :func:`low_rank_names`, ``inv-no-phase``, or ``none``.

    Raises
    ------
    ValueError
        If there is none of that name.
    """

    def __init__(self, method: str = "svt") -> None:
        super().__init__()
        known = (*low_rank_names(), InvWithoutPhase.name, "none")
        if method not in known:
            raise ValueError(f"unknown low-rank step {method!r}; use one of {', '.join(known)}")
        self.method = method
        without_phase = method == InvWithoutPhase.name
        self.rule = InvWithoutPhase() if without_phase else method.removeprefix("svd-")
        self.watch: GapWatch | None = None

    def forward(self, x: Tensor, share: Tensor) -> Tensor:
        """Matrices ``(..., m, n)`` and a share in (0, 1) for all of them."""
        if self.method == "none":
            return (1 - share) * x
        if self.method == "svt":
            if self.watch is not None and self.watch.due():
                self.watch.see(torch.linalg.svdvals(x.detach()))
            return st.svt(x, share, relative=True)
        if self.method == "native":
            U, S, Vh = torch.linalg.svd(x, full_matrices=False)
        else:
            U, S, Vh = st.svd(x, rule=self.rule)
        if self.watch is not None:
            self.watch.see(S.detach())
        kept = torch.relu(S - share * S[..., :1])
        out: Tensor = (U * kept[..., None, :]) @ Vh
        return out
