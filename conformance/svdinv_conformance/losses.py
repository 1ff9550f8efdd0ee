"""The losses, and the methods that can differentiate each of them.

Every loss but one is ``L = Re <W, f(x)> = Re sum(conj(W) * f(x))`` with a fixed array ``W`` of
standard normal entries, the same for every framework:

=================  =================================  ==================
loss               f(x), with x = U diag(S) Vh        exact operator
=================  =================================  ==================
``soft``           ``U diag(max(S - tau, 0)) Vh``     ``svt``
``reconstruction`` ``U diag(S) Vh`` (x itself)        none
``hard``           ``U diag(S where S > tau) Vh``     none
``nuclear``        ``L = sum(S)``, without W          ``svdvals``
=================  =================================  ==================

A *method* is one way to get the gradient: a rule of ``svd`` (:data:`RULES`), the library's exact
operator for that loss (:data:`EXACT`), or the framework's own SVD gradient (:data:`NATIVE`). To add
an exact operator, name it in :data:`EXACT` and give the frameworks a way to call it
(:meth:`~svdinv_conformance.frameworks.AutodiffBridge.loss`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["EXACT", "LOSSES", "METHODS", "NATIVE", "RULES", "THRESHOLDED", "methods_for", "weights"]

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


def weights(shape: tuple[int, ...], dtype: str, seed: int) -> NDArray[Any]:
    """Draw the cotangent ``W`` of a loss: standard normal, fixed by the seed.

    Parameters
    ----------
    shape
        Shape of the matrices.
    dtype
        ``"float32"``, ``"float64"``, ``"complex64"`` or ``"complex128"``; complex entries have
        standard normal real and imaginary parts. The narrower types are roundings of the wider
        ones, and the real part of a complex array is the real array of the same seed.
    seed
        Seed of the generator.
    """
    rng = np.random.default_rng(seed)
    real = rng.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        return (real + 1j * rng.standard_normal(shape)).astype(dtype)
    return real.astype(dtype)
