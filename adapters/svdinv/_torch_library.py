"""The same two custom derivatives as operators of PyTorch's library, for its compilers.

`torch.compile` and `torch.export` keep an operator of the library together with its derivative.
They refuse a `torch.autograd.Function` that has a forward mode, or drop its rules. An operator of
the library takes tensors and plain values only, so a decomposition or an operator of the core is
passed as a string. The string contains the version of this package: PyTorch caches compiled
backward passes by their arguments, and would not notice that a derivative has changed.
"""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

import svdinv_core
from svdinv_core import Decomposition, Dense, Operator, Point, pulled, with_exact

from . import __version__
from . import _torch_namespace as _xp
from ._torch_function import full_precision, resolved

__all__ = ["apply", "decompose", "describe", "iterated", "operate", "restore"]

_described: dict[str, Any] = {}


def _fields(operation: Any) -> str:
    # The compiler can trace neither repr() of a dataclass nor a comprehension over its dict, nor,
    # before PyTorch 2.12, is_dataclass(None).
    if operation is None or not dataclasses.is_dataclass(operation):
        return f"{operation!r}"
    fields = ", ".join(
        f"{field.name}={_fields(getattr(operation, field.name))}"
        for field in dataclasses.fields(operation)
    )
    return f"{type(operation).__name__}({fields})"


def describe(operation: Decomposition | Operator) -> str:
    """Write an operation of the core as a string, which `restore` can read in any process."""
    return f"{_fields(operation)} # svdinv {__version__}"


def _build(node: ast.expr) -> Any:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return ast.literal_eval(node)
    cls = getattr(svdinv_core, node.func.id, None)
    if cls is None or not dataclasses.is_dataclass(cls):
        raise ValueError(
            f"rule: {node.func.id!r} is not a class of svdinv_core, and a compiled program can "
            "contain no others; use one of svdinv.rules"
        )
    operation: Any = cls
    return operation(**{str(keyword.arg): _build(keyword.value) for keyword in node.keywords})


def restore(spec: str) -> Any:
    """Make the operation that a string of `describe` stands for.

    Raises
    ------
    ValueError
        If it contains a class that is not of the core, such as a rule of the caller.
    """
    if spec not in _described:
        _described[spec] = _build(ast.parse(spec, mode="eval").body)
    return _described[spec]


def _own(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Copy the results: none may be an argument, and their strides must be predictable."""
    return [
        tensor.resolve_conj().clone(memory_format=torch.contiguous_format) for tensor in tensors
    ]


def _decompose(spec: str, x: torch.Tensor, raw: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    return _own(raw)


def _decompose_context(ctx: Any, inputs: Any, output: Any) -> None:
    ctx.spec, x, *_ = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, *output)


def _decompose_backward(ctx: Any, cts: Any) -> Any:
    decomposition = restore(ctx.spec)
    x, *factors = ctx.saved_tensors
    if not decomposition.linear and torch.is_grad_enabled():
        factors = decompose(describe(decomposition.fallback), x, [f.detach() for f in factors])
    factors = decomposition.Factors(*factors)
    with full_precision(x):
        ct_x = resolved(decomposition.vjp(_xp, factors, tuple(cts), constant=torch.Tensor.detach))
        return None, ct_x, [None] * len(cts)


def _apply(
    spec: str, x: torch.Tensor, raw: Sequence[torch.Tensor], params: Sequence[torch.Tensor]
) -> list[torch.Tensor]:
    operator = restore(spec)
    with full_precision(x):
        return _own(
            operator.apply(Point(_xp, x, operator.decomposition.Factors(*raw), tuple(params)))
        )


def _apply_context(ctx: Any, inputs: Any, output: Any) -> None:
    ctx.spec, x, raw, params = inputs
    ctx.set_materialize_grads(False)
    ctx.count = len(raw)
    ctx.save_for_backward(x, *raw, *params)


def operate(operator: Operator, x: Any, raw: Any, params: Any) -> tuple[torch.Tensor, ...]:
    """Values of an operator at x, from its factors."""
    return tuple(apply(describe(operator), x, list(raw), list(params)))


def _apply_backward(ctx: Any, cts: Any) -> Any:
    operator = restore(ctx.spec)
    x, *rest = ctx.saved_tensors
    raw, params = rest[: ctx.count], tuple(rest[ctx.count :])
    if all(ct is None for ct in cts):
        return None, None, [None] * ctx.count, [None] * len(params)
    factors = raw = operator.decomposition.Factors(*raw)
    with full_precision(x):
        if torch.is_grad_enabled() and operator.twice:
            derivative, inputs = pulled(operator, params, tuple(cts))
            ct_x, ct_params = derivative.of_results(operate(derivative, x, raw, inputs))
        else:
            moved = params
            if torch.is_grad_enabled():
                decomposed = decompose(describe(operator.decomposition), x, list(raw))
                factors = operator.decomposition.Factors(*decomposed)
                moved = operator.moved(_xp, params, factors, raw)
            ct_x, ct_params = operator.vjp(Point(_xp, x, factors, moved), tuple(cts))
            if torch.is_grad_enabled():
                ct_params = with_exact(
                    operator, params, tuple(cts), ct_params, lambda of, at: operate(of, x, raw, at)
                )
    return None, resolved(ct_x), [None] * ctx.count, list(ct_params)


def _register(name: str, signature: str, forward: Any, context: Any, backward: Any) -> Any:
    operator = torch.library.custom_op(
        f"svdinv::{name}", forward, mutates_args=(), schema=signature
    )
    operator.register_fake(forward)  # for tensors without values
    operator.register_autograd(backward, setup_context=context)
    return operator


decompose = _register(
    "decompose",
    "(str spec, Tensor x, Tensor[] raw) -> Tensor[]",
    _decompose,
    _decompose_context,
    _decompose_backward,
)
apply = _register(
    "apply",
    "(str spec, Tensor x, Tensor[] raw, Tensor[] params) -> Tensor[]",
    _apply,
    _apply_context,
    _apply_backward,
)


def _iterate(spec: str, arrays: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    return _own(restore(spec)(_xp, *arrays))


# The loop reads values, which a compiler's tensors do not have.
_iteration: Any = torch.library.custom_op(
    "svdinv::iteration", _iterate, mutates_args=(), schema="(str spec, Tensor[] arrays) -> Tensor[]"
)
_iteration.register_fake(lambda spec, arrays: _own(restore(spec).like(_xp, *arrays)))


def iterated(function: Any, arrays: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...] | None:
    """``function(xp, *arrays)``; None if it contains functions of the caller."""
    if not isinstance(function.linear, Dense):
        return None
    return tuple(_iteration(describe(function), list(arrays)))
