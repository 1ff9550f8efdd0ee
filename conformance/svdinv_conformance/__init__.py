"""Check and compare gradients through the singular value decomposition.

``python -m svdinv_conformance`` has three commands, each with a ``--help``:

``compare``
    The same matrices, the same loss, every framework, every rule for tied singular values, measured
    against an exact gradient in extended precision. As a library:
    :func:`~svdinv_conformance.compare.compare` turns a :class:`~svdinv_conformance.compare.Plan`
    into a table of results, and :func:`~svdinv_conformance.reference.exact_gradient` is the exact
    gradient.
``run``
    The conformance suite, for any implementation (:mod:`svdinv_conformance.suite`).
``bench``
    Timings beside the framework's own functions (:mod:`svdinv_conformance.bench`).

:func:`check` is one line in anybody's tests: the derivative of one function of a matrix.

Only the public interface of ``svdinv`` is used. Importing this package imports no framework but
NumPy.
"""

try:
    import numpy as _numpy  # noqa: F401
    import rich as _rich  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"svdinv_conformance needs {error.name}: pip install svdinv[conformance]"
    ) from error

from .compare import Comparison, Plan, compare
from .derivative_check import DerivativeError, check
from .inputs import Input, built_in, from_image, from_npy
from .reference import decompose, exact_gradient

__all__ = [
    "Comparison",
    "DerivativeError",
    "Input",
    "Plan",
    "built_in",
    "check",
    "compare",
    "decompose",
    "exact_gradient",
    "from_image",
    "from_npy",
]
