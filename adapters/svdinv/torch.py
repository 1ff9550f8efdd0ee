"""svdinv for PyTorch tensors: eager, `torch.func`, `torch.compile`, `torch.export`.

The factors are computed once for forward and backward, from the detached input. How results are
made differentiable depends on the mode:

- eager mode: `torch.autograd.Function` (`_torch_function`), forward and reverse mode;
- a compiler: operators of PyTorch's library (`_torch_library`), which the compiler keeps;
- a compiler around `torch.func`, and forward mode of forward mode: ordinary differentiable
  operations (`svdinv_core.midpoint`), because PyTorch silently drops both of the above
  (pytorch/pytorch issues 193279, 192985 and 197867).
"""

from __future__ import annotations

import numbers
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import isnan
from typing import Any

from ._missing import cannot_import

try:
    import torch
    from torch._functorch import pyfunctorch
except ImportError as error:
    raise cannot_import(error, "torch", "PyTorch") from error

from svdinv_core import (
    Decomposition,
    Operator,
    Point,
    Refuse,
    Rule,
    Situation,
    SVDFactors,
    Tangents,
    apply_at_midpoint,
    complex_step_jacobian,
    complex_step_slope,
    decompose_at_midpoint,
)
from svdinv_core.drivers import LARGEST_JACOBI_ON_GPU, Looks

from . import _torch_function as _function
from . import _torch_library as _library
from . import _torch_namespace as _xp
from . import rules
from ._api import (
    AlignmentResult,
    Driver,
    EighDriver,
    EighResult,
    Functions,
    Gauge,
    LstsqResult,
    Multiplets,
    PolarResult,
    Side,
    SVDResult,
    TruncateDriver,
    TruncatedSVDResult,
    documented_by,
)
from ._backend import Backend, Function
from ._frameworks import is_foreign
from ._gauge import Watch
from ._limits import limit
from ._torch_batches import is_plain, waits, work
from ._torch_function import full_precision
from ._torch_sharding import with_long_side_split
from .operators import LinearOperator

WORTH_A_CHOICE = 3e4
"""Entries times shorter side below which the Gram matrix costs more operations than it saves."""

FEW = 64
"""Up to this many numbers, reading them one by one is faster than an operation of PyTorch."""

WORTH_LEAVING_OUT = 1e6
"""The same limit for leaving out the columns that a threshold drops."""

_SINGLE = (torch.float32, torch.complex64)
_COMPLEX = {torch.float32: torch.complex64, torch.float64: torch.complex128}


def _check_dense(name: str, x: torch.Tensor) -> None:
    """Refuse a nested or sparse tensor."""
    if x.is_nested or x.layout != torch.strided:
        kind = "a nested tensor" if x.is_nested else f"one of layout {x.layout}"
        raise TypeError(f"{name}: expected a dense torch.Tensor, got {kind}; convert it first")


def _transformed() -> bool:
    """Whether a transform of `torch.func` is active (there is no public function for this)."""
    return bool(torch._C._are_functorch_transforms_active())


def _transforms(kind: Any) -> int:
    """Number of active transforms of one kind."""
    levels = pyfunctorch.retrieve_all_functorch_interpreters()
    return sum(level.key() == kind for level in levels)


def _forward_of_forward() -> bool:
    """Whether more than one active transform is in forward mode."""
    return _transforms(torch._C._functorch.TransformType.Jvp) > 1


def _hides_a_batch() -> bool:
    """Whether tensors may have a batch axis hidden by `vmap`, or a length not known yet."""
    if torch.compiler.is_compiling():
        return True
    return _transformed() and _transforms(torch._C._functorch.TransformType.Vmap) > 0


def _dropped() -> bool:
    """Whether PyTorch would drop a registered derivative here."""
    if not _transformed():
        return False
    return torch.compiler.is_compiling() or _forward_of_forward()


def _eager_product(fn: Function, s: Any) -> Function:
    """`Backend.product` by `torch.autograd`, which works under checkpointing and offloading.

    `torch.func.grad` refuses the hooks of both.
    """
    with torch.enable_grad():
        again = s.requires_grad
        if not again:
            again = fn(s).requires_grad  # true if fn closes over a tensor with a gradient
            # A tensor made in inference mode cannot have a gradient outside of it; a copy can.
            s = (s.clone() if s.is_inference() else s.detach()).requires_grad_()
        f = fn(s)

    def product(v: Any) -> Any:
        if not f.requires_grad:  # fn is constant
            return torch.zeros_like(s)
        with torch.enable_grad():
            (ct,) = torch.autograd.grad(
                f, s, v.to(f.dtype), retain_graph=True, create_graph=again, materialize_grads=True
            )
            return ct

    return product


def _exported_derivative(fn: Function, elementwise: bool) -> Function:
    """`Backend.derivative` by a complex step, for `torch.export`.

    An exported `torch.func.grad` would hold tensors without values.
    """
    by_complex_step = complex_step_slope if elementwise else complex_step_jacobian

    def derivative(s: Any) -> Any:
        try:
            return by_complex_step(_xp, fn)(s)
        except (RuntimeError, TypeError) as error:
            raise limit("torch.export of fn") from error

    return derivative


@lru_cache(1024)
def _plain_situation(shape: tuple[int, ...], single: bool) -> Situation:
    """The situation of a tensor with values on a CPU."""
    return Situation(
        shape,
        single=single,
        looks="free",
        worth_a_choice=WORTH_A_CHOICE,
        doubles="operators",
        jacobi_over_gram=3,
    )


def _cuda_situation(shape: tuple[Any, ...], single: bool, looks: Looks) -> Situation:
    """The situation of a tensor on a CUDA or ROCm device.

    The SVD there is batched only if both sides are at most 32, and it waits for the device anyway;
    `eigh` is batched. A rotation of "jacobi" takes some twenty calls, so beyond four columns the
    Gram matrix is tried first.
    """
    return Situation(
        shape,
        single=single,
        looks=looks,
        worth_a_choice=WORTH_A_CHOICE,
        largest_jacobi=LARGEST_JACOBI_ON_GPU,
        jacobi_over_gram=4,
        guarded=looks == "waits",  # cuSOLVER's rotations stop at a tolerance
    )


@dataclass(frozen=True)
class _SparseProduct:
    """A sparse matrix times a few columns, or its adjoint (`side` 1), from entries and indices."""

    side: int
    shape: tuple[int, ...]

    def __call__(self, X: torch.Tensor, values: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        entries = values.conj() if self.side else values
        terms = entries[:, None] * X[places[1 - self.side]]
        return terms.new_zeros(self.shape[self.side], X.shape[-1]).index_add(
            0, places[self.side], terms
        )


def _call(function: Any, *args: Any) -> Any:
    return function(*args)


_uncompiled: Any = torch.compiler.disable(
    _call, reason="svdinv calls the functions of a LinearOperator outside of compiled programs"
)


class _TorchBackend(Backend):
    array_name = "torch.Tensor"
    xp = _xp

    def asarray(self, x: Any) -> Any:
        if not isinstance(x, torch.Tensor):
            return None
        _check_dense("x", x)
        return with_long_side_split(x)

    def parameter(self, value: Any, like: Any, dtype: Any) -> Any:
        if isinstance(value, torch.Tensor):
            _check_dense("tau", value)
            return value.to(dtype)
        if isinstance(value, (int, float, numbers.Real)):
            return torch.full((), float(value), dtype=dtype, device=like.device)
        if hasattr(value, "__array__") and not is_foreign(value):
            return torch.as_tensor(value, dtype=dtype, device=like.device)
        return None

    def situation(self, x: Any) -> Situation:
        """As the base class says; values are read where that is free.

        On a CPU an operator decomposes single precision in double. The derivative of a threshold
        amplifies the error of LAPACK's single precision, some ten units in the last place (worst
        error of `svt` over the test family: 7e-6 without this, 6e-7 with it).
        """
        if is_plain(x):
            return _plain_situation(tuple(x.shape), x.dtype in _SINGLE)
        shape = (None, *x.shape[-2:]) if _hides_a_batch() else tuple(x.shape)
        single = x.dtype in _SINGLE
        if x.device.type == "cuda":
            return _cuda_situation(shape, single, "waits" if waits(x) else "never")
        doubles: Any = "operators" if x.device.type == "cpu" else "never"
        return Situation(shape, single=single, doubles=doubles, jacobi_over_gram=3)

    def of_values(self, function: Any, x: Any, params: tuple[Any, ...]) -> Any:
        with full_precision(x):
            # by its method, because Dynamo of PyTorch 2.10 hashes an object that is called
            return function.__call__(x.detach(), *(p.detach() for p in params))

    def failed(self, values: Any) -> bool:
        if not is_plain(values) and not waits(values):
            return False
        few = values.ndim == 1 and values.shape[0] <= FEW
        return isnan(sum(values.tolist()) if few else values.sum().item())

    def extremes(self, x: Any) -> tuple[float, float] | None:
        if not is_plain(x) or x.numel() == 0:
            return None
        if x.ndim == 0:
            number = x.item()
            return number, number
        if x.ndim == 1 and x.shape[0] <= FEW:
            numbers = x.tolist()
            return min(numbers), max(numbers)
        low, high = torch.aminmax(x)
        return low.item(), high.item()

    def largest_count(self, x: Any, counts: Any) -> int | None:
        if not is_plain(x) or work(x) < WORTH_LEAVING_OUT:
            return None
        return int(counts().amax())

    def decompose(self, decomposition: Decomposition, x: Any, raw: Any) -> tuple[Any, ...]:
        if _dropped():
            factors = decomposition.Factors(*raw)
            with full_precision(x):
                return tuple(decompose_at_midpoint(_xp, decomposition, factors, x - x.detach()))
        if torch.compiler.is_compiling():
            return tuple(_library.decompose(_library.describe(decomposition), x, list(raw)))
        return tuple(_function.decompose(decomposition, x, *raw))

    def apply(
        self, operator: Operator, x: Any, raw: Any, params: tuple[Any, ...]
    ) -> tuple[Any, ...]:
        with full_precision(x):
            if _dropped():
                fixed = tuple(p.detach() for p in params)
                at = Point(_xp, x.detach(), operator.decomposition.Factors(*raw), fixed)
                changes = (p - q for p, q in zip(params, fixed, strict=True))
                return apply_at_midpoint(operator, at, Tangents(x - at.A, tuple(changes)))
            if torch.compiler.is_compiling():
                return _library.operate(operator, x, raw, params)
            out: tuple[Any, ...] = _function.apply(operator, x, *raw, *params)
            return out

    def call(self, function: Any, *arrays: Any) -> Any:
        with full_precision(arrays[0]):
            return function(_xp, *arrays)

    def uncompiled(self, function: Any, *args: Any) -> Any:
        return _uncompiled(function, *args) if torch.compiler.is_compiling() else function(*args)

    def sparse(self, x: Any) -> LinearOperator | None:
        if (
            not isinstance(x, torch.Tensor)
            or x.is_nested
            or x.layout == torch.strided
            or x.ndim != 2
        ):
            return None
        entries = x.to_sparse_coo().coalesce()
        m, n = x.shape
        there, back = (_SparseProduct(side, (m, n)) for side in (0, 1))
        return LinearOperator((m, n), x.dtype, there, back, (entries.values(), entries.indices()))

    def stopped(self, x: Any) -> Any:
        return x.detach()

    def constant(self, rows: Any, like: Any, is_complex: bool) -> Any:
        real = like.real.dtype
        return torch.tensor(rows, dtype=_COMPLEX[real] if is_complex else real, device=like.device)

    def watch(self, factors: SVDFactors, watch: Watch) -> Any:
        if torch.compiler.is_compiling() or _transformed():
            raise watch.not_eager()
        return _function.watch(watch, *factors)

    def product(self, fn: Function, s: Any) -> Function:
        if torch.compiler.is_compiling() or _transformed():
            return lambda v: torch.func.grad(lambda s: (fn(s) * v).sum())(s)
        return _eager_product(fn, s)

    def derivative(self, fn: Function, elementwise: bool, refuse: Refuse) -> Function:
        if torch.compiler.is_exporting():
            return _exported_derivative(fn, elementwise)
        return super().derivative(fn, elementwise, refuse)

    def bends(self, fn: Function, s: Any) -> tuple[Any, Any]:
        if torch.compiler.is_exporting():
            return self.no_bends(s)
        return super().bends(fn, s)

    def any(self, flags: Any) -> bool:
        return is_plain(flags) and bool(flags.any())


_backend = _TorchBackend()
_functions = Functions[torch.Tensor](lambda x: _backend)

# Written by adapters/write_public.py, between this mark and the next.
__all__ = [
    "AlignmentResult",
    "EighResult",
    "LstsqResult",
    "PolarResult",
    "SVDResult",
    "TruncatedSVDResult",
    "align_points",
    "eigenvalue_map",
    "eigh",
    "eigvalsh",
    "expm",
    "gauge_residual",
    "inv_sqrtm",
    "logm",
    "low_rank",
    "lstsq",
    "nuclear_norm",
    "pinv",
    "polar",
    "powm",
    "procrustes",
    "project_nuclear_ball",
    "range_projector",
    "rule_residual",
    "rules",
    "schatten_norm",
    "singular_value_clip",
    "singular_value_map",
    "spectral_function",
    "spectral_norm",
    "sqrtm",
    "svd",
    "svdvals",
    "svt",
    "tensor_svt",
    "truncated_svd",
]


@documented_by(Functions)
def align_points(
    p: torch.Tensor,
    q: torch.Tensor,
    weights: Any = None,
    /,
    *,
    scale: bool = False,
    reflection: bool = False,
    driver: Driver = "auto",
) -> AlignmentResult[torch.Tensor]:
    return _functions.align_points(p, q, weights, scale=scale, reflection=reflection, driver=driver)


@documented_by(Functions)
def eigenvalue_map(
    x: torch.Tensor,
    fn: Callable[[torch.Tensor], torch.Tensor],
    *,
    elementwise: bool = True,
    driver: EighDriver = "auto",
) -> torch.Tensor:
    return _functions.eigenvalue_map(x, fn, elementwise=elementwise, driver=driver)


@documented_by(Functions)
def eigh(
    x: torch.Tensor, /, *, rule: str | Rule = "auto", driver: EighDriver = "auto"
) -> EighResult[torch.Tensor]:
    return _functions.eigh(x, rule=rule, driver=driver)


@documented_by(Functions)
def eigvalsh(x: torch.Tensor, /, *, driver: EighDriver = "auto") -> torch.Tensor:
    return _functions.eigvalsh(x, driver=driver)


@documented_by(Functions)
def expm(x: torch.Tensor, /, *, driver: EighDriver = "auto") -> torch.Tensor:
    return _functions.expm(x, driver=driver)


@documented_by(Functions)
def gauge_residual(
    U: torch.Tensor, S: torch.Tensor, Vh: torch.Tensor, ct_U: torch.Tensor, ct_Vh: torch.Tensor
) -> torch.Tensor:
    return _functions.gauge_residual(U, S, Vh, ct_U, ct_Vh)


@documented_by(Functions)
def inv_sqrtm(
    x: torch.Tensor,
    /,
    *,
    floor: float | None = None,
    rtol: float | None = None,
    driver: EighDriver = "auto",
) -> torch.Tensor:
    return _functions.inv_sqrtm(x, floor=floor, rtol=rtol, driver=driver)


@documented_by(Functions)
def logm(x: torch.Tensor, /, *, driver: EighDriver = "auto") -> torch.Tensor:
    return _functions.logm(x, driver=driver)


@documented_by(Functions)
def low_rank(
    x: torch.Tensor,
    rank: int | None = None,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    energy: float | None = None,
    multiplets: Multiplets = "keep",
    driver: TruncateDriver = "auto",
) -> torch.Tensor:
    return _functions.low_rank(
        x, rank, rtol=rtol, atol=atol, energy=energy, multiplets=multiplets, driver=driver
    )


@documented_by(Functions)
def lstsq(
    a: torch.Tensor, b: torch.Tensor, /, *, rtol: float | None = None, driver: Driver = "auto"
) -> LstsqResult[torch.Tensor]:
    return _functions.lstsq(a, b, rtol=rtol, driver=driver)


@documented_by(Functions)
def nuclear_norm(x: torch.Tensor, /, *, driver: Driver = "auto") -> torch.Tensor:
    return _functions.nuclear_norm(x, driver=driver)


@documented_by(Functions)
def pinv(x: torch.Tensor, /, *, rtol: float | None = None, driver: Driver = "auto") -> torch.Tensor:
    return _functions.pinv(x, rtol=rtol, driver=driver)


@documented_by(Functions)
def polar(
    x: torch.Tensor, /, *, side: Side = "auto", driver: Driver = "auto"
) -> PolarResult[torch.Tensor]:
    return _functions.polar(x, side=side, driver=driver)


@documented_by(Functions)
def powm(
    x: torch.Tensor, p: float, /, *, rtol: float | None = None, driver: EighDriver = "auto"
) -> torch.Tensor:
    return _functions.powm(x, p, rtol=rtol, driver=driver)


@documented_by(Functions)
def procrustes(
    x: torch.Tensor, /, *, special: bool = False, driver: Driver = "auto"
) -> torch.Tensor:
    return _functions.procrustes(x, special=special, driver=driver)


@documented_by(Functions)
def project_nuclear_ball(
    x: torch.Tensor, radius: Any, /, *, driver: Driver = "auto"
) -> torch.Tensor:
    return _functions.project_nuclear_ball(x, radius, driver=driver)


@documented_by(Functions)
def range_projector(
    x: torch.Tensor,
    /,
    *,
    rank: int | None = None,
    rtol: float | None = None,
    driver: TruncateDriver = "auto",
) -> torch.Tensor:
    return _functions.range_projector(x, rank=rank, rtol=rtol, driver=driver)


@documented_by(Functions)
def rule_residual(
    U: torch.Tensor,
    S: torch.Tensor,
    Vh: torch.Tensor,
    ct_U: torch.Tensor,
    ct_Vh: torch.Tensor,
    *,
    ct_S: torch.Tensor | None = None,
) -> torch.Tensor:
    return _functions.rule_residual(U, S, Vh, ct_U, ct_Vh, ct_S=ct_S)


@documented_by(Functions)
def schatten_norm(x: torch.Tensor, p: float, /, *, driver: Driver = "auto") -> torch.Tensor:
    return _functions.schatten_norm(x, p, driver=driver)


@documented_by(Functions)
def singular_value_clip(
    x: torch.Tensor, maximum: Any, /, *, driver: Driver = "auto"
) -> torch.Tensor:
    return _functions.singular_value_clip(x, maximum, driver=driver)


@documented_by(Functions)
def singular_value_map(
    x: torch.Tensor,
    fn: Callable[[torch.Tensor], torch.Tensor],
    *,
    elementwise: bool = True,
    driver: Driver = "auto",
) -> torch.Tensor:
    return _functions.singular_value_map(x, fn, elementwise=elementwise, driver=driver)


@documented_by(Functions)
def spectral_function(
    x: torch.Tensor, fn: Callable[[torch.Tensor], torch.Tensor], *, driver: Driver = "auto"
) -> torch.Tensor:
    return _functions.spectral_function(x, fn, driver=driver)


@documented_by(Functions)
def spectral_norm(x: torch.Tensor, /, *, driver: Driver = "auto") -> torch.Tensor:
    return _functions.spectral_norm(x, driver=driver)


@documented_by(Functions)
def sqrtm(
    x: torch.Tensor, /, *, rtol: float | None = None, driver: EighDriver = "auto"
) -> torch.Tensor:
    return _functions.sqrtm(x, rtol=rtol, driver=driver)


@documented_by(Functions)
def svd(
    x: torch.Tensor,
    /,
    *,
    full_matrices: bool = False,
    rule: str | Rule = "auto",
    gauge: Gauge = "ignore",
    driver: Driver = "auto",
) -> SVDResult[torch.Tensor]:
    return _functions.svd(x, full_matrices=full_matrices, rule=rule, gauge=gauge, driver=driver)


@documented_by(Functions)
def svdvals(x: torch.Tensor, /, *, driver: Driver = "auto") -> torch.Tensor:
    return _functions.svdvals(x, driver=driver)


@documented_by(Functions)
def svt(
    x: torch.Tensor,
    tau: float | torch.Tensor,
    weights: torch.Tensor | None = None,
    *,
    relative: bool = False,
    driver: Driver = "auto",
) -> torch.Tensor:
    return _functions.svt(x, tau, weights, relative=relative, driver=driver)


@documented_by(Functions)
def tensor_svt(
    x: torch.Tensor,
    tau: Any,
    /,
    *,
    axis: int = -1,
    transform: str | torch.Tensor | tuple[Callable[..., Any], Callable[..., Any]] = "fft",
    driver: Driver = "auto",
) -> torch.Tensor:
    return _functions.tensor_svt(x, tau, axis=axis, transform=transform, driver=driver)


@documented_by(Functions)
def truncated_svd(
    x: torch.Tensor | LinearOperator,
    rank: int | None = None,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    energy: float | None = None,
    multiplets: Multiplets = "keep",
    rule: str | Rule = "auto",
    driver: TruncateDriver = "auto",
    seed: int = 0,
) -> TruncatedSVDResult[torch.Tensor]:
    return _functions.truncated_svd(
        x,
        rank,
        rtol=rtol,
        atol=atol,
        energy=energy,
        multiplets=multiplets,
        rule=rule,
        driver=driver,
        seed=seed,
    )


# End of what is written.
