"""Observables and losses in PyTorch."""

from __future__ import annotations

import contextlib

import svdinv.torch
import torch

from .drivers import driver
from .observables import SKEW, Operations, observable

name = "torch"
_SKEW = {k: torch.tensor(K) for k, K in SKEW.items()}


class _Operations(Operations):
    def skew(self, k, like):
        return _SKEW[k].to(like.dtype)  # compiled programs take no arrays of NumPy


OPERATIONS = _Operations(driver("torch").bridge)


class Loss(torch.nn.Module):
    """``Re <W, B(x)>``, as a module, so that it can be saved."""

    def __init__(self, observable, W):
        super().__init__()
        self.observable = observable
        self.register_buffer("weights", torch.tensor(W))

    def observe(self, x):
        return observable(self.observable).of(svdinv.torch, OPERATIONS, x)

    def forward(self, x):
        return (self.weights.conj() * self.observe(x)).real.sum()


loss = Loss
array = torch.tensor


def numpy(x):
    return x.detach().resolve_conj().numpy()


def cotangent(g):
    return g


@contextlib.contextmanager
def midpoint():
    """Compute every derivative without registration."""
    with pytest_patch(svdinv.torch, "_dropped", lambda: True):
        yield


@contextlib.contextmanager
def pytest_patch(owner, attribute, value):
    before = getattr(owner, attribute)
    setattr(owner, attribute, value)
    try:
        yield
    finally:
        setattr(owner, attribute, before)


def second(loss, problem):
    """Hessian times direction of the form without registration, backward over backward."""
    x, d = array(problem.x).requires_grad_(), array(problem.direction)
    with midpoint():
        (g,) = torch.autograd.grad(loss(x), x, create_graph=True)
        (gg,) = torch.autograd.grad(g, x, d, materialize_grads=True)
    return numpy(gg)
