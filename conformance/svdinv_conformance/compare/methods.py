"""The losses, and the methods that can differentiate each of them.

Every loss is an observable of the suite (:mod:`..suite.observables`) and a fixed cotangent W of
standard normal entries, the same for every framework, ``L = Re <W, f(x)> = Re sum(conj(W) f(x))``:

=================  =================================  ==================
loss               f(x), with x = U diag(S) Vh        exact operator
=================  =================================  ==================
``soft``           ``U diag(max(S - tau, 0)) Vh``     ``svt``
``reconstruction`` ``U diag(S) Vh`` (x itself)        none
``hard``           ``U diag(S where S > tau) Vh``     none
``nuclear``        ``sum(S)``, with W = 1             ``svdvals``
=================  =================================  ==================

A *method* is one way to get the gradient: a rule of ``svd`` (:data:`RULES`), the library's exact
operator for that loss (:data:`EXACT`), or the framework's own SVD gradient (:data:`NATIVE`). To the
suite it is an implementation with few functions; to add an exact operator, name it in
:data:`EXACT`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..frameworks import AutodiffBridge, Bridge, UnavailableError
from ..reference import ExactGradient, Factors, exact_gradient
from ..suite.autodiff import Autodiff
from ..suite.case import Observable
from ..suite.explicit import Explicit

__all__ = [
    "EXACT",
    "LOSSES",
    "METHODS",
    "NATIVE",
    "RULES",
    "THRESHOLDED",
    "Asked",
    "Problem",
    "gradient",
    "implement",
    "methods_for",
]

LOSSES: dict[str, str] = {
    "soft": "soft threshold of the singular values",
    "reconstruction": "the matrix put together again, unchanged",
    "hard": "the singular values above the threshold, unchanged",
    "nuclear": "sum of the singular values",
}
"""Name and one-line description of each loss."""

THRESHOLDED = ("soft", "hard")
"""The losses that use the threshold."""

RULES = ("auto", "inv", "pinv", "plain", "tf", "clip", "taylor", "lorentzian", "fit")
"""Gradient rules of the library's ``svd`` that are compared."""

NATIVE = "native"
"""The method that stands for the framework's own SVD gradient."""

EXACT: dict[str, str] = {"soft": "svt", "nuclear": "svdvals"}
"""The library's exact operator for a loss."""

METHODS = (*EXACT.values(), *RULES, NATIVE)
"""Every method, in the order of the table."""


def methods_for(loss: str) -> tuple[str, ...]:
    """List the methods that apply to a loss, in the order of the table."""
    exact = (EXACT[loss],) if loss in EXACT else ()
    return (*exact, *RULES, NATIVE)


@dataclass(frozen=True, eq=False)
class Problem:
    """A problem: a loss at some matrices."""

    loss: str
    """Name of the loss."""
    x: NDArray[Any]
    """Matrices ``(..., m, n)`` in the computing type."""
    weights: NDArray[Any]
    """``W``, of x's shape and type."""
    tau: NDArray[Any]
    """Threshold of each matrix, the batch shape, real."""
    factors: Factors
    """Of the matrices."""

    @cached_property
    def exact(self) -> ExactGradient:
        """The exact gradient."""
        return exact_gradient(self.loss, self.factors, self.weights, self.tau)


Asked = Autodiff | Explicit
"""An implementation of one method."""


def implement(bridge: Bridge, method: str) -> Asked:
    """Make an implementation that has what a method may use, and nothing else.

    Raises
    ------
    UnavailableError
        If the framework has no such method.
    """
    library, differentiates = bridge.library, isinstance(bridge, AutodiffBridge)
    if method == NATIVE:
        if not isinstance(bridge, AutodiffBridge):
            raise UnavailableError(f"{bridge.name} has no autodiff")
        module = SimpleNamespace(svd=bridge.native_svd)
    elif method in EXACT.values():
        module = SimpleNamespace(**{method: getattr(library, method)})
        module.vjp = getattr(library, "vjp", None)
    elif differentiates:
        module = SimpleNamespace(svd=partial(library.svd, rule=method))
    else:
        module = SimpleNamespace(svd=library.svd, vjp=partial(library.vjp, rule=method))
    if isinstance(bridge, AutodiffBridge):
        return Autodiff(bridge, module, method, mode=bridge.execution)
    return Explicit(bridge, module, method)


def gradient(asked: Asked, problem: Problem, device: str = "cpu") -> Callable[[], Any]:
    """Prepare a gradient; each call of the result computes it once and waits for it.

    Transfers are not part of that call. Compilation, if there is any, happens in the first one.
    The result is the gradient in x, and in tau for a loss that has one.
    """
    loss, x = problem.loss, problem.x
    given = (x, problem.tau) if loss in THRESHOLDED else (x,)
    inputs = tuple(asked.array(a, device) for a in given)
    weights = np.ones(x.shape[:-2], x.real.dtype) if loss == "nuclear" else problem.weights
    observable, cotangents = Observable(loss), (asked.array(weights, device),)

    def run() -> tuple[Any, Any]:
        ct_x, *ct_tau = asked.vjp(observable, inputs, cotangents)
        asked.bridge.wait(ct_x)
        return ct_x, ct_tau[0] if loss == "soft" else None

    return run
