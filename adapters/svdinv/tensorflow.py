"""svdinv for TensorFlow tensors: eager and in `tf.function`, reverse and forward mode.

There are two custom gradients, one for decompositions and one for operators. The factors are
computed once, outside of them, from the input with its gradient stopped. A gradient function uses
:func:`_decompose` to make them functions of the input again; otherwise the second derivative would
be that of TensorFlow's own SVD. Forward mode inside a `tf.function` ignores custom gradients; there
we use ordinary differentiable operations instead (`svdinv_core.midpoint`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ._missing import cannot_import

try:
    import tensorflow as tf
    from tensorflow.python.eager.forwardprop_util import pack_tangents
except ImportError as error:
    raise cannot_import(error, "tensorflow", "TensorFlow") from error

import numpy as np

from svdinv_core import (
    Decomposition,
    Operator,
    Point,
    Rule,
    Situation,
    SVDFactors,
    Tangents,
    apply_at_midpoint,
    decompose_at_midpoint,
    pulled,
    with_exact,
)
from svdinv_core.drivers import LARGEST_JACOBI_ON_GPU, Looks

from . import _tensorflow_namespace as _xp
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
from ._checks import Shape, check_dtype
from ._frameworks import is_foreign
from ._gauge import Watch
from .operators import LinearOperator


def _fused(function: Callable[..., Any], x: Any, *tensors: Any) -> Any:
    """``function(x, *tensors)``; for many small matrices in a traced function a program of XLA.

    As hundreds of separate operations of the graph it takes several times as long.
    """
    if _backend.fuses(x):
        function = tf.function(function, jit_compile=True, autograph=False)
    return function(x, *tensors)


def _decompose(decomposition: Decomposition, x: Any, raw: Any) -> Any:
    """The factors `raw` as differentiable functions of x."""

    @tf.custom_gradient  # type: ignore[untyped-decorator,unused-ignore]
    def call(x: Any, *raw: Any) -> Any:
        def grad(*cts: Any) -> Any:
            factors = _decompose(decomposition.fallback, x, raw)
            ct_x = decomposition.vjp(_xp, factors, cts, constant=tf.stop_gradient)
            return (ct_x, *(None for _ in raw))

        return raw, grad

    return decomposition.Factors(*call(x, *raw))


def _apply(operator: Operator, x: Any, raw: Any, params: tuple[Any, ...]) -> tuple[Any, ...]:
    """An operator on the factors of x, with the operator's own derivative in x."""
    count = len(raw)

    @tf.custom_gradient  # type: ignore[untyped-decorator,unused-ignore]
    def call(x: Any, *rest: Any) -> Any:
        raw, params = rest[:count], rest[count:]

        def grad(*cts: Any) -> Any:
            if operator.twice:
                derivative, inputs = pulled(operator, params, cts)
                ct_x, ct_params = derivative.of_results(_apply(derivative, x, raw, inputs))
            else:
                held = operator.decomposition.Factors(*raw)
                factors = _decompose(operator.decomposition, x, raw)
                moved = operator.moved(_xp, params, factors, held)

                def pull(x: Any, factors: Any, params: Any, cts: Any) -> Tangents:
                    return operator.vjp(Point(_xp, x, factors, params), cts)

                ct_x, ct_params = _fused(pull, x, factors, moved, cts)
                ct_params = with_exact(
                    operator, params, cts, ct_params, lambda *of: _apply(of[0], x, raw, of[1])
                )
            return (ct_x, *(None for _ in raw), *ct_params)

        def values(x: Any, factors: Any, params: Any) -> Any:
            return operator.apply(Point(_xp, x, factors, params))

        # Without this, ForwardAccumulator would add the tangents of these operations to grad's.
        A, *fixed = map(tf.stop_gradient, (x, *params))
        return _fused(values, A, operator.decomposition.Factors(*raw), tuple(fixed)), grad

    return tuple(call(x, *raw, *params))


def _watch(factors: SVDFactors, watch: Watch) -> Any:
    """The factors unchanged; `watch` checks their cotangents in reverse mode."""

    @tf.custom_gradient  # type: ignore[untyped-decorator,unused-ignore]
    def call(U: Any, S: Any, Vh: Any) -> Any:
        def grad(*cts: Any) -> Any:
            if not tf.executing_eagerly():
                raise watch.not_eager()
            watch.look(_xp, SVDFactors(U, S, Vh), cts, lambda r: r.numpy().ravel().tolist())
            return cts

        return (U, S, Vh), grad

    return call(*factors)


def _passed_over(*tensors: Any) -> bool:
    """Whether TensorFlow ignores custom gradients of these: forward mode in a traced function."""
    return not tf.executing_eagerly() and bool(pack_tangents(list(tensors)).tangents)


def _on_gpu(x: Any) -> bool:
    """Whether a tensor is on a GPU. For a traced tensor without a device: whether a GPU exists."""
    return "GPU" in x.device if x.device else bool(tf.config.list_logical_devices("GPU"))


@dataclass(frozen=True)
class _SparseProduct:
    """A sparse matrix times a few columns, or its adjoint (`side` 1), from entries and indices."""

    side: int
    shape: tuple[int, ...]

    def __call__(self, X: Any, values: Any, places: Any) -> Any:
        entries = tf.math.conj(values) if self.side else values
        terms = entries[:, None] * tf.gather(X, places[:, 1 - self.side])
        return tf.math.unsorted_segment_sum(terms, places[:, self.side], self.shape[self.side])


class _TensorFlowBackend(Backend):
    array_name = "tf.Tensor"
    xp = _xp

    def asarray(self, x: Any) -> Any:
        if isinstance(x, np.ndarray):
            check_dtype(x.dtype)  # before TensorFlow, which accepts fewer dtypes
        if isinstance(x, tf.RaggedTensor | tf.SparseTensor | tf.IndexedSlices):
            raise TypeError(
                f"x: expected a dense tf.Tensor, got {type(x).__name__}; convert it first"
            )
        if isinstance(x, np.ndarray) or tf.is_tensor(x) or isinstance(x, tf.Variable):
            if not tf.compat.v1.executing_eagerly_outside_functions():
                raise NotImplementedError(
                    "x: in a tf.Graph, == does not compare the values of tensors; use a tf.function"
                )
            return tf.convert_to_tensor(x)
        return None

    def shape(self, x: Any) -> Shape | None:
        return None if x.shape.rank is None else tuple(x.shape)

    def parameter(self, value: Any, like: Any, dtype: Any) -> Any:
        if is_foreign(value, "tensorflow"):
            return None
        return (
            tf.cast(value, dtype) if hasattr(value, "shape") else tf.constant(float(value), dtype)
        )

    def situation(self, x: Any) -> Situation:
        """As the base class says; TensorFlow's own decompositions lose digits in single precision.

        On a CPU its singular values are off by up to 15 units in the last place, ten times as much
        as those of LAPACK; double precision takes up to 1.7 times as long. Its eigenvectors are
        orthogonal to 6e-5 at 512x512. On a GPU double precision would take many times as long. XLA
        stops its own rotations at 1e-6 in any precision.
        """
        compiled, gpu = _xp.compiled_by_xla(), _on_gpu(x)
        looks: Looks = "program"
        if tf.executing_eagerly():
            looks = "waits" if gpu else "free"
        # As separate operations, not compiled by XLA (`fuses`), they pay up to 4 columns only.
        largest = LARGEST_JACOBI_ON_GPU if gpu else 6 if tf.test.is_built_with_xla() else 4
        single = x.dtype in (tf.float32, tf.complex64)
        return Situation(
            tuple(x.shape),
            single=single,
            looks=looks,
            doubles="never" if gpu else "svd",
            polished=True,
            squares=True,  # Eigen's QR
            has_svd=not (compiled and (x.dtype.is_complex or not single)),
            has_eigh=single or not compiled,
            # In eager mode every operation is a call from Python, and "jacobi" has too many.
            largest_jacobi=0 if tf.executing_eagerly() else largest,
            guarded=looks == "waits",
        )

    def fuses(self, x: Any) -> bool:
        """Whether to compile operations on these matrices within a traced function by XLA.

        On a GPU that needs a part of CUDA which is often not installed.
        """
        traced = not (tf.executing_eagerly() or _xp.compiled_by_xla() or _on_gpu(x))
        return traced and tf.test.is_built_with_xla() and self.situation(x).is_many

    def fused(self, function: Any, x: Any) -> Any:
        # Without this, a persistent tape around the traced function would differentiate it too.
        return tf.nest.map_structure(tf.stop_gradient, _fused(function, x))

    def of_values(self, function: Any, x: Any, params: tuple[Any, ...]) -> Any:
        return function(*map(tf.stop_gradient, (x, *params)))

    def failed(self, values: Any) -> bool:
        return tf.executing_eagerly() and bool(np.isnan(values.numpy()).any())

    def some(self, flags: Any) -> bool:
        return bool(flags.numpy().any())

    def choose(self, enough: Any, found: Any, otherwise: Any) -> Any:
        if tf.executing_eagerly():
            return found if enough else otherwise()
        return tf.cond(enough, lambda: found, otherwise)

    def decompose(self, decomposition: Decomposition, x: Any, raw: Any) -> Any:
        if _passed_over(x):
            factors = decomposition.Factors(*raw)
            return decompose_at_midpoint(_xp, decomposition, factors, x - tf.stop_gradient(x))
        return _decompose(decomposition, x, raw)

    def apply(
        self, operator: Operator, x: Any, raw: Any, params: tuple[Any, ...]
    ) -> tuple[Any, ...]:
        if _passed_over(x, *params):
            fixed = tuple(map(tf.stop_gradient, params))
            factors = operator.decomposition.Factors(*raw)
            at = Point(_xp, tf.stop_gradient(x), factors, fixed)
            changes = (p - q for p, q in zip(params, fixed, strict=True))
            return apply_at_midpoint(operator, at, Tangents(x - at.A, tuple(changes)))
        return _apply(operator, x, raw, params)

    def sparse(self, x: Any) -> LinearOperator | None:
        if not isinstance(x, tf.SparseTensor) or x.shape.rank != 2:
            return None
        m, n = x.shape
        there, back = (_SparseProduct(side, (m, n)) for side in (0, 1))
        return LinearOperator((m, n), x.dtype, there, back, (x.values, x.indices))

    def stopped(self, x: Any) -> Any:
        return tf.stop_gradient(x)

    def constant(self, rows: Any, like: Any, is_complex: bool) -> Any:
        real = like.dtype.real_dtype
        whole = {tf.float32: tf.complex64, tf.float64: tf.complex128}[real]
        return tf.constant(rows, whole if is_complex else real)

    def watch(self, factors: SVDFactors, watch: Watch) -> Any:
        return _watch(factors, watch)

    def product(self, fn: Function, s: Any) -> Function:
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(s)
            f = fn(s)
        return lambda v: tape.gradient(f, s, tf.cast(v, f.dtype), unconnected_gradients="zero")

    def any(self, flags: Any) -> bool:
        here = tf.executing_eagerly() and "GPU" not in flags.device
        return here and bool(flags.numpy().any())


_backend = _TensorFlowBackend()
_functions = Functions[Any](lambda x: _backend)

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
    p: Any,
    q: Any,
    weights: Any = None,
    /,
    *,
    scale: bool = False,
    reflection: bool = False,
    driver: Driver = "auto",
) -> AlignmentResult[Any]:
    return _functions.align_points(p, q, weights, scale=scale, reflection=reflection, driver=driver)


@documented_by(Functions)
def eigenvalue_map(
    x: Any, fn: Callable[[Any], Any], *, elementwise: bool = True, driver: EighDriver = "auto"
) -> Any:
    return _functions.eigenvalue_map(x, fn, elementwise=elementwise, driver=driver)


@documented_by(Functions)
def eigh(x: Any, /, *, rule: str | Rule = "auto", driver: EighDriver = "auto") -> EighResult[Any]:
    return _functions.eigh(x, rule=rule, driver=driver)


@documented_by(Functions)
def eigvalsh(x: Any, /, *, driver: EighDriver = "auto") -> Any:
    return _functions.eigvalsh(x, driver=driver)


@documented_by(Functions)
def expm(x: Any, /, *, driver: EighDriver = "auto") -> Any:
    return _functions.expm(x, driver=driver)


@documented_by(Functions)
def gauge_residual(U: Any, S: Any, Vh: Any, ct_U: Any, ct_Vh: Any) -> Any:
    return _functions.gauge_residual(U, S, Vh, ct_U, ct_Vh)


@documented_by(Functions)
def inv_sqrtm(
    x: Any, /, *, floor: float | None = None, rtol: float | None = None, driver: EighDriver = "auto"
) -> Any:
    return _functions.inv_sqrtm(x, floor=floor, rtol=rtol, driver=driver)


@documented_by(Functions)
def logm(x: Any, /, *, driver: EighDriver = "auto") -> Any:
    return _functions.logm(x, driver=driver)


@documented_by(Functions)
def low_rank(
    x: Any,
    rank: int | None = None,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    energy: float | None = None,
    multiplets: Multiplets = "keep",
    driver: TruncateDriver = "auto",
) -> Any:
    return _functions.low_rank(
        x, rank, rtol=rtol, atol=atol, energy=energy, multiplets=multiplets, driver=driver
    )


@documented_by(Functions)
def lstsq(
    a: Any, b: Any, /, *, rtol: float | None = None, driver: Driver = "auto"
) -> LstsqResult[Any]:
    return _functions.lstsq(a, b, rtol=rtol, driver=driver)


@documented_by(Functions)
def nuclear_norm(x: Any, /, *, driver: Driver = "auto") -> Any:
    return _functions.nuclear_norm(x, driver=driver)


@documented_by(Functions)
def pinv(x: Any, /, *, rtol: float | None = None, driver: Driver = "auto") -> Any:
    return _functions.pinv(x, rtol=rtol, driver=driver)


@documented_by(Functions)
def polar(x: Any, /, *, side: Side = "auto", driver: Driver = "auto") -> PolarResult[Any]:
    return _functions.polar(x, side=side, driver=driver)


@documented_by(Functions)
def powm(x: Any, p: float, /, *, rtol: float | None = None, driver: EighDriver = "auto") -> Any:
    return _functions.powm(x, p, rtol=rtol, driver=driver)


@documented_by(Functions)
def procrustes(x: Any, /, *, special: bool = False, driver: Driver = "auto") -> Any:
    return _functions.procrustes(x, special=special, driver=driver)


@documented_by(Functions)
def project_nuclear_ball(x: Any, radius: Any, /, *, driver: Driver = "auto") -> Any:
    return _functions.project_nuclear_ball(x, radius, driver=driver)


@documented_by(Functions)
def range_projector(
    x: Any,
    /,
    *,
    rank: int | None = None,
    rtol: float | None = None,
    driver: TruncateDriver = "auto",
) -> Any:
    return _functions.range_projector(x, rank=rank, rtol=rtol, driver=driver)


@documented_by(Functions)
def rule_residual(
    U: Any, S: Any, Vh: Any, ct_U: Any, ct_Vh: Any, *, ct_S: Any | None = None
) -> Any:
    return _functions.rule_residual(U, S, Vh, ct_U, ct_Vh, ct_S=ct_S)


@documented_by(Functions)
def schatten_norm(x: Any, p: float, /, *, driver: Driver = "auto") -> Any:
    return _functions.schatten_norm(x, p, driver=driver)


@documented_by(Functions)
def singular_value_clip(x: Any, maximum: Any, /, *, driver: Driver = "auto") -> Any:
    return _functions.singular_value_clip(x, maximum, driver=driver)


@documented_by(Functions)
def singular_value_map(
    x: Any, fn: Callable[[Any], Any], *, elementwise: bool = True, driver: Driver = "auto"
) -> Any:
    return _functions.singular_value_map(x, fn, elementwise=elementwise, driver=driver)


@documented_by(Functions)
def spectral_function(x: Any, fn: Callable[[Any], Any], *, driver: Driver = "auto") -> Any:
    return _functions.spectral_function(x, fn, driver=driver)


@documented_by(Functions)
def spectral_norm(x: Any, /, *, driver: Driver = "auto") -> Any:
    return _functions.spectral_norm(x, driver=driver)


@documented_by(Functions)
def sqrtm(x: Any, /, *, rtol: float | None = None, driver: EighDriver = "auto") -> Any:
    return _functions.sqrtm(x, rtol=rtol, driver=driver)


@documented_by(Functions)
def svd(
    x: Any,
    /,
    *,
    full_matrices: bool = False,
    rule: str | Rule = "auto",
    gauge: Gauge = "ignore",
    driver: Driver = "auto",
) -> SVDResult[Any]:
    return _functions.svd(x, full_matrices=full_matrices, rule=rule, gauge=gauge, driver=driver)


@documented_by(Functions)
def svdvals(x: Any, /, *, driver: Driver = "auto") -> Any:
    return _functions.svdvals(x, driver=driver)


@documented_by(Functions)
def svt(
    x: Any,
    tau: float | Any,
    weights: Any | None = None,
    *,
    relative: bool = False,
    driver: Driver = "auto",
) -> Any:
    return _functions.svt(x, tau, weights, relative=relative, driver=driver)


@documented_by(Functions)
def tensor_svt(
    x: Any,
    tau: Any,
    /,
    *,
    axis: int = -1,
    transform: str | Any | tuple[Callable[..., Any], Callable[..., Any]] = "fft",
    driver: Driver = "auto",
) -> Any:
    return _functions.tensor_svt(x, tau, axis=axis, transform=transform, driver=driver)


@documented_by(Functions)
def truncated_svd(
    x: Any | LinearOperator,
    rank: int | None = None,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    energy: float | None = None,
    multiplets: Multiplets = "keep",
    rule: str | Rule = "auto",
    driver: TruncateDriver = "auto",
    seed: int = 0,
) -> TruncatedSVDResult[Any]:
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
