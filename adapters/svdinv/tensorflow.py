"""svdinv for TensorFlow tensors: eager and in `tf.function`, reverse and forward mode.

Two custom gradients, one for decompositions and one for operators. The factors are
computed once, outside, from the input with its gradient stopped. A gradient function makes
them functions of the input again by :func:`_decompose` before it uses them: capturing them
as they are would give the second derivative of the framework's own SVD.
"""

from __future__ import annotations

from typing import Any

try:
    import numpy as np
    import tensorflow as tf
except ImportError as error:
    raise ImportError(
        "svdinv.tensorflow needs TensorFlow: pip install svdinv[tensorflow]"
    ) from error

from svdinv_core import SVD, Operator, SVDFactors

from . import _tensorflow_namespace as _xp
from . import rules
from ._api import Functions, SVDResult
from ._checks import Shape

__all__ = ["SVDResult", "rules", "svd", "svdvals", "svt"]


def _decompose(decomposition: SVD, x: Any, raw: SVDFactors) -> SVDFactors:
    """The given factors of x as differentiable functions of x."""

    @tf.custom_gradient  # type: ignore[untyped-decorator,unused-ignore]
    def call(x: Any, U: Any, S: Any, Vh: Any) -> Any:
        def grad(*cts: Any) -> Any:
            factors = _decompose(decomposition, x, SVDFactors(U, S, Vh))
            return decomposition.vjp(_xp, factors, cts), None, None, None

        return (U, S, Vh), grad

    return SVDFactors(*call(x, *raw))


def _apply(operator: Operator, x: Any, raw: SVDFactors, params: tuple[Any, ...]) -> Any:
    """An operator on the factors of x, with the operator's own derivative in x."""

    @tf.custom_gradient  # type: ignore[untyped-decorator,unused-ignore]
    def call(x: Any, U: Any, S: Any, Vh: Any, *params: Any) -> Any:
        raw = SVDFactors(U, S, Vh)

        def grad(ct: Any) -> Any:
            factors = _decompose(operator.decomposition, x, raw)
            ct_x, ct_params = operator.vjp(_xp, x, factors, params, ct)
            return (ct_x, None, None, None, *ct_params)

        # ForwardAccumulator would add the tangents of the operations in here to those of grad.
        fixed_x, fixed = tf.stop_gradient(x), tuple(map(tf.stop_gradient, params))
        return operator.apply(_xp, fixed_x, raw, fixed), grad

    return call(x, *raw, *params)


class _TensorFlowBackend:
    array_name = "tf.Tensor"
    xp = _xp

    def asarray(self, x: Any) -> Any:
        if isinstance(x, np.ndarray) or tf.is_tensor(x) or isinstance(x, tf.Variable):
            return tf.convert_to_tensor(x)
        return None

    def shape(self, x: Any) -> Shape | None:
        return None if x.shape.rank is None else tuple(x.shape)

    def parameter(self, value: Any, like: Any, dtype: Any) -> Any:
        return (
            tf.cast(value, dtype) if hasattr(value, "shape") else tf.constant(float(value), dtype)
        )

    def decompose(self, decomposition: SVD, x: Any) -> tuple[Any, ...]:
        return _decompose(decomposition, x, decomposition.compute(_xp, tf.stop_gradient(x)))

    def apply(self, operator: Operator, x: Any, params: tuple[Any, ...]) -> Any:
        raw = operator.decomposition.compute(_xp, tf.stop_gradient(x))
        return _apply(operator, x, raw, params)


_backend = _TensorFlowBackend()
_functions = Functions[Any](lambda x: _backend)

svd = _functions.svd
svdvals = _functions.svdvals
svt = _functions.svt
