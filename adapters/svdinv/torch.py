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

from svdinv_core import Decomposition, Operator, SVDFactors
from svdinv_core import gauge_residual as _residual

from . import _torch_namespace as _xp
from . import rules
from ._api import EighResult, Function, Functions, PolarResult, SVDResult
from ._checks import Shape
from ._gauge import report

__all__ = [
    "EighResult",
    "PolarResult",
    "SVDResult",
    "eigenvalue_map",
    "eigh",
    "gauge_residual",
    "low_rank",
    "nuclear_norm",
    "polar",
    "procrustes",
    "rules",
    "singular_value_map",
    "svd",
    "svdvals",
    "svt",
]


def _full_precision(x: torch.Tensor) -> AbstractContextManager[Any]:
    """Autocast off where it is on: it would run the products below in half precision."""
    if torch.is_autocast_enabled(x.device.type):
        return torch.autocast(x.device.type, enabled=False)
    return nullcontext()


def _differentiated_again(x: torch.Tensor) -> bool:
    """Whether a derivative that runs now may itself be differentiated."""
    return torch.is_grad_enabled() or forward_ad.unpack_dual(x).tangent is not None


_DOUBLE = {torch.float32: torch.float64, torch.complex64: torch.complex128}
_SINGLE = {double: single for single, double in _DOUBLE.items()}


class _Decompose(torch.autograd.Function):
    """The given factors of x as differentiable functions of x."""

    generate_vmap_rule = True

    @staticmethod
    def forward(decomposition: Decomposition, x: torch.Tensor, *raw: torch.Tensor) -> Any:
        return tuple(factor.clone() for factor in raw)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.decomposition = inputs[0]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*output)
        ctx.save_for_forward(*output)

    @staticmethod
    def backward(ctx: Any, *cts: Any) -> Any:
        decomposition = ctx.decomposition
        factors = decomposition.factors(*ctx.saved_tensors)
        with _full_precision(factors[0]):
            if decomposition.linear:
                ct_x = decomposition.vjp(_xp, factors, cts)
            else:
                ct_x = _pull_back(decomposition, *factors, *cts)
        return (None, ct_x, *(None for _ in factors))

    @staticmethod
    def jvp(ctx: Any, _decomposition: Any, dx: Any, *_: Any) -> Any:
        factors = ctx.decomposition.factors(*ctx.saved_tensors)
        if dx is None:
            return tuple(None for _ in factors)
        with _full_precision(dx):
            return tuple(ctx.decomposition.jvp(_xp, factors, dx))


class _PullBack(torch.autograd.Function):
    """A reverse rule that is not linear, and may not be differentiated."""

    generate_vmap_rule = True

    @staticmethod
    def forward(decomposition: Decomposition, *tensors: Any) -> Any:
        count = len(decomposition.factors._fields)
        factors = decomposition.factors(*tensors[:count])
        return decomposition.vjp(_xp, factors, tensors[count:])

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.decomposition = inputs[0]

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        ctx.decomposition.require_linear()

    @staticmethod
    def jvp(ctx: Any, *_: Any) -> Any:
        ctx.decomposition.require_linear()


class _Apply(torch.autograd.Function):
    """An operator on the factors of x, with the operator's own derivative in x."""

    generate_vmap_rule = True

    @staticmethod
    def forward(operator: Operator, x: torch.Tensor, *rest: Any) -> Any:
        count = len(operator.decomposition.factors._fields)
        factors = operator.decomposition.factors(*rest[:count])
        out = operator.apply(_xp, x, factors, rest[count:])
        # An input may not be returned as it is.
        return out.view_as(out) if any(out is factor for factor in factors) else out

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        operator, x, *rest = inputs
        ctx.operator = operator
        ctx.count = len(operator.decomposition.factors._fields)
        params = rest[ctx.count :]
        tensors = [p for p in params if isinstance(p, torch.Tensor)]
        ctx.numbers = [None if isinstance(p, torch.Tensor) else p for p in params]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, *rest[: ctx.count], *tensors)
        ctx.save_for_forward(x, *rest[: ctx.count], *tensors)

    @staticmethod
    def _restore(ctx: Any) -> tuple[torch.Tensor, Any, tuple[Any, ...]]:
        x, *rest = ctx.saved_tensors
        raw, tensors = rest[: ctx.count], iter(rest[ctx.count :])
        decomposition = ctx.operator.decomposition
        if _differentiated_again(x):
            raw = _decompose(decomposition, x, *raw)
        params = tuple(next(tensors) if n is None else n for n in ctx.numbers)
        return x, decomposition.factors(*raw), params

    @staticmethod
    def backward(ctx: Any, *cts: Any) -> Any:
        absent = (None,) * ctx.count
        if all(ct is None for ct in cts):
            return (None, None, *absent, *(None for _ in ctx.numbers))
        x, factors, params = _Apply._restore(ctx)
        ct = cts if ctx.operator.outputs > 1 else cts[0]
        with _full_precision(x):
            ct_x, ct_params = ctx.operator.vjp(_xp, x, factors, params, ct)
        return (None, ct_x, *absent, *ct_params)

    @staticmethod
    def jvp(ctx: Any, _operator: Any, dx: Any, *rest: Any) -> Any:
        x, factors, params = _Apply._restore(ctx)
        with _full_precision(x):
            return ctx.operator.jvp(_xp, x, factors, params, dx, rest[ctx.count :])


class _Watch(torch.autograd.Function):
    """The same factors, whose cotangents are looked at in reverse mode."""

    @staticmethod
    def forward(gauge: str, *factors: torch.Tensor) -> Any:
        return tuple(factor.view_as(factor) for factor in factors)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.gauge, *factors = inputs
        ctx.save_for_backward(*factors)

    @staticmethod
    def backward(ctx: Any, *cts: torch.Tensor) -> Any:
        factors = SVDFactors(*(factor.detach() for factor in ctx.saved_tensors))
        residual = _residual(_xp, factors, cts[0].detach(), cts[2].detach())
        report(ctx.gauge, residual.reshape(-1).tolist(), torch.finfo(residual.dtype).eps)
        return (None, *cts)

    @staticmethod
    def jvp(ctx: Any, _gauge: Any, *tangents: Any) -> Any:
        return tuple(tangent.view_as(tangent) for tangent in tangents)


# PyTorch types none of these.
_decompose: Any = _Decompose.apply
_pull_back: Any = _PullBack.apply
_apply: Any = _Apply.apply
_watch: Any = _Watch.apply


class _TorchBackend:
    array_name = "torch.Tensor"
    xp = _xp
    differentiates = True

    def asarray(self, x: Any) -> Any:
        return x if isinstance(x, torch.Tensor) else None

    def shape(self, x: Any) -> Shape | None:
        return tuple(x.shape)

    def parameter(self, value: Any, like: Any, dtype: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return value.to(dtype)
        return None if hasattr(value, "__array__") and value.shape else float(value)

    def factors(self, decomposition: Decomposition, x: Any, accurate: bool) -> tuple[Any, ...]:
        """On a CPU single precision is decomposed in double where an exact derivative is promised.

        The derivative of a threshold amplifies the ten or so units in the last place that
        LAPACK's single precision is off by (worst error of `svt` over the test family 7e-6
        without this, 6e-7 with it).
        """
        x = x.detach()
        with _full_precision(x):
            if accurate and x.device.type == "cpu" and x.dtype in _DOUBLE:
                raw = decomposition.compute(_xp, x.to(_DOUBLE[x.dtype]))
                return tuple(factor.to(_SINGLE[factor.dtype]) for factor in raw)
            return tuple(decomposition.compute(_xp, x))

    def decompose(self, decomposition: Decomposition, x: Any, raw: Any) -> tuple[Any, ...]:
        return tuple(_decompose(decomposition, x, *raw))

    def apply(self, operator: Operator, x: Any, raw: Any, params: tuple[Any, ...]) -> Any:
        with _full_precision(x):
            return _apply(operator, x, *raw, *params)

    def watch(self, factors: SVDFactors, gauge: str) -> Any:
        return _watch(gauge, *factors)

    def cotangent(self, ct: Any) -> Any:
        return ct

    def slope(self, fn: Function) -> Function:
        derivative: Function = torch.func.grad(lambda s: fn(s).sum())
        return derivative


_backend = _TorchBackend()
_functions = Functions[torch.Tensor](lambda x: _backend)

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
