"""svdinv for JAX arrays: one `custom_jvp` for decompositions, one for operators.

JAX transposes the forward rule by itself, which gives the reverse rule at the same cost and
in JAX's own convention for complex cotangents. The factors are computed once, outside, from
the input with its gradient stopped; a rule that is differentiated again sees them as
functions of the input through :func:`_decompose`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

try:
    import jax
    import jax.numpy as jnp
    import numpy as np
except ImportError as error:
    raise ImportError("svdinv.jax needs JAX: pip install svdinv[jax]") from error

from svdinv_core import SVD, Operator, SVDFactors

from . import rules
from ._api import Functions, SVDResult
from ._checks import Shape

__all__ = ["SVDResult", "rules", "svd", "svdvals", "svt"]


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _decompose(decomposition: SVD, x: Any, U: Any, S: Any, Vh: Any) -> Any:
    """The given factors of x as differentiable functions of x."""
    return U, S, Vh


@_decompose.defjvp
def _decompose_jvp(decomposition: SVD, primals: Any, tangents: Any) -> Any:
    factors = _decompose(decomposition, *primals)
    with jax.default_matmul_precision("float32"):
        return factors, tuple(decomposition.jvp(jnp, SVDFactors(*factors), tangents[0]))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _apply(operator: Operator, x: Any, factors: Any, params: Any) -> Any:
    """An operator on the factors of x, with the operator's own derivative in x."""
    return operator.apply(jnp, x, SVDFactors(*factors), params)


@_apply.defjvp
def _apply_jvp(operator: Operator, primals: Any, tangents: Any) -> Any:
    x, raw, params = primals
    dx, _, dparams = tangents
    factors = SVDFactors(*_decompose(operator.decomposition, x, *raw))
    with jax.default_matmul_precision("float32"):
        out = _apply(operator, x, raw, params)
        return out, operator.jvp(jnp, x, factors, params, dx, dparams)


class _JaxBackend:
    array_name = "jax.Array"
    xp = jnp

    def asarray(self, x: Any) -> Any:
        return jnp.asarray(x) if isinstance(x, (jax.Array, np.ndarray)) else None

    def shape(self, x: Any) -> Shape | None:
        return tuple(x.shape)

    def parameter(self, value: Any, like: Any, dtype: Any) -> Any:
        return jnp.asarray(value, dtype=dtype)

    def decompose(self, decomposition: SVD, x: Any) -> tuple[Any, ...]:
        with jax.default_matmul_precision("float32"):
            raw = decomposition.compute(jnp, jax.lax.stop_gradient(x))
            return tuple(_decompose(decomposition, x, *raw))

    def apply(self, operator: Operator, x: Any, params: tuple[Any, ...]) -> Any:
        with jax.default_matmul_precision("float32"):
            raw = operator.decomposition.compute(jnp, jax.lax.stop_gradient(x))
            return _apply(operator, x, tuple(raw), params)


_backend = _JaxBackend()
_functions = Functions[jax.Array](lambda x: _backend)

svd = _functions.svd
svdvals = _functions.svdvals
svt = _functions.svt
