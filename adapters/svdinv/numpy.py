"""svdinv for NumPy arrays, with explicit derivatives: `vjp` and `jvp`.

Anything `numpy.asarray` takes is accepted (lists of floats among them).
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ._missing import cannot_import

try:
    import numpy as np

    from . import _numpy_namespace as _xp
except ImportError as error:
    raise cannot_import(error, "numpy", "NumPy") from error

from svdinv_core import Gram

from . import rules
from ._api import EighResult, Functions, PolarResult, SVDResult
from ._explicit import Explicit, ExplicitBackend

__all__ = [
    "EighResult",
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


def _asarray(x: Any) -> Any:
    try:
        array = np.asarray(x)
    except ValueError:  # ragged nested lists
        return None
    return array if isinstance(x, np.ndarray) or array.dtype.kind in "biufcV" else None


_backend = ExplicitBackend(
    _xp,
    "numpy.ndarray",
    _asarray,
    partial(np.errstate, divide="ignore", invalid="ignore", over="ignore", under="ignore"),
    (Gram(),),
)
_functions = Functions[np.ndarray[Any, Any]](lambda x: _backend)
_explicit = Explicit(lambda x: _backend)

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
vjp = _explicit.vjp
jvp = _explicit.jvp
