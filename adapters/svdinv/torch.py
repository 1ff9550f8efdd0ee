"""svdinv for PyTorch tensors: reverse and forward mode, `torch.func`, second derivatives.

Two custom functions are registered, one for a decomposition and one for the operators on
it; the factors are computed outside of both, from the detached input, once for forward and
backward. Where a derivative is differentiated again, the factors it holds are first made
functions of the input by :class:`_Decompose`, so that our rule is used and never the
framework's own.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

try:
    import torch
    from torch.autograd import forward_ad

except ImportError as error:
    raise ImportError("svdinv.torch needs PyTorch: pip install svdinv[torch]") from error

from svdinv_core import SVD, Operator, SVDFactors

from . import _torch_namespace as _xp
from . import rules
from ._api import Functions, SVDResult
from ._checks import Shape

__all__ = ["SVDResult", "rules", "svd", "svdvals", "svt"]


def _full_precision(x: torch.Tensor) -> AbstractContextManager[Any]:
    """Autocast off where it is on: it would run the products below in half precision."""
    if torch.is_autocast_enabled(x.device.type):
        return torch.autocast(x.device.type, enabled=False)
    return nullcontext()


def _differentiated_again(x: torch.Tensor) -> bool:
    """Whether a derivative that runs now may itself be differentiated."""
    return torch.is_grad_enabled() or forward_ad.unpack_dual(x).tangent is not None


_DOUBLE = {torch.float32: torch.float64, torch.complex64: torch.complex128}


def _accurate_factors(decomposition: SVD, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Factors for an operator that promises an exact derivative.

    On a CPU single precision is decomposed in double: the derivative of a threshold amplifies
    the ten or so units in the last place that LAPACK's single precision is off by (worst error
    of `svt` over the test family 7e-6 without this, 6e-7 with it).
    """
    if x.device.type != "cpu" or x.dtype not in _DOUBLE:
        return decomposition.compute(_xp, x)
    U, S, Vh = decomposition.compute(_xp, x.to(_DOUBLE[x.dtype]))
    return U.to(x.dtype), S.to(x.real.dtype), Vh.to(x.dtype)


class _Decompose(torch.autograd.Function):
    """The given factors of x as differentiable functions of x."""

    generate_vmap_rule = True

    @staticmethod
    def forward(decomposition: SVD, x: torch.Tensor, *factors: torch.Tensor) -> Any:
        return tuple(factor.clone() for factor in factors)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.decomposition = inputs[0]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*output)
        ctx.save_for_forward(*output)

    @staticmethod
    def backward(ctx: Any, *cts: Any) -> Any:
        factors = SVDFactors(*ctx.saved_tensors)
        with _full_precision(factors.U):
            ct_x = ctx.decomposition.vjp(_xp, factors, cts)
        return (None, ct_x, *(None for _ in factors))

    @staticmethod
    def jvp(ctx: Any, _decomposition: Any, dx: Any, *_: Any) -> Any:
        factors = SVDFactors(*ctx.saved_tensors)
        if dx is None:
            return tuple(None for _ in factors)
        with _full_precision(dx):
            return tuple(ctx.decomposition.jvp(_xp, factors, dx))


class _Apply(torch.autograd.Function):
    """An operator on the factors of x, with the operator's own derivative in x."""

    generate_vmap_rule = True

    @staticmethod
    def forward(operator: Operator, x: torch.Tensor, *rest: Any) -> Any:
        factors = SVDFactors(*rest[:3])
        out = operator.apply(_xp, x, factors, rest[3:])
        # An input may not be returned as it is.
        return out.view_as(out) if any(out is factor for factor in factors) else out

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        operator, x, *rest = inputs
        params = rest[3:]
        tensors = [p for p in params if isinstance(p, torch.Tensor)]
        ctx.operator = operator
        ctx.numbers = [None if isinstance(p, torch.Tensor) else p for p in params]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, *rest[:3], *tensors)
        ctx.save_for_forward(x, *rest[:3], *tensors)

    @staticmethod
    def _restore(ctx: Any) -> tuple[torch.Tensor, SVDFactors, tuple[Any, ...]]:
        x, U, S, Vh, *tensors = ctx.saved_tensors
        factors = SVDFactors(U, S, Vh)
        if _differentiated_again(x):
            factors = SVDFactors(*_decompose(ctx.operator.decomposition, x, *factors))
        rest = iter(tensors)
        return x, factors, tuple(next(rest) if n is None else n for n in ctx.numbers)

    @staticmethod
    def backward(ctx: Any, *cts: Any) -> Any:
        (ct,) = cts
        if ct is None:
            return (None,) * (5 + len(ctx.numbers))
        x, factors, params = _Apply._restore(ctx)
        with _full_precision(ct):
            ct_x, ct_params = ctx.operator.vjp(_xp, x, factors, params, ct)
        return (None, ct_x, None, None, None, *ct_params)

    @staticmethod
    def jvp(ctx: Any, _operator: Any, dx: Any, _dU: Any, _dS: Any, _dVh: Any, *dparams: Any) -> Any:
        x, factors, params = _Apply._restore(ctx)
        with _full_precision(x):
            return ctx.operator.jvp(_xp, x, factors, params, dx, dparams)


# PyTorch types neither of these.
_decompose: Any = _Decompose.apply
_apply: Any = _Apply.apply


class _TorchBackend:
    array_name = "torch.Tensor"
    xp = _xp

    def asarray(self, x: Any) -> Any:
        return x if isinstance(x, torch.Tensor) else None

    def shape(self, x: Any) -> Shape | None:
        return tuple(x.shape)

    def parameter(self, value: Any, like: Any, dtype: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value.to(dtype)
        return None if hasattr(value, "__array__") and value.shape else float(value)

    def decompose(self, decomposition: SVD, x: Any) -> tuple[Any, ...]:
        with _full_precision(x):
            factors = decomposition.compute(_xp, x.detach())
            return tuple(_decompose(decomposition, x, *factors))

    def apply(self, operator: Operator, x: Any, params: tuple[Any, ...]) -> Any:
        with _full_precision(x):
            factors = _accurate_factors(operator.decomposition, x.detach())
            return _apply(operator, x, *factors, *params)


_backend = _TorchBackend()
_functions = Functions[torch.Tensor](lambda x: _backend)

svd = _functions.svd
svdvals = _functions.svdvals
svt = _functions.svt
