"""Custom derivatives of PyTorch's eager mode: `torch.autograd.Function`.

Two are registered, one for decompositions and one for operators. If the derivative of an operator
may be differentiated again, it is run as an operator itself (`svdinv_core.derivative`). For
operators without a second derivative, :class:`_Decompose` first makes the factors functions of the
input, so that PyTorch differentiates them by our rule and not by its own.
"""

from __future__ import annotations

import inspect
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.autograd import forward_ad

from svdinv_core import (
    NO_SECOND_DERIVATIVE,
    Decomposition,
    Operator,
    Point,
    SVDFactors,
    Tangents,
    pulled,
    pushed,
    with_exact,
)

from . import _torch_namespace as _xp
from ._gauge import Watch
from ._torch_batches import is_plain

__all__ = ["apply", "decompose", "full_precision", "iterated", "resolved", "watch"]


def full_precision(x: torch.Tensor) -> AbstractContextManager[Any]:
    """Switch autocast off; it would run the products below in half precision."""
    device = x.device.type
    # Compilers before PyTorch 2.12 cannot trace whether a device has autocast; "meta" has none.
    if device == "meta":
        return nullcontext()
    known = device in ("cpu", "cuda") or torch.compiler.is_compiling()
    if (known or torch.amp.is_autocast_available(device)) and torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()


def resolved(value: Any) -> Any:
    """A tensor, None or a tuple of them, with any pending conjugation carried out.

    NumPy does not accept a tensor with a pending conjugation, and `torch.linalg` returns none.
    """
    if isinstance(value, tuple):
        return tuple(map(resolved, value))
    return value if value is None else value.resolve_conj()


def _differentiated_again(x: torch.Tensor) -> bool:
    """Whether a derivative that runs now may itself be differentiated."""
    return torch.is_grad_enabled() or forward_ad.unpack_dual(x).tangent is not None


_wrapped: Any = torch._C._functorch.is_functorch_wrapped_tensor  # type: ignore[attr-defined,unused-ignore]


class _Function(torch.autograd.Function):
    """A `torch.autograd.Function` with a cheaper call where no transform is active.

    PyTorch's own `apply` binds the arguments to the signature of `forward` at each call.
    """

    @classmethod
    def apply(cls, *args: Any) -> Any:
        direct = not torch._C._are_functorch_transforms_active() and not any(
            _wrapped(a) for a in args if isinstance(a, torch.Tensor)
        )
        function: Any = torch.autograd.Function
        if not direct:
            return super().apply(*args)  # type: ignore[no-untyped-call,unused-ignore]
        own: Any = super(function, cls)
        return own.apply(*args)


class _Decompose(_Function):
    """The factors `raw` as differentiable functions of x."""

    generate_vmap_rule = True

    @staticmethod
    def forward(decomposition: Decomposition, x: torch.Tensor, *raw: torch.Tensor) -> Any:
        return tuple(factor.resolve_conj().clone() for factor in raw)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.decomposition, x, *_ = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, *output)
        ctx.save_for_forward(x, *output)

    @staticmethod
    def _restore(ctx: Any) -> tuple[torch.Tensor, Any]:
        """x, and the factors as functions of it by a linear rule."""
        x, *factors = ctx.saved_tensors
        if not ctx.decomposition.linear and _differentiated_again(x):
            fixed = (factor.detach() for factor in factors)
            factors = decompose(ctx.decomposition.fallback, x, *fixed)
        return x, ctx.decomposition.Factors(*factors)

    @staticmethod
    def backward(ctx: Any, *cts: Any) -> Any:
        decomposition = ctx.decomposition
        x, factors = _Decompose._restore(ctx)
        with full_precision(x):
            some = torch.any if is_plain(factors[0]) else None
            ct_x = decomposition.vjp(_xp, factors, cts, constant=torch.Tensor.detach, some=some)
            ct_x = resolved(ct_x)
        return (None, ct_x, *(None for _ in factors))

    @staticmethod
    def jvp(ctx: Any, _decomposition: Any, dx: Any, *_: Any) -> Any:
        factors = _Decompose._restore(ctx)[1]
        if dx is None:
            return tuple(None for _ in factors)
        with full_precision(dx):
            return resolved(tuple(ctx.decomposition.jvp(_xp, factors, dx)))


class _Apply(_Function):
    """An operator on the factors of x, with the operator's own derivative in x."""

    generate_vmap_rule = True

    @staticmethod
    def forward(operator: Operator, x: torch.Tensor, *rest: Any) -> Any:
        count = len(operator.decomposition.Factors._fields)
        factors = operator.decomposition.Factors(*rest[:count])
        outs = operator.apply(Point(_xp, x, factors, rest[count:]))

        def own(out: torch.Tensor) -> torch.Tensor:
            """Copy an input, which may not be returned; forward mode needs the same strides."""
            given = any(out is factor for factor in factors)
            return out.clone() if given or out._is_view() else out

        return tuple([own(out.resolve_conj()) for out in outs])

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.operator, *tensors = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def _restore(ctx: Any) -> tuple[torch.Tensor, Any, tuple[Any, ...]]:
        """x, its factors, and the parameters."""
        x, *rest = ctx.saved_tensors
        fields = ctx.operator.decomposition.Factors
        count = len(fields._fields)
        return x, fields(*rest[:count]), tuple(rest[count:])

    @staticmethod
    def _point(ctx: Any, x: Any, raw: Any, params: Any, again: bool) -> Point:
        """Factors and parameters, as functions of x where the derivative is differentiated."""
        wanted = ctx.needs_input_grad[2 + len(raw) :]
        if not again:
            return Point(_xp, x, raw, params, wanted)
        decomposition = ctx.operator.decomposition
        factors = decomposition.Factors(*decompose(decomposition, x, *raw))
        return Point(_xp, x, factors, ctx.operator.moved(_xp, params, factors, raw), wanted)

    @staticmethod
    def backward(ctx: Any, *cts: Any) -> Any:
        if all(ct is None for ct in cts):
            return (None,) * len(ctx.needs_input_grad)
        operator, (x, raw, params) = ctx.operator, _Apply._restore(ctx)
        again = _differentiated_again(x)
        with full_precision(x):
            if again and operator.twice:
                wanted = ctx.needs_input_grad[2 + len(raw) :]
                derivative, inputs = pulled(operator, params, cts, wanted)
                out = apply(derivative, x, *raw, *inputs)
                ct_x, ct_params = derivative.of_results(out)
            else:
                ct_x, ct_params = operator.vjp(_Apply._point(ctx, x, raw, params, again), cts)
                if again:
                    ct_params = with_exact(
                        operator, params, cts, ct_params, lambda of, at: apply(of, x, *raw, *at)
                    )
        return (None, resolved(ct_x), *(None,) * len(raw), *ct_params)

    @staticmethod
    def jvp(ctx: Any, _operator: Any, dx: Any, *rest: Any) -> Any:
        x, raw, params = _Apply._restore(ctx)
        tangents = Tangents(dx, rest[len(raw) :])
        again = _differentiated_again(x)
        with full_precision(x):
            if again and ctx.operator.twice:
                derivative, inputs = pushed(ctx.operator, params, tangents)
                return apply(derivative, x, *raw, *inputs)
            return resolved(ctx.operator.jvp(_Apply._point(ctx, x, raw, params, again), tangents))


class _Iterate(_Function):
    """An iteration whose loop reads values, hidden from the transforms of `torch.func`."""

    @staticmethod
    def forward(function: Any, *arrays: torch.Tensor) -> Any:
        return tuple(out.clone() for out in function(_xp, *arrays))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *cts: Any) -> Any:
        raise NotImplementedError(NO_SECOND_DERIVATIVE)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        raise NotImplementedError(NO_SECOND_DERIVATIVE)

    @staticmethod
    def vmap(info: Any, dims: Any, function: Any, *arrays: torch.Tensor) -> Any:
        """Move the axis of `vmap` to the front of every array; the core accepts batches."""
        whole = (
            x.expand(info.batch_size, *x.shape) if dim is None else x.movedim(dim, 0)
            for x, dim in zip(arrays, dims[1:], strict=True)
        )
        out = iterated(function, *whole)
        return out, tuple(0 for _ in out)


class _Watch(_Function):
    """The factors unchanged; `watch` checks their cotangents in reverse mode."""

    @staticmethod
    def forward(watch: Watch, *factors: torch.Tensor) -> Any:
        return tuple(factor.view_as(factor) for factor in factors)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.watch, *factors = inputs
        ctx.save_for_backward(*factors)

    @staticmethod
    def backward(ctx: Any, *cts: torch.Tensor) -> Any:
        factors = SVDFactors(*(factor.detach() for factor in ctx.saved_tensors))
        fixed = tuple(ct.detach() for ct in cts)
        ctx.watch.look(_xp, factors, fixed, lambda r: r.reshape(-1).tolist())
        return (None, *cts)

    @staticmethod
    def jvp(ctx: Any, _watch: Any, *tangents: Any) -> Any:
        return tuple(tangent.view_as(tangent) for tangent in tangents)


# `apply` reads this signature at each call to bind its arguments; computing it is slow.
for _forward in (_Decompose.forward, _Apply.forward, _Iterate.forward, _Watch.forward):
    setattr(_forward, "__signature__", inspect.signature(_forward))  # noqa: B010

# PyTorch has no types for these.
decompose: Any = _Decompose.apply
apply: Any = _Apply.apply
iterated: Any = _Iterate.apply
watch: Any = _Watch.apply
