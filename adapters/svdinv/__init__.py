"""A differentiable SVD that never breaks training, the same in every array framework.

The functions here look at the type of their array and hand it to the module of its
framework: `svdinv.torch`, `svdinv.jax`, `svdinv.tensorflow`, `svdinv.autograd`, `svdinv.numpy`,
`svdinv.cupy` (loaded when one of its arrays arrives, or when it is named). Import from one of
these to fix the framework, and for exact static types:

>>> import numpy as np
>>> import svdinv
>>> svdinv.svt(np.eye(2), 0.25)
array([[0.75, 0.  ],
       [0.  , 0.75]])
"""

from __future__ import annotations

import importlib
from typing import Any

from svdinv_core import __version__ as __version__

from . import rules
from ._api import EighResult, Functions, PolarResult, SVDResult
from ._dispatch import ADAPTERS, find_backend, find_explicit
from ._explicit import Explicit
from ._gauge import GaugeError, GaugeWarning

__all__ = [
    "EighResult",
    "GaugeError",
    "GaugeWarning",
    "PolarResult",
    "SVDResult",
    "eigenvalue_map",
    "eigh",
    "gauge_residual",
    "jvp",
    "low_rank",
    "nuclear_norm",
    "polar",
    "procrustes",
    "rules",
    "singular_value_map",
    "svd",
    "svdvals",
    "svt",
    "vjp",
]

_functions = Functions[Any](find_backend)
_explicit = Explicit(find_explicit)

eigenvalue_map = _functions.eigenvalue_map
eigh = _functions.eigh
gauge_residual = _functions.gauge_residual
low_rank = _functions.low_rank
nuclear_norm = _functions.nuclear_norm
polar = _functions.polar
procrustes = _functions.procrustes
singular_value_map = _functions.singular_value_map
svd = _functions.svd
svdvals = _functions.svdvals
svt = _functions.svt
jvp = _explicit.jvp
vjp = _explicit.vjp


def __getattr__(name: str) -> Any:
    """Load a framework's module when it is named (``svdinv.torch``)."""
    if name in ADAPTERS:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
