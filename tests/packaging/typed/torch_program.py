"""What a user of svdinv.torch writes, with the types a checker has to find."""

# pyright: strict

from typing import assert_type

import torch
from svdinv.torch import (
    EighResult,
    PolarResult,
    SVDResult,
    eigh,
    polar,
    singular_value_map,
    svd,
    svt,
)
from torch import Tensor


class Shrink(torch.nn.Module):
    """A layer with a threshold that is learned."""

    def __init__(self) -> None:
        super().__init__()
        self.tau = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        """Threshold the singular values."""
        out = svt(x, self.tau)
        assert_type(out, Tensor)
        return out


def pieces(x: Tensor) -> Tensor:
    """Results by field and by position."""
    factors = svd(x, rule="pinv", gauge="ignore")
    assert_type(factors, SVDResult[Tensor])
    U, S, Vh = factors
    assert_type(U, Tensor)
    assert_type(factors.S, Tensor)
    assert_type(Vh, Tensor)
    assert_type(polar(x), PolarResult[Tensor])
    assert_type(eigh(x).eigenvalues, Tensor)
    assert_type(eigh(x), EighResult[Tensor])
    assert_type(singular_value_map(x, torch.tanh), Tensor)
    return U * S @ Vh


if __name__ == "__main__":
    matrix = torch.eye(3, requires_grad=True)
    (Shrink()(matrix).sum() + pieces(matrix).sum()).backward()
    assert matrix.grad is not None
    assert bool(matrix.grad.isfinite().all())
