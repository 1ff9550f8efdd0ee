"""svdinv for CuPy arrays, with explicit derivatives: `vjp` and `jvp`."""

from __future__ import annotations

from typing import Any

try:
    import array_api_compat.cupy as _xp
    import cupy
except ImportError as error:
    raise ImportError(
        "svdinv.cupy needs CuPy: pip install svdinv[cupy], or the CuPy wheel for your CUDA version"
    ) from error

from . import rules
from ._api import Functions, SVDResult
from ._explicit import Explicit, ExplicitBackend

__all__ = ["SVDResult", "jvp", "rules", "svd", "svdvals", "svt", "vjp"]


def _asarray(x: Any) -> Any:
    return x if isinstance(x, cupy.ndarray) else None


_backend = ExplicitBackend(_xp, "cupy.ndarray", _asarray)
_functions = Functions[Any](lambda x: _backend)
_explicit = Explicit(_backend)

svd = _functions.svd
svdvals = _functions.svdvals
svt = _functions.svt
vjp = _explicit.vjp
jvp = _explicit.jvp
