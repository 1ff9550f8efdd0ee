"""A package of somebody else: three functions over PyTorch, which does not use svdinv.

Its soft threshold has the exact gradient; its ``svd`` is PyTorch's.
"""

from __future__ import annotations

import torch
from torch.linalg import svdvals

__all__ = ["svd", "svdvals", "svt"]


def svd(x):
    """Thin ``U, S, Vh``."""
    return torch.linalg.svd(x, full_matrices=False)


def _factors(x, tau):
    """Factors, which values are kept, and the values of the result."""
    U, S, Vh = svd(x)
    over = S - tau.unsqueeze(-1)
    return U, S, Vh, over > 0, over.clamp(min=0)


def _apply(x, tau, G):
    """The derivative in x along G, which is self-adjoint, and the derivative in tau."""
    U, S, Vh, kept, f = _factors(x, tau)
    GV, UG = G @ Vh.mH, U.mH @ G
    P = U.mH @ GV
    row, column = kept.unsqueeze(-1), kept.unsqueeze(-2)
    gap = S.unsqueeze(-1) - S.unsqueeze(-2)
    rise = f.unsqueeze(-1) - f.unsqueeze(-2)
    plus = torch.where(row ^ column, rise / torch.where(row ^ column, gap, 1), (row & column) * 1.0)
    total = S.unsqueeze(-1) + S.unsqueeze(-2)
    both = f.unsqueeze(-1) + f.unsqueeze(-2)
    minus = torch.where(total > 0, both / torch.where(total > 0, total, 1), 0)
    c = (f / torch.where(kept, S, 1)).to(x.dtype).unsqueeze(-2)
    core = plus * (P + P.mH) / 2 + minus * (P - P.mH) / 2
    out = U @ (core - P * c - c.mT * P) @ Vh + (GV * c) @ Vh + U @ (c.mT * UG)
    diagonal = torch.where(kept, torch.diagonal(P, dim1=-2, dim2=-1).real, 0)
    return out, diagonal.sum(-1)


class _Threshold(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x, tau):
        U, _, Vh, _, f = _factors(x, tau)
        return (U * f.to(x.dtype).unsqueeze(-2)) @ Vh

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx, ct):
        x, tau = ctx.saved_tensors
        out, slope = _apply(x, tau, ct)
        return out, -slope.sum_to_size(tau.shape)

    @staticmethod
    def jvp(ctx, dx, dtau):
        x, tau = ctx.saved_tensors
        U, _, Vh, kept, _ = _factors(x, tau)
        shift = (kept * dtau.unsqueeze(-1)).to(x.dtype).unsqueeze(-2)
        return _apply(x, tau, dx)[0] - (U * shift) @ Vh


def svt(x, tau):
    """``U diag(max(S - tau, 0)) Vh``, with the exact gradient at ties too."""
    return _Threshold.apply(x, tau)
